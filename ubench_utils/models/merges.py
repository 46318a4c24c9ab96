"""Merges of models: which family one is of follows from its parents."""

from ..errors import UserError
from .cards import ModelCard
from .encoders.encoder import Encoder
from .generators.generator import Generator
from .model import Model


def open_merge(card: ModelCard, parents: tuple[Model, ...]) -> Model:
    """Open a merge as what its parents are: models that reply in words, or that compare image and options.

    Raises
    ------
    UserError
        If some reply in words and others do not.
    """
    wordy = [parent.replies for parent in parents]
    if any(wordy) and not all(wordy):
        one, other = parents[wordy.index(True)].name, parents[wordy.index(False)].name
        raise UserError(f"model '{card.name}': '{one}' replies in words, '{other}' does not: their weights do not mix")
    return (Generator if all(wordy) else Encoder)(card, parents)
