"""Tables as figures show them: pairs with names, scores above chance, questions in words, rare values pooled."""

import pandas as pd

from ...statistics.cells import distinct
from .. import style
from ..text import called


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


def asked(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the question type of each row in words, ``asked``; of a level of one type, that type alone."""
    if table.empty:
        return table
    rows = distinct(table)
    rows = rows.assign(asked=[called(*names) for names in zip(rows.question, rows.level, strict=True)])
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
