"""What a run records of a model: how firm its answers are, and what a reader has to know."""

import pandas as pd
import pytest

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.evaluation.record import ties
from ubench_utils.statistics import scores as stats

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def path(rows, parquet):
    return parquet(rows[::2])


@pytest.fixture
def run(path):
    return evaluate(path, ["demo-base"], device="cpu", precision="float32")


def test_the_passport_says_how_answers_flip(path, run):
    audited = evaluate(path, ["demo-base"], device="cpu", precision="float32", audit=True).record["models"]["demo-base"]
    assert audited["audit_images"] == 20 and audited["low_precision"] == "bfloat16"
    assert audited["audit_questions"] == len(run.questions)
    assert 0 <= audited["flip_rate_batch_size"] <= 0.005 and 0 <= audited["flip_rate_low_precision"] <= 0.1
    assert audited["speed"]["images"] == 20 and audited["speed"]["images_per_second"] > 0
    again = evaluate(path, ["demo-base"], device="cpu", precision="float32", audit=True).record["models"]["demo-base"]
    assert again["images_encoded_now"] == 0 and again["images_per_second"] is None
    assert {key: again[key] for key in ("speed", "flip_rate_batch_size")} == {
        key: audited[key] for key in ("speed", "flip_rate_batch_size")
    }


def test_low_precision_flips_are_those_of_a_run_in_low_precision(path, run):
    low = evaluate(path, ["demo-base"], device="cpu", precision="bfloat16", audit=True)
    flipped = (low.predictions.predicted_idx != run.predictions.predicted_idx).mean()
    assert low.record["models"]["demo-base"]["flip_rate_low_precision"] == pytest.approx(flipped)


def test_a_pair_that_is_preprocessed_differently_is_noted(path, model_folder, tmp_path, monkeypatch):
    folder = model_folder(of="pathology", change=lambda c: c["preprocess_cfg"].update(interpolation="bilinear"))
    own = tmp_path / "own.yml"
    own.write_text(f"tuned: {{spec: 'local-dir:{folder}', base: demo-base}}")
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    notes = evaluate(path, ["demo-base", "tuned"], device="cpu").record["dataset"]["notes"]
    assert any("preprocessed differently (interpolation: bilinear and bicubic)" in note for note in notes)
    notes = evaluate(path, ["demo-base", "demo-pathology"], device="cpu").record["dataset"]["notes"]
    assert not any("preprocessed differently" in note for note in notes)


def test_many_ties_are_a_note_beside_the_score(rows, parquet, model_folder):
    """Weights of zero tie every question; the alphabet's answers must not stand as a score without a word."""

    def zero(state):
        for tensor in state.values():
            if tensor.is_floating_point():
                tensor.zero_()

    folder = model_folder(weights=zero)
    run = evaluate(parquet(rows[:6]), [f"local-dir:{folder}", "demo-base", "random"], device="cpu")
    passports = run.record["models"]
    tied, n = passports[f"local-dir:{folder}"]["questions_tied"], len(run.questions)
    assert tied == n
    assert passports[f"local-dir:{folder}"]["notes"] == [
        f"{n} of {n} questions (100.0 %) are exact ties, decided by the alphabet: these answers say nothing of what "
        "the model sees"
    ]
    assert passports["demo-base"]["notes"] == [] and passports["demo-base"]["questions_tied"] == 0
    assert not passports["random"].get("notes")


@pytest.mark.parametrize("tied, of, told", [(0, 100, 0), (5, 100, 0), (6, 100, 1), (2, 3, 0), (3, 3, 1), (3, 59, 1)])
def test_the_share_of_ties_that_is_told(tied, of, told):
    assert len(ties(pd.Series([True] * tied + [False] * (of - tied)))) == told
    assert "alphabet" not in "".join(ties(pd.Series([True] * tied + [False] * (of - tied)), replies=True))


def test_a_run_says_that_images_are_drawn_in_groups(rows, tmp_path):
    """Twenty images of five specimens, of which one sub-dataset has one: wider, noted, and the answers are the same."""
    runs = {}
    for name, groups in (("alone", None), ("grouped", [f"mouse {i % 5}" for i in range(20)]), ("one", ["mouse"] * 20)):
        table = pd.DataFrame(rows[:20]).assign(dataset="cells")
        (table if groups is None else table.assign(group=groups)).to_parquet(tmp_path / f"{name}.parquet")
        runs[name] = evaluate(str(tmp_path / f"{name}.parquet"), ["demo-base"], device="cpu", precision="float32")
    notes = {name: [note for note in run.record["dataset"]["notes"] if "group" in note] for name, run in runs.items()}
    drawn = "images of one group are drawn together, so intervals rest on"
    assert notes["alone"] == []
    assert notes["grouped"] == [f"20 of 20 images are of 5 groups (specimens, slides or patients); {drawn} 5 units"]
    told = f"{drawn} 1 unit; no interval is given of 1 sub-dataset of a single group"
    assert notes["one"] == [f"20 of 20 images are of 1 group (specimens, slides or patients); {told}"]
    alone, grouped, one = (run.predictions.drop(columns="model") for run in runs.values())
    assert alone.equals(grouped) and alone.equals(one)
    for run in (runs["grouped"], runs["one"]):
        scores = stats.score(run.answers, by=["dataset"])
        assert scores.n_images.max() == 20 and (scores.interval == "withheld").all() == (run is runs["one"])
