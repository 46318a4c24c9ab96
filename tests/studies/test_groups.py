"""Groups of images: the rule on normal, what stands behind a group, and gaps that were constructed."""

import numpy as np
import pandas as pd
import pytest

from ubench_utils.data.benchmark import NOT_STATED
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import answers_slices, tables_slices
from ubench_utils.statistics import scores as stats
from ubench_utils.studies import groups
from ubench_utils.studies.groups import NORMAL, OTHER, gaps, members, names_normal, normality

MODEL = "demo-base"


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("normal", True),
        ("normal mucosa", True),
        ("Normal_squamous", True),
        ("NORMAL-epithelium", True),
        ("healthy", True),
        ("control", True),
        ("mock control 2", True),
        ("normal, control", True),
        ("abnormal", False),
        ("paranormal", False),
        ("abnormal and normal", True),
        ("non-normal", False),
        ("not normal", False),
        ("ab-normal", False),
        ("unhealthy", False),
        ("controlled", False),
        ("normalised", False),
        ("", False),
        (None, False),
        (np.nan, False),
        ("carcinoma", False),
    ],
)
def test_names_that_say_normal(label, expected):
    assert names_normal(label) is expected


def test_normality_needs_both_kinds_of_class_in_the_sub_dataset():
    images = pd.DataFrame(
        [
            ("colon", "normal mucosa"),
            ("colon", "adenocarcinoma"),
            ("colon", None),
            ("heart", "healthy"),
            ("heart", "normal"),
            ("worm", "abnormal"),
            ("worm", "paranormal"),
            ("em", np.nan),
            ("pap", "Normal_squamous"),
            ("pap", "abnormal"),
        ],
        columns=["dataset", "label_name"],
    )
    assert normality(images).tolist() == [NORMAL, OTHER, NOT_STATED, *[NOT_STATED] * 5, NORMAL, OTHER]
    assert normality(images[images.dataset == "em"]).tolist() == [NOT_STATED]
    assert normality(images.sample(frac=1, random_state=0)).sort_index().equals(normality(images))


def answered(cells, models=(MODEL,), seed=0, **facets):
    """Answers to a fine question an image; ``cells[(dataset, organism)]`` is (images, share right)."""
    rng = np.random.default_rng(seed)
    images = pd.DataFrame(
        [
            {"dataset": dataset, "organism": organism, "image_id": f"{organism}/{i}", "share": share}
            for (dataset, organism), (n, share) in cells.items()
            for i in range(n)
        ]
    )
    rows = images.merge(pd.DataFrame({"model": list(models)}), "cross")
    given = {facet: NOT_STATED for facet in groups.FACETS if facet != "organism"} | facets
    rows = rows.assign(question="classification", level="fine", wording=1, n_options=5, **given)
    return rows.assign(correct=rng.random(len(rows)) < rows.share)


def test_members_show_what_a_group_is_made_of():
    table = answered(
        {("a", "mouse"): (60, 1), ("b", "mouse"): (20, 1), ("b", "rat"): (29, 1)}, models=(MODEL, "random")
    )
    coarse = table[table.organism == "rat"].assign(question="stain", level="coarse")
    found = members(pd.concat([table, coarse])).set_index("group")
    assert found.index.tolist() == ["mouse", "rat"] and set(found.facet) == {"organism"}
    assert found.loc["mouse", ["n_images", "n_fine", "n_datasets", "largest", "small"]].tolist() == [
        80,
        80,
        2,
        "a",
        False,
    ]
    assert found.share["mouse"] == 0.75 and found.small["rat"]
    assert found.loc["rat", ["n_images", "n_fine", "n_datasets"]].tolist() == [29, 29, 1]
    text = tables_slices.members(members(table))
    assert text.group.tolist() == ["mouse", "rat †"] and text["largest set"][0] == "a (75 %)"


def test_a_constructed_gap_is_recovered():
    cells = {("a", "mouse"): (400, 0.8), ("b", "rat"): (400, 0.5), ("c", "fly"): (400, 0.6), ("c", "worm"): (20, 0.0)}
    table = answered(cells, models=(MODEL, "random"))
    found = gaps(table)
    assert len(found) == 1 and found.model[0] == MODEL  # no gap of the baseline; worm is too small
    row = found.iloc[0]
    share = table[table.model == MODEL].groupby("organism").correct.mean()
    assert (row.high, row.low, row.n_groups, row.n_shared) == ("mouse", "rat", 3, 0)
    assert row.gap == pytest.approx((share["mouse"] - share["rat"]) / 0.8, abs=1e-5)
    error = np.sqrt(sum(p * (1 - p) for p in (share["mouse"], share["rat"])) / 400) / 0.8  # independent groups
    tukey = 2.34  # studentised range of 3 groups at 95 %, divided by √2
    assert (row.ci_high - row.ci_low) / 2 == pytest.approx(tukey * error, rel=0.12)
    assert row.ci_low > 0 and (row.ci_high + row.ci_low) / 2 == pytest.approx(row.gap)
    text = tables_slices.gaps(found).iloc[0]
    assert text["highest"] == "mouse" and text["sub-datasets with both"] == 0


