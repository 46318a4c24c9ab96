"""Figures of slices: alt texts, rows that are the data, colours, nothing over the edge, equal bytes."""

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ubench_utils.models import registry
from ubench_utils.report import plots_slices
from ubench_utils.studies import groups, specialists
from ubench_utils.studies import scale as resolution

MODELS = ["random", "demo-base", "demo-pathology"]
LONG = ["hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "demo-base", "demo-pathology"]
SETS = pd.DataFrame(
    {
        "dataset": ["colon", "blood", "yeast"],
        "scale": ["tissue", "cellular", "subcellular"],
        "domain": ["pathology", "pathology", "biology"],
        "organism": ["Homo sapiens", "Homo sapiens", "yeast"],
        "stain": ["H&E", "Giemsa", "DAPI"],
        "taxonomy": ["Interpretation of non-neoplastic histopathology", "Cell", "Cell"],
        "modality": ["light microscopy", "light microscopy", "fluorescence microscopy"],
        "pixel": [2.0, 0.4, 0.1],
    }
)


def answered(models=MODELS, seed=0):
    rng = np.random.default_rng(seed)
    rows = SETS.merge(pd.DataFrame({"image_id": [str(i) for i in range(40)]}), "cross")
    types = [("domain", "coarse"), ("stain", "coarse"), ("classification", "fine")]
    rows = rows.merge(pd.DataFrame(types, columns=["question", "level"]), "cross")
    rows = rows.merge(pd.DataFrame({"model": models}), "cross").assign(wording=1, n_options=4)
    rows = rows.assign(synthetic="real", normality=rows.dataset.map({"colon": groups.NORMAL}).fillna(groups.OTHER))
    return rows.assign(correct=rng.random(len(rows)) < 0.6, microns_per_pixel=rows.pixel)


def points_of(answers):
    sizes = answers[["dataset", "image_id", "microns_per_pixel"]].drop_duplicates(["dataset", "image_id"])
    sizes = sizes.assign(width=64.0, height=64.0, field_of_view=64 * sizes.microns_per_pixel)
    return resolution.by_size(answers, sizes)


def changes_of(answers):
    rng = np.random.default_rng(1)
    swept = [answers.assign(factor=1.0)]
    swept += [
        answers.assign(factor=factor, correct=answers.correct & (rng.random(len(answers)) < 1 - factor / 20))
        for factor in (2.0, 8.0)
    ]
    return resolution.changes(pd.concat(swept, ignore_index=True))


def figures(models=MODELS, seed=0):
    """Every figure of the pages, and the models that it shows."""
    answers, colours = answered(models, seed), registry.colours(models)
    pair = [["demo-pathology"], ["demo-base"]]
    yield "size", plots_slices.score_against_size(points_of(answers), colours), models
    changes = changes_of(answers)
    yield "factor", plots_slices.change_by_factor(changes, colours), models
    yield "factor by scale", plots_slices.change_by_factor(changes, colours, "scale", ["tissue"]), models
    yield "ground", plots_slices.by_ground(specialists.scores_by_ground(answers, pair[0]), colours), models
    differences = specialists.differences(answers, *pair)
    yield "specialists", plots_slices.specialist_differences(differences, colours), [*pair[0], *pair[1]]
    scores, members = groups.scores_by_group(answers), groups.members(answers)
    for facet in ("organism", "normality", "stain", "taxonomy"):
        yield facet, plots_slices.by_group(scores, members, colours, facet), models


@pytest.fixture(scope="module")
def drawn():
    return {name: (figure, models) for name, figure, models in figures()}


def test_every_plot_function_is_tested(drawn):
    public = {
        name
        for name, value in vars(plots_slices).items()
        if getattr(value, "__module__", "") == plots_slices.__name__ and not name.startswith("_") and callable(value)
    }
    assert public == {"score_against_size", "change_by_factor", "by_ground", "specialist_differences", "by_group"}
    assert len(drawn) == len(public) + 4


def test_alt_texts_name_models_and_hold_numbers(drawn):
    for name, (figure, models) in drawn.items():
        alt = figure.get_label()
        assert isinstance(figure, Figure) and alt.endswith(".") and "\n" not in alt and "nan" not in alt, name
        assert all(model in alt for model in models) and any(sign in alt for sign in "+-%"), name


@pytest.mark.parametrize("models", [MODELS, LONG], ids=["short", "long"])
def test_nothing_reaches_over_the_edge(models):
    for name, figure, _ in figures(models):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
        assert 72 * max(-box.x0, -box.y0, box.x1 - width, box.y1 - height) <= 0, name


def test_equal_inputs_give_equal_bytes(drawn):
    def svg(figure):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    once = {name: svg(figure) for name, (figure, _) in drawn.items()}
    assert {name: svg(figure) for name, figure, _ in figures()} == once and len(set(once.values())) == len(once)


def marks(axis, colour, shapes):
    """x and y of the marks of one colour in a panel, in drawing order."""
    lines = [line for line in axis.get_lines() if line.get_marker() in shapes and to_hex(line.get_color()) == colour]
    return [np.column_stack([line.get_xdata(), line.get_ydata()]).tolist() for line in lines]


def test_points_stand_at_size_and_score(drawn):
    axes = drawn["size"][0].axes
    points = points_of(answered())
    for axis, measure in zip(axes, resolution.MEASURES, strict=True):
        for model, colour in registry.colours(MODELS).items():
            rows = points[(points.measure == measure) & (points.model == model)]
            (found,) = marks(axis, colour.lower(), plots_slices.SHAPES)
            assert [y for _, y in found] == pytest.approx(rows.chance_corrected.tolist())
            assert [x for x, _ in found] == pytest.approx(rows["size"].tolist(), rel=0.06)  # beside each other
    assert (
        len(
            {tuple(np.ravel(marks(axes[0], c.lower(), plots_slices.SHAPES))) for c in registry.colours(MODELS).values()}
        )
        == 3
    )


def test_lines_follow_the_changes(drawn):
    changes = changes_of(answered())
    fine = changes[(changes.by == "all") & (changes.level == "fine")]
    for model, colour in registry.colours(MODELS).items():
        (found,) = marks(drawn["factor"][0].axes[1], colour.lower(), plots_slices.SHAPES)
        expected = fine[fine.model == model].sort_values("factor").estimate
        assert [y for _, y in found] == pytest.approx([0, *(100 * expected)])
    titles = [axis.get_title("left") for axis in drawn["factor by scale"][0].axes]
    assert titles == ["tissue, fine-grained", "cellular, fine-grained", "subcellular, fine-grained"]


def test_dots_are_on_the_ground_and_squares_outside(drawn):
    scores = specialists.scores_by_ground(answered(), ["demo-pathology"])
    scores = scores[(scores.estimand == "micro") & (scores.question == "classification")].set_index(["model", "slice"])
    axis = drawn["ground"][0].axes[1]
    for (model, place), shape in itertools.product(itertools.product(MODELS, ["own ground", "outside"]), "os"):
        if (place == "own ground") == (shape == "o"):
            ((point,),) = marks(axis, registry.colours(MODELS)[model].lower(), shape)
            assert point[0] == pytest.approx(100 * scores.estimate[model, place])
    labels = [text.get_text() for text in drawn["ground"][0].axes[0].get_yticklabels()]
    assert labels == ["demo-pathology\n(pathology)", "demo-base\n(generalist)", "random\n(chance)"]


def test_differences_are_those_of_the_table(drawn):
    table = specialists.differences(answered(), ["demo-pathology"], ["demo-base"])
    for axis, place in zip(drawn["specialists"][0].axes, ["own ground", "outside"], strict=True):
        for level, shape in (("fine", "o"), ("coarse", "s")):
            row = table[(table.place == place) & (table.level == level)].iloc[0]
            ((point,),) = marks(axis, registry.colours(MODELS)["demo-pathology"].lower(), shape)
            assert point[0] == pytest.approx(100 * row.estimate)


def test_groups_say_how_many_sub_datasets_and_mark_the_small():
    answers = answered()
    few = answers[(answers.dataset != "yeast") | (answers.image_id.astype(int) < 20)]
    members = groups.members(few)
    figure = plots_slices.by_group(groups.scores_by_group(few), members, registry.colours(MODELS), "organism")
    labels = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Homo sapiens, 2 sets (n = 80)", "yeast, 1 set † (n = 20)"]


def test_one_model_and_nothing_to_show():
    for name, figure, _ in figures(["demo-base"]):
        assert figure.get_label(), name
    colours = registry.colours(["demo-base"])
    empty = pd.DataFrame(columns=["model", "measure"])
    assert "stated pixel size" in plots_slices.score_against_size(empty, colours).get_label()
