"""What models say that reply in words: how it can be read, and whether it depends on what should not matter.

Shares are scores of other questions: does the reply choose an option, is it the same in every order? Every one has the
interval of ``scores.score``, which resamples images, and stands alone: none is adjusted for the number of them.
"""

import numpy as np
import pandas as pd

from ..data.questions import HEADLINE_WORDING, NONE_OF_THE_ABOVE
from ..evaluation.askings import AGAIN, BLANK, ORDER
from ..models.generators.protocol import LETTERS
from ..models.replies import NO_OPTION
from ..statistics.cells import QUESTION, distinct
from ..statistics.means import mean
from ..statistics.scores import score, totals
from .readings import replied

OFFICIAL, STRICT = "official", "strict"
ENDED = {"was cut off": ["length"], "was declined": ["filter", "refusal"]}
LEAST = 1e-6  # probability of a letter that a server does not list
ESTIMATES = ["model", "level", "question", "what", "estimate", "ci_low", "ci_high", "chance", "n_questions", "n_images"]
ESTIMATES += ["interval"]
KEY = ["model", *QUESTION]
BLANKED, AVERAGED = "same answer without an image", "by the mean probability over the orders"
CHANGE = "mean over orders − as stored"


def _shares(answers: pd.DataFrame, correct, what: str, n_options=None) -> pd.DataFrame:
    """Share of rows of which something holds; ``n_options`` where its chance is one in another number."""
    rows = answers.assign(correct=np.asarray(correct, bool)).drop(columns="right", errors="ignore")  # no mean recall
    table = score(rows if n_options is None else rows.assign(n_options=n_options), by=())
    if table.empty:
        return pd.DataFrame(columns=ESTIMATES)
    return distinct(table[table.estimand == "micro"]).assign(what=what)[ESTIMATES]


def _together(tables: list) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)[ESTIMATES]


