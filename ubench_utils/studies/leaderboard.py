"""Measured and published totals in one table, each row saying which it is."""

import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..models.registry import find_model
from ..statistics.intervals import ENDS, columns_of
from ..statistics.scores import compare_pairs, headline, totals
from . import published
from .overview import complete, learned, missing
from .replies import OFFICIAL, accuracies

FAMILIES = {
    "contrastive": "dual encoder",
    "autoregressive": "generator",
    "none": "baseline",
}  # the paper's, in our words


def board(run: Evaluation, scores: pd.DataFrame, models: list, distances: pd.DataFrame) -> pd.DataFrame:
    """One row a model and source: totals, the modality question, and the distance to the best, in proportions.

    ``scores`` is from ``scores.score``, ``distances`` from ``behind``. Rows of this run come first, each group by its
    fine total. The distance to the best model of this run is paired; published answers do not exist, so published rows
    have none.

    Returns
    -------
    pandas.DataFrame
        ``model, source`` (``measured``, ``measured, synthetic`` or ``published``), ``family, category``; ``fine,
        coarse, modality``, ``official`` (fine, by the benchmark's rule, of models that reply in words) and ``behind``,
        each with ``_low`` and ``_high``, NaN where there is none; ``is_best``.
    """
    source = "measured, synthetic" if run.benchmark.is_synthetic else "measured"
    ours = _side_by_side(headline(scores)).reindex(models)
    gap = distances.set_index("model")[ENDS].set_axis(columns_of("behind"), axis=1)
    ours = ours.join(gap).assign(source=source, category=[find_model(model).category for model in models])
    rules = totals(accuracies(run.answers))
    rules = rules[(rules.what == OFFICIAL) & (rules.level == "fine")].set_index("model")[ENDS]
    rules = rules.set_axis(columns_of("official"), axis=1)
    ours = ours.join(rules.astype(float)).assign(family=[run.families[model] for model in models])
    ours = ours.assign(is_best=ours.index.isin(distances.model[:1]))
    questions = published.by_question().query("question == 'modality'").assign(level="coarse")
    printed = pd.concat([published.totals().assign(question="all"), questions]).rename(columns={"accuracy": "estimate"})
    printed[ENDS] /= 100
    theirs = _side_by_side(printed).assign(source="published", is_best=False)
    about = published.totals().drop_duplicates("model").set_index("model")
    theirs = theirs.assign(category=about.category, family=about.family.map(FAMILIES))
    tables = [table.sort_values("fine", ascending=False, kind="stable", na_position="last") for table in (ours, theirs)]
    columns = [
        "model",
        "source",
        "family",
        "category",
        *columns_of("fine"),
        *columns_of("behind"),
        *columns_of("coarse"),
    ]
    table = pd.concat([table.rename_axis("model").reset_index() for table in tables], ignore_index=True)
    return table.reindex(columns=[*columns, *columns_of("modality"), *columns_of("official"), "is_best"])


def _side_by_side(rows: pd.DataFrame) -> pd.DataFrame:
    """Fine and coarse totals and the modality question of every model, with the ends of their intervals."""
    whole = totals(rows)
    of = {
        "fine": whole[whole.level == "fine"],
        "coarse": whole[whole.level == "coarse"],
        "modality": rows[rows.question == "modality"],
    }
    parts = [table.set_index("model")[ENDS].set_axis(columns_of(name), axis=1) for name, table in of.items()]
    return pd.concat(parts, axis=1)


def behind(run: Evaluation, scores: pd.DataFrame) -> pd.DataFrame:
    """Paired difference of every model to the best on fine questions, the best first.

    The best is chosen among the models that answered all questions of this run and are no guessers.

    Returns
    -------
    pandas.DataFrame
        ``model, estimate, ci_low, ci_high``; NaN for the best itself. Empty where no model can lead.
    """
    columns = ["model", *ENDS]
    table = headline(scores).query("level == 'fine'")
    whole = learned(complete(table, run.asked))
    if whole.empty:
        return pd.DataFrame(columns=columns)
    best = whole.loc[whole.estimate.idxmax()].model
    answers = run.answers[(run.answers.level == "fine") & (run.answers.wording == HEADLINE_WORDING)]
    others = [(best, model) for model in dict.fromkeys(table.model) if model != best]
    found = pd.DataFrame({"model": [best]})
    if others:
        pairs = compare_pairs(answers, others, by=[]).query("estimand == 'micro' and question == 'all'")
        found = pd.concat([found, pairs])
    return found.reindex(columns=columns).reset_index(drop=True)


def context(scores: pd.DataFrame, distances: pd.DataFrame) -> dict:
    """Which model leads on fine questions, and how many cannot be told from it; ``distances`` is from ``behind``."""
    table = headline(scores).query("level == 'fine' and question == 'classification'").set_index("model", drop=False)
    found = {"missing": None, "best": None}
    if table.empty:
        return found | {"missing": missing(scores, "fine")}
    if distances.empty:
        return found
    best = table.loc[distances.model[0]]
    others = learned(distances[1:])
    as_good = table.loc[others.model]
    as_good = as_good[(as_good.n_questions == best.n_questions) & (as_good.estimate == best.estimate)]
    return found | {
        "best": best.to_dict(),
        "n_others": len(others),
        "n_close": int((others.ci_high >= 0).sum()),
        "level_with": list(as_good.model),
        "n_partly": int((table.n_questions < best.n_questions).sum()),
    }
