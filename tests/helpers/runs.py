"""Evaluations as tests of the engine compare them."""

import numpy as np
import pandas as pd

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
