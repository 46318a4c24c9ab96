"""Figures of what is in a dataset: functions of tables, which return a matplotlib figure labelled with its alt text."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..data.questions import COARSE
from ..studies import benchmark
from .labels import labels
from .plots import CHANCE, LONG, WIDTH, _cut, _figure, _legend, nothing
from .text import amount, called

BAR = "#4477AA"
MOST_VALUES = 12  # bars of a facet; the rest are pooled
# Okabe and Ito 2008: apart for every reader; the markers say the same.
MARKS = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^")]
RULES = dict(zip(benchmark.LENGTH_RULES, MARKS, strict=True)) | dict(
    zip(benchmark.SOURCE_RULES, MARKS[:2], strict=True)
)
NEAREST = ["nearest_within", "nearest_across"]
NEARNESS = {
    "within": ("#0072B2", "-", "in the same sub-dataset"),
    "across": ("#D55E00", "--", "in another sub-dataset"),
}


def composition(table: pd.DataFrame) -> Figure:
    """Images of each value of each facet, a panel a facet; ``table`` is from ``benchmark.composition``."""
    panels = {facet: _pooled(rows) for facet, rows in table.groupby("facet", sort=False)}
    sizes = [len(rows) for rows in panels.values()]
    figure = Figure(figsize=(WIDTH, 0.24 * sum(sizes) + 0.5 * len(sizes) + 0.3), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=[size + 0.3 for size in sizes])
    words = []
    for axis, (facet, rows) in zip(axes[:, 0], panels.items(), strict=True):
        axis.barh(range(len(rows)), rows.images, color=BAR, height=0.7, clip_on=False)
        for place, row in enumerate(rows.itertuples()):
            sets = f" in {amount(row.datasets, 'sub-dataset')}" if row.datasets else ""
            axis.text(row.images, place, f" {row.images:,}{sets}", va="center", fontsize=9)
            words.append(f"{facet} {row.value} {row.images:,}")
        axis.set_yticks(range(len(rows)), list(labels(rows.value, LONG).values()))
        axis.set(title=facet, ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1.5 * table.images.max()))
        axis.tick_params(axis="y", length=0)
    axes[-1, 0].set_xlabel("images")
    figure.set_label("Bar charts of the number of images, a panel a facet. " + _cut(words, 40))
    return figure


def _pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The most frequent values; the others as one row, whose sub-datasets are not stated and stand as 0.

    They cannot be added up: a sub-dataset that holds two of the values would count twice.
    """
    if len(rows) <= MOST_VALUES:
        return rows
    kept, rest = rows.iloc[: MOST_VALUES - 1], rows.iloc[MOST_VALUES - 1 :]
    other = {"facet": rows.facet.iloc[0], "value": f"{len(rest)} others", "images": rest.images.sum(), "datasets": 0}
    return pd.concat([kept, pd.DataFrame([other])], ignore_index=True)


def crossing(table: pd.DataFrame) -> Figure:
    """Heat map of images and sub-datasets, modalities by scales; ``table`` is from ``benchmark.crossing``."""
    order = ["subcellular", "cellular", "tissue"]
    scales = sorted(set(table.scale), key=lambda scale: (order.index(scale) if scale in order else 3, scale))
    images, datasets = (
        table.pivot(index="modality", columns="scale", values=value).reindex(columns=scales).fillna(0).astype(int)
        for value in ("images", "datasets")
    )
    text = np.array(
        [
            [f"{n:,}\n{amount(k, 'set')}" if n else "none" for n, k in zip(*rows, strict=True)]
            for rows in zip(images.to_numpy(), datasets.to_numpy(), strict=True)
        ]
    )
    figure, axes = _figure(1, 1, 0.6 * len(images) + 0.8)
    images = images.rename(index=labels(images.index, LONG), columns=labels(scales))
    sns.heatmap(images, annot=text, fmt="", cmap="Blues", vmin=0, ax=axes[0][0], linewidths=1, cbar=False)
    axes[0][0].set(xlabel="scale", ylabel="modality")
    axes[0][0].tick_params(rotation=0, length=0)
    words = [
        f"{row.modality}, {row.scale}: {row.images:,} in {amount(row.datasets, 'sub-dataset')}"
        for row in table.itertuples()
    ]
    figure.set_label("Heat map of the number of images, modalities by scales. " + _cut(words))
    return figure


