"""The random-choice baseline: what answers are worth that nobody looked for."""

import hashlib
from functools import cached_property

import numpy as np
import pandas as pd

from ..data.benchmark import Benchmark
from .answers import answer_table
from .model import Answers, Model

SEED = 0


class Baseline(Model):
    """Answers drawn uniformly from the options."""

    family = "baseline"
    has_files = False
    without_weights = "the random-choice baseline has no weights"

    @cached_property
    def identity(self) -> dict:
        """The way of drawing; the same for all."""
        return {"kind": "random choice", "seed": SEED}

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Answer all questions, images unseen."""
        return Answers(predict_randomly(questions, SEED))


def predict_randomly(questions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Answer each question by a draw from its options that depends on the question's key and the seed only."""
    keys = list(zip(questions.dataset, questions.image_id, questions.question, questions.wording, strict=True))
    draws = [int.from_bytes(hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()) for key in keys]
    n_options = questions.n_options.to_numpy()
    probability = np.broadcast_to(1 / n_options[:, None], (len(keys), n_options.max()))  # takes no memory
    predicted = (np.array(draws, dtype=np.uint64) % n_options.astype(np.uint64)).astype(np.int64)
    return answer_table(questions, predicted, probability).assign(tied=False)
