"""The answers of a model that is in memory, which the lessons need beside the rest."""

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..engine.work import Features, picture
from ..evaluation.evaluate import Evaluation
from ..models.answers import predict
from ..statistics.scores import join_answers


def answer(model, run: Evaluation) -> pd.DataFrame:
    """Answers of a model in memory, say in the middle of its training, to the questions of a run; nothing is cached.

    Parameters
    ----------
    model : Model
        As from ``models.load_model``; its network may have been changed since.
    run : Evaluation
        Gives the images and the questions; those in the headline wording are asked.

    Returns
    -------
    pandas.DataFrame
        As from ``stats.join_answers``, without a column ``model``.
    """
    images = run.benchmark.images.drop_duplicates("image_hash")
    questions = run.questions[run.questions.wording == HEADLINE_WORDING]
    texts = sorted({option for options in questions.options for option in options})
    pixels = np.stack([model.preprocess(picture(run.benchmark, row)) for row in images.index])
    keys = (images.image_hash, texts)
    vectors = (model.encode_images(pixels), model.encode_texts(texts))
    image, text = (
        Features({key: row for row, key in enumerate(names)}, found, failed={}, truncated=[], encoded=len(found))
        for names, found in zip(keys, vectors, strict=True)
    )
    return join_answers(predict(questions, image, text, model.logit_scale), questions)
