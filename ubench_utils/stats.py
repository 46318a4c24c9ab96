"""Scores with intervals: one resampling of images serves all models, slices and differences.

An image carries several questions, so images, not questions, are resampled (clusters), within each sub-dataset
(strata); all models share the draws, which makes differences paired. A single cell, one question per image within
one sub-dataset, gets a Wilson interval instead: at small n and high accuracy it covers where a bootstrap does not.

Two estimands, both named: ``micro`` pools the questions (the paper's tables), ``macro`` is the unweighted mean over
sub-datasets (the paper's interpolation figure).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import binomtest, norm

from .questions import HEADLINE_WORDING

CONFIDENCE = 0.95
RESAMPLES = 2000
SLICES = ["dataset", "modality", "submodality", "scale", "domain", "subdomain", "stain", "organism", "taxonomy"]
ESTIMANDS = ["micro", "macro"]
CELL = ["level", "question", "wording", "by", "slice"]
KEY = ["model", *CELL]
QUESTION = ["dataset", "image_id", "question", "wording"]


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


def resampling_weights(strata, n_resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each image is drawn in each bootstrap resample, drawn with replacement within its stratum.

    Parameters
    ----------
    strata : array_like, shape (n_images,)
        Sub-dataset of every image.

    Returns
    -------
    numpy.ndarray, float32, shape (n_resamples, n_images)
        Every row sums to the stratum's size within each stratum.
    """
    codes = pd.factorize(np.asarray(strata), sort=True)[0]
    rng = np.random.default_rng(seed)
    weights = np.empty((n_resamples, len(codes)), dtype=np.float32)
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_resamples)
    return weights


