"""Answers summed over cells: question types and slices, and what they hold.

A cell has parts, a part being what one sub-dataset contributes. Every statistic is a ratio of sums over the parts, and
its bootstrap draws are one matrix product per part, with the weights of that part's units only (see ``resampling``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from .resampling import image_weights

ESTIMANDS = ["micro", "macro"]
CELL = ["level", "question", "wording", "by", "slice"]
QUESTION = ["dataset", "image_id", "question", "wording"]
LEAST_DF = 8  # of a macro mean: with fewer degrees of freedom its 95 % interval covers less than 80 %
LEAST_DF_OF_GROUPS = 1  # of a mean over groups: below it a single one decides, whose own scatter nothing shows


@dataclass(frozen=True)
class Layout:
    """Which questions make up which cell: the cells of one facet, their parts, and the images of each part.

    Attributes
    ----------
    cells : pandas.DataFrame
        One row per cell: ``CELL``, sorted.
    first : numpy.ndarray, int, shape (n_cells,)
        The first part of each cell; parts are sorted by cell and sub-dataset.
    rows : numpy.ndarray, int
        Rows of the questions, sorted by part and image.
    unit : numpy.ndarray, int, shape (n_units,)
        Where in ``rows`` each unit (one image in one part) starts.
    image : numpy.ndarray, int, shape (n_units,)
        The unit's image.
    bounds : numpy.ndarray, int, shape (n_parts + 1,)
        Where in the units each part starts, and the end.
    cluster : numpy.ndarray, int, shape (n_units,)
        Number of the unit's image among the images of its cell: copies in several parts of a cell are one.
    owner : numpy.ndarray, int, shape (n_clusters,)
        The cell of each cluster, ascending.
    stratum : numpy.ndarray, int, shape (n_clusters,)
        The stratum of each cluster, together within a cell.
    content : numpy.ndarray, int, shape (n_questions,), or None
        The content of each question's image; None where every unit is one content.
    """

    cells: pd.DataFrame
    first: np.ndarray
    rows: np.ndarray
    unit: np.ndarray
    image: np.ndarray
    bounds: np.ndarray
    cluster: np.ndarray
    owner: np.ndarray
    stratum: np.ndarray
    content: np.ndarray | None


def lay_out(questions: pd.DataFrame, facet: str = "all", part: str = "dataset") -> Layout:
    """Cells of level × question type × wording × value of a facet; ``all`` pools a level's types, and all images.

    A question without a value of the facet is in no cell. Every level has its cell ``all``, be it of one type.
    The parts of a cell are the values of the column ``part``.
    """
    named = questions.question.astype(str).to_numpy(dtype=object)
    other = np.flatnonzero(named != "all")
    rows = np.concatenate([np.arange(len(questions)), other])  # each, then again under `all`
    cell_key = ["level", "question", "wording", "slice"]
    keys = pd.DataFrame(
        {
            "level": questions.level.astype(str).to_numpy()[rows],
            "question": np.append(named, ["all"] * len(other)),
            "wording": questions.wording.to_numpy()[rows],
            "slice": "all" if facet == "all" else questions[facet].astype(str).to_numpy(dtype=object)[rows],
            "part": questions[part].astype(str).to_numpy()[rows],
        }
    )
    groups = keys.groupby([*cell_key, "part"], sort=True)
    number = groups.ngroup().fillna(-1).to_numpy(dtype=np.int64)  # no group without a value of the facet
    image = questions.image.to_numpy()[rows]
    order = np.lexsort((image, number))
    order = order[number[order] >= 0]
    number, image = number[order], image[order]
    unit = np.flatnonzero(np.diff(number, prepend=-1) | np.diff(image, prepend=-1))
    bounds = np.append(np.flatnonzero(np.diff(number[unit], prepend=-1)), len(unit))
    n_parts = groups.size().reset_index().groupby(cell_key, sort=True).size()
    cells = n_parts.index.to_frame(index=False).assign(by=facet)[CELL]
    first = (n_parts.cumsum() - n_parts).to_numpy(dtype=np.int64)
    cell = np.searchsorted(first, number[unit], side="right") - 1
    clusters, cluster = np.unique(cell * (image.max(initial=0) + 1) + image[unit], return_inverse=True)
    owner, of = np.divmod(clusters, image.max(initial=0) + 1)
    home = questions.drop_duplicates("image").set_index("image").stratum
    content = questions.content.to_numpy() if questions.content.nunique() > len(home) else None
    return Layout(
        cells, first, rows[order], unit, image[unit], bounds, cluster, owner, pd.factorize(home[of])[0], content
    )


def distinct(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of estimates that are not copies: ``all`` of a level with one question type is one."""
    types = table[table.question != "all"].groupby("level", observed=True).question.nunique()
    return table[(table.question != "all") | (table.level.map(types) != 1)]


