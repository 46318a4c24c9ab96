"""One sub-dataset, such as one's own pictures: which model can name what they show, and what it gets wrong.

Everything is in the headline wording. Beside the models stands a rule that looks at no picture: of the options of a
question it takes the one that is right most often in the sub-dataset. It is counted on the very labels that it is
scored on, so no fixed answer does better; where every question offers every class, its accuracy is the no-information
rate. It answers as a model does, so that it is scored, and compared with models, by the functions that do it for them.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from ..data.benchmark import NOT_STATED, Benchmark
from ..data.questions import HEADLINE_WORDING, LEVELS, NONE_OF_THE_ABOVE
from ..errors import UserError, shown
from ..evaluation.evaluate import Evaluation
from ..evaluation.run import unseen
from ..statistics import power
from ..statistics.families import compare_cells
from ..statistics.resampling import units
from ..statistics.scores import BALANCED, headline, join_answers
from . import benchmark, duplicates
from .overview import complete, learned

RULE = "most frequent answer"  # as the name of a model
KEY = ["dataset", "image_id", "question", "wording"]
MOST_DRAWN = 20  # classes in a figure; tables list them all
FACTS = ["modality", "submodality", "stain", "domain", "subdomain", "organism"]


def chosen(benchmark: Benchmark, name: str | None = None) -> str:
    """Name of a sub-dataset: the one that is asked for, else the first by name.

    Raises
    ------
    UserError
        If there is none of that name; lists those there are.
    """
    names = sorted(benchmark.images.dataset.unique())
    if name is not None and name not in names:
        raise UserError(f"'{benchmark.name}' has no sub-dataset '{shown(name)}'; it has {', '.join(names)}")
    return names[0] if name is None else name


def part(run: Evaluation, name: str) -> Evaluation:
    """The images of one sub-dataset with their questions and answers; intervals stay those of the whole run."""
    questions = run.questions.assign(**units(run.questions))
    return replace(
        run,
        benchmark=run.benchmark.part(name),
        questions=questions[questions.dataset == name],
        predictions=run.predictions[run.predictions.dataset == name],
        failures=run.failures[run.failures.dataset == name],
    )


def asked(own: Evaluation) -> pd.DataFrame:
    """Questions in the headline wording, but for pictures that no model could read."""
    unread = unseen(own.failures, own.record["models"])
    rows = own.questions[own.questions.wording == HEADLINE_WORDING]
    return rows[~pd.MultiIndex.from_frame(rows[["dataset", "image_id"]]).isin(unread)]


def answers(own: Evaluation) -> pd.DataFrame:
    """Answers to the questions ``asked``, those of ``RULE`` among them, as from ``join_answers``."""
    given = own.answers[own.answers.wording == HEADLINE_WORDING]
    rule = join_answers(most_frequent(asked(own)), own.questions)
    return pd.concat([given, rule], ignore_index=True) if len(rule) else given.reset_index(drop=True)


def check_answered(own: Evaluation, answers: pd.DataFrame) -> None:
    """Refuse a sub-dataset of which no model answered a question in the headline wording; says why.

    Raises
    ------
    UserError
        Names a picture that could not be read, or the wording.
    """
    if (answers.model != RULE).any():
        return
    name = own.benchmark.images.dataset.iloc[0]
    if len(own.failures):
        first = own.failures.iloc[0]
        raise UserError(f"no picture of '{name}' could be read; the first, '{first.image_id}': {first.reason}")
    raise UserError(f"no question of '{name}' was answered in wording {HEADLINE_WORDING}, which the report is about")


def most_frequent(questions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of ``RULE``; of answers that are as frequent it takes the first by the alphabet."""
    rows = list(zip(questions.question, questions.labels, questions.answer_idx, strict=True))
    times = Counter((kind, labels[at]) for kind, labels, at in rows)
    said = [
        min(range(len(labels)), key=lambda at: (-times[kind, labels[at]], labels[at]))  # noqa: B023
        for kind, labels, _ in rows
    ]
    table = questions[[*KEY, "answer_idx", "n_options"]].assign(model=RULE, predicted_idx=said)
    return table.assign(correct=table.answer_idx == table.predicted_idx)


