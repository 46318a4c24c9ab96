"""Cells: where a mean over sub-datasets is withheld, by simulation; their sums are those of the scores' tests."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers.samples import table_of
from helpers.site import ROOT

from ubench_utils.statistics.cells import answered_cells, draws, lay_out
from ubench_utils.statistics.intervals import percentiles
from ubench_utils.statistics.resampling import image_weights, numbered, resamples
from ubench_utils.statistics.scores import score


def coverage(sizes, spread, n=1500):
    """Whether a mean over sub-datasets of so many images is withheld, and how often its interval would cover."""
    rng, dataset = np.random.default_rng(0), np.arange(len(sizes)).repeat(sizes)
    images = pd.DataFrame({"dataset": dataset.astype(str), "image_id": np.arange(len(dataset))})
    questions = numbered(images.assign(level="fine", question="classification", wording=1))
    p = rng.uniform(*spread, (len(sizes), n))  # the sub-datasets' true accuracies
    right = (rng.random((len(dataset), n)) < p[dataset]).astype(np.float32)
    layout, asked = lay_out(questions), np.ones((len(dataset), 1), np.float32)
    with resamples(500):
        drawn = draws(layout, right, asked, image_weights(questions))
    low, high = percentiles(drawn["macro"][0])
    withheld = answered_cells(layout, asked)[0].withheld[0]
    return withheld, ((low <= p.mean(axis=0)) & (p.mean(axis=0) <= high)).mean()


@pytest.mark.parametrize("spread", [(0.3, 0.9), (0.05, 0.95)])
def test_means_over_sub_datasets_are_withheld_where_their_intervals_would_not_cover(spread):
    """1,500 simulations; the Monte-Carlo standard error is one point, and the threshold lies between 79 and 81 %."""
    for sizes in ([1, 60, 60, 60, 60], [1, 2] * 10, [2] + 9 * [60], [2, 60, 60], [3, 60, 60], [2] * 5, [2] * 6, [3, 3]):
        withheld, covered = coverage(sizes, spread)
        assert withheld and covered < 0.79, (sizes, covered)
    for sizes in ([2] * 8, [3] * 4, [5, 5], [5, 5, 60], [2, 3, 4, 5] * 2, [2] * 20):
        withheld, covered = coverage(sizes, spread)
        assert not withheld and covered > 0.81, (sizes, covered)
    for sizes, least in (([12, 12], 0.91), ([12] * 20, 0.93)):
        withheld, covered = coverage(sizes, spread)
        assert not withheld and covered > least, (sizes, covered)


def test_a_mean_near_one_covers_less_as_how_to_read_says():
    text = (ROOT / "book" / "how_to_read.md").read_text(encoding="utf-8")
    said = re.search(r"(\d+) % for 60 images at 98 % and 12 at 90 %", text)
    rng, n = np.random.default_rng(1), 400
    models = []
    for name, images, p in (("apple", 60, 0.98), ("beech", 12, 0.9)):
        right = rng.random((n, images)) < p
        models += [table_of(f"{model}", row, name) for model, row in enumerate(right)]
    with resamples(500):
        found = score(pd.concat(models), by=[]).query("estimand == 'macro' and question == 'all'")
    covered = ((found.ci_low <= 0.94) & (found.ci_high >= 0.94)).mean()
    assert len(found) == n and abs(100 * covered - int(said[1])) < 8  # four standard errors of the simulation
