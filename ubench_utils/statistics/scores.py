"""Scores and paired comparisons with intervals, as tables of estimates; see ``resampling`` and ``intervals``.

Estimands have names: ``micro`` pools the questions (the paper's tables), ``macro`` is the unweighted mean over
sub-datasets (the paper's interpolation figure), ``balanced`` the mean recall over classes.
"""

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING, NO_CHOICE
from ..errors import UserError
from .cells import (
    CELL,
    ESTIMANDS,
    QUESTION,
    Layout,
    answered_cells,
    cell_sums,
    distinct,
    drawn_by_facet,
    draws,
    estimates,
    lay_out,
)
from .intervals import ENDS, choose, design_effect, mcnemar_exact, paired_form, percentiles, wilson
from .resampling import image_weights, units
from .tally import Tally, answered_by_all, paired_states, tabulate

SLICES = ["dataset", "modality", "submodality", "scale", "domain", "subdomain", "stain", "organism", "taxonomy"]
KEY = ["model", *CELL]
ANSWERS = ["model", *QUESTION, "level", "n_options", "correct"]  # columns that every statistic needs
BALANCED, CLASS = "balanced", "_class"
SCORES = [*KEY, "estimand", *ENDS, "n_questions", "n_images", "chance", "chance_corrected", "interval"]
COMPARISON = ["reference", "model", *CELL, "estimand", "reference_accuracy", "model_accuracy", *ENDS, "interval"]
COMPARISON += ["n_questions", "n_images", "lost", "gained", "p"]


