"""Intervals and tests against closed forms, scipy and enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm, permutation_test

from ubench_utils.statistics import intervals
from ubench_utils.statistics.intervals import wilson

relaxed = settings(deadline=None, derandomize=True, max_examples=40)


@pytest.mark.parametrize("n", [1, 2, 5, 20, 50, 300])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_wilson_is_scipys(n, confidence):
    successes = np.unique(np.linspace(0, n, 11).astype(int))
    low, high = wilson(successes, np.full(len(successes), n), confidence)
    for k, a, b in zip(successes, low, high, strict=True):
        assert (a, b) == pytest.approx(tuple(binomtest(int(k), n).proportion_ci(confidence, "wilson")), abs=1e-12)


@relaxed
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_point_and_is_symmetric(case):
    k, n = case
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1 and high > low
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    wide = np.subtract(*wilson(k, n)[::-1])
    assert np.subtract(*wilson(4 * k, 4 * n)[::-1]) < wide


def test_percentiles_are_numpys():
    draws = np.random.default_rng(0).normal(size=(4, 5, 101))
    draws[0, 0, :30], draws[1, 1, 1:], draws[2, 2] = np.nan, np.nan, np.nan
    found = intervals.percentiles(draws)
    with pytest.warns(RuntimeWarning, match="All-NaN"):
        expected = np.nanquantile(draws, [0.025, 0.975], axis=-1)
    assert np.allclose(found, expected, equal_nan=True)


@relaxed
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial(lost, gained):
    n = lost + gained
    expected = min(1, 2 * binom.cdf(min(lost, gained), n, 0.5)) if n else 1
    assert intervals.mcnemar_exact(lost, gained) == pytest.approx(expected) == intervals.mcnemar_exact(gained, lost)


@relaxed
@given(st.lists(st.integers(-6, 6), max_size=9))
def test_sign_flip_is_the_enumeration(changes):
    sums = [np.dot(signs, changes) for signs in itertools.product([-1, 1], repeat=len(changes))]
    expected = np.mean(np.abs(sums) >= abs(sum(changes))) if changes else 1.0
    assert intervals.sign_flip(changes) == pytest.approx(expected, rel=1e-12)


def test_sign_flip_is_scipys():
    changes = np.array([3, -1, 2, 2, 0, 1, -2, 4, 1, 1])
    twins = (changes, 0 * changes)
    found = permutation_test(twins, lambda x, y: np.sum(x - y), permutation_type="samples", n_resamples=np.inf)
    assert intervals.sign_flip(changes) == pytest.approx(found.pvalue)


def test_sign_flip_is_the_random_flip_where_there_are_many():
    rng = np.random.default_rng(0)
    changes = rng.integers(-5, 7, 400)
    sums = np.abs(rng.choice([-1, 1], (50_000, 400)) @ changes)
    assert intervals.sign_flip(changes) == pytest.approx((sums >= abs(changes.sum())).mean(), abs=0.005)


@relaxed
@given(st.integers(0, 300), st.integers(0, 300))
def test_sign_flip_of_single_answers_is_mcnemars(lost, gained):
    changes = np.repeat([-1, 1, 0], [lost, gained, 5])
    assert intervals.sign_flip(changes) == pytest.approx(float(intervals.mcnemar_exact(lost, gained)), rel=1e-9)


@relaxed
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_loop(p):
    expected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        expected[i] = running
    assert intervals.holm(p) == pytest.approx(expected)


@pytest.mark.parametrize("n_cells", [1, 10, 100])
def test_critical_value_of_independent_cells_is_sidaks(n_cells):
    draws = np.random.default_rng(0).normal(size=(n_cells, 20_000)) * np.linspace(1, 5, n_cells)[:, None]
    draws = np.vstack([draws, np.zeros(20_000)])  # a cell that does not vary is left out
    found = intervals.critical_value(draws, np.zeros(n_cells + 1), draws.std(axis=1))
    assert found == pytest.approx(norm.isf((1 - 0.95 ** (1 / n_cells)) / 2), abs=0.04)


def test_detectable_difference_is_found_with_80_percent_power():
    rng = np.random.default_rng(0)
    for n, rate in ((300, 0.1), (2000, 0.2), (80, 0.4)):
        delta = float(intervals.detectable_difference(round(rate * (n + 2)) - 2, n, n))
        draws = rng.multinomial(n, [(rate - delta) / 2, (rate + delta) / 2, 1 - rate], 20_000)
        z = (draws[:, 1] - draws[:, 0]) / np.sqrt(np.maximum(draws[:, 0] + draws[:, 1], 1))
        assert (np.abs(z) > norm.isf(0.025)).mean() == pytest.approx(0.8, abs=0.03)


def test_detectable_difference_has_a_floor_and_shrinks_with_n():
    n = np.array([1, 3, 10, 30, 100, 1000, 10_000])
    none = intervals.detectable_difference(0 * n, n, n)
    assert (np.diff(none) <= 0).all() and none[0] == 1 and (none[2:] < 1).all()
    assert none[4] == pytest.approx((norm.isf(0.025) + norm.isf(0.2)) ** 2 / 100, abs=0.01)
    assert intervals.detectable_difference(50, 500, 100, 0.02) == pytest.approx(2.8016 * 0.02, rel=1e-3)
