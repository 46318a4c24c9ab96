"""Figures of slices of the images: by pixel size and detail, by the field of a specialist, by who is in the picture.

As in ``plots``: a table in, a figure out whose label is its alt text; a model keeps its colour.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .plots import CHANCE, LEVEL_NAMES, _cut, _figure, _labelled, _legend, _name, _panels, overall
from .resolution import MEASURES

SHAPES = ["o", "s", "^", "D", "v", "P", "X", "*"]


def score_against_size(points: pd.DataFrame, colours: dict) -> Figure:
    """Fine-grained score of each sub-dataset against its pixel size and its field of view, a dot a model.

    ``points`` are tables from ``resolution.by_size``, one below the other.
    """
    if points.empty:
        return _plain("No fine-grained question is about an image with a stated pixel size.")
    models = [model for model in colours if model in set(points.model)]
    measures = [measure for measure in MEASURES if measure in set(points.measure)]
    figure, axes = _panels(len(measures), 3.3, sharey=True)
    for axis, measure in zip(axes.flat, measures, strict=False):
        for place, model in enumerate(models):
            rows = points[(points.measure == measure) & (points.model == model)]
            at = rows["size"].to_numpy(float) * 1.05 ** (place - (len(models) - 1) / 2)  # beside, not over each other
            axis.vlines(at, rows.low, rows.high, color=colours[model], lw=1.5)
            axis.plot(at, rows.chance_corrected, SHAPES[place % len(SHAPES)], color=colours[model], ms=5,
                      label=_name(model))  # fmt: skip
        axis.axhline(0, color=CHANCE, lw=1)
        axis.set(xscale="log", xlabel=MEASURES[measure])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid()
    axes.flat[0].set_ylabel("chance-corrected")
    _legend(figure, axes.flat[0])
    shown = points[points.measure == measures[0]]
    words = [
        f"{row.model}, {row.dataset} ({row.size:.3g} µm): {row.chance_corrected:+.2f}" for row in shown.itertuples()
    ]
    return _labelled(
        figure, models, f"Scatter plots of the chance-corrected fine-grained score with 95 % intervals against "
        f"{' and '.join(MEASURES[measure] for measure in measures)}, a dot a model and sub-dataset. {_cut(words)}",
    )  # fmt: skip


def change_by_factor(changes: pd.DataFrame, colours: dict, by: str = "all", order=()) -> Figure:
    """Paired change of accuracy against the factor by which the images were shrunk, a line a model.

    ``changes`` is from ``resolution.changes``. By ``all``, a panel a level; by another facet, a panel a slice of the
    fine-grained question, first those in ``order``.
    """
    table = changes[changes.by == by] if len(changes) else changes
    if by == "all":
        panels = {LEVEL_NAMES[level]: table[(table.level == level) & (table.question == overall(table, level))]
                  for level in LEVEL_NAMES if len(table) and level in set(table.level)}  # fmt: skip
    else:
        fine = table[table.level == "fine"] if len(table) else table
        names = [name for name in order if len(fine) and name in set(fine.slice)]
        names += sorted(set(fine.slice) - set(names)) if len(fine) else []
        panels = {f"{name}, fine-grained": fine[fine.slice == name] for name in names}
    if not panels:
        return _plain("No images were shrunk for this figure, or no question was asked about them.")
    models = [model for model in colours if model in set(table.model)]
    factors = sorted(set(table.factor))
    figure, axes = _panels(len(panels), 2.6, sharey=True)
    words = []
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        for place, model in enumerate(models):
            line = rows[rows.model == model].sort_values("factor")
            at = np.array([1, *(line.factor * 1.03 ** (place - (len(models) - 1) / 2))])
            shape = SHAPES[place % len(SHAPES)]
            axis.plot(at, 100 * np.array([0, *line.difference]), f"{shape}-", color=colours[model], ms=5, lw=1.5,
                      label=_name(model))  # fmt: skip
            axis.vlines(at[1:], 100 * line.ci_low, 100 * line.ci_high, color=colours[model], lw=2)
            words += [f"{model}, {title}, by {row.factor:g}: {100 * row.difference:+.1f}" for row in line.itertuples()]
        axis.axhline(0, color=CHANCE, lw=1)
        axis.set(title=title, xscale="log", xlabel="shrunk by")
        axis.set_xticks([1, *factors], [f"{factor:g}" for factor in (1, *factors)])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid()
    for axis in axes[:, 0]:
        axis.set_ylabel("change (points)")
    _legend(figure, axes.flat[0])
    return _labelled(figure, models, "Lines of the paired change of accuracy in points against the factor by which the "
                     f"images were shrunk, with 95 % intervals. {_cut(words)}")  # fmt: skip


def _plain(text: str) -> Figure:
    """What stands in place of a figure that has nothing to show."""
    figure, axes = _figure(1, 1, 0.6)
    axes[0][0].axis("off")
    axes[0][0].text(0, 0.5, text, va="center")
    figure.set_label(text)
    return figure
