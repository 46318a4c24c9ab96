"""Which interval an estimate gets: one rule for scores, differences, contrasts and families of them.

Bootstrap draws give the interval (percentiles), with three exceptions. One question per image in one sub-dataset leaves
independent answers, for which closed forms cover at small n and near 0 and 1 where a bootstrap does not: Wilson's for a
proportion, Bonett and Price's for a paired difference. Where images are drawn in groups (specimens, slides), which are
often few, the same forms are taken at the number of independent answers that would scatter as much, with Student's t;
what has no closed form gets wider percentiles. And draws without any variation would give no width: a proportion gets
Wilson's then, a difference that of an unseen event. What no interval can be given for is withheld. The column
``interval`` says which it was.
"""

import numpy as np
from scipy.stats import binom, norm, t

ENDS = ["estimate", "ci_low", "ci_high"]  # columns of an estimate and its interval
CONFIDENCE = 0.95
POWER = 0.8
TINY = 1e-12  # a variance that rounding alone may leave


def columns_of(name: str) -> list[str]:
    """``ENDS`` of one estimate among several of a row: ``NAME, NAME_low, NAME_high``."""
    return [name, f"{name}_low", f"{name}_high"]


def choose(
    low,
    high,
    *,
    closed=None,
    single=False,
    n_units=None,
    scale: float = 1.0,
    confidence: float = CONFIDENCE,
    withheld=False,
):
    """The interval of each estimate, from its bootstrap interval and what else is known of it; elementwise.

    Parameters
    ----------
    low, high : array_like
        Bootstrap interval.
    closed : tuple of (str, array_like, array_like), optional
        Name and bounds of the closed form. Without ``n_units`` it stands in for draws without variation, too.
    single : array_like of bool
        Where the closed form holds: for one answer a unit in one sub-dataset, or for grouped answers at the size that
        they count.
    n_units : array_like of float, optional
        Draws without variation are widened by the upper bound of an event that was not seen in so many units.
    scale : float
        Largest size that such an estimate can have, which is the size of the unseen event.
    withheld : array_like of bool
        Where there is no interval, see ``cells.answered_cells``.

    Returns
    -------
    dict of str to numpy.ndarray
        ``ci_low, ci_high, interval``: ``bootstrap``, ``unseen``, ``withheld``, or the name of the closed form.
    """
    name, closed_low, closed_high = closed or ("", np.nan, np.nan)
    flat = np.isclose(low, high)
    if n_units is None:
        single = single | flat
    else:
        slack = np.where(flat, scale * wilson(0, n_units, confidence)[1], 0.0)
        low, high = np.maximum(low - slack, -scale), np.minimum(high + slack, scale)
    kinds = np.where(single, name, np.where(flat, "unseen", "bootstrap"))
    return {
        "ci_low": np.where(withheld, np.nan, np.where(single, closed_low, low)),
        "ci_high": np.where(withheld, np.nan, np.where(single, closed_high, high)),
        "interval": np.where(withheld, "withheld", kinds),
    }


def quantile(confidence: float = CONFIDENCE, df=np.inf) -> np.ndarray:
    """Two-sided quantile of the normal distribution, or of Student's t where degrees of freedom are stated."""
    df = np.asarray(df, float)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(df), norm.ppf((1 + confidence) / 2), t.ppf((1 + confidence) / 2, df))


