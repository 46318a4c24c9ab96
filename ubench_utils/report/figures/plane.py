"""Points in a plane."""

from itertools import product

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .. import style
from ..style import DARK, GREY
from ..text import need
from .rows import by_pair
from .sheet import Sheet, factor, logarithmic

PATH = "#777777"


@style.styled
def plane(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    path: str | None = None,
    to: tuple | None = None,
    note: str | None = None,
    about: str | None = None,
    line: float | None = None,
    log: bool = False,
    axes: tuple = ("", ""),
    **shared,
) -> Figure:
    """Points at two numbers, with upright intervals where the table has them.

    Parameters
    ----------
    path : str
        Column along which points are joined, where it has a value; a dotted line joins the ends.
    to : tuple of str
        Columns of two numbers and a name: an arrow leads from each point to a star there.
    note, about : str
        Columns of what is written beside a point, and of what the alt text says of it.
    line : float
        A level line.
    log : bool
        The axis of ``x`` is logarithmic.
    axes : tuple of str
        The names of the axes, and the units of the numbers.
    **shared
        Options of every kind, see ``dots``.
    """
    need(table, x, y)
    sheet = Sheet(table, **shared)
    if not sheet.cells:
        return style.nothing(sheet.empty)
    sheet.look()
    sheet.lay_out([sheet.height or 3.4] * len(sheet.cells), sharey=log)
    right, up = (factor(label, sheet.percent) for label in axes)
    for cell in sheet.cells:
        axis, own = cell.axis, cell.table
        if path:
            way = own[own[path].notna()].sort_values(path)
            across, along = right * way[x], up * way[y]
            axis.plot(across, along, color=PATH, lw=1, zorder=1)
            axis.plot(across.iloc[[0, -1]], along.iloc[[0, -1]], color=PATH, lw=0.8, ls=":", zorder=1)
        for one in own.to_dict("records"):
            at = (right * one[x] * (1.05 ** one["aside"] if log else 1), up * one[y])
            if "ci_low" in one:
                axis.vlines(at[0], up * one["ci_low"], up * one["ci_high"], color=one["paint"], lw=1.5)
            how = {"ls": "", "ms": 6, "mew": 1.5, "clip_on": False, "zorder": 3}
            axis.plot(*at, one["mark"], color=one["paint"], mfc="white" if one["open"] else one["paint"], **how)
            told = f"{style.written(one[x], axes[0], right)} and {style.written(one[y], axes[1], up)}"
            away, where = (6, 5), {}
            if to:
                end = right * one[to[0]], up * one[to[1]]
                arrow = {"arrowstyle": "-|>", "color": one["paint"], "lw": 2, "shrinkA": 6, "shrinkB": 7}
                axis.annotate("", end, at, arrowprops=arrow)
                away = (0, -8 if end[1] > at[1] else 8)
                where = {"ha": "center", "va": "top" if away[1] < 0 else "bottom"}
                told += f" to {one[to[2]]}, {style.written(end[0], axes[0])} and {style.written(end[1], axes[1])}"
            if note and isinstance(one[note], str):
                how = {"textcoords": "offset points", "fontsize": 9, "annotation_clip": False}
                axis.annotate(one[note], at, away, **how, **where)
            sheet.tell(one, [note if to else about], told)
        if to:
            _stars(axis, own, (x, y), to, (right, up))
        if line is not None:
            axis.axhline(line, color=GREY, lw=1, zorder=1)
        axis.set(xlabel=axes[0], ylabel=axes[1])
        axis.grid()
        if log:
            logarithmic(axis)
    told_by = note if to else None
    return sheet.finish(f"Points in a plane: {' and '.join(filter(None, axes))}", told_by, bottom=False)


def _stars(axis, own, start: tuple, to: tuple, scales: tuple) -> None:
    """Where the arrows of a plane end, named on the side to which they point."""
    for name, arrows in own.groupby(to[2]):
        end = [scale * arrows[column].iloc[0] for scale, column in zip(scales, to[:2], strict=True)]
        axis.plot(*end, "*", color=DARK, ms=13, zorder=4)
        tails = [
            (own[a] - arrows[b].iloc[0]) / np.ptp(own[[a, b]].to_numpy()) for a, b in zip(start, to[:2], strict=True)
        ]
        far = np.hypot(*tails).to_numpy()
        here = (own[to[2]] == name).to_numpy() | (far < 0.2)  # what leads here, and what stands near
        tails = (np.column_stack(tails) / far[:, None])[here]
        side = min(product((1, -1), (-1, 1)), key=lambda corner: (tails @ corner).max())  # where no arrow comes from
        sides = {"ha": "left" if side[0] > 0 else "right", "va": "bottom" if side[1] > 0 else "top"}
        away, text = (7 * side[0], 5 * side[1]), name.replace("+", " +\n")
        axis.annotate(text, end, away, textcoords="offset points", fontsize=9, **sides)
    axis.margins(0.22, 0.2)


def fronts(points: dict, others: dict, colours: dict, **how) -> Figure:
    """Gain against what is kept, by pair: the path along α with its Pareto front, and other ways to combine.

    ``points`` holds tables of ``alpha, kept, gain, on_front``, ``others`` of ``way, kept, gain``.
    """
    on, off, tables = "α on the Pareto front", "other α", {}
    for (base, tuned), table in points.items():
        if table[["kept", "gain"]].notna().all(axis=None):
            notes = [f"α = {alpha:g}" if alpha in (0, 0.5, 1) else None for alpha in table.alpha]
            path = table.assign(way=np.where(table.on_front, on, off), note=notes)
            path["paint"] = sns.blend_palette([colours[base], colours[tuned]], len(table)).as_hex()
            tables[base, tuned] = pd.concat([path, others[base, tuned].assign(paint=DARK)], ignore_index=True)
    marks = dict.fromkeys((on, off), (PATH, "o", "-"))
    shown = {"panel": "pair", "colour": "paint", "shape": "way", "colours": marks, "hollow": [off], "height": 4.2}
    return plane(by_pair(tables), "kept", "gain", path="alpha", note="note", **shown, **how)
