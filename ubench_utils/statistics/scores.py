"""Scores with intervals: one resampling of images serves all models, slices and differences.

An image carries several questions, so images, not questions, are resampled (clusters), within each sub-dataset
(strata); all models share the draws, which makes differences paired. A single cell, one question per image within
one sub-dataset, gets a Wilson interval instead: at small n and high accuracy it covers where a bootstrap does not.

Two estimands, both named: ``micro`` pools the questions (the paper's tables), ``macro`` is the unweighted mean over
sub-datasets (the paper's interpolation figure).
"""

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from ..data.questions import HEADLINE_WORDING
from .resampling import (
    CELL,
    CONFIDENCE,
    ESTIMANDS,
    QUESTION,
    RESAMPLES,
    Layout,
    Tally,
    answered_by_all,
    cell_datasets,
    cell_images,
    cell_sums,
    draws,
    estimates,
    image_weights,
    lay_out,
    layouts,
    paired_states,
    percentiles,
    tabulate,
)

SLICES = ["dataset", "modality", "submodality", "scale", "domain", "subdomain", "stain", "organism", "taxonomy"]
KEY = ["model", *CELL]
SCORES = [
    *KEY,
    "estimand",
    "estimate",
    "ci_low",
    "ci_high",
    "n_questions",
    "n_images",
    "chance",
    "chance_corrected",
    "interval",
]
COMPARISON = [
    "model",
    *CELL,
    "estimand",
    "reference_accuracy",
    "model_accuracy",
    "estimate",
    "ci_low",
    "ci_high",
    "interval",
    "n_questions",
    "n_images",
    "lost",
    "gained",
    "p",
]


