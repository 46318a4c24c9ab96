"""Figures of the dataset: alt texts hold the numbers, rows are those of the data, nothing is cut off."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ubench_utils.data.questions import NONE_OF_THE_ABOVE
from ubench_utils.report import plots_dataset
from ubench_utils.studies import benchmark, duplicates


def images(values=3):
    """Images of a few sub-datasets; ``values`` is how many stains there are."""
    n = 40
    return pd.DataFrame(
        {
            "dataset": [f"set_{i % 5}" for i in range(n)],
            "image_id": [f"{i}" for i in range(n)],
            "modality": [f"{['light', 'fluorescence'][i % 2]} microscopy" for i in range(n)],
            "scale": [["tissue", "cellular", "subcellular"][i % 3 if i % 2 else 0] for i in range(n)],
            "domain": "biology",
            "stain": [f"stain {i % values}" for i in range(n)],
            "organism": "not stated",
        }
    )


def questions():
    table = images()[["dataset", "image_id"]].assign(wording=1, options=[("aa", "b", NONE_OF_THE_ABOVE)] * 40)
    table = table.assign(labels=table.options, answer_idx=np.arange(40) % 2, n_options=3)
    coarse = [table.assign(question=question, level="coarse") for question in ("domain", "modality")]
    return pd.concat([*coarse, table.assign(question="classification", level="fine")])


def near(groups=5):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bits = np.sign(vectors)
    names = images().dataset if groups > 1 else ["only"] * 40
    equal = duplicates.neighbours(bits, names, 6)
    equal[["nearest_within", "nearest_across"]] = (8 + equal[["nearest_within", "nearest_across"]]) / 2
    return {"equal bits": (equal, 7), "cosine, a-model": (duplicates.neighbours(vectors, names, 0.9), 0.9)}


def figures():
    yield "composition", plots_dataset.composition(benchmark.composition(images()))
    yield "composition, many", plots_dataset.composition(benchmark.composition(images(30)))
    yield "crossing", plots_dataset.crossing(benchmark.crossing(images()))
    yield "crossing, one", plots_dataset.crossing(benchmark.crossing(images().head(1)))
    yield "rules", plots_dataset.rules(benchmark.shortcuts(questions()))
    yield "rules, source", plots_dataset.rules(benchmark.source_shortcuts(questions()))
    yield "nearest", plots_dataset.nearest(near())
    yield "nearest, one set", plots_dataset.nearest(dict([next(iter(near(1).items()))]))


@pytest.fixture(scope="module")
def drawn():
    return dict(figures())


def test_every_plot_function_is_tested(drawn):
    public = {
        name
        for name, value in vars(plots_dataset).items()
        if getattr(value, "__module__", "") == plots_dataset.__name__
        and not name.startswith("_")
        and value.__annotations__.get("return") is Figure
    }
    assert public == {name.partition(",")[0] for name in drawn}


def test_alt_texts_are_sentences_with_numbers(drawn):
    for name, figure in drawn.items():
        alt = figure.get_label()
        assert len(alt) > 60 and alt.endswith(".") and "nan" not in alt and any(c.isdigit() for c in alt), name


def test_nothing_reaches_over_the_edge(drawn):
    for name, figure in drawn.items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
        assert max(-box.x0, -box.y0, box.x1 - width, box.y1 - height) <= 0, name


def test_equal_inputs_give_equal_bytes():
    once, again = ({name: svg(figure) for name, figure in figures()} for _ in range(2))
    assert once == again and len(set(once.values())) == len(once)


def svg(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    assert buffer.tell() < 300_000
    return buffer.getvalue()


def test_bars_are_the_counts(drawn):
    table = benchmark.composition(images())
    for axis, (facet, rows) in zip(drawn["composition"].axes, table.groupby("facet", sort=False), strict=True):
        assert axis.get_title(loc="left") == facet
        assert [bar.get_width() for bar in axis.patches] == rows.images.tolist()


def test_rare_values_are_pooled_and_none_is_lost(drawn):
    axis = next(axis for axis in drawn["composition, many"].axes if axis.get_title(loc="left") == "stain")
    assert len(axis.patches) == plots_dataset.MOST_VALUES
    assert sum(bar.get_width() for bar in axis.patches) == 40
    assert axis.get_yticklabels()[-1].get_text() == "19 others"
    labels = [text.get_text() for text in axis.texts]
    # their sub-datasets cannot be added up
    assert labels[-1] == f" {axis.patches[-1].get_width():.0f}" and all("in " in label for label in labels[:-1])


def test_cells_of_the_crossing_are_the_counts(drawn):
    table = benchmark.crossing(images())
    texts = [text.get_text() for text in drawn["crossing"].axes[0].texts]
    for row in table.itertuples():
        assert f"{row.images}\n{row.datasets} sets" in texts
    assert len(texts) == 6 and texts.count("none") == 6 - len(table)
    assert [label.get_text() for label in drawn["crossing"].axes[0].get_xticklabels()] == [
        "subcellular",
        "cellular",
        "tissue",
    ]


def test_dots_of_the_rules_are_the_scores(drawn):
    scores = benchmark.shortcuts(questions())
    axis = drawn["rules"].axes[0]
    lines = {line.get_label(): 1 * line.get_xdata() for line in axis.get_lines()}
    for rule in benchmark.LENGTH_RULES:
        of_rule = scores[scores.rule == rule].set_index("question").estimate
        expected = 100 * of_rule.loc[["all", "domain", "modality", "classification"]]
        assert lines[rule] == pytest.approx(expected.to_numpy())
    assert axis.get_yticklabels()[0].get_text() == "all coarse (n = 80)"
    legend = [text.get_text() for text in drawn["rules"].legends[0].get_texts()]
    assert set(legend) == {*benchmark.LENGTH_RULES, benchmark.ELIMINATION, "chance"}


def test_histograms_hold_every_image(drawn):
    for axis in drawn["nearest"].axes:
        assert len(axis.patches) == 2
        for patch in axis.patches:
            heights = patch.get_xy()[:, 1]
            assert heights[1:-1:2].sum() == pytest.approx(100)
    assert len(drawn["nearest, one set"].axes[0].patches) == 1
