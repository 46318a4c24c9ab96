"""Measured and published totals in one table, each row saying which it is."""

import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..models.registry import find_model
from ..pages.runner import slugs
from ..report.answers import absent
from ..report.tables import link, percent
from ..statistics import scores as stats
from . import published

SURE_AND_WRONG = "where-it-is-sure-and-wrong"  # heading of the report card


def board(run: Evaluation, scores: pd.DataFrame, models: list, distances: pd.DataFrame) -> pd.DataFrame:
    """One row a model and source as text: totals, the modality question, the distance to the best, and where to look.

    ``scores`` is from ``stats.score``, ``distances`` from ``behind``. Rows of this run come first, each group by its
    fine total. The distance to the best model of this run is paired; published answers do not exist, so published rows
    have none.
    """
    source = "measured, synthetic" if run.benchmark.is_synthetic else "measured"
    totals = {(row.model, row.level, row.question): row for row in stats.headline(scores).itertuples()}
    shortfall = {row.model: percent(row.estimate, row.ci_low, row.ci_high, "+") for row in distances[1:].itertuples()}
    shortfall |= dict.fromkeys(distances.model[:1], "the best here")
    names = {level: stats.overall(stats.headline(scores), level) for level in set(scores.level)}
    rows = []
    for model, slug in slugs(models).items():
        fine, coarse = (totals.get((model, level, names.get(level))) for level in ("fine", "coarse"))
        modality = totals.get((model, "coarse", "modality"))
        page = f"../models/{slug}.html"
        failures = link("sure and wrong", f"{page}#{SURE_AND_WRONG}")
        rows.append(
            (
                fine.estimate if fine else 0,
                {
                    "model": link(model, page),
                    "source": source,
                    "category": find_model(model).category,
                    "fine %": _score(fine),
                    "behind the best": shortfall.get(model, "–"),
                    "coarse %": _score(coarse),
                    "modality %": _score(modality),
                    "failures": failures,
                },
            )
        )
    theirs = published.totals()
    questions = published.by_question().query("question == 'modality'").set_index("model")
    for model, found in theirs.groupby("model"):
        levels = {row.level: row for row in found.itertuples()}
        modality = questions.loc[model] if model in questions.index else None
        rows.append(
            (
                levels["fine"].accuracy / 100 - 1,
                {
                    "model": model,
                    "source": "published",
                    "category": levels["fine"].category,
                    "fine %": _printed(levels["fine"]),
                    "behind the best": "–",
                    "coarse %": _printed(levels["coarse"]),
                    "modality %": _printed(modality),
                    "failures": "–",
                },
            )
        )
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([row for _, row in rows], dtype=object)  # pandas' own strings would forget what is a link


def behind(run: Evaluation, scores: pd.DataFrame) -> pd.DataFrame:
    """Paired difference of every model to the best on fine questions, the best first.

    The best is chosen among the models that answered all questions of this run and are no guessers.

    Returns
    -------
    pandas.DataFrame
        ``model, estimate, ci_low, ci_high``; NaN for the best itself. Empty where no model can lead.
    """
    columns = ["model", "estimate", "ci_low", "ci_high"]
    table = stats.headline(scores).query("level == 'fine'")
    whole = table[table.n_questions == table.n_questions.max()]
    whole = _learned(whole)
    if whole.empty:
        return pd.DataFrame(columns=columns)
    best = whole.loc[whole.estimate.idxmax()].model
    answers = run.answers[(run.answers.level == "fine") & (run.answers.wording == HEADLINE_WORDING)]
    others = [(best, model) for model in dict.fromkeys(table.model) if model != best]
    found = pd.DataFrame({"model": [best]})
    if others:
        pairs = stats.compare_pairs(answers, others, by=[]).query("estimand == 'micro'")
        found = pd.concat([found, pairs])
    return found.reindex(columns=columns).reset_index(drop=True)


def answer(scores: pd.DataFrame, distances: pd.DataFrame) -> str:
    """Which model leads on fine questions, and how many cannot be told from it; ``distances`` is from ``behind``."""
    table = stats.headline(scores).query("level == 'fine'").set_index("model")
    if table.empty:
        return f"{absent(scores, 'fine')}, so no model leads."
    if distances.empty:
        return "No model of this run can lead: none but the random baseline answered all fine questions."
    best = table.loc[distances.model[0]]
    rest = _learned(distances[1:])
    n_close = (rest.ci_high >= 0).sum()
    close = f"{n_close} of the {len(rest)} others cannot be told from it on the same images"
    if len(rest) == 1:
        close = f"the other model can{'not' * n_close} be told from it on the same images"
    level = table.loc[rest.model]
    level = level.index[(level.n_questions == best.n_questions) & (level.estimate == best.estimate)]
    partly = (table.n_questions < best.n_questions).sum()
    return (
        f"In this run {best.name} leads on fine questions with {_score(best)} % (chance {percent(best.chance)} %, "
        f"n = {best.n_questions:,}); {close if len(rest) else 'no other model was run'}."
        + (f" With as many right: {', '.join(level)}." if len(level) else "")
        + (f" Models that answered only a part of the questions, and cannot lead: {partly}." if partly else "")
    )


def beside_published(scores: pd.DataFrame, run: Evaluation) -> pd.DataFrame:
    """Measured and published scores side by side as text; one line that says why not where they cannot be."""
    table = published.beside(scores, run.benchmark.name)
    if table.empty:
        why = f"the images of this run ({run.benchmark.name}) are not the paper's, or none of its models is in the run"
        return pd.DataFrame([(why, "see the page on published results")], columns=["not comparable", "instead"])
    return pd.DataFrame(
        {
            "model": table.model,
            "level": table.level,
            "question": table.question,
            "n": table.n.map("{:,}".format),
            **{
                name: [
                    percent(row[name] / 100, row[f"{name}_low"] / 100, row[f"{name}_high"] / 100)
                    for _, row in table.iterrows()
                ]
                for name in ("measured", "published")
            },
            "difference": [
                percent(row.difference / 100, row.ci_low / 100, row.ci_high / 100, sign="+")
                for row in table.itertuples()
            ],
        }
    )


def _learned(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of models that are no guessers."""
    return rows[[find_model(model).category != "chance" for model in rows.model] if len(rows) else slice(0)]


def _score(row) -> str:
    return "–" if row is None else percent(row.estimate, row.ci_low, row.ci_high)


def _printed(row) -> str:
    return "–" if row is None else percent(row.accuracy / 100, row.ci_low / 100, row.ci_high / 100)
