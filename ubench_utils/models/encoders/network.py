"""A dual encoder in memory: one interface over every library that reads one.

It offers ``preprocess``, ``encode_images`` and ``encode_texts``; features leave in float32 and L2-normalised, whatever
the precision inside. One with a matching head (BLIP) also offers ``match``.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ...engine.work import encode_batched
from ...errors import UserError, first_line
from ..sources import contents, image_size
from .features import Features, predict
from .matching import predict_matches

if TYPE_CHECKING:
    from .encoder import Encoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOADERS = {  # by the kind of a source: what reads it, imported when it is needed
    "open_clip": "ubench_utils.models.encoders.openclip",
    "transformers": "ubench_utils.models.encoders.hf",
    "conch": "ubench_utils.models.encoders.conch",
}
LARGEST_IMAGE = 4096  # side in pixels; what says more is a slip of the pen that would fill the memory
MATCH_BATCH = 64  # texts that are matched with one image at a time


@dataclass
class DualEncoder:
    """A dual encoder, ready to encode.

    Attributes
    ----------
    network : torch.nn.Module
        The model of its own library, in float32 and evaluation mode.
    recipe : dict
        Preprocessing, JSON-able: ``size`` in pixels, ``resize_mode``, ``interpolation``, ``mean`` and ``std`` of
        pixels scaled to 0…1 (a number, or one a channel), and whatever else determines the pixels.
    preprocess : callable
        RGB image to uint8 array of shape (3, size, size): everything of the preprocessing but scaling to mean and
        standard deviation, which ``encode_images`` does, so models that differ only in those share the decoded pixels.
        A model of variable resolution (SigLIP 2 NaFlex) makes a record of patches, their mask and their grid.
    tokenize : callable
        Texts to what the text tower takes: token ids, or a dictionary of them and their mask; cut to the context.
    truncated : callable
        Texts to whether each has more tokens than the context holds, boolean of shape (n,).
    image_tower, text_tower : callable
        (network, batch) to features of shape (n, d), not yet normalised; open_clip's methods where nothing is given.
    context_length : int
        Tokens that the text tower takes; longer texts are cut.
    activation : str
        ``gelu``, ``quickgelu`` or another, as found in the network; ``activation_from`` says what vouches for it.
    doubt : str
        What nothing vouches for and a user should check, in words.
    matching_image, matching_head : callable, optional
        (network, image batch of one) to the states of its patches; (network, these, tokens) to the log-odds that each
        text matches the image, shape (n,).
    precision : str
        Of the matrix products inside the towers.
    """

    name: str
    network: torch.nn.Module = field(repr=False)
    recipe: dict
    preprocess: Callable = field(repr=False)
    tokenize: Callable = field(repr=False)
    truncated: Callable = field(repr=False)
    context_length: int
    activation: str
    activation_from: str
    doubt: str = ""
    image_tower: Callable = field(default=lambda network, batch: network.encode_image(batch), repr=False)
    text_tower: Callable = field(default=lambda network, batch: network.encode_text(batch), repr=False)
    matching_image: Callable | None = field(default=None, repr=False)
    matching_head: Callable | None = field(default=None, repr=False)
    device: torch.device = torch.device("cpu")
    precision: str = "float32"

    @property
    def logit_scale(self) -> float:
        """Factor of the cosine similarity before the softmax (the inverse temperature).

        CLIP and SigLIP learn its logarithm, ALIGN the temperature; a matching head needs neither.
        """
        if hasattr(self.network, "logit_scale"):
            return float(self.network.logit_scale.detach().exp())
        if hasattr(self.network, "temperature"):
            return float(1 / self.network.temperature.detach())
        return 1.0

    @property
    def has_embeddings(self) -> bool:
        """Whether options are compared by features; else image and text are read together, pair by pair."""
        return self.matching_head is None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def settings(self) -> dict:
        """What two models must share beside architecture, tokens and preprocessing to be merged."""
        return {"activation": self.activation, "context_length": self.context_length}

    def token_ids(self, texts: list[str]) -> list:
        """What the tokenizer makes of texts, by which two of them are compared."""
        tokens = self.tokenize(texts)
        return [ids.tolist() for ids in (tokens.values() if isinstance(tokens, dict) else [tokens])]

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        """Image features, float32 of shape (n, d), L2-normalised, of pixels of shape (n, 3, size, size)."""
        return self._normalised(self.image_tower, self._batch(pixels))

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Text features, float32 of shape (n, d), L2-normalised; longer texts are cut (see ``truncated``)."""
        return self._normalised(self.text_tower, self._tokens(texts))

    def match(self, pixels: np.ndarray, texts: list[str]) -> np.ndarray:
        """Log-odds, float32 of shape (n,), that each text matches the one image (pixels without a batch axis)."""
        assert self.matching_image and self.matching_head, "a model without a matching head matches nothing"
        with self._computing():
            patches = self.matching_image(self.network, self._batch(pixels[None]))
            parts = [
                self.matching_head(self.network, patches, self._tokens(texts[start : start + MATCH_BATCH])).float()
                for start in range(0, len(texts), MATCH_BATCH)
            ]
        return torch.cat(parts).cpu().numpy()

    def answer(self, questions: pd.DataFrame, hashes, pixels: np.ndarray, *, one_by_one: bool = False) -> pd.DataFrame:
        """Answer questions about preprocessed images, without the cache.

        Parameters
        ----------
        questions : pandas.DataFrame
            As from ``build_questions``, all of these images.
        hashes : sequence of str
        pixels : numpy.ndarray
            What ``preprocess`` makes of each image.
        one_by_one : bool
            Each image and text by itself, and not all of them in one batch.

        Returns
        -------
        pandas.DataFrame
            As from ``choose``.
        """
        texts = sorted({option for options in questions.options for option in options})
        rows = [pixels[at : at + 1] for at in range(len(pixels))]
        if not self.has_embeddings:
            parts = [[text] for text in texts] if one_by_one else [texts]
            values = [self.match(row[0], part) for row in rows for part in parts]
            pairs = [(image_hash, text) for image_hash in hashes for text in texts]
            matches = Features({pair: row for row, pair in enumerate(pairs)}, np.concatenate(values))
            return predict_matches(questions, matches)
        if one_by_one:
            image = np.concatenate([self.encode_images(row) for row in rows])
            text = np.concatenate([self.encode_texts([one]) for one in texts])
        else:
            image, text = encode_batched(self.encode_images, pixels), encode_batched(self.encode_texts, texts)
        images = Features({image_hash: row for row, image_hash in enumerate(hashes)}, image)
        options = Features({option: row for row, option in enumerate(texts)}, text)
        return predict(questions, images, options, self.logit_scale)

    def _batch(self, pixels: np.ndarray):
        """Scaled pixels on the device; with their mask and grid in a dictionary where the model takes patches."""
        names = pixels.dtype.names or ()
        fields = {name: torch.from_numpy(np.ascontiguousarray(pixels[name])).to(self.device) for name in names}
        values = fields["pixel_values"] if names else torch.from_numpy(pixels).to(self.device)
        mean, std = (torch.tensor(self.recipe[key], device=self.device) for key in ("mean", "std"))
        if mean.ndim:  # one a channel
            mean, std = mean.view(3, 1, 1), std.view(3, 1, 1)
        values = (values.float().div_(255) - mean) / std
        return {**fields, "pixel_values": values} if names else values

    def _tokens(self, texts: list[str]):
        tokens = self.tokenize(texts)
        if isinstance(tokens, dict):
            return {name: value.to(self.device) for name, value in tokens.items()}
        return tokens.to(self.device)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute in the precision that is stated, and leave torch's own settings as they were."""
        low = self.precision != "float32"
        cudnn = torch.backends.cudnn
        allowed = cudnn.allow_tf32
        cudnn.allow_tf32 = allowed and low  # in float32, convolutions would silently use 10-bit mantissas
        try:
            with torch.inference_mode(), torch.autocast(self.device.type, DTYPES[self.precision], enabled=low):
                yield
        finally:
            cudnn.allow_tf32 = allowed

    def _normalised(self, tower, batch) -> np.ndarray:
        with self._computing():
            features = tower(self.network, batch).float()
        return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()


