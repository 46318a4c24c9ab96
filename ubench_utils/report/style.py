"""Style of every figure: settings, colours and marks, labels, the alt text, and the way onto a page.

Nothing is set on import: a kind of figure is drawn, and a figure is saved, within ``context()``.
"""

import colorsys
import io
from functools import wraps
from typing import Any

import matplotlib
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..data.questions import COARSE
from ..errors import UserError
from ..models.registry import find_model
from .labels import labels
from .text import fixed

SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.edgecolor": "#AAAAAA",
    "xtick.color": "#444444",
    "ytick.color": "#222222",
    "grid.color": "#DDDDDD",
    "figure.facecolor": "white",
    "svg.hashsalt": "ubench",  # equal figures give equal bytes
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "svg.fonttype": "path",  # the same on every machine: a browser's own font could overlap
    "axes.spines.top": False,
    "axes.spines.right": False,
}
TOLD = 24  # numbers of an alt text
LONG = 60  # letters of a label that has an axis to itself
WIDTH, NARROW = 7.0, 4.6  # inches: the text stays legible when the page shrinks to a phone
GREY, FAINT, DARK, RULE = "#555555", "#BBBBBB", "#222222", "#E0E0E0"
UNLISTED = "#444444"
# Models without a colour of their own; those that models.yml uses come last.
PALETTE = ["#44AA99", "#661100", "#999933", "#6699CC", "#CC6677", "#225555", "#AA7744", "#4477AA"]
BLUE, VERMILION, GREEN, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9"  # Okabe and Ito 2008
CYCLE = [BLUE, VERMILION, GREEN, ORANGE, GREY, SKY]
MARKS = "osD^vP*X"
# Colour, mark and dash of what is drawn alike on every page.
LOOKS = {
    "dual encoder": (GREY, "o", "-"),
    "matching head": (GREY, "s", "-"),
    "generator": (GREY, "^", "-"),
    "file of answers": (GREY, "D", "-"),
    "baseline": (GREY, "X", "-"),
    "in-domain": (BLUE, "o", "-"),
    "out-of-domain": (VERMILION, "D", "-"),
    "fine-grained, in-domain": (BLUE, "o", "-"),
    "coarse, in-domain": (BLUE, "s", "--"),
    "all, out-of-domain": (VERMILION, "D", "-"),
    "all questions": (GREY, "^", "-"),
}
# The order of the field's own words; others follow as the table has them.
ORDER = [
    "coarse",
    "fine",
    "all",
    *COARSE,
    "all coarse",
    "classification",
    "cognition",
    "subcellular",
    "cellular",
    "tissue",
]
LEVELS = {"coarse": "All coarse questions", "fine": "Fine-grained classification", "cognition": "Cognition"}


def context():
    """The settings of every figure, for a ``with`` block."""
    return matplotlib.rc_context(SETTINGS)


def styled(kind):
    """A kind of figure that is drawn with the settings and leaves those of the process as they were."""

    @wraps(kind)
    def within(*args, **kwargs):
        with context():
            return kind(*args, **kwargs)

    return within


def svg(figure: Figure) -> str:
    """A figure as SVG; equal figures give equal text."""
    buffer = io.StringIO()
    with context():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def show(figure: Figure, caption: str) -> None:
    """Display a figure as SVG; the runner makes caption and alt text those of the page.

    A figure that has nothing to show (see ``nothing``) says so in its caption, in the place of the caption given.
    """
    caption, alt = getattr(figure, "instead", caption), figure.get_label()
    data = {"image/svg+xml": svg(figure), "text/plain": f"{caption}\n{alt}"}
    display(data, raw=True, metadata={"ubench": {"caption": caption, "alt": alt}})


@styled
def nothing(text: str) -> Figure:
    """What stands in the place of a figure where the run holds nothing to show: a line that says why."""
    figure: Any = Figure(figsize=(WIDTH, 0.6), layout="constrained")
    axis = figure.subplots()
    axis.axis("off")
    axis.text(0, 0.5, text, va="center")
    figure.set_label(text)
    figure.instead = text
    return figure


