"""Numbers and short words as a page prints them: percent, points, p-values, spans, amounts and lists."""

import re

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..errors import UserError


def need(table: pd.DataFrame, *columns: str | None) -> None:
    """Refuse a table without a column that it is asked for; one without rows may lack it."""
    lacking = [column for column in columns if column and column not in table.columns]
    if lacking and len(table):
        raise UserError(f"the table has no column {', '.join(lacking)}; it has {', '.join(map(str, table.columns))}")


def percent(value: float, low: float | None = None, high: float | None = None, sign: str = "") -> str:
    """A proportion in percent with its interval: ``43.1 [40.2, 46.0]``."""
    if pd.isna(value):
        return "–"
    text = f"{100 * value:{sign}.1f}"
    if low is not None and high is not None and pd.notna(low):
        text += f" [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"
    return text.replace("-0.0", "0.0").replace("-", "−")


def points(value: float, low: float | None = None, high: float | None = None) -> str:
    """A difference of proportions in percentage points with its interval: ``+3.1 [+0.2, +6.0]``."""
    return percent(value, low, high, sign="+")


def coefficient(value: float, low: float | None = None, high: float | None = None, sign: str = "") -> str:
    """A score, ratio or correlation with its interval: ``0.41 [0.12, 0.63]``; no bracket without an interval."""
    if pd.isna(value):
        return "–"
    bare = low is None or pd.isna(low)
    text = f"{value:{sign}.2f}" + ("" if bare else f" [{low:{sign}.2f}, {high:{sign}.2f}]")
    return re.sub(r"-(?=0\.00\b)", "", text).replace("-", "−")


def signed(value: float, low: float | None = None, high: float | None = None) -> str:
    """``coefficient`` with its sign: ``+0.41 [+0.12, +0.63]``."""
    return coefficient(value, low, high, sign="+")


def fixed(value: float, digits: int = 1, sign: str = "") -> str:
    """A number with so many decimals, and a true minus sign."""
    return "–" if pd.isna(value) else f"{value:{sign}.{digits}f}".replace("-", "−")


def p(value: float) -> str:
    """A p-value with two digits."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def count(n: float) -> str:
    """A whole number with its thousands apart: ``1,200``."""
    return "–" if pd.isna(n) else f"{n:,.0f}"


def amount(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 pair``, ``1,200 images``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def span(low: float, high: float, form: str = ".3g", to: str = "–") -> str:
    """A smallest and a largest value; one where they are printed the same: ``3–5``."""
    if pd.isna(low):
        return "–"
    first, last = f"{low:{form}}", f"{high:{form}}"
    return first if first == last else f"{first}{to}{last}"


def stated(low: float, high: float) -> str:
    """``span`` of what a dataset states, or that it does not."""
    return NOT_STATED if pd.isna(low) else span(low, high)


def whole(low: float, high: float) -> str:
    """``span`` of whole numbers."""
    return span(low, high, ",.0f")


def listed(words, last: str = "and") -> str:
    """Words in a row: ``a, b and c``."""
    *first, final = map(str, words)
    return f"{', '.join(first)} {last} {final}" if first else final


def article(words: str) -> str:
    """Words after their article, as a sentence begins: ``A light micrograph``, ``An electron micrograph``."""
    return f"{'An' if words[:1] in 'aeiou' else 'A'} {words}"


def general(value: float, low: float | None = None, high: float | None = None) -> str:
    """A number as short as it can be written, with its interval: ``0.5 [0.3, 0.8]``."""
    return f"{value:g}" if low is None else f"{value:g} [{low:g}, {high:g}]"


def bracket(low: float, high: float) -> str:
    """An interval of a difference in points alone: ``[+0.2, +6.0]``."""
    return "" if pd.isna(low) else points(low, low, high).partition(" ")[2]


def half_width(value: float, half: float) -> str:
    """A published score in percent with the half-width of its interval: ``62.68 ± 0.35``."""
    return "–" if pd.isna(value) else f"{value:.2f} ± {half:.2f}"


def called(question: str, level: str) -> str:
    """Name of a question type, or of all types of a level."""
    return question if question != "all" else f"all {level}"


def marked(words: str, is_small: bool) -> str:
    """Words with a dagger where too few images stand behind them."""
    return f"{words} †" if is_small else words
