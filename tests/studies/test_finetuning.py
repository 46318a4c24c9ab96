"""Pairs of base and fine-tuned model: hand-made answer tables, and the ends of a real sweep."""

import itertools
import os

import numpy as np
import pandas as pd
import pytest

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models import folders, registry
from ubench_utils.studies import finetuning, published

BASE, TUNED = "demo-base", "demo-pathology"
SETS = {"tissue_a": "pathology", "tissue_b": "pathology", "yeast": "biology"}
N = 8  # images of each sub-dataset


def answers_of(right, column="model"):
    """Answers to a fine and two coarse questions of every image; `right[model][question, dataset]` are counted."""
    records = []
    for model, counts in right.items():
        for (question, dataset), i, wording in itertools.product(counts, range(N), (0, 1)):
            level = "fine" if question == "classification" else "coarse"
            correct = i < counts[question, dataset] if wording == 1 else i % 2 == 0
            records.append((model, dataset, f"{i}", question, wording, level, SETS[dataset], correct))
    columns = [column, "dataset", "image_id", "question", "wording", "level", "domain", "correct"]
    table = pd.DataFrame(records, columns=columns)
    return table.assign(n_options=4, modality="light microscopy", scale="tissue", p_predicted=0.5 + 0.4 * table.correct)


def counts(fine, modality, stain):
    """Right answers out of N of each question on tissue_a, tissue_b and yeast."""
    types = {"classification": fine, "modality": modality, "stain": stain}
    return {(question, name): n for question, row in types.items() for name, n in zip(SETS, row, strict=True)}


RIGHT = {
    BASE: counts((2, 4, 6), (8, 8, 8), (4, 4, 4)),
    TUNED: counts((6, 8, 2), (8, 8, 4), (6, 4, 3)),
    "random": counts((1, 1, 1), (1, 1, 1), (1, 1, 1)),
}


@pytest.fixture(scope="module")
def answers():
    return answers_of(RIGHT)


def mixtures():
    """A sweep over α = 0, 0.5 and 1 in which the middle is as good as the better end, as `sweep` returns it."""
    right = {0: RIGHT[BASE], 0.5: counts((6, 8, 6), (8, 8, 8), (6, 4, 4)), 1: RIGHT[TUNED]}
    swept = answers_of(right, "alpha")
    swept = swept[swept.wording == 1]
    return swept.assign(model=swept.alpha.map(lambda alpha: registry.mix_name(BASE, TUNED, alpha)))


# ------------------------------------------------------------------------------------------------- in-domain


def test_is_in_domain_follows_models_yml():
    rows = pd.DataFrame(
        {"domain": ["pathology", "biology"] * 2, "modality": ["fluorescence microscopy"] * 2 + ["x"] * 2}
    )
    rows.index = [7, 3, 5, 1]
    for name, facet in (("demo-pathology", "domain"), ("QuiltNet", "domain"), ("demo-fluorescence", "modality")):
        ((key, value),) = registry.find_model(name).in_domain.items()
        assert key == facet
        pd.testing.assert_series_equal(finetuning.is_in_domain(rows, name), rows[key] == value, check_names=False)
    assert finetuning.is_in_domain(rows, "demo-pathology").tolist() == [True, False, True, False]
    assert finetuning.is_in_domain(rows, "demo-base").all()  # nothing is said of it
    assert finetuning.is_in_domain(rows, f"mix:{BASE}+{TUNED}@1").tolist() == [True, False, True, False]


# ------------------------------------------------------------------------------------------- tables by hand


def test_gain_and_loss(answers):
    inside, coarse, outside = finetuning.gain_and_loss(answers, BASE, TUNED)
    assert inside["estimate"] == pytest.approx((6 + 8 - 2 - 4) / 16)  # fine-grained only
    assert outside["estimate"] == pytest.approx((2 + 4 + 3 - 6 - 8 - 4) / 24)  # all three questions of yeast
    assert (inside["n_questions"], inside["n_images"]) == (16, 16)
    assert (outside["n_questions"], outside["n_images"]) == (24, 8)
    assert inside["ci_low"] > 0 > outside["ci_high"]
    assert coarse["estimate"] == pytest.approx(2 / 32) and coarse["n_questions"] == 32  # stain, two gained
    for part in (inside, outside):
        assert part["ci_low"] < part["estimate"] < part["ci_high"]


def test_gain_and_loss_of_the_other_way_round_and_of_unlisted_models(answers):
    inside, _, outside = finetuning.gain_and_loss(answers, TUNED, BASE)  # the base has no domain: all is inside
    assert inside["estimate"] == pytest.approx((12 - 16) / 24)
    assert outside["n_questions"] == 0 and np.isnan(outside["estimate"])


