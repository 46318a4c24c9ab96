"""The smallest difference found at n: with the power that it promises, by simulation, and as a curve over n."""

import numpy as np
import pandas as pd
import pytest
from helpers.samples import table_of
from helpers.simulation import answers_of, shares

from ubench_utils.statistics import families, intervals, power, scores
from ubench_utils.statistics.resampling import resamples

POWER = 0.80


def two_models(n, seed=0, rates=(0.5, 0.6)):
    rng = np.random.default_rng(seed)
    return pd.concat([table_of(name, rng.random(n) < rate) for name, rate in zip("ab", rates, strict=True)])


@pytest.mark.parametrize("n", [30, 60, 200, 600])
@pytest.mark.parametrize("number", [0.2, 0.5, 0.7])
def test_a_model_so_much_above_a_number_is_told_from_it(n, number):
    """Wilson's interval excludes the number in 80 % of samples; whole counts make it 76 to 87 % where they are few."""
    answers = table_of("a", np.arange(n) % 2)
    found = power.detectable(answers, fixed={"a": number}, factors=[1])
    right = np.random.default_rng(0).binomial(n, number + found.detectable.item(), 20_000)
    low, _ = intervals.wilson(right, np.full(len(right), n))
    assert (low > number).mean() == pytest.approx(POWER, abs=0.07 if n < 100 else 0.03)


@pytest.mark.parametrize("n", [60, 200, 600])
def test_a_difference_of_two_models_is_found(n):
    """Bonett and Price's interval of a pair excludes 0 in 80 % of samples with these answers' discordance."""
    answers = two_models(n)
    row = power.detectable(answers, [("a", "b")], factors=[1]).iloc[0]
    same = families.compare_cells(answers, [("a", "b")], ()).iloc[0]
    assert row.detectable == pytest.approx(same.detectable) and row.estimate == pytest.approx(same.estimate)
    rate = (same.forgotten + same.learned + 2) / (n + 2)
    states = [(rate - row.detectable) / 2, (rate + row.detectable) / 2, 1 - rate]
    lost, gained, _ = np.random.default_rng(0).multinomial(n, states, 20_000).T
    low, high = intervals.bonett_price(lost, gained, n)
    assert ((low > 0) | (high < 0)).mean() == pytest.approx(POWER, abs=0.03)


@pytest.mark.parametrize(("n_groups", "alike"), [(12, 0.5), (20, 1), (40, 0.3)])
def test_groups_need_the_difference_that_is_said(n_groups, alike):
    """The median of what 200 samples say is found in 80 % of others; without groups too little would be promised."""
    rng, sizes, number = np.random.default_rng(0), (5,) * n_groups, 0.4

    def sample(rate, n=200):
        return answers_of(rng.random((sum(sizes), n)) < np.repeat(shares(sizes, rate, alike, n, rng), 5, axis=0), sizes)

    answers = sample(0.55)
    fixed = dict.fromkeys(answers.model.unique(), number)
    with resamples(300):
        said = power.detectable(answers, fixed=fixed, factors=[1]).detectable.median()
        plain = power.detectable(answers.drop(columns="group"), fixed=fixed, factors=[1]).detectable.median()
        table = scores.score(sample(number + said), by=())
    found = table[(table.question == "all") & (table.estimand == "micro")].ci_low > number
    print(n_groups, alike, said, plain, found.mean())
    assert found.mean() == pytest.approx(POWER, abs=0.08) and said > 1.3 * plain


def test_more_pictures_show_less():
    answers = two_models(60)
    grouped = answers.assign(group=[f"{int(image) // 5}" for image in answers.image_id])
    for table, n_units in ((answers, 60), (grouped, 12)):
        found = power.detectable(table, [("a", "b")], {"a": 0.3, "b": 0.3}, factors=(1, 2, 4, 100))
        assert list(found.columns) == power.POWERS and found.n_units[:3].tolist() == [n_units, 2 * n_units, 4 * n_units]
        for _, curve in found.groupby("model"):
            for _, own in curve.groupby(curve.against.fillna(-1)):
                values = own.detectable.to_numpy()
                assert (np.diff(values) < 0).all() and values[3] == pytest.approx(values[0] / 10, rel=0.35)
                assert own.n_images.tolist() == [60, 120, 240, 6000]
        assert found.reference[:4].eq("a").all() and found.reference[4:].isna().all()


def test_four_times_the_pictures_are_the_factor_four():
    answers = two_models(80)
    four = pd.concat([answers.assign(image_id=answers.image_id + f"/{i}") for i in range(4)])
    ahead = power.detectable(answers, [("a", "b")], {"b": 0.3}, factors=[4]).detectable
    reached = power.detectable(four, [("a", "b")], {"b": 0.3}, factors=[1]).detectable
    assert ahead.tolist() == pytest.approx(reached.tolist(), rel=0.03)


def test_what_cannot_be_known_is_not_said():
    answers = two_models(40)
    one = power.detectable(answers.assign(group="mouse"), [("a", "b")], {"a": 0.3})
    assert len(one) == 8 and one.detectable.isna().all() and one.estimate.notna().all()
    assert power.detectable(answers, fixed={"a": 1.0}).detectable.isna().all(), "nothing is above all"
    assert np.isnan(power.detectable(answers, fixed={"a": 0.99}, factors=[1]).detectable.item())
    few = power.detectable(two_models(3), [("a", "b")], {"a": 0.3}).detectable
    assert few.isna().any() and (few.dropna() < 1).all(), "no difference is larger than 1, nor is that found"
    for empty in (power.detectable(answers), power.detectable(answers, [("a", "x")], {"x": 0.5})):
        assert empty.empty and list(empty.columns) == power.POWERS
