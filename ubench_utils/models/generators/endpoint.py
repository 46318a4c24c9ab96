"""An endpoint: a model behind an address that answers as OpenAI's servers do, hosted or on one's own cluster.

Threads ask, since a notebook has an event loop of its own. The client obeys Retry-After and tries again by itself; what
is here is what it leaves open: a server that starts anew, parameters that a server refuses, replies that are none, and
when to stop. The key comes from the environment alone, and goes nowhere but to the address.
"""

import base64
import io
import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from urllib.parse import urlsplit

from PIL import Image

from ...errors import UserError, first_line
from .protocol import LETTERS
from .reply import Failure, Item, Reply

CONCURRENCY = 8  # questions at a time
PATIENCE = 120.0  # seconds that a server may be away, say as it starts anew
PAUSE = 2.0  # seconds between two looks whether it is there again
TIMEOUT = 300.0  # seconds for one reply
RETRIES = 5  # of the client, beside our own patience
BREAKER = 3  # times CONCURRENCY failures in a row end a run
PARAMETERS = {"temperature": 0, "seed": 0, "max_tokens": 2048, "logprobs": True, "top_logprobs": 20}
INSTEAD = {"max_tokens": "max_completion_tokens"}  # what some servers call it
KEY = "OPENAI_API_KEY"
FINISHES = {"stop": "stop", "length": "length", "content_filter": "filter", "eos": "stop", "end_turn": "stop"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Endpoint:
    """A server that is asked.

    Attributes
    ----------
    refused : set of str
        Parameters that the server did not take, which are left out since.
    served : set of str
        What the server called the model that answered.
    """

    def __init__(self, model: str, url: str):
        try:
            import openai
        except ImportError as error:
            raise UserError("an endpoint is asked by the package openai, which is not installed") from error
        key = os.environ.get(KEY) or ("none" if urlsplit(url).hostname in LOOPBACK else None)
        if key is None:
            raise UserError(f"set {KEY} to the key of {urlsplit(url).hostname}")
        self._openai = openai
        self._client = openai.OpenAI(api_key=key, base_url=url, max_retries=RETRIES, timeout=TIMEOUT)
        self._model, self._parameters = model, dict(PARAMETERS)
        self._lock = threading.Lock()
        self._failures = 0
        self.refused: set[str] = set()
        self.served: set[str] = set()

    def replies(self, items: Iterable[Item]) -> Iterator[tuple[int, Reply | Failure]]:
        """Replies as they come, each with the number of its question.

        Raises
        ------
        UserError
            If the key, the address or the model is refused, or the server fails again and again.
        """
        coming = iter(items)
        with ThreadPoolExecutor(CONCURRENCY) as threads:
            waiting: dict[Future, int] = {}
            try:
                while True:
                    for item in islice(coming, CONCURRENCY - len(waiting)):
                        waiting[threads.submit(self._one, item)] = item.number
                    if not waiting:
                        return
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield waiting.pop(future), self._counted(future.result())
            finally:
                for future in waiting:
                    future.cancel()

    def _counted(self, reply: Reply | Failure) -> Reply | Failure:
        if isinstance(reply, Reply):
            self._failures = 0
            return reply
        self._failures += 1
        if self._failures >= BREAKER * CONCURRENCY:
            raise UserError(
                f"the last {self._failures} questions all failed ({reply.reason}); what was answered before is kept"
            )
        return reply

    def _one(self, item: Item) -> Reply | Failure:
        """Ask one question; a server that is away is waited for."""
        openai, until = self._openai, time.monotonic() + PATIENCE
        while True:
            with self._lock:
                parameters = dict(self._parameters)
            try:
                return self._read(self._client.chat.completions.create(**self._message(item), **parameters))
            except openai.APITimeoutError as error:
                return Failure(first_line(error, 100))
            except openai.APIConnectionError as error:
                if time.monotonic() > until:
                    return Failure(first_line(error, 100))
                time.sleep(PAUSE)
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                raise UserError(
                    f"{self._client.base_url.host} refuses the key in {KEY} ({error.status_code})"
                ) from None
            except openai.NotFoundError as error:
                place = f"{self._client.base_url} ({error.status_code})"
                raise UserError(f"there is no model '{self._model}', or no chat/completions, at {place}") from None
            except openai.BadRequestError as error:
                if not self._drop(str(error), parameters):
                    return Failure(first_line(error, 100))
            except (openai.APIError, json.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
                return Failure(first_line(error, 100))

    def _drop(self, message: str, sent: dict) -> bool:
        """Leave out, or call otherwise, the parameter that a server names as it refuses; False where it names none."""
        with self._lock:
            if sent != self._parameters:  # another thread has met the same
                return True
            for name in sorted(self._parameters, key=len, reverse=True):
                if name in message:
                    value = self._parameters.pop(name)
                    self.refused.add(name)
                    if name in INSTEAD and INSTEAD[name] in message:
                        self._parameters[INSTEAD[name]] = value
                    if name == "logprobs":
                        self._parameters.pop("top_logprobs", None)
                    return True
        return False

    def _message(self, item: Item) -> dict:
        urls = [f"data:image/png;base64,{_png(image)}" for image in item.images]
        content = [
            *({"type": "image_url", "image_url": {"url": url}} for url in urls),
            {"type": "text", "text": item.prompt},
        ]
        return {"model": self._model, "messages": [{"role": "user", "content": content}]}

    def _read(self, found) -> Reply:
        """A reply of the server; raises LookupError and the like where it is none."""
        choice = found.choices[0]
        message = choice.message
        with self._lock:
            self.served.add(str(found.model))
        content = message.content
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        refusal = getattr(message, "refusal", None)
        finish = "refusal" if refusal else FINISHES.get(choice.finish_reason, "stop")
        usage = found.usage
        return Reply(
            text=content or refusal or "",
            finish=finish,
            letters=_letters(choice),
            tokens_in=getattr(usage, "prompt_tokens", 0) or 0,
            tokens_out=getattr(usage, "completion_tokens", 0) or 0,
        )


def _letters(choice) -> tuple[float, ...]:
    """Probability of each letter as the first token, of those that the server lists; empty where it lists none."""
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return ()
    found = [0.0] * len(LETTERS)
    for one in content[0].top_logprobs or [content[0]]:
        letter = one.token.strip()
        if len(letter) == 1 and letter in LETTERS:
            found[LETTERS.index(letter)] += math.exp(one.logprob)
    return tuple(found)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
