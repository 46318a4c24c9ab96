"""Rules learned on one half and asked about the other: against plain loops, and where nothing is to be learned."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm, t

from ubench_utils.statistics import held_out
from ubench_utils.statistics.held_out import over_majority


def plain_rule(values, classes, learned):
    """What the rule says of each item: the shares of the classes it may say, as a dict."""
    counts = Counter(classes[learned])
    if values.ndim == 1:
        said = []
        for value in values:
            seen = Counter(classes[learned & (values == value)]) or counts
            most = [name for name, n in seen.items() if n == max(seen.values())]
            often = [name for name in most if counts[name] == max(counts[one] for one in most)]
            said.append({name: 1 / len(often) for name in often})
        return said
    means = {name: values[learned & (classes == name)].mean(axis=0) for name in counts}
    residuals = np.concatenate([values[learned & (classes == name)] - means[name] for name in counts])
    scatter = np.sqrt((residuals**2).sum(axis=0) / (learned.sum() - len(counts)))
    fits = [
        {name: norm.logpdf(v, means[name], scatter).sum() + np.log(counts[name]) for name in counts} for v in values
    ]
    return [{max(fit, key=fit.get): 1.0} for fit in fits]


@pytest.mark.parametrize("n_values", [0, 3, 12])
def test_the_difference_is_that_of_plain_loops(n_values):
    rng = np.random.default_rng(n_values)
    classes, units = rng.choice(["a", "b", "b", "c"], 40), np.repeat(np.arange(20), 2)
    values = rng.integers(0, n_values, 40) if n_values else rng.normal(size=(40, 2)) + (classes == "a")[:, None]
    found = over_majority(values, classes, units, n_tests=4)
    draws, shares = np.random.default_rng(0), Counter(classes)
    always = classes == shares.most_common(1)[0][0]
    assert len([n for n in shares.values() if n == max(shares.values())]) == 1
    own, reference = [], []
    for split in range(held_out.SPLITS):
        order = draws.permutation(20)
        first = np.isin(units, order[: (20 + split % 2) // 2])
        for learned in (first, ~first):
            said = plain_rule(values, classes, learned)
            own.append(np.mean([said[i].get(classes[i], 0) for i in np.flatnonzero(~learned)]))
            reference.append(always[~learned].mean())
    over = np.subtract(own, reference)
    half = t.ppf(1 - 0.025 / 4, len(over) - 1) * over.std(ddof=1) * np.sqrt(1 / len(over) + 1)
    expected = [np.mean(own), np.mean(reference), over.mean(), over.mean() - half, over.mean() + half]
    assert [found[k] for k in ("estimate", "reference", "over", "over_low", "over_high")] == pytest.approx(expected)


def test_groups_lie_in_one_half():
    """Each group has a value of its own: its other pictures give the class away, other groups do not."""
    units = np.repeat(np.arange(12), 5)
    classes = np.random.default_rng(0).permutation(np.arange(12) % 2)[units]
    whole, apart = over_majority(units, classes, units), over_majority(units, classes, np.arange(60))
    assert whole["over"] <= 0.02 and whole["over_low"] <= 0 < 0.3 < apart["over_low"]


def test_the_most_frequent_class_is_beaten_by_what_tells_more():
    """Of classes 3 : 1, a measure that says nothing never beats the frequent one, and one that parts them does."""
    rng, classes = np.random.default_rng(0), np.repeat(["a", "b"], [45, 15])
    nothing = over_majority(rng.normal(size=(60, 1)), classes, np.arange(60))
    apart = over_majority(rng.normal(size=(60, 1)) + 4 * (classes == "b")[:, None], classes, np.arange(60))
    assert nothing["reference"] == apart["reference"] == pytest.approx(0.75)
    assert nothing["over_low"] < 0 and apart["over_low"] > 0.1


@pytest.mark.parametrize("values", [np.zeros(30, int), np.zeros((30, 3)), np.arange(30)])
def test_what_is_no_difference_is_none(values):
    found = over_majority(values, np.arange(30) % 3, np.arange(30))
    assert found["over_low"] <= 0 <= found["over_high"] and np.isfinite(list(found.values())).all()


def test_more_tests_are_a_wider_interval():
    rng = np.random.default_rng(0)
    values, classes = rng.normal(size=(60, 1)), np.arange(60) % 2
    one, ten = (over_majority(values, classes, np.arange(60), n_tests=n) for n in (1, 10))
    assert ten["over"] == one["over"] and ten["over_low"] < one["over_low"] < one["over_high"] < ten["over_high"]