def join_answers(predictions: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the facets of their questions: the table that every statistic below reads."""
    facets = questions.drop(columns=["options", "labels", "asked", "answer_idx", "n_options", "image_hash"])
    return predictions.merge(facets, on=QUESTION, how="inner", validate="many_to_one")


@dataclass(frozen=True)
class Cells:
    """Scores of every model × level × question × wording × slice and their bootstrap draws.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per cell: ``KEY``, ``n_questions``, ``n_images``, ``n_datasets``.
    accuracy, chance : dict of str to numpy.ndarray, shape (n_cells,)
        Per estimand.
    draws : dict of str to numpy.ndarray, shape (n_resamples, n_cells)
        Accuracy in each resample, per estimand; all cells and models share the resamples. NaN where a resample
        holds no question of a sub-dataset of the cell.
    """

    table: pd.DataFrame
    accuracy: dict
    chance: dict
    draws: dict


def resample(answers: pd.DataFrame, by=(), n_resamples: int = RESAMPLES, seed: int = 0) -> Cells:
    """Compute all cells from one weight matrix: sums per image and part (cell × sub-dataset), one product each."""
    image = pd.MultiIndex.from_frame(answers[["dataset", "image_id"]])
    images = image.unique().sort_values()
    own = answers[["model", "level", "question", "wording", "dataset", "n_options"]].assign(
        correct=answers.correct.astype(np.float32), at=images.get_indexer(image)
    )
    several = answers.groupby("level", observed=True).question.transform("nunique").to_numpy() > 1
    rows = np.concatenate([np.arange(len(own)), np.flatnonzero(several)])  # each answer, then again under `all`
    own = own.iloc[rows].assign(question=np.append(own.question, ["all"] * several.sum()))
    own = own.astype(dict.fromkeys(["model", "level", "question", "dataset"], "category"))  # codes, not text
    facets = {"all": np.full(len(rows), "all")} | {facet: answers[facet].astype(str).to_numpy()[rows] for facet in by}
    sliced = pd.concat([own.assign(by=facet, slice=value) for facet, value in facets.items()], ignore_index=True)
    sliced = sliced.astype({"by": "category", "slice": "category"})

    groups = sliced.groupby([*KEY, "dataset"], sort=True, observed=True)
    part, at = groups.ngroup().to_numpy(), sliced["at"].to_numpy()
    shape = (len(images), groups.ngroups)
    hits = sparse.csc_matrix((sliced.correct.to_numpy(), (at, part)), shape=shape)
    counts = sparse.csc_matrix((np.ones(len(part), np.float32), (at, part)), shape=shape)
    hit, n = (np.asarray(sums.sum(0)).ravel() for sums in (hits, counts))
    chance = np.bincount(part, 1 / sliced.n_options.to_numpy())
    parts = groups.size().rename("n_questions").reset_index().assign(n_images=np.diff(counts.indptr), n_datasets=1)
    table = parts.groupby(KEY, sort=True, observed=True)[["n_questions", "n_images", "n_datasets"]].sum().reset_index()
    table = table.astype(dict.fromkeys(["model", "level", "question", "by", "slice"], str))

    weights = resampling_weights(images.get_level_values("dataset"), n_resamples, seed)
    drawn_hit, drawn_n = ((sums.T @ weights.T).T for sums in (hits, counts))
    first = np.concatenate([[0], np.cumsum(table.n_datasets)[:-1]]).astype(int)

    def pool(values):  # over the sub-datasets of each cell, along the last axis
        return np.add.reduceat(values, first, axis=-1)

    size = table.n_datasets.to_numpy()
    with np.errstate(invalid="ignore"):  # 0 / 0 where a resample holds no question of a part
        return Cells(
            table,
            accuracy={"micro": pool(hit) / pool(n), "macro": pool(hit / n) / size},
            chance={"micro": pool(chance) / pool(n), "macro": pool(chance / n) / size},
            draws={"micro": pool(drawn_hit) / pool(drawn_n), "macro": pool(drawn_hit / drawn_n) / size},
        )


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
        Columns ``model, level, question, wording, by, slice, estimand, accuracy, ci_low, ci_high, n_questions,
        n_images, chance, chance_corrected, interval``. ``question`` is ``all`` where the types of a level are
        pooled. ``chance`` is the mean of 1 / n_options under the same estimand; ``chance_corrected`` is
        (accuracy − chance) / (1 − chance). ``interval`` says ``wilson`` or ``bootstrap``.
    """
    cells = resample(answers, by, n_resamples, seed)
    # One question per image in one sub-dataset is a binomial; so, for want of better, is a cell without variation.
    single = ((cells.table.n_questions == cells.table.n_images) & (cells.table.n_datasets == 1)).to_numpy()
    tables = []
    for estimand in ESTIMANDS:
        accuracy, chance, draws = cells.accuracy[estimand], cells.chance[estimand], cells.draws[estimand]
        low, high = percentiles(draws)
        binomial = single | (low == high)
        n = cells.table.n_images.to_numpy()
        wilson_low, wilson_high = wilson(accuracy * n, n)
        tables.append(cells.table[KEY].assign(
            estimand=estimand, accuracy=accuracy, ci_low=np.where(binomial, wilson_low, low),
            ci_high=np.where(binomial, wilson_high, high), n_questions=cells.table.n_questions, n_images=n,
            chance=chance, chance_corrected=(accuracy - chance) / (1 - chance),
            interval=np.where(binomial, "wilson", "bootstrap"),
        ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def compare(
    answers: pd.DataFrame, base: str, tuned: str, by=SLICES, n_resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Paired difference in accuracy, tuned − base, on the questions that both models answered.

    Returns
    -------
    pandas.DataFrame
        Columns ``level, question, wording, by, slice, estimand, base, tuned`` (accuracies), ``difference, ci_low,
        ci_high, interval`` (``bonett-price`` for one question per image in one sub-dataset, else ``bootstrap`` over
        images with shared draws), ``n_questions, n_images, lost`` (right before, wrong after), ``gained`` and
        ``p_mcnemar`` (exact, two-sided; NaN where an image has several questions, whose answers are not
        independent). Empty where the models share no question.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157.
    """
    both = _answered_by_all(answers, [base, tuned])
    columns = [*CELL, "estimand", "base", "tuned", "difference", "ci_low", "ci_high", "interval", "n_questions",
               "n_images", "lost", "gained", "p_mcnemar"]  # fmt: skip
    if both.empty:
        return pd.DataFrame(columns=columns)
    cells = resample(both, by, n_resamples, seed)
    before = np.flatnonzero(cells.table.model == base)
    after = np.flatnonzero(cells.table.model == tuned)  # sorted alike, so cell for cell the same
    lost, gained = (resample(_flips(both, base, tuned, way), by, 1, seed) for way in ("lost", "gained"))
    table = cells.table.loc[before].reset_index(drop=True)
    n, n_images = table.n_questions.to_numpy(), table.n_images.to_numpy()
    n_lost, n_gained = ((flips.accuracy["micro"] * n).round().astype(int) for flips in (lost, gained))
    one_each = n == n_images
    single = one_each & (table.n_datasets == 1).to_numpy()
    single_low, single_high = bonett_price(n_lost, n_gained, n)
    p = [mcnemar_exact(*flips) if one else np.nan for *flips, one in zip(n_lost, n_gained, one_each, strict=True)]
    tables = []
    for estimand in ESTIMANDS:
        accuracy, draws = cells.accuracy[estimand], cells.draws[estimand]
        low, high = _widened(*percentiles(draws[:, after] - draws[:, before]), n_images, 1.0)
        tables.append(table[CELL].assign(
            estimand=estimand, base=accuracy[before], tuned=accuracy[after],
            difference=accuracy[after] - accuracy[before], ci_low=np.where(single, single_low, low),
            ci_high=np.where(single, single_high, high), interval=np.where(single, "bonett-price", "bootstrap"),
            n_questions=n, n_images=n_images, lost=n_lost, gained=n_gained, p_mcnemar=p,
        ))  # fmt: skip
    return pd.concat(tables, ignore_index=True)[columns]


def compare_wordings(answers: pd.DataFrame, by=(), n_resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Paired difference in accuracy of every other caption wording from the headline wording, for each model.

    Returns
    -------
    pandas.DataFrame
        ``model``, ``wording`` (the other one) and the columns of ``compare`` from ``level`` on: ``base`` is the
        accuracy in the headline wording, ``tuned`` that in the other. Only questions asked in both take part.
    """
    tables = []
    for (model, wording), rows in answers[answers.wording != HEADLINE_WORDING].groupby(["model", "wording"], sort=True):
        headline = answers[(answers.model == model) & (answers.wording == HEADLINE_WORDING)]
        both = pd.concat([headline.assign(model="headline"), rows.assign(model="other")]).assign(wording=0)
        table = compare(both, "headline", "other", by, n_resamples, seed).drop(columns="wording")
        tables.append(table.assign(model=model, wording=wording))
    if not tables:
        return pd.DataFrame(columns=["model", "wording", "level", "question", "by", "slice", "estimand", "difference"])
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
    pooled = _answered_by_all(answers, list(weights)).assign(level="all", question="all", wording=0)
    if pooled.empty:
        return {"estimate": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n_questions": 0, "n_images": 0}
    cells = resample(pooled, (), n_resamples, seed)
    factors = cells.table.model.map(weights).to_numpy()
    n_images = int(cells.table.n_images.iloc[0])
    low, high = _widened(*percentiles(cells.draws[estimand] @ factors), n_images, np.abs(factors).sum() / 2)
    return {
        "estimate": float(cells.accuracy[estimand] @ factors), "ci_low": float(low), "ci_high": float(high),
        "n_questions": int(cells.table.n_questions.iloc[0]), "n_images": n_images,
    }  # fmt: skip


def percentiles(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central 95 % of bootstrap draws, along the first axis; NaN draws count for nothing."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail], axis=0)
    return low, high


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


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact p-value that discordant pairs fall either way alike (binomial, p = 1/2)."""
    return float(binomtest(int(min(lost, gained)), int(lost + gained), 0.5).pvalue) if lost + gained else 1.0


def _answered_by_all(answers: pd.DataFrame, models: list) -> pd.DataFrame:
    """Answers of these models to the questions that every one of them answered."""
    chosen = answers[answers.model.isin(models)]
    return chosen[chosen.groupby(QUESTION, observed=True).model.transform("nunique") == len(set(models))]


def _flips(both: pd.DataFrame, base: str, tuned: str, way: str) -> pd.DataFrame:
    """Answers of the base with ``correct`` replaced by: lost (right before, wrong after) or gained."""
    before = both[both.model == base].set_index(QUESTION)
    after = both[both.model == tuned].set_index(QUESTION).correct.reindex(before.index).astype(bool)
    right = before.correct.astype(bool)
    return before.assign(correct=right & ~after if way == "lost" else ~right & after).reset_index()
