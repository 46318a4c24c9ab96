"""Choosing α, the weight of the fine-tuned model in an interpolation, without flattering the choice.

The best of several scores is too good on the questions that chose it (optimism). Cross-fitting chooses α on some
images and scores it on others, in turns, so that every image is scored by a choice that did not see it.
"""

import numpy as np
import pandas as pd

from .cells import answered_cells, lay_out
from .intervals import choose, percentiles
from .resampling import generator, image_weights
from .tally import answered_by_all, tabulate

FOLDS = 5
SPLITS = 20
TIE = 1e-9  # scores closer than this are one score, whatever the order of summation


def cross_fit(
    answers: pd.DataFrame,
    weights: dict | None = None,
    term: str = "term",
    estimand: str = "micro",
) -> dict:
    """Score of the α that maximises a target, by cross-fitting, against the score on the questions that chose it.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``interpolation.sweep``: with a column ``alpha``; questions that not every α answered are left out.
    weights : dict, optional
        Weight of the accuracy in each term of the target: ``{"in-domain": 0.5, "out-of-domain": 0.5}``; rows of other
        terms are left out. Without it the target is the accuracy over all rows.
    term : str
        Column of the answers that names the term of each row.
    estimand : {"micro", "macro"}
        Of the accuracy within each term.

    Returns
    -------
    dict
        ``alpha``: the best on all data, the smallest of equals; ``alpha_low, alpha_high``: where the best α falls in
        95 % of the resamples; ``alpha_share``: the share of resamples whose best is ``alpha``;
        ``naive``: score of ``alpha`` on all data; ``cross_fitted, ci_low, ci_high``; ``optimism``: naive −
        cross_fitted; ``over_base, over_base_low, over_base_high``: cross-fitted − base (α = 0), paired;
        ``over_tuned, …``: the same against the fine-tuned model (α = 1); ``n_questions, n_images``. All but these two
        are NaN where ``scores.score`` would withhold the mean over sub-datasets (macro) of a term, or its interval.

    Raises
    ------
    ValueError
        If α = 0 or 1 is missing, no question was answered at every α, or a term has no question.

    Notes
    -----
    The images of each sub-dataset, copies and groups as one, are dealt into ``FOLDS``; each is scored by the α chosen
    on the others. All is repeated over random ``SPLITS`` and averaged, since one split is a matter of luck.

    Intervals (95 %, percentile) resample images and keep the choices of the folds; each resample is of one split, in
    turn. The variance of such draws is that of Chernozhukov et al. (2018, definition 3.3): the mean over splits of the
    variance within a split, plus that between splits. Draws of the average over splits would be too narrow, as each
    image's answers would be averaged over the α chosen in the splits. Choosing anew in every resample would treat the
    noise of this sample as signal, in training and test folds alike, and be optimistic again. With 90 images and
    eleven equally good α, where choices are least stable, simulated intervals cover 93 to 94 %.

    References
    ----------
    Chernozhukov et al. 2018, Econom. J. 21, C1-C68 (cross-fitting, repeated over splits). Varma and Simon 2006,
    BMC Bioinformatics 7, 91 (optimism of a choice scored on its own data).
    """
    if weights is None:
        weights, term = {"all": 1.0}, "_term"
        answers = answers.assign(_term="all")
    rows = answers[answers[term].isin(list(weights))]
    rows = rows.assign(model=rows.alpha)
    tally = tabulate(rows, [term])
    alphas = np.array(tally.models, dtype=float)
    if not {0, 1} <= set(alphas):
        raise ValueError(f"alphas {alphas.tolist()}: they must hold 0 and 1")
    tally = answered_by_all(tally, tally.models)
    questions = tally.questions
    if missing := set(weights) - set(questions[term]):
        raise ValueError(f"no question answered at every alpha in {sorted(missing)}")
    parts = _parts(questions, tally.correct, weights, term, estimand)

    images = questions.drop_duplicates("image").sort_values("image")
    fold = _folds(images.stratum, FOLDS, SPLITS)  # (n_splits, n_images)
    training = fold[:, None] != np.arange(FOLDS)[:, None]  # (n_splits, n_folds, n_images)
    chosen = _best(_scores(parts, training.reshape(-1, len(images)).T)).reshape(SPLITS, FOLDS)
    by_image = np.take_along_axis(chosen, fold, axis=1)
    parts = [
        (image, np.concatenate([hits, np.take_along_axis(hits, by_image[:, image].T, axis=1)], axis=1), *rest)
        for image, hits, *rest in parts
    ]  # a column for every α, then one for every split: each image as answered by the α chosen without it
    n = len(alphas)

    estimate = _scores(parts, np.ones((len(images), 1)))[:, 0]
    drawn = _scores(parts, image_weights(questions))
    n_resamples = drawn.shape[1]
    terms, _ = answered_cells(lay_out(questions.assign(level="", question="all", wording=0), term), tally.answered)
    df = (terms.df if estimand == "micro" else terms.df_mean).min()
    cross_fitted = estimate[n:].mean()
    redrawn_score = drawn[n + np.arange(n_resamples) % SPLITS, np.arange(n_resamples)]
    best, redrawn = _best(estimate[:n, None]).item(), _best(drawn[:n])
    alpha_low, alpha_high = np.quantile(alphas[redrawn], [0.025, 0.975], method="inverted_cdf")
    result = {
        "alpha": float(alphas[best]),
        "alpha_low": float(alpha_low),
        "alpha_high": float(alpha_high),
        "alpha_share": float((redrawn == best).mean()),
        "naive": float(estimate[best]),
        "cross_fitted": float(cross_fitted),
        **_interval("ci", redrawn_score, df),
        "optimism": float(estimate[best] - cross_fitted),
    }
    for name, alpha in (("over_base", 0), ("over_tuned", 1)):
        at = np.flatnonzero(alphas == alpha).item()
        result[name] = float(cross_fitted - estimate[at])
        result |= _interval(name, redrawn_score - drawn[at], df, len(images))
    if terms.alone.any() or (estimand == "macro" and terms.withheld.any()):
        result = dict.fromkeys(result, np.nan)
    return result | {"n_questions": len(questions), "n_images": questions.content.nunique()}


