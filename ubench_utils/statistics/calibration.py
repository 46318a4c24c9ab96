"""Whether a model's probabilities mean what they say: calibration of the predicted option, with intervals.

Probabilities come from each model's own temperature. Bins hold equally many questions, since confident models leave
bins of equal width nearly empty (Nixon et al. 2019; Kumar et al. 2019); equal probabilities share a bin.
"""

import numpy as np
import pandas as pd

from .cells import LEAST_DF_OF_GROUPS, effective_units
from .intervals import ENDS, percentiles
from .resampling import UNIT, image_weights, numbered

BINS = 15


def calibration_error(answers: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration error of each model: mean over bins of |accuracy − confidence|, weighted by questions.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``, of any number of models (or α), pooled over their rows; answers without
        ``p_predicted`` are left out.

    Returns
    -------
    pandas.DataFrame
        ``model, estimate, ci_low, ci_high, noise, accuracy, confidence, n_questions, n_images``. ``confidence`` is the
        mean probability of the predicted option. ``noise`` is the error that chance alone would show if the model
        were perfectly calibrated: noise in a bin counts as miscalibration, so ``estimate`` is never 0.

    Notes
    -----
    The interval resamples images (or groups of them), with the bins kept and the draws shared by all models. Since the
    estimate is biased upwards, its bootstrap percentiles miss a small true error far too often. By the triangle
    inequality estimate and truth are no farther apart than Σ |gap − true gap|, whose distribution the draws about the
    estimated gaps show: ``ci_low`` is the estimate less its 97.5 % quantile, which is on the safe side. ``ci_high`` is
    the percentile of the draws, less the rise of their mean over the estimate.

    References
    ----------
    Guo et al. 2017, ICML (top-label error, 15 bins). Nixon et al. 2019, CVPR workshops (equal-mass bins). Kumar, Liang
    and Ma 2019, NeurIPS (bias of the estimate).
    """
    columns = ["model", "dataset", "image_id", "p_predicted", "correct", *UNIT]
    rows = numbered(answers.loc[answers.p_predicted.notna(), answers.columns.intersection(columns)])
    weights = image_weights(rows)
    records = []
    for model, own in rows.groupby("model", observed=True):
        bins, p, correct = _bins(own)
        gaps = _by_image(own.image, bins, correct - p, len(weights))
        n = _by_image(own.image, np.zeros(len(own), int), np.ones(len(own)), len(weights))
        ece = np.abs(gaps.sum(axis=0)).sum() / len(own)
        with np.errstate(invalid="ignore"):  # 0 / 0 in a resample without an answer
            gap, drawn_gap = gaps.sum(axis=0)[:, None] / len(own), (gaps.T @ weights) / (n.T @ weights)
        drawn, distance = np.abs(drawn_gap).sum(axis=0), np.abs(drawn_gap - gap).sum(axis=0)
        df = _freedom(own, n)
        high = percentiles(drawn, df)[1] - np.nanmean(drawn) + ece
        records.append(
            {
                "model": model,
                "estimate": ece,
                "ci_low": np.maximum(ece - percentiles(distance, df)[1], 0.0),
                "ci_high": np.minimum(high, 1.0),
                "noise": np.nanmean(distance),
                "accuracy": correct.mean(),
                "confidence": p.mean(),
                "n_questions": len(own),
                "n_images": own.content.nunique(),
            }
        )
    columns = ["model", *ENDS, "noise", "accuracy", "confidence", "n_questions", "n_images"]
    return pd.DataFrame(records, columns=columns)


def _freedom(own: pd.DataFrame, n: np.ndarray) -> float:
    """Degrees of freedom of groups of images; ∞ where no unit holds several, NaN where one group decides."""
    if own.content.nunique() == own.image.nunique():
        return np.inf
    _, df = effective_units(n[n > 0][:, None], np.array([0]), own.stratum.nunique())
    return df.item() if df >= LEAST_DF_OF_GROUPS else np.nan


def _bins(own: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin, confidence and correctness of each answer; bins are numbered by confidence, none is empty."""
    p, correct = own.p_predicted.to_numpy(dtype=float), own.correct.to_numpy(dtype=float)
    edges = np.unique(np.quantile(p, np.arange(1, BINS) / BINS))
    return np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1], p, correct


def _by_image(image, bins: np.ndarray, values: np.ndarray, n_images: int) -> np.ndarray:
    """Sums of the values of each image in each bin, float32, shape (n_images, n_bins)."""
    n_bins = bins.max() + 1
    sums = np.bincount(image.to_numpy() * n_bins + bins, values, n_images * n_bins)
    return sums.reshape(n_images, n_bins).astype(np.float32)
