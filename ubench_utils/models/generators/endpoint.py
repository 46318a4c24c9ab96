"""An endpoint: a model behind an address that answers as OpenAI's servers do, hosted or on one's own cluster.

Threads ask, since a notebook has an event loop of its own. The client obeys Retry-After and tries again by itself; what
is here is what it leaves open: a server that starts anew, parameters that a server refuses, replies that are none, and
when to stop. The key comes from the environment alone, and goes nowhere but to the address: not where it redirects to,
and into no message.
"""

import base64
import io
import json
import math
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from urllib.parse import urlsplit

from PIL import Image

from ...errors import UserError, first_line, shown
from .protocol import LETTERS
from .reply import Failure, Item, Reply

CONCURRENCY = 8  # questions at a time
PATIENCE = 120.0  # seconds that a server may be away, say as it starts anew
PAUSE = 2.0  # seconds between two looks whether it is there again
TIMEOUT = 300.0  # seconds for one reply
RETRIES = 2  # of the client, beside our own patience; a reply that took too long is asked for again, and paid again
BREAKER = 3  # times CONCURRENCY failures in a row end a run
PARAMETERS = {"temperature": 0, "seed": 0, "max_tokens": 2048, "logprobs": True, "top_logprobs": 20}
INSTEAD = {"max_tokens": "max_completion_tokens"}  # what some servers call it
FEWER = {"top_logprobs": 5}  # what some servers give at most
KEY = "OPENAI_API_KEY"
AWAY = (502, 503, 504)  # what a proxy says while the server behind it starts
FINISHES = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filter",
    "safety": "filter",
    "refusal": "refusal",
}  # any other reply ended by itself
BROKEN_OFF = ("abort", "error", "cancelled", "insufficient_system_resource")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST = 140  # characters of a reason


class Endpoint:
    """A server that is asked.

    Parameters
    ----------
    model, url : str
    key_env : str, optional
        The variable of the environment that holds the key.
    concurrency : int, optional
        Questions at a time.
    timeout : float, optional
        Seconds for one reply.
    max_tokens : int, optional
        Of a reply, thoughts included.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        key_env: str | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_tokens: int | None = None,
    ):
        try:
            import openai
        except ImportError as error:
            raise UserError("an endpoint is asked by the package openai, which is not installed") from error
        self._key_env, host = key_env or KEY, urlsplit(url).hostname
        key = os.environ.get(self._key_env) or ("none" if host in LOOPBACK and not key_env else None)
        if key is None:
            raise UserError(f"set {self._key_env} to the key of {host}")
        self._openai, self._key = openai, key
        self._client = openai.OpenAI(
            api_key=key,
            base_url=url,
            max_retries=RETRIES,
            timeout=timeout or TIMEOUT,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        self._model, self._url = model, url
        self._concurrency = concurrency or CONCURRENCY
        self._parameters = decoding(max_tokens)
        self._refused: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._failures = 0

    def replies(self, items: Iterable[Item]) -> Iterator[tuple[int, Reply | Failure]]:
        """Replies as they come, each with the number of its question.

        Raises
        ------
        UserError
            If the key, the address or the model is refused, or the server fails again and again.
        """
        coming = iter(items)
        self._ended.clear()
        with ThreadPoolExecutor(self._concurrency) as threads:
            waiting: dict[Future, int] = {}
            try:
                while True:
                    for item in islice(coming, self._concurrency - len(waiting)):
                        waiting[threads.submit(self._one, item)] = item.number
                    if not waiting:
                        return
                    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield waiting.pop(future), self._counted(future.result())
            finally:
                self._ended.set()  # who waits for the server need not any more
                for future in waiting:
                    future.cancel()

    def _counted(self, reply: Reply | Failure) -> Reply | Failure:
        if isinstance(reply, Reply):
            self._failures = 0
            return reply
        self._failures += 1
        if self._failures >= BREAKER * self._concurrency:
            raise UserError(
                f"the last {self._failures} questions all failed ({reply.reason}); what was answered before is kept"
            )
        return reply

    def _one(self, item: Item) -> Reply | Failure:
        """Ask one question; a server that is away or busy is waited for."""
        openai, until = self._openai, time.monotonic() + PATIENCE
        while True:
            with self._lock:
                parameters, refused = dict(self._parameters), tuple(sorted(self._refused))
            try:
                found = self._client.chat.completions.create(**self._message(item), **parameters)
                return _read(found)._replace(refused=refused)
            except openai.APITimeoutError as error:
                return self._failure(error)
            except openai.APIConnectionError as error:
                if not self._waited(PAUSE, until):
                    return self._failure(error)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._drop(error.response.text, parameters):
                    return self._failure(error)
            except openai.APIStatusError as error:
                self._check_hopeless(error)
                wait = _retry_after(error) if error.status_code == 429 else PAUSE
                if error.status_code not in (429, *AWAY) or not self._waited(wait, until):
                    return self._failure(error)
            except json.JSONDecodeError as error:
                return self._failure(f"no JSON: {error.doc[:60]!r}")
            except (openai.APIError, LookupError, TypeError, ValueError, AttributeError) as error:
                return self._failure(error)

    def _waited(self, seconds: float, until: float) -> bool:
        """Wait, but not beyond the patience; False where there is none left."""
        if time.monotonic() + seconds > until:
            return False
        return not self._ended.wait(seconds)

    def _failure(self, why) -> Failure:
        if isinstance(why, self._openai.APIStatusError):
            why = self._said(why)
        return Failure(self._without_key(why if isinstance(why, str) else first_line(why, LONGEST)))

    def _said(self, error) -> str:
        """Status and words of a server that refuses."""
        return self._without_key(shown(f"{error.status_code} {' '.join(error.response.text.split())}", LONGEST))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key != "none" else text

    def _check_hopeless(self, error) -> None:
        """Refuse what no patience mends: it would be the same for every question."""
        status, host = error.status_code, urlsplit(self._url).hostname
        if status in (401, 403):
            raise UserError(f"{host} refuses the key in {self._key_env} ({status})") from None
        if status == 402 or getattr(error, "code", None) == "insufficient_quota":
            raise UserError(f"{host} wants to be paid ({self._said(error)})") from None
        if status in (404, 405):
            hint = "" if urlsplit(self._url).path.endswith("/v1") else "; most addresses end in /v1"
            place = f"{self._url} ({status})"
            raise UserError(f"there is no model '{self._model}', or no chat/completions, at {place}{hint}") from None
        if 300 <= status < 400:
            there = urlsplit(error.response.headers.get("location", ""))
            place = f"{there.scheme}://{there.hostname}{there.path.removesuffix('/chat/completions')}"
            raise UserError(f"{self._url} redirects to {place}; write that address, if you trust it") from None

    def _drop(self, message: str, sent: dict) -> bool:
        """Leave out, or send otherwise, the parameter that a server names as it refuses; False where it names none."""
        with self._lock:
            if sent != self._parameters:  # another thread has met the same
                return True
            for name in sorted(self._parameters, key=len, reverse=True):
                if not re.search(rf"\b{name}\b", message):
                    continue
                value = self._parameters.pop(name)
                if name in INSTEAD and INSTEAD[name] in message:
                    self._parameters[INSTEAD[name]] = value
                elif value > FEWER.get(name, math.inf):
                    self._parameters[name] = FEWER[name]
                else:
                    self._refused.add(name)
                    if name == "logprobs":
                        self._parameters.pop("top_logprobs", None)
                return True
        return False

    def _message(self, item: Item) -> dict:
        content = [
            *({"type": "image_url", "image_url": {"url": data_url(image)}} for image in item.images),
            {"type": "text", "text": item.prompt},
        ]
        return {"model": self._model, "messages": [{"role": "user", "content": content}]}


def decoding(max_tokens: int | None = None) -> dict:
    """Parameters that are sent beside a question."""
    return PARAMETERS | ({"max_tokens": max_tokens} if max_tokens else {})


def data_url(image: Image.Image) -> str:
    """An image as it is sent."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _retry_after(error) -> float:
    """Seconds that a busy server wants to be left alone."""
    try:
        return max(float(error.response.headers["retry-after"]), PAUSE)
    except (KeyError, ValueError):  # none, or a date
        return PAUSE


