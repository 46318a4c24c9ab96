"""Images of one group (specimen, slide, patient) are drawn together, and what rests on few groups says so."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers.samples import FACETS, random_answers, table_of
from helpers.simulation import answers_of, shares

from ubench_utils.pages.runner import ROOT
from ubench_utils.statistics import calibration, families, resampling, scores, selection
from ubench_utils.statistics.resampling import resamples

TWELVE = (5,) * 12
UNEVEN = (2, 3, 5, 10) * 5
MODELS = 400  # each is one simulated study


def scored(answers, estimand="micro"):
    with resamples(500):
        table = scores.score(answers, by=())
    return table[(table.question == "all") & (table.estimand == estimand)]


# ------------------------------------------------------------------------------------------------------ units


def test_images_of_a_group_and_copies_are_one_unit():
    images = pd.DataFrame(
        [
            ("apple", "1", "a", "mouse 1"),
            ("apple", "2", "b", "mouse 1"),
            ("apple", "3", "c", None),
            ("apple", "4", "d", "mouse 2"),
            ("beech", "5", "e", "mouse 1"),  # another mouse: groups are those of a sub-dataset
            ("beech", "6", "b", "mouse 3"),  # a copy of apple/2 joins both specimens
            ("beech", "7", "f", "mouse 3"),
            ("beech", "8", "c", None),
        ],
        columns=["dataset", "image_id", "image_hash", "group"],
    )
    found = resampling.units(images)
    together = found.groupby(["stratum", "unit"]).apply(lambda rows: tuple(rows.index)).tolist()
    assert sorted(together) == [(0, 1, 5, 6), (2, 7), (3,), (4,)]
    assert resampling.units(images.sample(frac=1, random_state=0)).sort_index().equals(found)
    assert found.content.nunique() == 6
    assert resampling.groups_of(images) == {"n_groups": 4, "n_grouped": 6, "n_units": 4, "n_alone": 0}


@pytest.mark.parametrize("group", [None, np.nan])
def test_a_column_without_a_group_changes_nothing(group):
    answers = random_answers(seed=4)
    with resamples(50):
        assert scores.score(answers.assign(group=group), FACETS).equals(scores.score(answers, FACETS))
        own = answers.assign(group=answers.image_id + answers.dataset)  # each image its own group
        assert scores.score(own, FACETS).equals(scores.score(answers, FACETS))


def test_a_group_is_drawn_as_a_whole():
    """Every draw holds all images of a group or none, and all draws of a group's images are equal."""
    answers = answers_of(np.ones((60, 1), bool), TWELVE)
    rows = resampling.numbered(answers)
    with resamples(50):
        weights = resampling.image_weights(rows)
    assert weights.shape == (12, 50) and rows.groupby("group").image.nunique().eq(1).all()


# -------------------------------------------------------------------------------------------------- coverage


@pytest.mark.parametrize(("sizes", "alike", "p"), [(TWELVE, 1, 0.7), (TWELVE, 0.5, 0.9), (UNEVEN, 0.5, 0.5)])
def test_scores_cover_with_groups_and_not_without(sizes, alike, p):
    """Simulated: 95 % intervals over groups cover, over images they are far too short."""
    rng = np.random.default_rng(0)
    right = rng.random((sum(sizes), MODELS)) < np.repeat(shares(sizes, p, alike, MODELS, rng), sizes, axis=0)
    answers = answers_of(right, sizes)
    covered = {}
    for name, table in {"groups": answers, "images": answers.drop(columns="group")}.items():
        found = scored(table)
        covered[name] = ((found.ci_low <= p) & (p <= found.ci_high)).mean()
    print(sizes, alike, p, covered)
    assert covered["groups"] >= 0.93 and covered["images"] < 0.83
    if (alike, p) == (1, 0.7):
        text = " ".join((ROOT / "book" / "how_to_read.md").read_text(encoding="utf-8").split())
        said = re.search(r"single pictures hold the truth in (\d+) %, those from groups in (\d+) %", text)
        assert said and abs(100 * covered["images"] - int(said[1])) < 1.5
        assert abs(100 * covered["groups"] - int(said[2])) < 1.5


