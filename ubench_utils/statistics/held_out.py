"""How well a plain rule names the class of what it has not seen: by random halves, whole groups in one of them."""

import numpy as np
from scipy.stats import t

from .intervals import CONFIDENCE

SPLITS = 15


def over_majority(values: np.ndarray, classes, units, *, n_tests: int = 1) -> dict:
    """Accuracy of a rule that is learned on one half and asked about the other, beside the most frequent class.

    Parameters
    ----------
    values : numpy.ndarray, int of shape (n,) or float of shape (n, n_features)
        What the rule looks at. Whole numbers name a value that an item has: the rule says the class that is most common
        among the items of the same value. Floats are measures: it says the class of the nearest mean, each measure in
        units of its scatter within classes, the more frequent class being the nearer (Gaussian, equal variances).
    classes : array_like, shape (n,)
    units : array_like, shape (n,)
        What lies in one half as a whole: groups of items.
    n_tests : int
        How many rules are looked at: the interval holds for all of them together (Bonferroni).

    Returns
    -------
    dict
        ``estimate`` (accuracy of the rule), ``reference`` (of always saying the class that is most frequent in all),
        ``over, over_low, over_high``: their difference and its interval; ``n`` items.

    Notes
    -----
    Each of ``SPLITS`` random halvings of the units, with a fixed seed, is used both ways. Halves overlap between
    splits, and what luck does to one half it does to the other, so that an interval over items would be far too short:
    of shuffled labels it calls up to 40 % of data sets telling. The corrected resampled t-test takes the variance of
    the differences over the halves times 1 / J + 1, where J halves were scored and each was as large as that it learned
    on.

    References
    ----------
    Nadeau and Bengio 2003, Mach. Learn. 52, 239-281.
    """
    classes = np.unique(np.asarray(classes, dtype=str), return_inverse=True)[1]
    units = np.unique(np.asarray(units), return_inverse=True)[1]
    n_classes, n_units = classes.max() + 1, units.max() + 1
    rule = _most_common if values.ndim == 1 else _nearest_mean
    always = _top(np.bincount(classes))[classes]
    rng, rows, scores = np.random.default_rng(0), np.arange(len(classes)), []
    for split in range(SPLITS):
        first = np.zeros(n_units, bool)
        first[rng.permutation(n_units)[: (n_units + split % 2) // 2]] = True
        for learned in (first[units], ~first[units]):
            counts = np.bincount(classes[learned], minlength=n_classes)
            said = rule(values, classes, learned, counts)
            scores.append([right[~learned].mean() for right in (said[rows, classes], always)])
    estimate, reference = np.mean(scores, axis=0)
    over = np.subtract(*np.transpose(scores))
    error = np.sqrt((1 / len(over) + 1) * over.var(ddof=1))
    half = t.ppf(1 - (1 - CONFIDENCE) / (2 * n_tests), len(over) - 1) * error
    names = {"estimate": estimate, "reference": reference, "over": over.mean()}
    return names | {"over_low": over.mean() - half, "over_high": over.mean() + half, "n": len(classes)}


def _top(scores: np.ndarray) -> np.ndarray:
    """The share that each of equally high ones has, along the last axis."""
    highest = scores == scores.max(axis=-1, keepdims=True)
    return highest / highest.sum(axis=-1, keepdims=True)


def _most_common(values: np.ndarray, classes: np.ndarray, learned: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Share that the rule gives each class for each item; of equals, and of a value not seen, the most frequent."""
    shape = (values.max() + 1, len(counts))
    cells = values[learned] * shape[1] + classes[learned]
    seen = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    return _top(seen + counts / (counts.sum() + 1))[values]


def _nearest_mean(values: np.ndarray, classes: np.ndarray, learned: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Share that the rule gives each class for each item; a class that was not seen is not said."""
    of = classes[learned]
    sums = np.stack([np.bincount(of, column[learned], len(counts)) for column in values.T], axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    scatter = ((values[learned] - means[of]) ** 2).sum(axis=0) / max(len(of) - (counts > 0).sum(), 1)
    scatter = np.maximum(scatter, 1e-6 * values.var(axis=0) + 1e-12)  # of measures that a class fixes
    distance = ((values[:, None] - means) ** 2 / scatter).sum(axis=2)
    with np.errstate(divide="ignore"):
        return _top(2 * np.log(counts / counts.sum()) - distance)
