"""Pairs of a base and a fine-tuned model: the gain in-domain, the loss out-of-domain, and the way between.

In-domain are the images that a specialist was tuned for (``in_domain`` in models.yml, say those of pathology),
out-of-domain the rest. All differences are paired: the same images, the same resamples.
"""

import pandas as pd

from ..data.questions import COARSE, HEADLINE_WORDING
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.run import Evaluation
from ..models.registry import find_model, mix_name
from ..statistics.calibration import calibration_error
from ..statistics.families import compare_cells
from ..statistics.resampling import distinct
from ..statistics.scores import compare_pairs, contrast, score, totals
from ..statistics.selection import FOLDS, cross_fit, pareto

ALPHAS = tuple(step / 10 for step in range(11))
CELLS_BY = ("where", "modality", "scale", "dataset")


def is_in_domain(answers: pd.DataFrame, tuned: str) -> pd.Series:
    """Which answers are to images that a model was fine-tuned for; all of them where models.yml says nothing."""
    return lies_within(answers, find_model(tuned).in_domain or {})


def lies_within(table: pd.DataFrame, facets: dict) -> pd.Series:
    """Which rows have all these values of the facets; every row where none is asked for."""
    mask = pd.Series(True, index=table.index)
    for facet, value in facets.items():
        mask &= table[facet] == value
    return mask


def gain_and_loss(answers: pd.DataFrame, base: str, tuned: str) -> tuple[dict, dict, dict]:
    """Paired change, tuned − base: fine-grained in-domain, coarse in-domain, and all questions out-of-domain.

    Each is a contrast as from ``stats.contrast``, pooled over questions.
    """
    return _change(answers, tuned, {tuned: 1, base: -1})


def _change(answers: pd.DataFrame, tuned: str, weights: dict) -> tuple[dict, dict, dict]:
    rows = answers[answers.wording == HEADLINE_WORDING]
    inside = is_in_domain(rows, tuned)
    parts = (inside & (rows.level == "fine"), inside & (rows.level == "coarse"), ~inside)
    return tuple(contrast(rows[part], weights) for part in parts)


def forgetting(answers: pd.DataFrame, base: str, tuned: str) -> pd.DataFrame:
    """Change of every question type × domain of the fine-tuning, modality, scale and sub-dataset: one family of tests.

    The columns of ``paired.compare_cells``; the facet ``where`` has the slices ``in-domain`` and ``out-of-domain``.
    """
    rows = answers[answers.model.isin([base, tuned]) & (answers.wording == HEADLINE_WORDING)]
    where = is_in_domain(rows, tuned).map({True: "in-domain", False: "out-of-domain"})
    return compare_cells(rows.assign(where=where), [(base, tuned)], by=CELLS_BY)


