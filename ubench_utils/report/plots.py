"""Figures. Every function takes a table of scores and returns a matplotlib figure whose label is its alt text.

Dots with 95 % intervals, grey ticks for chance; a model keeps its colour (``registry.colours``) on every page.
"""

import io

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import display
from matplotlib.figure import Figure

from ..data.questions import COARSE, HEADLINE_WORDING, NONE_OF_THE_ABOVE
from .labels import labels

STYLE = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.edgecolor": "#AAAAAA",
    "xtick.color": "#444444",
    "ytick.color": "#222222",
    "grid.color": "#DDDDDD",
    "figure.facecolor": "white",
    "svg.hashsalt": "ubench",  # equal figures give equal bytes
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "svg.fonttype": "path",  # the same on every machine: a browser's own font could overlap
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
matplotlib.rcParams.update(STYLE)
LONG = 48  # letters of a label that has an axis to itself
WIDTH = 7.0  # inches: the text stays legible when the page shrinks to a phone
CHANCE = "#555555"
LEVEL_NAMES = {"coarse": "All coarse questions", "fine": "Fine-grained classification", "cognition": "Cognition"}


def show(figure: Figure, caption: str) -> None:
    """Display a figure as SVG; the runner makes caption and alt text those of the page.

    A figure that has nothing to show (see ``nothing``) says so in its caption, in the place of the caption given.
    """
    caption = figure.get_label() if getattr(figure, "is_nothing", False) else caption
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    alt = figure.get_label()
    display(
        {"image/svg+xml": buffer.getvalue(), "text/plain": f"{caption}\n{alt}"},
        raw=True,
        metadata={"ubench": {"caption": caption, "alt": alt}},
    )


def nothing(text: str) -> Figure:
    """What stands in the place of a figure where the run holds nothing to show: a line that says why."""
    figure, axes = _figure(1, 1, 0.6)
    axes[0][0].axis("off")
    axes[0][0].text(0, 0.5, text, va="center")
    figure.set_label(text)
    figure.is_nothing = True
    return figure


def headline(scores: pd.DataFrame, estimand: str = "micro", by: str = "all") -> pd.DataFrame:
    """Scores of the headline wording under one estimand, for one facet."""
    return scores[(scores.wording == HEADLINE_WORDING) & (scores.estimand == estimand) & (scores.by == by)]


def accuracy_by_model(scores: pd.DataFrame, colours: dict) -> Figure:
    """Accuracy of every model, a panel a level, against chance."""
    table = headline(scores)
    levels = [level for level in LEVEL_NAMES if level in set(table.level)]
    models, names = list(colours), labels(colours)
    figure, axes = _figure(1, len(levels), 0.42 * len(models) + 1.1)
    for axis, level in zip(axes[0], levels, strict=True):
        rows = table[(table.level == level) & (table.question == overall(table, level))].set_index("model")
        rows = rows.reindex([model for model in models if model in rows.index])
        _dots(axis, rows, map(names.get, rows.index), [colours[model] for model in rows.index])
        _chance(axis, rows.chance)
        axis.set(title=LEVEL_NAMES[level], xlabel="accuracy (%)", xlim=(0, 100))
    axes[0][-1].tick_params(labelleft=len(levels) == 1)
    words = in_words(table[table.question.isin([overall(table, level) for level in levels])])
    return _labelled(figure, models, f"Dot plot of accuracy in percent with 95 % intervals, against chance. {words}")


def accuracy_by_question(scores: pd.DataFrame, colours: dict) -> Figure:
    """Heat map, models × question types: the number is the accuracy, the colour its distance from chance."""
    table = headline(scores)
    table = table[table.question != "all"]
    columns = [question for question in [*COARSE, "classification", "cognition"] if question in set(table.question)]
    models = [model for model in colours if model in set(table.model)]
    accuracy, corrected = (
        table.pivot(index="model", columns="question", values=value).reindex(index=models, columns=columns)
        for value in ("estimate", "chance_corrected")
    )
    figure, axes = _figure(1, 1, 0.42 * len(models) + 1.3)
    corrected.index = [labels(models)[model] for model in corrected.index]
    sns.heatmap(
        corrected,
        annot=100 * accuracy,
        fmt=".0f",
        cmap="PuOr_r",
        center=0,
        vmin=-1,
        vmax=1,
        ax=axes[0][0],
        linewidths=1,
        cbar_kws={"label": "chance-corrected", "shrink": 0.9},
    )
    axes[0][0].set(xlabel="", ylabel="")
    axes[0][0].tick_params(axis="x", rotation=25)
    axes[0][0].tick_params(axis="y", rotation=0)
    return _labelled(figure, models, "Heat map of accuracy in percent, models by question types. " + in_words(table))


