"""Heat maps."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ...data.benchmark import NOT_STATED
from .. import style
from ..style import LONG
from ..text import fixed, need
from .rows import asked
from .sheet import CENTRED, Sheet, ink, rules


@style.styled
def heatmap(
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    value: str = "estimate",
    paint: str | None = None,
    text: str | None = None,
    group: str | None = None,
    bar: str = "",
    axes: tuple = ("", ""),
    telling: str | None = None,
    **shared,
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
    axes : tuple of str
        The names of the axes.
    telling : str
        Column that is true where the alt text tells the number.
    **shared
        Options of every kind, see ``dots``.
    """
    need(table, x, y, value)
    sheet = Sheet(table, **({"columns": 1} | shared))
    if not sheet.cells:
        return style.nothing(sheet.empty)
    across, down = style.ordered(table[x], sheet.order), style.ordered(table[y], sheet.order)
    shade, times = (paint, 1) if paint else (value, sheet.factor)
    low, high = sheet.limits or (times * table[shade].min(), times * table[shade].max())
    most = max(-low, high)
    shades = {"vmin": -most, "vmax": most, "cmap": "RdBu"} if low < 0 else {"vmin": 0, "vmax": high, "cmap": "Blues"}
    tops, sides = (
        style.named(across, sheet.names, LONG),
        style.named(down, sheet.names, LONG if sheet.columns == 1 else 26),
    )
    letters = max(len(str(name)) for name in tops.values())
    is_wide = 0.065 * len(across) * letters > 4.4 / min(sheet.columns, len(sheet.cells))
    turn = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if is_wide else {}
    height = (sheet.height or 0.27) * len(down) + (max(0.6, 0.04 * letters) if is_wide and sheet.columns > 1 else 0)
    sheet.lay_out([height] * len(sheet.cells), sharex=sheet.columns == 1)
    for cell in sheet.cells:
        axis, square = cell.axis, times * cell.table.pivot(index=y, columns=x, values=shade).astype(float)
        square = square.reindex(index=down, columns=across)
        plain = {"linewidths": 0.8, "linecolor": "w", "cbar": False, "xticklabels": False, "yticklabels": False}
        (mesh,) = sns.heatmap(square, ax=axis, **shades, **plain).collections
        for one in cell.table.to_dict("records"):
            i, j = down.index(one[y]), across.index(one[x])
            if text or paint or not bar:
                number = square.iloc[i, j]
                colour = ink(mesh.to_rgba(number)) if pd.notna(number) else "#777777"
                written = one[text] if text else f"{sheet.factor * one[value]:.0f}"
                axis.text(j + 0.5, i + 0.5, written, color=colour, **CENTRED)
            if not telling or one[telling]:
                sheet.tell(one, [y, x], sheet.written(one[value]))
        rules(axis, table, y, down, group, at=1, zorder=3)
        axis.set(xlabel=axes[0], ylabel=axes[1])
        axis.set_xticks(np.arange(len(across)) + 0.5, [tops[name] for name in across], **turn)
        axis.set_yticks(np.arange(len(down)) + 0.5, [sides[name] for name in down], rotation=0)
        axis.tick_params(length=0, labelsize=9)
    if bar:
        drawn = sheet.figure.colorbar(mesh, ax=[cell.axis for cell in sheet.cells], label=bar, shrink=0.8, aspect=30)
        drawn.outline.set_visible(False)
    return sheet.finish(f"Heat map: {sheet.label}")


def change_map(cells: pd.DataFrame, **how) -> Figure:
    """Every change of pairs (``by_pair``), slices by question types: a star stands after the correction over a pair.

    Cells of too few images (``small``) are in brackets, without a shade.
    """
    if cells.empty:
        return heatmap(cells, "asked", "slice", **how)
    order = {by: place for place, by in enumerate(("all", "where", "modality", "scale", "dataset"))}
    rows = asked(cells).sort_values("by", key=lambda by: by.map(order), kind="stable")
    rows = rows.assign(slice=rows.slice.where(rows.slice != NOT_STATED, rows.by + " " + NOT_STATED))  # of any facet
    numbers = [fixed(change, 0, "+").replace("+0", "0").replace("−0", "0") for change in 100 * rows.estimate]
    firm = rows.p_adjusted < 0.05
    texts = [f"{number}{'*' * star}" for number, star in zip(numbers, firm, strict=True)]
    texts = [f"({text})" if small else text for text, small in zip(texts, rows.small, strict=True)]
    rows = rows.assign(text=texts, shade=(100 * rows.estimate).where(~rows.small), firm=firm)
    how = {"panel": "pair", "paint": "shade", "text": "text", "group": "by", "telling": "firm", "height": 0.24} | how
    return heatmap(rows, "asked", "slice", label="change (points)", order=list(dict.fromkeys(rows.slice)), **how)
