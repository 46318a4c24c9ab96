"""One resampling of images for all statistics: models, slices, differences and α share its weights.

An image carries several questions, so images, not questions, are resampled (clusters), within each sub-dataset
(strata); all models share the draws, which makes differences paired. Answers are counted once, by question and model
(``tabulate``); every statistic is then a ratio of sums over the parts of a cell, a part being what one sub-dataset
contributes, and its bootstrap draws are one matrix product per part, with the weights of that part's images only.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import sparse

CONFIDENCE = 0.95
RESAMPLES = 2000
ESTIMANDS = ["micro", "macro"]
CELL = ["level", "question", "wording", "by", "slice"]
QUESTION = ["dataset", "image_id", "question", "wording"]


def resampling_weights(strata, n_resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each image is drawn in each bootstrap resample, drawn with replacement within its stratum.

    Parameters
    ----------
    strata : array_like, shape (n_images,)
        Sub-dataset of every image.

    Returns
    -------
    numpy.ndarray, uint8, shape (n_resamples, n_images)
        Every row sums to the stratum's size within each stratum. An image is drawn once on average; to be drawn more
        than 255 times has no practical probability.
    """
    codes = pd.factorize(np.asarray(strata), sort=True)[0]
    weights = np.empty((len(codes), n_resamples), dtype=np.uint8)
    weights[np.argsort(codes, kind="stable")] = _weights_of(tuple(np.bincount(codes).tolist()), n_resamples, seed)
    return weights.T


@lru_cache(maxsize=1)  # the statistics of one page ask for the same weights again and again
def _weights_of(sizes: tuple, n_resamples: int, seed: int) -> np.ndarray:
    """Weights of strata of these sizes, one after the other; an image per row, so that images are read in one go."""
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(size, np.full(size, 1 / size), n_resamples).astype(np.uint8).T for size in sizes]
    weights = np.concatenate(weights)
    weights.flags.writeable = False
    return weights


@dataclass(frozen=True)
class Tally:
    """Answers counted by question and model.

    Attributes
    ----------
    questions : pandas.DataFrame
        One row per question, sorted: ``dataset, image_id, level, question, wording, n_options``, the facets, and
        ``image``: the image's number, by sub-dataset and then ``image_id``.
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
    questions = answers[list(dict.fromkeys([*key, *by]))].iloc[first].reset_index(drop=True)
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


def numbered(questions: pd.DataFrame) -> pd.DataFrame:
    """Add ``image``: the number of each row's image, by sub-dataset and then ``image_id``."""
    return questions.assign(image=questions.groupby(["dataset", "image_id"], observed=True).ngroup())


