"""Specialists and generalists: sides and grounds come from the registry, differences are what was constructed."""

import numpy as np
import pandas as pd
import pytest

from ubench_utils.models import cards, registry
from ubench_utils.report import sentences, tables
from ubench_utils.report.text import half_width
from ubench_utils.statistics import scores as stats
from ubench_utils.studies import published, specialists
from ubench_utils.studies.specialists import OUTSIDE, OWN

GENERAL, PATHOLOGY, FLUORESCENCE = "demo-base", "demo-pathology", "demo-fluorescence"
N = 60  # images of each sub-dataset
SETS = pd.DataFrame(
    {
        "dataset": ["colon", "blood", "yeast", "worm"],
        "domain": ["pathology", "pathology", "biology", "biology"],
        "modality": ["light microscopy", "light microscopy", "fluorescence microscopy", "light microscopy"],
    }
)
TYPES = pd.DataFrame(
    {"question": ["classification", "stain", "modality"], "level": ["fine", "coarse", "coarse"], "n_options": [5, 6, 4]}
)


def answered(right: dict) -> pd.DataFrame:
    """Answers in both wordings; ``right[model](row)`` says how many of the ``N`` images of a cell are right."""
    rows = SETS.merge(pd.DataFrame({"place": range(N)}), "cross").merge(TYPES, "cross")
    rows = rows.merge(pd.DataFrame({"wording": [0, 1]}), "cross").assign(image_id=lambda t: t.place.astype(str))
    parts = [
        rows.assign(model=model, correct=[bool(row.place < how(row)) for row in rows.itertuples()])
        for model, how in right.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(correct=table.correct & (table.wording == 1)).drop(columns="place")


def gain_on_pathology(fine=42, coarse=30):
    return lambda row: (fine if row.level == "fine" else coarse) if row.domain == "pathology" else 15


@pytest.fixture(scope="module")
def table():
    return answered({GENERAL: lambda row: 30, PATHOLOGY: gain_on_pathology(), "random": lambda row: 12})


# Sides and grounds


def test_sides_and_grounds_come_from_the_registry():
    assert specialists.sides(["random", GENERAL, PATHOLOGY, FLUORESCENCE, "open_clip:ViT-B-32"]) == (
        [PATHOLOGY, FLUORESCENCE],
        [GENERAL],
    )
    assert specialists.sides(list(cards.model_cards()))[0] == [
        name for name, card in cards.model_cards().items() if card.category not in ("generalist", "chance")
    ]
    assert specialists.ground(PATHOLOGY) == {"domain": "pathology"} == specialists.ground("PLIP")
    assert registry.find_model("CONCH").in_domain is None  # its category's
    assert specialists.ground("CONCH") == {"domain": "pathology"}
    for model in (GENERAL, "random", "BiomedCLIP", "open_clip:ViT-B-32"):
        assert specialists.ground(model) is None and specialists.ground_name(model) == "all images"


def test_grounds_of_a_category_that_disagree_are_no_ground(tmp_path, monkeypatch):
    entry = "  spec: open_clip:ViT-B-32\n  category: {category}\n"
    names = {"a": ("pathology", "{domain: cytology}"), "b": ("pathology", None), "c": ("unlisted", "{stain: DAPI}")}
    text = "".join(
        f"{name}:\n{entry.format(category=category)}" + (f"  in_domain: {domain}\n" if domain else "")
        for name, (category, domain) in names.items()
    )
    (tmp_path / "models.yml").write_text(text)
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "models.yml"))
    assert specialists.ground("a") == {"domain": "cytology"} and specialists.ground("b") is None
    assert specialists.sides(["a", "b", "c"]) == (["a", "b", "c"], []) and specialists.ground_name("c") == "DAPI"


# Scores


def test_scores_on_and_outside_a_ground(table):
    scores = specialists.scores_by_ground(table, [PATHOLOGY])
    assert set(scores.ground) == {"pathology"} and set(scores.slice) == {OWN, OUTSIDE} and set(scores.wording) == {1}
    found = scores[(scores.question == "classification") & (scores.estimand == "micro")].set_index(["model", "slice"])
    assert found.estimate[PATHOLOGY, OWN] == pytest.approx(42 / N)
    assert found.estimate[PATHOLOGY, OUTSIDE] == pytest.approx(15 / N)
    assert found.estimate[GENERAL, OWN] == found.estimate[GENERAL, OUTSIDE] == pytest.approx(0.5)
    assert (found.n_questions == 2 * N).all() and np.allclose(found.chance, 0.2)
    shown = specialists.of_grounds(scores)
    assert len(shown) == 3 * 2 * 2 and not shown.outside.iloc[0] and shown.macro.notna().all()
    shared = specialists.scores_by_ground(table, [PATHOLOGY, "PLIP", "BiomedCLIP"])
    assert set(shared.ground) == {"pathology", "all images"}
    assert set(shared.slice[shared.ground == "all images"]) == {OWN}


# Differences


