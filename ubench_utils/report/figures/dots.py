"""Dots with intervals on rows."""

from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from .. import style
from ..style import FAINT, GREY, LONG, RULE
from ..text import need
from .sheet import DASHED, Sheet, grouped, rules

JOINT, ALONE = 0.8, 2  # points: thickness of simultaneous intervals, and of those that each stand alone
DOT = {"s": 36, "linewidths": 1.5, "clip_on": False, "zorder": 3}


@style.styled
def dots(
    table: pd.DataFrame,
    y: str,
    *,
    x: str = "estimate",
    faint: str | None = None,
    tick=(),
    line: float | None = None,
    band: float | None = None,
    group: str | None = None,
    beside: bool = True,
    joined: bool = False,
    best_first: bool = False,
    n: str | None = None,
    **shared,
) -> Figure:
    """Dots with intervals on rows, which are the values of ``y``.

    A table has one row a mark; the label of the figure is its alt text. Thick is the interval ``ci_low, ci_high``, thin
    the simultaneous one ``joint_low, joint_high``, where the table has them. Several dots of a row stand ``beside``
    each other, else on one line, which ``joined`` draws.

    Parameters
    ----------
    faint : str
        Column that is true for the marks in grey.
    tick : str or list of str
        Columns that are drawn as ticks, those of chance and truth dashed.
    line, band : float
        A line at a value, and a band to both sides of 0.
    group : str
        Column whose changes are lines between the rows.
    best_first : bool
        Each panel has rows of its own, the largest number first.
    n : str
        Column of counts that stand beside the names of the rows, as in the first panel.

    Other Parameters
    ----------------
    panel, row : str
        Columns whose values have panels of their own, in so many ``columns``; ``row`` makes a grid of them.
    panels : dict
        The values of ``panel`` that are shown, in this order, with their titles.
    colour, shape : str
        Columns whose values differ in colour and mark; ``colours`` gives a value its colour, or colour, mark and dash,
        and marks of values in ``hollow`` are open. A value that is a colour is drawn in it and has no name.
    order, names : list, dict
        Values that come first, and labels in the place of values.
    label : str
        What the numbers are. Shares are drawn times a hundred where it says (%) or (points), unless they are
        ``percent``.
    limits : tuple of float
        Ends of the axis, or of the shades, of the numbers.
    width, height : float
        Inches of the figure, and of a row of dots, bars or cells or a panel of lines or points.
    empty : str
        What stands in the place of a figure of an empty table.
    alt : str
        What the alt text says in the place of the numbers.
    """
    need(table, x, y)
    sheet = Sheet(table, **({"columns": 3 if shared.get("panel") == "level" else 2} | shared))
    if not sheet.cells:
        return style.nothing(sheet.empty)
    for cell in sheet.cells:
        best = cell.table.sort_values(x, ascending=False, kind="stable") if best_first else cell.table
        cell.table = grouped(best, group, sheet.colours)
    sheet.look(y)
    key = [column for column in (sheet.row, sheet.panel, y) if column]
    is_crowded = sheet.table.duplicated([*key, "slot"]).any()
    beside = beside and not joined and not is_crowded and sheet.table.duplicated(key).any()
    slots = sheet.table.slot.max() + 1 if beside else 1
    step = 1 / (slots + 1) if beside else 0.8
    rows = _rows(sheet, y, own=best_first or bool(group))
    names = style.named(sum(rows, []), sheet.names, LONG)
    names = {value: fill(name, 34, break_long_words=False) for value, name in names.items()}
    height = sheet.height or max(0.36 if "\n" in "".join(names.values()) else 0.27, 0.15 * (slots + 1))
    sheet.lay_out([height * len(values) for values in rows], sharex=not best_first)
    counts: dict = {}
    for cell in reversed(sheet.cells) if n else ():  # those of the first panel that has the row
        counts |= cell.table.groupby(y)[n].max().to_dict()
    ticks = [tick] if isinstance(tick, str) else list(tick)
    for cell, values in zip(sheet.cells, rows, strict=True):
        axis, places = cell.axis, {value: place for place, value in enumerate(values)}
        own = cell.table.assign(at=cell.table[y].map(places).astype(float))
        if beside:
            own["at"] += own.aside * step
        if faint:
            own["paint"] = own.paint.mask(own[faint].astype(bool), FAINT)
        for interval, thick in (("joint", JOINT), ("ci", ALONE)):
            if f"{interval}_low" in own:
                low, high = (sheet.factor * own[f"{interval}_{end}"] for end in ("low", "high"))
                axis.hlines(own["at"], low, high, colors=own.paint, lw=thick, clip_on=False, zorder=2)
        how = DOT | ({"alpha": 0.6} if is_crowded and not joined else {})
        for mark, same in own.groupby("mark", sort=False):
            fills = list(same.paint.mask(same.open, "white"))
            axis.scatter(sheet.factor * same[x], same["at"], c=fills, marker=mark, edgecolors=same.paint, **how)
        for column in ticks:
            spans = own.groupby([y, column])["at"].agg(["min", "max"]).reset_index()
            ends = spans["min"] - step / 2, spans["max"] + step / 2
            axis.vlines(sheet.factor * spans[column], *ends, colors=GREY, lw=1.5, linestyles=_dash(column), zorder=1)
        if joined:
            ends = sheet.factor * own.groupby("at")[x].agg(["min", "max"])
            axis.hlines(ends.index, ends["min"], ends["max"], color="#999999", lw=1.2, zorder=1)
        if line is not None:
            axis.axvline(line, color=GREY, lw=1, zorder=1)
        if band is not None:
            axis.axvspan(-band, band, color=RULE, zorder=0)
        rules(axis, own, y, values, group, every=beside, zorder=0)
        axis.grid(axis="x")
        axis.set(ylim=(len(values) - 0.5, -0.5), xlabel=sheet.label)
        if sheet.limits:
            axis.set_xlim(sheet.limits)
        lefts = [f"{names[value]} (n = {counts[value]:,.0f})" if n else names[value] for value in values]
        axis.set_yticks(range(len(values)), lefts if cell.place[1] == 0 or best_first else [""] * len(values))
        axis.tick_params(axis="y", length=0)
        cell.title = ", ".join(filter(None, (cell.side, cell.title)))
        for one in own.to_dict("records"):
            sheet.tell(one, [y], sheet.written(one[x]))
    entries = [style.mark(sheet.names.get(name, name), dash=_dash(name)) for name in ticks]
    return sheet.finish(f"Dot plot: {sheet.label}", y, entries=entries)


def _rows(sheet: Sheet, y: str, own: bool) -> list[list]:
    """The values on the upright axis of each panel: its own as they come, or those of its row of panels."""
    if own:
        return [list(cell.table[y]) for cell in sheet.cells]
    order, rows = [*sheet.order, *sheet.colours], []
    for cell in sheet.cells:
        beside = [one.table[y] for one in sheet.cells if not sheet.row or one.place[0] == cell.place[0]]
        rows.append(style.ordered(pd.concat(beside), order))
    return rows


def _dash(column: str):
    return DASHED if column in ("chance", "truth") else "-"