def accuracy_by_wording(scores: pd.DataFrame, colours: dict, wordings: dict) -> Figure:
    """Accuracy of every model in each caption wording, a panel a level: a full dot is the headline wording."""
    table = scores[(scores.estimand == "micro") & (scores.by == "all")]
    levels = [level for level in LEVEL_NAMES if level in set(table.level)]
    models = [model for model in colours if model in set(table.model)]
    shapes = dict(zip([w for w in sorted(set(table.wording)) if w != HEADLINE_WORDING], "sD^vP*X", strict=False))
    figure, axes = _figure(1, len(levels), 0.42 * len(models) + 1.4)
    words = []
    for axis, level in zip(axes[0], levels, strict=True):
        rows = table[(table.level == level) & (table.question == overall(table, level))]
        for at, model in enumerate(models):
            points = 100 * rows[rows.model == model].set_index("wording").estimate
            axis.plot([points.min(), points.max()], [at, at], color=colours[model], lw=2, alpha=0.5)
            for wording, value in points.items():
                full = wording == HEADLINE_WORDING
                axis.plot(
                    value,
                    at,
                    "o" if full else shapes.get(wording, "s"),
                    color=colours[model],
                    ms=7,
                    mfc=colours[model] if full else "white",
                    mew=1.5,
                )
            words.append(f"{model}, {level}: " + ", ".join(f"{v:.1f} in {wordings[w]}" for w, v in points.items()))
        axis.set(title=LEVEL_NAMES[level], xlabel="accuracy (%)", xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
        axis.set_yticks(range(len(models)), list(labels(models).values()) if axis is axes[0][0] else [""] * len(models))
        axis.grid(axis="x")
    marks = {HEADLINE_WORDING: "o", **shapes}
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            color=CHANCE,
            ls="",
            marker=mark,
            mfc=CHANCE if mark == "o" else "white",
            label=f"wording {wordings[wording]}",
        )
        for wording, mark in marks.items()
        if wording in set(table.wording)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return _labelled(figure, models, "Accuracy in percent by caption wording. " + "; ".join(words) + ".")


def accuracy_by_slice(
    scores: pd.DataFrame, colours: dict, by: str, questions: dict, order=None, value: str = "estimate", places=None
) -> Figure:
    """Scores within each slice of a facet, a panel a question type, a dot a model.

    Parameters
    ----------
    questions : dict
        Panel title of each question type to show.
    order : list of str, optional
        Order of the slices; others follow by name.
    value : {"estimate", "chance_corrected"}
    places : dict, optional
        Label of each slice; by default its name, shortened.
    """
    table = headline(scores, by=by)
    table = table[table.question.isin(list(questions))]
    questions = {question: title for question, title in questions.items() if question in set(table.question)}
    if not questions:
        return nothing("No question of this figure was answered in this run.")
    slices = [name for name in (order or []) if name in set(table.slice)]
    slices += sorted(set(table.slice) - set(slices))
    models = [model for model in colours if model in set(table.model)]
    figure, axes = _panels(len(questions), 0.16 * len(slices) * (len(models) + 1) + 1.0)
    step, names, places = 1 / (len(models) + 1), labels(models), places or labels(slices, LONG)
    for axis, (question, title) in zip(axes.flat, questions.items(), strict=False):
        for place, model in enumerate(models):
            rows = table[(table.model == model) & (table.question == question)].set_index("slice").reindex(slices)
            at = np.arange(len(slices)) + (place - (len(models) - 1) / 2) * step
            _dots(axis, rows, None, [colours[model]] * len(rows), at=at, value=value, label=names[model])
        chance = table[table.question == question].groupby("slice").chance.mean().reindex(slices)
        if value == "estimate":
            _chance(axis, chance, half=0.45)
        else:
            axis.axvline(0, color=CHANCE, lw=1)
        rows = [f"{places[name]} (n = {_n(table, question, name)})" for name in slices]
        axis.set(title=title, ylim=(len(slices) - 0.5, -0.5))
        axis.set_yticks(range(len(slices)), rows if axis in axes[:, 0] else [""] * len(slices))
        axis.set(xlim=(0, 100), xlabel="accuracy (%)") if value == "estimate" else axis.set(xlabel="chance-corrected")
    _legend(figure, axes.flat[0])
    words = in_words(table.assign(model=table.model + ", " + table.slice), value)
    return _labelled(
        figure, models, f"Dot plot by {by}, one panel a question type, one dot a model, 95 % intervals. {words}"
    )


