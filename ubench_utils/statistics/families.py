"""What fine-tuning changed, question by question and cell by cell, with tests and intervals over the whole family.

A table of forgetting asks many questions at once, so each cell has, beside its own interval and p-value, an interval
that holds together with all others in 95 % of studies, and a p-value adjusted for the family. No cell is left out.
"""

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from .resampling import (
    CELL,
    CONFIDENCE,
    QUESTION,
    RESAMPLES,
    Layout,
    cell_datasets,
    cell_images,
    cell_sums,
    draws,
    image_sums,
    image_weights,
    layouts,
    paired_states,
    percentiles,
    tabulate,
)
from .scores import bonett_price, mcnemar_exact, wilson

POWER = 0.8
LARGE_EFFECT = 0.2
FACETS = ("modality", "scale", "dataset")


def churn(answers: pd.DataFrame, base: str, tuned: str) -> pd.DataFrame:
    """What became of every question that both models answered.

    Returns
    -------
    pandas.DataFrame
        ``dataset, image_id, question, wording, level, state``; the state is ``kept`` (right before and after),
        ``forgotten`` (right, then wrong), ``learned`` (wrong, then right) or ``never``.

    Raises
    ------
    ValueError
        If a model answered a question twice.
    """
    questions, states = paired_states(tabulate(answers), [(base, tuned)])
    state = np.stack([counts[:, 0] for counts in states.values()]).argmax(axis=0)
    return questions[[*QUESTION, "level"]].assign(state=np.array(list(states), dtype=object)[state])


