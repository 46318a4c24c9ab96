"""A matching head: a model that reads image and text together, so every pair takes a pass of its own."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ...data.benchmark import Benchmark
from ...engine import store
from ...engine.work import chunked, encode_batched, is_absent, over_images
from ..answers import choose, in_blocks, option_rows, softmax
from .features import Features


def match_images(benchmark: Benchmark, questions: pd.DataFrame, key: str, load: Callable) -> Features:
    """Match every image with the options of its own questions, through a model's matching head.

    Each image is encoded once and then compared with each of its distinct options; parameters as for
    ``image_features``, with ``questions`` as from ``build_questions``.
    """
    absent = set(benchmark.images.image_hash[is_absent(benchmark.images)])
    options = {
        image_hash: sorted({text for row in rows for text in row})
        for image_hash, rows in questions.groupby("image_hash", sort=False).options
        if image_hash not in absent
    }
    chunks = chunked(options)
    keys = [[[image_hash, *options[image_hash]] for image_hash in chunk] for chunk in chunks]

    def encode(model, chunk, pixels, reasons):
        def match(rows):
            parts = [
                np.zeros(len(options[chunk[row]])) if reasons[row] else model.match(pixels[row], options[chunk[row]])
                for row in rows
            ]
            return np.concatenate(parts).astype(np.float32)

        values = encode_batched(match, range(len(chunk)))
        ends = np.cumsum([len(options[image_hash]) for image_hash in chunk])[:-1]
        fine = [np.isfinite(part).all() for part in np.split(values, ends)]
        reasons = [r or ("" if ok else "its logits are not finite") for r, ok in zip(reasons, fine, strict=True)]
        return {"values": values, "reasons": np.array(reasons, dtype=str)}

    done = over_images(benchmark, chunks, "matches", key, keys=keys, load=load, work=encode)
    pairs = [(image_hash, text) for chunk in chunks for image_hash in chunk for text in options[image_hash]]
    texts = sorted({text for row in options.values() for text in row})
    path = store.entry("truncated", key, texts)
    cut = store.read(path)
    if cut is None:
        cut = {"truncated": load().truncated(texts)}
        store.write(path, **cut)
    return Features(
        row_of={pair: row for row, pair in enumerate(pairs)},
        vectors=np.concatenate([np.zeros(0, np.float32), *(entry["values"] for entry in done.entries)]),
        failed=done.failed,
        truncated=[text for text, is_cut in zip(texts, cut["truncated"], strict=True) if is_cut],
        encoded=done.computed,
        found=done.files,
    )


def predict_matches(questions: pd.DataFrame, matches: Features) -> pd.DataFrame:
    """Answer every question by a matching head: the option that most likely matches the image is chosen.

    Every option is scored by itself, so the log-odds of one question need not add up to one answer; ``p_answer`` and
    ``p_predicted`` are their softmax over the options. Ties and columns as in ``predict``.
    """
    asked = questions[~questions.image_hash.isin(matches.failed)]
    alphabetical = {text: row for row, text in enumerate(sorted({text for row in asked.options for text in row}))}

    def answer(block):
        option_row = option_rows(block, alphabetical)
        pairs = zip(block.image_hash, block.options, strict=True)
        rows = [[matches.row_of[image_hash, option] for option in options] for image_hash, options in pairs]
        logits = matches.vectors[np.array(rows, dtype=np.int64).reshape(option_row.shape)]
        return choose(block, logits, option_row, softmax(logits, 1.0))

    return in_blocks(asked, answer)
