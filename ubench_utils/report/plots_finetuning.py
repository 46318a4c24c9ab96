"""Figures of pairs: what fine-tuning changed, where in the network, and what mixing weights brings back.

As in ``plots``: a table in, a figure out whose label is its alt text. Pairs stand in panels or columns; a model keeps
its colour, in-domain is blue and out-of-domain vermilion throughout.
"""

import matplotlib.colors
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..data.questions import COARSE
from .labels import labels
from .plots import CHANCE, LONG, _cut, _figure, _labelled, _legend, _panels, nothing

INSIDE, OUTSIDE, ALL = "#0072B2", "#D55E00", "#555555"
GREY = "#BBBBBB"  # cells with too few images
NO_TRADE = "There is no fine-grained question in-domain, or no question out-of-domain, to set against each other."
NO_FINE = "There is no fine-grained question in-domain."
STATES = {"kept": "#8DB6CD", "forgotten": "#D55E00", "learned": "#009E73", "never": "#DDDDDD"}
GROUPS = {
    "fine-grained, in-domain": (INSIDE, "o", "-"),
    "coarse, in-domain": (INSIDE, "s", "--"),
    "all, out-of-domain": (OUTSIDE, "D", "-"),
    "all questions": (ALL, "^", "-"),
}


def differences(cells: dict, colours: dict) -> Figure:
    """Paired differences, a panel a pair: thick the 95 % interval of each row, thin the simultaneous one of the family.

    ``cells[(base, tuned)]`` is a table from ``finetuning.headline_cells``; rows with too few images are grey.
    """
    if not cells:
        return _no_pair()
    figure, axes = _panels(len(cells), 0.26 * max(map(len, cells.values())) + 1.0, sharex=True)
    words, short = [], _short_names(cells)
    for axis, ((_, tuned), table) in zip(axes.flat, cells.items(), strict=False):
        group = table.slice.where(table.by == "where", "sub-datasets")
        for at, row in enumerate(table.itertuples()):
            colour = GREY if row.small else colours[tuned]
            axis.plot([100 * row.joint_low, 100 * row.joint_high], [at, at], color=colour, lw=0.8, zorder=2)
            axis.plot([100 * row.ci_low, 100 * row.ci_high], [at, at], color=colour, lw=2.4, zorder=2)
            axis.plot(100 * row.estimate, at, "o", color=colour, ms=5.5, zorder=3)
            words.append(
                f"{tuned}, {row.name}: {100 * row.estimate:+.1f} [{100 * row.ci_low:+.1f}, {100 * row.ci_high:+.1f}]"
            )
        for at in np.flatnonzero(group.to_numpy()[1:] != group.to_numpy()[:-1]):
            axis.axhline(at + 0.5, color="#AAAAAA", lw=0.8)
        axis.axvline(0, color=CHANCE, lw=1)
        axis.grid(axis="x")
        axis.set(title=f"{short[tuned]} − base", xlabel="difference (points)", ylim=(len(table) - 0.5, -0.5))
        rows = table.name.map(labels(table.name, LONG))
        axis.set_yticks(range(len(table)), rows if axis in axes[:, 0] else [""] * len(table))
    return _labelled(
        figure,
        [m for pair in cells for m in pair],
        "Dot plot of paired differences in percentage points, 95 % intervals. " + _cut(words),
    )


