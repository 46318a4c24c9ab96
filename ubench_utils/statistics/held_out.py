"""Whether plain rules name the class of what they have not seen: by random halves, whole groups in one of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

SPLITS, LARGE, FEWER = 12, 1000, 4  # halvings; of more than so many items, fewer
SHUFFLES = 399
LEVEL = 0.05
RULES = ["rule", "estimate", "reference", "by_chance", "p", "n"]


def beyond_chance(looks: Mapping[str, np.ndarray], classes, units, *, n_sets: int = 1) -> pd.DataFrame:
    """Rules that are learned on one half and asked about the other, held against the same rules on shuffled classes.

    Parameters
    ----------
    looks : mapping of str to numpy.ndarray, int of shape (n,) or float of shape (n, n_features)
        What each rule looks at. Whole numbers, from 0, name a value that an item has: the rule says the class that is
        most common among the items of the same value. Floats are measures: it says the class of the nearest mean, each
        measure in units of its scatter within classes, a frequent class being nearer (linear discriminant, measures
        taken as independent).
    classes : array_like, shape (n,)
    units : array_like, shape (n,)
        Groups of items: each lies in one half as a whole, and classes are shuffled among them.
    n_sets : int
        How many sets of items are looked at, all of which ``p`` is to hold for (Bonferroni).

    Returns
    -------
    pandas.DataFrame
        A row a rule: ``rule``; ``estimate``, its accuracy on what it has not seen; ``reference``, of always saying the
        class that is most frequent in all; ``by_chance``, what 95 % of shuffled classes stay below; ``p``, how often
        any of the rules stands out as much where classes are shuffled; ``n`` items.

    Notes
    -----
    Halves overlap between splits, and what luck does to one half it does to the other, so an interval over the items'
    hits is far too short: of shuffled classes it calls up to 40 % of data sets telling. Shuffling knows of both. A
    group of one class gets the class of another group; where groups hold several classes, their classes are shuffled
    within, laid end to end in a random order of the groups, and cut again at the groups' sizes. ``p`` is that of the
    largest of all rules' deviations from their means under shuffling, in standard deviations.

    References
    ----------
    Ojala and Garriga 2010, J. Mach. Learn. Res. 11, 1833-1863 (permutation tests of classifiers). Westfall and Young
    1993, Resampling-Based Multiple Testing (largest deviation).
    """
    classes = np.unique(np.asarray(classes, dtype=str), return_inverse=True)[1]
    units = np.unique(np.asarray(units), return_inverse=True)[1]
    rng = np.random.default_rng(0)
    n_shuffles = max(SHUFFLES, int(2 * n_sets / LEVEL) - 1)  # or the least p would be above the level
    labels = np.stack([classes, *(_shuffled(classes, units, rng) for _ in range(n_shuffles))]).astype(np.int16)
    splits = [_half(units, rng) for _ in range(SPLITS if len(units) <= LARGE else FEWER)]
    right = [np.mean([_accuracy(of, labels, half) for half in splits], axis=0) for of in looks.values()]
    found = np.array(right).reshape(len(looks), len(labels))
    spread = found.std(axis=1, keepdims=True)
    deviation = (found - found.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    highest = deviation.max(axis=0, initial=-np.inf)
    table = {
        "rule": list(looks),
        "estimate": found[:, 0],
        "reference": np.bincount(classes).max() / len(classes),
        "by_chance": np.quantile(found[:, 1:], 1 - LEVEL, axis=1),
        "p": np.minimum((highest >= deviation[:, :1] - 1e-9).mean(axis=1) * n_sets, 1),
        "n": len(classes),
    }
    return pd.DataFrame(table, columns=RULES)


def _shuffled(classes: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Classes dealt anew among units."""
    sizes = np.bincount(units)
    order = np.lexsort((rng.random(len(units)), units))  # by unit, shuffled within
    blocks = np.split(classes[order], np.cumsum(sizes)[:-1])
    if all((block == block[0]).all() for block in blocks):
        return rng.permutation([block[0] for block in blocks])[units]
    dealt = np.empty_like(classes)
    dealt[order] = np.concatenate([blocks[at] for at in rng.permutation(len(blocks))])
    return dealt


def _half(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random half of the units, as booleans of the items."""
    order = rng.permutation(units.max() + 1)
    return np.isin(units, order[: (len(order) + rng.integers(2)) // 2])


def _accuracy(values: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Accuracy under each labelling, (n_labellings, n), of a rule learned on a half for the other, and the reverse."""
    score = _most_common if values.ndim == 1 else _nearest_mean
    right = np.zeros(len(labels))
    for learned in (half, ~half):
        known, asked = labels[:, learned], labels[:, ~learned]
        best, said = np.full(asked.shape, -np.inf, np.float32), np.zeros_like(asked)
        for name, scored in enumerate(score(values, known, learned, labels.max() + 1)):
            said = np.where(scored > best, np.int16(name), said)
            best = np.maximum(best, scored)
        right += (said == asked).sum(axis=1)
    return right / labels.shape[1]


def _most_common(values: np.ndarray, known: np.ndarray, learned: np.ndarray, n_classes: int):
    """Yield how often each class has the value of each item asked about; of equals, and of none, how often it is."""
    has = (values[learned, None] == np.arange(values.max() + 1)).astype(np.float32)
    for name in range(n_classes):
        of = (known == name).astype(np.float32)
        share = of.mean(axis=1, keepdims=True) / 2
        yield (of @ has)[:, values[~learned]] + share


def _nearest_mean(values: np.ndarray, known: np.ndarray, learned: np.ndarray, n_classes: int):
    """Yield how near each item asked about is to the mean of each class; −∞ where it was not seen."""
    scaled = ((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)).astype(np.float32)
    seen, asked = scaled[learned], scaled[~learned]
    of = [(known == name).astype(np.float32) for name in range(n_classes)]
    counts = [one.sum(axis=1, keepdims=True) for one in of]
    means = [one @ seen / np.maximum(n, 1) for one, n in zip(of, counts, strict=True)]
    within = (seen**2).sum(axis=0) - sum(n * mean**2 for n, mean in zip(counts, means, strict=True))
    scatter = np.maximum(within / max(len(seen) - n_classes, 1), 1e-6)
    for n, mean in zip(counts, means, strict=True):
        with np.errstate(divide="ignore"):
            often = 2 * np.log(n)
        yield 2 * (mean / scatter) @ asked.T + (often - (mean**2 / scatter).sum(axis=1, keepdims=True))
