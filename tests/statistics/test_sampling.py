"""A sample drawn by ``--limit`` says of the whole benchmark what its intervals claim."""

import numpy as np
import pandas as pd
import pytest

from ubench_utils.data.benchmark import draw
from ubench_utils.statistics import scores
from ubench_utils.statistics.resampling import resamples
from ubench_utils.studies import published


def of_samples(limit: int, n_samples: int, seed: int) -> float:
    """Share of samples whose interval holds the score of all images; one benchmark of the Hub's sizes a seed."""
    rng, sizes = np.random.default_rng(seed), published.datasets().n_images
    dataset = np.repeat(sizes.index.to_numpy(), sizes)
    p = rng.uniform(0.1, 0.9, len(sizes)).repeat(sizes)
    right = (
        rng.random((len(dataset), 5)) < rng.beta(2 * p, 2 * (1 - p))[:, None]
    )  # five answers of an image go together
    n = pd.Series(dataset[draw(dataset, limit)]).value_counts()
    members = pd.Series(dataset).groupby(dataset).indices
    images = pd.DataFrame({"dataset": n.index.repeat(n), "image_id": np.arange(limit)})
    questions = images.merge(pd.DataFrame({"question": list("abcde")}), "cross").assign(level="coarse", wording=1)
    tables = []
    for sample in range(n_samples):
        rows = np.concatenate([rng.permutation(members[name])[:size] for name, size in n.items()])
        tables.append(questions.assign(model=f"{sample:03}", n_options=4, correct=right[rows].ravel()))
    with resamples(500):
        table = scores.score(pd.concat(tables, ignore_index=True), by=())
    table = table[(table.question == "all") & (table.estimand == "micro")]
    return ((table.ci_low <= right.mean()) & (right.mean() <= table.ci_high)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [200, 500])
def test_pooled_intervals_of_a_limited_run_cover_the_whole_benchmark(limit):
    """1,800 samples of six benchmarks; the Monte-Carlo standard error is half a point."""
    covered = [of_samples(limit, 300, seed) for seed in range(6)]
    print(f"limit {limit}: {np.mean(covered):.3f} of {np.round(covered, 3)}")
    assert 0.93 <= np.mean(covered) <= 0.97
