"""Who leads, who cannot be told from chance, and where each model is weakest and strongest."""

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..data.questions import HEADLINE_WORDING, LEVELS, PERCEPTION
from ..models.registry import find_model
from ..statistics.cells import CELL, distinct
from ..statistics.intervals import ENDS, columns_of
from ..statistics.scores import BALANCED, headline, totals

ORDER = list(dict.fromkeys(LEVELS.values()))  # of levels


def learned(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of models that are no guessers."""
    return rows[[not find_model(model).guesses for model in rows.model] if len(rows) else slice(0)]


def perception(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers in the headline wording to coarse and fine questions, or to those of cognition where there are no others.

    Cognition questions have a page of their own; beside thousands of others they would only widen a family of tests.
    """
    rows = answers[answers.wording == HEADLINE_WORDING]
    coarse_and_fine = rows.level.isin(PERCEPTION)
    return rows[coarse_and_fine] if coarse_and_fine.any() else rows


def levels(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that stand for a whole level, in the order of the levels."""
    return totals(rows).sort_values("level", key=lambda level: level.map(ORDER.index), kind="stable")


def complete(rows: pd.DataFrame, asked: dict[str, int]) -> pd.DataFrame:
    """Rows of levels of which a model answered all that was ``asked`` (``Evaluation.asked``): it can be the best."""
    return rows[rows.n_questions == rows.level.map(asked)]


def context(scores: pd.DataFrame, asked: dict[str, int]) -> dict:
    """The best model at each level, of those that answered all questions, and the rows that are not above chance.

    ``scores`` is from ``scores.score``, ``asked`` of ``Evaluation``.
    """
    rows = levels(learned(headline(scores)))
    whole = complete(rows, asked)
    best = whole.loc[[of.estimate.idxmax() for _, of in whole.groupby("level", sort=False)]]
    at_chance = rows[rows.ci_low <= rows.chance]
    return {"n_models": len(rows), "leaders": best.to_dict("records"), "at_chance": at_chance.to_dict("records")}


def slices(scores: pd.DataFrame, by: str, question: str, *, corrected: bool = False) -> dict:
    """Weakest and strongest slice of each model for one question, and whether their intervals are apart.

    Parameters
    ----------
    scores : pandas.DataFrame
        From ``scores.score``, with the facet ``by``.
    corrected : bool
        Compare chance-corrected scores.
    """
    table = headline(scores, by=by)
    table = table[table.question == question]
    found = {"by": by, "question": question, "is_corrected": corrected, "only_baseline": False}
    if table.empty:
        about = None if question == "classification" else question
        return found | {"models": [], "missing": missing(scores, LEVELS[question], about)}
    known = learned(table[table.slice != NOT_STATED])
    if corrected:
        known = known.assign(**known[ENDS].sub(known.chance, axis=0).div(1 - known.chance, axis=0))
    models = []
    for model, rows in known.groupby("model", sort=False):
        if rows.slice.nunique() < 2:
            continue
        best, worst = rows.loc[rows.estimate.idxmax()], rows.loc[rows.estimate.idxmin()]
        models.append(
            {
                "model": model,
                "best": best.to_dict(),
                "worst": worst.to_dict(),
                "is_level": best.estimate == worst.estimate,
                "is_apart": worst.ci_high < best.ci_low,
            }
        )
    return found | {"models": models, "missing": None, "only_baseline": learned(table).empty}


def missing(scores: pd.DataFrame, level: str, question: str | None = None) -> dict:
    """Why the headline scores have no row of a level, or of one of its question types."""
    found = scores.question == question if question else scores.level == level
    return {
        "level": level,
        "question": question,
        "wording": HEADLINE_WORDING,
        "in_other_wording": bool(found.any()),
        "only_files": not any(
            find_model(model).has_weights or find_model(model).guesses for model in scores.model.unique()
        ),
    }


def profile(scores: pd.DataFrame, model: str) -> dict:
    """Scores of one model at each level, and its strongest and weakest sub-dataset, against chance."""
    own = scores[scores.model == model]
    sets = learned(headline(own, by="dataset").query("question == 'classification'"))
    ends = {"strongest": None, "weakest": None}
    if len(sets) > 1:
        order = {"strongest": sets.chance_corrected.idxmax(), "weakest": sets.chance_corrected.idxmin()}
        ends = {name: sets.loc[row].to_dict() for name, row in order.items()}
    return {"model": model, "levels": levels(headline(own)).to_dict("records"), **ends}


def both_averages(scores: pd.DataFrame) -> pd.DataFrame:
    """Micro scores with the others beside them: ``macro, macro_low, macro_high``; ``balanced, …`` where fine."""
    keys = ["model", *CELL]
    table = distinct(scores[scores.estimand == "micro"])
    for name in ("macro", BALANCED):
        other = scores[scores.estimand == name].set_index(keys)[ENDS]
        table = table.join(other.set_axis(columns_of(name), axis=1), on=keys)
    return table


def wording_changes(table: pd.DataFrame, by_dataset: pd.DataFrame, models: list) -> pd.DataFrame:
    """Paired differences between wordings for whole levels, each with the sub-dataset that moves ``most``, and ``by``.

    ``table`` and ``by_dataset`` are from ``scores.compare_wordings``: over all images, and by sub-dataset.
    """
    keys = ["model", "wording", "level", "question"]
    whole = totals(table[table.estimand == "micro"])
    sets = by_dataset[(by_dataset.by == "dataset") & (by_dataset.estimand == "micro")]
    most = sets.loc[sets.groupby(keys).estimate.apply(lambda moved: moved.abs().idxmax())]
    most = most.set_index(keys)[["slice", "estimate"]].set_axis(["most", "by_most"], axis=1)
    order = {model: place for place, model in enumerate(models)}
    rows = whole.join(most, on=keys).assign(order=whole.model.map(order))
    return rows.sort_values(["order", "level", "wording"], ignore_index=True).drop(columns="order")
