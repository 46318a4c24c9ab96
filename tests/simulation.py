"""Simulated answers of the benchmark's shape, with the true difference in every cell known."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from ubench_utils import resampling

TYPES = {"domain": "coarse", "modality": "coarse", "submodality": "coarse", "stain": "coarse",
         "subdomain": "coarse", "classification": "fine"}  # fmt: skip
SIZES = np.linspace(40, 200, 20).astype(int)  # images of each sub-dataset


def questions_of(sizes=SIZES):
    """Five or six questions an image (half of the sub-datasets lack one), numbered as the tally numbers them."""
    dataset = np.repeat(np.arange(len(sizes)), sizes)
    images = pd.DataFrame({"dataset": [f"set {d:02}" for d in dataset], "image_id": np.arange(len(dataset))})
    images["modality"] = np.where(dataset % 3 == 0, "light", "electron")
    rows = images.merge(pd.DataFrame({"question": TYPES.keys(), "level": TYPES.values()}), "cross")
    rows = rows[~((rows.question == "stain") & (rows.dataset.str[-1].astype(int) % 2 == 1))].assign(wording=1)
    return resampling.numbered(rows.reset_index(drop=True))


def pairs_of(questions, n_pairs, seed, effect=0.4):
    """States of many simulated pairs on these questions, and the true (base, tuned) accuracy of each question.

    An image's ease moves all its questions, and fine-tuning moves all questions of an image by a random amount more
    (probit model), so that answers and their changes are correlated within the image.
    """
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(1)  # the same in all simulations
    cell = questions.groupby(["dataset", "question"]).ngroup().to_numpy()
    level, shift = truth.normal(0.3, 0.8, cell.max() + 1)[cell], truth.normal(-0.1, effect, cell.max() + 1)[cell]
    shift = shift * (effect > 0)
    image, shape = questions.image.to_numpy(), (questions.image.max() + 1, n_pairs)
    ease, change, ease_after = (rng.standard_normal(shape, dtype=np.float32)[image] for _ in range(3))
    noise = rng.standard_normal((2, len(questions), n_pairs), dtype=np.float32)
    own = noise[1] if effect else noise[1] + 0  # tuned answers share most of the noise of the base
    before = level[:, None] + ease + noise[0] > 0
    spread = np.sqrt(1 + 1 + 0.25)
    # under no effect the tuned model is exchangeable with the base: the same margins, other noise
    if effect:
        after = (level + shift)[:, None] + ease + 0.5 * change + 0.8 * noise[0] + 0.6 * own > 0
    else:
        after = level[:, None] + ease + 0.8 * noise[0] + 0.6 * own > 0
    del ease_after
    right = np.stack([norm.cdf(level / np.sqrt(2)), norm.cdf((level + shift) / (spread if effect else np.sqrt(2)))])
    states = {"kept": before & after, "forgotten": before & ~after, "learned": ~before & after, "never": ~before & ~after}
    return {state: values.astype(np.float32) for state, values in states.items()}, right.T
