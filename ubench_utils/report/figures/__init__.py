"""Five kinds of figure, which draw every table of numbers: dots, lines, heat maps, bars, and points in a plane.

A kind takes a table, one row a mark, and the names of its columns; it returns a figure whose label is its alt text.
Options that all of them have are explained with ``dots``.
"""

from .bars import bars
from .dots import dots
from .heatmap import change_map, heatmap
from .lines import along_ends, lines
from .plane import fronts, plane
from .rows import asked, by_pair, corrected, pooled

__all__ = [
    "along_ends",
    "asked",
    "bars",
    "by_pair",
    "change_map",
    "corrected",
    "dots",
    "fronts",
    "heatmap",
    "lines",
    "plane",
    "pooled",
]