def change_map(cells: dict) -> Figure:
    """Every cell of ``finetuning.forgetting``: slices × question types, the number is the change in points.

    A star marks a change with Holm-adjusted p < 0.05; numbers of cells with too few images are in brackets and grey.
    """
    if not cells:
        return _no_pair()
    tables = list(cells.values())
    slices = list(
        dict.fromkeys(
            (by, name)
            for by in ("all", "where", "modality", "scale", "dataset")
            for table in tables
            for name in sorted(set(table.slice[table.by == by]))
        )
    )
    places = labels((name for _, name in slices), LONG)
    columns = [q for q in [*COARSE, "all", "classification", "cognition"] if any(q in set(t.question) for t in tables)]
    figure, axes = _figure(len(cells), 1, len(cells) * (0.24 * len(slices) + 1.1), sharex=True)
    words, short = [], _short_names(cells)
    limit = max(100 * np.abs(np.concatenate([table.estimate for table in tables])).max(), 1)
    for axis, ((base, tuned), table) in zip(axes[:, 0], cells.items(), strict=True):
        found = {(row.by, row.slice, row.question): row for row in table.itertuples()}
        values = np.full((len(slices), len(columns)), np.nan)
        for i, (by, name) in enumerate(slices):
            for j, question in enumerate(columns):
                row = found.get((by, name, question))
                if row is None:
                    continue
                values[i, j] = np.nan if row.small else 100 * row.estimate
                star = "*" if row.p_adjusted < 0.05 else ""
                rounded = round(100 * row.estimate)
                text = f"{rounded:+d}{star}".replace("-", "−") if rounded else f"0{star}"
                dark = not row.small and abs(100 * row.estimate) > 0.6 * limit
                axis.text(
                    j,
                    i,
                    f"({text})" if row.small else text,
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="#888888" if row.small else "white" if dark else "#222222",
                )
                if star:
                    words.append(f"{tuned}, {question}, {name}: {100 * row.estimate:+.0f}")
        axis.imshow(values, cmap="RdBu", norm=matplotlib.colors.Normalize(-limit, limit), aspect="auto")
        axis.set_yticks(range(len(slices)), [places[name] for _, name in slices], fontsize=8)
        names = ["all coarse" if question == "all" else question for question in columns]
        axis.set_xticks(range(len(columns)), names, rotation=25, fontsize=8)
        for at in (i for i in range(1, len(slices)) if slices[i][0] != slices[i - 1][0]):
            axis.axhline(at - 0.5, color="#777777", lw=0.8)
        axis.tick_params(length=0)
        axis.set_title(f"{short[tuned]} − {short[base]} (points)")
    return _labelled(
        figure,
        [m for pair in cells for m in pair],
        f"Heat maps of the change of accuracy in points, {len(slices)} slices by {len(columns)} question types, one a "
        "pair. Changes that stand after Holm's correction: " + (_cut(words) if words else "none."),
    )


