"""Figures of slices of the images: by pixel size and detail, by the field of a specialist, by who is in the picture.

As in ``plots``: a table in, a figure out whose label is its alt text; a model keeps its colour.
"""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, NullLocator

from ..models.registry import find_model
from ..studies.groups import FACETS
from ..studies.scale import MEASURES
from ..studies.specialists import OUTSIDE, OWN
from .labels import labels
from .plots import (
    CHANCE,
    LEVEL_NAMES,
    LONG,
    _cut,
    _figure,
    _labelled,
    _legend,
    _panels,
    accuracy_by_slice,
    nothing,
    overall,
)

SHAPES = ["o", "s", "^", "D", "v", "P", "X", "*"]


def score_against_size(points: pd.DataFrame, colours: dict) -> Figure:
    """Fine-grained score of each sub-dataset against its pixel size and its field of view, a dot a model.

    ``points`` is from ``resolution.by_size``.
    """
    if points.empty:
        return nothing("No fine-grained question is about an image with a stated pixel size.")
    models = [model for model in colours if model in set(points.model)]
    measures = [measure for measure in MEASURES if measure in set(points.measure)]
    names = labels(models)
    figure, axes = _panels(len(measures), 3.3, sharey=True)
    for axis, measure in zip(axes.flat, measures, strict=False):
        for place, model in enumerate(models):
            rows = points[(points.measure == measure) & (points.model == model)]
            at = rows["size"].to_numpy(float) * 1.05 ** (place - (len(models) - 1) / 2)  # beside, not over each other
            axis.vlines(at, rows.low, rows.high, color=colours[model], lw=1.5)
            axis.plot(
                at, rows.chance_corrected, SHAPES[place % len(SHAPES)], color=colours[model], ms=5, label=names[model]
            )
        axis.axhline(0, color=CHANCE, lw=1)
        axis.set(xscale="log", xlabel=MEASURES[measure])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(LogFormatter())  # names a few where an axis is short, in plain digits
        axis.grid()
    axes.flat[0].set_ylabel("chance-corrected")
    _legend(figure, axes.flat[0])
    shown = points[points.measure == measures[0]]
    words = [
        f"{row.model}, {row.dataset} ({row.size:.3g} µm): {row.chance_corrected:+.2f}" for row in shown.itertuples()
    ]
    return _labelled(
        figure,
        models,
        f"Scatter plots of the chance-corrected fine-grained score with 95 % intervals against "
        f"{' and '.join(MEASURES[measure] for measure in measures)}, a dot a model and sub-dataset. {_cut(words)}",
    )


def change_by_factor(changes: pd.DataFrame, colours: dict, by: str = "all", order=()) -> Figure:
    """Paired change of accuracy against the factor by which the images were shrunk, a line a model.

    ``changes`` is from ``resolution.changes``. By ``all``, a panel a level; by another facet, a panel a slice of the
    fine-grained question, first those in ``order``.
    """
    table = changes[changes.by == by] if len(changes) else changes
    if by == "all":
        panels = {
            LEVEL_NAMES[level]: table[(table.level == level) & (table.question == overall(table, level))]
            for level in LEVEL_NAMES
            if len(table) and level in set(table.level)
        }
    else:
        fine = table[table.level == "fine"] if len(table) else table
        names = [name for name in order if len(fine) and name in set(fine.slice)]
        names += sorted(set(fine.slice) - set(names)) if len(fine) else []
        panels = {f"{name}, fine-grained": fine[fine.slice == name] for name in names}
    if not panels:
        return nothing("No images were shrunk for this figure, or no question was asked about them.")
    models = [model for model in colours if model in set(table.model)]
    factors = sorted(set(table.factor))
    figure, axes = _panels(len(panels), 2.6, sharey=True)
    words, names = [], labels(models)
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        for place, model in enumerate(models):
            line = rows[rows.model == model].sort_values("factor")
            at = np.array([1, *(line.factor * 1.03 ** (place - (len(models) - 1) / 2))])
            shape = SHAPES[place % len(SHAPES)]
            axis.plot(
                at,
                100 * np.array([0, *line.estimate]),
                f"{shape}-",
                color=colours[model],
                ms=5,
                lw=1.5,
                label=names[model],
            )
            axis.vlines(at[1:], 100 * line.ci_low, 100 * line.ci_high, color=colours[model], lw=2)
            words += [f"{model}, {title}, by {row.factor:g}: {100 * row.estimate:+.1f}" for row in line.itertuples()]
        axis.axhline(0, color=CHANCE, lw=1)
        axis.set(title=title, xscale="log", xlabel="shrunk by")
        axis.set_xticks([1, *factors], [f"{factor:g}" for factor in (1, *factors)])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid()
    for axis in axes[:, 0]:
        axis.set_ylabel("change (points)")
    _legend(figure, axes.flat[0])
    return _labelled(
        figure,
        models,
        "Lines of the paired change of accuracy in points against the factor by which the "
        f"images were shrunk, with 95 % intervals. {_cut(words)}",
    )