def drawn_by_facet(
    questions: pd.DataFrame, values: np.ndarray, answered: np.ndarray, by=(), part: str = "dataset", *, absent=False
) -> Iterator[tuple[Layout, dict]]:
    """Yield ``lay_out`` of ``all``, then of each facet that any question has a value of, and its ``draws``."""
    weights = image_weights(questions)
    known: dict = {}
    for facet in ("all", *by):
        if facet == "all" or questions[facet].notna().any():
            layout = lay_out(questions, facet, part)
            yield layout, draws(layout, values, answered, weights, known, absent=absent)


def cell_sums(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Sums of the questions' values, shape (n_questions, n_columns), over each cell: (n_cells, n_columns)."""
    return np.add.reduceat(_part_sums(layout, values), layout.first, axis=0)


def image_sums(layout: Layout, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values over each image of each cell: the cell of each, ascending, and (n_clusters, n_columns)."""
    return layout.owner, _cluster_sums(layout, _unit_sums(layout, values))


def answered_cells(layout: Layout, answered: np.ndarray) -> tuple[pd.DataFrame, tuple]:
    """The cells in which each column has an answer, and what decides on the interval of an estimate there.

    Parameters
    ----------
    answered : numpy.ndarray, float, shape (n_questions, n_columns)

    Returns
    -------
    table : pandas.DataFrame
        A row for each cell and column: ``CELL``, ``column``, ``n_questions, n_images`` (copies are one image),
        ``n_units`` (images, or groups of them, that are drawn on their own); ``single``: one question per unit in one
        sub-dataset; ``grouped``: some units hold several images; ``one_set``: one sub-dataset; ``alone``: one group
        decides, so that nothing shows how groups scatter; ``withheld``: the mean over sub-datasets (macro) cannot be
        meant, since its scatter has fewer than ``LEAST_DF`` degrees of freedom; ``n_even``: how many units of one size
        would scatter as much as these; ``n_mean``: how many of one sub-dataset would scatter as much as the macro mean;
        ``df, df_mean``: degrees of freedom of the scatter of the pooled and of the macro mean, ∞ where no unit holds
        several images.
    at : tuple of numpy.ndarray
        Cell and column of each row: an index into arrays of shape (n_cells, n_columns, …).

    Notes
    -----
    A sub-dataset of few images weighs as much in a macro mean as one of many, and shows little of its own scatter, a
    single image nothing. How well the interval covers follows from the degrees of freedom, which are Satterthwaite's
    for images that scatter alike: simulated 95 % intervals cover 20 to 75 % below 4 of them (one sub-dataset of two
    images beside nine of 60), 81 to 90 % with 8 (two of five images), 92 % with 22 (two of 12), and less near 0 and 1.
    A single sub-dataset is its own mean.

    Groups of unequal size scatter as if they were fewer: a mean that hangs on one large group shows nothing of how
    groups differ. Their degrees of freedom are those of images that answer alike within a group, which is on the safe
    side.

    References
    ----------
    Satterthwaite 1946, Biometrics Bull. 2, 110-114. Kish 1965, Survey Sampling, section 11.7 (unequal sizes). Carter,
    Schnepel and Steigerwald 2017, Rev. Econ. Stat. 99, 698-709 (effective number of clusters).
    """
    by_unit = _unit_sums(layout, answered)
    sizes = _cluster_sums(layout, by_unit)
    starts = np.searchsorted(layout.owner, np.arange(len(layout.cells)))
    n_units = _seen(sizes, starts)
    n_images = n_units if layout.content is None else _contents(layout, layout.content, answered)
    grouped = n_images > n_units
    of_part = _seen(by_unit, layout.bounds[:-1])  # units
    n_datasets = _seen(of_part, layout.first)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(of_part > 0, 1 / of_part, 0)
        of_variance = np.where(of_part > 0, variance**2 / (of_part - 1), 0)  # ∞ for a single image
        n_even, df = n_units, np.full(n_units.shape, np.inf)
        if grouped.any():
            n_strata = _strata(layout, sizes)
            found = effective_units(sizes, starts, n_strata)
            n_even, df = (np.where(grouped, *pair) for pair in zip(found, (n_even, df), strict=True))
            even, freedom = effective_units(by_unit, layout.bounds[:-1], 1)
            many = np.repeat(grouped, np.diff(layout.first, append=len(of_part)), axis=0) & (of_part > 0)
            variance = np.where(many, 1 / even, variance)
            of_variance = np.where(many, variance**2 / freedom, of_variance)
        total, of_total = (np.add.reduceat(values, layout.first, axis=0) for values in (variance, of_variance))
        df_mean = np.where(grouped, total**2 / of_total, np.inf)
    n = cell_sums(layout, answered)
    at = np.nonzero(n)
    table = layout.cells.iloc[at[0]].reset_index(drop=True)
    table = table.assign(
        column=at[1],
        n_questions=n[at].astype(int),
        n_images=n_images[at],
        n_units=n_units[at],
        n_even=n_even[at],
        n_mean=(n_datasets[at] ** 2 / total[at]),
        df=df[at],
        df_mean=df_mean[at],
        single=((n == n_units) & (n_datasets == 1))[at],
        grouped=grouped[at],
        one_set=(n_datasets == 1)[at],
        alone=(df < LEAST_DF_OF_GROUPS)[at],
        withheld=((n_datasets > 1) & (total**2 < LEAST_DF * of_total))[at],
    )
    return table, at


def _seen(sums: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many of each run are above 0."""
    return np.add.reduceat((sums > 0).astype(np.int64), starts, axis=0)


def _strata(layout: Layout, sizes: np.ndarray) -> np.ndarray:
    """Strata with an answer in each cell."""
    starts = np.flatnonzero(np.diff(layout.owner, prepend=-1) | np.diff(layout.stratum, prepend=-1))
    sums = np.add.reduceat(sizes, starts, axis=0)
    return _seen(sums, np.searchsorted(layout.owner[starts], np.arange(len(layout.cells))))


def _contents(layout: Layout, of: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Distinct images with an answer in each cell."""
    cell = np.repeat(np.arange(len(layout.cells)), np.diff(layout.first, append=len(layout.bounds) - 1))
    ends = np.append(layout.unit, len(layout.rows))[layout.bounds]
    cell, content = np.repeat(cell, np.diff(ends)), of[layout.rows]
    order = np.lexsort((content, cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1) | np.diff(content[order], prepend=-1))
    sums = _sums(layout.rows[order], starts, answered, np.float32)
    return _seen(sums, np.searchsorted(cell[order][starts], np.arange(len(layout.cells))))


def effective_units(sizes: np.ndarray, starts: np.ndarray, n_strata) -> tuple[np.ndarray, np.ndarray]:
    """How many units of one size would scatter as much as units of these, and the degrees of freedom of the scatter.

    Parameters
    ----------
    sizes : numpy.ndarray, shape (n_units, n_columns)
        Answers of each unit.
    starts : numpy.ndarray, int, shape (n_runs,)
        Where each run of units starts that is taken together.
    n_strata : array_like of int, shape (n_runs, n_columns)
        Strata of each run.

    Returns
    -------
    n_even, df : numpy.ndarray, float, shape (n_runs, n_columns)
        See ``answered_cells``.
    """
    one, two, four = (np.add.reduceat(sizes.astype(float) ** power, starts, axis=0) for power in (1, 2, 4))
    return one**2 / two, two**2 / four * (1 - n_strata / _seen(sizes, starts))


def estimates(layout: Layout, values: np.ndarray, answered: np.ndarray) -> dict:
    """Mean of the answered questions' values in each cell, under both estimands.

    Parameters
    ----------
    values : numpy.ndarray, float, shape (n_questions, n_columns)
        0 where not answered. A column may be a model's right answers or a difference of models.
    answered : numpy.ndarray, float, shape (n_questions, n_columns) or (n_questions, 1)

    Returns
    -------
    dict of str to numpy.ndarray, float64, shape (n_cells, n_columns)
        ``micro``, ``macro``; NaN where a cell holds no answer.
    """
    n = _part_sums(layout, answered)
    return _ratios(_part_sums(layout, values), n, n > 0, layout.first)


def draws(
    layout: Layout,
    values: np.ndarray,
    answered: np.ndarray,
    weights: np.ndarray,
    known: dict | None = None,
    *,
    absent: bool = False,
) -> dict:
    """``estimates`` in every resample.

    Parameters
    ----------
    weights : numpy.ndarray, shape (n_images, n_resamples)
        As from ``image_weights``.
    known : dict, optional
        Sums that earlier calls with the same values drew. An empty one is filled by this call, which should be that
        of the facet ``all``: most parts of other facets hold a whole sub-dataset and are found in it.
    absent : bool
        Whether the macro mean is over the parts that a resample holds, as it must be where parts are classes.

    Returns
    -------
    dict of str to numpy.ndarray, float32, shape (n_cells, n_columns, n_resamples)
        NaN where a resample holds no question of a sub-dataset of the cell (macro), or none of the cell.
    """
    if answered.shape[1] > 1 and (answered == answered[:, :1]).all():
        answered = answered[:, :1]  # all columns have the same denominator
    width, n_columns = values.shape[1], values.shape[1] + answered.shape[1]
    units = np.concatenate([_unit_sums(layout, values), _unit_sums(layout, answered)], axis=1)
    drawn = np.empty((len(layout.bounds) - 1, n_columns, weights.shape[1]), dtype=np.float32)
    known, filled = ({}, False) if known is None else (known, bool(known))
    rows = np.split(layout.rows, layout.unit[layout.bounds[1:-1]])
    for part, (start, end) in enumerate(zip(layout.bounds[:-1], layout.bounds[1:], strict=True)):
        if (key := rows[part].tobytes()) in known:
            drawn[part] = known[key]
            continue
        np.matmul(units[start:end].T, weights[layout.image[start:end]], out=drawn[part])
        if not filled:
            known[key] = drawn[part]
    n = drawn[:, width:]
    answers = n > 0 if absent else (_part_sums(layout, answered) > 0)[..., None]
    return _ratios(drawn[:, :width], n, answers, layout.first)


def _unit_sums(layout: Layout, values: np.ndarray) -> np.ndarray:
    return _sums(layout.rows, layout.unit, values, np.float32)


def _cluster_sums(layout: Layout, by_unit: np.ndarray) -> np.ndarray:
    if len(layout.owner) == len(by_unit) and (np.diff(layout.cluster) > 0).all():
        return by_unit  # no image lies in two parts of a cell
    ones = np.ones(len(by_unit), by_unit.dtype)
    shape = (len(layout.owner), len(by_unit))
    return sparse.coo_array((ones, (layout.cluster, np.arange(len(by_unit)))), shape=shape).tocsr() @ by_unit


def _part_sums(layout: Layout, values: np.ndarray) -> np.ndarray:
    return _sums(layout.rows, layout.unit[layout.bounds[:-1]], values, np.float64)


def _sums(rows: np.ndarray, starts: np.ndarray, values: np.ndarray, dtype) -> np.ndarray:
    """Sums of runs of rows; a sparse product takes the rows in place where ``reduceat`` would need a copy of them."""
    runs = (np.ones(len(rows), dtype), rows, np.append(starts, len(rows)))
    return sparse.csr_array(runs, shape=(len(starts), len(values))) @ values


def _ratios(hit: np.ndarray, n: np.ndarray, answered: np.ndarray, first: np.ndarray) -> dict:
    """Pool parts (first axis) into cells; a part without an answer has no say in the macro mean."""
    with np.errstate(invalid="ignore"):  # 0 / 0 where a resample holds no question of a part
        micro = np.add.reduceat(hit, first) / np.add.reduceat(n, first)
        shares = hit / n
        if not answered.all():
            shares[np.broadcast_to(~answered, shares.shape)] = 0
        return {
            "micro": micro,
            "macro": np.add.reduceat(shares, first) / np.add.reduceat(answered, first, dtype=hit.dtype),
        }