def fine(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers to the question on the class."""
    return answers[answers.level == "fine"]


def comparisons(answers: pd.DataFrame) -> pd.DataFrame:
    """Every model but guessers with ``RULE``, and with each other, on the class: one family of ``compare_cells``."""
    models = [model for model in dict.fromkeys(answers.model) if model != RULE]
    models = list(learned(pd.DataFrame({"model": models}, dtype=object)).model)
    pairs = [(RULE, model) for model in models]
    pairs += [(one, other) for at, one in enumerate(models) for other in models[at + 1 :]]
    return compare_cells(fine(answers), pairs, by=[])


def best(scores: pd.DataFrame) -> str:
    """The model that names the class right most often: of those that answered all questions, else of all.

    ``scores`` is from ``scores.score``; no model at all is the empty text.
    """
    rows = headline(scores).query("level == 'fine'")
    models = learned(rows[rows.model != RULE])
    found = complete(models, {"fine": rows.n_questions[rows.model == RULE].max()})
    found = found if len(found) else models
    return found.loc[found.estimate.idxmax()].model if len(found) else ""


def context(own: Evaluation, answers: pd.DataFrame, scores: pd.DataFrame, compared: pd.DataFrame) -> dict:
    """What the page on a sub-dataset says: which model is the best, and what it can and cannot be told from.

    ``answers`` and ``compared`` are from here, ``scores`` from ``scores.score`` of the answers.
    """
    told: dict = {
        "rule": None,
        "best": None,
    }
    rows = headline(scores).query("level == 'fine'").set_index("model", drop=False)
    if rows.empty:
        return told | {"in_other_wording": (own.questions.level == "fine").any(), "wording": HEADLINE_WORDING}
    questions = fine(answers).drop_duplicates(KEY)
    classes = questions.right.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    offered = [len(classes.index.difference(labels)) == 0 for labels in questions.labels]
    errors = wrong(answers)
    rivals, model = learned(rows[rows.model != RULE]), best(scores)
    is_whole = model != "" and rows.n_questions[model] == rows.n_questions[RULE]
    told |= {
        "rule": rows.loc[RULE].to_dict(),
        "classes": list(classes.index),
        "is_fixed": all(offered),
        "is_level": len(classes) > 1 and classes.iloc[0] == classes.iloc[1],
        "n_models": len(rivals),
        "is_guessed": len(rows) > len(rivals) + 1,
        "n_partly": int((rivals.n_questions < rows.n_questions[RULE]).sum()),
        "n_wrong": errors.image_id.nunique(),
        "n_agreed": errors.image_id[errors.n_models > 1].nunique(),
        "best": rows.loc[model].to_dict() if is_whole else None,
    }
    if not is_whole:
        return told
    whole = scores[(scores.by == "all") & (scores.question == "all")]
    balanced = whole[whole.estimand == BALANCED].set_index("model")
    pairs = compared.set_index(["reference", "model"])
    beside = compared[(compared.reference != RULE) & ((compared.reference == model) | (compared.model == model))]
    better = np.where(beside.model == model, beside.joint_low > 0, beside.joint_high < 0)
    level = beside[(beside.joint_low <= 0) & (beside.joint_high >= 0)]
    reached, rule = balanced.loc[model], balanced.loc[RULE]
    as_good = rivals[(rivals.estimate == rows.estimate[model]) & (rivals.n_questions == rows.n_questions[model])]
    said_none = fine(answers)[(fine(answers).model == model) & (fine(answers).chosen == NONE_OF_THE_ABOVE)]
    return told | {
        "level_with": [other for other in as_good.model if other != model],
        "n_with_none": sum(NONE_OF_THE_ABOVE in labels for labels in questions.labels),
        "n_none": len(said_none),
        "n_none_right": int(said_none.correct.sum()),
        "balanced": reached.to_dict(),
        "rule_balanced": rule.to_dict(),
        "is_apart": bool(reached.ci_low > rule.estimate),
        "over": pairs.loc[(RULE, model)].to_dict(),
        "sizes": power.detectable(fine(answers), [(RULE, model)]).to_dict("records"),
        "n_over": int((against_rule(compared).joint_low > 0).sum()),
        "n_others": len(beside),
        "n_better": int(better.sum()),
        "close": [other for pair in zip(level.reference, level.model, strict=True) for other in pair if other != model],
    }


def side_by_side(scores: pd.DataFrame, models: list) -> pd.DataFrame:
    """Accuracy, and balanced accuracy where it is not withheld, on the class; ``RULE`` comes last."""
    rows = scores[(scores.level == "fine") & (scores.by == "all") & (scores.question == "all")]
    rows = rows[rows.estimand.isin(["micro", BALANCED]) & rows.estimate.notna()]
    order = {model: at for at, model in enumerate([*models, RULE])}
    return rows.sort_values("model", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def against_rule(compared: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with ``RULE``."""
    return compared[compared.reference == RULE]


def with_more(answers: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Smallest difference of each model from ``RULE`` that these pictures, or more, show: ``power.detectable``."""
    pairs = against_rule(compared)[["reference", "model"]]
    return power.detectable(fine(answers), list(pairs.itertuples(index=False, name=None)))


def recalls(scores: pd.DataFrame, models: list) -> pd.DataFrame:
    """Share of each class that each of the models names right: headline scores by class."""
    rows = headline(scores, by="right").query("level == 'fine' and model in @models")
    rows = rows.assign(place=rows.model.map(models.index))
    return rows.sort_values(["slice", "place"], ignore_index=True).drop(columns="place")


def confusions(answers: pd.DataFrame, model: str) -> pd.DataFrame:
    """What one model takes each class for: ``right, chosen, n`` and ``share`` of the answers to that class."""
    own = fine(answers)[fine(answers).model == model]
    table = own.groupby(["right", "chosen"]).size().rename("n").reset_index()
    table = table.assign(share=table.n / table.groupby("right").n.transform("sum"))
    return table.sort_values(["right", "n"], ascending=[True, False], kind="stable", ignore_index=True)


def wrong(answers: pd.DataFrame) -> pd.DataFrame:
    """Wrong answers on the class, a row a picture and answer; those that most models agree on come first.

    Returns
    -------
    pandas.DataFrame
        ``image_id, label`` (the right option), ``answer``; ``n_models`` that gave it, ``of_models`` that answered the
        picture, guessers not counted; ``p``: the largest probability that one of them gave it, NaN where none says;
        ``models``, separated by semicolons.
    """
    rows = learned(fine(answers)[fine(answers).model != RULE])
    rows = rows.assign(of_models=rows.groupby(KEY).model.transform("nunique"))
    rows = rows[~rows.correct.astype(bool)]
    table = rows.groupby(["image_id", "right", "chosen"], as_index=False).agg(
        n_models=("model", "nunique"),
        of_models=("of_models", "first"),
        p=("p_predicted", "max"),
        models=("model", lambda names: "; ".join(dict.fromkeys(names))),
    )
    table = table.rename(columns={"right": "label", "chosen": "answer"})
    return table.sort_values(["n_models", "p", "image_id"], ascending=[False, False, True], ignore_index=True)


def mistakes(answers: pd.DataFrame, model: str, most: int) -> pd.DataFrame:
    """The wrong answers of one model on the class, the surest first: ``dataset`` and the columns of ``wrong``."""
    rows = fine(answers)[(fine(answers).model == model) & ~fine(answers).correct.astype(bool)]
    own = rows[["dataset", "image_id", "chosen", "p_predicted"]]
    own = own.merge(wrong(answers).drop(columns="p"), left_on=["image_id", "chosen"], right_on=["image_id", "answer"])
    own = own.rename(columns={"p_predicted": "p"}).drop(columns="chosen")
    return own.sort_values(["p", "n_models", "image_id"], ascending=[False, False, True], ignore_index=True).head(most)


def others(scores: pd.DataFrame, models: list) -> pd.DataFrame:
    """Headline scores on the other questions, a row a question and model, in the order of both, ``RULE`` the last."""
    rows = headline(scores).query("level != 'fine' and question != 'all'")
    order = {"question": [*LEVELS].index, "model": [*models, RULE].index}
    return rows.sort_values([*order], key=lambda names: names.map(order[names.name]), ignore_index=True)


def classes(own: Evaluation) -> pd.DataFrame:
    """Classes as they are labelled: ``label, n_images, share, n_groups``, which is NaN where none is stated."""
    images = own.benchmark.pictures
    table = images.groupby("label_name").agg(n_images=("image_id", "size"), n_groups=("group", "nunique"))
    table = table.assign(share=table.n_images / len(images), n_groups=table.n_groups.where(table.n_groups > 0))
    return table.rename_axis("label").reset_index().sort_values(["n_images", "label"], ascending=[False, True])


def look(own: Evaluation) -> pd.DataFrame:
    """``duplicates.look`` at the pictures."""
    return duplicates.look(own.benchmark)


def asked_about(own: Evaluation, looked: pd.DataFrame) -> dict:
    """What the pictures are, how their files are read, and what was asked of them; ``looked`` from ``look``."""
    images, questions = own.benchmark.pictures, asked(own).query("level == 'fine'")
    ways = images.rendering.dropna().value_counts()
    return {
        "n_images": len(images),
        "n_classes": images.label_name.nunique(),
        "n_groups": images.group.nunique(),
        "n_ungrouped": int(images.group.isna().sum()),
        "facts": {fact: _several(images[fact]) for fact in FACTS},
        "pixel": (images.microns_per_pixel.min(), images.microns_per_pixel.max()),
        "files": benchmark.pictures(looked).iloc[0].to_dict(),
        "picture_notes": benchmark.opened(looked)["picture_notes"],
        "asked": sorted(set(questions.asked.dropna())),
        "n_asked": len(questions),
        "options": sorted(set(questions.n_options)),
        "n_with_none": sum(NONE_OF_THE_ABOVE in labels for labels in questions.labels),
        "unread": sorted(set(own.failures.image_id)),
        "ways": list(ways.items()),
    }


def _several(values: pd.Series) -> list[str]:
    """The stated values, most frequent first."""
    return list(values[values != NOT_STATED].value_counts().index)
