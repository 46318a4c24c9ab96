"""Specialists against generalists: each specialist on the images it is made for, and on all others.

Who is a specialist and what its own ground is come from the registry (``category`` and ``in_domain`` in models.yml).
"""

import pandas as pd

from ..models.cards import model_cards
from ..models.registry import find_model
from ..statistics.families import compare_cells
from ..statistics.scores import score, totals
from . import published
from .forgetting import lies_within
from .overview import ORDER, both_averages, perception

GENERALIST, UNLISTED = "generalist", "unlisted"  # categories that make no specialist
OWN, OUTSIDE = "own ground", "outside"


def ground(model: str) -> dict | None:
    """Facet values of the images that a model is made for, None where nothing states them.

    The model's own ``in_domain``; without one, that of the listed models of its category where these agree.
    """
    card = find_model(model)
    if card.in_domain or not _is_specialist(model):
        return card.in_domain
    alike = [other.in_domain for other in model_cards().values() if other.category == card.category]
    stated = [facets for facets in alike if facets]
    return stated[0] if stated and all(facets == stated[0] for facets in stated) else None


def _is_specialist(model: str) -> bool:
    """Whether a model has a category of specialists, or a domain of its own."""
    card = find_model(model)
    return bool(card.in_domain) or not (card.guesses or card.category in (GENERALIST, UNLISTED))


def ground_name(model: str) -> str:
    """A model's ground in words: its facet values, or ``all images``."""
    return " and ".join(str(value) for value in (ground(model) or {}).values()) or "all images"


def sides(models) -> tuple[list, list]:
    """The specialists and the generalists among models; neither holds the baseline or a model without a category."""
    others = [model for model in models if not _is_specialist(model)]
    generalists = [model for model in others if find_model(model).category == GENERALIST]
    return [model for model in models if model not in others], generalists


def scores_by_ground(answers: pd.DataFrame, specialists) -> pd.DataFrame:
    """Scores of every model on and outside the ground of each specialist, as from ``scores.score``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``scores.score`` after ``ground`` (in words); ``slice`` is ``own ground`` or ``outside``.
        Specialists of one ground share its rows.
    """
    rows = perception(answers)
    tables = []
    for name, model in {ground_name(model): model for model in specialists}.items():
        table = score(rows.assign(place=_place(rows, model)), by=["place"])
        table = table[table.by == "place"]
        tables.append(table.assign(ground=name)[["ground", *table.columns]])
    columns = ["ground", "model", "level", "question", "slice", "estimand"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _place(rows: pd.DataFrame, specialist: str) -> pd.Series:
    return lies_within(rows, ground(specialist) or {}).map({True: OWN, False: OUTSIDE})


def of_grounds(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``scores_by_ground`` for whole levels, micro beside macro, the own ground of each specialist first."""
    if scores.empty:
        return scores.assign(outside=False)
    parts = [totals(both_averages(rows)) for _, rows in scores.groupby(["ground", scores.slice != OWN], sort=False)]
    table = pd.concat(parts).assign(outside=lambda rows: rows.slice != OWN)
    return table.sort_values(["ground", "level", "outside"], kind="stable", ignore_index=True)


def differences(answers: pd.DataFrame, specialists, generalists) -> pd.DataFrame:
    """Paired difference, specialist − generalist, of every pair on the specialist's ground and outside it.

    The rows are one family, over all pairs, places and levels.

    Returns
    -------
    pandas.DataFrame
        The columns of ``families.compare_cells`` (``reference`` is the generalist), and ``specialist, generalist,
        place`` (``own ground`` or ``outside``); a row a level, its question types pooled. Empty without a pair.
    """
    rows = perception(answers)
    grounds = {model: f"ground: {ground_name(model)}" for model in specialists}
    rows = rows.assign(**{grounds[model]: _place(rows, model) for model in specialists})
    pairs = [(generalist, specialist) for specialist in specialists for generalist in generalists]

    def asked(table):
        """On and off the ground of the pair's own specialist, a level's question types pooled."""
        return (table.by == table.model.map(grounds)) & (table.question == "all")

    table = compare_cells(rows, pairs, by=dict.fromkeys(grounds.values()), family=asked)
    table = table.assign(specialist=table.model, generalist=table.reference, place=table.slice)
    order = {name: at for at, name in enumerate((*pairs, OWN, OUTSIDE))}
    pair = [order[names] for names in zip(table.reference, table.model, strict=True)]
    table = table.assign(pair=pair, at=table.place.map(order)).sort_values(["pair", "at", "level"], ignore_index=True)
    return table.drop(columns=["pair", "at"])


def published_scores() -> pd.DataFrame:
    """The paper's first table with the category and family of each model; accuracies and half-widths in percent.

    Returns
    -------
    pandas.DataFrame
        ``category, family, model, level, accuracy, ci_half_width``.
    """
    table = published.read("table1").merge(published.read("models")[["model", "category", "family"]], on="model")
    return table[["category", "family", "model", "level", "accuracy", "ci_half_width"]]


def in_order(models) -> list[str]:
    """Models for the axis of a figure: specialists by category, then generalists, then the rest."""
    later = {GENERALIST: 1, UNLISTED: 2}

    def place(model):
        card = find_model(model)
        return 3 if card.guesses else later.get(card.category, 0), card.category

    return sorted(models, key=place)


def context(models, found: pd.DataFrame, theirs: pd.DataFrame) -> dict:
    """What the page on specialists says; ``found`` is from ``differences``, ``theirs`` from ``published_scores``."""
    return {**who(models), "places": tally(found), "published": published_best(theirs)}


def who(models) -> dict:
    """The models on each side and on neither; a specialist with its category and its ground in words."""
    specialists, generalists = sides(models)
    return {
        "specialists": [
            {"model": model, "category": find_model(model).category, "ground": ground_name(model)}
            for model in specialists
        ],
        "generalists": generalists,
        "neither": [model for model in models if model not in (*specialists, *generalists)],
    }


def tally(found: pd.DataFrame) -> list[dict]:
    """In how many comparisons of ``differences`` a specialist is better or worse, on its ground and outside, by level.

    Counted where a simultaneous interval leaves out zero, given images enough.
    """
    return [{"own": place == OWN, "levels": _of_levels(found, place)} for place in (OWN, OUTSIDE) if len(found)]


def _of_levels(found: pd.DataFrame, place: str) -> list[dict]:
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
        rows = theirs[(theirs.level == level) & (theirs.model != "Random")]
        for family in ("any", "contrastive"):
            own = rows if family == "any" else rows[rows.family == family]
            of = {"generalist": own[own.category == GENERALIST], "specialist": own[own.category != GENERALIST]}
            best = {side: table.loc[table.accuracy.idxmax()].to_dict() for side, table in of.items()}
            found.append({"level": level, "family": family, **best})
    return found
