"""A question as it is asked, and a reply in words as it is kept and counted."""

from typing import NamedTuple

from PIL import Image


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
