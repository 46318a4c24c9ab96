"""What an audit finds in replies: whether they depend on the order of the options, the image, or the hour.

Shares are as those of ``replies``.
"""

import numpy as np
import pandas as pd

from ..evaluation.askings import AGAIN, BLANK, ORDER, askings
from ..evaluation.run import Evaluation
from ..models.generators.protocol import LETTERS
from ..models.replies import NO_OPTION
from ..statistics.cells import QUESTION
from ..statistics.means import mean
from .replies import CHANGE, ESTIMATES, FEWEST_MASS, shares, together

LEAST = 1e-6  # probability of a letter that a server does not list
KEY = ["model", *QUESTION]
BLANKED, AVERAGED = "same answer without an image", "by the mean probability over the orders"


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
        shares(stored, stored.right, "as stored"),
        mean(stored, "share", least=0.0).assign(what="mean over orders"),
        mean(stored, "change").assign(what=CHANGE, chance=0.0),
        shares(stored, stored.same, "consistent", k ** (stored.n - 1)),
        shares(stored, stored.all_right, "circular", k**stored.n),
    ]
    tables[1] = tables[1].merge(tables[0][["model", "level", "question", "chance"]])
    best = averaged(rows)
    known = stored.merge(best.rename("best"), left_on=KEY, right_index=True)
    if len(known):
        tables.append(shares(known, known.best == known.answer_idx, AVERAGED))
    return together(tables)


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
        table = shares(offered, offered.picked == place, LETTERS[place])
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
    half = shares(rows, mass < FEWEST_MASS, "mass below a half").assign(chance=np.nan)
    return together([shares(rows, likeliest == rows.chosen, "likeliest letter is named"), half])


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
            tables.append(shares(own, own.chosen == own.answer_idx, "right without an image"))
            tables.append(shares(own, same & named, BLANKED))
        elif len(own):
            texts = shares(own, own.reply != own.reply_first, "another text when asked again")
            tables.append(shares(own, ~same, "another answer when asked again").assign(chance=np.nan))
            tables.append(texts.assign(chance=np.nan))
    return together(tables[1:] or tables)


def audit(asked: pd.DataFrame) -> pd.DataFrame:
    """All that an audit finds, one estimate a row: the tables above, with ``audit`` to say which."""
    of = {"orders": orders, "letters picked": places, "probabilities": letters, "repeats": against_stored}
    return pd.concat([table(asked).assign(audit=name) for name, table in of.items()], ignore_index=True)


def of_run(run: Evaluation, models: list) -> pd.DataFrame:
    """``audit`` of a run's models: of a local one it is asked now, of a server what was asked and paid before."""
    return audit(askings(run, models, only_kept=True))


def as_rows(asked: pd.DataFrame) -> pd.DataFrame:
    """Askings as a table of plain columns: the options in a row, and their probabilities where these are known."""
    probabilities = [" ".join(f"{of:.4g}" for of in letters) for letters in asked.letters]
    plain = asked.assign(labels=asked.labels.map(" | ".join), letters=probabilities)
    return plain.drop(columns=["stratum", "unit", "n_units", "content"])
