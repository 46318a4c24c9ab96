"""How far a model's choices depend on what should not matter: the precision of its encoder and the batch size."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ..data.benchmark import Benchmark
from ..data.pixels import Unreadable
from ..engine.work import Features, Matches, encode_batched, picture
from ..models.answers import predict, predict_matches

SAMPLE = 32  # images; a matching head compares every one with dozens of texts, so it gets fewer
SAMPLE_MATCHED = 6


def flip_rates(model, benchmark: Benchmark, questions: pd.DataFrame, low: str) -> dict:
    """Share of questions whose answer changes with the encoder's precision and with the batch size.

    The first images by content hash are encoded three times: in float32 in one batch, in float32 one by one, and in
    low precision in one batch.

    Parameters
    ----------
    model : Model
    benchmark : Benchmark
    questions : pandas.DataFrame
        As from ``build_questions``.
    low : {"bfloat16", "float16"}
        The low precision to compare with.

    Returns
    -------
    dict
        ``flip_rate_low_precision``, ``flip_rate_batch_size`` (shares of ``questions``), ``low_precision``,
        ``audit_images``, ``audit_questions``. Empty where no question is about a readable image, or where one could not
        be read now.
    """
    row_of = dict(zip(benchmark.images.image_hash, range(len(benchmark.images)), strict=True))
    pixels, sample = [], SAMPLE_MATCHED if model.matching_head else SAMPLE
    hashes = []
    for image_hash in sorted(row_of):
        try:
            pixels.append(model.preprocess(picture(benchmark, row_of[image_hash])))
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
    exact = replace(model, precision="float32")
    pixels = np.stack(pixels)
    answers = [_answers(exact, asked, hashes, pixels), _answers(replace(model, precision=low), asked, hashes, pixels)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # single items are too small to share out: waiting for each other would dominate
    answers.append(_answers(exact, asked, hashes, pixels, one_by_one=True))
    torch.set_num_threads(threads)
    return {
        "flip_rate_low_precision": float((answers[1] != answers[0]).mean()),
        "flip_rate_batch_size": float((answers[2] != answers[0]).mean()),
        "low_precision": low,
        "audit_images": len(hashes),
        "audit_questions": len(asked),
    }


def _answers(model, asked: pd.DataFrame, hashes: list, pixels: np.ndarray, one_by_one: bool = False) -> np.ndarray:
    """Chosen options, everything in one batch or each image and text by itself."""
    texts = sorted({text for options in asked.options for text in options})
    if model.matching_head:
        values = []
        for at, _ in enumerate(hashes):
            values += (
                [model.match(pixels[at], [text])[0] for text in texts]
                if one_by_one
                else list(model.match(pixels[at], texts))
            )
        pairs = {pair: row for row, pair in enumerate((image_hash, text) for image_hash in hashes for text in texts)}
        return predict_matches(asked, Matches(pairs, np.array(values), {}, [], 0)).predicted_idx.to_numpy()
    if one_by_one:
        image = np.concatenate([model.encode_images(pixels[at : at + 1]) for at in range(len(pixels))])
        text = np.concatenate([model.encode_texts([text]) for text in texts])
    else:
        image, text = (encode_batched(*pair) for pair in ((model.encode_images, pixels), (model.encode_texts, texts)))
    images = Features({image_hash: row for row, image_hash in enumerate(hashes)}, image, {}, [], 0)
    features = Features({text_: row for row, text_ in enumerate(texts)}, text, {}, [], 0)
    return predict(asked, images, features, model.logit_scale).predicted_idx.to_numpy()
