"""Bars from zero."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import style
from ..style import LONG
from ..text import need
from .sheet import CENTRED, Sheet, grouped, ink, rules


@style.styled
def bars(
    table: pd.DataFrame,
    y: str,
    *,
    x: str = "estimate",
    text: str | None = None,
    group: str | None = None,
    picture=None,
    **shared,
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
    **shared
        Options of every kind, see ``dots``.
    """
    need(table, x, y, group)
    colours = shared.get("colours", ())
    sheet = Sheet(grouped(table, group, colours), **({"colour": None, "columns": 1, "label": ""} | shared))
    if not sheet.cells:
        return style.nothing(sheet.empty)
    sheet.look(y)
    sheet.looks = {
        key: {value: (paint, "s", "") for value, (paint, *_) in found.items()} for key, found in sheet.looks.items()
    }
    rows = [list(dict.fromkeys(cell.table[y])) for cell in sheet.cells]
    height = sheet.height or 0.27
    sheet.lay_out([height * len(values) for values in rows], picture is not None, sharex=True)
    key = [column for column in (sheet.panel, y) if column]
    is_stacked = sheet.table.duplicated(key).any()
    end = sheet.limits[1] if sheet.limits else 1.02 * sheet.factor * sheet.table.groupby(key)[x].sum().max()
    for cell, values in zip(sheet.cells, rows, strict=True):
        axis, left = cell.axis, dict.fromkeys(values, 0.0)
        own = cell.table.sort_values("slot", kind="stable") if is_stacked else cell.table
        for one in own.to_dict("records"):
            at, size = values.index(one[y]), sheet.factor * one[x]
            axis.barh(at, size, left=left[one[y]], color=one["paint"], height=0.72)
            if is_stacked and size >= 0.04 * end:
                axis.text(left[one[y]] + size / 2, at, f"{size:.0f}", color=ink(one["paint"]), **CENTRED)
            elif text:
                axis.text(size, at, f" {one[text]}", va="center", fontsize=9)
            left[one[y]] += size
            sheet.tell(one, [y], sheet.written(one[x]))
        rules(axis, cell.table, y, values, group, zorder=0)
        names = style.named(values, sheet.names, LONG)
        axis.set_yticks(range(len(values)), [names[value] for value in values])
        axis.set(ylim=(len(values) - 0.5, -0.5), xlim=(0, end), xlabel=sheet.label)
        axis.tick_params(axis="y", length=0)
    if picture is not None:
        sheet.figure.axes[0].imshow(np.asarray(picture), interpolation="nearest")
        sheet.figure.axes[0].axis("off")
    return sheet.finish(f"Bar chart: {sheet.label}", y)
