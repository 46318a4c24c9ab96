"""What is made of replies in words, by the strict reader and by the benchmark's own rule, and how they ended.

Shares are scores of other questions: does the reply choose an option, was it cut off? Every one has the interval of
``scores.score``, which resamples images, and stands alone: none is adjusted for the number of them.
"""

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING, NONE_OF_THE_ABOVE
from ..evaluation.evaluate import Evaluation
from ..models.replies import NO_OPTION
from ..statistics.calibration import calibration_error
from ..statistics.cells import QUESTION, distinct
from ..statistics.intervals import ENDS, columns_of
from ..statistics.means import mean
from ..statistics.scores import score, totals
from . import published

OFFICIAL, STRICT = "official", "strict"
OUTCOMES = {"unreadable": "names no option", "cut_off": "was cut off", "declined": "was declined"}
FEWEST_MASS = 0.5  # of the first token's probability on the letters: with less, they say little of the reply
ESTIMATES = ["model", "level", "question", "what", "estimate", "ci_low", "ci_high", "chance", "n_questions", "n_images"]
ESTIMATES += ["interval"]
CHANGE = "mean over orders − as stored"  # of an audit


def shares(answers: pd.DataFrame, correct, what: str, n_options=None) -> pd.DataFrame:
    """Share of rows of which something holds; ``n_options`` where its chance is one in another number."""
    rows = answers.assign(correct=np.asarray(correct, bool)).drop(columns="right", errors="ignore")  # no mean recall
    table = score(rows if n_options is None else rows.assign(n_options=n_options), by=())
    if table.empty:
        return pd.DataFrame(columns=ESTIMATES)
    return distinct(table[table.estimand == "micro"]).assign(what=what)[ESTIMATES]


def together(tables: list) -> pd.DataFrame:
    """Tables of estimates as one."""
    return pd.concat(tables, ignore_index=True)[ESTIMATES]


