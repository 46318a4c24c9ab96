"""Simulated answers of the benchmark's shape whose true accuracies are known."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from ubench_utils.statistics import resampling

TYPES = {
    "domain": "coarse",
    "modality": "coarse",
    "submodality": "coarse",
    "stain": "coarse",
    "subdomain": "coarse",
    "classification": "fine",
}
SIZES = np.linspace(40, 200, 20).astype(int)  # images of each sub-dataset


def questions_of(sizes=SIZES):
    """Six questions an image, five where a sub-dataset has no stain, as a tally holds them."""
    dataset = np.repeat(np.arange(len(sizes)), sizes)
    images = pd.DataFrame({"dataset": [f"set {d:02}" for d in dataset], "image_id": np.arange(len(dataset))})
    images["modality"] = np.where(dataset % 3 == 0, "light", "electron")
    rows = images.merge(pd.DataFrame({"question": TYPES.keys(), "level": TYPES.values()}), "cross")
    rows = rows[(rows.question != "stain") | rows.dataset.str[-1].astype(int) % 2].assign(wording=1)
    return resampling.numbered(rows.reset_index(drop=True))


def states_of(questions, n_pairs, seed, changed=True):
    """States of many simulated pairs, and the true accuracies (base, tuned) of each question.

    A probit model: an image's ease moves all its answers, and each model moves all answers of an image by a random
    amount more, so that answers and their changes are correlated within the image. Unless ``changed``, base and
    tuned model are exchangeable.
    """
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(1)  # the truth is the same in all simulations
    cell = questions.groupby(["dataset", "question"]).ngroup().to_numpy()
    level, shift = (fixed.normal(mean, sd, cell.max() + 1)[cell] for mean, sd in ((0.4, 1.0), (-0.1, 0.4)))
    levels = np.stack([level, level + shift * changed])
    image, n_images = questions.image.to_numpy(), questions.image.max() + 1
    shared = 0.8 * rng.standard_normal((len(questions), n_pairs), dtype=np.float32)
    shared += rng.standard_normal((n_images, n_pairs), dtype=np.float32)[image]
    before, after = (
        levels[model][:, None]
        + shared
        + 0.5 * rng.standard_normal((n_images, n_pairs), dtype=np.float32)[image]
        + 0.6 * rng.standard_normal((len(questions), n_pairs), dtype=np.float32)
        > 0
        for model in (0, 1)
    )
    states = {
        "kept": before & after,
        "forgotten": before & ~after,
        "learned": ~before & after,
        "never": ~before & ~after,
    }
    return {state: values.astype(np.float32) for state, values in states.items()}, norm.cdf(levels / 1.5).T


def shares(sizes, p, alike, n, rng):
    """Probability of a right answer in each group of n studies, (n_groups, n); ``alike`` is the correlation within."""
    if alike == 1:
        return (rng.random((len(sizes), n)) < p).astype(float)
    kappa = (1 - alike) / alike
    return rng.beta(p * kappa, (1 - p) * kappa, (len(sizes), n))


def answers_of(right, sizes, datasets=1):
    """Answers of many models, (n_images, n_models), to one question an image; groups of these sizes by sub-dataset."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    images = pd.DataFrame({"group": [f"mouse {g // datasets}" for g in group], "image_id": np.arange(len(group))})
    images["dataset"] = [f"set {g % datasets}" for g in group]
    images = images.assign(question="classification", wording=1, level="fine", n_options=4)
    tables = [images.assign(model=f"{m:03}", correct=right[:, m]) for m in range(right.shape[1])]
    return pd.concat(tables, ignore_index=True)
