"""Answers counted once, by question and model, and summed over cells: question types and slices, and what they hold.

A cell has parts, a part being what one sub-dataset contributes. Every statistic is a ratio of sums over the parts, and
its bootstrap draws are one matrix product per part, with the weights of that part's units only (see ``resampling``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from .resampling import UNIT, image_weights, numbered

ESTIMANDS = ["micro", "macro"]
CELL = ["level", "question", "wording", "by", "slice"]
QUESTION = ["dataset", "image_id", "question", "wording"]
LEAST_DF = 8  # of a macro mean: with fewer degrees of freedom its 95 % interval covers less than 80 %


@dataclass(frozen=True)
class Tally:
    """Answers counted by question and model.

    Attributes
    ----------
    questions : pandas.DataFrame
        One row per question, sorted: ``dataset, image_id, level, question, wording, n_options``, the facets, and
        ``image``: the number of the image's unit, by stratum and place.
    models : list of str
        Sorted.
    correct, answered : numpy.ndarray, float32, shape (n_questions, n_models)
        How many answers were right, and how many there were: 1, or 0 where a model did not answer.
    """

    questions: pd.DataFrame
    models: list
    correct: np.ndarray
    answered: np.ndarray


def tabulate(answers: pd.DataFrame, by=()) -> Tally:
    """Count answers by question and model; the facets ``by`` are those of the question's image."""
    key = ["dataset", "image_id", "level", "question", "wording", "n_options"]
    row = answers.groupby(key, sort=True, observed=True).ngroup().to_numpy()
    first = np.empty(row.max(initial=-1) + 1, dtype=np.int64)
    first[row[::-1]] = np.arange(len(row))[::-1]
    column, models = pd.factorize(answers.model, sort=True)
    shape = (len(first), len(models))
    cell = row * shape[1] + column
    answered = np.bincount(cell, minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
    right = answers.correct.to_numpy(dtype=bool)
    correct = np.bincount(cell[right], minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
    known = [column for column in UNIT if column in answers]
    questions = answers[list(dict.fromkeys([*key, *known, *by]))].iloc[first].reset_index(drop=True)
    return Tally(numbered(questions), list(models), correct, answered)


def answered_by_all(tally: Tally, models) -> Tally:
    """The questions that every one of these models answered, and their answers alone, in the order of ``models``.

    Raises
    ------
    ValueError
        If a model answered a question twice, which leaves open what is paired with what.
    """
    correct, answered = _columns(tally, models)
    shared = (answered > 0).all(axis=1)
    questions = numbered(tally.questions[shared].reset_index(drop=True))
    return Tally(questions, list(models), correct[shared], answered[shared])


def paired_states(tally: Tally, pairs) -> tuple[pd.DataFrame, dict]:
    """What became of each question between the models of each pair.

    Parameters
    ----------
    pairs : sequence of (reference, model)
        Names of models.

    Returns
    -------
    questions : pandas.DataFrame
        Those that both models of some pair answered, as in a tally.
    states : dict of str to numpy.ndarray, float32, shape (n_questions, n_pairs)
        ``kept`` (right before and after), ``forgotten``, ``learned`` and ``never``: 1 or 0; all are 0 where one model
        of the pair did not answer.

    Raises
    ------
    ValueError
        If a model answered a question twice.
    """
    ends = zip(*pairs, strict=True) if pairs else ((), ())
    (before, first), (after, second) = (_columns(tally, models) for models in ends)
    both = first * second
    seen = both.any(axis=1)
    before, after, both = before[seen], after[seen], both[seen]
    kept, forgotten = before * after, before * (both - after).clip(0)
    learned = after * (both - before).clip(0)
    states = {"kept": kept, "forgotten": forgotten, "learned": learned, "never": both - kept - forgotten - learned}
    return numbered(tally.questions[seen].reset_index(drop=True)), states


def _columns(tally: Tally, models) -> tuple[np.ndarray, np.ndarray]:
    """Right and given answers of these models; a model that the tally does not know answered nothing."""
    columns = pd.Index(tally.models).get_indexer(list(models))
    correct, answered = (np.pad(counts, ((0, 0), (0, 1)))[:, columns] for counts in (tally.correct, tally.answered))
    if (answered > 1).any():
        raise ValueError("a question was answered twice by one model")
    return correct, answered


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
    """

    cells: pd.DataFrame
    first: np.ndarray
    rows: np.ndarray
    unit: np.ndarray
    image: np.ndarray
    bounds: np.ndarray
    cluster: np.ndarray
    owner: np.ndarray


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
    owner = clusters // (image.max(initial=0) + 1)
    return Layout(cells, first, rows[order], unit, image[unit], bounds, cluster, owner)


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
        ``single``: one question per image in one sub-dataset; ``withheld``: the mean over sub-datasets (macro) cannot
        be meant, since its scatter has fewer than ``LEAST_DF`` degrees of freedom; ``n_mean``: how many images of one
        sub-dataset would scatter as much as that mean.
    at : tuple of numpy.ndarray
        Cell and column of each row: an index into arrays of shape (n_cells, n_columns, …).

    Notes
    -----
    A sub-dataset of few images weighs as much in a macro mean as one of many, and shows little of its own scatter, a
    single image nothing. How well the interval covers follows from the degrees of freedom, which are Satterthwaite's
    for images that scatter alike: simulated 95 % intervals cover 20 to 75 % below 4 of them (one sub-dataset of two
    images beside nine of 60), 81 to 90 % with 8 (two of five images), 92 % with 22 (two of 12), and less near 0 and 1.
    A single sub-dataset is its own mean.

    References
    ----------
    Satterthwaite 1946, Biometrics Bull. 2, 110-114.
    """
    by_unit = _unit_sums(layout, answered)
    of_part = np.add.reduceat((by_unit > 0).astype(np.int64), layout.bounds[:-1], axis=0)  # images
    n_datasets = np.add.reduceat((of_part > 0).astype(np.int64), layout.first, axis=0)
    with np.errstate(divide="ignore"):
        variance = np.where(of_part > 0, 1 / of_part, 0)
        of_variance = np.where(of_part > 0, variance**2 / (of_part - 1), 0)  # ∞ for a single image
    total, of_total = (np.add.reduceat(values, layout.first, axis=0) for values in (variance, of_variance))
    seen = (_cluster_sums(layout, by_unit) > 0).astype(np.int64)
    n_images = np.add.reduceat(seen, np.searchsorted(layout.owner, np.arange(len(layout.cells))), axis=0)
    n = cell_sums(layout, answered)
    at = np.nonzero(n)
    table = layout.cells.iloc[at[0]].reset_index(drop=True)
    table = table.assign(
        column=at[1],
        n_questions=n[at].astype(int),
        n_images=n_images[at],
        n_mean=(n_datasets[at] ** 2 / total[at]),
        single=((n == n_images) & (n_datasets == 1))[at],
        withheld=((n_datasets > 1) & (total**2 < LEAST_DF * of_total))[at],
    )
    return table, at


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