def by_ground(scores: pd.DataFrame, colours: dict) -> Figure:
    """Accuracy of every model on each ground (full dot) and outside it (open square), coarse and fine, with chance.

    ``scores`` is from ``specialists.scores_by_ground``; a row of panels a ground.
    """
    table = scores[scores.estimand == "micro"] if len(scores) else scores
    if table.empty:
        return nothing("No model of this run is a specialist.")
    models = sorted((model for model in colours if model in set(table.model)), key=_rank)
    grounds, levels = list(dict.fromkeys(table.ground)), [level for level in LEVEL_NAMES if level in set(table.level)]
    figure, axes = _figure(len(grounds), len(levels), len(grounds) * (0.46 * len(models) + 0.9) + 0.4, sharex=True)
    words, names, short = [], labels(models), labels(grounds)
    kinds = labels(find_model(model).category for model in models)
    for line, name in zip(axes, grounds, strict=True):
        for axis, level in zip(line, levels, strict=True):
            rows = table[(table.ground == name) & (table.level == level)]
            rows = rows[rows.question == overall(rows, level)] if len(rows) else rows
            for row in rows.itertuples():
                own = row.slice == OWN
                at = models.index(row.model) + (-0.16 if own else 0.16)
                axis.plot([100 * row.chance] * 2, [at - 0.16, at + 0.16], color=CHANCE, lw=1.5, ls=(0, (2, 1)))
                axis.plot([100 * row.ci_low, 100 * row.ci_high], [at, at], color=colours[row.model], lw=2)
                axis.plot(
                    100 * row.estimate,
                    at,
                    "o" if own else "s",
                    color=colours[row.model],
                    ms=6,
                    mew=1.5,
                    mfc=colours[row.model] if own else "white",
                )
                words.append(f"{row.model}, {level}, {name if own else 'outside ' + name}: {100 * row.estimate:.1f} %")
            axis.set(title=f"Ground: {short[name]}, {level}", xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
            rows = [f"{names[model]}\n({kinds[find_model(model).category]})" for model in models]
            axis.set_yticks(range(len(models)), rows if axis is line[0] else [""] * len(models))
            axis.grid(axis="x")
    for axis in axes[-1]:
        axis.set_xlabel("accuracy (%)")
    _marks(figure, {"on that ground": ("o", CHANCE), "outside it": ("s", "white")})
    return _labelled(
        figure,
        models,
        "Dot plots of accuracy on and outside the ground of each specialist, with 95 % "
        f"intervals, against chance. {_cut(words)}",
    )


def _rank(model: str) -> tuple:
    """Place of a model on an axis: specialists by category, then generalists, then the rest."""
    category = find_model(model).category
    return {"generalist": 1, "unlisted": 2, "chance": 3}.get(category, 0), category


def specialist_differences(table: pd.DataFrame, colours: dict) -> Figure:
    """Paired differences, specialist − generalist, on the specialist's ground (left) and outside (right).

    ``table`` is from ``specialists.differences``. A row of panels a specialist; full dots are fine-grained, open
    squares coarse questions. Thick: 95 % interval; thin: simultaneous over the family.
    """
    if table.empty:
        return nothing("This run has no pair of a specialist and a generalist.")
    specialists = list(dict.fromkeys(table.specialist))
    places = [place for place in (OWN, OUTSIDE) if place in set(table.place)]
    heights = [0.5 * table[table.specialist == name].generalist.nunique() + 0.75 for name in specialists]
    figure, axes = _figure(len(specialists), len(places), sum(heights) + 0.6, sharex=True, height_ratios=heights)
    words, short = [], labels([*specialists, *table.generalist])
    for line, specialist in zip(axes, specialists, strict=True):
        generalists = list(dict.fromkeys(table.generalist[table.specialist == specialist]))
        for axis, place in zip(line, places, strict=True):
            for row in table[(table.specialist == specialist) & (table.place == place)].itertuples():
                fine = row.level == "fine"
                at = generalists.index(row.generalist) + (-0.17 if fine else 0.17)
                colour = colours[specialist]
                axis.plot([100 * row.joint_low, 100 * row.joint_high], [at, at], color=colour, lw=0.8)
                axis.plot([100 * row.ci_low, 100 * row.ci_high], [at, at], color=colour, lw=2.4)
                axis.plot(
                    100 * row.estimate,
                    at,
                    "o" if fine else "s",
                    color=colour,
                    ms=6,
                    mew=1.5,
                    mfc=colour if fine else "white",
                )
                words.append(f"{specialist} − {row.generalist}, {row.level}, {place}: {100 * row.estimate:+.1f}")
            axis.axvline(0, color=CHANCE, lw=1)
            axis.set(title=f"{short[specialist]}, {place}", ylim=(len(generalists) - 0.5, -0.5))
            base = find_model(specialist).base
            names = [f"− {short[model]}" + ("\n(its base)" if model == base else "") for model in generalists]
            axis.set_yticks(range(len(generalists)), names if axis is line[0] else [""] * len(generalists))
            axis.grid(axis="x")
    for axis in axes[-1]:
        axis.set_xlabel("difference (points)")
    _marks(figure, {"fine-grained": ("o", CHANCE), "coarse": ("s", "white")})
    return _labelled(
        figure,
        [*specialists, *table.generalist],
        "Dot plots of paired differences in points, specialist minus generalist, with 95 % and simultaneous "
        f"intervals. {_cut(words)}",
    )


def by_group(scores: pd.DataFrame, members: pd.DataFrame, colours: dict, facet: str) -> Figure:
    """Chance-corrected scores of the groups of a facet, fine-grained and coarse; small groups carry a dagger.

    ``scores`` is from ``groups.scores_by_group``, ``members`` from ``groups.members``.
    """
    members = members[members.facet == facet]
    if len(members) < 2:
        only = f"one value only ({members.group.iloc[0]})" if len(members) else "not stated"
        return nothing(f"{FACETS[facet]}: {only}, so there is nothing to compare.")
    short = labels(members.group, LONG)
    names = {
        row.group: fill(f"{short[row.group]}, {row.n_datasets} set{'s' * (row.n_datasets > 1)}{' †' * row.small}", 34)
        for row in members.itertuples()
    }
    table = scores[scores.by == facet]
    table = table.assign(slice=table.slice.map(names))
    titles = {"fine": "Fine-grained", "coarse": "All coarse questions"}
    questions = {overall(table, level): title for level, title in titles.items() if level in set(table.level)}
    figure = accuracy_by_slice(
        table,
        colours,
        facet,
        questions,
        list(names.values()),
        "chance_corrected",
        {name: name for name in names.values()},
    )
    figure.set_label(figure.get_label().replace("\n", " "))
    return figure


def _marks(figure: Figure, marks: dict) -> None:
    """A legend of marks: the name of each to its shape and fill."""
    handles = [
        Line2D([], [], color=CHANCE, ls="", marker=mark, mfc=fill, label=name) for name, (mark, fill) in marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(marks), frameon=False)