def test_groups_of_one_sub_dataset_are_shared():
    table = answered({("a", "mouse"): (50, 0.9), ("a", "rat"): (50, 0.4), ("b", "rat"): (50, 0.4)})
    assert gaps(table).n_shared.tolist() == [1]


@pytest.mark.slow
def test_equal_groups_seldom_show_a_gap():
    """The largest of ten gaps of two models: without the family, one in two or three studies would show one."""
    cells = {(name, name): (60, 0.5) for name in "abcde"}
    shown = [
        (gaps(answered(cells, (MODEL, "demo-pathology"), seed), n_resamples=300).ci_low > 0).any()
        for seed in range(1000, 1080)
    ]
    assert np.mean(shown) < 0.15


def test_groups_without_variation_have_an_interval():
    row = gaps(answered({("a", "mouse"): (40, 1.0), ("b", "rat"): (40, 1.0)})).iloc[0]
    chance = answered({("a", "mouse"): (1, 1.0)}).n_options.rdiv(1).iloc[0]
    unseen = stats.wilson(0, 40)[1] / (1 - chance)  # on the scale of the gap, which is chance-corrected
    assert row.gap == 0 and row.ci_high == pytest.approx(2 * unseen) and row.ci_low == pytest.approx(-2 * unseen)


def test_answer_claims_what_intervals_carry():
    apart = answered({("a", "mouse"): (200, 0.9), ("b", "rat"): (200, 0.3)}, synthetic="real")
    alike = answered({("a", "mouse"): (200, 0.5), ("b", "rat"): (200, 0.5)})
    text = answers_slices.groups(members(apart), gaps(apart))
    assert "Organism: a clear gap for 1 of 1 models, at most" in text and f"({MODEL}, mouse over rat)" in text
    assert "Real or synthetic: one value only (real)" in text and "Stain: not stated" in text
    assert "Organism: a clear gap for 0 of 1 models;" in answers_slices.groups(members(alike), gaps(alike))


def test_no_gap_where_there_is_nothing_to_compare():
    few = {("a", "mouse"): (29, 0.9), ("b", "rat"): (200, 0.3)}
    large = {("a", "mouse"): (90, 0.9), ("b", "rat"): (200, 0.3)}
    large_enough, answered_by = "fewer than two groups are large enough", "no model but the random baseline answered"
    for table, why in (
        (answered(few), large_enough),
        (answered(large, models=("random",)), answered_by),
        (answered(large).assign(level="coarse"), large_enough),
    ):
        found = gaps(table)
        assert found.empty and tables_slices.gaps(found).empty
        assert f"Organism: {why}" in answers_slices.groups(members(table), found)
    for organism in (NOT_STATED, "mouse"):
        table = answered(large).assign(organism=organism)
        assert gaps(table).empty
        said = "one value only (mouse)" if organism == "mouse" else "not stated"
        assert f"Organism: {said}" in answers_slices.groups(members(table), gaps(table))


def test_a_dataset_without_the_columns(rows, parquet, cache):
    """No organism, no `synthetic`, names of unknown sub-datasets: skipped with a plain line, no crash."""
    for row in rows:
        row["dataset"], row["stain"] = "mine", None
    run = evaluate(parquet(rows, drop=["ncbitaxon_name", "synthetic"]), ["random"])
    table = groups.grouped_answers(run)
    assert len(table) == (run.answers.wording == 1).sum()
    text = answers_slices.groups(members(table), gaps(table))
    assert all(f"{name}: not stated" in text for name in ("Organism", "Real or synthetic", "Stain", "Kind of task"))
    assert "Named normal or not: fewer than two groups" in text
    assert set(members(table).facet) == {"normality"}


def test_demo_has_groups_and_its_normal_classes(rows, parquet, cache):
    run = evaluate(parquet(rows), ["random"])
    table = groups.grouped_answers(run)
    labels = run.benchmark.images.assign(group=normality(run.benchmark.images))
    assert set(labels.label_name[labels.group == NORMAL]) <= {"normal_mucosa", "normal_squamous_cell"}
    assert set(members(table).facet) == set(groups.FACETS) or not (labels.group == NORMAL).any()
    scores = groups.scores_by_group(table)
    assert set(scores.by) <= set(groups.FACETS) and NOT_STATED not in set(scores.slice)