def accuracies(answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of replies by both readings (``what``: official, strict), and by question type.

    The benchmark's own rule is asked whether a reply is right, and can say so of several options; the strict reading
    takes what the reply chooses. ``answers`` are as from ``join_answers``, of any models.
    """
    rows = replied(answers)
    if rows.empty:
        return pd.DataFrame(columns=ESTIMATES)
    return _together([_shares(rows, rows.correct_official, OFFICIAL), _shares(rows, rows.correct, STRICT)])


def unread(answers: pd.DataFrame) -> pd.DataFrame:
    """Share of replies that name no option, were cut off, or were declined: ``what``; no chance belongs to them.

    How a reply of a file ended is not known, so it says nothing of the latter two.
    """
    rows = replied(answers)
    parts = [_shares(rows, rows.predicted_idx == NO_OPTION, "names no option")] if len(rows) else []
    known = rows[rows.finish.notna()] if "finish" in rows else rows[:0]
    parts += [_shares(known, known.finish.isin(ends), what) for what, ends in ENDED.items() if len(known)]
    return _together(parts).assign(chance=np.nan) if parts else pd.DataFrame(columns=ESTIMATES)


def none_share(answers: pd.DataFrame) -> pd.DataFrame:
    """How often each model of any family chooses "none of the above", of the questions that offer it.

    ``chance`` is one in the number of options; ``n_right``: questions of the row of which it is the right answer.
    """
    rows = answers[answers.wording == HEADLINE_WORDING]
    rows = rows[np.array([NONE_OF_THE_ABOVE in labels for labels in rows.labels], bool)]
    table = _shares(rows, rows.chosen == NONE_OF_THE_ABOVE, NONE_OF_THE_ABOVE)
    right = rows[rows.right == NONE_OF_THE_ABOVE]
    counts = pd.concat([right, right.assign(question="all")]).groupby(["model", "level", "question"]).size()
    n_right = counts.reindex(pd.MultiIndex.from_frame(table[["model", "level", "question"]]), fill_value=0)
    return table.assign(n_right=n_right.to_numpy())


def _whole(asked: pd.DataFrame) -> pd.DataFrame:
    """Askings in other orders, of questions that were answered in all of them, with ``right`` and ``n`` of them."""
    rows = asked[asked.way == ORDER]
    n = rows.groupby(KEY).turn.transform("size")
    return rows[n == rows.n_turns].assign(right=lambda own: own.chosen == own.answer_idx, n=n)


def orders(asked: pd.DataFrame) -> pd.DataFrame:
    """What the order of the options does to the answers.

    Parameters
    ----------
    asked : pandas.DataFrame
        As from ``askings``.

    Returns
    -------
    pandas.DataFrame
        ``model, level, question, what, estimate, ci_low, ci_high, chance, n_questions, n_images, interval``, over the
        questions that were answered in every order. ``what``: ``as stored``, accuracy in the stored order; ``mean over
        orders``, and its paired ``mean over orders − as stored``; ``consistent``, the same option in every order;
        ``circular``, the right one in every order; and where probabilities are known, accuracy of the option whose log
        probability is highest in the mean over the orders (``by the mean probability over the orders``). Chance is that
        of k options drawn anew at every asking: 1/k, (1/k)^(n − 1) and (1/k)^n for n orders.

    References
    ----------
    Liu et al. 2024, ECCV, arXiv 2307.06281 (circular evaluation). Zheng et al. 2024, ICLR, arXiv 2309.03882 (averaging
    over permutations).
    """
    rows = _whole(asked)
    if rows.empty:
        return pd.DataFrame(columns=ESTIMATES)
    by = rows.groupby(KEY)
    stored = rows[rows.turn == 0].set_index(KEY).sort_index()
    same = (by.chosen.nunique() == 1) & (by.chosen.min() != NO_OPTION)
    stored = stored.assign(share=by.right.mean(), all_right=by.right.all(), same=same)
    stored = stored.assign(change=stored.share - stored.right).reset_index()
    k = stored.n_options.astype(float)
    tables = [
        _shares(stored, stored.right, "as stored"),
        mean(stored, "share", least=0.0).assign(what="mean over orders"),
        mean(stored, "change").assign(what=CHANGE, chance=0.0),
        _shares(stored, stored.same, "consistent", k ** (stored.n - 1)),
        _shares(stored, stored.all_right, "circular", k**stored.n),
    ]
    tables[1] = tables[1].merge(tables[0][["model", "level", "question", "chance"]])
    best = averaged(rows)
    known = stored.merge(best.rename("best"), left_on=KEY, right_index=True)
    if len(known):
        tables.append(_shares(known, known.best == known.answer_idx, AVERAGED))
    return _together(tables)


def averaged(rows: pd.DataFrame) -> pd.Series:
    """Index of the option of the highest mean log probability over the orders, by ``KEY``, where all are known."""
    lettered = rows[rows.letters.map(bool)]
    lettered = lettered[lettered.groupby(KEY).turn.transform("size") == lettered.n_turns]
    found = {
        key: int(np.log(np.maximum(np.array(own.letters.tolist()), LEAST)).mean(axis=0).argmax())
        for key, own in lettered.groupby(KEY)
    }
    index = pd.MultiIndex.from_tuples(found, names=KEY) if found else pd.MultiIndex.from_frame(rows[:0][KEY])
    return pd.Series([*found.values()], index=index, dtype=int)


def places(asked: pd.DataFrame) -> pd.DataFrame:
    """How often each letter is picked over all orders: every option stood at each of these places equally often.

    Returns
    -------
    pandas.DataFrame
        ``ESTIMATES`` with the letter as ``what`` and ``expected``: the share of picks among these places, spread evenly
        over them. Places that are not turned ("none of the above") are left out; ``n_questions`` counts askings.
    """
    rows = _whole(asked).assign(level="all", question="all")
    among = (rows.picked >= 0) & (rows.picked < rows.n_turns)
    rows = rows.assign(even=among / rows.n_turns.clip(lower=1))
    tables = []
    for place in range(int(rows.n_turns.max()) if len(rows) else 0):
        offered = rows[rows.n_turns > place]
        table = _shares(offered, offered.picked == place, LETTERS[place])
        tables.append(table.assign(expected=table.model.map(offered.groupby("model").even.mean())))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*ESTIMATES, "expected"])


def letters(asked: pd.DataFrame) -> pd.DataFrame:
    """Whether the likeliest letter is the one that the reply names, in the stored order.

    ``what``: ``likeliest letter is named``; and ``mass below a half``: how often less than half of the first token's
    probability lies on the letters of the question. Of models whose probabilities are known.
    """
    rows = asked[(asked.way == ORDER) & (asked.turn == 0)]
    rows = rows[rows.letters.map(bool)]
    if rows.empty:
        return pd.DataFrame(columns=ESTIMATES)
    likeliest = np.array([int(np.argmax(of)) for of in rows.letters])
    mass = np.array([sum(of) for of in rows.letters])
    half = _shares(rows, mass < 0.5, "mass below a half").assign(chance=np.nan)
    return _together([_shares(rows, likeliest == rows.chosen, "likeliest letter is named"), half])


def against_stored(asked: pd.DataFrame) -> pd.DataFrame:
    """How often the answer without an image, and that of a second asking, is that of the first.

    ``what``: ``right without an image``; ``same answer without an image``, the same option both times; ``another answer
    when asked again`` and ``another text when asked again``, which have no chance.
    """
    first = asked[(asked.way == ORDER) & (asked.turn == 0)].set_index(KEY)[["chosen", "reply"]].add_suffix("_first")
    tables = [pd.DataFrame(columns=ESTIMATES)]
    for way in (BLANK, AGAIN):
        own = asked[asked.way == way].set_index(KEY)
        own = own.join(first, how="inner").reset_index()
        same = own.chosen == own.chosen_first
        named = own.chosen != NO_OPTION
        if way == BLANK and len(own):
            tables.append(_shares(own, own.chosen == own.answer_idx, "right without an image"))
            tables.append(_shares(own, same & named, BLANKED))
        elif len(own):
            texts = _shares(own, own.reply != own.reply_first, "another text when asked again")
            tables.append(_shares(own, ~same, "another answer when asked again").assign(chance=np.nan))
            tables.append(texts.assign(chance=np.nan))
    return _together(tables[1:] or tables)


def audit(asked: pd.DataFrame) -> pd.DataFrame:
    """All that an audit finds, one estimate a row: the tables above, with ``audit`` to say which."""
    of = {"orders": orders, "letters picked": places, "probabilities": letters, "repeats": against_stored}
    return pd.concat([table(asked).assign(audit=name) for name, table in of.items()], ignore_index=True)


def as_rows(asked: pd.DataFrame) -> pd.DataFrame:
    """Askings as a table of plain columns: the options in a row, and their probabilities where these are known."""
    probabilities = [" ".join(f"{of:.4g}" for of in letters) for letters in asked.letters]
    plain = asked.assign(labels=asked.labels.map(" | ".join), letters=probabilities)
    return plain.drop(columns=["stratum", "unit", "n_units", "content"])


def context(answers: pd.DataFrame, found: pd.DataFrame, models: list) -> dict:
    """What the page on replies says; ``found`` is from ``audit``."""
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
