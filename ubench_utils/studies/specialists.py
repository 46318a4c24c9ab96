"""Specialists against generalists: each specialist on the images it is made for, and on all others.

Who is a specialist and what its own ground is come from the registry (``category`` and ``in_domain`` in models.yml).
"""

import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..models.registry import find_model, model_cards
from ..statistics.families import compare_cells, holm
from ..statistics.scores import score
from . import published
from .finetuning import lies_within

GENERALIST = "generalist"
UNGROUPED = ("chance", "unlisted")  # categories that make no specialist
OWN, OUTSIDE = "own ground", "outside"


def ground(model: str) -> dict | None:
    """Facet values of the images that a model is made for, None where nothing states them.

    The model's own ``in_domain``; without one, that of the listed models of its category where these agree.
    """
    card = find_model(model)
    if card.in_domain:
        return card.in_domain
    if card.category in (GENERALIST, *UNGROUPED):
        return None
    stated = [
        other.in_domain for other in model_cards().values() if other.category == card.category and other.in_domain
    ]
    return stated[0] if stated and all(facets == stated[0] for facets in stated) else None


def ground_name(model: str) -> str:
    """A model's ground in words: its facet values, or ``all images``."""
    return " and ".join(str(value) for value in (ground(model) or {}).values()) or "all images"


def sides(models) -> tuple[list, list]:
    """The specialists and the generalists among models; neither holds the baseline or a model without a category."""
    specialists = [
        model
        for model in models
        if find_model(model).category not in (GENERALIST, *UNGROUPED) or find_model(model).in_domain
    ]
    return specialists, [
        model for model in models if find_model(model).category == GENERALIST and model not in specialists
    ]


def scores_by_ground(answers: pd.DataFrame, specialists) -> pd.DataFrame:
    """Scores of every model on and outside the ground of each specialist, as from ``stats.score``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``stats.score`` after ``ground`` (in words); ``slice`` is ``own ground`` or ``outside``.
        Specialists of one ground share its rows.
    """
    rows = answers[answers.wording == HEADLINE_WORDING]
    tables = []
    for name, model in {ground_name(model): model for model in specialists}.items():
        table = score(rows.assign(place=_place(rows, model)), by=["place"])
        table = table[table.by == "place"]
        tables.append(table.assign(ground=name)[["ground", *table.columns]])
    columns = ["ground", "model", "level", "question", "slice", "estimand"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _place(rows: pd.DataFrame, specialist: str) -> pd.Series:
    return lies_within(rows, ground(specialist) or {}).map({True: OWN, False: OUTSIDE})


def differences(answers: pd.DataFrame, specialists, generalists) -> pd.DataFrame:
    """Paired difference, specialist − generalist, of every pair on the specialist's ground and outside it.

    All pairs are one family: the simultaneous intervals hold for all rows together, and for the single question types
    behind the pooled coarse ones; Holm's adjustment is over the rows.

    Returns
    -------
    pandas.DataFrame
        The columns of ``families.compare_cells`` (``reference`` is the generalist), and ``specialist, generalist,
        place`` (``own ground`` or ``outside``); a row a level, its question types pooled. Empty without a pair.
    """
    rows = answers[answers.wording == HEADLINE_WORDING]
    pairs, parts = {}, []
    for specialist in specialists:
        places = rows.assign(place=_place(rows, specialist))
        for generalist in generalists:
            # every pair has its own places, so its two models get names of their own
            names = {model: f"{model} ({len(pairs)})" for model in (generalist, specialist)}
            pairs[tuple(names.values())] = generalist, specialist
            part = places[places.model.isin(list(names))]
            parts.append(part.assign(model=part.model.map(names)))
    table = compare_cells(pd.concat(parts) if parts else rows[:0].assign(place=""), list(pairs), by=["place"])
    number = {pair: at for at, pair in enumerate(pairs)}
    order = [number[pair] for pair in zip(table.reference, table.model, strict=True)]
    generalist, specialist = zip(*(list(pairs.values())[at] for at in order), strict=True) if order else ((), ())
    table = table.assign(
        reference=generalist, model=specialist, generalist=generalist, specialist=specialist, order=order
    )
    types = table.groupby(["order", "level", "by", "slice"]).question.transform("nunique")
    table = table[(table.by == "place") & ((table.question == "all") | (types == 1))]
    table = table.assign(place=table.slice, p_adjusted=holm(table.p))
    by = ["order", "place", "level"]
    places = {place: at for at, place in enumerate((OWN, OUTSIDE))}
    table = table.sort_values(by, key=lambda c: c.map(places) if c.name == "place" else c, ignore_index=True)
    return table.drop(columns="order")


def published_scores() -> pd.DataFrame:
    """The paper's first table with the category and family of each model; accuracies and half-widths in percent.

    Returns
    -------
    pandas.DataFrame
        ``category, family, model, level, accuracy, ci_half_width``.
    """
    table = published.read("table1").merge(published.read("models")[["model", "category", "family"]], on="model")
    return table[["category", "family", "model", "level", "accuracy", "ci_half_width"]]