def percentiles(draws: np.ndarray, df=np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Central 95 % of bootstrap draws, along the last axis; NaN draws count for nothing.

    The quantiles of ``numpy.nanquantile``, which sorts one row at a time. With degrees of freedom ``df``, of the shape
    of the other axes, they lie as far out as Student's t is beyond the normal distribution; NaN gives NaN.

    References
    ----------
    Hesterberg 2015, Am. Stat. 69, 371-386, section 4.3 (expanded percentile interval).
    """
    df, ordered = np.asarray(df, float), np.sort(draws, axis=-1)  # NaN last
    last = np.maximum((~np.isnan(draws)).sum(axis=-1, keepdims=True) - 1, 0)
    out = np.where(np.isinf(df), (1 - CONFIDENCE) / 2, norm.sf(quantile(df=df)))[..., None]
    bounds = []
    for tail in (out, np.where(np.isinf(df)[..., None], (1 + CONFIDENCE) / 2, 1 - out)):
        place = np.nan_to_num(tail) * last  # NaN: there is no interval
        below = np.floor(place).astype(int)
        low, high = (np.take_along_axis(ordered, np.minimum(at, last), axis=-1) for at in (below, below + 1))
        bounds.append((low + (place - below) * (high - low))[..., 0])
    low, high = (np.where(np.isnan(df), np.nan, bound) for bound in bounds)
    return low, high


def wilson(successes, n, confidence: float = CONFIDENCE, *, df=np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion, elementwise.

    Parameters
    ----------
    successes, n : array_like
        Counts of the same shape, n > 0; of grouped answers, divided by their design effect.
    df : array_like
        Degrees of freedom of the design effect.

    Returns
    -------
    low, high : numpy.ndarray

    References
    ----------
    Wilson 1927, J. Am. Stat. Assoc. 22, 209-212. Korn and Graubard 1998, Surv. Methodol. 24, 193-201 (effective size).
    Franco, Little, Louis and Slud 2019, J. Surv. Stat. Methodol. 7, 334-364 (Wilson's with it covers best).
    """
    successes, n = np.asarray(successes, float), np.asarray(n, float)
    z = quantile(confidence, df)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(successes * (n - successes) / n + z**2 / 4)
    return np.where(successes == 0, 0.0, centre - half), np.where(successes == n, 1.0, centre + half)


def bonett_price(lost, gained, n, confidence: float = CONFIDENCE, *, df=np.inf) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the difference (gained − lost) / n of two paired proportions, elementwise.

    Adjusted Wald: one discordant pair more of each kind, two pairs more in all. It holds its level at the small n of
    single sub-datasets, where a paired bootstrap falls short. Counts of grouped answers are divided by their design
    effect, whose degrees of freedom are ``df``.

    References
    ----------
    Bonett and Price 2012, J. Educ. Behav. Stat. 37, 479-488.
    """
    lost, gained = (np.asarray(flips, float) + 1 for flips in (lost, gained))
    n = np.asarray(n, float) + 2
    difference = (gained - lost) / n
    half = quantile(confidence, df) * np.sqrt(((gained + lost) / n - difference**2) / n)
    return np.maximum(difference - half, -1.0), np.minimum(difference + half, 1.0)


def design_effect(drawn: np.ndarray, spread, n, n_even) -> np.ndarray:
    """How many times more a mean scatters than that of as many independent answers, elementwise.

    Parameters
    ----------
    drawn : numpy.ndarray, shape (…, n_resamples)
        Its bootstrap draws.
    spread : array_like, shape (…)
        Variance of one answer.
    n, n_even : array_like, shape (…)
        Answers, and units of one size that would scatter as much (``cells.answered_cells``), which decide where draws
        show no scatter.

    Returns
    -------
    numpy.ndarray, float, shape (…)
        At least 1.

    References
    ----------
    Kish 1965, Survey Sampling, section 8.2.
    """
    variance = np.nanvar(drawn, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = (variance > TINY) & (spread > TINY)
        return np.where(shown, np.maximum(variance / spread * n, 1), n / np.asarray(n_even))


def paired_form(lost, gained, cells, drawn: np.ndarray, confidence: float = CONFIDENCE) -> tuple:
    """The closed form of pooled paired differences: its name and bounds, as ``choose`` takes them.

    Parameters
    ----------
    lost, gained : array_like, shape (n_cells,)
        Discordant answers.
    cells : pandas.DataFrame
        As from ``cells.answered_cells``: ``n_questions, grouped, n_even, df``.
    drawn : numpy.ndarray, shape (n_cells, n_resamples)
        Draws of the differences.
    """
    n, effect = cells.n_questions, np.ones(())
    if np.any(cells.grouped):
        spread = (lost + gained) / n - ((gained - lost) / n) ** 2
        effect = np.where(cells.grouped, design_effect(drawn, spread, n, cells.n_even), 1.0)
    return "bonett-price", *bonett_price(lost / effect, gained / effect, n / effect, confidence, df=cells.df)


def independent_difference(one, other) -> tuple:
    """Difference, one − other, of two independent estimates and its interval: theirs combined by squares.

    It keeps a width where a proportion is 0 or 1.

    Parameters
    ----------
    one, other : iterable of array_like
        Estimate and the ends of its interval.

    Returns
    -------
    estimate, low, high : array_like

    References
    ----------
    Newcombe 1998, Stat. Med. 17, 873-890, method 10.
    """
    (value, low, high), (subtracted, least, most) = one, other
    difference = value - subtracted
    below, above = np.hypot(value - low, most - subtracted), np.hypot(high - value, subtracted - least)
    return difference, difference - below, difference + above


def mcnemar_exact(lost, gained) -> np.ndarray:
    """Two-sided exact p-value that discordant pairs fall either way alike (binomial, p = 1/2), elementwise."""
    lost, gained = np.asarray(lost), np.asarray(gained)
    return np.minimum(2 * binom.cdf(np.minimum(lost, gained), lost + gained, 0.5), 1.0)


def sign_flip(changes) -> float:
    """Exact two-sided p-value of the sum of clusters' changes when the sign of each is a fair coin.

    Under the null hypothesis base and tuned model are exchangeable within an image, so that an image's change is as
    likely to have either sign. Changes are whole numbers, and their sum under all sign patterns is a sum of scaled
    binomials, one for each size of change: its distribution is their convolution, so no pattern needs to be drawn.
    Changes of one size only make it McNemar's exact test.

    Parameters
    ----------
    changes : array_like of int, shape (n_images,)
        Questions gained less questions lost, of each image.

    References
    ----------
    Fisher 1935, The Design of Experiments, section 21. Pagano and Tritchler 1983, J. Am. Stat. Assoc. 78, 435-440.
    """
    changes = np.asarray(changes)
    sizes, counts = np.unique(np.abs(changes[changes != 0]), return_counts=True)
    null = np.ones(1)  # of Σ size × (positive signs), which is (sum + total) / 2
    for size, count in zip(sizes, counts, strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        null = np.convolve(null, spread)
    extreme = (int(sizes @ counts) - abs(int(changes.sum()))) // 2  # the sum as far on the negative side
    return float(min(2 * null[: extreme + 1].sum(), 1.0))


def holm(p) -> np.ndarray:
    """P-values adjusted for the family of all of them (Holm 1979): step-down, valid under any dependence."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order)]


def critical_value(drawn: np.ndarray, estimate: np.ndarray, error: np.ndarray) -> float:
    """Quantile of the largest studentised deviation of a family, at 95 %.

    Parameters
    ----------
    drawn : numpy.ndarray, shape (n_cells, n_resamples)
    estimate, error : numpy.ndarray, shape (n_cells,)
        Cells whose standard error is zero take no part.

    Returns
    -------
    float
        At least the normal quantile of one cell.
    """
    varied = error > 0
    floor = norm.ppf((1 + CONFIDENCE) / 2)
    if not varied.any():
        return float(floor)
    deviations = np.abs(drawn[varied] - estimate[varied, None]) / error[varied, None]
    deviations = deviations[:, ~np.isnan(deviations).all(axis=0)]  # of resamples that hold a question of any cell
    return (
        float(max(np.quantile(np.nanmax(deviations, axis=0), CONFIDENCE), floor)) if deviations.size else float(floor)
    )


def detectable_difference(discordant, n, n_images, error=0.0) -> np.ndarray:
    """Smallest true difference that a two-sided test at 5 % finds with 80 % power, elementwise.

    One question per image: Connor's sample size of McNemar's test, n = (z₁ √ψ + z₂ √(ψ − δ²))² / δ², solved for δ,
    with z₁ = 1.96, z₂ = 0.84 and the discordance rate ψ = (discordant + 2) / (n + 2), as in Bonett and Price's
    interval. Several questions per image: (z₁ + z₂) × the cluster-robust standard error of the difference. Neither is
    less than what as many questions (images, where none of several changed) show with all discordance in one
    direction, ψ = δ, since a difference cannot exceed the discordance. 1 where nothing less would be
    found.

    Parameters
    ----------
    discordant, n, n_images : array_like of int
    error : array_like of float
        Standard error of the difference over clusters; 0 where every image has one question.

    References
    ----------
    Connor 1987, Biometrics 43, 207-211. Miller 2024, arXiv 2411.00640 (power with clustered standard errors).
    """
    discordant, n, n_images, error = (np.asarray(values, float) for values in (discordant, n, n_images, error))
    z1, z2 = norm.ppf((1 + CONFIDENCE) / 2), norm.ppf(POWER)
    rate = (discordant + 2) / (n + 2)
    a = z1 * np.sqrt(rate)
    with np.errstate(invalid="ignore"):  # no root: too few images for any difference at this discordance, or at all
        paired = a * np.sqrt(n) + np.sqrt(a**2 * n - (n + z2**2) * (a**2 - z2**2 * rate))
        count = np.where(error > 0, n, n_images)
        root = np.sqrt((z1 * z2) ** 2 - (count + z2**2) * (z1**2 - count))
    one_way = 1 - ((root - z1 * z2) / (count + z2**2)).clip(0) ** 2
    found = np.where(error > 0, (z1 + z2) * error, paired / (n + z2**2))
    return np.fmax(found, np.nan_to_num(one_way, nan=1.0)).clip(max=1.0)
