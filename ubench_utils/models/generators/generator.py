"""Models that are asked and reply in words; what they said is kept, question by question, and read by one rule.

Nothing here imports torch, so that what is kept needs none.
"""

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ...data.benchmark import Benchmark
from ...data.questions import HEADLINE_WORDING
from ...engine import store
from ...engine.replies import Replies, open_replies
from ...engine.work import UNREADABLE, picture, reason_of
from ...errors import UserError
from ..answers import answer_table
from ..model import Answers, Model, naming
from ..replies import NO_OPTION, read_reply
from .protocol import INSTRUCTION, LETTERS, digest, is_right, prompt
from .reply import Failure, Item, Reply

RULE = 1  # raise it when the same question is asked otherwise
REASONS = 2  # that a note tells


class Asked(Model):
    """A model that reads an image with a question and replies in words."""

    replies = True

    @abstractmethod
    def asker(self, device: str, precision: str) -> Any:
        """What asks: it has ``replies(items)``, which gives pairs of an item's number and its reply or failure."""

    @abstractmethod
    def facts(self, device: str, precision: str) -> dict:
        """Facts of the model and of how it is asked: what a passport begins with; ``decoding`` among them."""

    def told(self, asker: Any) -> dict:
        """Facts that are known only after it was asked."""
        return {}

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Ask every question once, in place of the headline wording; what was answered before is not asked again."""
        started = time.monotonic()
        facts = self.facts(device, precision)
        there = questions[questions.wording == HEADLINE_WORDING]
        asked = there[there.asked.notna() & (there.n_options <= len(LETTERS))]
        prompts = [prompt(words, labels) for words, labels in zip(asked.asked, asked.labels, strict=True)]
        of = store.digest({"identity": self.identity, "precision": precision, "rule": RULE, **facts["decoding"]})
        keys = [store.digest([of, image, text]) for image, text in zip(asked.image_hash, prompts, strict=True)]
        asker = None
        with open_replies(of) as kept:
            known = kept.known(keys)
            order = sorted(
                (at for at, key in enumerate(keys) if key not in known),
                key=lambda at: (asked.image_hash.iloc[at], keys[at]),
            )
            unseen: dict[str, str] = {}  # images, and why
            failures: Counter[str] = Counter()
            if order:
                asker = self.asker(device, precision)
                items = _items(benchmark, asked.image_hash.to_numpy(), prompts, order, unseen)
                with naming(self.name), tqdm(total=len(order), unit="question", desc=self.name, disable=None) as bar:
                    failures = _keep(asker.replies(items), keys, kept, bar)
                known = kept.known(keys)
        answered = np.array([key in known for key in keys], bool)
        if not answered.any():
            why = next(iter([*unseen.values(), *failures]), "none has words in which it can be asked")
            raise UserError(f"model '{self.name}': none of {len(there):,} questions was answered ({why})")
        found = [Reply(**known[key]) for key in keys if key in known]
        predictions, notes = read(asked[answered], found)
        if len(there) > len(asked):
            n = f"{len(there) - len(asked):,} of {len(there):,} questions"
            notes.append(f"{n} have no words, or more options than letters: not asked")
        if failures:
            reasons = "; ".join(f"{n:,} × {why}" for why, n in failures.most_common(REASONS))
            notes.append(
                f"{failures.total():,} questions have no reply ({reasons}): in no score, asked again next time"
            )
        seconds = time.monotonic() - started
        passport = {
            **facts,
            **(self.told(asker) if asker else {}),
            "device": device,
            "identity": self.identity,
            "commits": self.commits,
            "prompt": INSTRUCTION,
            "prompt_digest": digest(prompt("{question}", ["{option}", "{option}"])),
            "images": benchmark.images.image_hash.nunique(),
            "images_failed": len(unseen),
            "questions_asked_now": len(order),
            "questions_failed": failures.total(),
            "images_encoded_now": int(asked.image_hash.iloc[order].nunique()),
            "tokens_in": sum(one.tokens_in for one in found),
            "tokens_out": sum(one.tokens_out for one in found),
            "seconds": round(seconds, 3),
            "images_per_second": round(len(order) / seconds, 1) if order else None,
            "notes": notes,
        }
        return Answers(predictions, unseen, {}, passport)


class Generator(Asked):
    """A local model of transformers."""

    def load(self, device: str = "cpu", precision: str = "float32"):
        """Load the weights and the processor."""
        from . import local

        assert self.source
        with naming(self.name):
            return local.load(self.name, self.source, device, precision)

    asker = load

    def facts(self, device: str, precision: str) -> dict:
        """As of every model that is asked, from the cache if there."""
        from . import local

        key = store.digest({"identity": self.identity, "precision": precision})
        return store.remembered(
            "passports", key, compute=lambda: local.facts(self.load(device, precision)) | {"precision": precision}
        )


class Hosted(Asked):
    """A model behind an address, ``api:MODEL@URL``."""

    has_files = False
    without_weights = "model '{}' is asked at an address; it has no weights here"

    @cached_property
    def _place(self) -> tuple[str, str]:
        model, _, url = self.card.spec.partition(":")[2].rpartition("@")
        if not model or not url.startswith(("http://", "https://")):
            raise UserError(f"write api:MODEL@URL, say api:qwen@http://localhost:8000/v1, not '{self.card.spec}'")
        return model, url.rstrip("/")

    @cached_property
    def identity(self) -> dict:
        """Model and address: what lies behind them may change, which ``served`` in the record may show."""
        return {"kind": "endpoint", "model": self._place[0], "url": self._place[1]}

    def asker(self, device: str, precision: str):
        """The endpoint."""
        from .endpoint import Endpoint

        with naming(self.name):
            return Endpoint(*self._place)

    def facts(self, device: str, precision: str) -> dict:
        """What is sent beside the question."""
        from .endpoint import PARAMETERS

        return {"decoding": PARAMETERS, "url": self._place[1]}

    def told(self, asker) -> dict:
        """Parameters that the server did not take, and what it calls the model."""
        return {"refused": sorted(asker.refused), "served": sorted(asker.served)}


def _items(benchmark: Benchmark, hashes, prompts, order: list[int], unseen: dict) -> Iterator[Item]:
    """Questions to be asked, those of one image next to each other; ``unseen`` gets the reasons of unreadable ones."""
    row_of = {image: row for row, image in reversed(list(enumerate(benchmark.images.image_hash)))}
    last, image = None, None
    for at in order:
        if hashes[at] != last:
            last, image = hashes[at], None
            try:
                image = picture(benchmark, row_of[last])
            except Exception as error:  # each is that image's own
                unseen[last] = f"{UNREADABLE} ({reason_of(error)})"
        if image is not None:
            yield Item(at, (image,), prompts[at])


def _keep(coming, keys: list[str], kept: Replies, bar) -> Counter:
    """Keep replies as they come; returns why others failed."""
    failures: Counter[str] = Counter()
    for at, reply in coming:
        if isinstance(reply, Failure):
            failures[reply.reason] += 1
        else:
            kept.keep({keys[at]: reply._asdict()})
        bar.update()
    return failures


def read(asked: pd.DataFrame, replies: list[Reply]) -> tuple[pd.DataFrame, list[str]]:
    """Predictions of replies, with the replies beside them.

    Parameters
    ----------
    asked : pandas.DataFrame
        Questions as from ``build_questions``.
    replies : list of Reply
        One a question.

    Returns
    -------
    predictions : pandas.DataFrame
        The prediction contract but ``model``, ``tied``, and ``reply``, ``finish``, ``correct_official`` (by the
        benchmark's own rule) and ``letter_mass`` (how much of the first token's probability lies on the letters of the
        question). ``predicted_idx`` is what the reply chooses by ``read_reply``, −1 where it chooses nothing;
        ``p_answer`` and ``p_predicted`` are of the letters, NaN where they are not known.
    notes : list of str
        How many replies chose nothing, were cut off, or were declined.
    """
    width = int(asked.n_options.max())
    probability = np.full((len(asked), width), np.nan)
    mass = np.full(len(asked), np.nan)
    chosen = np.empty(len(asked), np.int64)
    tied = np.zeros(len(asked), bool)
    rows = zip(asked.labels, asked.options, asked.n_options, replies, strict=True)
    for at, (labels, options, n, reply) in enumerate(rows):
        chosen[at] = read_reply(reply.text, labels, options).index
        if reply.letters:
            letters = np.array(reply.letters[:n])
            mass[at] = letters.sum()
            if mass[at] > 0:
                probability[at, :n] = letters / mass[at]
                tied[at] = (letters == letters.max()).sum() > 1
    table = answer_table(asked, chosen, probability)
    table.loc[chosen == NO_OPTION, "p_predicted"] = np.nan
    official = zip(replies, asked.answer_idx, asked.labels, strict=True)
    table = table.assign(
        tied=tied,
        reply=[reply.text for reply in replies],
        finish=[reply.finish for reply in replies],
        correct_official=pd.array([is_right(reply.text, at, labels) for reply, at, labels in official], "boolean"),
        letter_mass=mass,
    )
    counts = {
        "choose no option and count as wrong": chosen == NO_OPTION,
        "were cut off at the cap on tokens": table.finish == "length",
        "were declined by the model or its server": table.finish.isin(["filter", "refusal"]),
    }
    return table, [f"{int(of.sum()):,} of {len(table):,} replies {what}" for what, of in counts.items() if of.any()]
