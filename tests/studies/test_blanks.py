"""Blank images: the model's own answers to them, what subtracting them changes, and the figures of preferences."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.figures import overhang, svg
from helpers.samples import NAMES, as_dataset
from matplotlib.figure import Figure

from ubench_utils.data.benchmark import decode
from ubench_utils.engine import work
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models import registry
from ubench_utils.report import plots, plots_preferences, sentences, tables
from ubench_utils.studies import blanks, preferences


@pytest.fixture(scope="module")
def run(demo_rows, tmp_path_factory):
    """An evaluation of 40 images with a cache of this module's own."""
    import datasets

    folder = tmp_path_factory.mktemp("preferences")
    as_dataset(demo_rows).to_parquet(folder / "rows.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        models = ["random", "demo-base", "demo-pathology"]
        yield evaluate(str(folder / "rows.parquet"), models, device="cpu", precision="float32")


def test_blank_images_are_blank():
    one, other = blanks.blank_images(), blanks.blank_images()
    pixels = {name: np.asarray(decode(one.image_bytes(row))) for row, name in enumerate(one.images.image_id)}
    assert list(pixels) == list(blanks.BLANKS) and one.images.image_hash.equals(other.images.image_hash)
    assert one.images.image_hash.is_unique
    for name, level in blanks.BLANKS.items():
        assert set(np.unique(pixels[name])) == ({level} if level is not None else set(range(256))), name
    assert pixels["noise"].std() > 70


def test_blank_answers_are_those_of_the_model_itself(run):
    """Agreement with features made by hand: the model's own preprocessing and encoders, no cache."""
    from ubench_utils.models.load import load_model

    choices, left_out = blanks.with_blanks(run, list(run.record["models"]))
    assert list(left_out) == ["random"] and set(choices.model) == {"demo-base", "demo-pathology"}
    model = load_model("demo-base")
    own = choices[choices.model == "demo-base"].merge(
        run.questions[["dataset", "image_id", "question", "wording", "options", "image_hash"]], "left"
    )
    black = decode(blanks.blank_images().image_bytes(1))
    blank = model.encode_images(model.preprocess(black)[None])[0]
    row_of = dict(zip(run.benchmark.images.image_hash, range(len(run.benchmark.images)), strict=True))
    for row in own.sample(40, random_state=0).itertuples():
        texts = model.encode_texts(list(row.options))
        image = decode(run.benchmark.image_bytes(row_of[row.image_hash]))
        score = texts @ model.encode_images(model.preprocess(image)[None])[0]
        alone = texts @ blank
        assert score[row.predicted_idx] == pytest.approx(score.max(), abs=1e-5)
        only, less = own.loc[row.Index, ["only black", "less black"]]
        assert alone[only] == pytest.approx(alone.max(), abs=1e-5)
        assert (score - alone)[less] == pytest.approx((score - alone).max(), abs=1e-5)


def test_blank_tables_hold_what_they_say(run):
    choices, _ = blanks.with_blanks(run, ["demo-base", "demo-pathology"])
    alone = blanks.without_image(choices).set_index(["what", "model", "question"])
    for (model, question), own in choices.groupby(["model", "question"]):
        right, same = ((own["only grey"] == own[column]).mean() for column in ("answer_idx", "predicted_idx"))
        assert alone.estimate["right", model, question] == pytest.approx(right)
        assert alone.estimate["same", model, question] == pytest.approx(same)
        assert alone.chance["right", model, question] == pytest.approx((1 / own.n_options).mean())
    change = blanks.calibrated(choices)
    change = change[change["by"] == "all"].set_index(["reference", "model", "question"]).estimate
    for (model, question), own in choices.groupby(["model", "question"]):
        for name in blanks.SHOWN:
            expected = (own[f"less {name}"] == own.answer_idx).mean() - own.correct.mean()
            assert change[name, model, question] == pytest.approx(expected)
    text = blanks.references(choices)
    assert list(text.image) == [name for name in blanks.REFERENCES for _ in range(2)]
    own = choices[(choices.model == "demo-base") & (choices.question == "modality")]
    assert set(own.labels.map(len)) == {4} and text.called.isin(NAMES).all()


def test_blank_images_cost_nothing_twice_and_need_no_torch(run, monkeypatch):
    path, models = run.benchmark.name, ["random", "demo-base"]
    first, _ = blanks.with_blanks(run, models)
    monkeypatch.setattr(work, "encode_batched", lambda *_: pytest.fail("encoded again"))
    again, _ = blanks.with_blanks(run, models)
    assert again.equals(first)
    program = f"""
import sys
from ubench_utils.studies import blanks
from ubench_utils.report import plots_preferences
from ubench_utils.studies import preferences
from ubench_utils.evaluation.evaluate import evaluate
run = evaluate(sys.argv[1], {models}, device="cpu", precision="float32")
choices, left_out = blanks.with_blanks(run, {models})
blanks.calibrated(choices), blanks.calibrated_rates(choices)
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
    choices, left_out = blanks.with_blanks(both, ["random", elsewhere])
    assert choices.empty and list(left_out) == ["random", elsewhere]
    assert all(model in said(left_out) for model in left_out)
    facts = {**run.record["models"], "demo-base": {**run.record["models"]["demo-base"], "has_embeddings": False}}
    matching = replace(run, record={**run.record, "models": facts})
    choices, left_out = blanks.with_blanks(matching, ["demo-base", "demo-pathology"])
    assert set(choices.model) == {"demo-pathology"} and "together" in left_out["demo-base"]
    assert said({}).endswith(".")
    empty = choices.iloc[:0]
    for made in (blanks.without_image, blanks.calibrated, blanks.calibrated_rates, blanks.references):
        assert made(empty).empty


# ---------------------------------------------------------------------------------------------------- figures


def drawn(run, models=("random", "demo-base", "demo-pathology")):
    """Every figure, by name, and the number of dots that its tables hold."""
    choices, colours = tables.with_choices(run), registry.colours(models)
    blank, _ = blanks.with_blanks(run, list(models))
    attraction, rates = preferences.attraction(choices), preferences.rates(choices)
    alone, accuracy, informed = blanks.without_image(blank), blanks.calibrated(blank), blanks.calibrated_rates(blank)
    shown = attraction[(attraction.question != "all") & (attraction.expected >= plots_preferences.FEW)]
    n_options = len(shown.groupby(["question", "option"]))
    return {
        "attraction": (
            plots_preferences.attraction(attraction, colours),
            len(shown) if n_options <= plots_preferences.MOST else None,
        ),
        "rates": (plots_preferences.rates(rates, colours), (rates.rate != "truth").sum()),
        "without_image": (plots_preferences.without_image(alone, colours), len(alone)),
        "changes": (plots_preferences.changes(accuracy, colours), len(accuracy)),
        "changes of informedness": (
            plots_preferences.changes(informed, colours),
            (informed.rate == "informedness").sum(),
        ),
    }


def n_dots(figure):
    return sum(line.get_marker() == "o" for axis in figure.axes for line in axis.get_lines())


def test_figures_hold_the_rows_of_their_tables(run):
    figures, again = drawn(run), drawn(run)
    assert all(svg(figure) == svg(again[name][0]) for name, (figure, _) in figures.items())
    public = {
        name
        for name, value in vars(plots_preferences).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == plots_preferences.__name__
    }
    assert public == {name.partition(" of ")[0] for name in figures}
    for name, (figure, n) in figures.items():
        alt = figure.get_label()
        assert isinstance(figure, Figure) and alt.endswith(".") and not re.search(r"\bnan\b", alt), name
        assert name == "attraction" or ("demo-base" in alt and "demo-pathology" in alt), name  # few mistakes, no ratio
        assert n is None or n_dots(figure) == n, name
        assert overhang(figure) <= 0, name


def test_attraction_shows_the_most_attractive_on_top():
    rng = np.random.default_rng(10)
    table = pd.DataFrame(
        {
            "model": "demo-base",
            "level": "fine",
            "question": "classification",
            "option": [f"o{i}" for i in range(20)],
            "observed": 40,
            "expected": 10.0,
            "estimate": rng.permutation(np.linspace(0.5, 4, 20)),
            "n_questions": 50,
            "n_images": 50,
        }
    )
    table = table.assign(ci_low=table.estimate - 0.3, ci_high=table.estimate + 0.3)
    table.loc[table.estimate == 4, "expected"] = 1.0  # too few to say
    figure = plots_preferences.attraction(table, registry.colours(["demo-base"]))
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    best = table[table.expected > 5].nlargest(plots_preferences.MOST, "estimate")
    assert names == [f"classification: {option}" for option in best.option]


def test_confusion_of_many_options_keeps_its_numbers(run):
    choices, models = tables.with_choices(run), ["random", "demo-base"]
    figure = plots.confusion(choices, models, "submodality")
    assert overhang(figure) <= 0 and len({axis.get_position().x0 for axis in figure.axes}) == 1  # one below the other
    for axis, model in zip(figure.axes, models, strict=True):
        rows = choices[(choices.model == model) & (choices.question == "submodality") & (choices.wording == 1)]
        share = 100 * pd.crosstab(rows.submodality, rows.chosen, normalize="index").to_numpy().ravel()
        shown = sorted(int(text.get_text()) for text in axis.texts if text.get_text())
        assert shown == sorted(int(f"{value:.0f}") for value in share if value >= 0.5)


def test_figures_of_nothing_say_so():
    for function in ("attraction", "rates", "without_image", "changes"):
        table = pd.DataFrame(columns=[*preferences.ATTRACTION, "rate"])
        figure = getattr(plots_preferences, function)(table, {})
        assert figure.get_label().endswith(".") and n_dots(figure) == 0
