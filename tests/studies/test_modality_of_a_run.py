"""What a model prefers, on a run of the demo: blank images, what was said of each class, the truth beside it."""

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from helpers.samples import as_dataset

from ubench_utils.data.blank import blank_images
from ubench_utils.data.pixels import decode
from ubench_utils.engine import work
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.studies import modality


@pytest.fixture(scope="module")
def run(demo_rows, tmp_path_factory):
    """An evaluation of 40 images with a cache of this module's own."""
    import datasets

    folder = tmp_path_factory.mktemp("modality")
    as_dataset(demo_rows).to_parquet(folder / "rows.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        models = ["random", "demo-base", "demo-pathology"]
        yield evaluate(str(folder / "rows.parquet"), models, device="cpu", precision="float32")


def test_blank_answers_are_those_of_the_model_itself(run):
    """Agreement with features made by hand: the model's own preprocessing and encoders, no cache."""
    from ubench_utils.models.load import load_model

    choices, left_out = modality.with_blanks(run, list(run.record["models"]))
    assert list(left_out) == ["random"] and set(choices.model) == {"demo-base", "demo-pathology"}
    model = load_model("demo-base")
    own = choices[choices.model == "demo-base"].merge(
        run.questions[["dataset", "image_id", "question", "wording", "options", "image_hash"]], "left"
    )
    grey = decode(blank_images().image_bytes(0))
    blank = model.encode_images(model.preprocess(grey)[None])[0]
    row_of = dict(zip(run.benchmark.images.image_hash, range(len(run.benchmark.images)), strict=True))
    for row in own.sample(40, random_state=0).itertuples():
        texts = model.encode_texts(list(row.options))
        image = decode(run.benchmark.image_bytes(row_of[row.image_hash]))
        score = texts @ model.encode_images(model.preprocess(image)[None])[0]
        alone = texts @ blank
        assert score[row.predicted_idx] == pytest.approx(score.max(), abs=1e-5)
        only, less = own.loc[row.Index, ["only grey", "less grey"]]
        assert alone[only] == pytest.approx(alone.max(), abs=1e-5)
        assert (score - alone)[less] == pytest.approx((score - alone).max(), abs=1e-5)


def test_blank_tables_hold_what_they_say(run):
    choices, _ = modality.with_blanks(run, ["demo-base", "demo-pathology"])
    alone = modality.without_image(choices).set_index(["what", "model", "question"])
    for (model, question), own in choices.groupby(["model", "question"]):
        right, same = ((own["only grey"] == own[column]).mean() for column in ("answer_idx", "predicted_idx"))
        assert alone.estimate["right", model, question] == pytest.approx(right)
        assert alone.estimate["same", model, question] == pytest.approx(same)
        assert alone.chance["right", model, question] == pytest.approx((1 / own.n_options).mean())
    change = modality.calibrated(choices)
    change = change[change["by"] == "all"].set_index(["reference", "model", "question"]).estimate
    for (model, question), own in choices.groupby(["model", "question"]):
        for name in modality.REFERENCES:
            expected = (own[f"less {name}"] == own.answer_idx).mean() - own.correct.mean()
            assert change[name, model, question] == pytest.approx(expected)


def test_blank_images_cost_nothing_twice_and_need_no_torch(run, monkeypatch):
    path, models = run.benchmark.name, ["random", "demo-base"]
    first, _ = modality.with_blanks(run, models)
    monkeypatch.setattr(work, "encode_batched", lambda *_: pytest.fail("encoded again"))
    again, _ = modality.with_blanks(run, models)
    assert again.equals(first)
    program = f"""
import sys
from ubench_utils.studies import modality
from ubench_utils.evaluation.evaluate import evaluate
run = evaluate(sys.argv[1], {models}, device="cpu", precision="float32")
choices, left_out = modality.with_blanks(run, {models})
modality.calibrated(choices), modality.calibrated_rates(choices)
assert len(choices) and not {{"torch", "open_clip"}} & set(sys.modules), "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def said(left_out):
    return sentences.sentence("modality", "left_out", left_out=list(left_out.items()))


def test_models_without_an_encoder_are_left_out_and_named(run, tmp_path):
    given = run.predictions[run.predictions.model == "random"].query("wording == 1")
    file = tmp_path / "answers.csv"
    given[["dataset", "image_id", "question", "predicted_idx"]].to_csv(file, index=False)
    elsewhere = f"predictions:{file}"
    both = evaluate(run.benchmark, ["random", elsewhere], device="cpu", precision="float32")
    choices, left_out = modality.with_blanks(both, ["random", elsewhere])
    assert choices.empty and list(left_out) == ["random", elsewhere]
    assert all(model in said(left_out) for model in left_out)
    facts = {**run.record["models"], "demo-base": {**run.record["models"]["demo-base"], "has_embeddings": False}}
    matching = replace(run, record={**run.record, "models": facts})
    choices, left_out = modality.with_blanks(matching, ["demo-base", "demo-pathology"])
    assert set(choices.model) == {"demo-pathology"} and "together" in left_out["demo-base"]
    assert said({}).endswith(".")
    empty = choices.iloc[:0]
    for made in (modality.without_image, modality.calibrated, modality.calibrated_rates):
        assert made(empty).empty


def test_confusion_is_the_share_of_each_answer(run):
    choices, models = run.answers, ["random", "demo-base"]
    table = modality.confusion(choices, models, "submodality")
    assert list(dict.fromkeys(table.model)) == models and table.groupby(["model", "truth"]).most.sum().eq(1).all()
    for model in models:
        rows = choices[(choices.model == model) & (choices.question == "submodality") & (choices.wording == 1)]
        share = pd.crosstab(rows.submodality, rows.chosen, normalize="index")
        for row in table[table.model == model].itertuples():
            expected = share.loc[row.truth, row.chosen] if row.chosen in share else 0
            assert row.estimate == pytest.approx(expected)


def test_the_truth_stands_beside_the_share(run):
    rates = modality.rates(run.answers)
    table = modality.with_truth(rates)
    assert len(table) == (rates.rate != "truth").sum() and table.truth.notna().equals(table.rate == "share")
    truth = rates[rates.rate == "truth"].set_index(["model", "option"]).estimate
    shares = table[table.rate == "share"].set_index(["model", "option"]).truth
    assert shares.equals(truth.reindex(shares.index).rename("truth"))
    never = table.groupby("option", sort=False).n_true.max().eq(0).tolist()
    assert never == sorted(never)
