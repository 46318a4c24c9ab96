"""A question as it is asked, and a reply in words as it is kept and read."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from ..answers import answer_table
from ..replies import NO_OPTION, read_reply
from .protocol import is_right


class Item(NamedTuple):
    """A question to be asked: its number, its images (most often one) and its prompt."""

    number: int
    images: tuple[Image.Image, ...]
    prompt: str


class Reply(NamedTuple):
    """What a model said to one question.

    Attributes
    ----------
    text : str
    finish : {"stop", "length", "filter", "refusal"}
        Why it ended: by itself, at the cap on tokens, or as the server or the model declined.
    letters : tuple of float
        Probability that the first token is A, B, …; empty where it is not known.
    tokens_in, tokens_out : int
    served : str
        What the server called the model that answered; empty of a local one.
    refused : tuple of str
        Parameters of decoding that the server did not take, so that it was asked without.
    """

    text: str
    finish: str
    letters: tuple[float, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    served: str = ""
    refused: tuple[str, ...] = ()


class Failure(NamedTuple):
    """Why a question has no reply; it is asked again the next time."""

    reason: str


def read(asked: pd.DataFrame, replies: list[Reply]) -> tuple[pd.DataFrame, list[str]]:
    """Predictions of replies, with the replies beside them.

    Parameters
    ----------
    asked : pandas.DataFrame
        Questions as from ``build_questions``.
    replies : list of Reply
        One a question.

    Returns
    -------
    predictions : pandas.DataFrame
        The prediction contract but ``model``, ``tied``, and ``reply``, ``finish``, ``correct_official`` (by the
        benchmark's own rule) and ``letter_mass`` (how much of the first token's probability lies on the letters of the
        question). ``predicted_idx`` is what the reply chooses by ``read_reply``, −1 where it chooses nothing;
        ``p_answer`` and ``p_predicted`` are of the letters, NaN where they are not known.
    notes : list of str
        How many replies chose nothing, were cut off, or were declined.
    """
    width = int(asked.n_options.max())
    probability = np.full((len(asked), width), np.nan)
    mass = np.full(len(asked), np.nan)
    chosen = np.empty(len(asked), np.int64)
    tied = np.zeros(len(asked), bool)
    rows = zip(asked.labels, asked.options, asked.n_options, replies, strict=True)
    for at, (labels, options, n, reply) in enumerate(rows):
        chosen[at] = read_reply(reply.text, labels, options).index
        if reply.letters:
            letters = np.array(reply.letters[:n])
            mass[at] = letters.sum()
            if mass[at] > 0:
                probability[at, :n] = letters / mass[at]
                tied[at] = (letters == letters.max()).sum() > 1
    table = answer_table(asked, chosen, probability)
    table.loc[chosen == NO_OPTION, "p_predicted"] = np.nan
    official = zip(replies, asked.answer_idx, asked.labels, strict=True)
    table = table.assign(
        tied=tied,
        reply=[reply.text for reply in replies],
        finish=[reply.finish for reply in replies],
        correct_official=pd.array([is_right(reply.text, at, labels) for reply, at, labels in official], "boolean"),
        letter_mass=mass,
    )
    counts = {
        "choose no option and count as wrong": chosen == NO_OPTION,
        "were cut off at the cap on tokens": table.finish == "length",
        "were declined by the model or its server": table.finish.isin(["filter", "refusal"]),
    }
    return table, [f"{int(of.sum()):,} of {len(table):,} replies {what}" for what, of in counts.items() if of.any()]