def paired(alike, gain, seed=0, sizes=TWELVE, n=MODELS // 2):
    """Answers of n pairs of models; a group is lost, gained or kept, its images mostly alike."""
    rng = np.random.default_rng(seed)
    lost, gained = 0.2, 0.2 + gain
    state = rng.choice([-1, 1, 0], (len(sizes), n), p=[lost, gained, 1 - lost - gained])
    own = rng.choice([-1, 1, 0], (sum(sizes), n), p=[lost, gained, 1 - lost - gained])
    state = np.where(rng.random(own.shape) < alike, np.repeat(state, sizes, axis=0), own)
    before = np.where(state == 0, rng.random(own.shape) < 0.5, state < 0)
    after = np.where(state == 0, before, state > 0)
    return answers_of(np.concatenate([before, after], axis=1), sizes), [(f"{i:03}", f"{n + i:03}") for i in range(n)]


@pytest.mark.parametrize("alike", [1.0, 0.7])
def test_differences_cover_with_groups_and_not_without(alike):
    answers, pairs = paired(alike, 0.2)
    covered = {}
    for name, table in {"groups": answers, "images": answers.drop(columns="group")}.items():
        with resamples(500):
            found = scores.compare_pairs(table, pairs, by=()).query("question == 'all' and estimand == 'micro'")
        covered[name] = ((found.ci_low <= 0.2) & (found.ci_high >= 0.2)).mean()
    print(alike, covered)
    assert len(found) == len(pairs) and covered["groups"] >= 0.93 and covered["images"] < 0.83


def test_p_values_of_equal_models_are_uniform_with_groups_and_not_without():
    answers, pairs = paired(0.9, 0)
    rate = {}
    for name, table in {"groups": answers, "images": answers.drop(columns="group")}.items():
        with resamples(20):
            p = families.compare_cells(table, pairs, ()).p
        rate[name] = [(p <= level).mean() for level in (0.05, 0.2, 0.5)]
    print(rate)
    assert all(found <= level + 0.03 for found, level in zip(rate["groups"], (0.05, 0.2, 0.5), strict=True))
    assert rate["groups"][2] > 0.3 and rate["images"][0] > 0.25  # not by never being small


@pytest.mark.parametrize("n_groups", [10, 20])
def test_means_over_sub_datasets_cover_with_groups(n_groups):
    """Four sub-datasets of so many groups of four images, all alike within a group."""
    rng, sizes = np.random.default_rng(2), (4,) * (4 * n_groups)
    level = np.array([0.5, 0.6, 0.7, 0.8])[np.arange(len(sizes)) % 4]
    right = np.repeat(rng.random((len(sizes), MODELS)) < level[:, None], 4, axis=0)
    answers = answers_of(right, sizes, datasets=4)
    found, without = scored(answers, "macro"), scored(answers.drop(columns="group"), "macro")
    covered, short = (((t.ci_low <= 0.65) & (t.ci_high >= 0.65)).mean() for t in (found, without))
    print(covered, short)
    assert covered >= 0.93 and short < 0.75
    assert (found.n_images == 16 * n_groups).all()


# --------------------------------------------------------------------------------------------- few groups


def test_one_group_has_a_score_and_no_interval():
    answers = pd.concat([table_of("a", [1, 0, 1, 1]), table_of("b", [1, 1, 0, 1])]).assign(group="mouse 1")
    with resamples(50):
        found = scores.score(answers, by=["dataset"])
        pair = scores.compare(answers, "a", "b", by=())
        cells = families.compare_cells(answers, [("a", "b")], ())
        plain = scores.contrast(answers, {"b": 1, "a": -1})
    assert found.estimate.eq(0.75).all() and found.n_images.eq(4).all() and pair.estimate.eq(0).all()
    for table in (found, pair, cells, pd.DataFrame([plain])):
        assert table[["ci_low", "ci_high"]].isna().all(axis=None) and table.interval.eq("withheld").all()
    assert cells[["joint_low", "joint_high"]].isna().all(axis=None) and cells.p.eq(1).all() and pair.p.isna().all()


def test_a_score_that_hangs_on_one_large_group_has_no_interval():
    """One slide of 200 images and eleven of two: how slides differ is not seen in the 200."""
    rng = np.random.default_rng(0)
    for sizes, withheld in (((200, *[2] * 11), True), ((5,) * 12, False)):
        found = scored(answers_of(rng.random((sum(sizes), 1)) < 0.6, sizes))
        assert found.interval.eq("withheld").item() == withheld


def test_two_groups_tell_nearly_nothing():
    found = scored(answers_of(np.repeat([[True], [False]], 30, axis=0), (30, 30)))
    assert found.ci_high.item() - found.ci_low.item() > 0.9


@pytest.mark.parametrize("estimand", ["micro", "macro"])
def test_one_contrast_of_groups_has_one_interval(estimand):
    answers, _ = paired(0.7, 0.2, n=1)
    with resamples(80):
        found = scores.contrast(answers, {"001": 1, "000": -1}, estimand)
        pair = scores.compare(answers, "000", "001", by=()).query("question == 'all' and estimand == @estimand").iloc[0]
        cell = families.compare_cells(answers, [("000", "001")], (), family=lambda t: t.question == "all").iloc[0]
    for other in (pair, cell):
        assert [found[name] for name in ("estimate", "ci_low", "ci_high")] == pytest.approx(
            [other[name] for name in ("estimate", "ci_low", "ci_high")], abs=1e-6
        )


# ------------------------------------------------------------------------------------ what else is drawn


def test_a_group_lies_in_one_fold():
    sweep = answers_of(np.random.default_rng(0).random((60, 3)) < 0.5, TWELVE)
    sweep = sweep.assign(alpha=sweep.model.map({"000": 0.0, "001": 0.5, "002": 1.0}))
    with resamples(100):
        found = selection.cross_fit(sweep)
        alone = selection.cross_fit(sweep.assign(group="mouse"))
    assert found["n_images"] == 60 and found["ci_low"] < found["cross_fitted"] < found["ci_high"]
    assert np.isnan(alone["ci_low"]) and alone["n_images"] == 60


def test_calibration_of_groups_is_wider_and_of_one_withheld():
    rng = np.random.default_rng(0)
    answers = answers_of(np.repeat(rng.random((12, 1)) < 0.6, 5, axis=0), TWELVE).assign(p_predicted=0.9)
    answers = answers.assign(**resampling.units(answers))
    apart = answers.assign(**resampling.units(answers.drop(columns="group")))
    one = answers.assign(**resampling.units(answers.assign(group="mouse")))
    with resamples(300):
        grouped, single, alone = (calibration.calibration_error(t).iloc[0] for t in (answers, apart, one))
    assert grouped.n_images == 60 and grouped.ci_high - grouped.ci_low > 1.7 * (single.ci_high - single.ci_low)
    assert np.isnan([alone.ci_low, alone.ci_high]).all() and alone.estimate == grouped.estimate
