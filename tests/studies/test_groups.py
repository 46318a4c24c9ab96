"""Groups of images: the rule on normal, what stands behind a group, and gaps that were constructed."""

import re

import numpy as np
import pandas as pd
import pytest

from ubench_utils.data.benchmark import NOT_STATED
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.studies import groups
from ubench_utils.studies.groups import NORMAL, OTHER, members, names_normal, normality

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
    images["content"] = range(len(images))
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


def test_answer_claims_what_intervals_carry():
    apart = answered({("a", "mouse"): (200, 0.9), ("b", "rat"): (200, 0.3)}, synthetic="real")
    alike = answered({("a", "mouse"): (200, 0.5), ("b", "rat"): (200, 0.5)})
    text = answer(apart)
    assert f"of {MODEL}, the best here" in text and re.search(
        r"Organism: from [^;]*\] on rat to [^;]*\] on mouse;", text
    )
    assert "Real or synthetic: one value only (real)" in text and "Stain: not stated" in text
    assert re.search(r"Organism: [^;]*\(not clearly different\);", answer(alike))


def test_the_answer_is_about_the_best_model():
    cells = {("a", "mouse"): (200, 0.9), ("b", "rat"): (200, 0.5)}
    both = pd.concat([answered(cells), answered({key: (n, 0.3) for key, (n, _) in cells.items()}, ("demo-pathology",))])
    assert f"of {MODEL}, the best here" in answer(both)


def test_a_model_that_answered_a_part_is_not_the_best():
    cells = {("a", "mouse"): (200, 0.5), ("b", "rat"): (200, 0.5)}
    part = answered({("a", "mouse"): (60, 1.0), ("b", "rat"): (60, 1.0)}, ("demo-pathology",))
    assert f"of {MODEL}, the best here" in answer(pd.concat([answered(cells), part]))


def answer(table):
    asked = table.groupby(["model", "level"]).size().groupby("level").max().to_dict()
    context = groups.context(table, members(table), groups.scores_by_group(table), asked)
    return sentences.sentence("groups", "answer", **context)


def test_no_claim_where_there_is_nothing_to_compare():
    few = {("a", "mouse"): (29, 0.9), ("b", "rat"): (200, 0.3)}
    large = {("a", "mouse"): (90, 0.9), ("b", "rat"): (200, 0.3)}
    nobody = "No model but the random baseline answered all fine-grained questions."
    for table, why in (
        (answered(few), "Organism: fewer than two groups are large enough"),
        (answered(large, models=("random",)), nobody),
        (answered(large).assign(level="coarse"), "No fine-grained question is in this data set."),
    ):
        assert why in answer(table)
    for organism in (NOT_STATED, "mouse"):
        table = answered(large).assign(organism=organism)
        said = "one value only (mouse)" if organism == "mouse" else "not stated"
        assert f"Organism: {said}" in answer(table)


def test_a_dataset_without_the_columns(rows, parquet, cache):
    """No organism, no `synthetic`, names of unknown sub-datasets: skipped with a plain line, no crash."""
    for row in rows:
        row["dataset"], row["stain"] = "mine", None
    run = evaluate(parquet(rows, drop=["ncbitaxon_name", "synthetic"]), ["random"])
    table = groups.grouped_answers(run)
    assert len(table) == (run.answers.wording == 1).sum()
    found = groups.context(table.assign(model=MODEL), members(table), groups.scores_by_group(table), run.asked)
    assert [facet["name"] for facet in found["facets"] if facet["n_groups"]] == ["Named normal or not"]
    text = sentences.sentence("groups", "answer", **found)
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
