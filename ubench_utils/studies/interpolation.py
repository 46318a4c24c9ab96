"""The way between a base and its fine-tuned model: a share α of the weights, of each tower, and other ways to combine.

The features of an image depend on the image tower alone and those of a text on the text tower alone, so every
combination of two towers is answered from features that the sweep over α has left in the cache. Ensembles of the
outputs are controls for what mixing weights does. Models without such features (those that reply in words) have a curve
along α and neither.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING, WORDINGS
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.run import Evaluation
from ..models.answers import best_options, blocks, choose, in_blocks, option_rows, softmax
from ..models.encoders.features import Features, cosines, predict, similarities
from ..models.load import open_model
from ..models.registry import mix_name
from ..statistics.calibration import calibration_error
from ..statistics.cells import distinct
from ..statistics.intervals import ENDS, columns_of
from ..statistics.resampling import numbered
from ..statistics.scores import compare_pairs, contrast, join_answers, score
from ..statistics.selection import FOLDS, cross_fit, pareto
from .forgetting import change_of, is_in_domain, parts_of
from .overview import perception

ALPHAS = tuple(step / 10 for step in range(11))


def with_features(pairs) -> list[tuple[str, str]]:
    """Pairs (base, fine-tuned) that compare features of image and text, as towers apart and ensembles need."""
    return [pair for pair in pairs if all(open_model(model).has_embeddings for model in pair)]


def sweep(run: Evaluation, base: str, tuned: str, alphas=ALPHAS) -> pd.DataFrame:
    """Answers of the interpolated models, with their ``alpha``; the ends are the parents themselves.

    Raises
    ------
    UserError
        If 0, 0.5 or 1 is missing: the ends make the line and the middle is what is compared with it.
    """
    if not {0, 0.5, 1} <= set(alphas):
        raise UserError(f"alphas {list(alphas)}: they must hold 0, 0.5 and 1")
    return _answers_along(run, {mix_name(base, tuned, alpha): alpha for alpha in alphas})


def _answers_along(run: Evaluation, alphas: dict) -> pd.DataFrame:
    """Answers of mixtures to coarse and fine questions; ``alphas`` holds the ``alpha`` of each by its model string."""
    mixed = evaluate(run.benchmark, list(alphas), **run.settings)
    answers = perception(mixed.answers)
    return answers.assign(alpha=answers.model.map(alphas))


def barrier(run: Evaluation, one: str, other: str, alphas=ALPHAS) -> pd.DataFrame:
    """Accuracy along α between two models that do not share a base: mixed all the same, to show what comes of it.

    Returns
    -------
    pandas.DataFrame
        ``alpha, question`` (``coarse questions`` or ``fine questions``), ``estimate, ci_low, ci_high, chance``.
    """
    answers = _answers_along(run, {mix_name(one, other, alpha).replace("mix:", "mix!:", 1): alpha for alpha in alphas})
    return _scores_along(answers.assign(question=answers.level + " questions"))


def curves_by_question(swept: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """Accuracy along α of every question type, in-domain and out-of-domain (columns ``question``, ``group``)."""
    where = is_in_domain(swept, tuned).map({True: "in-domain", False: "out-of-domain"})
    parts = [_scores_along(rows).assign(group=group) for group, rows in swept.groupby(where)]
    table = pd.concat(parts, ignore_index=True)
    return table[table.question != "all"]


def curves_by_dataset(swept: pd.DataFrame) -> pd.DataFrame:
    """Fine-grained accuracy along α of every sub-dataset (``slice``), with intervals and chance."""
    table = score(swept[swept.level == "fine"], by=["dataset"])
    table = table[(table.estimand == "micro") & (table.by == "dataset") & (table.question == "all")]
    return _with_alpha(table, swept, ["slice"])


def _scores_along(answers: pd.DataFrame) -> pd.DataFrame:
    table = score(answers, by=())
    return _with_alpha(distinct(table[table.estimand == "micro"]), answers, ["question"])


def _with_alpha(table: pd.DataFrame, swept: pd.DataFrame, lines=()) -> pd.DataFrame:
    """A table with the ``alpha`` of each model of a sweep, in the order of ``lines`` and α."""
    alpha = swept.groupby("model").alpha.first()
    return table.assign(alpha=table.model.map(alpha)).sort_values([*lines, "alpha"], ignore_index=True)


def changes_along_alpha(swept: pd.DataFrame, base: str, tuned: str) -> pd.DataFrame:
    """Paired change from the base along α, with intervals: fine-grained and coarse in-domain, all out-of-domain, all.

    Returns
    -------
    pandas.DataFrame
        ``group, alpha, estimate, ci_low, ci_high, n_questions``; every α answers the same questions.
    """
    groups = parts_of(swept, tuned) | {"all questions": pd.Series(True, index=swept.index)}
    alphas = {mix_name(base, tuned, alpha): alpha for alpha in sorted(swept.alpha.unique())}
    start = mix_name(base, tuned, 0)
    tables = []
    for group, mask in groups.items():
        rows = swept[mask].assign(level="all")  # so that its question types make one pooled row
        if rows.empty:
            continue
        table = compare_pairs(rows, [(start, name) for name in alphas], by=())
        table = table[(table.estimand == "micro") & (table.question == "all")]
        tables.append(table.assign(group=group, alpha=lambda t: t.model.map(alphas)))
    columns = ["group", "alpha", "estimate", "ci_low", "ci_high", "n_questions"]
    return pd.concat(tables, ignore_index=True)[columns]


def frontier(along: pd.DataFrame) -> pd.DataFrame:
    """Gain on the target against what is kept elsewhere, an α a row, and which α no other one dominates.

    ``gain``: change of fine-grained accuracy in-domain; ``kept``: change of accuracy out-of-domain (0: nothing lost);
    ``on_front``: no other α has more of one and as much of the other. From ``changes_along_alpha``.
    """
    wide = along.pivot(index="alpha", columns="group", values="estimate")
    wide = wide.reindex(columns=["fine-grained, in-domain", "all, out-of-domain"]).set_axis(["gain", "kept"], axis=1)
    table = wide.reset_index()
    return table.assign(on_front=pareto(table.gain, table.kept))


def calibration(swept: pd.DataFrame) -> pd.DataFrame:
    """Expected calibration error along α, each mixture with its own temperature; from ``calibration_error``."""
    return _with_alpha(calibration_error(swept), swept)


def choice_of_alpha(swept: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """The α that maximises a target, chosen and scored on different images: a row a target, from ``cross_fit``.

    Targets: all questions pooled; and ``balanced``, half the fine-grained accuracy in-domain, half the accuracy of all
    questions out-of-domain. A target with fewer images (or groups of them) than folds, or with a part of them, has no
    row.
    """
    fine, _, outside = parts_of(swept, tuned).values()
    rows = numbered(swept.assign(part=np.select([fine, outside], ["target", "elsewhere"], "other")))
    results, n_units = {}, rows.drop_duplicates(["image", "part"]).part.value_counts()
    if rows.image.nunique() >= FOLDS:
        results["all questions"] = cross_fit(rows)
    if min(n_units.get("target", 0), n_units.get("elsewhere", 0)) >= FOLDS:
        results["balanced"] = cross_fit(rows, {"target": 0.5, "elsewhere": 0.5}, term="part")
    return pd.DataFrame(results.values()).assign(target=list(results))


def summary(swept: pd.DataFrame, base: str, tuned: str) -> dict:
    """Paired contrasts that tell the story of the curve, each as from ``scores.contrast``.

    ``in_end, in_coarse_end, out_end``: fine-tuned − base, fine-grained and coarse in-domain and all questions
    out-of-domain; ``in_middle, …``: α = 0.5 − base alike; ``above_line``: α = 0.5 minus the straight line between the
    ends, all questions; ``fine_above_line``: the same for the fine-grained macro accuracy over all sub-datasets.
    """
    middle, start, end = (mix_name(base, tuned, value) for value in (0.5, 0, 1))
    found: dict[str, dict] = {}
    for name, model in (("end", end), ("middle", middle)):
        changes = change_of(swept, tuned, {model: 1, start: -1})
        found |= dict(zip((f"in_{name}", f"in_coarse_{name}", f"out_{name}"), changes, strict=True))
    bend = {middle: 1, start: -0.5, end: -0.5}
    return found | {
        "above_line": contrast(swept, bend),
        "fine_above_line": contrast(swept[swept.level == "fine"], bend, "macro"),
    }


def mixing_context(results: dict, choices: dict) -> dict:
    """What the middle of each curve keeps, and what a chosen α is worth on images that did not choose it.

    ``results[(base, tuned)]`` is from ``summary``, ``choices[(base, tuned)]`` from ``choice_of_alpha``.
    """
    pairs = [{"base": base, "tuned": tuned, **found} for (base, tuned), found in results.items()]
    chosen = []
    for (_, tuned), table in choices.items():
        one = {"tuned": tuned, "target": None}
        if len(table):
            row = table.iloc[-1].to_dict()  # the balanced target where there is one
            over = {name: _contrast_of(row, name) for name in ("over_base", "over_tuned")}
            one = {**row, **one, "target": row["target"], **over}
        chosen.append(one)
    return {"pairs": pairs, "chosen": chosen}


def _contrast_of(row: dict, name: str) -> dict:
    return {end: row[column] for end, column in zip(ENDS, columns_of(name), strict=True)} | {"n_questions": 1}


def contrasts(found: dict) -> pd.DataFrame:
    """Contrasts of ``summary`` as a table: ``contrast`` and the columns of a contrast."""
    return pd.DataFrame([{"contrast": name, **one} for name, one in found.items()])


def tower_grid(run: Evaluation, base: str, tuned: str, alphas=ALPHAS) -> tuple[pd.DataFrame, np.ndarray]:
    """Answers of every image tower of an interpolation with every text tower.

    Parameters
    ----------
    run : Evaluation
        Gives questions, images, device and precision.
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
    ``choice_of_alpha``; where one of the two is missing, the other alone.

    Returns
    -------
    pandas.DataFrame
        ``alpha_image, alpha_text, estimate``.
    """
    asked, correct = tower_grid(run, base, tuned, alphas)
    fine, _, outside = parts_of(asked, tuned).values()
    target = np.mean([correct[part].mean(axis=0) for part in (fine, outside) if part.any()], axis=0)
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
        intervals, of the fine-grained accuracy in-domain of ``tuned`` and of all questions out-of-domain. Ensembles
        are left out where the models have no features.
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
    answers = merged[merged.wording == HEADLINE_WORDING]
    if with_features([(base, tuned)]):
        ways = {
            f"mean of both models' {what}": f"mean of {what} of {base} and {tuned}"
            for what in ("probabilities", "embeddings")
        } | ways
        answers = pd.concat([answers, ensemble(run, base, tuned)], ignore_index=True)
    rows = []
    for way, model in ways.items():
        gain, _, kept = change_of(answers, tuned, {model: 1, base: -1})
        rows.append([way, *(found[end] for found in (gain, kept) for end in ENDS)])
    return pd.DataFrame(rows, columns=["way", *columns_of("gain"), *columns_of("kept")])


def ensemble(run: Evaluation, base: str, tuned: str) -> pd.DataFrame:
    """Answers of two ensembles of two models, at the price of running both: controls for what mixing weights does.

    ``mean of probabilities``: each model's own probabilities of the options, averaged (the output-space ensemble of
    Wortsman et al. 2022, arXiv 2109.01903). ``mean of embeddings``: features of image and of text averaged over the
    models and normalised again, which mixes two embedding spaces that are alike only if the models share a base; its
    temperature is the geometric mean of both.

    Parameters
    ----------
    run : Evaluation
        Gives questions, images, device and precision.
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
    questions = run.questions[run.questions.wording.isin(WORDINGS)]  # of the sweep, so that texts are in the cache
    return questions, [run.features(model, questions=questions) for model in models]


def _asked(questions: pd.DataFrame, images) -> pd.DataFrame:
    failed = {image_hash for found in images for image_hash in found.failed}
    asked = perception(questions)
    return asked[~asked.image_hash.isin(failed)].reset_index(drop=True)


def _mean(one: Features, other: Features) -> Features:
    """Mean of the features of two models, of length one again; rows are the same as both sort their keys."""
    vectors = one.vectors + other.vectors
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(one, vectors=vectors / np.maximum(length, np.finfo(np.float32).tiny))