def rules(scores: pd.DataFrame) -> Figure:
    """Accuracy of rules that look at no image, a row a question type; ``scores`` is from ``benchmark.score_rules``.

    Chance is a dashed tick across the row, and ``benchmark.ELIMINATION``, where it is among the rules, a solid one.
    """
    order = ["all", *COARSE, "classification", "cognition"]
    keys = sorted(set(zip(scores.level, scores.question, strict=True)), key=lambda key: order.index(key[1]))
    names = {key: key[1] if key[1] != "all" else f"all {key[0]}" for key in keys}
    tables = {
        rule: rows.set_index(["level", "question"]).loc[keys] for rule, rows in scores.groupby("rule", sort=False)
    }
    words = [
        f"{rule}, {name}: {100 * tables[rule].estimate[key]:.1f} %" for rule in tables for key, name in names.items()
    ]
    chance, n = (next(iter(tables.values()))[column] for column in ("chance", "n_questions"))
    ticks = {"chance": (chance, (0, (2, 1)))}
    if benchmark.ELIMINATION in tables:
        ticks[benchmark.ELIMINATION] = (tables.pop(benchmark.ELIMINATION).estimate, "-")
    figure, axes = _figure(1, 1, (0.15 * len(tables) + 0.16) * len(keys) + 1.3)
    axis, rows = axes[0][0], np.arange(len(keys))
    for place, (rule, table) in enumerate(tables.items()):
        colour, marker = RULES[rule]
        at = rows + (place - (len(tables) - 1) / 2) * 0.75 / len(tables)
        axis.hlines(at, 100 * table.ci_low, 100 * table.ci_high, color=colour, lw=2)
        axis.plot(100 * table.estimate, at, marker, color=colour, ms=6, label=rule)
    for name, (values, line) in ticks.items():
        axis.vlines(100 * values, rows - 0.45, rows + 0.45, color=CHANCE, lw=1.5, ls=line, zorder=1, label=name)
    axis.set_yticks(rows, [f"{called(*key[::-1])} (n = {n[key]:,})" for key in keys])
    axis.set(xlim=(0, 102), ylim=(len(keys) - 0.5, -0.5), xlabel="accuracy (%)")
    axis.grid(axis="x")
    _legend(figure, axis)
    figure.set_label("Dot plot of the accuracy of rules that look at no image, with 95 % intervals. " + _cut(words, 40))
    return figure


def nearest(kinds: dict) -> Figure:
    """Distribution of the nearness of each image's nearest other image, within and across sub-datasets.

    Parameters
    ----------
    kinds : dict
        ``(table, threshold)`` for each axis label, a panel each: the table is from ``duplicates.alike`` or
        ``duplicates.close_in_embedding``, the threshold is marked.
    """
    kinds = {label: found for label, found in kinds.items() if found[0][NEAREST].notna().any(axis=None)}
    if not kinds:
        return nothing("No image has another one to be compared with.")
    figure, axes = _figure(len(kinds), 1, 2.2 * len(kinds) + 0.5)
    words, short = [], labels(kinds, LONG)
    for axis, (label, (table, threshold)) in zip(axes[:, 0], kinds.items(), strict=True):
        values = np.append(table[NEAREST].to_numpy(), threshold)
        values = values[np.isfinite(values)]
        bins = np.histogram_bin_edges(values, 30)
        if (values == values.round()).all():  # equal bits: hashes with as many ones as zeros differ in an even number
            bins = np.arange(values.min() - 1, values.max() + 2, 2)
        for where, (colour, line, name) in NEARNESS.items():
            found = table[f"nearest_{where}"].dropna()
            if found.empty:
                continue
            share = np.full(len(found), 100 / len(found))
            axis.hist(found, bins, weights=share, histtype="step", color=colour, ls=line, lw=2, label=name)
            beyond = f"{100 * (found >= threshold).mean():.1f} % at the threshold of {threshold:g} or over"
            words.append(f"{label}, {name}: median {found.median():.3g}, {beyond}, n = {len(found):,}")
        axis.axvline(threshold, color=CHANCE, lw=1.5, ls=(0, (2, 1)))
        axis.set(xlabel=short[label], ylabel="images (%)")
        axis.grid(axis="x")
    _legend(figure, axes[0][0])
    figure.set_label("Histograms of the nearness of the nearest other image. " + _cut(words))
    return figure
