"""The answers of a model that is in memory, which the lessons need beside the rest."""

import pandas as pd

from ..data.questions import HEADLINE_WORDING, PERCEPTION
from ..engine.work import all_pixels
from ..evaluation.evaluate import Evaluation
from ..statistics.scores import join_answers


def answer(model, run: Evaluation) -> pd.DataFrame:
    """Answers of a model in memory, say in the middle of its training, to the questions of a run; no answer is cached.

    Parameters
    ----------
    model : DualEncoder
        As from ``load_model``; its network may have been changed since.
    run : Evaluation
        Gives the images and the questions; the coarse and fine ones in the headline wording are asked.

    Returns
    -------
    pandas.DataFrame
        As from ``scores.join_answers``, without a column ``model``.
    """
    there = run.questions
    questions = there[(there.wording == HEADLINE_WORDING) & there.level.isin(PERCEPTION)]
    hashes, pixels = all_pixels(run.benchmark, model)
    return join_answers(model.answer(questions, hashes, pixels), run.questions)