def pareto(gain, retained) -> np.ndarray:
    """Which points no other point dominates: none is as good in both coordinates and better in one.

    Parameters
    ----------
    gain, retained : array_like, shape (n,)
        More is better, say the accuracy on the target and what is left of the base model's accuracy elsewhere.

    Returns
    -------
    numpy.ndarray, bool, shape (n,)
    """
    points = np.column_stack([gain, retained]).astype(float)
    as_good = (points[:, None] >= points).all(axis=2)
    better = (points[:, None] > points).any(axis=2)
    return np.logical_not((as_good & better).any(axis=0))


def _parts(questions: pd.DataFrame, correct: np.ndarray, weights: dict, term: str, estimand: str) -> list:
    """What adds up to the target: each part's images, their hits at every α, their questions, and its coefficient."""
    key = [term] if estimand == "micro" else [term, "dataset"]
    parts = []
    groups = questions.groupby(key, observed=True).indices
    names = [name[0] if isinstance(name, tuple) else name for name in groups]
    for name, rows in zip(names, groups.values(), strict=True):
        image, at = np.unique(questions.image.to_numpy()[rows], return_inverse=True)
        hits = np.zeros((len(image), correct.shape[1]), dtype=np.float32)
        np.add.at(hits, at, correct[rows])
        parts.append((image, hits, np.bincount(at).astype(np.float32), weights[name] / names.count(name)))
    return parts


def _scores(parts: list, weights: np.ndarray) -> np.ndarray:
    """Target of every column under every weighting of the images, (n_images, n_weightings).

    A part without an image under a weighting counts 0 there, for all columns alike.
    """
    total = np.zeros(())
    for image, hits, n, coefficient in parts:
        drawn = weights[image].astype(np.float32)
        size = (n @ drawn).astype(np.float64)
        total = total + coefficient * (hits.T @ drawn) / np.maximum(size, 1)
    return total


def _best(scores: np.ndarray) -> np.ndarray:
    """The first of the highest along the first axis: α are ascending."""
    return (scores >= scores.max(axis=0) - TIE).argmax(axis=0)


def _folds(strata, n_folds: int, n_splits: int) -> np.ndarray:
    """Fold of every image in every split, dealt out within each stratum from a random first fold on."""
    strata = pd.Series(np.asarray(strata)).astype(str)
    fold = np.empty((n_splits, len(strata)), dtype=np.int64)
    for name, members in strata.groupby(strata).indices.items():
        rng = generator(name, "folds")  # not the stream that draws the resampling weights
        for split in fold:
            split[rng.permutation(members)] = (np.arange(len(members)) + rng.integers(n_folds)) % n_folds
    return fold


def _interval(name: str, drawn: np.ndarray, df: float, n_units: int | None = None) -> dict:
    """Interval of draws; that of a difference has a width in any case."""
    low, high = percentiles(drawn, df)
    if n_units is not None:
        low, high, _ = choose(low, high, n_units=n_units).values()
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