def headline_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``forgetting`` for a figure, in its order: question types in-domain, out-of-domain, sub-datasets.

    ``name`` is the row's label; sub-datasets are shown by their fine-grained question.
    """
    types = cells[(cells.by == "where") & (cells.question != "all")]
    types = types.assign(name=types.question + ", " + types.slice)
    sets = cells[(cells.by == "dataset") & (cells.level == "fine")]
    return pd.concat([types.sort_values("slice", kind="stable"), sets.assign(name=sets.slice)], ignore_index=True)


def sweep(run: Evaluation, base: str, tuned: str, alphas=ALPHAS) -> pd.DataFrame:
    """Answers of the interpolated models, with their ``alpha``; the ends are the parents themselves.

    Raises
    ------
    UserError
        If 0, 0.5 or 1 is missing: the ends make the line and the middle is what is compared with it.
    """
    if not {0, 0.5, 1} <= set(alphas):
        raise UserError(f"alphas {list(alphas)}: they must hold 0, 0.5 and 1")
    names = {mix_name(base, tuned, alpha): alpha for alpha in alphas}
    swept = evaluate(run.benchmark, list(names), **run.settings)
    answers = swept.answers[swept.answers.wording == HEADLINE_WORDING]
    return answers.assign(alpha=answers.model.map(names))


def barrier(run: Evaluation, one: str, other: str, alphas=ALPHAS) -> pd.DataFrame:
    """Accuracy along α between two models that do not share a base: mixed all the same, to show what comes of it.

    Returns
    -------
    pandas.DataFrame
        ``alpha, question`` (``coarse questions`` or ``fine questions``), ``estimate, ci_low, ci_high, chance``.
    """
    names = {mix_name(one, other, alpha).replace("mix:", "mix!:", 1): alpha for alpha in alphas}
    mixed = evaluate(run.benchmark, list(names), **run.settings)
    answers = mixed.answers[mixed.answers.wording == HEADLINE_WORDING]
    answers = answers.assign(alpha=answers.model.map(names), question=answers.level + " questions")
    return _along_alpha(answers)


def curves_by_question(swept: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """Accuracy along α of every question type, in-domain and out-of-domain (columns ``question``, ``group``)."""
    where = is_in_domain(swept, tuned).map({True: "in-domain", False: "out-of-domain"})
    parts = [_along_alpha(rows).assign(group=group) for group, rows in swept.groupby(where)]
    table = pd.concat(parts, ignore_index=True)
    return table[table.question != "all"]


def curves_by_dataset(swept: pd.DataFrame) -> pd.DataFrame:
    """Fine-grained accuracy along α of every sub-dataset (``slice``), with intervals and chance."""
    table = score(swept[swept.level == "fine"], by=["dataset"])
    alpha = swept.groupby("model").alpha.first()
    table = table[(table.estimand == "micro") & (table.by == "dataset") & (table.question == "all")].assign(
        alpha=lambda t: t.model.map(alpha)
    )
    return table.sort_values(["slice", "alpha"], ignore_index=True)


def _along_alpha(answers: pd.DataFrame) -> pd.DataFrame:
    table = score(answers, by=())
    alpha = answers.groupby("model").alpha.first()
    table = distinct(table[table.estimand == "micro"]).assign(alpha=lambda t: t.model.map(alpha))
    return table.sort_values(["question", "alpha"], ignore_index=True)


def changes_along_alpha(swept: pd.DataFrame, base: str, tuned: str) -> pd.DataFrame:
    """Paired change from the base along α, with intervals: fine-grained and coarse in-domain, all out-of-domain, all.

    Returns
    -------
    pandas.DataFrame
        ``group, alpha, estimate, ci_low, ci_high, n_questions``; every α answers the same questions.
    """
    inside = is_in_domain(swept, tuned)
    groups = {
        "fine-grained, in-domain": inside & (swept.level == "fine"),
        "coarse, in-domain": inside & (swept.level == "coarse"),
        "all, out-of-domain": ~inside,
        "all questions": pd.Series(True, index=swept.index),
    }
    alphas = {mix_name(base, tuned, alpha): alpha for alpha in sorted(swept.alpha.unique())}
    start = mix_name(base, tuned, 0)
    tables = []
    for group, mask in groups.items():
        rows = swept[mask].assign(level="all")  # so that its question types make one pooled row
        if rows.empty:
            continue
        table = compare_pairs(rows, [(start, name) for name in alphas], by=())
        table = table[(table.estimand == "micro") & (table.question == "all")]
        tables.append(table.assign(group=group, alpha=lambda t: t.model.map(alphas)))
    columns = ["group", "alpha", "estimate", "ci_low", "ci_high", "n_questions"]
    return pd.concat(tables, ignore_index=True)[columns]


def frontier(along: pd.DataFrame) -> pd.DataFrame:
    """Gain on the target against what is kept elsewhere, an α a row, and which α no other one dominates.

    ``gain``: change of fine-grained accuracy in-domain; ``kept``: change of accuracy out-of-domain (0: nothing lost);
    ``on_front``: no other α has more of one and as much of the other. From ``changes_along_alpha``.
    """
    wide = along.pivot(index="alpha", columns="group", values="estimate")
    wide = wide.reindex(columns=["fine-grained, in-domain", "all, out-of-domain"]).set_axis(["gain", "kept"], axis=1)
    table = wide.reset_index()
    return table.assign(on_front=pareto(table.gain, table.kept))


def calibration(swept: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration error along α, each mixture with its own temperature; from ``calibration_error``."""
    alpha = swept.groupby("model").alpha.first()
    return calibration_error(swept).assign(alpha=lambda t: t.model.map(alpha)).sort_values("alpha", ignore_index=True)


