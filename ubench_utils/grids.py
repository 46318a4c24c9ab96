"""A base and its fine-tuned model, tower by tower, and ensembles of their outputs as controls.

The features of an image depend on the image tower alone and those of a text on the text tower alone, so every
combination of two towers is answered from features that the sweep over α has left in the cache.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from .encode import Features
from .errors import UserError
from .evaluate import Evaluation, features
from .finetuning import ALPHAS, is_in_domain
from .predict import choose, predict, similarities, softmax
from .questions import HEADLINE_WORDING, build_questions
from .registry import mix_name
from .stats import join_answers


def tower_grid(run: Evaluation, base: str, tuned: str, alphas=ALPHAS) -> tuple[pd.DataFrame, np.ndarray]:
    """Answers of every image tower of an interpolation with every text tower.

    Parameters
    ----------
    run : Evaluation
        Gives benchmark, device and precision.
    base, tuned : str
        Names or model strings.
    alphas : sequence of float
        Of both towers.

    Returns
    -------
    asked : pandas.DataFrame
        Questions of the headline wording as from ``build_questions``, of images that every mixture could encode.
    correct : numpy.ndarray
        bool of shape (n_questions, n_alphas, n_alphas): rows of ``asked``, then α of the image tower, then α of the
        text tower.

    Raises
    ------
    UserError
        If the models cannot be interpolated, or compare options by a matching head.
    """
    questions, found = _encoded(run, [mix_name(base, tuned, alpha) for alpha in alphas])
    asked = _asked(questions, [image for image, _, _ in found])
    correct = np.zeros((len(asked), len(found), len(found)), dtype=bool)
    for row, (image, _, _) in enumerate(found):
        for column, (_, text, _) in enumerate(found):
            correct[:, row, column] = predict(asked, image, text, 1.0).correct
    return asked, correct


def grid_accuracy(asked: pd.DataFrame, correct: np.ndarray, tuned: str, alphas=ALPHAS) -> pd.DataFrame:
    """Accuracy at every point of a grid, pooled over the questions in-domain and out-of-domain of a model.

    Parameters
    ----------
    asked, correct, alphas
        As taken and returned by ``tower_grid``; some of the rows for some of the questions.
    tuned : str
        The model whose domain counts.

    Returns
    -------
    pandas.DataFrame
        ``alpha_image``, ``alpha_text``, ``group`` (``in-domain`` or ``out-of-domain``), ``n_questions``, ``accuracy``.
    """
    inside = is_in_domain(asked, tuned).to_numpy()
    axes = pd.MultiIndex.from_product([alphas, alphas], names=["alpha_image", "alpha_text"]).to_frame(index=False)
    parts = [
        axes.assign(group=group, n_questions=int(mask.sum()), accuracy=correct[mask].mean(axis=0).ravel())
        for group, mask in (("in-domain", inside), ("out-of-domain", ~inside))
        if mask.any()
    ]
    return pd.concat(parts, ignore_index=True)


def ensemble(run: Evaluation, base: str, tuned: str) -> pd.DataFrame:
    """Answers of two ensembles of two models, at the price of running both: controls for what mixing weights does.

    ``mean of probabilities``: each model's own probabilities of the options, averaged (the output-space ensemble of
    Wortsman et al. 2022, arXiv 2109.01903). ``mean of embeddings``: features of image and of text averaged over the
    models and normalised again, which mixes two embedding spaces that are alike only if the models share a base; its
    temperature is the geometric mean of both.

    Parameters
    ----------
    run : Evaluation
        Gives benchmark, device and precision.
    base, tuned : str
        Names or model strings.

    Returns
    -------
    pandas.DataFrame
        The columns of ``Evaluation.answers``; ``model`` is ``mean of probabilities of BASE and TUNED`` or ``mean of
        embeddings of BASE and TUNED``. Headline wording only.

    Raises
    ------
    UserError
        If a model compares options by a matching head, or the features have not the same number of dimensions.
    """
    questions, found = _encoded(run, [base, tuned])
    images, texts, facts = zip(*found, strict=True)
    width, other = (image.vectors.shape[1] for image in images)
    if width != other:
        raise UserError(f"no ensemble of '{base}' and '{tuned}': their features have {width} and {other} dimensions")
    asked = _asked(questions, images)
    scales = [fact["logit_scale"] for fact in facts]
    probability = 0
    for image, text, scale in zip(images, texts, scales, strict=True):
        _, similarity, option_row = similarities(asked, image, text)
        probability = probability + softmax(similarity, scale) / 2
    tables = {
        "probabilities": choose(asked, probability, option_row, probability),
        "embeddings": predict(asked, _mean(*images), _mean(*texts), float(np.sqrt(scales[0] * scales[1]))),
    }
    answered = [table.assign(model=f"mean of {what} of {base} and {tuned}") for what, table in tables.items()]
    return join_answers(pd.concat(answered, ignore_index=True), questions)


def _encoded(run: Evaluation, models: list[str]) -> tuple[pd.DataFrame, list]:
    """Questions, and what ``features`` gives for each model."""
    questions = build_questions(run.benchmark)  # those of the sweep, so that the texts are found in the cache
    settings = run.record["device"], run.record["precision"]
    return questions, [features(run.benchmark, questions, model, *settings) for model in models]


def _asked(questions: pd.DataFrame, images) -> pd.DataFrame:
    failed = {image_hash for found in images for image_hash in found.failed}
    asked = (questions.wording == HEADLINE_WORDING) & ~questions.image_hash.isin(failed)
    return questions[asked].reset_index(drop=True)


def _mean(one: Features, other: Features) -> Features:
    """Mean of the features of two models, of length one again; rows are the same as both sort their keys."""
    vectors = one.vectors + other.vectors
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(one, vectors=vectors / np.maximum(length, np.finfo(np.float32).tiny))