def churn(cells: dict) -> Figure:
    """What became of the questions behind each net change: shares kept, forgotten, learned and never right."""
    if not cells:
        return _no_pair()
    wanted = [("in-domain", "fine"), ("in-domain", "coarse"), ("out-of-domain", "fine"), ("out-of-domain", "coarse")]
    figure, axes = _figure(len(cells), 1, 1.35 * len(cells) + 0.7, sharex=True)
    words, short = [], _short_names(cells)
    for axis, ((_, tuned), table) in zip(axes[:, 0], cells.items(), strict=True):
        names = []
        for where, level in wanted:
            rows = table[(table.by == "where") & (table.slice == where) & (table.level == level)]
            rows = rows[rows.question == ("all" if "all" in set(rows.question) else rows.question)]
            if rows.empty:
                continue
            row, left = rows.iloc[0], 0.0
            for state, colour in STATES.items():
                share = 100 * row[state] / row.n_questions
                axis.barh(len(names), share, left=left, color=colour, label=None if names else state, height=0.72)
                if share >= 4:
                    axis.text(
                        left + share / 2,
                        len(names),
                        f"{share:.0f}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if state in ("forgotten", "learned") else "#222222",
                    )
                left += share
            names.append(f"{level}, {where} (n = {row.n_questions:,})")
            words.append(f"{tuned}, {level} {where}: " + ", ".join(f"{row[state]} {state}" for state in STATES))
        axis.set(title=short[tuned], xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
        axis.set_yticks(range(len(names)), names, fontsize=8.5)
    axes[-1, 0].set_xlabel("share of questions (%)")
    _legend(figure, axes[0, 0])
    return _labelled(figure, [m for pair in cells for m in pair], "Stacked bars of questions by state. " + _cut(words))


def layers(changes: dict, angles: pd.DataFrame, colours: dict) -> Figure:
    """Where in the network fine-tuning moved the weights, and whether specialists moved them the same way.

    ``changes[(base, tuned)]`` is from ``weights.layer_changes``; ``angles`` from ``weights.task_angles``, empty where
    there are not two specialists of one base.
    """
    if not changes:
        return _no_pair()
    rows = 2 if len(angles) else 1
    figure, axes = _figure(rows, 2, 2.3 * rows + 0.4, sharex="col", sharey="row")
    words, short = [], _short_names([*changes, *zip(angles["first"], angles.second, strict=True)])
    for column, tower in enumerate(("image", "text")):
        for (_, tuned), table in changes.items():
            own = table[table.tower == tower]
            axes[0][column].plot(
                own.layer, 100 * own.relative_change, "o-", color=colours[tuned], ms=5, lw=1.3, label=short[tuned]
            )
            if len(own):
                most = own.loc[own.relative_change.idxmax()]
                words.append(f"{tuned}, {tower} tower: most in layer {most.layer}, {100 * most.relative_change:.1f} %")
        axes[0][column].set_title(f"{tower} tower")
        if len(angles):
            for (first, second), table in angles[angles.tower == tower].groupby(["first", "second"], sort=False):
                own = table[table.layer.notna()]
                angle = np.degrees(np.arccos(own.cosine.astype(float).clip(-1, 1)))
                label = f"{short[first]} and {short[second]}"
                axes[1][column].plot(own.layer.astype(int), angle, "s--", color="#444444", ms=5, lw=1.1, label=label)
                words.append(f"angle of {label}, {tower} tower: {', '.join(f'{value:.0f}°' for value in angle)}")
            axes[1][column].axhline(90, color=CHANCE, lw=1, ls=(0, (2, 1)))
            axes[1][column].set_ylim(0, 100)
        axes[-1][column].set_xlabel("layer")
        axes[-1][column].xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_ylim(0, None)
    axes[0][0].set_ylabel("change of weights (%)")
    if len(angles):
        axes[1][0].set_ylabel("angle (degrees)")
    _legend(figure, axes[0][0])
    models = [m for pair in changes for m in pair]
    return _labelled(figure, models, "Relative change of the weights by layer and tower. " + _cut(words))


def published_beside(published: pd.DataFrame, cells: dict, colours: dict) -> Figure:
    """Change of each coarse question type over all images: as published for the paper's pairs, as measured for ours."""
    theirs = [
        (tuned, rows.set_index("name").difference)
        for tuned, rows in published[published.kind == "coarse"].groupby("tuned", sort=False)
    ]
    ours = [(tuned, table[table.by == "all"].set_index("question")) for (_, tuned), table in cells.items()]
    figure, axes = _figure(1, 2, 3.1, sharey=True, sharex=True)
    short = labels(tuned for tuned, _ in [*theirs, *ours])
    words, at = [], np.arange(len(COARSE))
    for axis, pairs, title in ((axes[0][0], theirs, "published, no intervals"), (axes[0][1], ours, "measured here")):
        for place, (tuned, rows) in enumerate(pairs):
            y = at + (place - (len(pairs) - 1) / 2) * 0.8 / max(len(pairs), 1)
            values = rows if isinstance(rows, pd.Series) else 100 * rows.estimate
            values = values.reindex(COARSE)
            axis.barh(y, values, height=0.7 / max(len(pairs), 1), color=colours[tuned], label=short[tuned])
            if not isinstance(rows, pd.Series):
                bounds = 100 * rows[["ci_low", "ci_high"]].reindex(COARSE)
                axis.hlines(y, bounds.ci_low, bounds.ci_high, color="#222222", lw=1)
            words.append(f"{title}, {tuned}: " + ", ".join(f"{q} {v:+.0f}" for q, v in values.dropna().items()))
        axis.axvline(0, color=CHANCE, lw=1)
        axis.grid(axis="x")
        axis.set(title=title, xlabel="fine-tuned − base (points)", ylim=(len(COARSE) - 0.5, -0.5))
        if pairs:
            axis.legend(fontsize=8, frameon=False, loc="best")
    axes[0][0].set_yticks(at, COARSE)
    models = [tuned for tuned, _ in [*theirs, *ours]]
    return _labelled(figure, models, "Bars of the change of each coarse question. " + "; ".join(words) + ".")


def alpha_changes(along: dict) -> Figure:
    """Paired change from the base along α with 95 % bands, a panel a pair; dotted the straight line between the ends.

    ``along[(base, tuned)]`` is a table from ``finetuning.changes_along_alpha``.
    """
    if not along:
        return _no_pair()
    figure, axes = _panels(len(along), 3.1, sharey=True)
    words, short = [], _short_names(along)
    for axis, ((base, tuned), table) in zip(axes.flat, along.items(), strict=False):
        for group, line in table.groupby("group", sort=False):
            colour, marker, style = GROUPS[group]
            change = 100 * line.estimate
            axis.fill_between(line.alpha, 100 * line.ci_low, 100 * line.ci_high, color=colour, alpha=0.13, lw=0)
            axis.plot(line.alpha, change, color=colour, marker=marker, ms=3.5, lw=1.4, ls=style, label=group)
            axis.plot([0, 1], [0, change.iloc[-1]], color=colour, lw=0.7, ls=":")
            ends = line[line.alpha.isin([0.5, 1])]
            words.append(
                f"{tuned}, {group}: "
                + ", ".join(f"{100 * v:+.1f} at α = {a:g}" for a, v in zip(ends.alpha, ends.estimate, strict=True))
            )
        axis.axhline(0, color=CHANCE, lw=1)
        axis.set(title=f"{short[base]} to {short[tuned]}", xlabel="α (0: base, 1: fine-tuned)")
    axes[0][0].set_ylabel("change from the base (points)")
    _legend(figure, axes.flat[0])
    models = [m for pair in along for m in pair]
    return _labelled(figure, models, "Line plots of the paired change along α with 95 % bands. " + _cut(words))


def fronts(points: dict, others: dict, colours: dict) -> Figure:
    """Gain on the target against what is kept elsewhere: the path along α, its front, and other ways to combine.

    ``points[(base, tuned)]`` is from ``finetuning.frontier``; ``others[(base, tuned)]`` from ``grids.other_ways``.
    """
    if not points:
        return _no_pair()
    points = {pair: table for pair, table in points.items() if table[["kept", "gain"]].notna().all(axis=None)}
    if not points:
        return nothing(NO_TRADE)
    figure, axes = _panels(len(points), 4.4)
    words, short = [], _short_names(points)
    for axis, ((base, tuned), table) in zip(axes.flat, points.items(), strict=False):
        ramp = sns.blend_palette([colours[base], colours[tuned]], len(table))
        axis.plot(100 * table.kept, 100 * table.gain, color="#777777", lw=1.0, zorder=1)
        axis.plot(
            100 * table.kept.iloc[[0, -1]], 100 * table.gain.iloc[[0, -1]], color="#777777", lw=0.8, ls=":", zorder=1
        )
        for row, colour in zip(table.itertuples(), ramp, strict=True):
            axis.plot(
                100 * row.kept,
                100 * row.gain,
                "o",
                ms=7,
                color=colour,
                mfc=colour if row.on_front else "white",
                zorder=3,
            )
            if row.alpha in (0, 0.5, 1):
                axis.annotate(
                    f"α = {row.alpha:g}",
                    (100 * row.kept, 100 * row.gain),
                    xytext=(6, 5),
                    textcoords="offset points",
                    fontsize=8.5,
                    annotation_clip=False,
                )
        for mark, row in zip("sD^vP*X", others[base, tuned].itertuples(), strict=False):
            axis.plot(100 * row.kept, 100 * row.gain, mark, color="#222222", ms=6, ls="", label=row.way, zorder=4)
            words.append(f"{tuned}, {row.way}: kept {100 * row.kept:+.1f}, gain {100 * row.gain:+.1f}")
        front = ", ".join(f"{alpha:g}" for alpha in table.alpha[table.on_front])
        words.insert(0, f"{base} to {tuned}: α on the front {front}")
        axis.set(
            title=f"{short[base]} to {short[tuned]}",
            xlabel="all questions out-of-domain − base (points)",
            ylabel="fine-grained in-domain − base (points)" if axis in axes[:, 0] else "",
        )
        axis.grid()
    _legend(figure, axes.flat[0])
    models = [m for pair in points for m in pair]
    return _labelled(
        figure, models, "Gain against retention along α; full dots are on the Pareto front. " + _cut(words)
    )


def alpha_curves(curves: dict) -> Figure:
    """Accuracy along α with 95 % bands: a column a pair, a row a question, in-domain and out-of-domain.

    ``curves[(base, tuned)]`` is a table from ``finetuning.curves_by_question``. Dotted is the straight
    line between the ends.
    """
    if not curves:
        return _no_pair()
    tables = list(curves.values())
    names = list(dict.fromkeys(tables[0].question))
    figure, axes = _figure(len(names), len(curves), 1.7 * len(names) + 1.2, sharey="row", sharex=True)
    palette = {"in-domain": "#0072B2", "out-of-domain": "#D55E00"}
    words, short = [], _short_names(curves)
    for column, ((base, tuned), table) in enumerate(curves.items()):
        for row, name in enumerate(names):
            axis = axes[row][column]
            chosen = table[table.question == name]
            for (group, line), marker in zip(chosen.groupby("group", sort=True), "os", strict=False):
                accuracy, colour = 100 * line.estimate, palette[group]
                axis.fill_between(line.alpha, 100 * line.ci_low, 100 * line.ci_high, color=colour, alpha=0.15, lw=0)
                axis.plot(line.alpha, accuracy, color=colour, marker=marker, ms=3.5, lw=1.5, label=group)
                axis.plot(line.alpha.iloc[[0, -1]], accuracy.iloc[[0, -1]], color=colour, lw=0.8, ls=":")
                ends = line[line.alpha.isin([0, 0.5, 1])]
                values = ", ".join(f"{100 * value:.1f}" for value in ends.estimate)
                words.append(f"{tuned}, {name}, {group}: {values} % at α = 0, 0.5, 1")
            axis.set(
                title=(f"{short[base]} to {short[tuned]}" if row == 0 else ""), ylabel="" if column else f"{name} (%)"
            )
            if row == len(names) - 1:
                axis.set(xlabel="α (0: base, 1: fine-tuned)")
    _legend(figure, axes.flat[0])
    return _labelled(
        figure, [m for pair in curves for m in pair], "Line plots of accuracy against α with 95 % bands. " + _cut(words)
    )


def alpha_by_dataset(curves: dict, colours: dict) -> Figure:
    """Fine-grained accuracy along α in every sub-dataset, a panel each, a line a pair, with 95 % bands.

    ``curves[(base, tuned)]`` is a table from ``finetuning.curves_by_dataset``.
    """
    if not curves:
        return _no_pair()
    names = sorted({name for table in curves.values() for name in table.slice})
    if not names:
        return nothing("No fine-grained question is asked.")
    titles = labels(names)
    figure, axes = _panels(len(names), 1.35, columns=3, sharex=True)
    words, short = [], _short_names(curves)
    for axis, name in zip(axes.flat, names, strict=False):
        for (_, tuned), table in curves.items():
            line = table[table.slice == name]
            colour = colours[tuned]
            axis.fill_between(line.alpha, 100 * line.ci_low, 100 * line.ci_high, color=colour, alpha=0.15, lw=0)
            axis.plot(line.alpha, 100 * line.estimate, color=colour, lw=1.5, label=short[tuned])
            ends = [100 * line.estimate[line.alpha == alpha].iloc[0] for alpha in (0, 1)]
            words.append(f"{name}, {tuned}: {ends[0]:.0f} to {ends[1]:.0f} %")
        axis.axhline(100 * line.chance.iloc[0], color=CHANCE, lw=1, ls=(0, (2, 1)))
        axis.set_title(titles[name], fontsize=8.5)
    for axis in axes[:, 0]:
        axis.set_ylabel("%")
    for axis in axes[-1]:
        axis.set_xlabel("α")
    _legend(figure, axes.flat[0])
    models = [m for pair in curves for m in pair]
    return _labelled(figure, models, "Small multiples of fine-grained accuracy along α, by sub-dataset. " + _cut(words))


def trade_off(points: dict, colours: dict, x: str, y: str) -> Figure:
    """Path of each pair's mixtures in the plane of two scores, a panel a pair (``finetuning.fine_trade_off``)."""
    if not points:
        return _no_pair()
    points = {pair: table for pair, table in points.items() if len(table) and table[["x", "y"]].notna().all(axis=None)}
    if not points:
        return nothing(NO_FINE)
    figure, axes = _panels(len(points), 3.2)
    words, short = [], _short_names(points)
    for axis, ((base, tuned), table) in zip(axes.flat, points.items(), strict=False):
        ramp = sns.blend_palette([colours[base], colours[tuned]], len(table))
        axis.plot(100 * table.x, 100 * table.y, color="#777777", lw=1.2, zorder=1)
        axis.plot(100 * table.x.iloc[[0, -1]], 100 * table.y.iloc[[0, -1]], color="#777777", lw=0.8, ls=":", zorder=1)
        for (_, dot), colour in zip(table.iterrows(), ramp, strict=True):
            axis.plot([100 * dot.x_low, 100 * dot.x_high], [100 * dot.y] * 2, color=colour, alpha=0.25, lw=1)
            axis.plot([100 * dot.x] * 2, [100 * dot.y_low, 100 * dot.y_high], color=colour, alpha=0.25, lw=1)
            axis.plot(100 * dot.x, 100 * dot.y, "o", color=colour, ms=6, zorder=3)
            if dot.alpha in (0, 0.5, 1):
                axis.annotate(
                    f"α = {dot.alpha:g}",
                    (100 * dot.x, 100 * dot.y),
                    xytext=(6, -12),
                    textcoords="offset points",
                    fontsize=9,
                )
            words.append(f"{tuned}, α = {dot.alpha:g}: {100 * dot.x:.1f} and {100 * dot.y:.1f} %")
        axis.set(title=f"{short[base]} to {short[tuned]}", xlabel=x, ylabel=y if axis in axes[:, 0] else "")
    return _labelled(
        figure,
        [m for pair in points for m in pair],
        f"Paths of the mixtures in the plane of {x} and {y}. " + _cut(words),
    )


def towers(grids: dict) -> Figure:
    """Change of a target from the base for every share of the fine-tuned image and text tower, in points.

    ``grids[(base, tuned)]`` is from ``grids.tower_target``.
    """
    if not grids:
        return _no_pair()
    figure, axes = _panels(len(grids), 3.3)
    limit = max(max(100 * table.estimate.abs().max() for table in grids.values()), 0.1)
    words, short = [], _short_names(grids)
    for axis, ((base, tuned), table) in zip(axes.flat, grids.items(), strict=False):
        square = 100 * table.pivot(index="alpha_image", columns="alpha_text", values="estimate")
        image = axis.imshow(square, cmap="RdBu", vmin=-limit, vmax=limit, origin="lower")
        steps = range(0, len(square), max(1, (len(square) - 1) // 5))
        axis.set_xticks(steps, [f"{square.columns[at]:g}" for at in steps])
        axis.set_yticks(steps, [f"{square.index[at]:g}" for at in steps])
        axis.set(title=f"{short[base]} to {short[tuned]}", xlabel="α of the text tower")
        if axis in axes[:, 0]:
            axis.set_ylabel("α of the image tower")
        corners = [("image tower alone", 1, 0), ("text tower alone", 0, 1), ("both", 1, 1)]
        words.append(f"{tuned}: " + ", ".join(f"{name} {square.loc[i, j]:+.1f}" for name, i, j in corners))
    used = list(axes.flat[: len(grids)])  # the last row may lack a panel
    figure.colorbar(image, ax=used, label="change from the base (points)", shrink=0.8)
    models = [m for pair in grids for m in pair]
    return _labelled(figure, models, "Heat maps over the shares of the two towers. " + "; ".join(words) + ".")


def barrier(table: pd.DataFrame, one: str, other: str) -> Figure:
    """Accuracy along α between two models without a common base (``finetuning.barrier``); dashed is chance."""
    figure, axes = _figure(1, 1, 2.6)
    axis, words, short = axes[0][0], [], labels([one, other])
    for (name, line), colour, marker in zip(
        table.groupby("question", sort=True), (INSIDE, OUTSIDE), "os", strict=False
    ):
        axis.fill_between(line.alpha, 100 * line.ci_low, 100 * line.ci_high, color=colour, alpha=0.15, lw=0)
        axis.plot(line.alpha, 100 * line.estimate, color=colour, marker=marker, ms=4, lw=1.5, label=name)
        axis.axhline(100 * line.chance.iloc[0], color=colour, lw=1, ls=(0, (2, 1)))
        lowest = line.loc[line.estimate.idxmin()]
        first, last = 100 * line.estimate.iloc[[0, -1]]
        words.append(
            f"{name}: {first:.0f} % and {last:.0f} % at the ends, {100 * lowest.estimate:.0f} % at α = {lowest.alpha:g}"
        )
    axis.set(xlabel=f"α (0: {short[one]}, 1: {short[other]})", ylabel="accuracy (%)", ylim=(0, 100))
    _legend(figure, axis)
    return _labelled(figure, [one, other], "Accuracy of mixtures without a common base. " + "; ".join(words) + ".")


def calibration_along_alpha(tables: dict, colours: dict) -> Figure:
    """Expected calibration error along α with 95 % intervals, and what chance alone would show (dashed)."""
    if not tables:
        return _no_pair()
    figure, axes = _panels(len(tables), 2.5, sharey=True)
    words, short = [], _short_names(tables)
    for axis, ((base, tuned), table) in zip(axes.flat, tables.items(), strict=False):
        axis.fill_between(table.alpha, 100 * table.ci_low, 100 * table.ci_high, color=colours[tuned], alpha=0.2, lw=0)
        axis.plot(table.alpha, 100 * table.estimate, "o-", color=colours[tuned], ms=4, lw=1.4, label="measured")
        axis.plot(table.alpha, 100 * table.noise, color=CHANCE, ls="--", lw=1, label="if perfectly calibrated")
        axis.set(title=f"{short[base]} to {short[tuned]}", xlabel="α (0: base, 1: fine-tuned)", ylim=(0, None))
        ends = table[table.alpha.isin([0, 0.5, 1])]
        words.append(
            f"{tuned}: "
            + ", ".join(f"{100 * e:.1f} at α = {a:g}" for a, e in zip(ends.alpha, ends.estimate, strict=True))
        )
    axes[0][0].set_ylabel("calibration error (points)")
    _legend(figure, axes.flat[0])
    models = [m for pair in tables for m in pair]
    return _labelled(figure, models, "Expected calibration error along α. " + "; ".join(words) + ".")


def _short_names(pairs) -> dict[str, str]:
    """Label of every model of some pairs."""
    return labels(model for pair in pairs for model in pair)


def _no_pair() -> Figure:
    """What stands in a figure of pairs where there is none."""
    return nothing("This run has no pair of a base and a model fine-tuned from it that this figure could show.")
