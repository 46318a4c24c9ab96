"""Five kinds of figure, which draw every table of numbers: dots, lines, heat maps, bars, and points in a plane.

A kind takes a table, one row a mark, and the names of its columns; it returns a figure whose label is its alt text.
Options that several kinds share:

panel, row : str
    Columns whose values have panels of their own; ``row`` makes a grid of them.
panels : dict
    The values of ``panel`` that are shown, in this order, with their titles.
colour, shape : str
    Columns whose values differ in colour and mark; ``colours`` gives a value its colour, or colour, mark and dash.
order, names : list, dict
    Values that come first, and labels in the place of values.
label : str
    What the numbers are. Shares are drawn times a hundred where it says (%) or (points), unless they are ``percent``.
empty : str
    What stands in the place of a figure of an empty table.
alt : str
    What the alt text says in the place of the numbers; ``telling`` is a column that is true where a number is told.
"""

from dataclasses import dataclass, replace
from itertools import pairwise, product
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullLocator

from . import style
from .style import DARK, FAINT, GREY, LONG, RULE, WIDTH
from .text import fixed

DASHED, THIN, THICK = (0, (2, 1)), 0.8, 2
DOT = {"ls": "", "ms": 6, "mew": 1.5, "clip_on": False, "zorder": 3}
CENTRED = {"ha": "center", "va": "center", "fontsize": 8.5}
MESH = {"edgecolors": "w", "linewidth": 0.8}


@dataclass
class Panel:
    """One panel: its rows of the table, its place in the grid, its title, and the axis, once there is a figure."""

    table: pd.DataFrame
    place: tuple
    title: str
    side: str = ""
    axis: object = None


