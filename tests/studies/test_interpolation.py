"""The way between base and fine-tuned model: hand-made sweeps, the ends of a real one, towers, ensembles, barrier."""

import dataclasses
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.pairs import BASE, RIGHT, SETS, TUNED, N, answers_of, mixtures

from ubench_utils.engine import store
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models import cards, folders
from ubench_utils.models.encoders.features import predict
from ubench_utils.models.encoders.network import DualEncoder
from ubench_utils.models.load import load_model
from ubench_utils.studies import forgetting, interpolation
from ubench_utils.studies.overview import perception

ALPHAS = (0, 0.5, 1)
KEY = ["dataset", "image_id", "question", "wording"]


@pytest.fixture(scope="module")
def answers():
    return answers_of(RIGHT)


def test_curves():
    swept = mixtures()
    table = interpolation.curves_by_question(swept, TUNED)
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


def test_summary():
    found = interpolation.summary(mixtures(), BASE, TUNED)
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


def test_sweep_ends_are_the_parents_and_no_checkpoint_is_written(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    # the sweep first, so that nothing of the parents is there to be read
    run = evaluate("demo", ["random"], limit=60, device="cpu")
    swept = interpolation.sweep(run, BASE, TUNED, (0, 0.5, 1))
    parents = evaluate(run.benchmark, [BASE, TUNED], device="cpu").answers
    parents = perception(parents)
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
    files = [name for name in files if not {"runs", "benchmarks"} & set(Path(name).parts)]
    assert files and {os.path.splitext(name)[1] for name in files} == {".npz", ".json"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (*folders.WEIGHTS, ".pt", ".ckpt")]
    weights = cards.PACKAGE / "demo" / "base" / "open_clip_model.safetensors"
    for name in [name for name in files if name.endswith(".npz")]:
        with np.load(name) as arrays:
            assert not [key for key in arrays if "weight" in key or "state" in key], name
        assert os.path.getsize(name) < weights.stat().st_size


def test_changes_along_alpha_start_at_nothing_and_end_at_the_pair(answers):
    along = interpolation.changes_along_alpha(mixtures(), BASE, TUNED).set_index(["group", "alpha"])
    assert (along.xs(0, level="alpha")[["estimate", "ci_low", "ci_high"]].abs() < 0.5).all(axis=None)
    assert (along.xs(0, level="alpha").estimate == 0).all()
    inside, coarse, outside = forgetting.gain_and_loss(answers, BASE, TUNED)
    ends = along.xs(1, level="alpha").estimate
    assert ends["fine-grained, in-domain"] == pytest.approx(inside["estimate"])
    assert ends["coarse, in-domain"] == pytest.approx(coarse["estimate"])
    assert ends["all, out-of-domain"] == pytest.approx(outside["estimate"])
    total = (6 + 8 + 2 + 8 + 8 + 4 + 6 + 4 + 3) - (2 + 4 + 6 + 8 + 8 + 8 + 4 + 4 + 4)
    assert ends["all questions"] == pytest.approx(total / 72)
    assert along.n_questions.groupby("group").nunique().eq(1).all()


def test_the_frontier_drops_what_is_dominated():
    along = interpolation.changes_along_alpha(mixtures(), BASE, TUNED)
    front = interpolation.frontier(along).set_index("alpha")
    assert front.loc[0.5, "gain"] == front.loc[1, "gain"] and front.loc[0.5, "kept"] == 0 > front.loc[1, "kept"]
    assert front.on_front.to_dict() == {0: False, 0.5: True, 1: False}


def test_the_choice_of_alpha_is_the_one_that_is_better_everywhere():
    table = interpolation.choice_of_alpha(mixtures(), TUNED).set_index("target")
    assert list(table.index) == ["all questions", "balanced"] and (table.alpha == 0.5).all()
    assert (table.naive >= table.cross_fitted).all()
    nowhere = mixtures()
    assert list(interpolation.choice_of_alpha(nowhere[nowhere.domain == "pathology"], TUNED).target) == [
        "all questions"
    ]


def test_curves_by_dataset_and_calibration_have_a_row_for_every_alpha():
    table = interpolation.curves_by_dataset(mixtures())
    assert sorted(zip(table.slice, table.alpha, strict=True)) == sorted(itertools.product(SETS, (0, 0.5, 1)))
    assert table[(table.slice == "yeast") & (table.alpha == 1)].estimate.item() == 2 / N
    error = interpolation.calibration(mixtures())
    assert (
        error.alpha.tolist() == [0, 0.5, 1]
        and ((error.ci_low <= error.estimate) & (error.estimate <= error.ci_high)).all()
    )
    right = mixtures().groupby("alpha").correct.mean()  # sure to 0.9 where right and to 0.5 where wrong
    assert np.allclose(error.estimate, 0.1 * right + 0.5 * (1 - right))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A small run and its sweep in a cache of their own, and what the encoders are given from then on."""
    import datasets

    folder, seen = tmp_path_factory.mktemp("swept"), {"images": 0, "texts": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        run = evaluate("demo", ["random"], limit=50, device="cpu", precision="float32")
        table = interpolation.sweep(run, BASE, TUNED, ALPHAS)
        encode_images, encode_texts = DualEncoder.encode_images, DualEncoder.encode_texts

        def images(self, pixels):
            seen["images"] += len(pixels)
            return encode_images(self, pixels)

        def texts(self, batch):
            seen["texts"] += len(batch)
            return encode_texts(self, batch)

        patch.setattr(DualEncoder, "encode_images", images)
        patch.setattr(DualEncoder, "encode_texts", texts)
        yield run, table, seen, folder


def test_the_grid_reuses_the_sweep_and_its_diagonal_is_the_sweep(swept):
    run, table, seen, folder = swept
    before = set(folder.rglob("*"))
    words = [tuple(f"{text}!" for text in options) for options in run.questions.options]
    more = pd.concat([run.questions, run.questions.assign(wording=2, options=words)], ignore_index=True)
    further = dataclasses.replace(run, questions=more)  # what else was asked must not matter
    asked, correct = interpolation.tower_grid(further, BASE, TUNED, ALPHAS)
    assert seen == {"images": 0, "texts": 0} and set(folder.rglob("*")) == before
    assert correct.dtype == bool and correct.shape == (len(asked), 3, 3)
    for place, alpha in enumerate(ALPHAS):
        answered = table[table.alpha == alpha].set_index(KEY).correct
        diagonal = pd.Series(correct[:, place, place], index=pd.MultiIndex.from_frame(asked[KEY]))
        pd.testing.assert_series_equal(diagonal.sort_index(), answered.sort_index(), check_names=False)
    images, texts = (run.features(model)[place] for place, model in enumerate((TUNED, BASE)))
    crossed = predict(asked, images, texts, 1.0).correct
    assert (correct[:, 2, 0] == crossed).all() and (correct[:, 0, 2] != crossed).any()  # image tower first
    files = [path for path in folder.joinpath("cache").rglob("*") if path.is_file()]
    files = [path for path in files if not {"runs", "benchmarks"} & set(path.parts)]
    assert files and {path.suffix for path in files} == {".npz", ".json"}  # no checkpoint


def test_a_grid_alone_encodes_each_tower_once_for_each_alpha(swept, tmp_path, monkeypatch):
    run, _, seen, _ = swept
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path))
    seen.update(images=0, texts=0)
    asked, _ = interpolation.tower_grid(run, BASE, TUNED, ALPHAS)
    texts = {option for options in run.questions.options for option in options}
    assert seen == {"images": 3 * asked.image_hash.nunique(), "texts": 3 * len(texts)}


def test_ensembles(swept):
    run, table, seen, _ = swept
    seen.update(images=0, texts=0)
    answers = interpolation.ensemble(run, BASE, TUNED)
    assert seen == {"images": 0, "texts": 0}
    names = [f"mean of {what} of {BASE} and {TUNED}" for what in ("probabilities", "embeddings")]
    assert answers.model.unique().tolist() == names and set(run.answers) <= set(answers)
    ends = [table[table.alpha == alpha].set_index(KEY).sort_index() for alpha in (0, 1)]
    mean, embedded = (answers[answers.model == name].set_index(KEY).sort_index() for name in names)
    np.testing.assert_allclose(mean.p_answer, (ends[0].p_answer + ends[1].p_answer) / 2, atol=1e-12)
    agree = (ends[0].predicted_idx == ends[1].predicted_idx).to_numpy()
    assert agree.any() and not agree.all()
    assert ((mean.predicted_idx == ends[0].predicted_idx) | (mean.predicted_idx == ends[1].predicted_idx)).mean() > 0.9
    assert np.abs(embedded.p_answer - mean.p_answer).max() > 0.001

    alike = interpolation.ensemble(run, TUNED, TUNED)  # of a model with itself: the model
    for name in alike.model.unique():
        rows = alike[alike.model == name].set_index(KEY).sort_index()
        assert (rows.correct == ends[1].correct).all()
        np.testing.assert_allclose(rows.p_answer, ends[1].p_answer, atol=1e-4)


def test_the_target_over_the_towers_is_that_of_the_sweep_on_its_diagonal(swept):
    run, table, _, _ = swept
    grid = interpolation.tower_target(run, BASE, TUNED, ALPHAS).set_index(["alpha_image", "alpha_text"]).estimate
    inside = forgetting.is_in_domain(table, TUNED)
    target = [
        (
            rows[inside.loc[rows.index] & (rows.level == "fine")].correct.mean()
            + rows[~inside.loc[rows.index]].correct.mean()
        )
        / 2
        for _, rows in table.groupby("alpha")
    ]
    assert np.allclose([grid[alpha, alpha] for alpha in ALPHAS], np.array(target) - target[0])
    assert grid[0, 0] == 0 and len(grid) == len(ALPHAS) ** 2


def test_other_ways_to_combine_are_compared_with_the_base(swept):
    run, table, _, _ = swept
    ways = interpolation.other_ways(run, BASE, TUNED, [TUNED, "demo-fluorescence"]).set_index("way")
    assert len(ways) == 6 and ((ways.gain_low <= ways.gain) & (ways.kept <= ways.kept_high)).all()
    name = f"mix:{BASE}+{TUNED}@0..1"
    merged = evaluate(run.benchmark, [BASE, name], device="cpu", precision="float32").answers
    merged = perception(merged)
    outside = merged[~forgetting.is_in_domain(merged, TUNED)].groupby("model").correct.mean()
    assert ways.loc["layer-wise, 0 to 1 (LiNeS)", "kept"] == pytest.approx(outside[name] - outside[BASE])
    assert len(interpolation.other_ways(run, BASE, TUNED, [TUNED])) == 3  # one specialist: nothing to add to it


def test_the_barrier_stands_between_models_without_a_common_base(swept):
    run, _, _, _ = swept
    table = interpolation.barrier(run, BASE, "demo-second", (0, 0.5, 1)).set_index(["question", "alpha"]).estimate
    for question in ("coarse questions", "fine questions"):
        assert table[question, 0.5] < min(table[question, 0], table[question, 1]) - 0.1
    with pytest.raises(UserError, match="do not share a base"):
        load_model(f"mix:{BASE}+demo-second@0.5")


def test_a_matching_head_has_no_features(swept, monkeypatch):
    run, *_ = swept
    monkeypatch.setattr(store, "remembered", lambda *args, **how: {"has_embeddings": False})
    with pytest.raises(UserError, match="matching head"):
        interpolation.ensemble(run, BASE, TUNED)


@pytest.mark.slow
def test_models_that_reply_in_words_have_a_curve_and_neither_towers_nor_ensembles(cache):
    base, tuned = "demo-speaker", "demo-speaker-pathology"
    assert interpolation.with_features([(BASE, TUNED), (base, tuned)]) == [(BASE, TUNED)]
    run = evaluate("demo", [base, tuned], limit=12, device="cpu", precision="float32")
    table = interpolation.sweep(run, base, tuned, ALPHAS)
    ends = {0: base, 1: tuned}
    for alpha, name in ends.items():
        own = perception(run.answers)
        own = own[own.model == name]
        assert table[table.alpha == alpha].reply.tolist() == own.reply.tolist()
    assert table[table.alpha == 0.5].p_answer.tolist() != table[table.alpha == 0].p_answer.tolist()
    ways = interpolation.other_ways(run, base, tuned, [tuned])
    assert ways.way.tolist() == ["layer-wise, 0 to 1 (LiNeS)"]
