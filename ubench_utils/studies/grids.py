"""A base and its fine-tuned model, tower by tower, and ensembles of their outputs as controls.

The features of an image depend on the image tower alone and those of a text on the text tower alone, so every
combination of two towers is answered from features that the sweep over α has left in the cache.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING, build_questions
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.run import Evaluation
from ..models.answers import best_options, blocks, choose, in_blocks, option_rows, softmax
from ..models.encoders.features import Features, cosines, predict, similarities
from ..models.registry import mix_name
from ..statistics.scores import join_answers
from .finetuning import ALPHAS, gain_and_loss, is_in_domain


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
    image, text, _ = found[0]  # the mixtures share the order of images and texts
    image_row, answer = asked.image_hash.map(image.row_of).to_numpy(), asked.answer_idx.to_numpy()
    correct = np.zeros((len(asked), len(found), len(found)), dtype=bool)
    for place in blocks(asked):
        option_row = option_rows(asked.iloc[place], text.row_of)
        for row, (image, _, _) in enumerate(found):
            for column, (_, other, _) in enumerate(found):
                similarity = cosines(image.vectors, image_row[place], other.vectors, option_row)
                correct[place, row, column] = best_options(similarity, option_row) == answer[place]
    return asked, correct


def tower_target(run: Evaluation, base: str, tuned: str, alphas=ALPHAS) -> pd.DataFrame:
    """The balanced target at every point of a grid, as the difference from the base.

    Half the fine-grained accuracy in-domain and half the accuracy of all questions out-of-domain, as in
    ``finetuning.choice_of_alpha``; where one of the two is missing, the other alone.

    Returns
    -------
    pandas.DataFrame
        ``alpha_image, alpha_text, estimate``.
    """
    asked, correct = tower_grid(run, base, tuned, alphas)
    inside = is_in_domain(asked, tuned).to_numpy()
    parts = [mask for mask in (inside & (asked.level == "fine").to_numpy(), ~inside) if mask.any()]
    target = np.mean([correct[mask].mean(axis=0) for mask in parts], axis=0)
    axes = pd.MultiIndex.from_product([alphas, alphas], names=["alpha_image", "alpha_text"]).to_frame(index=False)
    start = list(alphas).index(0)
    return axes.assign(estimate=(target - target[start, start]).ravel())


def other_ways(run: Evaluation, base: str, tuned: str, specialists) -> pd.DataFrame:
    """Other ways to combine a base with its fine-tuned model, and with all specialists of that base.

    Parameters
    ----------
    specialists : sequence of str
        Models that were fine-tuned from the base; ``tuned`` is one of them.

    Returns
    -------
    pandas.DataFrame
        ``way``; ``gain, gain_low, gain_high`` and ``kept, kept_low, kept_high``: paired change from the base, with 95 %
        intervals, of the fine-grained accuracy in-domain of ``tuned`` and of all questions out-of-domain.
    """
    ways = {"layer-wise, 0 to 1 (LiNeS)": f"mix:{base}+{tuned}@0..1"}
    if len(specialists) > 1:
        together = "+".join(specialists)
        ways |= {
            "task arithmetic, λ = 0.5": f"mix:{base}+{together}@0.5",
            "TIES, λ = 0.5": f"ties:{base}+{together}@0.5",
            "soup of base and specialists": f"soup:{base}+{together}",
        }
    merged = evaluate(run.benchmark, [base, *ways.values()], **run.settings).answers
    both = ensemble(run, base, tuned)
    ways = {
        f"mean of both models' {what}": f"mean of {what} of {base} and {tuned}"
        for what in ("probabilities", "embeddings")
    } | ways
    answers = pd.concat([merged[merged.wording == HEADLINE_WORDING], both], ignore_index=True)
    rows = []
    for way, model in ways.items():
        # the domain is that of the fine-tuned model, whatever the merge is called
        renamed = answers[answers.model.isin([base, model])].replace({"model": {model: tuned}})
        gain, _, kept = gain_and_loss(renamed, base, tuned)
        rows.append(
            {
                "way": way,
                "gain": gain["estimate"],
                "gain_low": gain["ci_low"],
                "gain_high": gain["ci_high"],
                "kept": kept["estimate"],
                "kept_low": kept["ci_low"],
                "kept_high": kept["ci_high"],
            }
        )
    return pd.DataFrame(rows)


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

    def by_probabilities(block):
        probability = 0
        for image, text, scale in zip(images, texts, scales, strict=True):
            _, similarity, option_row = similarities(block, image, text)
            probability = probability + softmax(similarity, scale) / 2
        return choose(block, probability, option_row, probability)

    tables = {
        "probabilities": in_blocks(asked, by_probabilities),
        "embeddings": predict(asked, _mean(*images), _mean(*texts), float(np.sqrt(scales[0] * scales[1]))),
    }
    answered = [table.assign(model=f"mean of {what} of {base} and {tuned}") for what, table in tables.items()]
    return join_answers(pd.concat(answered, ignore_index=True), questions)


def _encoded(run: Evaluation, models: list[str]) -> tuple[pd.DataFrame, list]:
    """Questions, and the features and facts of each model."""
    questions = build_questions(run.benchmark)  # those of the sweep, so that the texts are found in the cache
    return questions, [run.features(model, questions=questions) for model in models]


def _asked(questions: pd.DataFrame, images) -> pd.DataFrame:
    failed = {image_hash for found in images for image_hash in found.failed}
    asked = (questions.wording == HEADLINE_WORDING) & ~questions.image_hash.isin(failed)
    return questions[asked].reset_index(drop=True)


def _mean(one: Features, other: Features) -> Features:
    """Mean of the features of two models, of length one again; rows are the same as both sort their keys."""
    vectors = one.vectors + other.vectors
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(one, vectors=vectors / np.maximum(length, np.finfo(np.float32).tiny))
