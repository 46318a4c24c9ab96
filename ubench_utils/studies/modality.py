"""Does a model know an answer, or does it prefer one? What was chosen, against what a blind chooser would choose.

A model that always gives one answer is right whenever that answer happens to be true. So beside its right answers stand
how often it gives that answer at all and where it is false, and which wrong options draw more than their part of the
errors. A dual encoder scores the options even for a blank image; these scores are what it prefers. Taking them from the
scores of the real image is contextual calibration in log space: the temperature scales both alike, so the difference of
the cosine similarities orders the options as the ratio of the probabilities does.
"""

import numpy as np
import pandas as pd

from ..data.blank import GREY, blank_images
from ..data.questions import HEADLINE_WORDING, NONE_OF_THE_ABOVE
from ..evaluation.evaluate import Evaluation
from ..models.answers import best_options, in_blocks
from ..models.encoders.features import Features, cosines, similarities
from ..statistics.cells import QUESTION, answered_cells, cell_sums, distinct, draws, estimates, lay_out
from ..statistics.intervals import ENDS, choose, columns_of, independent_difference, percentiles, wilson
from ..statistics.resampling import UNIT, image_weights, numbered
from ..statistics.scores import compare_pairs, score
from .overview import learned, slices

ATTRACTION = ["model", "level", "question", "option", "observed", "expected"]
ATTRACTION += [*ENDS, "interval", "n_questions", "n_images"]
RATES = ["model", "option", "rate", *ENDS, "n_questions"]
AFTER = " (after)"  # marks the other answers of a model
MEAN = "mean image"  # not blank: what the model prefers over all images of the run
REFERENCES = [GREY, MEAN]


def attraction(choices: pd.DataFrame) -> pd.DataFrame:
    """How often each wrong option was chosen, against an even spread of the model's errors over the wrong options.

    Parameters
    ----------
    choices : pandas.DataFrame
        As from ``join_answers``; the headline wording counts. Replies that name no option are left out.

    Returns
    -------
    pandas.DataFrame
        ``model, level, question, option, observed, expected, estimate, ci_low, ci_high, interval, n_questions,
        n_images``, over the questions that offered the option, wrongly, and were answered wrong. ``expected`` is the
        sum of 1 / (n_options − 1) over them, ``estimate`` is observed / expected: 1 for an option like any other. The
        interval resamples images; a cell without variation gets that of Wilson. ``question`` is ``all`` where the
        types of a level are pooled.
    """
    rows = numbered(choices[(choices.wording == HEADLINE_WORDING) & (choices.predicted_idx >= 0)])
    if rows.empty:  # no reply names an option
        return pd.DataFrame(columns=ATTRACTION)
    weights = image_weights(rows)
    wrong = rows[~rows.correct.astype(bool) & (rows.n_options > 1)]
    tables = [_attraction(own, weights).assign(model=model) for model, own in wrong.groupby("model", sort=False)]
    return distinct(pd.concat(tables, ignore_index=True))[ATTRACTION] if tables else pd.DataFrame(columns=ATTRACTION)


def _attraction(wrong: pd.DataFrame, weights: np.ndarray) -> pd.DataFrame:
    """``attraction`` of one model by its wrong answers, whose ``image`` is a row of the weights."""
    columns = [*UNIT, "dataset", "image", "level", "question", "wording", "n_options", "chosen", "right"]
    offered = wrong[columns].assign(option=wrong.labels.map(list)).explode("option", ignore_index=True)
    offered = offered[offered.option != offered.right].reset_index(drop=True)
    hit = (offered.option == offered.chosen).to_numpy(np.float32)[:, None]
    even = (1 / (offered.n_options - 1)).to_numpy(float)[:, None]
    layout = lay_out(offered, "option")
    observed, expected = (cell_sums(layout, values)[:, 0] for values in (hit, even))
    cells, _ = answered_cells(layout, np.ones_like(hit))
    bounds = percentiles(draws(layout, hit, even, weights)["micro"][:, 0], cells.df)
    share, n = observed / cells.n_questions, cells.n_even  # the questions of one image are not independent
    least, most = (bound * cells.n_questions / expected for bound in wilson(share * n, n, df=cells.df))
    return cells.rename(columns={"slice": "option"}).assign(
        observed=observed.astype(int),
        expected=expected,
        estimate=estimates(layout, hit, even)["micro"][:, 0],
        **choose(*bounds, closed=("wilson", least, most), withheld=cells.alone),
    )


