"""Evaluations as tests of the engine compare them."""

import io

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ubench_utils.evaluation import evaluate as evaluate_module

KEY = ["dataset", "image_id", "question", "wording"]


def evaluate(dataset, names=("demo-base",), **settings):
    """Evaluate on the CPU in float32."""
    return evaluate_module.evaluate(dataset, list(names), device="cpu", precision="float32", **settings)


def predictions(dataset, names=("demo-base",), **settings):
    """Predictions of an evaluation in the order of their keys."""
    table = evaluate(dataset, names, **settings).predictions
    return table.sort_values(["model", *KEY]).reset_index(drop=True)


def same(first, second):
    """Check that two tables of predictions agree: choices exactly, probabilities to rounding."""
    exact = ["model", *KEY, "answer_idx", "predicted_idx", "correct", "n_options"]
    pd.testing.assert_frame_equal(first[exact], second[exact])
    np.testing.assert_allclose(first.p_answer, second.p_answer, atol=2e-5)


def straightforward(rows, network, transform, tokenizer):
    """Yield (image_id, question, wording, predicted index) with open_clip's documented usage."""
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        asked = {
            tuple(name.rsplit("_", 1)): caption["options"]
            for name, caption in row["captions"].items()
            if caption is not None and caption["options"]
        }
        wordings = {"0": "A micrograph, typically studied in {}.", "1": "A microscopy image frequently studied in {}."}
        for wording, sentence in wordings.items():
            names = row["questions"]["subdomain"]["options"]
            asked["subdomain", wording] = [*(sentence.format(name) for name in names[:-1]), names[-1]]
        for (question, wording), options in asked.items():
            with torch.no_grad():
                image_features = network.encode_image(transform(image).unsqueeze(0))
                text_features = network.encode_text(tokenizer(options))
                image_features /= image_features.norm(dim=-1, keepdim=True)
                text_features /= text_features.norm(dim=-1, keepdim=True)
                similarity = image_features @ text_features.T
            yield row["image_id"], question, int(wording), int(similarity.argmax())


def shuffle_options(row, rng):
    """Give every question of a row another order of its options, captions alike."""
    for name, question in row["questions"].items():
        if question is None:
            continue
        order = [*rng.permutation(len(question["options"]) - 1), len(question["options"]) - 1]
        index = order.index(question["answer_idx"])
        captions = [row["captions"].get(f"{name}_{k}") for k in (0, 1)]
        for part, kind in [(question, int), *((caption, str) for caption in captions if caption)]:
            part["options"] = [part["options"][i] for i in order]
            part["answer_idx"] = kind(index)
