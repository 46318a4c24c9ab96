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
from .overview import ORDER

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


def context(models, found: pd.DataFrame, theirs: pd.DataFrame) -> dict:
    """Who is on which side, and in how many comparisons a specialist is better or worse than a generalist.

    ``found`` is from ``differences``: counted where a simultaneous interval leaves out zero, given images enough.
    ``theirs`` is from ``published_scores``.
    """
    specialists, generalists = sides(models)
    about = {model: {"model": model, "category": find_model(model).category} for model in specialists}
    return {
        "specialists": [one | {"ground": ground_name(model)} for model, one in about.items()],
        "generalists": generalists,
        "neither": [model for model in models if model not in (*specialists, *generalists)],
        "places": [{"own": place == OWN, "levels": _tally(found, place)} for place in (OWN, OUTSIDE) if len(found)],
        "published": published_best(theirs),
    }


def _tally(found: pd.DataFrame, place: str) -> list[dict]:
    rows = found[found.place == place]
    firm = ~rows.small.astype(bool) & (rows.p_adjusted < 0.05)
    rows = rows.assign(is_better=firm & (rows.joint_low > 0), is_worse=firm & (rows.joint_high < 0))
    of = {level: rows[rows.level == level] for level in ORDER}
    return [
        {
            "level": level,
            "n": len(own),
            "n_better": int(own.is_better.sum()),
            "n_worse": int(own.is_worse.sum()),
            "least": own.estimate.min(),
            "most": own.estimate.max(),
        }
        for level, own in of.items()
        if len(own)
    ]


def published_best(theirs: pd.DataFrame) -> list[dict]:
    """The best generalist and the best specialist of the paper's first table, of all models and of one family."""
    found = []
    for level in ("coarse", "fine"):
        rows = theirs[(theirs.level == level) & (theirs.category != "chance")]
        for family in ("any", "contrastive"):
            own = rows if family == "any" else rows[rows.family == family]
            of = {"generalist": own[own.category == GENERALIST], "specialist": own[own.category != GENERALIST]}
            best = {side: table.loc[table.accuracy.idxmax()].to_dict() for side, table in of.items()}
            found.append({"level": level, "family": family, **best})
    return found
