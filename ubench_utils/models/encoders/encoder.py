"""Models that compare an image with every option: dual encoders, those with a matching head, and merges of them.

Nothing here imports torch, so that what is cached needs none.
"""

import time
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...data.benchmark import Benchmark
from ...engine import store
from ...errors import UserError
from ..cards import ModelCard
from ..model import Answers, Model, naming
from .features import Features, image_features, predict, text_features
from .matching import match_images, predict_matches

if TYPE_CHECKING:
    from .network import DualEncoder

ALIKE = 1e-5  # of features of length 1, or of log-odds: a batch of another size moves them by less


class Encoder(Model):
    """A model with an image encoder, a text encoder and weights of its own."""

    def __init__(self, card: ModelCard, parents: tuple[Model, ...] = ()):
        super().__init__(card, parents)
        self._loaded_as = self  # of the model itself, whatever names it has beside

    def __eq__(self, other) -> bool:
        return isinstance(other, Encoder) and (self.card, self.identity) == (other.card, other.identity)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def family(self) -> str:
        """By how it compares image and text."""
        return "dual encoder" if self.has_embeddings else "matching head"

    @property
    def has_embeddings(self) -> bool:
        """Whether it compares features; else it reads image and text together, pair by pair."""
        return self.source.has_embeddings if self.source else all(parent.has_embeddings for parent in self.parents)

    def load(self, device: str = "cpu", precision: str = "float32") -> "DualEncoder":
        """Load the weights, or merge those of the parents; see ``load_model``."""
        from . import network

        if self.merge is None:
            with naming(self._loaded_as.name):
                loaded = network.load(self._loaded_as, device)
        else:
            from ..merging import merge_models

            loaded = merge_models([parent.load(device) for parent in self.parents], self.merge)
        return replace(loaded, name=self.name, precision=precision)

    def facts(self, device: str, precision: str) -> dict:
        """Facts that the weights determine, from the cache if there: what a passport begins with."""
        return store.remembered(
            "passports", self._key(precision), compute=lambda: _facts(self.load(device, precision), device)
        )

    def features(
        self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str
    ) -> tuple[Features, Features, dict]:
        """Features of the images and of the options of a benchmark, and facts of the model, from the cache if there.

        Arguments as for ``answer``. Texts are cached together: the same questions find the same entries.

        Raises
        ------
        UserError
            If the model cannot be loaded, or compares options by a matching head and not by features.
        """
        facts = self.facts(device, precision)
        if not facts["has_embeddings"]:
            raise UserError(
                f"model '{self.name}': it compares options by a matching head, not by features of image and text"
            )
        key, load = self._key(precision), cache(partial(self.load, device, precision))
        return image_features(benchmark, key, load), text_features(_texts(questions), key, load), facts

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Answer by the option that is most like the image; weights are loaded only if something is not cached."""
        facts = self.facts(device, precision)
        key, load = self._key(precision), cache(partial(self.load, device, precision))
        started = time.monotonic()
        if facts["has_embeddings"]:
            text = text_features(_texts(questions), key, load)
            seen = image_features(benchmark, key, load)
        else:
            seen = text = match_images(benchmark, questions, key, load)
        hashes = benchmark.images.image_hash
        if hashes.isin(seen.failed).all():
            first = seen.failed[hashes.iloc[0]]
            raise UserError(f"model '{self.name}': none of {len(hashes)} images could be encoded ({first})")
        if facts["has_embeddings"]:
            predictions = predict(questions, seen, text, facts["logit_scale"])
        else:
            predictions = predict_matches(questions, seen)
        seconds = time.monotonic() - started
        cut = cut_alike(questions, text)
        passport = {
            **facts,
            "notes": cut_notes(cut, facts["context_length"]),
            "device": device,
            "identity": self.identity,
            "commits": self.commits,
            "texts": len(_texts(questions)),
            "texts_truncated": len(text.truncated),
            "questions_cut": cut,
            "images": hashes.nunique(),
            "images_failed": len(seen.failed),
            "images_encoded_now": seen.encoded,
            "seconds": round(seconds, 3),
            "images_per_second": round(seen.encoded / seconds, 1) if seen.encoded else None,
        }
        return Answers(predictions, seen.failed, seen.found, passport)

    def _key(self, precision: str) -> str:
        return store.digest({"identity": self.identity, "precision": precision})


def _texts(questions: pd.DataFrame) -> set[str]:
    return {option for options in questions.options for option in options}


def _facts(model: "DualEncoder", device: str) -> dict:
    return {
        "parameters": model.parameters,
        "activation": model.activation,
        "activation_from": model.activation_from,
        "preprocessing": model.recipe,
        "context_length": model.context_length,
        "logit_scale": model.logit_scale,
        "has_embeddings": model.has_embeddings,
        "doubt": model.doubt,
        "precision": model.precision,
        "device": device,
    }


def cut_alike(questions: pd.DataFrame, text: Features) -> int:
    """How many questions are cut before their options differ, as a long question of cognition may be."""
    cut = set(text.truncated)
    asked = zip(questions.image_hash, questions.options, strict=True) if cut else ()
    return sum(_look_alike(image_hash, cut.intersection(options), text) for image_hash, options in asked)


def cut_notes(n: int, length: int) -> list[str]:
    """A note on such questions, where there are any."""
    what = f"{n:,} question{'s are' if n > 1 else ' is'} cut at {length} tokens before the options differ"
    return [f"{what}: they look alike to this model, and its answer says nothing"] if n else []


def _look_alike(image_hash: str, options, text: Features) -> bool:
    """Whether two options have the same vector, or with a matching head the same score for an image."""
    rows = [text.row_of[key] for option in options for key in (option, (image_hash, option)) if key in text.row_of]
    if len(rows) < 2:
        return False
    found = text.vectors[rows].reshape(len(rows), -1)
    return any(np.abs(found[:at] - found[at]).max(axis=1).min() < ALIKE for at in range(1, len(rows)))