def _read(found) -> Reply:
    """A reply of the server; raises LookupError and the like where it is none."""
    if isinstance(found, str):  # no JSON by its type
        raise ValueError(f"no JSON: {found[:60]!r}")
    if not found.choices:  # some say so with status 200
        raise LookupError(f"no choice in the reply ({str(getattr(found, 'error', None))[:80]})")
    choice = found.choices[0]
    message, ended = choice.message, str(choice.finish_reason).lower()
    if ended in BROKEN_OFF:
        raise ValueError(f"the server broke off ({ended})")
    content = message.content
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    if not isinstance(content, str | None):
        raise TypeError(f"content is no text: {content!r}"[:80])
    refusal = getattr(message, "refusal", None)
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    usage = found.usage
    return Reply(
        text=_whole(content or refusal or ""),
        finish="refusal" if refusal else FINISHES.get(ended, "stop"),
        letters=() if thought else _letters(choice),  # the first token is the thought's
        tokens_in=_count(getattr(usage, "prompt_tokens", 0)),
        tokens_out=_count(getattr(usage, "completion_tokens", 0)),
        served=_whole(str(found.model)),
    )


def _count(found) -> int:
    """A number of tokens, 0 for what is none: servers are not held to it."""
    return int(found) if isinstance(found, int | float) and 0 <= found < math.inf else 0


def _whole(text: str) -> str:
    """Text that can be kept: half of a character, as where a reply was cut off within one, is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _letters(choice) -> tuple[float, ...]:
    """Probability of each letter as the first token, of those that the server lists; empty where it lists none.

    A list of the chosen token alone says nothing of the other letters.
    """
    found = [0.0] * len(LETTERS)
    try:
        listed = choice.logprobs.content[0].top_logprobs
        for one in listed:
            letter = one.token.strip()
            if len(letter) == 1 and letter in LETTERS:
                found[LETTERS.index(letter)] += math.exp(one.logprob)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return ()
    return tuple(found) if len(listed) > 1 and 0 <= sum(found) <= 1.01 else ()
