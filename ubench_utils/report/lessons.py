"""The answers of a model that is in memory, which the lessons need beside the rest."""

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..engine.work import picture
from ..evaluation.evaluate import Evaluation
from ..statistics.scores import join_answers


def answer(model, run: Evaluation) -> pd.DataFrame:
    """Answers of a model in memory, say in the middle of its training, to the questions of a run; nothing is cached.

    Parameters
    ----------
    model : DualEncoder
        As from ``load_model``; its network may have been changed since.
    run : Evaluation
        Gives the images and the questions; those in the headline wording are asked.

    Returns
    -------
    pandas.DataFrame
        As from ``stats.join_answers``, without a column ``model``.
    """
    images = run.benchmark.images.drop_duplicates("image_hash")
    questions = run.questions[run.questions.wording == HEADLINE_WORDING]
    pixels = np.stack([model.preprocess(picture(run.benchmark, row)) for row in images.index])
    return join_answers(model.answer(questions, images.image_hash, pixels), run.questions)
