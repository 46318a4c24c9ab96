"""Rules learned on one half and asked about the other: against plain loops, and what shuffled classes say of them."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import norm

from ubench_utils.statistics import held_out
from ubench_utils.statistics.held_out import beyond_chance


def plain_rule(values, classes, learned):
    """The class that the rule says of each item; of equals the one with the smallest name."""
    counts = Counter(classes[learned].tolist())
    if values.ndim == 1:
        seen = [Counter(classes[learned & (values == value)].tolist()) for value in values]
        return np.array([min(counts, key=lambda name: (-of[name], -counts[name], name)) for of in seen])
    means = {name: values[learned & (classes == name)].mean(axis=0) for name in counts}
    residuals = np.concatenate([values[learned & (classes == name)] - means[name] for name in counts])
    scatter = np.sqrt((residuals**2).sum(axis=0) / (learned.sum() - (classes.max() + 1)))
    fits = [
        {name: norm.logpdf(v, means[name], scatter).sum() + np.log(counts[name]) for name in counts} for v in values
    ]
    return np.array([max(fit, key=fit.get) for fit in fits])


@pytest.mark.parametrize("n_values", [0, 3, 12])
def test_accuracy_is_that_of_plain_loops(n_values):
    """Under the true classes and under shuffled ones, of classes of unequal size."""
    rng = np.random.default_rng(n_values)
    classes = rng.choice(4, 60, p=[0.5, 0.3, 0.15, 0.05])
    values = rng.integers(0, n_values, 60) if n_values else rng.normal(size=(60, 2)) + (classes == 1)[:, None]
    labels = np.stack([classes, *(rng.permutation(classes) for _ in range(20))]).astype(np.int16)
    half = rng.random(60) < 0.5
    found = held_out._accuracy(values, labels, half)
    for own, right in zip(labels, found, strict=True):
        hits = [(plain_rule(values, own, learned) == own)[~learned].sum() for learned in (half, ~half)]
        assert right == pytest.approx(sum(hits) / 60)


def test_groups_lie_in_one_half():
    """Each group has a value of its own: its other pictures give the class away, other groups do not."""
    units = np.repeat(np.arange(12), 5)
    classes = np.random.default_rng(0).permutation(np.arange(12) % 2)[units]
    whole, apart = (beyond_chance({"value": units}, classes, of).iloc[0] for of in (units, np.arange(60)))
    assert whole.estimate <= 0.5 and whole.p > 0.05
    assert apart.estimate > 0.9 and apart.p == 1 / (held_out.SHUFFLES + 1)


@pytest.mark.parametrize("kind", ["one class", "several", "single"])
def test_shuffling_keeps_groups(kind):
    """A group of one class stays one; classes are as frequent as before; single items are dealt as by any shuffle."""
    rng = np.random.default_rng(0)
    units = np.arange(40) if kind == "single" else np.repeat(np.arange(10), [1, 2, 3, 4, 5, 5, 5, 5, 5, 5])
    classes = (units % 3) if kind == "one class" else np.arange(40) % 3
    dealt = np.stack([held_out._shuffled(classes, units, rng) for _ in range(300)])
    if kind == "one class":
        assert all(len(np.unique(dealt[:, units == unit], axis=1).T) == 1 for unit in range(10))
        firsts = [sorted(row[np.unique(units, return_index=True)[1]]) for row in dealt]
        assert all(first == sorted(np.arange(10) % 3) for first in firsts)
    else:
        assert (np.sort(dealt, axis=1) == np.sort(classes)).all()
        assert (dealt == 0).mean(axis=0) == pytest.approx((classes == 0).mean(), abs=0.12)


@pytest.mark.parametrize("grouped", [False, True])
def test_p_values_are_uniform_where_there_is_nothing(grouped, monkeypatch):
    """Two hundred data sets of three rules; specimens differ in what the rules look at, classes do not."""
    monkeypatch.setattr(held_out, "SHUFFLES", 59)
    rng, p = np.random.default_rng(0), []
    units = np.repeat(np.arange(12), 4) if grouped else np.arange(40)
    for _ in range(200):
        shared = rng.normal(size=(units.max() + 1, 3))[units] + 0.5 * rng.normal(size=(len(units), 3))
        looks = {"a": shared[:, :1], "b": shared[:, 1:], "c": (shared[:, 0] > 1).astype(int)}
        classes = rng.permutation(np.arange(units.max() + 1) % 2)[units]
        p.append(beyond_chance(looks, classes, units).p.min())
    rates = [np.mean(np.array(p) <= level) for level in (0.05, 0.2, 0.5)]
    print(grouped, rates)
    assert rates == pytest.approx([0.05, 0.2, 0.5], abs=0.08)


def test_what_is_no_difference_is_none():
    looks = {"zero": np.zeros(30, int), "zeros": np.zeros((30, 3)), "own": np.arange(30)}
    found = beyond_chance(looks, np.arange(30) % 3, np.arange(30))
    assert (found.p > 0.05).all() and found.notna().all(axis=None) and list(found.columns) == held_out.RULES
    assert beyond_chance({}, np.arange(30) % 3, np.arange(30)).empty


def test_many_sets_make_p_larger_and_can_still_be_told():
    rng = np.random.default_rng(0)
    looks = {"parted": rng.normal(size=(60, 1)) + 3 * (np.arange(60) % 2)[:, None]}
    one, many = (beyond_chance(looks, np.arange(60) % 2, np.arange(60), n_sets=n).p.item() for n in (1, 30))
    assert one == 1 / (held_out.SHUFFLES + 1) and one < many <= held_out.LEVEL
