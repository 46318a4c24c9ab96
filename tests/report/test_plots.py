"""Figures: alt texts, reproducible bytes, colours that stay, nothing cut off at the edge."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from helpers.figures import overhang, svg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from ubench_utils.models import registry
from ubench_utils.report import plots, plots_finetuning
from ubench_utils.statistics import families
from ubench_utils.statistics import scores as stats
from ubench_utils.studies import published

MODELS = ["random", "demo-base", "demo-pathology"]
PAIR = ("demo-base", "demo-pathology")
# Lighter than 3:1 on white, as much of Okabe and Ito's palette is; the text beside the dots says the same. No more.
LIGHT = {"#999999", "#B79F00", "#56B4E9", "#E69F00", "#44AA99"}


def tables(models=MODELS, seed=0):
    """Answers, with what was chosen, and scores of a small benchmark of two levels."""
    rng = np.random.default_rng(seed)
    names = ["light microscopy", "fluorescence microscopy", "electron microscopy"]
    sets = pd.DataFrame(
        {"dataset": ["set_a", "set_b", "set_c"], "modality": names, "scale": ["tissue", "cellular", "subcellular"]}
    )
    images = sets.merge(pd.DataFrame({"image_id": [f"{i}" for i in range(12)]}), "cross")
    types = {"domain": "coarse", "modality": "coarse", "classification": "fine"}
    questions = images.merge(pd.DataFrame(types.items(), columns=["question", "level"]), "cross")
    answers = questions.merge(pd.DataFrame({"model": models}), "cross").assign(wording=1, n_options=4)
    answers["correct"] = rng.random(len(answers)) < np.linspace(0.3, 0.9, len(answers))
    answers["chosen"] = np.where(answers.correct, answers.modality, "none of the above")
    return answers, stats.score(answers, by=["scale", "dataset"], n_resamples=50)


def cells(answers, base, tuned):
    where = np.where(answers.scale == "tissue", "in-domain", "out-of-domain")
    return families.compare_cells(
        answers.assign(where=where), [(base, tuned)], by=["where", "modality", "scale", "dataset"], n_resamples=50
    )


def named(table):
    rows = table[(table.by == "where") & (table.question != "all")]
    return rows.assign(name=[f"{q}, {s}" for q, s in zip(rows.question, rows.slice, strict=True)])


def curves():
    rows = itertools.product(
        ["coarse questions", "fine questions"], ["in-domain", "out-of-domain"], np.linspace(0, 1, 5)
    )
    table = pd.DataFrame(rows, columns=["question", "group", "alpha"])
    table["estimate"] = 0.3 + 0.4 * table.alpha + 0.1 * (table.group == "in-domain")
    return {PAIR: table.assign(ci_low=table.estimate - 0.05, ci_high=table.estimate + 0.05)}


def along(groups=tuple(plots_finetuning.GROUPS)):
    table = pd.DataFrame(itertools.product(groups, [0, 0.25, 0.5, 0.75, 1]), columns=["group", "alpha"])
    table["estimate"] = table.alpha * np.where(table.group == "all, out-of-domain", -0.1, 0.2)
    return {PAIR: table.assign(ci_low=table.estimate - 0.03, ci_high=table.estimate + 0.03)}


def path():
    table = pd.DataFrame({"alpha": np.linspace(0, 1, 5)}).assign(
        x=lambda t: 0.6 - 0.2 * t.alpha, y=lambda t: 0.3 + t.alpha / 2
    )
    for axis in "xy":
        table[f"{axis}_low"], table[f"{axis}_high"] = table[axis] - 0.05, table[axis] + 0.05
    return {PAIR: table}


def figures(models=MODELS):
    """Every figure of the pages, and the models that it shows."""
    answers, scores = tables(models)
    colours = registry.colours(models)
    questions = {"modality": "Modality", "classification": "Fine-grained"}
    yield "by_model", plots.accuracy_by_model(scores, colours), models
    yield "by_question", plots.accuracy_by_question(scores, colours), models
    for value in ("estimate", "chance_corrected"):
        figure = plots.accuracy_by_slice(scores, colours, "scale", questions, ["tissue"], value)
        yield f"by_slice, {value}", figure, models
    both = pd.concat([scores, scores.assign(wording=0, estimate=scores.estimate * 0.9)])
    yield "by_wording", plots.accuracy_by_wording(both, colours, {0: "0", 1: "1"}), models
    yield "confusion", plots.confusion(answers, models[1:]), models[1:]
    family, pair = cells(answers, *PAIR), [PAIR[1]]
    yield "differences", plots_finetuning.differences({PAIR: named(family)}, colours), pair
    yield "change_map", plots_finetuning.change_map({PAIR: family}), pair
    yield "churn", plots_finetuning.churn({PAIR: family}), pair
    theirs = published.forgetting()
    every = registry.colours(["PLIP", "QuiltNet", *colours])
    yield "published", plots_finetuning.published_beside(theirs, {PAIR: family}, every), [*pair, "PLIP", "QuiltNet"]
    yield "alpha_changes", plots_finetuning.alpha_changes(along()), pair
    yield "alpha_curves", plots_finetuning.alpha_curves(curves()), pair
    steps = curves()[PAIR].query("group == 'in-domain' and question == 'fine questions'").assign(chance=0.25)
    by_set = pd.concat([steps.assign(slice=name) for name in ("set_a", "set_b", "set_c", "set_d")])
    yield "alpha_by_dataset", plots_finetuning.alpha_by_dataset({PAIR: by_set}, colours), pair
    yield "trade_off", plots_finetuning.trade_off(path(), colours, "all sets (%)", "in-domain (%)"), pair
    front = pd.DataFrame({"alpha": [0, 0.5, 1], "gain": [0, 0.1, 0.05], "kept": [0, -0.01, -0.1]})
    front["on_front"] = [True, True, False]
    others = pd.DataFrame({"way": ["both models", "TIES"], "gain": [0.08, 0.06], "kept": [-0.02, -0.01]})
    yield "fronts", plots_finetuning.fronts({PAIR: front}, {PAIR: others}, colours), pair
    layer = pd.DataFrame(itertools.product(["image", "text"], range(3)), columns=["tower", "layer"])
    angle = layer.assign(
        first="demo-pathology", second="demo-fluorescence", cosine=0.1, layer=layer.layer.astype("Int64")
    )
    change = {PAIR: layer.assign(relative_change=0.01 + layer.layer / 100)}
    ends = pd.concat([steps, steps.assign(question="coarse questions")])
    yield "barrier", plots_finetuning.barrier(ends, "demo-base", "demo-second"), ["demo-base", "demo-second"]
    yield "layers", plots_finetuning.layers(change, angle, {**colours, "demo-fluorescence": "#B79F00"}), pair
    grid = pd.DataFrame(itertools.product([0, 0.5, 1], [0, 0.5, 1]), columns=["alpha_image", "alpha_text"])
    yield "towers", plots_finetuning.towers({PAIR: grid.assign(estimate=grid.alpha_image / 10)}), pair
    error = pd.DataFrame({"alpha": [0, 0.5, 1], "estimate": [0.1, 0.08, 0.12], "noise": 0.01})
    error = error.assign(ci_low=error.estimate - 0.02, ci_high=error.estimate + 0.02)
    yield "calibration", plots_finetuning.calibration_along_alpha({PAIR: error}, colours), pair


@pytest.fixture(scope="module")
def drawn():
    return list(figures())


def test_a_figure_without_content_says_so_in_its_caption(monkeypatch):
    """And not what it would have shown."""
    shown = []
    monkeypatch.setattr(plots, "display", lambda *_, metadata, **__: shown.append(metadata["ubench"]))
    plots.show(plots.nothing("There is nothing to show."), "Accuracy of each model.")
    assert shown == [{"caption": "There is nothing to show.", "alt": "There is nothing to show."}]
    assert plots.confusion(tables()[0], [], "modality").get_label().startswith("No model")


def test_every_plot_function_is_tested(drawn):
    public = {
        name
        for module in (plots, plots_finetuning)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
        and not name.startswith("_")
        and getattr(value, "__annotations__", {}).get("return") in (Figure, "Figure")
    }
    assert public == {
        "accuracy_by_model",
        "accuracy_by_question",
        "accuracy_by_slice",
        "accuracy_by_wording",
        "confusion",
        "differences",
        "change_map",
        "churn",
        "published_beside",
        "alpha_changes",
        "alpha_curves",
        "alpha_by_dataset",
        "trade_off",
        "fronts",
        "calibration_along_alpha",
        "layers",
        "towers",
        "barrier",
        "nothing",
    }
    assert len(drawn) == len(public)  # one of them in two ways, "nothing" by a test of its own


def test_alt_text_names_the_models(drawn):
    for name, figure, models in drawn:
        alt = figure.get_label()
        assert isinstance(figure, Figure) and len(alt) > 40 and alt.endswith("."), name
        assert all(model in alt for model in models) and not re.search(r"\bnan\b", alt), (name, alt)


def test_the_last_row_may_lack_a_panel():
    grid = pd.DataFrame(itertools.product([0, 1], [0, 1]), columns=["alpha_image", "alpha_text"]).assign(estimate=0.1)
    grids = {("demo-base", tuned): grid for tuned in ("demo-pathology", "demo-fluorescence", "demo-second")}
    assert len(plots_finetuning.towers(grids).axes) == 4  # three panels and the scale of colours


def test_alt_text_of_a_large_run_names_every_model():
    many = ["random", *PAIR, "CLIP", "OpenCLIP", "BiomedCLIP", "QuiltNet", "demo-fluorescence"]
    for name, figure, models in figures(many):
        assert all(model in figure.get_label() for model in models), name


def test_alt_text_holds_the_numbers():
    _, scores = tables()
    alt = plots.accuracy_by_model(scores, registry.colours(MODELS)).get_label()
    shown = scores[
        (scores.estimand == "micro") & (scores.by == "all") & ((scores.question == "all") | (scores.level == "fine"))
    ]
    assert len(shown) == 6
    for row in shown.itertuples():
        assert f"{100 * row.estimate:.1f} %" in alt


def test_equal_inputs_give_equal_bytes():
    once, again = ({name: svg(figure) for name, figure, _ in figures()} for _ in range(2))
    assert once == again and len(set(once.values())) == len(once) == 19
    other = plots.accuracy_by_model(tables(seed=1)[1], registry.colours(MODELS))
    assert svg(other) != once["by_model"]


def test_nothing_reaches_over_the_edge(drawn):
    for name, figure, _ in drawn:
        assert overhang(figure) <= 0, name


def test_model_strings_do_not_reach_over_the_edge():
    models = ["demo-base", "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "demo-pathology"]
    for name, figure, _ in figures(models):
        assert overhang(figure) <= 0, name


def dots(axis):
    """Colour of each dot of a panel, from top to bottom."""
    lines = [line for line in axis.get_lines() if line.get_marker() == "o"]
    return [to_hex(line.get_color()) for line in sorted(lines, key=lambda line: line.get_ydata()[0])]


def test_a_listed_model_keeps_its_colour():
    listed = {name: card.colour for name, card in registry.model_cards().items()}
    assert all(listed.values())
    for models in (["demo-pathology"], MODELS, ["open_clip:ViT-B-32", *MODELS[::-1]], list(listed)):
        colours = registry.colours(models)
        assert list(colours) == models
        assert all(colours[name] == listed[name] for name in models if name in listed)
    for models in (MODELS, MODELS[::-1]):
        _, scores = tables(models)
        figure = plots.accuracy_by_model(scores, registry.colours(models))
        assert dots(figure.axes[0]) == [listed[name].lower() for name in models]


def test_colours_are_distinct():
    listed = [card.colour.lower() for card in registry.model_cards().values()]
    every = [*listed, *(colour.lower() for colour in registry.PALETTE)]
    assert len(set(every)) == len(every)
    for one, other in itertools.combinations(every, 2):
        assert np.abs(np.subtract(to_rgb(one), to_rgb(other))).max() > 0.06, (one, other)
    unlisted = [f"open_clip:arch-{i}" for i in range(len(registry.PALETTE))]
    assert len(set(registry.colours(unlisted).values())) == len(unlisted)


def contrast_to_white(colour):
    """Contrast ratio of WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_colours_stand_out_from_white():
    listed = {name: card.colour for name, card in registry.model_cards().items()}
    assert [contrast_to_white(grey) for grey in ("#000000", "#777777")] == pytest.approx([21, 4.48], abs=0.01)
    light = {colour for colour in [*listed.values(), *registry.PALETTE, plots.CHANCE] if contrast_to_white(colour) < 3}
    assert light <= LIGHT


def test_show_hands_caption_and_alt_to_the_page(monkeypatch):
    sent = {}
    monkeypatch.setattr(plots, "display", lambda data, **how: sent.update(data=data, **how))
    figure, same = (plots_finetuning.trade_off(path(), registry.colours(MODELS), "x", "y") for _ in range(2))
    plots.show(figure, "A caption.")
    assert sent["raw"] and sent["data"]["image/svg+xml"].encode() == svg(same)
    assert sent["metadata"]["ubench"] == {"caption": "A caption.", "alt": figure.get_label()}
