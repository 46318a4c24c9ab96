"""What fine-tuning changed, question by question and cell by cell, with tests and intervals over the whole family.

A table of forgetting asks many questions at once, so each cell has, beside its own interval and p-value, an interval
that holds together with all others in 95 % of studies, and a p-value adjusted for the family. No cell is left out.
"""

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from .cells import CELL, Layout, answered_cells, cell_sums, distinct, drawn_by_facet, image_sums
from .intervals import (
    CONFIDENCE,
    ENDS,
    POWER,
    choose,
    critical_value,
    detectable_difference,
    holm,
    mcnemar_exact,
    paired_form,
    percentiles,
    quantile,
    sign_flip,
)
from .tally import paired_states, tabulate

LARGE_EFFECT = 0.2
FACETS = ("modality", "scale", "dataset")


def compare_cells(answers: pd.DataFrame, pairs, by=FACETS, *, family=None) -> pd.DataFrame:
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
        From the table of all cells to the rows that are asked about, as booleans; the others are left out. Without it
        all rows are, but for ``all`` where a level has one question type.

    Returns
    -------
    pandas.DataFrame
        One row per pair and cell: ``reference, model, level, question, wording, by, slice``; ``n_questions,
        n_images``; ``reference_accuracy, model_accuracy``, ``estimate`` (of the difference);
        ``ci_low, ci_high``: pointwise 95 % interval, as in ``scores.compare_pairs``;
        ``joint_low, joint_high``: simultaneous 95 % interval over all rows;
        ``p, test``: exact McNemar (``mcnemar``) where every image has one question in the cell, else the exact
        sign-flip test over images, or groups of them (``sign-flip``); ``p_adjusted``: Holm's, over all rows;
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
    columns = ["reference", "model", *CELL, "n_questions", "n_images", "reference_accuracy", "model_accuracy", *ENDS]
    columns += ["joint_low", "joint_high", "interval", "p", "p_adjusted", "test", *states, "detectable", "small"]
    if questions.empty:
        return pd.DataFrame(columns=columns)
    step, answered = states["learned"] - states["forgotten"], sum(states.values())
    parts = [_cells(states, layout, drawn) for layout, drawn in drawn_by_facet(questions, step, answered, by)]
    table = pd.concat([cells for cells, _ in parts], ignore_index=True)
    drawn = np.concatenate([differences for _, differences in parts])
    names = pd.DataFrame(list(pairs), columns=columns[:2])
    table = names.iloc[table.column].reset_index(drop=True).join(table)
    kept = table.index.isin(distinct(table).index) if family is None else family(table).to_numpy(bool)
    table, drawn = table[kept].reset_index(drop=True), drawn[kept]
    if table.empty:
        return pd.DataFrame(columns=columns)
    n = table.n_questions.to_numpy()
    one_each = n == table.n_units.to_numpy()
    p = np.where(one_each, mcnemar_exact(table.forgotten, table.learned), table.p)
    robust = np.where(one_each, 0.0, np.nanstd(drawn, axis=1, ddof=1) * quantile(df=table.df) / quantile())
    table = table.join(family_intervals(table, drawn)).assign(
        p=p,
        p_adjusted=holm(p),
        test=np.where(one_each, "mcnemar", "sign-flip"),
        detectable=detectable_difference(table.forgotten + table.learned, n, table.n_units, robust),
        small=binom.sf(5, table.n_units, LARGE_EFFECT) < POWER,
    )
    return table.sort_values(["column", *CELL], ignore_index=True)[columns]


def _cells(states: dict, layout: Layout, drawn: dict) -> tuple[pd.DataFrame, np.ndarray]:
    """Counts of the cells of one facet, the sign-flip p-value, and the draws of the difference (cells, resamples)."""
    cells, at = answered_cells(layout, sum(states.values()))
    counts = {state: cell_sums(layout, values)[at].astype(int) for state, values in states.items()}
    of, change = image_sums(layout, states["learned"] - states["forgotten"])
    flips = np.split(change.astype(int), np.searchsorted(of, np.arange(1, len(layout.cells))))
    table = cells.assign(
        reference_accuracy=(counts["kept"] + counts["forgotten"]) / cells.n_questions,
        model_accuracy=(counts["kept"] + counts["learned"]) / cells.n_questions,
        estimate=(counts["learned"] - counts["forgotten"]) / cells.n_questions,
        p=[sign_flip(flips[cell][:, pair]) for cell, pair in zip(*at, strict=True)],
        **counts,
    )
    return table, drawn["micro"][at]


def family_intervals(cells: pd.DataFrame, drawn: np.ndarray) -> pd.DataFrame:
    """Pointwise and simultaneous 95 % intervals of paired differences, as ``compare_cells`` describes them.

    Parameters
    ----------
    cells : pandas.DataFrame
        The family: ``estimate, forgotten, learned`` beside the columns of ``cells.answered_cells``.
    drawn : numpy.ndarray, shape (n_cells, n_resamples)
        Draws of the differences.

    Returns
    -------
    pandas.DataFrame
        ``ci_low, ci_high, interval, joint_low, joint_high``, with the index of the cells.
    """
    estimate, error = cells.estimate.to_numpy(), np.nanstd(drawn, axis=1, ddof=1)

    def interval(confidence, low, high):
        closed = paired_form(cells.forgotten, cells.learned, cells, drawn, confidence)
        how = {"closed": closed, "single": cells.single | cells.grouped, "withheld": cells.alone}
        return choose(low, high, **how, n_units=cells.n_units, confidence=confidence)

    own = interval(CONFIDENCE, *percentiles(drawn))
    critical = critical_value(drawn, estimate, error)
    joint = interval(1 - 2 * norm.sf(critical), estimate - critical * error, estimate + critical * error)
    bounds = {
        "joint_low": np.minimum(joint["ci_low"], own["ci_low"]),  # a skewed percentile interval may reach over it
        "joint_high": np.maximum(joint["ci_high"], own["ci_high"]),
    }
    return pd.DataFrame({**own, **bounds}, index=cells.index)