def test_the_headline_cells_are_named_ordered_and_counted(answers):
    cells = finetuning.forgetting(answers, BASE, TUNED)
    table = finetuning.headline_cells(cells)
    expected = {
        "modality, in-domain": (16, 0, 0),
        "stain, in-domain": (16, 0, 2),
        "classification, in-domain": (16, 0, 8),
        "modality, out-of-domain": (8, 4, 0),
        "stain, out-of-domain": (8, 1, 0),
        "classification, out-of-domain": (8, 4, 0),
        "tissue_a": (8, 0, 4),
        "tissue_b": (8, 0, 4),
        "yeast": (8, 4, 0),
    }
    found = {
        row.name: (row.n_questions, row.forgotten, row.learned)
        for row in table[["name", "n_questions", "forgotten", "learned"]].itertuples(index=False, name="Row")
    }
    assert found == expected and len(table) == 9
    assert np.allclose(table.estimate, (table.learned - table.forgotten) / table.n_questions)
    assert table.small.all()  # eight or sixteen images show nothing for sure, and are kept all the same
    assert set(cells.by) == {"all", *finetuning.CELLS_BY} and (cells.p_adjusted >= cells.p).all()
    names = table.name.tolist()
    place = [0 if ", in" in name else 1 if ", out" in name else 2 for name in names]
    assert place == sorted(place)  # in-domain, out-of-domain, then the sub-datasets
    assert [name.split(",")[0] for name in names[:3]] == [name.split(",")[0] for name in names[3:6]]
    assert (table.ci_low <= table.estimate).all() and (table.estimate <= table.ci_high).all()


def test_curves():
    swept = mixtures()
    table = finetuning.curves_by_question(swept, TUNED)
    assert not table.duplicated(["question", "group", "alpha"]).any()
    inside = {"modality": (16, 16, 16), "stain": (8, 10, 10), "classification": (6, 14, 14)}
    outside = {"modality": (8, 8, 4), "stain": (4, 4, 3), "classification": (6, 6, 2)}
    for group, hits, n in (("in-domain", inside, 16), ("out-of-domain", outside, 8)):
        expected = {question: np.divide(right, n) for question, right in hits.items()}
        rows = table[table.group == group]
        assert set(rows.question) == set(expected)
        for question, accuracy in expected.items():
            line = rows[rows.question == question]
            assert line.alpha.tolist() == [0, 0.5, 1]  # in order, for a line plot
            assert np.allclose(line.estimate, accuracy, atol=1e-6)
            assert ((line.ci_low <= line.estimate) & (line.estimate <= line.ci_high)).all()


def test_fates_are_shares_of_the_questions():
    answers = mixtures()
    ends = {registry.mix_name(BASE, TUNED, 0): BASE, registry.mix_name(BASE, TUNED, 1): TUNED}
    answers = answers[answers.model.isin(ends)]
    table = finetuning.forgetting(answers.assign(model=answers.model.map(ends)), BASE, TUNED)
    fates = finetuning.fates(table.assign(reference=BASE, model=TUNED))
    assert fates.groupby("asked").estimate.sum().tolist() == pytest.approx([1] * fates.asked.nunique())
    assert set(fates.state) == {"kept", "forgotten", "learned", "never"} and finetuning.fates(table.iloc[:0]).empty


def test_our_changes_stand_beside_the_published_ones():
    theirs = published.forgetting()
    alone = finetuning.beside_published(pd.DataFrame(), theirs)
    assert set(alone["where"]) == {"published"} and alone.estimate.abs().max() < 1
    own = pd.DataFrame({"by": "all", "question": ["stain", "all"], "estimate": 0.1, "ci_low": 0, "ci_high": 0.2})
    both = finetuning.beside_published(own.assign(reference=BASE, model=TUNED), theirs)
    assert both[both["where"] == "here"].question.tolist() == ["stain"] and len(both) == len(alone) + 1


