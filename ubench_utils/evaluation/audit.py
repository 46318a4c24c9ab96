"""How far a model's choices depend on what should not matter: the precision of its encoder and the batch size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.benchmark import Benchmark
from ..data.pixels import Unreadable
from ..engine import store
from ..engine.work import picture
from ..models.model import Model

if TYPE_CHECKING:
    from ..models.encoders.network import DualEncoder

SAMPLE = 32  # images; one that reads image and text together compares every one with dozens of texts: it gets fewer
SAMPLE_OF_PAIRS = 6


def flip_rates(model: Model, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> dict:
    """Share of questions whose answer changes with the encoder's precision and with the batch size.

    The first images by content hash are encoded three times: in float32 in one batch, in float32 one by one, and in
    low precision in one batch. What was found is kept in the cache.

    Returns
    -------
    dict
        ``flip_rate_low_precision``, ``flip_rate_batch_size`` (shares of ``questions``), ``low_precision``,
        ``audit_images``, ``audit_questions``. Empty where no question is about a readable image, or where one could not
        be read now.
    """
    low = precision if precision != "float32" else "float16" if device == "cuda" else "bfloat16"
    texts = sorted({text for options in questions.options for text in options})
    identity = {"identity": model.identity, "precision": precision}
    return store.remembered(
        "audits",
        *(identity, benchmark.fingerprint, [device, low, len(questions), *texts]),
        compute=lambda: _flip_rates(model.load(device, precision), benchmark, questions, low),
    )


def _flip_rates(model: "DualEncoder", benchmark: Benchmark, questions: pd.DataFrame, low: str) -> dict:
    row_of = dict(zip(benchmark.images.image_hash, range(len(benchmark.images)), strict=True))
    sample = SAMPLE if model.has_embeddings else SAMPLE_OF_PAIRS
    images, hashes = [], []
    for image_hash in sorted(row_of):
        try:
            images.append(model.preprocess(picture(benchmark, row_of[image_hash])))
        except Unreadable:  # the evaluation itself counts and names it
            continue
        except Exception:  # may be readable the next time, and then belongs to the sample
            return {}
        hashes.append(image_hash)
        if len(hashes) == sample:
            break
    asked = questions[questions.image_hash.isin(hashes)]
    if asked.empty:
        return {}
    exact, pixels = replace(model, precision="float32"), np.stack(images)
    usual = exact.answer(asked, hashes, pixels)
    lower = replace(model, precision=low).answer(asked, hashes, pixels)
    with _one_thread():
        single = exact.answer(asked, hashes, pixels, one_by_one=True)
    return {
        "flip_rate_low_precision": _share_of_other(lower, usual),
        "flip_rate_batch_size": _share_of_other(single, usual),
        "low_precision": low,
        "audit_images": len(hashes),
        "audit_questions": len(asked),
    }


def _share_of_other(answers: pd.DataFrame, usual: pd.DataFrame) -> float:
    return float((answers.predicted_idx.to_numpy() != usual.predicted_idx.to_numpy()).mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Single items are too small to share out: waiting for each other would dominate."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