def replied(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers that are replies in words and that both rules can judge."""
    if "reply" not in answers:
        return answers.iloc[:0]
    return answers[answers.reply.notna() & answers.correct_official.notna() & (answers.wording == HEADLINE_WORDING)]


def by_official(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers in which a reply is right where the benchmark's own rule finds it so, as in the published numbers."""
    if "correct_official" not in answers:
        return answers
    official = answers.correct_official.astype("boolean").fillna(answers.correct.astype("boolean"))
    return answers.assign(correct=official.astype(bool))


def beside_published(run: Evaluation) -> pd.DataFrame:
    """``published.beside`` of a run, whose replies count by the rule that the published numbers rest on."""
    return published.beside(score(by_official(run.answers), by=[]), run.benchmark.name)


def accuracies(answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of replies by both readings (``what``: official, strict), and by question type.

    The benchmark's own rule is asked whether a reply is right, and can say so of several options; the strict reading
    takes what the reply chooses. ``answers`` are as from ``join_answers``, of any models.
    """
    rows = replied(answers)
    if rows.empty:
        return pd.DataFrame(columns=ESTIMATES)
    return together([shares(rows, rows.correct_official, OFFICIAL), shares(rows, rows.correct, STRICT)])


def _outcomes(answers: pd.DataFrame) -> pd.DataFrame:
    """Replies with 0 or 1 for each of ``OUTCOMES``, NaN where it is not known how one ended, as in a file."""
    rows = replied(answers)
    finish = rows.finish if "finish" in rows else pd.Series(None, rows.index, dtype=object)
    known = finish.notna()
    return rows.assign(
        unreadable=(rows.predicted_idx == NO_OPTION).astype(float),
        cut_off=(finish == "length").astype(float).where(known),
        declined=finish.isin(["filter", "refusal"]).astype(float).where(known),
    )


def unread(answers: pd.DataFrame) -> pd.DataFrame:
    """Share of replies that name no option, were cut off, or were declined: ``what``; no chance belongs to them."""
    rows, tables = _outcomes(answers), [pd.DataFrame(columns=ESTIMATES)]
    for column, what in OUTCOMES.items():
        known = rows[rows[column].notna()]
        tables += [shares(known, known[column], what).assign(chance=np.nan)] if len(known) else []
    return together(tables[1:] or tables)


def both_rules(answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by both rules for whole levels, and what became of the replies, in proportions.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``join_answers``; those that are no replies are left out.

    Returns
    -------
    pandas.DataFrame
        ``model, level, n_questions``; ``strict`` (as on all pages) and ``official``, each with ``_low`` and ``_high``;
        ``difference`` (official − strict, paired) with its ends; the shares ``unreadable`` (no option is named),
        ``cut_off`` and ``declined`` (NaN where it is not known how a reply ended), and ``letter_mass``, the mean over
        the questions where it is known. Micro; empty where nobody replied.
    """
    rows, key = _outcomes(answers), ["model", "level"]
    columns = [*key, "n_questions", *columns_of("strict"), *columns_of("official"), *columns_of("difference")]
    columns += [*OUTCOMES, "letter_mass"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    rows = rows.assign(change=rows.correct_official.astype(float) - rows.correct)
    found = totals(accuracies(answers)).set_index(key)
    changed = totals(mean(rows, "change")).set_index(key)
    tables = {STRICT: found[found.what == STRICT], OFFICIAL: found[found.what == OFFICIAL], "difference": changed}
    parts = [table[ENDS].set_axis(columns_of(name), axis=1) for name, table in tables.items()]
    by = rows.assign(letter_mass=rows.get("letter_mass", np.nan)).groupby(key)
    table = pd.concat([tables[STRICT].n_questions, *parts], axis=1).join(by[[*OUTCOMES, "letter_mass"]].mean())
    return table.reset_index()[columns]


def none_share(answers: pd.DataFrame) -> pd.DataFrame:
    """How often each model of any family chooses "none of the above", of the questions that offer it.

    ``chance`` is one in the number of options; ``n_right``: questions of the row of which it is the right answer.
    """
    rows = answers[answers.wording == HEADLINE_WORDING]
    rows = rows[np.array([NONE_OF_THE_ABOVE in labels for labels in rows.labels], bool)]
    table = shares(rows, rows.chosen == NONE_OF_THE_ABOVE, NONE_OF_THE_ABOVE)
    right = rows[rows.right == NONE_OF_THE_ABOVE]
    counts = pd.concat([right, right.assign(question="all")]).groupby(["model", "level", "question"]).size()
    n_right = counts.reindex(pd.MultiIndex.from_frame(table[["model", "level", "question"]]), fill_value=0)
    return table.assign(n_right=n_right.to_numpy())


def in_words(run: Evaluation, table: pd.DataFrame) -> dict:
    """Which models replied in words and which did not; ``table`` is from ``both_rules``."""
    wordy = list(dict.fromkeys(table.model))
    families = run.families
    return {"wordy": wordy, "wordless": [(name, families[name]) for name in families if name not in wordy]}


def sureness(answers: pd.DataFrame, model: str) -> dict:
    """Whether the probabilities of a model's letters are those of its replies, for its report card.

    Returns
    -------
    dict
        ``replies``; ``mass``, the mean probability of the first token that lies on the letters, None where none is
        known; ``calibration``, a row of ``calibration_error``, None without probabilities and where ``mass`` is below
        one half.
    """
    own = answers[(answers.model == model) & (answers.wording == HEADLINE_WORDING)]
    wordy = replied(own)
    found: dict = {"replies": len(wordy) > 0, "mass": None, "calibration": None}
    if len(wordy) and "letter_mass" in wordy and wordy.letter_mass.notna().any():
        found["mass"] = float(wordy.letter_mass.mean())
    if (len(wordy) and (found["mass"] or 0) < FEWEST_MASS) or not own.p_predicted.notna().any():
        return found
    return found | {"calibration": calibration_error(own).to_dict("records")[0]}


def examples(answers: pd.DataFrame, model: str, n: int = 2) -> pd.DataFrame:
    """Some replies of a model of each ``state``, right, wrong and unreadable, of different sub-datasets, images and
    types of question while there are enough; the same whatever the order.
    """
    rows = replied(answers[answers.model == model])
    state = rows.correct.map({True: "right", False: "wrong"}).where(rows.predicted_idx >= 0, "unreadable")
    rows = rows.assign(state=state).sort_values(QUESTION).sample(frac=1, random_state=0)
    turns = [rows.groupby(["state", column]).cumcount() for column in ("question", "dataset")]
    rows = rows.assign(turn=sum(turns)).sort_values("turn", kind="stable").groupby("state").head(n)
    order = {"right": 0, "wrong": 1, "unreadable": 2}
    return rows.sort_values("state", key=lambda of: of.map(order), kind="stable").drop(columns="turn")


def context(answers: pd.DataFrame, found: pd.DataFrame, models: list) -> dict:
    """What the page on replies says; ``found`` is from ``audits.audit``."""
    rows, read = accuracies(answers), unread(answers)
    none = totals(none_share(answers))
    spoken = [model for model in models if model in set(rows.model)]
    said = []
    for model in spoken:
        one = {"model": model, "n_audited": 0}
        own = totals(rows[rows.model == model])
        one["accuracy"] = [
            {"level": level} | {row["what"]: row for row in part.to_dict("records")}
            for level, part in own.groupby("level", sort=False)
        ]
        one["unread"] = totals(read[read.model == model]).to_dict("records")
        audited = totals(found[found.model == model])
        one["consistent"] = audited[audited.what == "consistent"].to_dict("records")
        one["change"] = audited[audited.what == CHANGE].to_dict("records")
        said.append(one)
    return {
        "spoken": said,
        "not_audited": [model for model in spoken if model not in set(found.model)],
        "n_models": len(models),
        "n_none": int(none.n_questions.sum()),
        "n_right": int(none.n_right.sum()),
    }