def by_pair(tables: dict) -> pd.DataFrame:
    """One table of the tables of pairs ``(base, tuned)``, with ``reference, model`` and ``pair``, which names both."""
    short = style.named(name for pair in tables for name in pair)
    parts = [
        table.assign(reference=base, model=tuned, pair=f"{short[base]} to {short[tuned]}")
        for (base, tuned), table in tables.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Estimates and intervals above chance: 0 is chance, 1 is every answer right."""
    scaled = {name: (table[name] - table.chance) / (1 - table.chance) for name in ("estimate", "ci_low", "ci_high")}
    return table.assign(**scaled)


@style.styled
def dots(
    table: pd.DataFrame,
    y: str,
    *,
    x: str = "estimate",
    panel: str | None = None,
    row: str | None = None,
    panels: dict | None = None,
    colour: str | None = "model",
    shape: str | None = None,
    colours: dict | None = None,
    hollow=(),
    faint: str | None = None,
    tick=(),
    line: float | None = None,
    band: float | None = None,
    group: str | None = None,
    beside: bool = True,
    joined: bool = False,
    best_first: bool = False,
    n: str | None = None,
    order=(),
    names: dict | None = None,
    label: str = "accuracy (%)",
    limits: tuple | None = None,
    percent: bool = False,
    width: float = WIDTH,
    height: float | None = None,
    empty: str = "",
    alt: str | None = None,
) -> Figure:
    """Dots with intervals on rows, which are the values of ``y``.

    Thick is the interval ``ci_low, ci_high``, thin the simultaneous one ``joint_low, joint_high``, where the table has
    them. Several dots of a row stand ``beside`` each other, else on one line, which ``joined`` draws.

    Parameters
    ----------
    hollow : collection
        Values of ``shape`` or ``colour`` whose marks are open.
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
    height : float
        Inches of a row.
    """
    names = _names(panel, names, panels)
    cells = _cells(table, panel, row, panels, names, 3 if panel == "level" else 2)
    for cell in cells:
        best = cell.table.sort_values(x, ascending=False, kind="stable") if best_first else cell.table
        cell.table = _grouped(best, group, colours)
    if not cells:
        return style.nothing(empty)
    table, looks = _look(cells, y, colour, shape, colours, order)
    beside = beside and not joined and bool(table.duplicated([*filter(None, (panel, row)), y]).any())
    slots = table.slot.max() + 1 if beside else 1
    step = 1 / (slots + 1) if beside else 0.8
    rows = _rows(cells, y, [*order, *(colours or ())], row, best_first or bool(group))
    short = {value: _name(text) for value, text in style.named(sum(rows, []), names, LONG).items()}
    inches = height or max(0.36 if "\n" in "".join(short.values()) else 0.27, 0.15 * (slots + 1))
    figure = _figure(cells, [inches * len(values) for values in rows], width, sharex=not best_first)
    counts = {}
    for cell in reversed(cells) if n else ():  # those of the first panel that has the row
        counts |= cell.table.groupby(y)[n].max().to_dict()
    scale, words, ticks = _scale(label, percent), [], [tick] if isinstance(tick, str) else list(tick)
    crowd = 0.6 if not beside and not joined and table.duplicated([*filter(None, (panel, row)), y, "slot"]).any() else 1
    for cell, values in zip(cells, rows, strict=True):
        axis, places = cell.axis, {value: place for place, value in enumerate(values)}
        own = cell.table.assign(at=cell.table[y].map(places).astype(float))
        own["at"] += (own.slot - (slots - 1) / 2) * step if beside else 0
        for one in own.to_dict("records"):
            paint, is_open = FAINT if faint and one[faint] else one["paint"], one["open"] in hollow
            _interval(axis, one, one["at"], paint, scale)
            fill_ = "white" if is_open else paint
            axis.plot(scale * one[x], one["at"], one["mark"], color=paint, mfc=fill_, alpha=crowd, **DOT)
            words.append(_word(one, [row, panel, y, *looks], names, style.written(one[x], label, scale)))
        for name, (_, marks) in product(ticks, own.groupby(y)):
            for value, at in marks.groupby(name)["at"]:
                ends = [at.min() - step / 2, at.max() + step / 2]
                axis.plot([scale * value] * 2, ends, color=GREY, lw=1.5, ls=_dash(name), zorder=1)
        if joined:
            ends = scale * own.groupby("at")[x].agg(["min", "max"])
            axis.hlines(ends.index, ends["min"], ends["max"], color="#999999", lw=1.2, zorder=1)
        if line is not None:
            axis.axvline(line, color=GREY, lw=1, zorder=1)
        if band is not None:
            axis.axvspan(-band, band, color=RULE, zorder=0)
        _rules(axis, own, y, values, group, beside)
        axis.grid(axis="x")
        side = f"{cell.side}, " if cell.side else ""
        _title(cells, cell, side)
        axis.set(ylim=(len(values) - 0.5, -0.5), xlabel=label)
        axis.set_xlim(limits) if limits else None
        lefts = [f"{short[value]} (n = {counts[value]:,.0f})" if n else short[value] for value in values]
        axis.set_yticks(range(len(values)), lefts if cell.place[1] == 0 or best_first else [""] * len(values))
        axis.tick_params(axis="y", length=0)
    _inner(cells)
    entries = [style.mark((names or {}).get(name, name), dash=_dash(name)) for name in ticks]
    style.key(figure, _key(looks, y, colour, shape, names, hollow) + entries)
    return style.describe(figure, f"Dot plot: {label}", table, words, alt)


@style.styled
def lines(
    table: pd.DataFrame,
    x: str,
    *,
    y: str = "estimate",
    panel: str | None = None,
    row: str | None = None,
    panels: dict | None = None,
    colour: str = "model",
    shape: str | None = None,
    colours: dict | None = None,
    bars: bool = False,
    chord: bool = False,
    step: bool = False,
    tick: str | None = None,
    line: float | None = None,
    rule: str | None = None,
    log: bool = False,
    names: dict | None = None,
    axis_label: str = "",
    label: str = "accuracy (%)",
    limits: tuple | None = None,
    columns: int = 2,
    height: float = 2.6,
    empty: str = "",
    alt: str | None = None,
) -> Figure:
    """Lines along ``x`` with the bands ``ci_low, ci_high`` where the table has them, or ``bars`` instead of bands.

    Parameters
    ----------
    chord : bool
        A dotted line joins the ends of each line.
    step : bool
        The lines are those of a histogram.
    tick : str
        Column of a dashed line beside each line; grey where all are one.
    line, rule : float, str
        A level line, and the column of an upright one.
    height : float
        Inches of a panel.
    """
    names = _names(panel, names, panels)
    cells = _cells(table, panel, row, panels, names, columns)
    if not cells:
        return style.nothing(empty)
    table, looks = _look(cells, "", colour, shape, colours, ())
    figure = _figure(cells, [height] * len(cells), WIDTH, sharex=not step, sharey="row" if row else not step)
    scale, words, slots = _scale(label), [], table.slot.max() + 1
    for cell in cells:
        axis, one_tick = cell.axis, tick and cell.table.groupby(x)[tick].nunique().max() <= 1
        for slot, own in cell.table.sort_values(x, kind="stable").groupby("slot"):
            first, at, values = own.iloc[0], own[x].to_numpy(float), scale * own[y].to_numpy(float)
            at = at * np.where(at == at.min(), 1, 1.03 ** (slot - (slots - 1) / 2)) if log else at
            if "ci_low" in own and bars:
                axis.vlines(at, scale * own.ci_low, scale * own.ci_high, color=first.paint, lw=THICK)
            elif "ci_low" in own:
                low, high = scale * own.ci_low, scale * own.ci_high
                axis.fill_between(at, low, high, color=first.paint, alpha=0.14, lw=0)
            how = {"drawstyle": "steps-mid"} if step else {"marker": first["mark"], "ms": 4}
            axis.plot(at, values, color=first.paint, ls=first.dash, lw=1.6, **how)
            if chord:
                axis.plot(at[[0, -1]], values[[0, -1]], color=first.paint, lw=0.8, ls=":")
            if tick:
                axis.plot(at, scale * own[tick], color=GREY if one_tick else first.paint, lw=1, ls=DASHED, zorder=1)
            told = own.iloc[sorted({0, len(own) // 2, len(own) - 1})]
            numbers = [f"{style.written(one[y], label, scale)} at {one[x]:g}" for _, one in told.iterrows()]
            words.append(_word(first, [row, panel, *looks], names, ", ".join(numbers)))
        if line is not None:
            axis.axhline(line, color=GREY, lw=1, zorder=1)
        if rule:
            axis.axvline(cell.table[rule].iloc[0], color=GREY, lw=1.5, ls=DASHED)
        if not row or cell.place[0] == 0:
            _title(cells, cell)
        unit = " (%)" if "(%)" in label else ""
        axis.set(xlabel=axis_label, ylabel=fill(cell.side + unit, 22) if cell.side else label)
        axis.set_ylim(limits) if limits else None
        axis.grid(color="#EEEEEE")
        _log(axis, sorted(set(table[x]))) if log else None
        if pd.api.types.is_integer_dtype(table[x]) and not log:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _inner(cells, across=bool(row) or not step)
    entries = [style.mark((names or {}).get(tick, tick.replace("_", " ")), dash=DASHED)] if tick else []
    style.key(figure, _key(looks, "", colour, shape, names, ()) + entries)
    return style.describe(figure, f"Line plot: {label}", table, words, alt)


@style.styled
def heatmap(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    value: str = "estimate",
    paint: str | None = None,
    text: str | None = None,
    panel: str | None = None,
    panels: dict | None = None,
    group: str | None = None,
    bar: str = "",
    order=(),
    names: dict | None = None,
    axes: tuple = ("", ""),
    label: str = "accuracy (%)",
    limits: tuple | None = None,
    percent: bool = False,
    columns: int = 1,
    height: float = 0.27,
    telling: str | None = None,
    empty: str = "",
    alt: str | None = None,
) -> Figure:
    """A cell for each pair of values of ``x`` and ``y``, shaded by ``paint`` (by default the number itself).

    Shades run from white, or to both sides of 0 where ``limits``, or the numbers, lie on both sides.

    Parameters
    ----------
    text : str
        Column of what is written in the cells; by default the number, and nothing where there is a ``bar`` alone.
    group : str
        Column whose changes are lines between the rows.
    bar : str
        The name of the scale of shades, where one is drawn.
    height : float
        Inches of a row.
    """
    names = _names(panel, names, panels)
    cells = _cells(table, panel, None, panels, names, columns)
    if not cells:
        return style.nothing(empty)
    scale, shade, words = _scale(label, percent), paint or value, []
    across, down = style.ordered(table[x], order), style.ordered(table[y], order)
    times = 1 if paint else scale
    ends = limits or (times * table[shade].min(), times * table[shade].max())
    ends = (-max(map(abs, ends)), max(map(abs, ends))) if ends[0] < 0 else (0, ends[1])
    tops = style.named(across, names, LONG)
    letters = max(len(str(name)) for name in tops.values())
    wide = 0.065 * len(across) * letters > 4.4 / min(columns, len(cells))
    inches = height * len(down) + (max(0.6, 0.04 * letters) if wide and columns > 1 else 0)
    figure = _figure(cells, [inches] * len(cells), WIDTH, sharex=columns == 1)
    sides = style.named(down, names, LONG if columns == 1 else 26)
    for cell in cells:
        axis, own = cell.axis, cell.table
        square = own.pivot(index=y, columns=x, values=shade).reindex(index=down, columns=across).astype(float)
        square *= times
        mesh = axis.pcolormesh(square, cmap="RdBu" if ends[0] < 0 else "Blues", vmin=ends[0], vmax=ends[1], **MESH)
        for one in own.to_dict("records"):
            i, j = down.index(one[y]), across.index(one[x])
            written = one[text] if text else f"{scale * one[value]:.0f}"
            if text or not (bar and not paint):
                number = square.iloc[i, j]
                ink = _ink(mesh.to_rgba(number)) if pd.notna(number) else "#777777"
                axis.text(j + 0.5, i + 0.5, written, color=ink, **CENTRED)
            if not telling or one[telling]:
                words.append(_word(one, [panel, y, x], names, style.written(one[value], label, scale)))
        _rules(axis, own if panel is None else table, y, down, group, False, 1)
        _title(cells, cell)
        axis.set(ylim=(len(down), 0), xlabel=axes[0], ylabel=axes[1])
        turn = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if wide else {}
        axis.set_xticks(np.arange(len(across)) + 0.5, [tops[name] for name in across], **turn)
        axis.set_yticks(np.arange(len(down)) + 0.5, [sides[name] for name in down])
        axis.tick_params(length=0, labelsize=9)
        axis.spines[:].set_visible(False)
    _inner(cells)
    if bar:
        figure.colorbar(mesh, ax=[cell.axis for cell in cells], label=bar, shrink=0.8, aspect=30).outline.set_visible(
            False
        )
    return style.describe(figure, f"Heat map: {label}", table, words, alt)


@style.styled
def bars(
    table: pd.DataFrame,
    y: str,
    *,
    x: str = "estimate",
    panel: str | None = None,
    colour: str | None = None,
    colours: dict | None = None,
    text: str | None = None,
    group: str | None = None,
    names: dict | None = None,
    label: str = "",
    limits: tuple | None = None,
    picture=None,
    legend: bool = True,
    height: float = 0.27,
    empty: str = "",
    alt: str | None = None,
) -> Figure:
    """Bars, a row a value of ``y``; several of a row are stacked.

    Parameters
    ----------
    text : str
        Column of what is written behind a bar; in stacked ones stand their numbers.
    group : str
        Column whose changes are lines between the rows.
    picture : array
        An image that is shown on the left.
    legend : bool
        Whether colours have a legend.
    height : float
        Inches of a row.
    """
    cells = _cells(_grouped(table, group, colours), panel, None, None, names, 1)
    if not cells:
        return style.nothing(empty)
    table, looks = _look(cells, y, colour, None, colours, ())
    rows = [list(dict.fromkeys(cell.table[y])) for cell in cells]
    figure = _figure(cells, [height * len(values) for values in rows], WIDTH, picture is not None, sharex=True)
    scale, words = _scale(label), []
    stacked = table.duplicated([*filter(None, (panel,)), y]).any()
    end = limits[1] if limits else 1.02 * scale * table.groupby([*filter(None, (panel,)), y])[x].sum().max()
    for cell, values in zip(cells, rows, strict=True):
        left = dict.fromkeys(values, 0.0)
        for one in cell.table.sort_values("slot", kind="stable").to_dict("records"):
            at, size = values.index(one[y]), scale * one[x]
            cell.axis.barh(at, size, left=left[one[y]], color=one["paint"], height=0.72)
            if stacked and size >= 0.04 * end:
                ink = _ink(one["paint"])
                cell.axis.text(left[one[y]] + size / 2, at, f"{size:.0f}", color=ink, **CENTRED)
            elif text:
                cell.axis.text(size, at, f" {one[text]}", va="center", fontsize=9)
            left[one[y]] += size
            words.append(_word(one, [panel, y, *(looks if legend else [])], names, style.written(one[x], label, scale)))
        _rules(cell.axis, cell.table, y, values, group, False)
        short = style.named(values, names, LONG)
        cell.axis.set_yticks(range(len(values)), [short[value] for value in values])
        _title(cells, cell)
        cell.axis.set(ylim=(len(values) - 0.5, -0.5), xlim=(0, end), xlabel=label)
        cell.axis.tick_params(axis="y", length=0)
    if picture is not None:
        figure.axes[0].imshow(np.asarray(picture), interpolation="nearest")
        figure.axes[0].axis("off")
    _inner(cells)
    squares = {key: {value: (look[0], "s", "") for value, look in found.items()} for key, found in looks.items()}
    style.key(figure, _key(squares, y, colour, None, names, ()) if legend else [])
    return style.describe(figure, f"Bar chart: {label}", table, words, alt)


@style.styled
def plane(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    panel: str | None = None,
    panels: dict | None = None,
    colour: str | None = "model",
    shape: str | None = None,
    colours: dict | None = None,
    hollow=(),
    path: str | None = None,
    to: tuple | None = None,
    note: str | None = None,
    about: str | None = None,
    line: float | None = None,
    log: bool = False,
    names: dict | None = None,
    labels: tuple = ("", ""),
    percent: bool = False,
    columns: int = 2,
    width: float = WIDTH,
    height: float = 3.4,
    empty: str = "",
    alt: str | None = None,
) -> Figure:
    """Points at two numbers, with upright intervals where the table has them.

    Parameters
    ----------
    hollow : collection
        Values of ``shape`` whose marks are open.
    path : str
        Column along which points are joined, where it has a value; a dotted line joins the ends.
    to : tuple of str
        Columns of two numbers and a name: an arrow leads from each point to a star there.
    note, about : str
        Columns of what is written beside a point, and of what the alt text says of it.
    labels : tuple of str
        The axes.
    height : float
        Inches of a panel.
    """
    names = _names(panel, names, panels)
    cells = _cells(table, panel, None, panels, names, columns)
    if not cells:
        return style.nothing(empty)
    table, looks = _look(cells, "", colour, shape, colours, ())
    figure = _figure(cells, [height] * len(cells), width, sharey=log)
    right, up, words, slots = _scale(labels[0], percent), _scale(labels[1], percent), [], table.slot.max() + 1
    for cell in cells:
        axis, own = cell.axis, cell.table
        if path:
            way = own[own[path].notna()].sort_values(path)
            axis.plot(right * way[x], up * way[y], color="#777777", lw=1, zorder=1)
            axis.plot(
                right * way[x].iloc[[0, -1]], up * way[y].iloc[[0, -1]], color="#777777", lw=0.8, ls=":", zorder=1
            )
        for one in own.to_dict("records"):
            at = (right * one[x] * (1.05 ** (one["slot"] - (slots - 1) / 2) if log else 1), up * one[y])
            if "ci_low" in one:
                axis.vlines(at[0], up * one["ci_low"], up * one["ci_high"], color=one["paint"], lw=1.5)
            fill_ = "white" if one["open"] in hollow else one["paint"]
            axis.plot(*at, one["mark"], color=one["paint"], mfc=fill_, **DOT)
            if note and isinstance(one[note], str):
                away = (6, 5) if not to else (0, -8 if one[to[1]] > one[y] else 8)
                where = {"ha": "center", "va": "top" if away[1] < 0 else "bottom"} if to else {}
                axis.annotate(
                    one[note], at, away, textcoords="offset points", fontsize=9, annotation_clip=False, **where
                )
            if to:
                ends = {"arrowstyle": "-|>", "color": one["paint"], "lw": 2, "shrinkA": 6, "shrinkB": 7}
                axis.annotate("", (right * one[to[0]], up * one[to[1]]), at, arrowprops=ends)
            numbers = [one[x], one[y], *((one[to[0]], one[to[1]]) if to else ())]
            units = [(labels[0], right), (labels[1], up)] * 2
            written = [style.written(number, *unit) for number, unit in zip(numbers, units, strict=False)]
            told = " and ".join(written[:2]) + (f" to {one[to[2]]}, {' and '.join(written[2:])}" if to else "")
            words.append(_word(one, [panel, note if to else about, *looks], names, told))
        if to:
            _stars(axis, own, (x, y), to, (right, up))
        if line is not None:
            axis.axhline(line, color=GREY, lw=1, zorder=1)
        _title(cells, cell)
        axis.set(xlabel=labels[0], ylabel=labels[1])
        axis.grid()
        _log(axis) if log else None
    _inner(cells, bottom=False)
    style.key(figure, _key(looks, note if to else "", colour, shape, names, hollow))
    return style.describe(figure, f"Points in a plane: {' and '.join(filter(None, labels))}", table, words, alt)


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


def _cells(table, panel, row, panels, names, columns) -> list[Panel]:
    """The panels of a table that hold something, in so many columns, or in the grid of ``row`` and ``panel``."""
    if panels and len(table):
        table = table[table[panel].isin(list(panels))]
    if table.empty:
        return []
    tops = style.ordered(table[row]) if row else [None]
    sides = style.ordered(table[panel], panels or ()) if panel else [None]
    short = style.named(sides, names, LONG)
    cells = []
    for (i, top), (j, side) in product(enumerate(tops), enumerate(sides)):
        own = table[((table[row] == top) if row else True) & (table[panel] == side)] if panel else table
        cell = Panel(own, (i, j) if row else divmod(j, columns), short[side] if panel else "")
        cells += [replace(cell, side=style.named(tops, names)[top] if row else "")] if len(own) else []
    return cells


def _names(panel: str | None, names: dict | None, panels: dict | None) -> dict:
    return {**(style.LEVELS if panel == "level" else {}), **(names or {}), **(panels or {})}


def _figure(cells: list[Panel], inches: list, width: float, picture: bool = False, **how) -> Figure:
    """A figure with an axis for each panel; ``inches`` is the height of each, without what stands around it."""
    n_rows, n_columns = (1 + max(cell.place[side] for cell in cells) for side in (0, 1))
    heights = [0.0] * n_rows
    for cell, height in zip(cells, inches, strict=True):
        heights[cell.place[0]] = max(heights[cell.place[0]], height)
    around = 0.35 if any(cell.title or cell.side for cell in cells) else 0.05
    figure = Figure(figsize=(width, sum(heights) + around * n_rows + 0.85), layout="constrained")
    how |= {"width_ratios": [1, 1.3]} if picture else {}
    grid = {"squeeze": False, "height_ratios": [height + 0.05 for height in heights], **how}
    axes = figure.subplots(n_rows, n_columns + picture, **grid)
    for cell in cells:
        cell.axis = axes[cell.place[0], cell.place[1] + picture]
    used = {cell.axis for cell in cells}
    for axis in axes[:, picture:].flat:
        axis.remove() if axis not in used else None
    return figure


def _look(cells: list[Panel], y: str, colour, shape, colours, order) -> tuple[pd.DataFrame, dict]:
    """All rows, with ``paint, mark, dash, open`` and the ``slot`` of each series; and the looks of each column."""
    table = pd.concat([cell.table for cell in cells])
    looks = {}
    for key in dict.fromkeys(filter(None, (colour, shape))):
        values = style.ordered(table[key], [*(colours or ()), *order])
        own = style.colours(values) if key == "model" else {}
        looks[key] = style.looks(values, own | (colours or {}), key == shape)
    first, last = colour or shape, shape or colour
    series = [key for key in looks if key != y]
    places = {key: {value: place for place, value in enumerate(looks[key])} for key in series}
    seen = sorted(set(zip(*(table[key].map(places[key]) for key in series), strict=True))) if series else []
    for cell in cells:
        own = cell.table.copy()
        own["paint"] = own[colour].map(lambda value: looks[first][value][0]) if colour else style.BLUE
        own["mark"], own["dash"] = (
            own[last].map(lambda value, i=i: looks[last][value][i]) if last else "o-"[i - 1] for i in (1, 2)
        )
        own["open"] = own[last] if last else None
        keys = zip(*(own[key].map(places[key]) for key in series), strict=True) if series else [0] * len(own)
        own["slot"] = [seen.index(one) if series else 0 for one in keys]
        cell.table = own
    return pd.concat([cell.table for cell in cells]), looks


def _grouped(table, group: str | None, colours) -> pd.DataFrame:
    """The rows with those of one group together."""
    if not group or table.empty:
        return table
    places = {value: place for place, value in enumerate(style.ordered(table[group], colours or ()))}
    return table.sort_values(group, key=lambda values: values.map(places), kind="stable")


def _rows(cells: list[Panel], y: str, order: list, row: str | None, as_they_come: bool) -> list[list]:
    """The values on the upright axis of each panel: its own, or those of its row of panels."""
    if as_they_come:
        return [list(cell.table[y]) for cell in cells]
    shared = [[one for one in cells if not row or one.place[0] == cell.place[0]] for cell in cells]
    return [style.ordered(pd.concat([one.table for one in found])[y], order) for found in shared]


def _interval(axis, one: dict, at: float, paint: str, scale: float) -> None:
    for name, thick in (("joint", THIN), ("ci", THICK)):
        if f"{name}_low" in one:
            ends = [scale * one[f"{name}_low"], scale * one[f"{name}_high"]]
            axis.plot(ends, [at, at], color=paint, lw=thick, solid_capstyle="butt", clip_on=False, zorder=2)


def _rules(axis, own, y: str, values: list, group: str | None, every: bool, shift: float = 0.5) -> None:
    """Lines between the rows of an axis: dark where the group changes, faint between rows of several dots."""
    kinds = own.drop_duplicates(y).set_index(y)[group].reindex(values).tolist() if group else [None] * len(values)
    for place, (one, next_) in enumerate(pairwise(kinds)):
        if one != next_ or every:
            axis.axhline(place + shift, color="#AAAAAA" if one != next_ else RULE, lw=0.8, zorder=3 * (shift == 1))


def _name(text: str) -> str:
    """A name on two lines where it is long."""
    return fill(text, 34, break_long_words=False)


def _title(cells: list[Panel], cell: Panel, before: str = "") -> None:
    n_columns = 1 + max(cell.place[1] for cell in cells)
    text = fill(before + cell.title, {1: 70, 2: 32}.get(n_columns, 26))
    cell.axis.set_title(text, fontsize=10.5 if n_columns < 3 else 8.5)


def _inner(cells: list[Panel], bottom: bool = True, across: bool = True) -> None:
    """Labels of axes stand at the left, and below the lowest panel of each column."""
    for cell in cells:
        i, j = cell.place
        if j and across:
            cell.axis.set_ylabel("")
            cell.axis.tick_params(labelleft=False) if cell.axis.get_shared_y_axes().get_siblings(cell.axis)[
                1:
            ] else None
        lower = any(other.place == (i + 1, j) for other in cells)
        if bottom and lower:
            cell.axis.set_xlabel("")
        elif not lower:
            cell.axis.tick_params(labelbottom=True)


def _log(axis, ticks=None) -> None:
    """A logarithmic axis with plain numbers, at ``ticks`` where they are given."""
    axis.set_xscale("log")
    if ticks:
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(LogFormatter())  # names a few where an axis is short, in plain digits


def _key(looks: dict, y: str, colour, shape, names, hollow) -> list:
    """Entries of the legend for the columns that no axis names, but for colours that are values themselves."""
    entries = []
    for key, found in looks.items():
        if key == y or len(found) < 2 or str(next(iter(found))).startswith("#"):
            continue
        for value, text in style.named(found, names, 48).items():
            paint, marker, dash = found[value]
            paint, marker = paint if key == colour else GREY, marker if key == (shape or colour) else ""
            dash = dash if key == colour else ""
            entries.append(style.mark(text, paint, marker, dash, "white" if value in hollow else None))
    return entries


def _word(one, columns, names, number: str) -> str:
    """A number of the alt text, after the values that say which it is."""
    values = dict.fromkeys(one[column] for column in columns if column)
    said = [str((names or {}).get(value, value)) for value in values if not str(value).startswith("#")]
    return f"{', '.join(filter(None, said))}: {number}" if said else number


def _scale(label: str, percent: bool = False) -> int:
    return 100 if not percent and any(unit in label for unit in ("(%)", "(points)")) else 1


def _ink(paint) -> str:
    """White on a dark colour, dark on a light one."""
    return "w" if np.dot(to_rgb(paint), [0.299, 0.587, 0.114]) < 0.55 else DARK


def _dash(name: str):
    return DASHED if name in ("chance", "truth") else "-"


def asked(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the question type of each row in words, ``asked``; of a level of one type, that type alone."""
    if table.empty:
        return table
    types = table[table.question != "all"].groupby("level").question.nunique()
    rows = table[(table.question != "all") | (table.level.map(types).fillna(0) != 1)]
    rows = rows.assign(asked=rows.question.where(rows.question != "all", "all " + rows.level))
    order = style.ordered(rows.asked, ["all coarse", "all fine", "all cognition"])
    return rows.sort_values("asked", key=lambda names: names.map(order.index), kind="stable")


def pooled(table: pd.DataFrame, most: int = 12) -> pd.DataFrame:
    """Of each facet the most frequent values; the others are one row, whose sub-datasets are not stated.

    They cannot be added up: a sub-dataset that holds two of the values would count twice.
    """
    parts = []
    for facet, rows in table.groupby("facet", sort=False):
        rest = rows.iloc[most - 1 :] if len(rows) > most else rows.iloc[:0]
        other = {"facet": facet, "value": f"{len(rest)} others", "images": rest.images.sum(), "datasets": 0}
        parts += [rows.drop(rest.index), pd.DataFrame([other] if len(rest) else [])]
    return pd.concat(parts, ignore_index=True)


def change_map(cells: pd.DataFrame, **how) -> Figure:
    """Every change of pairs (``by_pair``), slices by question types: a star stands after the correction over a pair.

    Cells of too few images (``small``) are in brackets, without a shade.
    """
    if cells.empty:
        return heatmap(cells, "asked", "slice", **how)
    order = {by: place for place, by in enumerate(("all", "where", "modality", "scale", "dataset"))}
    rows = asked(cells).sort_values("by", key=lambda by: by.map(order), kind="stable")
    numbers = [fixed(change, 0, "+").replace("+0", "0").replace("−0", "0") for change in 100 * rows.estimate]
    firm = rows.p_adjusted < 0.05
    texts = [f"{number}{'*' * star}" for number, star in zip(numbers, firm, strict=True)]
    texts = [f"({text})" if small else text for text, small in zip(texts, rows.small, strict=True)]
    rows = rows.assign(text=texts, shade=(100 * rows.estimate).where(~rows.small), firm=firm)
    how = {"panel": "pair", "paint": "shade", "text": "text", "group": "by", "telling": "firm", "height": 0.24} | how
    how["order"] = list(dict.fromkeys(rows.slice))
    return heatmap(rows, "asked", "slice", label="change (points)", **how)


def fronts(points: dict, others: dict, colours: dict, **how) -> Figure:
    """Gain against what is kept, by pair: the path along α with its Pareto front, and other ways to combine.

    ``points`` holds tables of ``alpha, kept, gain, on_front``, ``others`` of ``way, kept, gain``.
    """
    on, off, tables = "α on the Pareto front", "other α", {}
    for (base, tuned), table in points.items():
        if table[["kept", "gain"]].notna().all(axis=None):
            notes = [f"α = {alpha:g}" if alpha in (0, 0.5, 1) else None for alpha in table.alpha]
            path = table.assign(way=np.where(table.on_front, on, off), note=notes)
            path["paint"] = style.blend(colours[base], colours[tuned], len(table))
            tables[base, tuned] = pd.concat([path, others[base, tuned].assign(paint=DARK)], ignore_index=True)
    marks = dict.fromkeys((on, off), ("#777777", "o", "-"))
    table = by_pair(tables)
    return plane(
        table,
        "kept",
        "gain",
        panel="pair",
        colour="paint",
        shape="way",
        colours=marks,
        hollow=[off],
        path="alpha",
        note="note",
        height=4.2,
        **how,
    )


def along_ends(table: pd.DataFrame) -> str:
    """What a line between two models says: both ends, and where it is lowest."""
    words = []
    for name, line in table.groupby("question", sort=True):
        lowest, (first, last) = line.loc[line.estimate.idxmin()], 100 * line.estimate.iloc[[0, -1]]
        words.append(
            f"{name}: {first:.0f} % and {last:.0f} % at the ends, {100 * lowest.estimate:.0f} % at α = {lowest.alpha:g}"
        )
    return style.told(words)
