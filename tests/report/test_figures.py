"""The five kinds of figure: marks at the numbers, alt texts, equal bytes, nothing over the edge, whole labels."""

import itertools
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helpers.figures import overhang, renderer, tick_labels
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from ubench_utils.errors import UserError
from ubench_utils.report import figures, style

MODELS = ["random", "demo-base", "demo-pathology"]
STRINGS = ["hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "demo-base", "demo-pathology"]
PAIR = ("demo-base", "demo-pathology")
INTERFERENCE = "light microscopy: differential interference contrast"


def estimates(models=MODELS, **columns):
    """A table of estimates: every model, and every combination of the values of the columns."""
    rows = itertools.product(models, *columns.values())
    table = pd.DataFrame(rows, columns=["model", *columns])
    table["estimate"] = np.linspace(0.31, 0.87, len(table)).round(3)
    ends = {"ci_low": table.estimate - 0.04, "ci_high": table.estimate + 0.05}
    return table.assign(**ends, chance=0.25, n_questions=1200)


def slices(models=MODELS, **more):
    questions = ["modality", "classification"]
    return estimates(models, question=questions, slice=["tissue", INTERFERENCE, "cellular"], **more)


def along(models=MODELS):
    table = estimates(models, group=["in-domain", "out-of-domain"], alpha=[0.0, 0.25, 0.5, 0.75, 1.0])
    return table.assign(pair="demo-base to demo-pathology")


def points(models=MODELS):
    return estimates(models, dataset=["a", "b", "c"]).assign(size=lambda t: 0.1 * 7.0 ** t.dataset.map("abc".index))


def shares(models=MODELS):
    table = estimates(models, state=["kept", "forgotten", "learned"])
    return table.assign(estimate=table.groupby("model").estimate.transform(lambda values: values / values.sum()))


def arrows():
    table = pd.DataFrame({"parent": ["CLIP", "PLIP"], "x": [10.0, 20.0], "y": [30.0, 31.0]})
    return table.assign(merge_x=25.0, merge_y=36.0, merge="PLIP+CLIP")


def drawn(models=MODELS):
    """Each kind in the ways that the pages have it."""
    table, colours = slices(models), style.colours(models)
    panels = {"modality": "Names the modality", "classification": "Fine-grained"}
    grouped = {"panel": "question", "panels": panels, "colours": colours, "n": "n_questions"}
    yield "dots", figures.dots(table, "slice", tick="chance", limits=(0, 100), **grouped)
    corrected = figures.corrected(table)
    yield "dots, corrected", figures.dots(corrected, "slice", line=0, label="chance-corrected", **grouped)
    joint = table.assign(joint_low=table.ci_low - 0.1, joint_high=table.ci_high + 0.1, small=table.slice == "tissue")
    joint = joint[joint.model == models[-1]].assign(kind=joint.slice != "tissue")
    yield "dots, joint", figures.dots(joint, "slice", panel="question", faint="small", group="kind", line=0)
    yield "dots, grid", figures.dots(table, "model", row="question", panel="slice", colours=colours)
    yield "dots, joined", figures.dots(table, "model", panel="question", shape="slice", hollow=["tissue"], joined=True)
    yield "dots, best first", figures.dots(table, "model", panel="slice", colours=colours, best_first=True, band=0.5)
    yield "lines", figures.lines(along(models), "alpha", panel="model", colour="group", chord=True, tick="chance")
    yield "lines, bars", figures.lines(points(models), "size", shape="model", bars=True, log=True)
    histogram = along(models).drop(columns=["ci_low", "ci_high"]).assign(at=0.4)
    yield "lines, steps", figures.lines(histogram, "alpha", row="model", colour="group", step=True, rule="at")
    yield "heatmap", figures.heatmap(table, "slice", "model", panel="question", columns=2)
    shaded = estimates(models, question=["domain", "stain"]).assign(above=lambda t: t.estimate - t.chance)
    yield "heatmap, shaded", figures.heatmap(shaded, "question", "model", paint="above", bar="above", limits=(-1, 1))
    states = {"kept": "#8DB6CD", "forgotten": "#D55E00", "learned": "#009E73"}
    yield "bars, stacked", figures.bars(shares(models), "model", colour="state", colours=states, label="share (%)")
    counts = estimates(models).assign(text=[f"{n} images" for n in range(len(models))])
    yield "bars", figures.bars(counts, "model", x="n_questions", text="text", label="images", picture=np.eye(8))
    yield "plane", figures.plane(points(models), "size", "estimate", shape="model", log=True, line=0)
    path = along(models).query("group == 'in-domain'").assign(kept=lambda t: -t.alpha, way="mixed", note="α = 0.5")
    yield "plane, path", figures.plane(path, "kept", "estimate", panel="model", shape="way", path="alpha", note="note")


@pytest.fixture(scope="module")
def every():
    return list(drawn())


def test_alt_text_names_the_models_and_holds_numbers(every):
    for name, figure in every:
        alt = figure.get_label()
        assert isinstance(figure, Figure) and alt.endswith(".") and not re.search(r"\bnan\b|\n", alt), name
        assert all(model in alt for model in MODELS[-1:]) and re.search(r"\d", alt), (name, alt)


def test_alt_text_of_a_large_run_names_every_model():
    many = ["random", *PAIR, "CLIP", "OpenCLIP", "BiomedCLIP", "QuiltNet", "demo-fluorescence"]
    for name, figure in drawn(many):
        assert name == "dots, joint" or all(model in figure.get_label() for model in many), name


def test_alt_text_has_the_units_of_its_axis():
    table = estimates(slice=["tissue"])
    units = ("accuracy (%)", "change (points)", "ratio")
    texts = [figures.dots(table, "model", label=label).get_label() for label in units]
    assert ["random: 31.0 %" in texts[0], "random: +31.0;" in texts[1], "random: 0.31;" in texts[2]] == [True] * 3
    published = figures.dots(table.assign(estimate=31.0), "model", percent=True).get_label()
    assert "random: 31.0 %" in published


def test_equal_tables_give_equal_bytes(every):
    once, again = ({name: style.svg(figure) for name, figure in found} for found in (every, drawn()))
    assert once == again and len(set(once.values())) == len(once)
    other = figures.dots(slices().assign(estimate=0.5), "slice", panel="question")
    assert style.svg(other) not in once.values()


@pytest.mark.parametrize("models", [MODELS, STRINGS, ["demo-base"]], ids=["short", "strings", "one"])
def test_nothing_reaches_over_the_edge(models):
    for name, figure in drawn(models):
        assert overhang(figure) <= 0, name
    narrow = figures.dots(estimates(models), "model", width=style.NARROW, tick="chance", shape="n_questions")
    assert overhang(narrow) <= 0


def test_labels_of_rows_are_whole(every):
    """A long name has two lines beside its axis."""
    labels = tick_labels(dict(every)["dots"].axes[0])
    assert labels[:2] == ["cellular (n = 1,200)", "tissue (n = 1,200)"]
    assert labels[2].replace("\n", " ") == f"{INTERFERENCE} (n = 1,200)" and "\n" in labels[2]


def marks(axis):
    """Number, place and colour of each dot of a panel, from top to bottom."""
    drawn = [dots for dots in axis.collections if isinstance(dots, PathCollection)]
    found = [
        (*at, to_hex(paint).upper())
        for dots in drawn
        for at, paint in zip(dots.get_offsets(), dots.get_edgecolors(), strict=True)
    ]
    return sorted(found, key=lambda mark: mark[1])


def spans(axis, width):
    """Ends of the lines of a thickness in a panel."""
    drawn = [
        lines for lines in axis.collections if isinstance(lines, LineCollection) and lines.get_linewidth() == width
    ]
    return [segment for lines in drawn for segment in lines.get_segments()]


def test_dots_stand_at_the_numbers_in_the_colours_of_the_models(every):
    figure, table = dict(every)["dots"], slices()
    for axis, question in zip(figure.axes, ("modality", "classification"), strict=True):
        rows = table[table.question == question]
        rows = rows.assign(row=rows.slice.map({"cellular": 0, "tissue": 1}).fillna(2))
        rows = rows.assign(place=rows.model.map(MODELS.index))
        rows = rows.sort_values(["row", "place"])
        found = marks(axis)
        assert [x for x, _, _ in found] == pytest.approx((100 * rows.estimate).tolist())
        assert [colour for *_, colour in found] == [style.colours(MODELS)[model].upper() for model in rows.model]
        assert [round(y) for _, y, _ in found] == rows.row.tolist()
        ticks = spans(axis, 1.5)
        assert len(ticks) == 3 and all(
            tick[:, 0].tolist() == [25, 25] for tick in ticks
        )  # one a row: all have one chance


def test_intervals_are_thick_and_simultaneous_ones_thin(every):
    axis = dict(every)["dots, joint"].axes[0]
    assert [np.ptp(ends[:, 0]) for ends in spans(axis, 0.8)] == pytest.approx([29] * 3)
    assert [np.ptp(ends[:, 0]) for ends in spans(axis, 2)] == pytest.approx([9] * 3)
    assert {colour for *_, colour in marks(axis)} == {style.FAINT, style.colours(MODELS)[MODELS[-1]].upper()}
    assert len([line for line in axis.get_lines() if to_hex(line.get_color()) == "#aaaaaa"]) == 1  # between the groups


def test_best_first_orders_each_panel_by_itself():
    table = estimates(["one", "two"], slice=["a", "b"])
    table.loc[table.slice == "b", "estimate"] = [0.9, 0.2]
    figure = figures.dots(table, "model", panel="slice", best_first=True)
    assert [tick_labels(axis) for axis in figure.axes] == [["two", "one"], ["one", "two"]]


def test_open_marks_and_the_legend(every):
    figure = dict(every)["dots, joined"]
    legend = {text.get_text(): line for line, text in zip(*_legend(figure), strict=True)}
    assert list(legend)[:2] == ["cellular", "tissue"] and len(legend) == 3
    assert legend["tissue"].get_markerfacecolor() == "white" != legend["cellular"].get_markerfacecolor()
    dots = [one for one in figure.axes[0].collections if isinstance(one, PathCollection)]
    assert [to_hex(one.get_facecolor()[0]) == "#ffffff" for one in dots] == [True, False, False]


def _legend(figure):
    return figure.legends[0].get_lines(), figure.legends[0].get_texts()


def test_panels_are_chosen_ordered_and_named():
    figure = figures.dots(slices(), "slice", panel="question", panels={"classification": "Fine"})
    assert [axis.get_title("left") for axis in figure.axes] == ["Fine"]
    titles = [axis.get_title("left") for axis in figures.dots(slices(), "model", panel="question").axes]
    assert titles == ["modality", "classification"]  # the order of the field


def test_lines_follow_the_numbers_and_a_chord_joins_their_ends(every):
    table = along()
    for axis, model in zip(dict(every)["lines"].axes, MODELS, strict=False):
        own = table[(table.model == model) & (table.group == "in-domain")]
        lines = [line for line in axis.get_lines() if to_hex(line.get_color()).upper() == style.BLUE]
        assert lines[0].get_ydata() == pytest.approx((100 * own.estimate).to_numpy())
        assert lines[1].get_linestyle() == ":" and len(lines[1].get_xdata()) == 2
        assert len(axis.collections) == 2  # bands


def test_the_last_row_may_lack_a_panel():
    assert len(figures.lines(along(), "alpha", panel="model", colour="group").axes) == 3
    table = slices().assign(size=1)
    figure = figures.heatmap(table, "slice", "model", panel="question", bar="accuracy", paint="estimate", columns=2)
    assert len(figure.axes) == 3  # two panels and the scale of shades


def test_cells_hold_the_numbers_and_light_text_stands_on_dark(every):
    axis = dict(every)["heatmap, shaded"].axes[0]
    table = estimates(question=["domain", "stain"])
    texts = {tuple(text.get_position()): text for text in axis.texts}
    for (i, model), (j, question) in itertools.product(enumerate(MODELS), enumerate(["domain", "stain"])):
        row = table[(table.model == model) & (table.question == question)].iloc[0]
        assert texts[j + 0.5, i + 0.5].get_text() == f"{100 * row.estimate:.0f}"
    assert texts[1.5, 2.5].get_color() == "w" and texts[0.5, 0.5].get_color() == style.DARK


def test_stacked_bars_fill_the_row_and_others_have_their_text(every):
    axis = dict(every)["bars, stacked"].axes[0]
    ends = {patch.get_y(): patch.get_x() + patch.get_width() for patch in axis.patches}
    assert list(ends.values()) == pytest.approx([100] * 3)
    texts = [text.get_text() for text in dict(every)["bars"].axes[1].texts]
    assert texts == [" 0 images", " 1 images", " 2 images"]


def test_points_of_one_place_stand_beside_each_other(every):
    lines = [line for line in dict(every)["plane"].axes[0].get_lines() if line.get_linestyle() == "None"]
    at = {(round(line.get_xdata()[0], 6), line.get_marker()) for line in lines}
    assert len(at) == 9 and len({marker for _, marker in at}) == 3
    assert {x for x, _ in at if x < 0.11} and max(x for x, _ in at) == pytest.approx(4.9 * 1.05)


def test_arrows_lead_to_a_star_named_where_none_comes_from():
    ends = {"to": ("merge_x", "merge_y", "merge"), "note": "parent", "percent": True, "axes": ("H&E (%)", "all (%)")}
    figure = figures.plane(arrows(), "x", "y", colour="parent", **ends)
    axis = figure.axes[0]
    names = {text.get_text(): text for text in axis.texts if text.get_text()}
    assert set(names) == {"CLIP", "PLIP", "PLIP +\nCLIP"} and names["PLIP +\nCLIP"].xyann[1] > 0
    assert "CLIP: 10.0 % and 30.0 % to PLIP+CLIP, 25.0 % and 36.0 %" in figure.get_label()
    assert overhang(figure) <= 0


def test_an_empty_table_says_so():
    empty = slices().iloc[:0]
    for figure in (
        figures.dots(empty, "slice", empty="Nothing."),
        figures.lines(pd.DataFrame(), "alpha", empty="Nothing."),
        figures.heatmap(empty, "slice", "model", empty="Nothing."),
        figures.bars(empty, "slice", empty="Nothing."),
        figures.plane(empty, "size", "estimate", empty="Nothing."),
        figures.dots(slices(), "slice", panel="question", panels={"stain": "Stain"}, empty="Nothing."),
    ):
        assert figure.get_label() == figure.instead == "Nothing."


def test_tables_of_pairs_become_one():
    table = figures.by_pair({PAIR: estimates(["x"]), ("demo-base", "demo-fluorescence"): estimates(["y"])})
    assert list(table.pair) == ["demo-base to demo-pathology", "demo-base to demo-fluorescence"]
    assert list(table.model) == ["demo-pathology", "demo-fluorescence"] and set(table.reference) == {"demo-base"}
    assert figures.by_pair({}).empty


def test_drawing_leaves_the_settings_as_they_were():
    before = dict(matplotlib.rcParams)
    style.svg(figures.dots(slices(), "slice", panel="question"))
    assert dict(matplotlib.rcParams) == before


def test_change_map_stars_what_stands_and_brackets_what_is_small():
    table = estimates(["demo-pathology"], question=["domain", "stain", "classification"], slice=["all"])
    table = table.assign(level=["coarse", "coarse", "fine"], by="all", estimate=[0.2, -0.004, -0.3])
    table = table.assign(p_adjusted=[0.01, 0.9, 0.01], small=[False, False, True])
    figure = figures.change_map(figures.by_pair({PAIR: table}))
    assert [text.get_text() for text in figure.axes[0].texts] == ["+20*", "0", "(−30*)"]
    assert "stain" not in figure.get_label() and "domain: +20.0" in figure.get_label()


def test_fronts_tell_the_alphas_and_the_other_ways():
    front = pd.DataFrame({"alpha": [0, 0.5, 1], "gain": [0, 0.1, 0.05], "kept": [0, -0.01, -0.1]})
    front["on_front"] = [True, True, False]
    ways = pd.DataFrame({"way": ["both models", "TIES"], "gain": [0.08, 0.06], "kept": [-0.02, -0.01]})
    axes = ("kept (points)", "gain (points)")
    figure = figures.fronts({PAIR: front}, {PAIR: ways}, style.colours(PAIR), axes=axes)
    assert [text.get_text() for text in _legend(figure)[1]] == [
        "α on the Pareto front",
        "other α",
        "both models",
        "TIES",
    ]
    assert "TIES: −1.0 and +6.0" in figure.get_label() and overhang(figure) <= 0
    nowhere = front.assign(kept=np.nan)
    assert figures.fronts({PAIR: nowhere}, {PAIR: ways}, style.colours(PAIR), empty="No.").instead == "No."


def test_totals_of_levels_and_rare_values_have_names():
    table = pd.DataFrame(
        {"level": ["coarse", "coarse", "fine", "fine"], "question": ["all", "stain", "all", "classification"]}
    )
    two = pd.concat([table, table.iloc[[1]].assign(question="domain")])
    assert figures.asked(two).asked.tolist() == ["all coarse", "domain", "stain", "classification"]
    counts = pd.DataFrame({"facet": "stain", "value": [f"s{i}" for i in range(30)], "images": 30, "datasets": 2})
    pooled = figures.pooled(counts)
    assert len(pooled) == 12 and pooled.images.sum() == 900 and pooled.value.iloc[-1] == "19 others"
    assert pooled.datasets.iloc[-1] == 0 and figures.pooled(counts.head(5)).equals(counts.head(5))


def test_titles_and_names_of_axes_are_whole():
    """None is longer than its panel, reaches over the edge or touches the words of another panel."""
    long = [*PAIR, "demo-fluorescence", *STRINGS[:1]]
    pairs = {(PAIR[0], tuned): estimates([tuned], slice=["a", "b"], question=["domain"]) for tuned in long}
    table = figures.by_pair(pairs).assign(alpha=0.5)
    words = {"label": "headline wording minus the other (points)"}
    for figure in (
        figures.dots(table, "slice", panel="pair", **words),
        figures.dots(table, "slice", panel="pair", best_first=True, columns=3, **words),
        figures.lines(
            table, "alpha", panel="pair", columns=3, axis_label="α (0: base, 1: fine-tuned)", **words, height=1
        ),
        figures.lines(table, "alpha", row="question", panel="pair", colour="slice", height=1.2),
        figures.heatmap(table, "question", "slice", panel="pair", columns=2, axes=("question", "slice"), **words),
        figures.bars(table, "slice", panel="pair", columns=2, **words),
        figures.plane(
            table, "alpha", "estimate", panel="pair", axes=("all questions out-of-domain − base (points)", "%")
        ),
    ):
        assert overhang(figure) <= 0
        texts = [
            (text, axis)
            for axis in figure.axes
            for text in (*axis.get_children(), axis.xaxis.label)
            if isinstance(text, Text)
        ]
        boxes = [(text.get_window_extent(renderer(figure)), axis.bbox) for text, axis in texts if text.get_text()]
        assert len(boxes) >= 4 and all(box.width <= panel.width + 1 for box, panel in boxes)
        for (one, _), (other, _) in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)


def test_a_column_that_is_not_there_is_named():
    table = pd.DataFrame({"model": ["a"], "estimate": [0.5]})
    for call in (
        lambda: figures.dots(table, "modle"),
        lambda: figures.lines(table, "modle"),
        lambda: figures.bars(table, "modle"),
        lambda: figures.heatmap(table, "model", "modle"),
        lambda: figures.plane(table, "estimate", "modle"),
        lambda: figures.dots(table, "model", panel="modle"),
    ):
        with pytest.raises(UserError, match="no column modle; it has model, estimate"):
            call()