def image_weights(questions: pd.DataFrame, n_resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """``resampling_weights`` of the images of a tally, uint8, shape (n_images, n_resamples)."""
    images = questions.drop_duplicates("image").sort_values("image")
    sizes = images.groupby("dataset", sort=True, observed=True).size()  # images are numbered by sub-dataset
    return _weights_of(tuple(sizes.tolist()), n_resamples, seed)


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
    """

    cells: pd.DataFrame
    first: np.ndarray
    rows: np.ndarray
    unit: np.ndarray
    image: np.ndarray
    bounds: np.ndarray


def lay_out(questions: pd.DataFrame, facet: str = "all") -> Layout:
    """Cells of level × question type × wording × value of a facet; ``all`` pools a level's types, and all images.

    A question without a value of the facet is in no cell.
    """
    several = questions.groupby("level", observed=True).question.transform("nunique").to_numpy() > 1
    rows = np.concatenate([np.arange(len(questions)), np.flatnonzero(several)])  # each, then again under `all`
    cell_key = ["level", "question", "wording", "slice"]
    keys = pd.DataFrame(
        {
            "level": questions.level.astype(str).to_numpy()[rows],
            "question": np.append(questions.question.astype(str).to_numpy(dtype=object), ["all"] * several.sum()),
            "wording": questions.wording.to_numpy()[rows],
            "slice": "all" if facet == "all" else questions[facet].astype(str).to_numpy(dtype=object)[rows],
            "dataset": questions.dataset.astype(str).to_numpy()[rows],
        }
    )
    groups = keys.groupby([*cell_key, "dataset"], sort=True)
    part = groups.ngroup().fillna(-1).to_numpy(dtype=np.int64)  # no group without a value of the facet
    image = questions.image.to_numpy()[rows]
    order = np.lexsort((image, part))
    order = order[part[order] >= 0]
    part, image = part[order], image[order]
    unit = np.flatnonzero(np.diff(part, prepend=-1) | np.diff(image, prepend=-1))
    bounds = np.append(np.flatnonzero(np.diff(part[unit], prepend=-1)), len(unit))
    n_parts = groups.size().reset_index().groupby(cell_key, sort=True).size()
    cells = n_parts.index.to_frame(index=False).assign(by=facet)[CELL]
    first = (n_parts.cumsum() - n_parts).to_numpy(dtype=np.int64)
    return Layout(cells, first, rows[order], unit, image[unit], bounds)


def layouts(questions: pd.DataFrame, by=()):
    """``lay_out`` of ``all``, then of each facet that any question has a value of, one at a time."""
    yield lay_out(questions)
    for facet in by:
        if questions[facet].notna().any():
            yield lay_out(questions, facet)


def cell_sums(layout: Layout, values: np.ndarray) -> np.ndarray:
    """Sums of the questions' values, shape (n_questions, n_columns), over each cell: (n_cells, n_columns)."""
    return np.add.reduceat(_part_sums(layout, values), layout.first, axis=0)


def cell_images(layout: Layout, answered: np.ndarray) -> np.ndarray:
    """How many images have an answered question in each cell, shape (n_cells, n_columns)."""
    seen = (_unit_sums(layout, answered) > 0).astype(np.int64)
    return np.add.reduceat(np.add.reduceat(seen, layout.bounds[:-1], axis=0), layout.first, axis=0)


def image_sums(layout: Layout, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of values over each image of each cell: the cell of each, ascending, and (n_units, n_columns)."""
    part = np.repeat(np.arange(len(layout.bounds) - 1), np.diff(layout.bounds))
    return np.searchsorted(layout.first, part, side="right") - 1, _unit_sums(layout, values)


def cell_datasets(layout: Layout, answered: np.ndarray) -> np.ndarray:
    """How many sub-datasets have an answered question in each cell, shape (n_cells, n_columns)."""
    return np.add.reduceat((_part_sums(layout, answered) > 0).astype(np.int64), layout.first, axis=0)


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
    layout: Layout, values: np.ndarray, answered: np.ndarray, weights: np.ndarray, known: dict | None = None
) -> dict:
    """``estimates`` in every resample.

    Parameters
    ----------
    weights : numpy.ndarray, shape (n_images, n_resamples)
        As from ``image_weights``.
    known : dict, optional
        Sums that earlier calls with the same values drew. An empty one is filled by this call, which should be that
        of the facet ``all``: most parts of other facets hold a whole sub-dataset and are found in it.

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
        np.matmul(units[start:end].T, weights[layout.image[start:end]].astype(np.float32), out=drawn[part])
        if not filled:
            known[key] = drawn[part]
    answers = _part_sums(layout, answered) > 0
    return _ratios(drawn[:, :width], drawn[:, width:], answers[..., None], layout.first)


def percentiles(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central 95 % of bootstrap draws, along the last axis; NaN draws count for nothing.

    The quantiles of ``numpy.nanquantile``, which sorts one row at a time.
    """
    ordered = np.sort(draws, axis=-1)  # NaN last
    last = np.maximum((~np.isnan(draws)).sum(axis=-1, keepdims=True) - 1, 0)
    bounds = []
    for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        place = tail * last
        below = np.floor(place).astype(int)
        low, high = (np.take_along_axis(ordered, np.minimum(at, last), axis=-1) for at in (below, below + 1))
        bounds.append((low + (place - below) * (high - low))[..., 0])
    return tuple(bounds)


def _unit_sums(layout: Layout, values: np.ndarray) -> np.ndarray:
    return _sums(layout.rows, layout.unit, values, np.float32)


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
