"""Figures of what models choose: which wrong options attract, what is said how often, what a blank image takes away.

As in ``plots``: a table in, a figure out whose label is its alt text. All are panels of dots with 95 % intervals, a dot
a model, which keeps its colour.
"""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..data.questions import COARSE
from .labels import labels
from .plots import CHANCE, LONG, _cut, _labelled, _panels, nothing

MOST = 12  # options in a figure
FEW = 5  # expected choices; with fewer, a ratio says little
RATES = {
    "share": "Share of all answers",
    "recall": "Recall: said where true",
    "false alarm": "False alarms: said where not",
    "informedness": "Informedness",
}
WITHOUT = {"right": "Right without an image", "same": "Same answer as with the image"}
QUESTIONS = [*COARSE, "all coarse", "classification", "cognition"]


def attraction(table: pd.DataFrame, colours: dict) -> Figure:
    """The wrong options that attract most: times chosen, as a multiple of an even spread of the model's errors.

    ``table`` is from ``preferences.attraction``. Options are ordered by the highest lower bound of any model; ratios
    with fewer than ``FEW`` expected choices are not shown.
    """
    rows = table[(table.question != "all") & (table.expected >= FEW)]
    if rows.empty:
        return nothing("No wrong option was offered often enough to say how much it attracts.")
    rows = rows.assign(row=rows.question + ": " + rows.option, panel="", tick=np.nan)
    rows["row"] = rows.row.map(labels(rows.row, LONG))
    order = list(rows.groupby("row").ci_low.max().sort_values(ascending=False, kind="stable").index[:MOST])
    figure = _dots(rows[rows.row.isin(order)], colours, order, {"": ""}, "times an even spread of the errors", line=1)
    figure.axes[0].set_xlim(left=0)
    return figure


def rates(table: pd.DataFrame, colours: dict) -> Figure:
    """Share, recall, false alarms and informedness of every option of a question, from ``preferences.rates``."""
    if table.empty:
        return nothing("No model of this run answered the question.")
    key = ["model", "option"]
    truth = table[table.rate == "truth"].rename(columns={"estimate": "tick"})[[*key, "tick"]]
    rows = table[table.rate != "truth"].merge(truth, on=key)
    rows["tick"] = rows.tick.where(rows.rate == "share")
    order = sorted(set(truth.option), key=lambda option: (truth.tick[truth.option == option].max() == 0, option))
    n = rows[rows.rate == "recall"].groupby("option").n_questions.max().reindex(order, fill_value=0)
    names = {option: f"{label} (n = {n[option]:,})" for option, label in labels(order, LONG).items()}
    rows = rows.assign(row=rows.option.map(names), panel=rows.rate)
    return _dots(rows, colours, list(names.values()), RATES, "percent", factor=100)


def without_image(table: pd.DataFrame, colours: dict) -> Figure:
    """How often the answers to a blank image are right, and the same as with the image: ``blanks.without_image``."""
    if table.empty:
        return nothing("No model of this run has an image encoder that could be given a blank image.")
    rows = table.assign(row=_question_names(table), panel=table.what, tick=table.chance)
    return _dots(rows, colours, _in_order(rows.row), WITHOUT, "percent", factor=100)


def changes(table: pd.DataFrame, colours: dict) -> Figure:
    """What subtracting the scores of a reference image changes, a panel a reference.

    ``table`` is from ``blanks.calibrated`` (accuracy by question type) or ``blanks.calibrated_rates``, of which the
    informedness of each option is shown.
    """
    if table.empty:
        return nothing("There are no scores from which those of a blank image could be subtracted.")
    is_rate = "rate" in table
    rows = table[table.rate == "informedness"] if is_rate else table[table.by == "all"]
    if rows.empty:
        return nothing("Fewer than two options of the question are ever right, so that nothing is to be told apart.")
    names = rows.option.map(labels(rows.option, LONG)) if is_rate else _question_names(rows)
    rows = rows.assign(row=names, panel=rows.reference, tick=np.nan)
    titles = {name: f"Less the {name}{'' if 'image' in name else ' image'}" for name in dict.fromkeys(rows.panel)}
    what = "informedness" if is_rate else "accuracy"
    return _dots(rows, colours, _in_order(rows.row), titles, f"change of {what} (points)", factor=100, line=0)


def _dots(rows, colours, order, titles, xlabel, factor=1, line=None) -> Figure:
    """Panels of dots: ``rows`` holds ``panel, row, model, estimate, ci_low, ci_high, tick`` (a grey mark or NaN)."""
    models = [model for model in colours if model in set(rows.model)]
    titles = {panel: title for panel, title in titles.items() if panel in set(rows.panel)}
    height = len(order) * max(0.12 * (len(models) + 1), 0.3) + 0.8
    figure, axes = _panels(len(titles), height, columns=min(2, len(titles)), sharex=True)
    words = []
    for axis, (panel, title) in zip(axes.flat, titles.items(), strict=False):
        own = rows[rows.panel == panel].set_index(["row", "model"])
        for (at, row), (place, model) in product(enumerate(order), enumerate(models)):
            if (row, model) in own.index:
                found = own.loc[(row, model)]
                y = at + (place - (len(models) - 1) / 2) / (len(models) + 1)
                ends = [factor * found.ci_low, factor * found.ci_high]
                axis.plot(ends, [y, y], color=colours[model], lw=2, solid_capstyle="butt", zorder=2)
                axis.plot(factor * found.estimate, y, "o", color=colours[model], ms=5.5, zorder=3)
                words.append(f"{title or 'ratio'}, {row}, {model}: {factor * found.estimate:.3g}")
        for row, tick in own.tick.groupby(level="row").mean().dropna().items():
            ends = [order.index(row) - 0.45, order.index(row) + 0.45]
            axis.plot([factor * tick] * 2, ends, color=CHANCE, lw=1.5, ls=(0, (2, 1)), zorder=1)
        if line is not None:
            axis.axvline(line, color=CHANCE, lw=1)
        for between in range(len(order) - 1):
            axis.axhline(between + 0.5, color="#E5E5E5", lw=0.8, zorder=0)
        axis.grid(axis="x")
        axis.set(title=title, ylim=(len(order) - 0.5, -0.5), xlabel=xlabel if axis in axes[-1] else "")
        axis.set_yticks(range(len(order)), order if axis in axes[:, 0] else [""] * len(order))
        axis.tick_params(axis="y", length=0)
    names = labels(models)
    handles = [Line2D([], [], color=colours[model], marker="o", ms=5.5, lw=2, label=names[model]) for model in models]
    columns = max(1, min(len(models), 80 // (max(map(len, names.values())) + 6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return _labelled(figure, models, f"Dot plot with 95 % intervals, {xlabel}. " + _cut(words))


def _question_names(table: pd.DataFrame) -> pd.Series:
    """Names of the question types with their n, as of the model that answered most."""
    names = table.question.where(table.question != "all", "all " + table.level)
    n = table.n_questions.groupby(names).transform("max")
    return names + [f" (n = {number:,})" for number in n]


def _in_order(names) -> list:
    """Question types in the order of the book, other names by the alphabet."""
    places = {question: place for place, question in enumerate(QUESTIONS)}
    return sorted(set(names), key=lambda name: (places.get(name.partition(" (")[0], 0), name))
