"""Calibration: against plain loops, and coverage in simulation."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import random_answers, table_of

from ubench_utils.statistics import calibration, resampling
from ubench_utils.statistics.resampling import resamples


def with_confidence(answers, seed=0):
    rng = np.random.default_rng(seed)
    return answers.assign(p_predicted=rng.uniform(0.25, 1, len(answers)))


def plain_bins(p):
    """Bin of each probability, by counting the cuts at or below it."""
    cuts = [np.quantile(p, k / 15) for k in range(1, 15)]
    return np.array([sum(value >= cut for cut in set(cuts)) for value in p])


def plain_gaps(bins, p, correct, weight):
    return np.array([np.sum((weight * (correct - p))[bins == b]) for b in range(15)]) / weight.sum()


def test_error_and_interval_are_those_of_a_plain_loop():
    answers = with_confidence(random_answers(missing=0.1))
    found = resamples(60, 4)(calibration.calibration_error)(answers).set_index("model")
    images = answers[["dataset", "image_id"]].drop_duplicates().sort_values(["dataset", "image_id"])
    weights = resamples(60, 4)(resampling.resampling_weights)(images.dataset)
    place = {key: i for i, key in enumerate(zip(images.dataset, images.image_id, strict=True))}
    for model, own in answers.groupby("model"):
        p, correct = own.p_predicted.to_numpy(), own.correct.to_numpy()
        bins = plain_bins(p)
        at = np.array([place[key] for key in zip(own.dataset, own.image_id, strict=True)])
        plain = plain_gaps(bins, p, correct, np.ones(len(own)))
        draws = np.array([plain_gaps(bins, p, correct, row[at]) for row in weights])
        row, ece, draws, distance = found.loc[model], abs(plain).sum(), abs(draws).sum(1), abs(draws - plain).sum(1)
        expected = (ece, max(ece - np.quantile(distance, 0.975), 0), np.quantile(draws, 0.975) - draws.mean() + ece)
        assert (row.estimate, row.ci_low, row.ci_high) == pytest.approx(expected, abs=1e-6)
        assert row.noise == pytest.approx(distance.mean(), abs=1e-6)
        assert (row.n_questions, row.accuracy, row.confidence) == pytest.approx((len(own), correct.mean(), p.mean()))


def test_resamples_without_any_answer_count_for_nothing():
    """Three images of sixty were answered: some resamples hold none of them."""
    rows = with_confidence(table_of("a", [1, 0, 1])).assign(
        stratum="apple", unit=range(3), n_units=60, content=range(3)
    )
    (found,) = resamples(400)(calibration.calibration_error)(rows).to_dict("records")
    assert np.isfinite([found[name] for name in ("estimate", "ci_low", "ci_high", "noise")]).all()


def test_equal_probabilities_share_a_bin():
    answers = random_answers(missing=0).assign(p_predicted=0.25)
    found = resamples(10)(calibration.calibration_error)(answers)
    assert np.allclose(found.estimate, (found.accuracy - 0.25).abs())


def test_answers_without_a_probability_are_left_out():
    answers = with_confidence(random_answers())
    answers.loc[answers.model == "b", "p_predicted"] = np.nan
    assert set(resamples(10)(calibration.calibration_error)(answers).model) == {"a", "c"}


def calibrated(n_models, gap, seed=0, n_images=600):
    """Models whose accuracy is their confidence − gap; five answers of an image are correlated."""
    rng = np.random.default_rng(seed)
    table = pd.MultiIndex.from_product([range(n_models), range(n_images), range(5)], names=["model", "image_id", "q"])
    table = table.to_frame(index=False)
    p = rng.uniform(0.4, 0.95, len(table))
    shared = rng.random((n_models, n_images)).repeat(5)
    luck = np.where(rng.random(len(table)) < 0.5, shared, rng.random(len(table)))
    return table.assign(dataset=table.image_id % 10, p_predicted=p, correct=luck < p - gap)


@pytest.mark.parametrize("gap", [0.1, 0.05, 0.0])
def test_interval_covers_the_true_error(gap):
    """400 models; the Monte-Carlo standard error is 1.1 points."""
    found = resamples(500)(calibration.calibration_error)(calibrated(400, gap))
    covered = ((found.ci_low <= gap) & (gap <= found.ci_high)).mean()
    print(
        f"true error {gap}: estimate {found.estimate.mean():.4f}, noise {found.noise.mean():.4f}, covered {covered:.3f}"
    )
    assert covered >= 0.94