def join_answers(predictions: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the facets of their questions: the table that every statistic below reads.

    The questions are all those of a run: from them follow ``stratum, unit, n_units`` (see ``resampling.units``), unless
    they hold them. ``labels`` and ``asked`` are the options' labels and what was asked, ``right`` and ``chosen`` the
    labels of the right option and of the answer.
    """
    if "unit" not in questions:
        questions = questions.assign(**units(questions))
    right = [labels[at] for labels, at in zip(questions.labels, questions.answer_idx, strict=True)]
    counted = ["options", "answer_idx", "n_options", "image_hash", "further", "group"]
    facets = questions.drop(columns=counted, errors="ignore").assign(right=right)
    answers = predictions.merge(facets, on=QUESTION, how="inner", validate="many_to_one")
    chosen = zip(answers.labels, answers.predicted_idx, strict=True)
    return answers.assign(chosen=[labels[at] if at >= 0 else NO_CHOICE for labels, at in chosen])


def score(answers: pd.DataFrame, by=SLICES) -> pd.DataFrame:
    """Accuracy with interval, chance and chance-corrected score of every model, question type and slice.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``; any number of models.
    by : list of str
        Facets to break down by, beside ``all``.

    Returns
    -------
    pandas.DataFrame
        Columns ``model, level, question, wording, by, slice, estimand, estimate, ci_low, ci_high, n_questions,
        n_images, chance, chance_corrected, interval``. ``question`` is ``all`` where the types of a level are
        pooled, be they one. ``estimand`` is ``micro``, ``macro`` or, for the fine question where the answers hold
        ``right``, ``balanced``: the mean recall over the classes of all sub-datasets. ``chance`` is the mean of
        1 / n_options under the same estimand; ``chance_corrected`` is (estimate − chance) / (1 − chance).
        ``interval`` says how it was made, see ``intervals``: a mean over sub-datasets or classes too small for it is
        ``withheld``, and NaN; a score of one group of images has no interval. ``n_images`` counts images, be they drawn
        in groups. Without answers the table is empty.
    """
    _check(answers, by)
    if answers.empty:
        return pd.DataFrame(columns=SCORES)
    if "unit" not in answers:
        answers = answers.assign(**units(answers))
    tables = _score(answers, by, ESTIMANDS)
    fine = answers[answers.level == "fine"]
    if "right" in answers and len(fine):
        kind = fine.dataset.astype(str) + "\n" + fine.right.astype(str)
        tables += _score(fine.assign(**{CLASS: kind}), by, [BALANCED], CLASS)
    order = ["estimand", *KEY]
    place = {estimand: at for at, estimand in enumerate([*ESTIMANDS, BALANCED])}
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values(order, key=lambda c: c.map(place) if c.name == "estimand" else c, ignore_index=True)


def _check(answers: pd.DataFrame, by=(), models=()) -> None:
    """Refuse what is no table of answers, or is asked for a facet or a model that it does not hold."""
    if isinstance(by, str):
        raise UserError(f"by is '{by}'; write a list of facets, say ['{by}']")
    lacking = [name for name in [*ANSWERS, *by] if name not in answers]
    if lacking and len(answers.columns):
        raise UserError(
            f"the table of answers has no column {', '.join(lacking)}; `answers` of what `evaluate` returns has "
            f"{', '.join(dict.fromkeys([*ANSWERS, *SLICES]))}"
        )
    unknown = [model for model in models if model not in set(answers.model)]
    if unknown:
        known = ", ".join(answers.model.unique())
        raise UserError(f"there are no answers of {', '.join(unknown)}; the models are {known}")


def _score(answers: pd.DataFrame, by, estimands: list, part: str = "dataset") -> list[pd.DataFrame]:
    tally = tabulate(answers, list(dict.fromkeys([*by, part])))
    counts = (tally.questions, tally.correct, tally.answered)
    drawn_by = drawn_by_facet(*counts, by, part, absent=part == CLASS)
    return [_scores(tally, layout, drawn, estimands) for layout, drawn in drawn_by]


def _scores(tally: Tally, layout: Layout, drawn: dict, estimands: list) -> pd.DataFrame:
    """Scores of the cells of one facet; a model without an answer in a cell has no row there."""
    cells, at = answered_cells(layout, tally.answered)
    cells = cells.assign(model=np.array(tally.models)[cells.column])
    chance = estimates(layout, tally.answered / tally.questions.n_options.to_numpy()[:, None], tally.answered)
    accuracy = estimates(layout, tally.correct, tally.answered)
    tables = []
    for estimand in estimands:
        of = "macro" if estimand == BALANCED else estimand
        lacking, n, df = cells.withheld & (estimand != "micro"), *_support(cells, estimand)
        right, guessed = np.where(lacking, np.nan, accuracy[of][at]), chance[of][at]
        if cells.grouped.any():
            effect = design_effect(drawn[of][at], right * (1 - right), cells.n_questions, n)
            n = np.where(cells.grouped, cells.n_questions / effect, n)
        closed = ("wilson", *wilson(right * n, n, df=df))
        bounds = (bound[at] for bound in percentiles(drawn[of]))
        how = {"single": cells.single | cells.grouped, "withheld": lacking | cells.alone}
        tables.append(
            cells.assign(
                estimand=estimand,
                estimate=right,
                **choose(*bounds, closed=closed, **how),
                chance=guessed,
                chance_corrected=(right - guessed) / (1 - guessed),
            )
        )
    return pd.concat(tables, ignore_index=True)[SCORES]


def _support(cells, estimand: str) -> tuple:
    """How many units an estimate rests on, where resamples show no scatter, and its degrees of freedom."""
    return (cells.n_even, cells.df) if estimand == "micro" else (cells.n_mean, cells.df_mean)


def compare(answers: pd.DataFrame, reference: str, model: str, by=SLICES) -> pd.DataFrame:
    """``compare_pairs`` of one pair: the paired difference in accuracy, model − reference.

    Raises
    ------
    UserError
        If there are no answers of one of them, or the table lacks a column.
    """
    _check(answers, by, (reference, model))
    return compare_pairs(answers, [(reference, model)], by)


def compare_pairs(answers: pd.DataFrame, pairs, by=SLICES) -> pd.DataFrame:
    """Paired differences in accuracy, model − reference, on the questions that both models of a pair answered.

    All pairs share the resamples, and each is one column of the matrix product.

    Parameters
    ----------
    pairs : sequence of (reference, model)
        Names of models.

    Returns
    -------
    pandas.DataFrame
        Columns ``reference, model, level, question, wording, by, slice, estimand, reference_accuracy, model_accuracy,
        estimate, ci_low, ci_high, interval`` (``bonett-price`` for one question per image in one sub-dataset, else
        ``bootstrap`` over images with shared draws; ``withheld`` as for ``score``), ``n_questions, n_images, lost``
        (right before, wrong after), ``gained`` and ``p`` (McNemar's, exact, two-sided; NaN where an image or a group
        has several questions, whose answers are not independent). Pairs that share no question have no row.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157.
    """
    _check(answers, by)
    tally = tabulate(answers[answers.model.isin({model for pair in pairs for model in pair})], by)
    questions, states = paired_states(tally, pairs)
    if questions.empty:
        return pd.DataFrame(columns=COMPARISON)
    step, answered = states["learned"] - states["forgotten"], sum(states.values())
    drawn_by = drawn_by_facet(questions, step, answered, by)
    tables = [_comparisons(states, layout, drawn) for layout, drawn in drawn_by]
    table = pd.concat(tables, ignore_index=True).sort_values(CELL, kind="stable")
    table = table.sort_values(["column", "estimand"], ascending=[True, False], kind="stable", ignore_index=True)
    names = pd.DataFrame(list(pairs), columns=["reference", "model"])
    return names.iloc[table.column].reset_index(drop=True).join(table)[COMPARISON]


def _comparisons(states: dict, layout: Layout, drawn: dict) -> pd.DataFrame:
    """Comparisons in the cells of one facet; ``column`` is the pair's among the states."""
    answered = sum(states.values())
    before, after = states["kept"] + states["forgotten"], states["kept"] + states["learned"]
    cells, at = answered_cells(layout, answered)
    lost, gained = (cell_sums(layout, states[way])[at].astype(int) for way in ("forgotten", "learned"))
    closed = paired_form(lost, gained, cells, drawn["micro"][at])
    p = np.where(cells.n_questions == cells.n_units, mcnemar_exact(lost, gained), np.nan)
    base, tuned = (estimates(layout, right, answered) for right in (before, after))
    tables = []
    for estimand in ESTIMANDS:
        lacking, n, df = cells.withheld & (estimand != "micro"), *_support(cells, estimand)
        bounds = percentiles(drawn[estimand][at], df)
        single = cells.single | (cells.grouped & (cells.one_set | (estimand == "micro")))
        right, then = (np.where(lacking, np.nan, of[estimand][at]) for of in (base, tuned))
        tables.append(
            cells.assign(
                estimand=estimand,
                reference_accuracy=right,
                model_accuracy=then,
                estimate=then - right,
                **choose(*bounds, closed=closed, single=single, n_units=n, withheld=lacking | cells.alone),
                lost=lost,
                gained=gained,
                p=p,
            )
        )
    return pd.concat(tables, ignore_index=True)


def compare_wordings(answers: pd.DataFrame, by=()) -> pd.DataFrame:
    """Paired difference in accuracy of every other caption wording from the headline wording, for each model.

    Returns
    -------
    pandas.DataFrame
        The columns of ``compare_pairs`` but ``reference``; ``wording`` is the other one, ``reference_accuracy`` is that
        in the headline wording, ``model_accuracy`` that in the other. Only questions asked in both take part.
    """
    tables = [pd.DataFrame(columns=COMPARISON[1:])]
    for (model, wording), rows in answers[answers.wording != HEADLINE_WORDING].groupby(["model", "wording"], sort=True):
        headline = answers[(answers.model == model) & (answers.wording == HEADLINE_WORDING)]
        both = pd.concat([headline.assign(model="headline"), rows.assign(model="other")]).assign(wording=0)
        table = compare(both, "headline", "other", by)
        tables.append(table.assign(model=model, wording=wording).drop(columns="reference"))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def contrast(answers: pd.DataFrame, weights: dict, estimand: str = "micro") -> dict:
    """Weighted sum of the accuracies of several models, pooled over all questions that all of them answered.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``, filtered to the questions that matter.
    weights : dict
        Weight of each model: ``{"b": 1, "a": -1}`` is the paired difference b − a.

    Returns
    -------
    dict
        ``estimate, ci_low, ci_high, interval, n_questions, n_images``. All models share the draws, so it is paired; a
        plain difference is that of ``compare_pairs``.
    """
    _check(answers)
    if estimand not in ESTIMANDS:
        raise UserError(f"estimand is '{estimand}'; it is one of {', '.join(ESTIMANDS)}")
    tally = answered_by_all(tabulate(answers[answers.model.isin(list(weights))]), list(weights))
    if tally.questions.empty:
        return {**dict.fromkeys(ENDS, np.nan), "interval": "", "n_questions": 0, "n_images": 0}
    factors = np.array(list(weights.values()), dtype=np.float64)[:, None]
    pooled = lay_out(tally.questions.assign(level="all", question="all", wording=0))
    values, answered = tally.correct @ factors, tally.answered[:, :1]
    drawn = draws(pooled, values, answered, image_weights(tally.questions))
    cells = answered_cells(pooled, answered)[0]
    cell, (n, df) = cells.iloc[0], _support(cells, estimand)
    is_difference = sorted(weights.values()) == [-1, 1]
    closed_holds = cell.single or cell.grouped and (cell.one_set or estimand == "micro")
    found = choose(
        *percentiles(drawn[estimand][0], df),
        closed=paired_form((values < 0).sum(axis=0), (values > 0).sum(axis=0), cells, drawn["micro"][0]),
        single=closed_holds and is_difference,
        n_units=n,
        scale=np.abs(factors).sum() / 2,
        withheld=cell.alone or (estimand != "micro" and cell.withheld),
    )
    found = {name: value.item() for name, value in found.items()}
    estimate = estimates(pooled, values, answered)[estimand].item()
    return {
        "estimate": np.nan if estimand != "micro" and cell.withheld else estimate,
        **found,
        "n_questions": int(cell.n_questions),
        "n_images": int(cell.n_images),
    }


def headline(scores: pd.DataFrame, by: str = "all") -> pd.DataFrame:
    """Micro scores of the headline wording, for one facet."""
    return distinct(scores[(scores.wording == HEADLINE_WORDING) & (scores.estimand == "micro") & (scores.by == by)])


def totals(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for a whole level."""
    pooled = set(scores.level[scores.question == "all"])
    return scores[(scores.question == "all") | ~scores.level.isin(pooled)]
