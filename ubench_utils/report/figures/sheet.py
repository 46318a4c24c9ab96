"""What all kinds of figure share: options, panels in a grid, looks, names, the legend and the alt text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.textpath import text_to_path
from matplotlib.ticker import LogFormatter, NullLocator

from .. import style
from ..style import DARK, GREY, LONG, RULE, WIDTH
from ..text import need

DASHED = (0, (2, 1))
CENTRED = {"ha": "center", "va": "center", "fontsize": 8.5}


@dataclass
class Panel:
    """One panel: its rows of the table, its place in the grid, its title and that of its row, and its axis."""

    table: pd.DataFrame
    place: tuple[int, int]
    title: str
    side: str
    axis: Any = None


@dataclass
class Sheet:
    """A figure in the making: the options that all kinds have, which ``dots`` explains, and the panels of its table."""

    table: pd.DataFrame
    panel: str | None = None
    row: str | None = None
    panels: dict = field(default_factory=dict)
    columns: int = 2
    colour: str | None = "model"
    shape: str | None = None
    colours: dict = field(default_factory=dict)
    hollow: Collection = ()
    order: Sequence = ()
    names: dict = field(default_factory=dict)
    label: str = "accuracy (%)"
    limits: tuple | None = None
    percent: bool = False
    width: float = WIDTH
    height: float | None = None
    empty: str = ""
    alt: str | None = None
    factor: int = field(init=False)
    cells: list[Panel] = field(init=False)
    looks: dict[str, dict] = field(init=False, default_factory=dict)
    words: list[str] = field(init=False, default_factory=list)
    figure: Any = field(init=False, default=None)

    def __post_init__(self):
        need(self.table, self.panel, self.row)
        self.names = (style.LEVELS if self.panel == "level" else {}) | self.names | self.panels
        self.factor = factor(self.label, self.percent)
        self.cells = [] if self.table.empty else self._split()

    def _split(self) -> list[Panel]:
        """The panels that hold something."""
        table = self.table[self.table[self.panel].isin(list(self.panels))] if self.panels else self.table
        tops = style.ordered(table[self.row]) if self.row else [None]
        sides = style.ordered(table[self.panel], self.panels) if self.panel else [None]
        tops_named, sides_named = style.named(tops, self.names), style.named(sides, self.names, LONG)
        cells = []
        for (i, top), (j, side) in product(enumerate(tops), enumerate(sides)):
            own = table[table[self.row] == top] if self.row else table
            own = own[own[self.panel] == side] if self.panel else own
            place = (i, j) if self.row else divmod(j, self.columns)
            title, above = sides_named[side] if self.panel else "", tops_named[top] if self.row else ""
            cells += [Panel(own, place, title, above)] if len(own) else []
        return cells

    def look(self, y: str | None = None) -> None:
        """Give each row its ``paint, mark, dash, open``, and the ``slot`` of its series, which ``y`` does not part.

        ``aside`` says how many slots it is from their middle.
        """
        need(self.table, self.colour, self.shape)
        table = pd.concat([cell.table for cell in self.cells], keys=range(len(self.cells)))
        marked = self.shape or self.colour
        for key in filter(None, (self.colour, self.shape)):
            values = style.ordered(table[key], [*self.colours, *self.order])
            own = style.colours(values) if key == "model" else {}
            self.looks[key] = style.looks(values, own | self.colours, key == self.shape)
        columns = {"paint": (self.colour, style.BLUE), "mark": (marked, "o"), "dash": (marked, "-")}
        for place, (name, (column, plain)) in enumerate(columns.items()):
            table[name] = [self.looks[column][value][place] for value in table[column]] if column else plain
        table["open"] = table[marked].isin(list(self.hollow)) if marked else False
        places = {key: {value: place for place, value in enumerate(found)} for key, found in self.looks.items()}
        series = [table[key].map(places[key]) for key in self.looks if key != y]
        table["slot"] = table.groupby(series).ngroup() if series else 0
        table["aside"] = table.slot - table.slot.max() / 2
        self.table = table
        for place, cell in enumerate(self.cells):
            cell.table = table.loc[place]

    def lay_out(self, inches: list[float], picture: bool = False, **how) -> None:
        """An axis for each panel; ``inches`` is the height of each, without what stands around it."""
        n_rows, n_columns = (1 + max(cell.place[side] for cell in self.cells) for side in (0, 1))
        heights = [0.0] * n_rows
        for cell, height in zip(self.cells, inches, strict=True):
            heights[cell.place[0]] = max(heights[cell.place[0]], height)
        around = 0.35 if any(cell.title or cell.side for cell in self.cells) else 0.05
        self.figure = Figure(figsize=(self.width, sum(heights) + around * n_rows + 0.85), layout="constrained")
        how |= {"width_ratios": [1, 1.3]} if picture else {}
        grid = {"squeeze": False, "height_ratios": [height + 0.05 for height in heights], **how}
        axes = self.figure.subplots(n_rows, n_columns + picture, **grid)
        for cell in self.cells:
            cell.axis = axes[cell.place[0], cell.place[1] + picture]
        used = {cell.axis for cell in self.cells}
        for axis in axes[:, picture:].flat:
            if axis not in used:
                axis.remove()

    def written(self, value: float) -> str:
        """A number of the alt text, with its unit."""
        return style.written(value, self.label, self.factor)

    def tell(self, one, columns, number: str) -> None:
        """Say a number in the alt text, after the values of a row that say which it is."""
        columns = filter(None, (self.row, self.panel, *columns, *self.looks))
        said = [str(self.names.get(value, value)) for value in dict.fromkeys(one[column] for column in columns)]
        said = [word for word in said if word and not word.startswith("#")]
        self.words.append(f"{', '.join(said)}: {number}" if said else number)

    def finish(
        self, kind: str, y: str | None = None, *, entries=(), across: bool = True, bottom: bool = True
    ) -> Figure:
        """The figure with titles, a legend of what the column ``y`` does not name, and its alt text.

        Labels of axes stand at the left (``across``), and below the lowest panel of each column (``bottom``).
        """
        self._outer(across, bottom)
        style.key(self.figure, [*self._key(y), *entries])
        self._settle()
        return style.describe(self.figure, kind, self.table, self.words, self.alt)

    def _outer(self, across: bool, bottom: bool) -> None:
        for cell in self.cells:
            i, j = cell.place
            if j and across:
                cell.axis.set_ylabel("")
                if len(cell.axis.get_shared_y_axes().get_siblings(cell.axis)) > 1:
                    cell.axis.tick_params(labelleft=False)
            lower = any(other.place == (i + 1, j) for other in self.cells)
            if bottom and lower:
                cell.axis.set_xlabel("")
            elif not lower:
                cell.axis.tick_params(labelbottom=True)

    def _key(self, y: str | None) -> list:
        """Entries of the legend for the columns that no axis names, but for colours that are values themselves."""
        entries = []
        for key, found in self.looks.items():
            if key == y or len(found) < 2 or str(next(iter(found))).startswith("#"):
                continue
            for value, text in style.named(found, self.names, 48).items():
                paint, marker, dash = found[value]
                paint, dash = (paint, dash) if key == self.colour else (GREY, "")
                marker = marker if key == (self.shape or self.colour) else ""
                entries.append(style.mark(text, paint, marker, dash, "white" if value in self.hollow else None))
        return entries

    def _settle(self) -> None:
        """Place the panels, and break words that are longer than their panel; the figure grows by their lines."""
        size = 10.5 if max(cell.place[1] for cell in self.cells) < 2 else 8.5
        titles = [cell.axis.set_title(cell.title, fontsize=size) for cell in self.cells]
        FigureCanvasSVG(self.figure)  # measures letters as they are saved
        layout = self.figure.get_layout_engine()
        layout.execute(self.figure)
        inches = self.figure.get_size_inches()
        if sum(_break(cell.axis.yaxis.label, 72 * inches[1] * cell.axis.get_position().height) for cell in self.cells):
            layout.execute(self.figure)
        more: dict[tuple, int] = {}
        for cell, title in zip(self.cells, titles, strict=True):
            for text in (title, cell.axis.xaxis.label):
                place = text is title, cell.place[0]
                lines = _break(text, 72 * inches[0] * cell.axis.get_position().width)
                more[place] = max(more.get(place, 0), lines)
        if any(more.values()):
            self.figure.set_figheight(inches[1] + sum(more.values()) * 1.2 * size / 72)
            layout.execute(self.figure)
        self.figure.set_layout_engine(None)  # it need not be laid out again


def factor(label: str, percent: bool = False) -> int:
    """What numbers are drawn times: shares a hundred where the label says so, unless they are percent already."""
    return 100 if not percent and any(unit in label for unit in ("(%)", "(points)")) else 1


def ink(paint) -> str:
    """White on a dark colour, dark on a light one."""
    return "w" if np.dot(to_rgb(paint), [0.299, 0.587, 0.114]) < 0.55 else DARK


def grouped(table: pd.DataFrame, group: str | None, first=()) -> pd.DataFrame:
    """The rows with those of one group together, the groups named ``first`` at the top."""
    if not group or table.empty:
        return table
    places = {value: place for place, value in enumerate(style.ordered(table[group], first))}
    return table.sort_values(group, key=lambda values: values.map(places), kind="stable")


def rules(
    axis, table: pd.DataFrame, y: str, values: list, group: str | None, *, every: bool = False, at: float = 0.5, **how
) -> None:
    """Lines below the rows of an axis: dark where the group changes, and faint ones below ``every`` other."""
    kinds = table.drop_duplicates(y).set_index(y)[group].reindex(values) if group else [None] * len(values)
    for place, (one, following) in enumerate(pairwise(kinds)):
        if one != following or every:
            axis.axhline(place + at, color="#AAAAAA" if one != following else RULE, lw=0.8, **how)


def logarithmic(axis, ticks=()) -> None:
    """A logarithmic axis with plain numbers, at ``ticks`` where they are given."""
    axis.set_xscale("log")
    if ticks:
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(LogFormatter())  # names a few where an axis is short, in plain digits


def _break(text, room: float) -> int:
    """Break a text into lines of at most so many points; how many that adds."""
    words, font = text.get_text(), text.get_fontproperties()

    def length(line: str) -> float:
        return text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]

    lines = [words]
    letters = int(len(words) * room / max(length(words), 1)) + 3
    while max(map(length, lines)) > room and letters > 1:
        lines = wrap(words, letters, break_on_hyphens=False)
        letters -= 1
    text.set_text("\n".join(lines))
    return len(lines) - 1