def confusion(answers: pd.DataFrame, models: list, truth: str = "modality") -> Figure:
    """What each model calls the images of each true class of a question: row-wise percentages.

    ``answers`` holds ``chosen``: the option text that the model chose.
    """
    rows = answers[(answers.question == truth) & (answers.wording == HEADLINE_WORDING)]
    rows = rows[rows.model.isin(models)]
    if rows.empty:
        return nothing(f"No model of this figure answered a question about the {truth}.")
    models = [model for model in models if model in set(rows.model)]
    truths, chosen = (
        sorted(set(rows[truth])),
        sorted(set(rows.chosen), key=lambda name: (name == NONE_OF_THE_ABOVE, name)),
    )
    wide = len(chosen) > 6  # the names of so many answers need the whole width, and stand below the last panel only
    height = 0.27 * len(truths) + 0.3 + 1.5 / max(len(models), 1) if wide else 0.36 * len(truths) + 1.3
    figure, axes = _panels(len(models), height, columns=1 if wide else 2, sharex=wide)
    words, names, short = [], labels(models), labels([*truths, *chosen])
    for axis, model in zip(axes.flat, models, strict=False):
        of_model = rows[rows.model == model]
        share = 100 * pd.crosstab(of_model[truth], of_model.chosen, normalize="index")
        share = share.reindex(index=truths, columns=chosen, fill_value=0.0)
        words += [f"{model}, {name}: {share.loc[name].idxmax()} in {share.loc[name].max():.0f} %" for name in truths]
        share = share.rename(index=short, columns=short)
        numbers = share.map(lambda value: f"{value:.0f}" if value >= 0.5 or not wide else "")
        sns.heatmap(share, annot=numbers, fmt="", cmap="Blues", vmin=0, vmax=100, cbar=False, ax=axis, linewidths=1)
        last = not wide or axis is axes[-1, 0]
        axis.set(title=names[model], xlabel="answer" if last else "", ylabel="truth" if axis in axes[:, 0] else "")
        axis.tick_params(axis="x", rotation=0 if len(chosen) < 6 else 30, labelsize=8.5, length=0)
        axis.tick_params(axis="y", rotation=0, labelleft=axis in axes[:, 0], length=0)
        if wide:
            for name in axis.get_xticklabels():
                name.set(ha="right", rotation_mode="anchor")
    return _labelled(
        figure, models, f"Confusion matrices of {truth}, one a model. Most frequent answer: " + _cut(words)
    )


def in_words(table: pd.DataFrame, value: str = "estimate") -> str:
    """Scores as a sentence for alt texts."""
    if value == "estimate":
        words = [f"{100 * score:.1f} %" for score in table.estimate]
    else:
        words = [f"{score:+.2f}" for score in table[value]]
    questions = table.question.where(table.question != "all", "all " + table.level)
    return _cut([f"{m}, {q}: {w}" for m, q, w in zip(table.model, questions, words, strict=True)])


def _cut(words: list, most: int = 24) -> str:
    return "; ".join(words[:most]) + (f"; and {len(words) - most} more" if len(words) > most else "") + "."


def _panels(n: int, height: float, columns: int = 2, **kwargs):
    """A figure of ``n`` panels, two to a row, each row ``height`` inches."""
    n_columns = max(1, min(columns, n))
    n_rows = max(1, -(-n // n_columns))
    figure, axes = _figure(n_rows, n_columns, n_rows * height, **kwargs)
    for axis in axes.flat[n:]:
        axis.remove()
    return figure, axes


def _figure(n_rows: int, n_columns: int, height: float, **kwargs):
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, squeeze=False, **kwargs)


def _labelled(figure: Figure, models, alt: str) -> Figure:
    """Attach the alt text: the models, then what the figure shows."""
    figure.set_label(f"Models: {', '.join(dict.fromkeys(models))}. {alt}")
    return figure


def _dots(axis, rows, names, colours, at=None, value="estimate", label=None) -> None:
    """Dots with intervals; ``value`` chance_corrected rescales the interval with its point."""
    at = np.arange(len(rows)) if at is None else at
    point, low, high = (rows[column].to_numpy(float) for column in ("estimate", "ci_low", "ci_high"))
    if value == "chance_corrected":
        chance = rows.chance.to_numpy(float)
        point, low, high = ((score - chance) / (1 - chance) for score in (point, low, high))
    axis.grid(axis="x")
    factor = 100 if value == "estimate" else 1
    for x, a, b, y, colour in zip(point, low, high, at, colours, strict=True):
        axis.plot([factor * a, factor * b], [y, y], color=colour, lw=2, solid_capstyle="butt", zorder=2, clip_on=False)
        axis.plot(factor * x, y, "o", color=colour, ms=6, zorder=3, clip_on=False, label=label)
        label = None
    if names is not None:
        axis.set_yticks(range(len(rows)), list(names))
        axis.set_ylim(len(rows) - 0.5, -0.5)


def _chance(axis, chance, half: float = 0.35) -> None:
    for place, value in enumerate(chance):
        axis.plot([100 * value] * 2, [place - half, place + half], color=CHANCE, lw=1.5, ls=(0, (2, 1)), zorder=1)


def _legend(figure: Figure, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if not labels:
        return
    columns = max(1, min(len(labels), 80 // (max(map(len, labels)) + 6)))  # 80 letters fill the width
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def overall(table: pd.DataFrame, level: str) -> str:
    """Question under which a level's overall score stands: its only type, or `all`."""
    found = set(table.question[table.level == level])
    return "all" if "all" in found else min(found, default="all")


def _n(table: pd.DataFrame, question: str, slice_: str) -> str:
    n = table.n_questions[(table.question == question) & (table.slice == slice_)]
    return f"{n.iloc[0]:,}" if len(n) else "0"
