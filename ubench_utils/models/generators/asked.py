"""Models that are asked and reply in words; what they said is kept, question by question.

Nothing here imports torch, so that what is kept needs none.
"""

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from ...data.benchmark import Benchmark
from ...data.pixels import decoder
from ...data.questions import HEADLINE_WORDING
from ...engine import store
from ...engine.replies import Replies, open_replies
from ...engine.work import UNREADABLE, further_pictures, picture, reason_of
from ...errors import UserError
from ..model import Answers, Model, naming
from ..plan import Plan, cost
from .protocol import INSTRUCTION, LETTERS, digest, prompt
from .reply import Failure, Item, Reply, read

RULE = 2  # raise it when the same question is asked otherwise
REASONS = 2  # that a note tells
LOCAL = 16  # replies of a local model that are written at once: one of a server may have been paid for
SIZED = 32  # images whose size is measured, to say what will be sent


class Asking(NamedTuple):
    """What came of asking.

    Attributes
    ----------
    asked : pandas.DataFrame
        The questions that were answered, now or before, as from ``build_questions``.
    replies : list of Reply
        One a question.
    unseen, failures : dict of str to str, Counter
        Images that could not be read, by hash, and why; how many questions have no reply otherwise, and why.
    n_now, n_images_now : int
        Questions that were asked now, and images that they are about.
    tokens_in, tokens_out : int
        Of all replies; one that answers several questions that are alike was given, and is counted, once.
    """

    asked: pd.DataFrame
    replies: list[Reply]
    unseen: dict[str, str]
    failures: Counter
    n_now: int
    n_images_now: int
    tokens_in: int
    tokens_out: int


