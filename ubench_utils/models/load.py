"""Opening a model by its name or model string: once a process, as long as its files and its entry are as they were."""

from importlib import import_module
from typing import TYPE_CHECKING

from .cards import ModelCard, cards_state, is_merge, listed
from .model import Model
from .registry import find_model, parse_merge

if TYPE_CHECKING:
    from .encoders.network import DualEncoder

_opened: dict[str, tuple[tuple, Model]] = {}  # by model string, each with the state of the cards then


def open_model(model: str | ModelCard) -> Model:
    """Open a model by its name, its model string or a card of its own: find its files and its identity.

    Nothing is loaded. A name or string that was opened before gives the same object, unless its files, models.yml or
    ``$UBENCH_MODELS`` changed since.

    Raises
    ------
    UserError
        If it is unknown, out of reach, or not whole.
    """
    if isinstance(model, ModelCard):
        return _of_card(model)
    state = cards_state()
    before, opened = _opened.get(model, (None, None))
    if opened is None or before != state or not opened.is_unchanged():
        opened = _of_name(model)
        _opened[model] = state, opened
    return opened


def load_model(name: str, device: str = "cpu", precision: str = "float32") -> "DualEncoder":
    """Load a model by its name or model string, merging weights where it is a merge.

    Raises
    ------
    UserError
        If it is unknown, out of reach, not of the stated architecture or activation, or not finite; if its tokenizer
        is missing or its preprocessing does not fit its weights; for a merge, if the parents are not of one
        architecture, activation, tokenizer and preprocessing.
    """
    return open_model(name).load(device, precision)


def _of_name(name: str) -> Model:
    card = listed(name)
    if card or not is_merge(name):
        opened = _of_card(card or find_model(name))
    else:
        same = parse_merge(name).equal_parent
        opened = open_model(same.name) if same else _of_card(ModelCard(name, name))
    return opened if opened.name == name else opened.named(name)  # as it was given, with the facts of the card


def _of_card(card: ModelCard) -> Model:
    merge = parse_merge(card.spec) if is_merge(card.spec) else None
    parents = tuple(open_model(parent.name) for parent in merge.parents) if merge else ()
    module, kind = card.family.opened_by.split(":")
    return getattr(import_module(module), kind)(card, parents)
