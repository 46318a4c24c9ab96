"""Means of numbers that are not right or wrong, a number a question, such as the share of askings that were right."""

import numpy as np
import pandas as pd

from .cells import CELL, answered_cells, distinct, draws, estimates, lay_out
from .intervals import ENDS, choose, percentiles
from .resampling import image_weights, numbered

MEANS = ["model", *CELL, *ENDS, "n_questions", "n_images", "interval"]


def mean(answers: pd.DataFrame, column: str, *, least: float = -1.0) -> pd.DataFrame:
    """Mean of a column over the questions of every model and question type, with its interval.

    Parameters
    ----------
    answers : pandas.DataFrame
        A row a model and question: ``model, dataset, image_id, level, question, wording`` and the units of resampling.
    column : str
        Numbers between ``least`` and 1: 0 for a share, −1 for a difference of shares of the same questions.

    Returns
    -------
    pandas.DataFrame
        ``model, level, question, wording, by, slice, estimate, ci_low, ci_high, n_questions, n_images, interval``; the
        interval resamples images, and is that of an unseen event where draws show no variation.
    """
    tables = [pd.DataFrame(columns=MEANS)]
    for model, own in answers.groupby("model", sort=False):
        own = numbered(own.reset_index(drop=True))
        values = own[column].to_numpy(np.float32)[:, None]
        ones, layout = np.ones_like(values), lay_out(own)
        cells, at = answered_cells(layout, ones)
        drawn = draws(layout, values, ones, image_weights(own))["micro"][at]
        bounds = choose(*percentiles(drawn, cells.df), n_units=cells.n_even, withheld=cells.alone)
        table = cells.assign(model=model, estimate=estimates(layout, values, ones)["micro"][at], **bounds)
        tables.append(distinct(table.assign(ci_low=table.ci_low.clip(lower=least)))[MEANS])
    return pd.concat(tables[1:] or tables, ignore_index=True)