def compare_cells(
    answers: pd.DataFrame, pairs, by=FACETS, *, family=None, n_resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Difference in micro accuracy, model − reference, of every pair × question type × slice: one family of tests.

    A level's question types pooled (``all``) are rows too, and so is a slice that another one repeats, such as a
    modality of one sub-dataset: copies leave simultaneous intervals as they are and make Holm's adjustment stricter.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``, filtered to the family that is asked about, say one wording; questions that only
        one of the models of a pair answered are left out.
    pairs : sequence of (reference, model)
        Names of models.
    by : sequence of str
        Facets to break down by, beside ``all``.
    family : callable, optional
        From the table of all cells to the rows that are asked about, as booleans; the others are left out.

    Returns
    -------
    pandas.DataFrame
        One row per pair and cell: ``reference, model, level, question, wording, by, slice``; ``n_questions,
        n_images``; ``reference_accuracy, model_accuracy``, ``estimate`` (of the difference);
        ``ci_low, ci_high``: pointwise 95 % interval, as in ``scores.compare_pairs``;
        ``joint_low, joint_high``: simultaneous 95 % interval over all rows;
        ``p, test``: exact McNemar (``mcnemar``) where every image has one question in the cell, else the exact
        sign-flip test over images (``sign-flip``); ``p_adjusted``: Holm's, over all rows;
        ``kept, forgotten, learned, never``: questions in each state (lost and gained are the discordant pairs
        ``forgotten`` and ``learned``);
        ``detectable``: smallest difference that a test at 5 % finds with 80 % power, see ``detectable_difference``;
        ``small``: True where the images are too few to show even a large effect: were a fifth of them lost and none
        gained, six discordant images, the fewest that an exact test can call significant, would be reached with less
        than 80 % probability (below 39 images).
        Empty where no pair shares a question.

    Notes
    -----
    The simultaneous interval is a plug-in sup-t band: the critical value is the 95 % quantile, over the resamples
    that all cells share, of the largest |deviation| / standard error. A cell with one question per image in one
    sub-dataset takes Bonett and Price's interval at the pointwise confidence that this value stands for, since few
    discordant pairs make its bootstrap too narrow; a cell without bootstrap variance, which cannot be studentised,
    takes no part in the maximum and gets Wilson's width for an unseen event at the same confidence.

    References
    ----------
    Westfall and Young 1993, Resampling-Based Multiple Testing. Romano and Wolf 2005, Econometrica 73, 1237-1282.
    Montiel Olea and Plagborg-Møller 2019, J. Appl. Econom. 34, 1-17 (sup-t bands). Holm 1979, Scand. J. Stat. 6, 65-70.
    """
    questions, states = paired_states(tabulate(answers, by), pairs)
    columns = [
        "reference",
        "model",
        *CELL,
        "n_questions",
        "n_images",
        "reference_accuracy",
        "model_accuracy",
        "estimate",
        "ci_low",
        "ci_high",
        "joint_low",
        "joint_high",
        "p",
        "p_adjusted",
        "test",
        *states,
        "detectable",
        "small",
    ]
    if questions.empty:
        return pd.DataFrame(columns=columns)
    weights = image_weights(questions, n_resamples, seed)
    known = {}
    parts = [_cells(states, layout, weights, known) for layout in layouts(questions, by)]
    table = pd.concat([cells for cells, _ in parts], ignore_index=True)
    drawn = np.concatenate([differences for _, differences in parts])
    names = pd.DataFrame(list(pairs), columns=columns[:2])
    table = names.iloc[table.pair].reset_index(drop=True).join(table)
    if family is not None:
        kept = family(table).to_numpy(bool)
        table, drawn = table[kept].reset_index(drop=True), drawn[kept]
    if table.empty:
        return pd.DataFrame(columns=columns)
    n = table.n_questions.to_numpy()
    one_each = n == table.n_images.to_numpy()
    p = np.where(one_each, mcnemar_exact(table.forgotten, table.learned), table.p)
    robust = np.where(one_each, 0.0, np.nanstd(drawn, axis=1, ddof=1))
    table = table.join(family_intervals(table, drawn)).assign(
        p=p,
        p_adjusted=holm(p),
        test=np.where(one_each, "mcnemar", "sign-flip"),
        detectable=detectable_difference(table.forgotten + table.learned, n, table.n_images, robust),
        small=binom.sf(5, table.n_images, LARGE_EFFECT) < POWER,
    )
    return table.sort_values(["pair", *CELL], ignore_index=True)[columns]


def _cells(states: dict, layout: Layout, weights: np.ndarray, known: dict) -> tuple[pd.DataFrame, np.ndarray]:
    """Counts of the cells of one facet, the sign-flip p-value, and the draws of the difference (cells, resamples)."""
    answered, step = sum(states.values()), states["learned"] - states["forgotten"]
    cell, pair = np.nonzero(cell_sums(layout, answered))
    counts = {state: cell_sums(layout, values)[cell, pair].astype(int) for state, values in states.items()}
    n = sum(counts.values())
    of, change = image_sums(layout, step)
    starts = np.searchsorted(of, np.arange(1, len(layout.cells)))
    flips = np.split(change.astype(int), starts)
    table = (
        layout.cells.iloc[cell]
        .reset_index(drop=True)
        .assign(
            pair=pair,
            n_questions=n,
            n_images=cell_images(layout, answered)[cell, pair],
            n_datasets=cell_datasets(layout, answered)[cell, pair],
            reference_accuracy=(counts["kept"] + counts["forgotten"]) / n,
            model_accuracy=(counts["kept"] + counts["learned"]) / n,
            estimate=(counts["learned"] - counts["forgotten"]) / n,
            p=[sign_flip(flips[row][:, column]) for row, column in zip(cell, pair, strict=True)],
            **counts,
        )
    )
    return table, draws(layout, step, answered, weights, known)["micro"][cell, pair]


def family_intervals(cells: pd.DataFrame, drawn: np.ndarray) -> pd.DataFrame:
    """Pointwise and simultaneous 95 % intervals of paired differences, as ``compare_cells`` describes them.

    Parameters
    ----------
    cells : pandas.DataFrame
        The family: ``estimate, n_questions, n_images, n_datasets, forgotten, learned``.
    drawn : numpy.ndarray, shape (n_cells, n_resamples)
        Draws of the differences.

    Returns
    -------
    pandas.DataFrame
        ``ci_low, ci_high, joint_low, joint_high``, with the index of the cells.
    """
    estimate, error = cells.estimate.to_numpy(), np.nanstd(drawn, axis=1, ddof=1)
    single = ((cells.n_questions == cells.n_images) & (cells.n_datasets == 1)).to_numpy()

    def interval(confidence, low, high):
        pair_low, pair_high = bonett_price(cells.forgotten, cells.learned, cells.n_questions, confidence)
        slack = np.where(error > 0, 0.0, wilson(0, cells.n_images, confidence)[1])
        low, high = np.maximum(low - slack, -1.0), np.minimum(high + slack, 1.0)
        return np.where(single, pair_low, low), np.where(single, pair_high, high)

    low, high = interval(CONFIDENCE, *percentiles(drawn))
    critical = critical_value(drawn, estimate, error)
    half = critical * error
    joint_low, joint_high = interval(1 - 2 * norm.sf(critical), estimate - half, estimate + half)
    bounds = {
        "ci_low": low,
        "ci_high": high,  # a skewed percentile interval may reach over the symmetric one
        "joint_low": np.minimum(joint_low, low),
        "joint_high": np.maximum(joint_high, high),
    }
    return pd.DataFrame(bounds, index=cells.index)


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
    return float(max(np.quantile(np.nanmax(deviations, axis=0), CONFIDENCE), floor))


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
