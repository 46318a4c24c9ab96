"""Lines along a number."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import style
from ..style import GREY
from ..text import need
from .sheet import DASHED, Sheet, logarithmic


@style.styled
def lines(
    table: pd.DataFrame,
    x: str,
    *,
    bars: bool = False,
    chord: bool = False,
    step: bool = False,
    tick: str | None = None,
    line: float | None = None,
    rule: str | None = None,
    log: bool = False,
    axis_label: str = "",
    **shared,
) -> Figure:
    """Lines of ``estimate`` along ``x`` with the bands ``ci_low, ci_high`` where the table has them.

    Parameters
    ----------
    bars : bool
        Upright lines stand in the place of the bands.
    chord : bool
        A dotted line joins the ends of each line.
    step : bool
        The lines are those of a histogram.
    tick : str
        Column of a dashed line beside each line; grey where all are one.
    line, rule : float, str
        A level line, and the column of an upright one.
    log : bool
        The axis of ``x`` is logarithmic.
    axis_label : str
        What ``x`` is.
    **shared
        Options of every kind, see ``dots``.
    """
    need(table, x)
    sheet = Sheet(table, **shared)
    if not sheet.cells:
        return style.nothing(sheet.empty)
    sheet.look()
    sheet.lay_out([sheet.height or 2.6] * len(sheet.cells), sharex=not step, sharey="row" if sheet.row else not step)
    for cell in sheet.cells:
        axis, one_tick = cell.axis, tick and cell.table.groupby(x)[tick].nunique().max() <= 1
        for _, own in cell.table.sort_values(x, kind="stable").groupby("slot"):
            first, at, values = own.iloc[0], own[x].to_numpy(float), sheet.factor * own.estimate.to_numpy(float)
            at = at * np.where(at == at.min(), 1, 1.03**first.aside) if log else at
            if "ci_low" in own:
                low, high = sheet.factor * own.ci_low, sheet.factor * own.ci_high
                if bars:
                    axis.vlines(at, low, high, color=first.paint, lw=2)
                else:
                    axis.fill_between(at, low, high, color=first.paint, alpha=0.14, lw=0)
            how = {"drawstyle": "steps-mid"} if step else {"marker": first["mark"], "ms": 4}
            axis.plot(at, values, color=first.paint, ls=first.dash, lw=1.6, **how)
            if chord:
                axis.plot(at[[0, -1]], values[[0, -1]], color=first.paint, lw=0.8, ls=":")
            if tick:
                paint = GREY if one_tick else first.paint
                axis.plot(at, sheet.factor * own[tick], color=paint, lw=1, ls=DASHED, zorder=1)
            told = own.iloc[sorted({0, len(own) // 2, len(own) - 1})]
            numbers = [f"{sheet.written(one.estimate)} at {one[x]:g}" for _, one in told.iterrows()]
            sheet.tell(first, [], ", ".join(numbers))
        if line is not None:
            axis.axhline(line, color=GREY, lw=1, zorder=1)
        if rule:
            axis.axvline(cell.table[rule].iloc[0], color=GREY, lw=1.5, ls=DASHED)
        if sheet.row and cell.place[0]:
            cell.title = ""
        unit = " (%)" if "(%)" in sheet.label else ""
        axis.set(xlabel=axis_label, ylabel=cell.side + unit if cell.side else sheet.label)
        if sheet.limits:
            axis.set_ylim(sheet.limits)
        axis.grid(color="#EEEEEE")
        if log:
            logarithmic(axis, sorted(set(sheet.table[x])))
        elif pd.api.types.is_integer_dtype(sheet.table[x]):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    entries = [style.mark(sheet.names.get(tick, tick.replace("_", " ")), dash=DASHED)] if tick else []
    return sheet.finish(f"Line plot: {sheet.label}", entries=entries, across=bool(sheet.row) or not step)


def along_ends(table: pd.DataFrame) -> str:
    """What a line between two models says: both ends, and where it is lowest."""
    words = []
    for name, line in table.groupby("question", sort=True):
        lowest, (first, last) = line.loc[line.estimate.idxmin()], 100 * line.estimate.iloc[[0, -1]]
        words.append(
            f"{name}: {first:.0f} % and {last:.0f} % at the ends, {100 * lowest.estimate:.0f} % at α = {lowest.alpha:g}"
        )
    return style.told(words)