class Asked(Model):
    """A model that reads an image with a question and replies in words."""

    family = "generator"
    replies = True

    @abstractmethod
    def asker(self, device: str, precision: str) -> Any:
        """What asks: it has ``replies(items)``, which gives pairs of an item's number and its reply or failure."""

    @abstractmethod
    def decoding(self) -> dict:
        """How replies are made: part of what they are kept under."""

    @abstractmethod
    def facts(self, device: str, precision: str) -> dict:
        """Facts of the model and of how it is asked: what a passport begins with; ``decoding`` among them."""

    def told(self, replies: list[Reply]) -> dict:
        """Facts that its replies tell; ``notes`` among them."""
        return {"notes": []}

    def sights(self, benchmark: Benchmark, precision: str, load: Callable[[], Any]) -> dict:
        """How it sees images of a benchmark, where that can be known here; ``load`` gives what asks."""
        return {}

    def begins(self, plan: Plan) -> None:
        """Say what will be asked; nothing is said of a model in memory."""

    def plan(
        self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str, asking: int = 1
    ) -> Plan:
        """What ``ask`` would ask, and what is known of its cost; nothing is asked, and no weights are loaded."""
        asked, prompts, keys, of = self._lined_up(questions, precision, asking)
        with open_replies(of) as kept:
            known = kept.known(keys)
        return self._plan(benchmark, asked, prompts, keys, known)

    def ask(
        self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str, asking: int = 1
    ) -> Asking:
        """Ask every question once, in place of the headline wording; what was answered before is not asked again.

        Parameters
        ----------
        benchmark, questions, device, precision
            As for ``answer``.
        asking : int
            Which asking of the same questions it is: the replies to each are kept apart.

        Raises
        ------
        UserError
            If none of the questions was answered.
        """
        asked, prompts, keys, of = self._lined_up(questions, precision, asking)
        unseen: dict[str, str] = {}
        failed: dict[str, str] = {}
        with open_replies(of) as kept:
            known = kept.known(keys)
            order = _to_ask(asked, keys, known)
            if order:
                asker = self.asker(device, precision)
                self.sights(benchmark, precision, lambda: asker)  # while it is loaded
                self.begins(self._plan(benchmark, asked, prompts, keys, known))
                items = _items(benchmark, asked, prompts, keys, order, unseen, failed)
                with naming(self.name), tqdm(total=len(order), unit="question", desc=self.name, disable=None) as bar:
                    _keep(asker.replies(items), keys, kept, bar, failed, LOCAL if self.has_weights else 1)
                known = kept.known(keys)
        answered = np.array([key in known for key in keys], bool)
        failures = Counter(failed[key] for key in keys if key in failed)
        if not answered.any():
            why = next(iter([*unseen.values(), *failures]), "none has words in which it can be asked")
            n = f"{(questions.wording == HEADLINE_WORDING).sum():,}"
            raise UserError(f"model '{self.name}': none of {n} questions was answered ({why})")
        found = [Reply(**known[key]) for key in keys if key in known]
        n_images = int(asked.image_hash.iloc[order].nunique())
        into, out = (sum(reply[side] for reply in known.values()) for side in ("tokens_in", "tokens_out"))
        return Asking(asked[answered], found, unseen, failures, len(order), n_images, into, out)

    def _lined_up(self, questions: pd.DataFrame, precision: str, asking: int) -> tuple:
        """The questions that can be asked, their prompts, the keys of their replies, and of the file with these."""
        there = questions[questions.wording == HEADLINE_WORDING]
        asked = there[there.asked.notna() & (there.n_options <= len(LETTERS))]
        prompts = [prompt(words, labels) for words, labels in zip(asked.asked, asked.labels, strict=True)]
        here = {"precision": precision} if self.has_weights else {}  # a server's own is not known
        pixels = decoder() if self.has_weights else decoder()["rule"]  # what was paid outlives another Pillow
        of = store.digest({"identity": self.identity, "rule": RULE, "pixels": pixels, **here, **self.decoding()})
        again = [asking] if asking > 1 else []
        seen = zip(asked.image_hash, asked.further, prompts, strict=True)
        keys = [store.digest([of, image, *filter(None, [further]), text, *again]) for image, further, text in seen]
        return asked, prompts, keys, of

    def _plan(self, benchmark: Benchmark, asked: pd.DataFrame, prompts: list, keys: list, known: dict) -> Plan:
        order = _to_ask(asked, keys, known)
        sizes = _sizes(benchmark, asked.iloc[order]) if order and not self.has_weights else []
        return Plan(
            model=self.name,
            questions=len(asked),
            to_ask=len(order),
            images=asked.image_hash.iloc[order].nunique(),
            image_bytes=tuple(sizes),
            prompt_bytes=sum(len(prompts[at].encode()) for at in order),
            known=tuple((reply["tokens_in"], reply["tokens_out"]) for reply in known.values()),
            prices=self.prices,
        )

    @property
    def prices(self) -> dict:
        """What a user says that a million tokens cost: ``price_in, price_out, currency``; empty where nothing."""
        return {}

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Answer by what was replied: see ``ask`` and ``read``."""
        started = time.monotonic()
        facts = self.facts(device, precision)
        found = self.ask(benchmark, questions, device=device, precision=precision)
        predictions, notes = read(found.asked, found.replies)
        there = questions[questions.wording == HEADLINE_WORDING]
        askable = there.asked.notna() & (there.n_options <= len(LETTERS))
        if not askable.all():
            n = f"{(~askable).sum():,} of {len(there):,} questions"
            notes.append(f"{n} have no words, or more options than letters: not asked")
        if found.failures:
            reasons = "; ".join(f"{n:,} × {why}" for why, n in found.failures.most_common(REASONS))
            n = f"{found.failures.total():,} questions have no reply"
            notes.append(f"{n} ({reasons}): in no score, asked again next time")
        seconds = time.monotonic() - started
        told = self.told(found.replies)
        into, out = found.tokens_in, found.tokens_out
        passport = {
            **facts,
            **told,
            **self.sights(benchmark, precision, lambda: self.asker(device, precision)),
            "device": device,
            "identity": self.identity,
            "commits": self.commits,
            "prompt": INSTRUCTION,
            "prompt_digest": digest(prompt("{question}", ["{option}", "{option}"])),
            "images": benchmark.images.image_hash.nunique(),
            "images_failed": len(found.unseen),
            "questions_asked_now": found.n_now,
            "questions_failed": found.failures.total(),
            "images_encoded_now": found.n_images_now,
            "tokens_in": into,
            "tokens_out": out,
            **({"cost": cost(into, out, self.prices)} if self.prices else {}),
            "seconds": round(seconds, 3),
            "images_per_second": round(found.n_images_now / seconds, 3) if found.n_now else None,
            "notes": [*notes, *told["notes"]],
        }
        return Answers(predictions, found.unseen, {}, passport)


def _to_ask(asked: pd.DataFrame, keys: list[str], known: dict) -> list[int]:
    """Places of the questions to ask, each key once, those of one image next to each other."""
    first = {key: at for at, key in reversed(list(enumerate(keys))) if key not in known}
    return sorted(first.values(), key=lambda at: (asked.image_hash.iloc[at], keys[at]))


def _sizes(benchmark: Benchmark, asked: pd.DataFrame) -> list[int]:
    """Bytes of the first images by hash as they are sent, times the questions about them; all, if they are few."""
    from .endpoint import data_url

    row_of, sizes = _rows(benchmark), []
    for of, n in asked[["image_hash", "further"]].value_counts().sort_index().iloc[:SIZED].items():
        with suppress(Exception):  # one that cannot be read is not sent, and told later
            shown = [picture(benchmark, row_of[of]), *further_pictures(benchmark, row_of[of])]
            sizes += [sum(len(data_url(image)) for image in shown)] * n
    return sizes


def _rows(benchmark: Benchmark) -> dict:
    """The first row of the images of a question, by what the first image and those beside it are known."""
    of = zip(benchmark.images.image_hash, benchmark.images.further, strict=True)
    return {both: row for row, both in reversed(list(enumerate(of)))}


def _items(
    benchmark: Benchmark, asked: pd.DataFrame, prompts, keys: list[str], order: list[int], unseen: dict, failed: dict
) -> Iterator[Item]:
    """Questions to be asked, those of one image next to each other.

    ``unseen`` gets the reasons of first images that are unreadable, by hash, ``failed`` those of questions that a
    further image fails, by key.
    """
    seen, row_of = list(zip(asked.image_hash, asked.further, strict=True)), _rows(benchmark)
    last, image = None, None
    for at in order:
        (first, further), row = seen[at], row_of[seen[at]]
        if first != last:
            last, image = first, None
            try:
                image = picture(benchmark, row)
            except Exception as error:  # each is that image's own
                unseen[first] = f"{UNREADABLE} ({reason_of(error)})"
        if image is None:
            continue
        try:
            beside = further_pictures(benchmark, row) if further else []
        except Exception as error:
            failed[keys[at]] = f"a further image: {UNREADABLE} ({reason_of(error)})"
            continue
        yield Item(at, (image, *beside), prompts[at])


def _keep(coming, keys: list[str], kept: Replies, bar, failed: dict, at_once: int) -> None:
    """Keep replies as they come, so many at once, and why others failed."""
    coming = iter(coming)
    while part := list(islice(coming, at_once)):
        for at, reply in part:
            if isinstance(reply, Failure):
                failed[keys[at]] = reply.reason
        kept.keep({keys[at]: reply._asdict() for at, reply in part if isinstance(reply, Reply)})
        bar.update(len(part))
