"""What the lessons need beside the rest: the answers of a model that is in memory, and four figures.

Figures as in ``plots``: a table in, a figure out whose label is its alt text.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..data.questions import HEADLINE_WORDING
from ..engine.work import picture
from ..evaluation.evaluate import Evaluation
from ..statistics.scores import join_answers
from .plots import CHANCE, _cut, _figure, _legend
from .plots_finetuning import GROUPS

HIT, MISS = "#0072B2", "#D55E00"


def answer(model, run: Evaluation) -> pd.DataFrame:
    """Answers of a model in memory, say in the middle of its training, to the questions of a run; nothing is cached.

    Parameters
    ----------
    model : DualEncoder
        As from ``load_model``; its network may have been changed since.
    run : Evaluation
        Gives the images and the questions; those in the headline wording are asked.

    Returns
    -------
    pandas.DataFrame
        As from ``stats.join_answers``, without a column ``model``.
    """
    images = run.benchmark.images.drop_duplicates("image_hash")
    questions = run.questions[run.questions.wording == HEADLINE_WORDING]
    pixels = np.stack([model.preprocess(picture(run.benchmark, row)) for row in images.index])
    return join_answers(model.answer(questions, images.image_hash, pixels), questions)


def options(image, table: pd.DataFrame) -> Figure:
    """One image beside its options: bars are the probabilities of the answers, the right one is marked.

    Parameters
    ----------
    image : PIL.Image.Image
    table : pandas.DataFrame
        One row an option: ``option, probability, right`` (bool).
    """
    figure, axes = _figure(1, 2, 0.3 * len(table) + 1.4, width_ratios=[1, 1.3])
    picture, bars = axes[0]
    picture.imshow(np.asarray(image), interpolation="nearest")
    picture.axis("off")
    at = np.arange(len(table))
    bars.barh(at, 100 * table.probability, color=[HIT if right else "#BBBBBB" for right in table.right], height=0.65)
    for place, share in zip(at, table.probability, strict=True):
        bars.text(100 * share + 1, place, f"{100 * share:.1f}", va="center")
    names = [f"{name} (right)" if right else name for name, right in zip(table.option, table.right, strict=True)]
    bars.set_yticks(at, names)
    bars.set(xlim=(0, 112), xticks=range(0, 101, 25), xlabel="probability (%)", ylim=(len(table) - 0.5, -0.5))
    words = [f"{name}: {100 * share:.1f} %" for name, share in zip(names, table.probability, strict=True)]
    return _described(figure, "An image and a bar for the probability of each option. " + _cut(words))


def caterpillar(tables: dict, truth: float) -> Figure:
    """Intervals of repeated studies beside the truth, a panel a method; those that miss it are marked.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        By title: one row a study, with ``estimate, low, high``.
    truth : float
        What every study estimates.
    """
    n_studies = max(map(len, tables.values()))
    figure, axes = _figure(1, len(tables), 0.07 * n_studies + 1.2, sharex=True, sharey=True)
    words = []
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        missed = ((table.high < truth) | (table.low > truth)).to_numpy()
        for miss, colour, width, marker, name in (
            (False, HIT, 1.2, "o", "holds the truth"),
            (True, MISS, 2.2, "D", "misses it"),
        ):
            at, rows = np.flatnonzero(missed == miss), table[missed == miss]
            axis.hlines(at, 100 * rows.low, 100 * rows.high, color=colour, lw=width)
            axis.plot(100 * rows.estimate, at, marker, color=colour, ms=3.5, ls="", label=name)
        axis.axvline(100 * truth, color=CHANCE, lw=1)
        axis.set(title=f"{title}\n{missed.sum()} of {len(table)} miss", xlabel="accuracy (%)", yticks=[])
        words.append(f"{title}: {missed.sum()} of {len(table)} intervals miss it")
    axes[0][0].set_ylabel("simulated studies")
    _legend(figure, axes[0][0])
    text = f"Intervals of repeated studies against the true value of {100 * truth:.0f} %. "
    return _described(figure, text + _cut(words))


def along(table: pd.DataFrame, x: str, label: str) -> Figure:
    """Paired change from the base along training steps, with 95 % bands.

    Parameters
    ----------
    table : pandas.DataFrame
        ``x``, ``group`` (of ``plots_finetuning.GROUPS``), ``estimate, ci_low, ci_high``.
    x, label : str
        Column of the horizontal axis, and its name on the figure.
    """
    figure, axes = _figure(1, 1, 3.2)
    axis, words = axes[0][0], []
    for group, line in table.groupby("group", sort=False):
        colour, marker, style = GROUPS[group]
        axis.fill_between(line[x], 100 * line.ci_low, 100 * line.ci_high, color=colour, alpha=0.13, lw=0)
        axis.plot(line[x], 100 * line.estimate, color=colour, marker=marker, ms=5, lw=1.6, ls=style, label=group)
        last = line.iloc[-1]
        words.append(f"{group}: {100 * last.estimate:+.1f} at {last[x]:g}")
    axis.axhline(0, color=CHANCE, lw=1)
    axis.set(xlabel=label, ylabel="change from the base (points)", xticks=sorted(set(table[x])))
    _legend(figure, axis)
    return _described(figure, f"Line plot of the paired change along {label}. " + _cut(words))


def two_ways(table: pd.DataFrame, full: str, hollow: str, label: str) -> Figure:
    """Two numbers of each row of a table: a full dot and a hollow one, joined.

    Parameters
    ----------
    table : pandas.DataFrame
        The index names the rows, from top to bottom; ``full`` and ``hollow`` are columns, in percent.
    label : str
        Of the horizontal axis.
    """
    figure, axes = _figure(1, 1, 0.28 * len(table) + 1.3)
    axis, at = axes[0][0], np.arange(len(table))
    axis.hlines(at, table[[full, hollow]].min(axis=1), table[[full, hollow]].max(axis=1), color=HIT, lw=2, alpha=0.5)
    axis.plot(table[full], at, "o", color=HIT, ms=7, label=full)
    axis.plot(table[hollow], at, "D", color=HIT, mfc="white", mew=1.5, ms=6, label=hollow)
    axis.set_yticks(at, table.index)
    axis.set(xlabel=label, ylim=(len(table) - 0.5, -0.5))
    axis.grid(axis="x")
    _legend(figure, axis)
    words = [
        f"{row.Index}: {one:.1f} and {other:.1f}"
        for row, one, other in zip(table.itertuples(), table[full], table[hollow], strict=True)
    ]
    return _described(figure, f"Dot plot of {full} and {hollow}. " + _cut(words))


def _described(figure: Figure, alt: str) -> Figure:
    figure.set_label(alt)
    return figure
