"""Measured and published totals in one table, each row saying which it is."""

import pandas as pd

from . import published, stats
from .evaluate import Evaluation
from .plots import headline, overall
from .questions import HEADLINE_WORDING
from .registry import find_model
from .run import slugs
from .tables import link, percent

SURE_AND_WRONG = "where-it-is-sure-and-wrong"  # heading of the report card


def board(run: Evaluation, scores: pd.DataFrame, models: list) -> pd.DataFrame:
    """One row a model and source as text: totals, the modality question, the distance to the best, and where to look.

    ``scores`` is from ``stats.score``. Rows of this run come first, each group by its fine total. The distance to the
    best model of this run is paired; published answers do not exist, so published rows have none.
    """
    source = "measured, synthetic" if run.benchmark.is_synthetic else "measured"
    totals = {(row.model, row.level, row.question): row for row in headline(scores).itertuples()}
    shortfall, names = behind(run, scores), {level: overall(headline(scores), level) for level in set(scores.level)}
    rows = []
    for model, slug in slugs(models).items():
        fine, coarse = (totals.get((model, level, names.get(level))) for level in ("fine", "coarse"))
        modality = totals.get((model, "coarse", "modality"))
        page = f"../models/{slug}.html"
        failures = link("sure and wrong", f"{page}#{SURE_AND_WRONG}")
        rows.append((fine.accuracy if fine else 0, {
            "model": link(model, page), "source": source, "category": find_model(model).category,
            "fine %": _score(fine), "behind the best": shortfall.get(model, "–"), "coarse %": _score(coarse),
            "modality %": _score(modality), "failures": failures,
        }))  # fmt: skip
    theirs = published.totals()
    questions = published.by_question().query("question == 'modality'").set_index("model")
    for model, found in theirs.groupby("model"):
        levels = {row.level: row for row in found.itertuples()}
        modality = questions.loc[model] if model in questions.index else None
        rows.append((levels["fine"].accuracy / 100 - 1, {
            "model": model, "source": "published", "category": levels["fine"].category,
            "fine %": _printed(levels["fine"]), "behind the best": "–", "coarse %": _printed(levels["coarse"]),
            "modality %": _printed(modality), "failures": "–",
        }))  # fmt: skip
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([row for _, row in rows], dtype=object)  # pandas' own strings would forget what is a link


def behind(run: Evaluation, scores: pd.DataFrame) -> dict[str, str]:
    """Paired difference to the best model of this run on fine questions, by model, in points with its interval."""
    table = headline(scores).query("level == 'fine'")
    if table.empty:
        return {}
    best = table.loc[table.accuracy.idxmax()].model
    others = [(best, model) for model in dict.fromkeys(table.model) if model != best]
    answers = run.answers[(run.answers.level == "fine") & (run.answers.wording == HEADLINE_WORDING)]
    found = stats.compare_pairs(answers, others, by=[]) if others else pd.DataFrame(columns=["tuned_model", "estimand"])
    text = {row.tuned_model: percent(row.difference, row.ci_low, row.ci_high, sign="+")
            for row in found[found.estimand == "micro"].itertuples()}  # fmt: skip
    return {best: "the best here", **text}


def answer(run: Evaluation, scores: pd.DataFrame) -> str:
    """Which model leads on fine questions, and how many cannot be told from it."""
    table = headline(scores).query("level == 'fine'")
    if table.empty:
        return "This dataset has no fine question to rank models by."
    best = table.loc[table.accuracy.idxmax()]
    rest = [text for model, text in behind(run, scores).items()
            if model != best.model and find_model(model).category != "chance"]  # fmt: skip
    close = sum("−" not in text.split("[")[1].split(",")[1] for text in rest)
    others = f"{close} of {len(rest)} other models cannot be told from it" if rest else "no other model was run"
    return (
        f"In this run {best.model} leads on fine questions with {_score(best)} % (chance {percent(best.chance)} %, "
        f"n = {best.n_questions:,}); {others} on the same images."
    )


def beside_published(scores: pd.DataFrame, run: Evaluation) -> pd.DataFrame:
    """Measured and published scores side by side as text; one line that says why not where they cannot be."""
    table = published.beside(scores, run.benchmark.name)
    if table.empty:
        why = f"the images of this run ({run.benchmark.name}) are not the paper's, or none of its models is in the run"
        return pd.DataFrame([(why, "see the page on published results")], columns=["not comparable", "instead"])
    return pd.DataFrame({
        "model": table.model, "level": table.level, "question": table.question, "n": table.n.map("{:,}".format),
        **{name: [percent(row[name] / 100, row[f"{name}_low"] / 100, row[f"{name}_high"] / 100)
                  for _, row in table.iterrows()] for name in ("measured", "published")},
        "difference": [percent(row.difference / 100, row.ci_low / 100, row.ci_high / 100, sign="+")
                       for row in table.itertuples()],
    })  # fmt: skip


def _score(row) -> str:
    return "–" if row is None else percent(row.accuracy, row.ci_low, row.ci_high)


def _printed(row) -> str:
    return "–" if row is None else percent(row.accuracy / 100, row.ci_low / 100, row.ci_high / 100)