def rates(choices: pd.DataFrame, question: str = "modality") -> pd.DataFrame:
    """Whether a model tells each option of a question type from the rest, or only likes to choose it.

    Parameters
    ----------
    choices : pandas.DataFrame
        As from ``join_answers``; the headline wording counts.

    Returns
    -------
    pandas.DataFrame
        ``model, option, rate, estimate, ci_low, ci_high, n_questions``, over the questions that offered the option. The
        rates are ``truth`` (how often it is right, no interval), ``share`` (how often the model chose it), ``recall``
        and ``false alarm`` (the same where it is right, and where it is not) and ``informedness``, recall − false
        alarms: 0 whenever the answers do not depend on the image, 1 for a perfect model. An option that is never
        right, or always, has no informedness.

    Notes
    -----
    Shares have the intervals of ``scores.score``, from resampling images. Recall and false alarms come from different
    images, so that of their difference is that of independent estimates.

    References
    ----------
    Youden 1950, Cancer 3, 32-35. Powers 2011, J. Mach. Learn. Technol. 2, 37-63 (informedness).
    """
    tables = []
    for option, says in _by_option(choices, question):
        table = distinct(score(says, ["side"]))
        tables.append(table.assign(option=option, rate=table.slice.replace("all", "share")))
        truth = says.assign(estimate=says.right == option, n_questions=1).groupby("model", sort=False)
        truth = truth.agg({"estimate": "mean", "n_questions": "sum"}).reset_index()
        tables.append(truth.assign(option=option, rate="truth", estimand="micro"))
    return _with_informedness(tables)


def rate_changes(choices: pd.DataFrame, after: str, question: str = "modality") -> pd.DataFrame:
    """Paired change of the ``rates`` where the column ``after`` holds what was chosen instead of ``chosen``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``rates``; ``estimate`` is after − before, of ``share``, ``recall``, ``false alarm`` and
        ``informedness``, with the intervals of ``scores.compare`` (shared draws).
    """
    tables = []
    for option, says in _by_option(choices, question):
        table = changes(says, says[after] == option, ["side"])
        tables.append(table.assign(option=option, rate=table.slice.replace("all", "share")))
    return _with_informedness(tables)


def changes(answers: pd.DataFrame, correct_after, by=()) -> pd.DataFrame:
    """Paired change in accuracy of each model where other answers were given to the same questions.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``scores.join_answers``.
    correct_after : array_like of bool, shape (n_answers,)
        Whether the other answers are right.

    Returns
    -------
    pandas.DataFrame
        The columns of ``scores.compare``; ``estimate`` is after − before.
    """
    then = answers.assign(correct=np.asarray(correct_after, bool), model=answers.model + AFTER)
    pairs = [(model, model + AFTER) for model in dict.fromkeys(answers.model)]
    table = compare_pairs(pd.concat([answers, then]), pairs, by)
    return distinct(table).drop(columns="model").rename(columns={"reference": "model"})


def _by_option(choices: pd.DataFrame, question: str):
    """Yield each option and the questions that offered it: ``correct`` if it was chosen, ``side`` by the truth."""
    rows = choices[(choices.question == question) & (choices.wording == HEADLINE_WORDING)]
    for option in sorted({*rows.chosen, *rows.right}):
        offered = rows[[option in labels for labels in rows.labels]]
        if len(offered):  # a reply that names no option was never offered
            side = np.where(offered.right == option, "recall", "false alarm")
            yield option, offered.assign(correct=offered.chosen == option, side=side)


def _with_informedness(tables: list) -> pd.DataFrame:
    """One long table of rates, or of their changes, and the informedness of every option that has both sides."""
    if not tables:
        return pd.DataFrame(columns=RATES)
    table = pd.concat(tables, ignore_index=True)
    table = table[table.estimand == "micro"][RATES]
    recall, false_alarm = (
        table[table.rate == rate].set_index(["model", "option"]) for rate in ("recall", "false alarm")
    )
    both = recall.index.intersection(false_alarm.index, sort=False)
    recall, false_alarm = recall.loc[both], false_alarm.loc[both]
    ends = independent_difference(*([of[end] for end in ENDS] for of in (recall, false_alarm)))
    n = recall.n_questions + false_alarm.n_questions
    informed = pd.DataFrame(dict(zip(ENDS, ends, strict=True))).assign(rate="informedness", n_questions=n)
    return pd.concat([table, informed.reset_index()], ignore_index=True)[RATES]