def choice_of_alpha(swept: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """The α that maximises a target, chosen and scored on different images: a row a target, from ``cross_fit``.

    Targets: all questions pooled; and ``balanced``, half the fine-grained accuracy in-domain, half the accuracy of all
    questions out-of-domain. A target with fewer images than folds, or with a part of them, has no row.
    """
    inside = is_in_domain(swept, tuned)
    part = pd.Series("other", index=swept.index)
    part[inside & (swept.level == "fine")] = "target"
    part[~inside] = "elsewhere"
    rows = swept.assign(part=part)
    results, n_images = {}, rows.drop_duplicates(["dataset", "image_id", "part"]).part.value_counts()
    if len(rows[["dataset", "image_id"]].drop_duplicates()) >= FOLDS:
        results["all questions"] = cross_fit(rows)
    if min(n_images.get("target", 0), n_images.get("elsewhere", 0)) >= FOLDS:
        results["balanced"] = cross_fit(rows, {"target": 0.5, "elsewhere": 0.5}, term="part")
    return pd.DataFrame(results.values()).assign(target=list(results))


def summary(swept: pd.DataFrame, base: str, tuned: str, alpha: float = 0.5) -> dict:
    """Paired contrasts that tell the story of the curve, each as from ``stats.contrast``.

    ``in_end, in_coarse_end, out_end``: fine-tuned − base, fine-grained and coarse in-domain and all questions
    out-of-domain; ``in_middle, …``: α − base alike; ``above_line``: α minus the straight line between the ends, all
    questions; ``fine_above_line``: the same for the fine-grained macro accuracy over all sub-datasets.
    """
    middle, start, end = (mix_name(base, tuned, value) for value in (alpha, 0, 1))
    in_end, in_coarse_end, out_end = _change(swept, tuned, {end: 1, start: -1})
    in_middle, in_coarse_middle, out_middle = _change(swept, tuned, {middle: 1, start: -1})
    bend = {middle: 1, start: -(1 - alpha), end: -alpha}
    return {
        "in_end": in_end,
        "in_coarse_end": in_coarse_end,
        "out_end": out_end,
        "in_middle": in_middle,
        "in_coarse_middle": in_coarse_middle,
        "out_middle": out_middle,
        "above_line": contrast(swept, bend),
        "fine_above_line": contrast(swept[swept.level == "fine"], bend, "macro"),
    }


def fates(cells: pd.DataFrame) -> pd.DataFrame:
    """What became of the questions, as shares: a row for each pair (``reference, model``), level, side and state.

    ``cells`` holds the rows of ``forgetting``; ``asked`` names level and side with their number of questions.
    """
    if cells.empty:
        return cells
    rows = totals(cells[cells.by == "where"])
    rows = rows.assign(asked=rows.level + ", " + rows.slice + [f" (n = {n:,})" for n in rows.n_questions])
    rows = rows.sort_values(["slice", "level"], ascending=[True, False], kind="stable")
    keys = ["reference", "model", "asked", "n_questions"]
    table = rows.melt(keys, ["kept", "forgotten", "learned", "never"], var_name="state", value_name="n")
    return table.assign(estimate=table.n / table.n_questions)


def beside_published(cells: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Change of each coarse question over all images: ``published`` (``published.forgetting``), and ``here``."""
    theirs = theirs[theirs.kind == "coarse"].rename(columns={"base": "reference", "tuned": "model", "name": "question"})
    theirs = theirs.assign(estimate=theirs.difference / 100, where="published")
    columns = ["reference", "model", "question", "estimate", "where"]
    if cells.empty:
        return theirs[columns]
    ours = cells[(cells.by == "all") & cells.question.isin(COARSE)].assign(where="here")
    return pd.concat([theirs[columns], ours[[*columns, "ci_low", "ci_high"]]], ignore_index=True)


def change_context(changes: dict, cells: dict) -> dict:
    """What fine-tuning changed, and how many cells stand after Holm's correction.

    ``changes[(base, tuned)]`` is from ``gain_and_loss``, ``cells[(base, tuned)]`` from ``forgetting``.
    """
    pairs = []
    for (base, tuned), (fine, coarse, outside) in changes.items():
        table = cells[base, tuned]
        firm = table[table.p_adjusted < 0.05]
        pairs.append(
            {
                "base": base,
                "tuned": tuned,
                "fine": fine,
                "coarse": coarse,
                "outside": outside,
                "n_cells": len(table),
                "n_fell": int((firm.estimate < 0).sum()),
                "n_rose": int((firm.estimate > 0).sum()),
                "n_small": int(table.small.sum()),
            }
        )
    return {"pairs": pairs}


def mixing_context(results: dict, choices: dict) -> dict:
    """What the middle of each curve keeps, and what a chosen α is worth on images that did not choose it.

    ``results[(base, tuned)]`` is from ``summary``, ``choices[(base, tuned)]`` from ``choice_of_alpha``.
    """
    pairs = [{"base": base, "tuned": tuned, **found} for (base, tuned), found in results.items()]
    chosen = []
    for (_, tuned), table in choices.items():
        one = {"tuned": tuned, "target": None}
        if len(table):
            row = table.iloc[-1].to_dict()  # the balanced target where there is one
            over = {name: _contrast_of(row, name) for name in ("over_base", "over_tuned")}
            one = {**row, **one, "target": row["target"], **over}
        chosen.append(one)
    return {"pairs": pairs, "chosen": chosen}


def _contrast_of(row: dict, name: str) -> dict:
    return {"estimate": row[name], "ci_low": row[f"{name}_low"], "ci_high": row[f"{name}_high"], "n_questions": 1}


def by_pair(tables: dict) -> pd.DataFrame:
    """Tables of pairs as one, with the columns ``base`` and ``tuned``; ``tables[(base, tuned)]``."""
    parts = [table.assign(base=base, tuned=tuned) for (base, tuned), table in tables.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def contrasts(results: dict) -> pd.DataFrame:
    """Contrasts of ``summary`` as a table: ``base, tuned, contrast`` and the columns of a contrast."""
    return by_pair(
        {pair: pd.DataFrame([{"contrast": k, **v} for k, v in found.items()]) for pair, found in results.items()}
    )
