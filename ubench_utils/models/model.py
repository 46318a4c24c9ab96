"""What a model is to everybody else: something that answers questions.

A family of models (dual encoders, files of answers, the baseline) is a class that fills in ``identity`` and ``answer``.
Nobody outside asks which family a model is of, but what it can do: a capability. Nothing here imports torch.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.benchmark import Benchmark
from ..errors import UserError
from .cards import ModelCard
from .folders import Source
from .plan import Plan
from .registry import parse_merge
from .sources import identity_of, resolve, states


@dataclass(frozen=True)
class Answers:
    """What a model made of the questions.

    Attributes
    ----------
    predictions : pandas.DataFrame
        The prediction contract but ``model``, and ``tied``; no rows of images that could not be read.
    failed : dict of str to str
        Image hash to the reason why the model could not see it.
    files : dict of str to dict
        Image hash to what its file was found to be (``pixels.decode``), of models that look.
    passport : dict
        Facts for the record, JSON-able: how the answers came about, and ``notes`` on what a user should know.
    """

    predictions: pd.DataFrame
    failed: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict] = field(default_factory=dict)
    passport: dict = field(default_factory=dict)


@contextmanager
def naming(model: str) -> Iterator[None]:
    """Begin the message of whatever is wrong with a model by its name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"model '{model}': {error}") from error.__cause__


class Model(ABC):
    """A model by its card, opened but not loaded.

    Attributes
    ----------
    card : ModelCard
    parents : tuple of Model
        Those that a merge is made of.
    merge : Merge or None
        How; None for a model that is no merge.
    source : Source or None
        Where its files lie; None for a merge, and for a model without any.
    """

    has_files = True
    replies = False  # whether it answers in words
    without_weights: str  # why nothing can be loaded, where it cannot

    def __init__(self, card: ModelCard, parents: "tuple[Model, ...]" = ()):
        self.card, self.parents = card, parents
        self.merge = parse_merge(card.spec) if parents else None
        with naming(card.name):
            self.source: Source | None = resolve(card) if self.has_files and not parents else None
        self._states = states(self.source) if self.source else ()

    @property
    def name(self) -> str:
        """Name or model string."""
        return self.card.name

    @property
    @abstractmethod
    def family(self) -> str:
        """The word for models of its kind in figures and tables; nothing is decided by it."""

    @property
    def guesses(self) -> bool:
        """Whether its answers are drawn, so that they show what chance is."""
        return self.card.guesses

    @property
    def has_weights(self) -> bool:
        """Whether ``load`` gives its weights."""
        return self.card.has_weights

    @property
    def has_embeddings(self) -> bool:
        """Whether it answers by features of image and text, which ``features`` gives."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that determine its answers."""
        own = self.source.files if self.source else ()
        return (*own, *(file for parent in self.parents for file in parent.files))

    @property
    def commits(self) -> dict[str, str]:
        """Commit of every Hub repository that it was fetched from, by model string."""
        own = {self.card.spec: self.source.commit} if self.source and self.source.commit else {}
        return {**own, **{spec: commit for parent in self.parents for spec, commit in parent.commits.items()}}

    @cached_property
    def identity(self) -> dict:
        """Everything that determines its answers but the device, found once: the key of all that is cached of it.

        Weights enter by the SHA-256 of their file, so a name can be reused for other weights without harm. A merge is
        what was merged, and how.
        """
        if self.merge:
            base, *tuned = (parent.identity for parent in self.parents)
            of = tuned[0] if len(tuned) == 1 else tuned
            return {"kind": self.merge.method, "base": base, "tuned": of, **self.merge.parameters}
        assert self.source, "a model without files says itself what it is"
        return identity_of(self.card, self.source)

    def is_unchanged(self) -> bool:
        """Whether the identity is still that of the files there are."""
        if not all(parent.is_unchanged() for parent in self.parents):
            return False
        if self.source is None or states(self.source) == self._states:
            return True
        try:
            return identity_of(self.card, resolve(self.card)) == self.identity
        except (UserError, OSError):  # one is gone
            return False

    def named(self, name: str) -> "Model":
        """The same model under another name."""
        _ = self.identity  # found once for both
        other = copy.copy(self)
        other.card = replace(self.card, name=name)
        return other

    @abstractmethod
    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Answer questions, as from ``build_questions``, about the images of a benchmark.

        Parameters
        ----------
        benchmark : Benchmark
        questions : pandas.DataFrame
        device, precision : str
            As from ``choose_device``.

        Raises
        ------
        UserError
            If it cannot: its files are damaged, or changed meanwhile, or none of the images can be read.
        """

    def plan(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Plan:
        """What would be asked in words if it answered now: nothing, unless it is a model that replies."""
        return Plan(self.name, len(questions), 0)

    def load(self, device: str = "cpu", precision: str = "float32") -> Any:
        """Load the weights, as ``load_model`` does; refused where there are none."""
        raise UserError(f"{self.without_weights.format(self.name)} to load")

    def features(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> tuple:
        """Features of images and options, and facts of the model; refused where it answers otherwise."""
        raise UserError(f"model '{self.name}': it has no features of image and text")
