"""How the replies of models that answer in words were read: by the strict reader and by the benchmark's own rule."""

import pandas as pd

from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..statistics.calibration import calibration_error
from ..statistics.cells import QUESTION
from ..statistics.intervals import ENDS, columns_of
from ..statistics.scores import compare_pairs, headline, score, totals
from . import published

FEWEST_MASS = 0.5  # of the first token's probability on the letters: with less, they say little of the reply
BY_OFFICIAL = " by the official rule"


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
    rows = replied(answers)
    columns = ["model", "level", "n_questions", *columns_of("strict"), *columns_of("official")]
    columns += [*columns_of("difference"), "unreadable", "cut_off", "declined", "letter_mass"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    official = rows.assign(correct=rows.correct_official.astype(bool))
    key = ["model", "level"]
    table = totals(headline(score(rows, by=[])))[[*key, "n_questions", *ENDS]]
    table = table.rename(columns=dict(zip(ENDS, columns_of("strict"), strict=True)))
    of_official = totals(headline(score(official, by=[]))).set_index(key)[ENDS].set_axis(columns_of("official"), axis=1)
    both = pd.concat([rows, official.assign(model=rows.model + BY_OFFICIAL)])
    pairs = [(model, model + BY_OFFICIAL) for model in dict.fromkeys(rows.model)]
    paired = totals(headline(compare_pairs(both, pairs, by=[])))
    paired = paired.drop(columns="model").rename(columns={"reference": "model"}).set_index(key)[ENDS]
    finish = rows.finish if "finish" in rows else pd.Series(None, rows.index, dtype=object)
    known = finish.notna()
    shares = rows.assign(
        unreadable=(rows.predicted_idx < 0).astype(float),
        cut_off=(finish == "length").astype(float).where(known),
        declined=finish.isin(["filter", "refusal"]).astype(float).where(known),
        letter_mass=rows.letter_mass if "letter_mass" in rows else float("nan"),
    )
    shares = shares.groupby(key)[["unreadable", "cut_off", "declined", "letter_mass"]].mean()
    table = (
        table.join(of_official, on=key)
        .join(paired.set_axis(columns_of("difference"), axis=1), on=key)
        .join(shares, on=key)
    )
    return table[columns].reset_index(drop=True)


def context(run: Evaluation, table: pd.DataFrame) -> dict:
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
