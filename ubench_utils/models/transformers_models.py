"""Models of transformers: which family a folder is of follows from the class that its configuration names."""

from .cards import ModelCard
from .encoders.encoder import Encoder
from .generators.generator import Generator
from .model import Model, naming
from .sources import resolve


def open_model(card: ModelCard, parents: tuple[Model, ...] = ()) -> Model:
    """Open a generator, where the folder's class reads image and text and writes, else a dual encoder."""
    with naming(card.name):
        source = resolve(card)
    return (Generator if source.generates else Encoder)(card, parents)
