"""Figures of the published numbers, and of the front page: narrow ones (``NARROW`` inches) shrink to a phone unharmed.

As in ``plots``: a table in, a figure out whose label is its alt text. Numbers here are percent, as printed. The shape
of a marker is the category of the model; models without an entry of their own are dark grey.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..data.questions import COARSE
from ..models.registry import colours as registry_colours
from ..models.registry import model_cards
from ..studies import published
from .plots import CHANCE, WIDTH, _cut
from .plots_finetuning import INSIDE, OUTSIDE

NARROW = 4.6  # inches
SHAPES = {"generalist": "o", "biomedical": "D", "pathology": "s"}
UNLISTED = "#444444"
SCALES = ["subcellular", "cellular", "tissue"]
MODALITIES = {"light microscopy": "#E69F00", "fluorescence microscopy": "#009E73", "electron microscopy": "#56B4E9"}


def colours(models) -> dict[str, str]:
    """Colour of each published model: that of its entry in ``models.yml``, else dark grey."""
    cards = model_cards()
    return {model: registry_colours([model])[model] if model in cards else UNLISTED for model in models}


def ordered(tables: dict, width: float = WIDTH, note: str = "Published by the paper.") -> Figure:
    """Dots with intervals and chance, a panel a table, best model first.

    ``tables[title]`` holds ``model, category, accuracy, ci_low, ci_high, chance`` in percent, a row a model.
    """
    figure = Figure(figsize=(width, 0.27 * max(map(len, tables.values())) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    words, present = [], {}
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        rows = table.sort_values("accuracy", ascending=False, kind="stable")
        palette = colours(rows.model)
        for at, row in enumerate(rows.itertuples()):
            axis.plot([row.ci_low, row.ci_high], [at, at], color=palette[row.model], lw=2, zorder=2)
            axis.plot(row.accuracy, at, SHAPES[row.category], color=palette[row.model], ms=6.5, zorder=3)
            axis.plot([row.chance] * 2, [at - 0.4, at + 0.4], color=CHANCE, lw=1.5, ls=(0, (2, 1)), zorder=1)
            words.append(f"{title}, {row.model}: {row.accuracy:.1f} [{row.ci_low:.1f}, {row.ci_high:.1f}]")
            present[row.category] = None
        axis.set(title=title, xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5), xlabel="accuracy (%)")
        axis.set_yticks(range(len(rows)), rows.model)
        axis.grid(axis="x")
    _key(figure, present, chance=True)
    figure.set_label(f"{note} Dot plot of accuracy in percent, best first, against chance. {_cut(words, 36)}")
    return figure


def question_map(table: pd.DataFrame) -> Figure:
    """Heat map, models × coarse question types: the number is the accuracy, the colour the distance from chance."""
    table = table.assign(chance_corrected=(table.accuracy - table.chance) / (100 - table.chance))
    return _map(table, "model", "question", list(COARSE), "Models by coarse question types")


def dataset_map(table: pd.DataFrame) -> Figure:
    """Heat map, sub-datasets × models: the number is the accuracy, the colour the distance from chance."""
    rows = table.drop_duplicates("dataset").sort_values(["modality", "scale", "dataset"])
    order = table.groupby("model").chance_corrected.mean().sort_values(ascending=False).index
    return _map(table, "dataset", "model", list(order), "Sub-datasets by models", list(rows.dataset))


def _map(table, rows: str, columns: str, column_order: list, what: str, row_order: list | None = None) -> Figure:
    accuracy, corrected = (table.pivot(index=rows, columns=columns, values=v) for v in ("accuracy", "chance_corrected"))
    row_order = row_order or list(corrected.mean(axis=1).sort_values(ascending=False).index)
    accuracy, corrected = (values.reindex(index=row_order, columns=column_order) for values in (accuracy, corrected))
    figure = Figure(figsize=(WIDTH, 0.27 * len(row_order) + 1.5), layout="constrained")
    axis = figure.subplots()
    sns.heatmap(
        corrected,
        annot=accuracy,
        fmt=".0f",
        cmap="PuOr_r",
        center=0,
        vmin=-1,
        vmax=1,
        ax=axis,
        linewidths=0.7,
        annot_kws={"size": 9},
        cbar_kws={"label": "chance-corrected", "shrink": 0.7},
    )
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="x", length=0)
    axis.set_xticks(axis.get_xticks(), column_order, rotation=40, ha="right", rotation_mode="anchor")
    axis.tick_params(axis="y", rotation=0, length=0, labelsize=9)
    below = (table.ci_high < table.chance).sum()
    above = (table.ci_low > table.chance).sum()
    figure.set_label(
        f"Published by the paper. {what}, accuracy in percent. Of {len(table)} cells the interval of {above} lies "
        f"above chance, that of {below} below it, and {len(table) - above - below} cannot be told from chance."
    )
    return figure


def wording(first: pd.DataFrame, headline: pd.DataFrame) -> Figure:
    """Fine accuracy in the headline wording minus that in the other, a dot a sub-dataset, a row a model.

    The two tables are from ``published.by_dataset``; models with both wordings are shown.
    """
    both = headline.merge(first[["model", "dataset", "accuracy"]], on=["model", "dataset"], suffixes=("", "_other"))
    both["difference"] = both.accuracy - both.accuracy_other
    order = both.groupby("model").difference.apply(lambda d: d.abs().mean()).sort_values(ascending=False).index
    figure = Figure(figsize=(WIDTH, 0.36 * len(order) + 1.0), layout="constrained")
    axis, words, palette = figure.subplots(), [], colours(order)
    for at, model in enumerate(order):
        rows = both[both.model == model]
        axis.plot(rows.difference, [at] * len(rows), "o", color=palette[model], ms=6, alpha=0.6, mew=0)
        axis.plot([rows.difference.mean()] * 2, [at - 0.35, at + 0.35], color=palette[model], lw=2)
        most = rows.loc[rows.difference.abs().idxmax()]
        words.append(f"{model}: mean {rows.difference.mean():+.1f}, most {most.difference:+.0f} on {most.dataset}")
    axis.axvline(0, color=CHANCE, lw=1)
    axis.grid(axis="x")
    axis.set(xlabel="headline wording minus the other (points)", ylim=(len(order) - 0.5, -0.5))
    axis.set_yticks(range(len(order)), order)
    figure.set_label(
        "Published by the paper. Change of fine accuracy with the wording of the captions, a dot a "
        "sub-dataset. " + _cut(words)
    )
    return figure


def changes(table: pd.DataFrame, kinds: dict, width: float = WIDTH) -> Figure:
    """Published change of each fine-tuned model against its base, a panel a model, rows grouped by ``kinds``.

    ``table`` is from ``published.forgetting``; ``kinds`` gives each kind to show the colour of its dots.
    """
    table = table[table.kind.isin(kinds)]
    table = table.assign(place=table.kind.map({kind: place for place, kind in enumerate(kinds)}))
    names = table.drop_duplicates("name").sort_values("place", kind="stable")
    rows = {name: at for at, name in enumerate(names.name)}
    labels = [name.replace("_", " ") for name in rows]
    figure = Figure(figsize=(width, 0.25 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots(1, table.tuned.nunique(), squeeze=False, sharex=True)[0]
    words = []
    for axis, ((base, tuned), found) in zip(axes, table.groupby(["base", "tuned"], sort=False), strict=True):
        for row in found.itertuples():
            at = rows[row.name]
            axis.plot([row.ci_low, row.ci_high], [at, at], color=kinds[row.kind], lw=2, zorder=2)
            axis.plot(row.difference, at, "o", color=kinds[row.kind], ms=5.5, zorder=3)
            words.append(f"{tuned}, {row.name}: {row.difference:+.0f}")
        axis.axvline(0, color=CHANCE, lw=1)
        axis.grid(axis="x")
        axis.set(title=f"{tuned} − {base}", xlabel="change (points)", ylim=(len(rows) - 0.5, -0.5))
        axis.set_yticks(range(len(rows)), labels if axis is axes[0] else [""] * len(rows))
        for at in np.flatnonzero(np.diff(names.place)):
            axis.axhline(at + 0.5, color="#AAAAAA", lw=0.8)
    handles = [Line2D([], [], color=colour, marker="o", lw=2, label=kind) for kind, colour in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds) if width > NARROW else 1, frameon=False)
    figure.set_label(
        "Published by the paper. Change of accuracy in points from the base to its fine-tuned model. "
        + _cut(words, 60).replace("-", "−")
    )
    return figure


def arrows(table: pd.DataFrame, levels=("fine", "coarse"), width: float = WIDTH) -> Figure:
    """Accuracy on the H&E sets against that over all sets: an arrow from each parent to the merge of its weights."""
    figure = Figure(figsize=(width, 3.4 * len(levels)), layout="constrained")
    axes = figure.subplots(len(levels), 1, squeeze=False)[:, 0]
    words = []
    for axis, level in zip(axes, levels, strict=True):
        rows = table[table.level == level]
        palette = colours(rows.parent)
        for row in rows.itertuples():
            axis.annotate(
                "",
                (row.merge_he, row.merge_all),
                (row.parent_he, row.parent_all),
                arrowprops={"arrowstyle": "-|>", "color": palette[row.parent], "lw": 2, "shrinkA": 6, "shrinkB": 7},
            )
            axis.plot(row.parent_he, row.parent_all, "o", color=palette[row.parent], ms=8)
            away, side = (-8, "top") if row.merge_all > row.parent_all else (8, "bottom")
            axis.annotate(
                row.parent,
                (row.parent_he, row.parent_all),
                (0, away),
                textcoords="offset points",
                ha="center",
                va=side,
                fontsize=9,
            )
            words.append(
                f"{level}, {row.parent} to {row.merge}: H&E {row.parent_he:.1f} to {row.merge_he:.1f}, all "
                f"{row.parent_all:.1f} to {row.merge_all:.1f}"
            )
        for row in rows.drop_duplicates("merge").itertuples():
            axis.plot(row.merge_he, row.merge_all, "*", color="#222222", ms=13)
            place = {"xytext": (7, -5), "ha": "left", "va": "top"}
            if level == "coarse":  # its arrows come from below and from the right
                place = {"xytext": (-7, 5), "ha": "right", "va": "bottom"}
            axis.annotate(
                row.merge.replace("+", " +\n"),
                (row.merge_he, row.merge_all),
                textcoords="offset points",
                fontsize=9,
                **place,
            )
        axis.set(
            title={"fine": "Fine questions", "coarse": "Coarse questions"}[level],
            xlabel="H&E sub-datasets (%)",
            ylabel="all sub-datasets (%)",
        )
        axis.margins(0.22, 0.2)
        axis.grid()
    figure.set_label(
        "Published by the paper, read off its figure. An arrow leads from each parent to its merge. " + _cut(words)
    )
    return figure


def composition(table: pd.DataFrame) -> Figure:
    """Images of each sub-dataset, grouped by scale, coloured by modality; ``table`` is from ``published.datasets``."""
    place = table.scale.map({scale: at for at, scale in enumerate(SCALES)})
    rows = table.assign(place=place).sort_values(["place", "modality", "n_images"], ascending=[True, True, False])
    figure = Figure(figsize=(WIDTH, 0.24 * len(rows) + 1.3), layout="constrained")
    axis = figure.subplots()
    axis.barh(range(len(rows)), rows.n_images, color=rows.modality.map(MODALITIES), height=0.75)
    for at, n in enumerate(rows.n_images):
        axis.text(n + 15, at, f"{n:,}", va="center", fontsize=9)
    axis.set_yticks(range(len(rows)), [f"{name.replace('_', ' ')} ({scale})" for name, scale in rows.scale.items()])
    axis.set(xlabel="images", ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1.1 * rows.n_images.max()))
    for at in np.flatnonzero(np.diff(rows.place)):
        axis.axhline(at + 0.5, color="#AAAAAA", lw=0.8)
    handles = [Line2D([], [], color=colour, lw=6, label=name) for name, colour in MODALITIES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    share = (rows.groupby("modality").n_images.sum() / rows.n_images.sum()).sort_values(ascending=False)
    figure.set_label(
        f"Published by the paper. Bars of the images of {len(rows)} sub-datasets, {rows.n_images.sum():,} in all: "
        + ", ".join(f"{name} {100 * part:.0f} %" for name, part in share.items())
        + "."
    )
    return figure


def recomputed(table: pd.DataFrame) -> Figure:
    """How far two ways of averaging the published parts lie from the printed totals, a row a model, a panel a level."""
    table = table.dropna(subset="printed")
    figure = Figure(figsize=(WIDTH, 0.27 * table.model.nunique() + 1.2), layout="constrained")
    axes = figure.subplots(1, 2, squeeze=False, sharex=True, sharey=True)[0]
    models = list(dict.fromkeys(table.model))
    for axis, (level, rows) in zip(axes, table.groupby("level"), strict=True):
        at = [models.index(model) for model in rows.model]
        for estimand, mark, colour in (("micro", "o", INSIDE), ("macro", "D", OUTSIDE)):
            axis.plot(rows[estimand] - rows.printed, at, mark, color=colour, ms=6.5, label=f"{estimand} − printed")
        axis.axvspan(-published.ROUNDING, published.ROUNDING, color="#DDDDDD", zorder=0)
        axis.set(title=f"{level.capitalize()} total", xlabel="points", ylim=(len(models) - 0.5, -0.5))
        axis.grid(axis="x")
    axes[0].set_yticks(range(len(models)), models)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    off = {e: (table[e] - table.printed).abs() for e in ("micro", "macro")}
    figure.set_label(
        "Recomputed from published parts. Distance of two averages from the printed totals: pooled over questions at "
        f"most {off['micro'].max():.2f} points, mean over the parts at most {off['macro'].max():.2f} points."
    )
    return figure


def _key(figure: Figure, categories, chance: bool) -> None:
    handles = [
        Line2D([], [], color=UNLISTED, marker=mark, ls="", ms=6.5, label=name)
        for name, mark in SHAPES.items()
        if name in categories
    ]
    if chance:
        handles.append(Line2D([], [], color=CHANCE, lw=1.5, ls=(0, (2, 1)), label="chance"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        columnspacing=1.0,
        handletextpad=0.4,
    )
