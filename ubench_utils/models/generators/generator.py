"""Generators of transformers in memory, and merges of them.

Nothing here imports torch, so that what is kept needs none.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from ...data.benchmark import Benchmark
from ...engine import store
from ..model import Answers, naming
from .asked import RULE, Asked

FACTS = 2  # raise it when a passport says other things


class Generator(Asked):
    """A local model of transformers."""

    _ready: dict = {}  # noqa: RUF012 (replaced, never filled); loaded for its facts, and not asked yet

    def load(self, device: str = "cpu", precision: str = "float32"):
        """Load the weights and the processor; a merge is made in float32, then rounded to the precision."""
        from . import local

        with naming(self.name):
            if self.merge is None:
                assert self.source
                return local.load(self.name, self.source, device, precision)
            from ..merging import merge_models

            merged = merge_models([parent.load() for parent in self.parents], self.merge)
            return replace(merged, name=self.name).on(device, precision)

    def asker(self, device: str, precision: str):
        """As ``load``; what was loaded for its facts is not loaded again."""
        ready, self._ready = self._ready, {}
        return ready.get((device, precision)) or self.load(device, precision)

    def decoding(self) -> dict:
        """Greedy, up to a cap."""
        from . import local

        return local.greedy()

    def facts(self, device: str, precision: str) -> dict:
        """As of every model that is asked, from the cache if there."""
        from . import local

        def compute() -> dict:
            loaded = self.load(device, precision)
            self._ready = {(device, precision): loaded}
            return local.facts(loaded) | {"precision": precision}

        key = store.digest({"identity": self.identity, "precision": precision, "rule": RULE, "facts": FACTS})
        found = store.remembered("passports", key, compute=compute)
        return found | {"decoding": found["decoding"] | self.decoding()}

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """As of every model that is asked; what was loaded for its facts is let go where nothing had to be asked."""
        try:
            return super().answer(benchmark, questions, device=device, precision=precision)
        finally:
            self._ready = {}

    def sights(self, benchmark: Benchmark, precision: str, load: Callable[[], Any]) -> dict:
        """How it sees the smallest and the largest image of a benchmark, from the cache if there."""
        from . import sights

        key = store.digest([self.identity, precision, benchmark.fingerprint])
        return store.remembered("sights", key, compute=lambda: {"sights": sights.of_benchmark(load(), benchmark)})