def test_summary():
    found = finetuning.summary(mixtures(), BASE, TUNED)
    expected = {
        "in_end": 8 / 16,
        "in_middle": 8 / 16,
        "out_end": -9 / 24,
        "out_middle": 0,
        "above_line": (20 + 24 + 14 - (12 + 24 + 12) / 2 - (16 + 20 + 13) / 2) / 72,
        "fine_above_line": (20 - 12 / 2 - 16 / 2) / 24,
    }
    assert {key: found[key]["estimate"] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert found["in_coarse_end"]["estimate"] == pytest.approx(2 / 32)
    assert found["above_line"]["n_questions"] == 72 and found["fine_above_line"]["n_questions"] == 24
    assert found["above_line"]["ci_low"] > 0


def test_summary_at_another_alpha():
    swept = mixtures()
    quarter = swept.assign(model=swept.model.str.replace("@0.5", "@0.25"))
    found = finetuning.summary(quarter, BASE, TUNED, alpha=0.25)
    assert found["fine_above_line"]["estimate"] == pytest.approx((20 - 0.75 * 12 - 0.25 * 16) / 24, abs=1e-6)


# ------------------------------------------------------------------------------------------- the real sweep


def test_sweep_ends_are_the_parents_and_no_checkpoint_is_written(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    # the sweep first, so that nothing of the parents is there to be read
    run = evaluate("demo", ["random"], limit=60, device="cpu")
    swept = finetuning.sweep(run, BASE, TUNED, (0, 0.5, 1))
    parents = evaluate(run.benchmark, [BASE, TUNED], device="cpu").answers
    parents = parents[parents.wording == 1]
    key = ["dataset", "image_id", "question"]

    def of(table, name):
        return table[table.model == name].drop(columns=["model", "alpha"], errors="ignore").sort_values(key)

    for alpha, parent in ((0, BASE), (1, TUNED)):
        end = of(swept, f"mix:{BASE}+{TUNED}@{alpha}").reset_index(drop=True)
        pd.testing.assert_frame_equal(end, of(parents, parent).reset_index(drop=True), check_exact=True)
        assert len(end) >= 5 * 60
    middle, base, tuned = (
        of(table, name).p_answer.to_numpy()
        for table, name in ((swept, f"mix:{BASE}+{TUNED}@0.5"), (parents, BASE), (parents, TUNED))
    )
    assert np.abs(middle - base).max() > 0.01
    assert np.abs(middle - tuned).max() > 0.01
    assert swept.groupby("model").alpha.agg(["min", "max"]).to_numpy().tolist() == [[0, 0], [0.5, 0.5], [1, 1]]

    files = [os.path.join(folder, name) for folder, _, names in os.walk(tmp_path / "cache") for name in names]
    assert files and {os.path.splitext(name)[1] for name in files} == {".npz", ".json"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (*folders.WEIGHTS, ".pt", ".ckpt")]
    weights = registry.PACKAGE / "demo" / "base" / "open_clip_model.safetensors"
    for name in [name for name in files if name.endswith(".npz")]:
        with np.load(name) as arrays:
            assert not [key for key in arrays if "weight" in key or "state" in key], name
        assert os.path.getsize(name) < weights.stat().st_size


# ------------------------------------------------------------------------------------------- along α


def test_changes_along_alpha_start_at_nothing_and_end_at_the_pair(answers):
    along = finetuning.changes_along_alpha(mixtures(), BASE, TUNED).set_index(["group", "alpha"])
    assert (along.xs(0, level="alpha")[["estimate", "ci_low", "ci_high"]].abs() < 0.5).all(axis=None)
    assert (along.xs(0, level="alpha").estimate == 0).all()
    inside, coarse, outside = finetuning.gain_and_loss(answers, BASE, TUNED)
    ends = along.xs(1, level="alpha").estimate
    assert ends["fine-grained, in-domain"] == pytest.approx(inside["estimate"])
    assert ends["coarse, in-domain"] == pytest.approx(coarse["estimate"])
    assert ends["all, out-of-domain"] == pytest.approx(outside["estimate"])
    total = (6 + 8 + 2 + 8 + 8 + 4 + 6 + 4 + 3) - (2 + 4 + 6 + 8 + 8 + 8 + 4 + 4 + 4)
    assert ends["all questions"] == pytest.approx(total / 72)
    assert along.n_questions.groupby("group").nunique().eq(1).all()


def test_the_frontier_drops_what_is_dominated():
    along = finetuning.changes_along_alpha(mixtures(), BASE, TUNED)
    front = finetuning.frontier(along).set_index("alpha")
    assert front.loc[0.5, "gain"] == front.loc[1, "gain"] and front.loc[0.5, "kept"] == 0 > front.loc[1, "kept"]
    assert front.on_front.to_dict() == {0: False, 0.5: True, 1: False}


def test_the_choice_of_alpha_is_the_one_that_is_better_everywhere():
    table = finetuning.choice_of_alpha(mixtures(), TUNED).set_index("target")
    assert list(table.index) == ["all questions", "balanced"] and (table.alpha == 0.5).all()
    assert (table.naive >= table.cross_fitted).all()
    nowhere = mixtures()
    assert list(finetuning.choice_of_alpha(nowhere[nowhere.domain == "pathology"], TUNED).target) == ["all questions"]


def test_curves_by_dataset_and_calibration_have_a_row_for_every_alpha():
    table = finetuning.curves_by_dataset(mixtures())
    assert sorted(zip(table.slice, table.alpha, strict=True)) == sorted(itertools.product(SETS, (0, 0.5, 1)))
    assert table[(table.slice == "yeast") & (table.alpha == 1)].estimate.item() == 2 / N
    error = finetuning.calibration(mixtures())
    assert (
        error.alpha.tolist() == [0, 0.5, 1]
        and ((error.ci_low <= error.estimate) & (error.estimate <= error.ci_high)).all()
    )
    right = mixtures().groupby("alpha").correct.mean()  # sure to 0.9 where right and to 0.5 where wrong
    assert np.allclose(error.estimate, 0.1 * right + 0.5 * (1 - right))