def wilson(successes, n, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion, elementwise.

    Parameters
    ----------
    successes, n : array_like
        Counts of the same shape, n > 0.

    Returns
    -------
    low, high : numpy.ndarray

    References
    ----------
    Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.
    """
    successes, n = np.asarray(successes, float), np.asarray(n, float)
    z = norm.ppf((1 + confidence) / 2)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(successes * (n - successes) / n + z**2 / 4)
    return np.where(successes == 0, 0.0, centre - half), np.where(successes == n, 1.0, centre + half)


def join_answers(predictions: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the facets of their questions: the table that every statistic below reads."""
    facets = questions.drop(columns=["options", "labels", "asked", "answer_idx", "n_options", "image_hash"])
    return predictions.merge(facets, on=QUESTION, how="inner", validate="many_to_one")


def score(answers: pd.DataFrame, by=SLICES, n_resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
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
        pooled. ``chance`` is the mean of 1 / n_options under the same estimand; ``chance_corrected`` is
        (accuracy − chance) / (1 − chance). ``interval`` says ``wilson`` or ``bootstrap``. Without answers it is empty.
    """
    if answers.empty:
        return pd.DataFrame(columns=SCORES)
    tally = tabulate(answers, by)
    weights = image_weights(tally.questions, n_resamples, seed)
    known = {}
    tables = [_scores(tally, layout, weights, known) for layout in layouts(tally.questions, by)]
    table = pd.concat(tables, ignore_index=True)
    order = ["estimand", *KEY]
    return table.sort_values(order, key=lambda c: -(c == "micro") if c.name == "estimand" else c, ignore_index=True)


def _scores(tally: Tally, layout: Layout, weights: np.ndarray, known: dict) -> pd.DataFrame:
    """Scores of the cells of one facet; a model without an answer in a cell has no row there."""
    n, n_images = cell_sums(layout, tally.answered), cell_images(layout, tally.answered)
    chance = estimates(layout, tally.answered / tally.questions.n_options.to_numpy()[:, None], tally.answered)
    accuracy = estimates(layout, tally.correct, tally.answered)
    drawn = draws(layout, tally.correct, tally.answered, weights, known)
    # One question per image in one sub-dataset is a binomial; so, for want of better, is a cell without variation.
    single = (n == n_images) & (cell_datasets(layout, tally.answered) == 1)
    cell, model = np.nonzero(n)
    n, n_images = n[cell, model].astype(int), n_images[cell, model]
    key = layout.cells.iloc[cell].reset_index(drop=True).assign(model=np.array(tally.models)[model])[KEY]
    tables = []
    for estimand in ESTIMANDS:
        low, high = (bound[cell, model] for bound in percentiles(drawn[estimand]))
        binomial = single[cell, model] | (low == high)
        right, guessed = accuracy[estimand][cell, model], chance[estimand][cell, model]
        wilson_low, wilson_high = wilson(right * n_images, n_images)
        tables.append(
            key.assign(
                estimand=estimand,
                estimate=right,
                ci_low=np.where(binomial, wilson_low, low),
                ci_high=np.where(binomial, wilson_high, high),
                n_questions=n,
                n_images=n_images,
                chance=guessed,
                chance_corrected=(right - guessed) / (1 - guessed),
                interval=np.where(binomial, "wilson", "bootstrap"),
            )
        )
    return pd.concat(tables, ignore_index=True)


def compare(answers: pd.DataFrame, reference: str, model: str, by=SLICES, **options) -> pd.DataFrame:
    """``compare_pairs`` of one pair: the paired difference in accuracy, model − reference."""
    return compare_pairs(answers, [(reference, model)], by, **options)


def compare_pairs(answers: pd.DataFrame, pairs, by=SLICES, n_resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
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
        ``bootstrap`` over images with shared draws), ``n_questions, n_images, lost`` (right before, wrong after),
        ``gained`` and ``p`` (McNemar's, exact, two-sided; NaN where an image has several questions, whose answers are
        not independent). Pairs that share no question have no row.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157.
    """
    tally = tabulate(answers[answers.model.isin({model for pair in pairs for model in pair})], by)
    questions, states = paired_states(tally, pairs)
    columns = ["reference", *COMPARISON]
    if questions.empty:
        return pd.DataFrame(columns=columns)
    weights = image_weights(questions, n_resamples, seed)
    known = {}
    tables = [_comparisons(states, layout, weights, known) for layout in layouts(questions, by)]
    table = pd.concat(tables, ignore_index=True).sort_values(CELL, kind="stable")
    table = table.sort_values(["pair", "estimand"], ascending=[True, False], kind="stable", ignore_index=True)
    names = pd.DataFrame(list(pairs), columns=["reference", "model"])
    return names.iloc[table.pair].reset_index(drop=True).join(table)[columns]


def _comparisons(states: dict, layout: Layout, weights: np.ndarray, known: dict) -> pd.DataFrame:
    """Comparisons in the cells of one facet; ``pair`` is the column of the states."""
    answered = sum(states.values())
    before, after = states["kept"] + states["forgotten"], states["kept"] + states["learned"]
    drawn = draws(layout, after - before, answered, weights, known)
    n, n_images = cell_sums(layout, answered), cell_images(layout, answered)
    one_each = n == n_images
    single = one_each & (cell_datasets(layout, answered) == 1)
    cell, pair = np.nonzero(n)
    lost, gained = (cell_sums(layout, states[way])[cell, pair].astype(int) for way in ("forgotten", "learned"))
    n, n_images, one_each, single = (counts[cell, pair] for counts in (n, n_images, one_each, single))
    single_low, single_high = bonett_price(lost, gained, n)
    base, tuned = (estimates(layout, right, answered) for right in (before, after))
    tables = []
    for estimand in ESTIMANDS:
        low, high = _widened(*(bound[cell, pair] for bound in percentiles(drawn[estimand])), n_images, 1.0)
        right, then = base[estimand][cell, pair], tuned[estimand][cell, pair]
        tables.append(
            layout.cells.iloc[cell]
            .reset_index(drop=True)
            .assign(
                pair=pair,
                estimand=estimand,
                reference_accuracy=right,
                model_accuracy=then,
                estimate=then - right,
                ci_low=np.where(single, single_low, low),
                ci_high=np.where(single, single_high, high),
                interval=np.where(single, "bonett-price", "bootstrap"),
                n_questions=n.astype(int),
                n_images=n_images,
                lost=lost,
                gained=gained,
                p=np.where(one_each, mcnemar_exact(lost, gained), np.nan),
            )
        )
    return pd.concat(tables, ignore_index=True)


def compare_wordings(answers: pd.DataFrame, by=(), n_resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Paired difference in accuracy of every other caption wording from the headline wording, for each model.

    Returns
    -------
    pandas.DataFrame
        The columns of ``compare_pairs`` but ``reference``; ``wording`` is the other one, ``reference_accuracy`` is that
        in the headline wording, ``model_accuracy`` that in the other. Only questions asked in both take part.
    """
    tables = []
    for (model, wording), rows in answers[answers.wording != HEADLINE_WORDING].groupby(["model", "wording"], sort=True):
        headline = answers[(answers.model == model) & (answers.wording == HEADLINE_WORDING)]
        both = pd.concat([headline.assign(model="headline"), rows.assign(model="other")]).assign(wording=0)
        table = compare(both, "headline", "other", by, n_resamples=n_resamples, seed=seed)
        tables.append(table.assign(model=model, wording=wording).drop(columns="reference"))
    if not tables:
        return pd.DataFrame(columns=["model", "wording", "level", "question", "by", "slice", "estimand", "estimate"])
    return pd.concat(tables, ignore_index=True)


def contrast(
    answers: pd.DataFrame, weights: dict, estimand: str = "micro", n_resamples: int = RESAMPLES, seed: int = 0
) -> dict:
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
        ``estimate, ci_low, ci_high, n_questions, n_images``. All models share the draws, so it is paired.
    """
    tally = answered_by_all(tabulate(answers), list(weights))
    if tally.questions.empty:
        return {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n_questions": 0, "n_images": 0}
    factors = np.array(list(weights.values()), dtype=np.float64)[:, None]
    pooled = lay_out(tally.questions.assign(level="all", question="all", wording=0))
    values, answered = tally.correct @ factors, tally.answered[:, :1]
    drawn = draws(pooled, values, answered, image_weights(tally.questions, n_resamples, seed))
    n_images = int(cell_images(pooled, answered).item())
    low, high = (bound.item() for bound in percentiles(drawn[estimand]))
    low, high = _widened(low, high, n_images, np.abs(factors).sum() / 2)
    return {
        "estimate": estimates(pooled, values, answered)[estimand].item(),
        "ci_low": float(low),
        "ci_high": float(high),
        "n_questions": len(tally.questions),
        "n_images": n_images,
    }


def bonett_price(lost, gained, n, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the difference (gained − lost) / n of two paired proportions, elementwise.

    Adjusted Wald: one discordant pair more of each kind, two pairs more in all. It holds its level at the small n of
    single sub-datasets, where a paired bootstrap falls short.

    References
    ----------
    Bonett and Price 2012, J. Educ. Behav. Stat. 37, 479-488.
    """
    lost, gained = (np.asarray(flips, float) + 1 for flips in (lost, gained))
    n = np.asarray(n, float) + 2
    difference = (gained - lost) / n
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(((gained + lost) / n - difference**2) / n)
    return np.maximum(difference - half, -1.0), np.minimum(difference + half, 1.0)


def _widened(low, high, n_images, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Give a bootstrap interval without width (all draws alike) that of an unseen event among the images (Wilson)."""
    slack = np.where(np.isclose(low, high), scale * wilson(0, n_images)[1], 0.0)
    return np.maximum(low - slack, -scale), np.minimum(high + slack, scale)


def mcnemar_exact(lost, gained) -> np.ndarray:
    """Two-sided exact p-value that discordant pairs fall either way alike (binomial, p = 1/2), elementwise."""
    lost, gained = np.asarray(lost), np.asarray(gained)
    return np.minimum(2 * binom.cdf(np.minimum(lost, gained), lost + gained, 0.5), 1.0)


def headline(scores: pd.DataFrame, by: str = "all", estimand: str = "micro") -> pd.DataFrame:
    """Scores of the headline wording under one estimand, for one facet."""
    return scores[(scores.wording == HEADLINE_WORDING) & (scores.estimand == estimand) & (scores.by == by)]


def overall(table: pd.DataFrame, level: str) -> str:
    """Question under which a level's overall score stands: its only type, or `all`."""
    found = set(table.question[table.level == level])
    return "all" if "all" in found else min(found, default="all")


def totals(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for a whole level."""
    pooled = set(scores.level[scores.question == "all"])
    return scores[(scores.question == "all") | ~scores.level.isin(pooled)]