def colours(models) -> dict[str, str]:
    """Colour of each model: the listed one, else one of its own by place among the unlisted.

    A name that is no model string, as those of models that others ran, is dark grey.
    """
    listed = {model: _listed(model) for model in models}
    unlisted = [model for model, colour in listed.items() if colour is None]
    return {model: colour or _own_colour(unlisted.index(model)) for model, colour in listed.items()}


def _listed(model: str) -> str | None:
    try:
        return find_model(model).colour
    except UserError:
        return UNLISTED


def _own_colour(place: int) -> str:
    """One of the palette, then, for a row of mixtures, hues at the golden angle, which do not come again."""
    if place < len(PALETTE):
        return PALETTE[place]
    parts = colorsys.hls_to_rgb(0.618034 * place % 1, (0.35, 0.5, 0.65)[place % 3], 0.6)
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def looks(values, given: dict | None = None, marked: bool = False) -> dict:
    """Colour, mark and dash of each value of a column: the given ones, those of ``LOOKS``, else the next of a cycle.

    ``given`` holds a colour or the three of them; a value that is a colour itself keeps it. A colour alone has dots, or
    marks of the cycle where these are to tell the values apart (``marked``).
    """
    found = {}
    for place, value in enumerate(values):
        default = (CYCLE[place % len(CYCLE)], MARKS[place % len(MARKS)], "-")
        look = (given or {}).get(value) or LOOKS.get(value) or (value if str(value).startswith("#") else default)
        found[value] = (look, MARKS[place % len(MARKS)] if marked else "o", "-") if isinstance(look, str) else look
    return found


def ordered(values, order=()) -> list:
    """The values of a column, each once: those in ``order`` first, then by the field's order, then as they come."""
    places = {value: place for place, value in reversed([*enumerate([*order, *ORDER])])}
    return sorted(
        (value for value in dict.fromkeys(values) if pd.notna(value)), key=lambda v: places.get(v, len(places))
    )


def named(values, names: dict | None = None, most: int = 26) -> dict:
    """Label of each value: the given name, else its own, made short enough for an axis."""
    values = list(values)
    short = labels(map(str, values), most)
    return {value: (names or {}).get(value, short[str(value)]) for value in values}


def key(figure: Figure, handles: list) -> None:
    """The legend below the figure, as many columns as fit its width."""
    if handles:
        letters = max(len(handle.get_label()) for handle in handles) + 6
        columns = max(1, min(len(handles), int(80 * figure.get_figwidth() / WIDTH) // letters))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def mark(label: str, colour: str = GREY, marker: str = "", dash="", fill: str | None = None) -> Line2D:
    """An entry of the legend."""
    return Line2D([], [], color=colour, marker=marker, ls=dash, mfc=fill or colour, ms=6, lw=1.8, label=label)


def written(value: float, label: str, factor: float = 1) -> str:
    """A number of the alt text, with the unit that its axis has."""
    if "(%)" in label:
        return f"{fixed(factor * value)} %"
    return fixed(factor * value, sign="+") if "(points)" in label else f"{factor * value:,.4g}".replace("-", "−")


def told(words: list) -> str:
    """The first words of a list, and how many more there are."""
    words = list(dict.fromkeys(words))
    more = [f"and {len(words) - TOLD} more"] if len(words) > TOLD else []
    return "; ".join(words[:TOLD] + more) + "."


def describe(figure: Figure, kind: str, table: pd.DataFrame, words: list, alt: str | None) -> Figure:
    """Attach the alt text: models, kind of figure, and what it shows, or ``alt`` in the place of the numbers."""
    columns = [name for name in ("reference", "model") if name in table and (name == "model" or "pair" in table)]
    models = list(
        dict.fromkeys(model for row in table[columns].itertuples(index=False) for model in row if pd.notna(model))
    )
    start = f"Models: {', '.join(models)}. " if models else ""
    figure.set_label(" ".join(f"{start}{kind}. {alt or told(words)}".split()))
    return figure