def confusion(choices: pd.DataFrame, models: list, truth: str = "modality") -> pd.DataFrame:
    """What each model calls the images of each true class: ``model, truth, chosen``, the share of the images of a class
    as ``estimate``, and whether it is the ``most`` frequent answer; "none of the above" comes last.
    """
    rows = choices[(choices.question == truth) & (choices.wording == HEADLINE_WORDING) & choices.model.isin(models)]
    chosen = sorted(set(rows.chosen), key=lambda name: (name == NONE_OF_THE_ABOVE, name))
    tables = []
    for model in dict.fromkeys(model for model in models if model in set(rows.model)):
        own = rows[rows.model == model]
        share = pd.crosstab(own[truth], own.chosen, normalize="index").reindex(columns=chosen, fill_value=0.0)
        share = share.rename_axis(index="truth", columns="chosen")
        best = share.idxmax(axis=1)
        table = share.stack().rename("estimate").reset_index()
        tables.append(table.assign(model=model, most=table.chosen == table.truth.map(best)))
    columns = ["model", "truth", "chosen", "estimate", "most"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def most_attractive(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``attraction`` by question type and option (``row``): those with the highest lower bound of any model,
    where at least five choices were expected; with fewer a ratio says little.
    """
    rows = table[(table.question != "all") & (table.expected >= 5)]
    rows = rows.assign(row=rows.question + ": " + rows.option)
    order = rows.groupby("row").ci_low.max().sort_values(ascending=False, kind="stable").index[:12]
    place = rows.row.map({row: place for place, row in enumerate(order)})
    return rows.assign(place=place).dropna(subset="place").sort_values("place", kind="stable").drop(columns="place")


def with_truth(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``rates`` with ``truth``, how often the option is right, beside its share, and ``n_true``, in how many
    questions; options that are ever right come first.
    """
    if table.empty:
        return table
    key = ["model", "option"]
    truth = table[table.rate == "truth"].rename(columns={"estimate": "truth"})[[*key, "truth"]]
    rows = table[table.rate != "truth"].merge(truth, on=key)
    n_true = rows[rows.rate == "recall"].groupby("option").n_questions.max()
    rows = rows.assign(truth=rows.truth.where(rows.rate == "share"), n_true=rows.option.map(n_true).fillna(0))
    return rows.assign(never=rows.n_true == 0).sort_values(["never", "option"], kind="stable").drop(columns="never")


def verdicts(rates: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Whether each model tells its worst modality from the rest, and whether a preference hides part of it.

    Parameters
    ----------
    rates, changed : pandas.DataFrame
        As from ``rates`` and from ``calibrated_rates``.

    Returns
    -------
    pandas.DataFrame
        A row a model that is no guesser: ``model, option`` (of lowest recall), its informedness as ``estimate, ci_low,
        ci_high``; its change less each reference image as ``IMAGE, IMAGE_low, IMAGE_high``; ``n_references``, and
        ``raised``, the images that raise it by more than chance explains. Empty where fewer than two options are named.
    """
    rows = []
    for model, of_model in learned(rates).groupby("model", sort=False):
        informedness = of_model[of_model.rate == "informedness"].set_index("option", drop=False)
        recall = of_model[of_model.rate == "recall"].set_index("option").estimate.reindex(informedness.index)
        if len(recall) < 2:
            continue
        worst = informedness.loc[recall.idxmin(), ["model", "option", *ENDS]].to_dict()
        less = changed[
            (changed.model == model) & (changed.option == worst["option"]) & (changed.rate == "informedness")
        ]
        for one in less.to_dict("records"):
            worst |= dict(zip(columns_of(one["reference"]), (one[end] for end in ENDS), strict=True))
        rows.append(worst | {"n_references": len(less), "raised": less.reference[less.ci_low > 0].tolist()})
    return pd.DataFrame(rows)


def context(scores: pd.DataFrame, table: pd.DataFrame, left_out: dict) -> dict:
    """What the page on modality says; ``table`` is from ``verdicts``, ``left_out`` from ``with_blanks``."""
    named = slices(scores, "modality", "modality")
    return {"slices": named, "readings": readings(table), "left_out": list(left_out.items())}


def readings(table: pd.DataFrame) -> list[list[dict]]:
    """Rows of ``verdicts``, those of one reading together."""
    groups: dict[tuple, list] = {}
    for row in table.to_dict("records"):
        known = int(row["ci_low"] > 0) - int(row["ci_high"] < 0)
        groups.setdefault((known, row["n_references"], *row["raised"]), []).append(row)
    return list(groups.values())


def with_blanks(run: Evaluation, models: list) -> tuple[pd.DataFrame, dict]:
    """What each model answers without an image, and with one after the scores without are subtracted.

    The blank images go through the model's own preprocessing and encoder; their features are cached as all others.

    Returns
    -------
    choices : pandas.DataFrame
        The rows of ``run.answers`` in the headline wording, of the models that have an image encoder of their
        own, and for each of ``REFERENCES`` two indices of options: ``only REFERENCE``, chosen by that image alone, and
        ``less REFERENCE``, chosen by the real image after that one's scores are subtracted; all in float32. The mean
        image is the mean of the features of the run's images.
    left_out : dict of str to str
        Models without such an encoder, and why.
    """
    choices = run.answers[run.answers.wording == HEADLINE_WORDING]
    blanks = blank_images()
    tables, left_out = [], {}
    for model in models:
        facts = run.record["models"][model]
        if not facts["has_weights"]:
            how = "drawn at random" if facts["guesses"] else "made elsewhere"
            left_out[model] = "it is asked at an address" if "url" in facts else f"its answers were {how}"
        elif not facts["has_embeddings"]:
            left_out[model] = "it reads image and text together"
        elif (empty := run.features(model, blanks)[0]).failed:
            left_out[model] = f"of a blank image, {next(iter(empty.failed.values()))}"
        else:
            images, texts, _ = run.features(model)
            chosen = _choose(run.questions, images, texts, empty)
            tables.append(choices[choices.model == model].merge(chosen, on=QUESTION, validate="one_to_one"))
    if tables:
        return pd.concat(tables, ignore_index=True), left_out
    added = [f"{way} {name}" for name in REFERENCES for way in ("only", "less")]
    return choices.iloc[:0].reindex(columns=[*choices, *added]), left_out


def _choose(questions: pd.DataFrame, images: Features, texts: Features, empty: Features) -> pd.DataFrame:
    """Options that one model chooses for each question: ``QUESTION`` and the columns that ``with_blanks`` adds."""
    rows = [row for image_hash, row in images.row_of.items() if image_hash not in images.failed]
    mean = images.vectors[rows].mean(axis=0, dtype=np.float64)
    references = np.vstack([empty.vectors, mean]).astype(np.float32)  # in the order of REFERENCES

    def choose(block):
        asked, score, option_row = similarities(block, images, texts)
        chosen = {}
        for row, name in enumerate(REFERENCES):
            alone = cosines(references, np.full(len(asked), row), texts.vectors, option_row)
            chosen[f"only {name}"] = best_options(alone, option_row)
            chosen[f"less {name}"] = best_options(subtracted(score, alone), option_row)
        return asked[QUESTION].assign(**chosen)

    asked = (questions.wording == HEADLINE_WORDING) & ~questions.image_hash.isin(images.failed)
    return in_blocks(questions[asked], choose)


def subtracted(score: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Scores less those of the blank image, float32 (n_questions, most options); absent options stay −∞.

    References
    ----------
    Zhao et al. 2021, ICML, arXiv 2102.09690 (contextual calibration, by inputs without content). Zhou et al. 2024,
    ICLR, arXiv 2309.17249 (batch calibration, by the mean over the inputs).
    """
    return np.subtract(score, blank, out=np.full_like(score, -np.inf), where=np.isfinite(score))


def without_image(choices: pd.DataFrame) -> pd.DataFrame:
    """How far the answers to a blank image go: how often they are right, and the same as with the real image.

    Parameters
    ----------
    choices : pandas.DataFrame
        As from ``with_blanks``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``scores.score`` and ``what``: ``right`` or ``same``; micro.
    """
    tables = [
        score(choices.assign(correct=choices[f"only {GREY}"] == choices[column]), by=[]).assign(what=what)
        for what, column in (("right", "answer_idx"), ("same", "predicted_idx"))
    ]
    table = pd.concat(tables, ignore_index=True)
    return distinct(table[table.estimand == "micro"])


def calibrated(choices: pd.DataFrame) -> pd.DataFrame:
    """Paired change in accuracy after the scores of each reference image are subtracted: ``changes``, ``reference``."""
    tables = [
        changes(choices, choices[f"less {name}"] == choices.answer_idx).assign(reference=name) for name in REFERENCES
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table.estimand == "micro"]


def calibrated_rates(choices: pd.DataFrame) -> pd.DataFrame:
    """Paired change of recall, false alarms and informedness: ``rate_changes``, ``reference``."""
    tables = []
    for name in REFERENCES:
        after = [labels[row] for labels, row in zip(choices.labels, choices[f"less {name}"], strict=True)]
        tables.append(rate_changes(choices.assign(after=after), "after").assign(reference=name))
    return pd.concat(tables, ignore_index=True)
