"""Features of images and texts, encoded once a model, and the answers that their cosine similarities give.

Every image is decoded once per preprocessing recipe and encoded once per model, every text once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ...data.benchmark import Benchmark
from ...engine import store
from ...engine.work import chunked, encode_batched, is_absent, over_images
from ...errors import UserError
from ..answers import BLOCK, choose, in_blocks, option_rows, softmax


@dataclass(frozen=True)
class Features:
    """Features of a model: ``vectors`` float32 of shape (n, d), one row per key (image hash or text).

    Of a matching head ``vectors`` are log-odds of shape (n,), one per pair of image hash and text. ``failed`` maps the
    images that could not be encoded to the reason; ``truncated`` lists the texts that were cut; ``encoded`` counts what
    this call computed, the rest came from the cache; ``found`` says what each image file was found to be
    (``pixels.decode``).
    """

    row_of: dict
    vectors: np.ndarray
    failed: dict = field(default_factory=dict)
    truncated: list = field(default_factory=list)
    encoded: int = 0
    found: dict = field(default_factory=dict)


def image_features(benchmark: Benchmark, key: str, load: Callable) -> Features:
    """Encode the images of a benchmark with one model.

    Parameters
    ----------
    benchmark : Benchmark
    key : str
        Digest of the model's identity and precision: its folder in the cache.
    load : callable
        Returns the ``DualEncoder``; called only if something is not cached.
    """
    chunks = chunked(benchmark.images.image_hash[~is_absent(benchmark.images)])

    def encode(model, chunk, pixels, reasons):
        vectors = encode_batched(model.encode_images, pixels)
        ok = np.isfinite(vectors).all(axis=1)
        reasons = [r or ("" if fine else "its features are not finite") for r, fine in zip(reasons, ok, strict=True)]
        vectors[[bool(reason) for reason in reasons]] = 0
        return {"vectors": vectors, "reasons": np.array(reasons, dtype=str)}

    done = over_images(benchmark, chunks, "images", key, keys=chunks, load=load, work=encode)
    hashes = [image_hash for chunk in chunks for image_hash in chunk]
    vectors = [entry["vectors"] for entry in done.entries]
    return Features(
        row_of={image_hash: row for row, image_hash in enumerate(hashes)},
        vectors=np.concatenate(vectors) if vectors else np.zeros((0, 1), np.float32),
        failed=done.failed,
        encoded=done.computed,
        found=done.files,
    )


def text_features(texts: Iterable[str], key: str, load: Callable) -> Features:
    """Encode distinct texts with one model; parameters as for ``image_features``."""
    chunks = chunked(texts)
    parts, encoded = [], 0
    for chunk in chunks:
        part = store.read(store.entry("texts", key, chunk))
        if part is None:
            model = load()
            part = {"vectors": encode_batched(model.encode_texts, chunk), "truncated": model.truncated(chunk)}
            if not np.isfinite(part["vectors"]).all():
                raise UserError(f"model '{model.name}': text features are not finite in {model.precision}")
            store.write(store.entry("texts", key, chunk), **part)
            encoded += len(chunk)
        parts.append(part)
    keys = [text for chunk in chunks for text in chunk]
    truncated = np.concatenate([part["truncated"] for part in parts])
    return Features(
        row_of={text: row for row, text in enumerate(keys)},
        vectors=np.concatenate([part["vectors"] for part in parts]),
        truncated=[text for text, cut in zip(keys, truncated, strict=True) if cut],
        encoded=encoded,
    )


def predict(questions: pd.DataFrame, images: Features, texts: Features, logit_scale: float) -> pd.DataFrame:
    """Answer every question whose image was encoded, by the cosine similarity of image and option.

    The option of the highest similarity is chosen, in float32 whatever the encoder's precision (bf16 scores would
    tie). Probabilities are the softmax over the question's options of ``logit_scale`` × similarity.

    Parameters
    ----------
    questions : pandas.DataFrame
        As from ``build_questions``.
    images, texts : Features
        By image hash and by option text.
    logit_scale : float
        The model's inverse temperature.
    """

    def answer(block):
        asked, similarity, option_row = similarities(block, images, texts)
        return choose(asked, similarity, option_row, softmax(similarity, logit_scale))

    return in_blocks(questions[~questions.image_hash.isin(images.failed)], answer)


def similarities(questions: pd.DataFrame, images: Features, texts: Features) -> tuple:
    """Questions whose image was encoded, the cosine similarity of image and each option, and each option's row.

    Similarities are float32 and rows of ``texts`` int64, both of shape (n_questions, most options); where a question
    has fewer options they are −∞ and −1. Many questions are given by ``blocks``.
    """
    asked = questions[~questions.image_hash.isin(images.failed)]
    image_row = asked.image_hash.map(images.row_of).to_numpy()
    option_row = option_rows(asked, texts.row_of)
    return asked, cosines(images.vectors, image_row, texts.vectors, option_row), option_row


def cosines(image: np.ndarray, image_row: np.ndarray, text: np.ndarray, option_row: np.ndarray) -> np.ndarray:
    """Products of the features of each question's image and options, float32 (n_questions, most options)."""
    similarity = np.empty(option_row.shape, dtype=np.float32)
    size = max(1, BLOCK // option_row.shape[1])
    for start in range(0, len(option_row), size):
        block = slice(start, start + size)
        similarity[block] = np.einsum("qd,qod->qo", image[image_row[block]], text[option_row[block]])
    similarity[option_row < 0] = -np.inf
    return similarity