@lru_cache(maxsize=3)  # a base and two specialists are loaded once for all their merges
def load(encoder: "Encoder", device: str) -> DualEncoder:
    """Load the weights of an encoder that is no merge, if its files are still those of its identity."""
    source = encoder.source
    assert source, "a merge has parents and no files"
    if not encoder.is_unchanged():  # what it computes would be stored under the name of the other weights
        raise UserError("its files changed during the run; run it again when they are whole")
    before = contents(source.files)
    model = import_module(LOADERS[source.kind]).load(encoder.card, source)
    for entry, value in model.network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            n = int((~torch.isfinite(value)).sum())
            raise UserError(f"weight {entry} holds {n} values that are not finite")
    for tensor in [*model.network.parameters(), *model.network.buffers()]:
        tensor.data = tensor.data.clone()  # a library may map the file, and what is written to it later would show
    model.network.to(device).eval()
    try:
        same = contents(source.files, again=True) == before and encoder.is_unchanged()
    except OSError:  # one is gone
        same = False
    if not same:
        raise UserError("its files changed while they were loaded; run it again when they are whole")
    return _probed(replace(model, device=torch.device(device)))


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Let a logger (of no name: the root logger) tell errors alone, and leave it as it was."""
    logger = logging.getLogger(name)
    level, handlers = logger.level, list(logger.handlers)
    try:
        logger.setLevel(logging.ERROR)
        if not handlers:  # or the first line to the root logger gives it one for good
            logger.addHandler(logging.NullHandler())
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def _probed(model: DualEncoder) -> DualEncoder:
    """Encode one blank image and one text, so that what does not fit together is found before a long run."""
    try:
        image = model._normalised(model.image_tower, model._batch(model.preprocess(Image.new("RGB", (64, 64)))[None]))
    except Exception as error:  # each library has its own
        size, why = image_size(model.recipe), first_line(error, 120)
        raise UserError(f"its weights do not take the images of {size} that its preprocessing makes ({why})") from error
    try:
        text = model._normalised(model.text_tower, model._tokens(["a micrograph"]))
    except Exception as error:
        why = first_line(error, 120)
        raise UserError(f"its weights do not take the tokens that its tokenizer makes ({why})") from error
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise UserError("its weights make features that are not finite")
    if not 0 < model.logit_scale < float("inf"):
        raise UserError(
            f"its temperature makes a factor of {model.logit_scale:g} between similarities and answers, which "
            "says nothing"
        )
    if image.shape != text.shape:
        sizes = f"image features have {image.shape[1]} numbers and text features {text.shape[1]}"
        raise UserError(f"{sizes}; it is no dual encoder")
    return model