def test_constructed_differences_are_recovered(table):
    found = specialists.differences(table, [PATHOLOGY], [GENERAL])
    assert found[["place", "level"]].to_numpy().tolist() == [
        [OWN, "coarse"],
        [OWN, "fine"],
        [OUTSIDE, "coarse"],
        [OUTSIDE, "fine"],
    ]
    assert found.estimate.to_numpy() == pytest.approx([0, 0.2, -0.25, -0.25])
    assert found.n_questions.tolist() == [4 * N, 2 * N, 4 * N, 2 * N]
    assert (found.joint_low <= found.ci_low).all() and (found.joint_high >= found.ci_high).all()
    assert found.joint_low[1] > 0 and (found.joint_high[2:] < 0).all()
    text = said(found, ([PATHOLOGY], [GENERAL]))
    assert "in 1 of 1 fine comparisons and loses in 0 (+20.0 points)" in text
    assert "Outside it, a specialist beats a generalist in 0 of 1 coarse comparisons and loses in 1" in text


def test_differences_agree_with_the_paired_comparison(table):
    found = specialists.differences(table, [PATHOLOGY], [GENERAL]).set_index(["place", "level"])
    inside = table[(table.domain == "pathology") & (table.wording == 1)]
    alone = stats.compare(inside, GENERAL, PATHOLOGY, by=())
    alone = alone[(alone.estimand == "micro") & (alone.question == "all")].set_index("level")
    for level in ("fine", "coarse"):
        row, other = found.loc[(OWN, level)], alone.loc[level]
        assert (row.estimate, row.n_images) == (pytest.approx(other.estimate), other.n_images)
        assert (row.forgotten, row.learned) == (other.lost, other.gained)


def test_all_pairs_are_one_family(table):
    one = specialists.differences(table, [PATHOLOGY], [GENERAL])
    more = answered(
        {
            GENERAL: lambda row: 30,
            PATHOLOGY: gain_on_pathology(),
            FLUORESCENCE: lambda row: 33,
            "demo-second": lambda row: 28,
        }
    )
    all_pairs = specialists.differences(more, [PATHOLOGY, FLUORESCENCE], [GENERAL, "demo-second"])
    assert len(all_pairs) == 16 and all_pairs[["specialist", "generalist"]].drop_duplicates().shape == (4, 2)
    first = all_pairs[:4]
    assert first.estimate.to_numpy() == pytest.approx(one.estimate.to_numpy())
    assert (first.joint_high - first.joint_low >= one.joint_high - one.joint_low - 1e-9).all()
    assert (first.p_adjusted >= one.p_adjusted - 1e-12).all() and (all_pairs.p_adjusted >= all_pairs.p).all()
    own = all_pairs[(all_pairs.specialist == FLUORESCENCE) & (all_pairs.place == OWN)]
    assert set(own.n_questions) == {N, 2 * N}  # the yeast alone


def test_runs_without_a_specialist_or_a_generalist(table):
    for sides, word in (
        (([], [GENERAL]), "no specialist"),
        (([PATHOLOGY], []), "no generalist"),
        (([], []), "no specialist and no generalist"),
    ):
        found = specialists.differences(table, *sides)
        assert found.empty and word in said(found, sides)
    nothing = specialists.scores_by_ground(table, [])
    assert nothing.empty and specialists.of_grounds(nothing).empty
    unanswered = specialists.differences(table[table.model == GENERAL], [PATHOLOGY], [GENERAL])
    assert unanswered.empty and "no question" in said(unanswered, ([PATHOLOGY], [GENERAL]))


def test_nothing_outside_or_nothing_inside(table):
    inside, outside = (table[(table.domain == "pathology") == side] for side in (True, False))
    assert "Outside it lies no image" in said(*two(specialists.differences(inside, *sides())))
    assert "On its own ground lies no image" in said(*two(specialists.differences(outside, *sides())))


def said(found, sides):
    names = {"specialists": sides[0], "generalists": sides[1]}
    return sentences.sentence("specialists", "answer", places=specialists.tally(found), **names)


def sides():
    return [PATHOLOGY], [GENERAL]


def two(found):
    assert found.place.nunique() == 1
    return found, sides()


def test_models_stand_by_their_kind():
    assert specialists.in_order(["random", GENERAL, PATHOLOGY]) == [PATHOLOGY, GENERAL, "random"]


# Said in words


def test_models_on_neither_side_are_named():
    models = ["random", GENERAL, PATHOLOGY, "BiomedCLIP"]
    text = sentences.sentence("specialists", "sides", **specialists.who(models))
    assert "demo-pathology (pathology; its ground: pathology)" in text and text.endswith("On neither side: random.")
    assert "BiomedCLIP (biomedical; its ground: all images)" in text and f"Generalists: {GENERAL}" in text
    alone = sentences.sentence("specialists", "sides", **specialists.who([GENERAL]))
    assert alone == f"Specialists: none. Generalists: {GENERAL}."


def test_published_numbers_are_those_of_the_paper():
    theirs = specialists.published_scores()
    raw = published.read("table1").set_index(["model", "level"])
    assert len(theirs) == len(raw)
    text = sentences.sentence("specialists", "published", published=specialists.published_best(theirs))
    for model, level in (("GPT-4o", "coarse"), ("BiomedCLIP", "coarse"), ("GPT-4o", "fine"), ("ALIGN", "fine")):
        row = raw.loc[(model, level)]
        assert f"{model} {row.accuracy:.2f} ± {row.ci_half_width:.2f} %" in text
    names = {"category": "category", "model": "model"}
    table = tables.wide(theirs, names, "level", (half_width, "accuracy", "ci_half_width")).set_index("model")
    assert table.loc["PLIP", "coarse"] == "31.11 ± 0.32" and np.all(table.category["CONCH"] == "pathology")
