"""Models: one interface over every family of dual encoders, and merges of their weights.

Every model offers ``preprocess``, ``encode_images`` and ``encode_texts``; features leave in float32 and
L2-normalised, whatever the precision inside. A model with a matching head (BLIP) also offers ``match``.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from ..engine.store import digest
from ..errors import UserError, first_line
from .merging import interpolate, scale_layers, task_arithmetic, ties, uniform_soup
from .registry import Merge, find_model, is_merge, parse_merge
from .sources import contents, differing, identity, image_size, resolve

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MERGING = {
    "interpolation": interpolate,
    "layer-wise linear scaling": scale_layers,
    "task arithmetic": task_arithmetic,
    "uniform soup": uniform_soup,
    "TIES": ties,
}
LARGEST_IMAGE = 4096  # side in pixels; what says more is a slip of the pen that would fill the memory
# In the name of a value of a network that takes no part in its answers, or is compared as it is used.
NO_SETTING = (
    "name_or_path",
    "version",
    "dtype",
    "architectures",
    "initializer",
    "training",
    "drop",
    "grad_",
    "output_",
)
NO_SETTING += ("image_mean", "image_std", "use_kernels")
TEXT_OF_ALL_SIGNS = bytes(range(32, 127)).decode()
MATCH_BATCH = 64  # texts that are matched with one image at a time


@dataclass
class Model:
    """A dual encoder, ready to encode.

    Attributes
    ----------
    network : torch.nn.Module
        The model of its own library, in float32 and evaluation mode.
    recipe : dict
        Preprocessing, JSON-able: ``size`` in pixels, ``resize_mode``, ``interpolation``, ``mean`` and ``std`` of
        pixels scaled to 0…1 (a number, or one a channel), and whatever else determines the pixels.
    spatial : callable
        PIL image to uint8 pixels: everything of the preprocessing that comes before scaling.
    tokenize : callable
        Texts to what the text tower takes: token ids, or a dictionary of them and their mask; cut to the context.
    truncated : callable
        Texts to whether each has more tokens than the context holds, boolean of shape (n,).
    image_tower, text_tower : callable
        (network, batch) to features of shape (n, d), not yet normalised.
    context_length : int
        Tokens that the text tower takes; longer texts are cut.
    activation : str
        ``gelu``, ``quickgelu`` or another, as found in the network; ``activation_from`` says what vouches for it.
    doubt : str
        What nothing vouches for and a user should check, in words.
    inverse_temperature : callable
        Network to the factor of the cosine similarity before the softmax.
    matching_image, matching_head : callable, optional
        (network, image batch of one) to the states of its patches; (network, these, tokens) to the log-odds that each
        text matches the image, shape (n,).
    precision : str
        Of the matrix products inside the towers.
    """

    name: str
    network: torch.nn.Module = field(repr=False)
    recipe: dict
    spatial: Callable = field(repr=False)
    tokenize: Callable = field(repr=False)
    truncated: Callable = field(repr=False)
    image_tower: Callable = field(repr=False)
    text_tower: Callable = field(repr=False)
    context_length: int
    activation: str
    activation_from: str
    inverse_temperature: Callable = field(repr=False)
    doubt: str = ""
    matching_image: Callable | None = field(default=None, repr=False)
    matching_head: Callable | None = field(default=None, repr=False)
    device: torch.device = torch.device("cpu")
    precision: str = "float32"

    @property
    def logit_scale(self) -> float:
        """Factor of the cosine similarity before the softmax (the inverse temperature)."""
        return float(self.inverse_temperature(self.network))

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Resize and crop as the model's recipe says: RGB image to uint8 array of shape (3, size, size).

        Scaling to mean and standard deviation happens in ``encode_images``, so models that differ only in those
        share the decoded pixels. A model of variable resolution (SigLIP 2 NaFlex) gets a record of patches, their
        mask and their grid instead.
        """
        return self.spatial(image)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        """Image features, float32 of shape (n, d), L2-normalised, of pixels of shape (n, 3, size, size)."""
        return self._normalised(self.image_tower, self._batch(pixels))

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Text features, float32 of shape (n, d), L2-normalised; longer texts are cut (see ``truncated``)."""
        return self._normalised(self.text_tower, self._tokens(texts))

    def match(self, pixels: np.ndarray, texts: list[str]) -> np.ndarray:
        """Log-odds, float32 of shape (n,), that each text matches the one image (pixels without a batch axis)."""
        with torch.inference_mode(), self._autocast():
            patches = self.matching_image(self.network, self._batch(pixels[None]))
            parts = [
                self.matching_head(self.network, patches, self._tokens(texts[start : start + MATCH_BATCH])).float()
                for start in range(0, len(texts), MATCH_BATCH)
            ]
        return torch.cat(parts).cpu().numpy()

    def _batch(self, pixels: np.ndarray):
        """Scaled pixels on the device; with their mask and grid in a dictionary where the model takes patches."""
        names = pixels.dtype.names or ()
        fields = {name: torch.from_numpy(np.ascontiguousarray(pixels[name])).to(self.device) for name in names}
        values = fields.get("pixel_values") if names else torch.from_numpy(pixels).to(self.device)
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

    def _autocast(self):
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "float32")

    def _normalised(self, tower, batch) -> np.ndarray:
        with torch.inference_mode(), self._autocast():
            features = tower(self.network, batch).float()
        return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()


@lru_cache(maxsize=3)  # a base and two specialists are loaded once for all their merges
def _load(name: str, device: str, key: str) -> Model:
    """Load a model that is no merge; ``key`` is the digest of its identity, so replaced weights are loaded anew."""
    card = find_model(name)
    if card.spec == "random":
        raise UserError("the random-choice baseline has no weights to load")
    source = resolve(card)
    if source.kind == "predictions":
        raise UserError(f"model '{name}' is a file of answers; it has no weights to load")
    if source.kind == "transformers":
        from .encoders.hf import load
    elif source.kind == "conch":
        from .encoders.conch import load
    else:
        from .encoders.openclip import load
    before = contents(source.files)
    model = load(card, source)
    for entry, value in model.network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"model '{name}': weight {entry} holds {int((~torch.isfinite(value)).sum())} values that are not finite"
            )
    for tensor in [*model.network.parameters(), *model.network.buffers()]:
        tensor.data = tensor.data.clone()  # a library may map the file, and what is written to it later would show
    model.network.to(device).eval()
    try:
        same = contents(source.files, again=True) == before and digest(identity(name)) == key
    except OSError:  # one is gone
        same = False
    if not same:
        raise UserError(f"model '{name}': its files changed while they were loaded; run it again when they are whole")
    return _probed(replace(model, device=torch.device(device)))


def _probed(model: Model) -> Model:
    """Encode one blank image and one text, so that what does not fit together is found before a long run."""
    try:
        image = model._normalised(model.image_tower, model._batch(model.preprocess(Image.new("RGB", (64, 64)))[None]))
    except Exception as error:  # each library has its own
        size = image_size(model.recipe)
        raise UserError(
            f"model '{model.name}': its weights do not take the images of {size} that its preprocessing "
            f"makes ({first_line(error, 120)})"
        ) from error
    try:
        text = model._normalised(model.text_tower, model._tokens(["a micrograph"]))
    except Exception as error:
        raise UserError(
            f"model '{model.name}': its weights do not take the tokens that its tokenizer makes "
            f"({first_line(error, 120)})"
        ) from error
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise UserError(f"model '{model.name}': its weights make features that are not finite")
    if not 0 < model.logit_scale < float("inf"):
        raise UserError(
            f"model '{model.name}': its temperature makes a factor of {model.logit_scale:g} between "
            "similarities and answers, which says nothing"
        )
    if image.shape != text.shape:
        raise UserError(
            f"model '{model.name}': image features have {image.shape[1]} numbers and text features "
            f"{text.shape[1]}; it is no dual encoder"
        )
    return model


def load_model(name: str, device: str = "cpu", precision: str = "float32") -> Model:
    """Load a model by its name or model string, merging weights where it is a merge.

    Raises
    ------
    UserError
        If it is unknown, out of reach, not of the stated architecture or activation, or not finite; if its tokenizer
        is missing or its preprocessing does not fit its weights; for a merge, if the parents are not of one
        architecture, activation, tokenizer and preprocessing.
    """
    card = find_model(name)
    if is_merge(card.spec):
        merge = parse_merge(card.spec)
        parents = [_load(parent, device, digest(identity(parent))) for parent in merge.parents]
        model = replace(merge_models(parents, merge), name=name)
    else:
        model = _load(name, device, digest(identity(name)))
    if precision == "float32" and model.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # convolutions would silently use 10-bit mantissas
    return replace(model, precision=precision)


def merge_models(parents: list[Model], merge: Merge) -> Model:
    """Merge the weights of loaded models, on their device; the rest of the model is that of the first.

    Floating-point entries, ``logit_scale`` among them, are merged as the functions of ``merging`` say.

    Raises
    ------
    UserError
        If architecture (keys, shapes, dtypes), activation, context length or preprocessing differ.
    """
    base, *tuned = parents
    for model in tuned:
        check_mixable(base, model)
    states = [model.network.state_dict() for model in parents]
    # A copy of the structure alone: its tensors are still the base's, until the merged ones are put in their place.
    tensors = [*base.network.parameters(), *base.network.buffers()]
    network = copy.deepcopy(base.network, memo={id(tensor): tensor for tensor in tensors})
    network.load_state_dict(MERGING[merge.method](*states, **merge.parameters), assign=True)
    return replace(base, network=network)


def check_mixable(base: Model, tuned: Model) -> None:
    """Refuse two models that differ in more than their weights; see ``merge_models``."""
    first, second = base.network.state_dict(), tuned.network.state_dict()
    who = f"cannot mix '{base.name}' and '{tuned.name}'"
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        mend = "; weights of CLIP in transformers' format mix with open_clip's as open_clip:ARCH@hf:ORG/NAME"
        raise UserError(
            f"{who}: two architectures ({len(odd)} weights are in one only, such as {odd[0]})"
            + mend * (type(base.network) is not type(tuned.network))
        )
    for key in first:
        if first[key].shape != second[key].shape:
            raise UserError(
                f"{who}: two architectures ({key} is {tuple(first[key].shape)} and {tuple(second[key].shape)})"
            )
        if first[key].dtype != second[key].dtype:
            raise UserError(f"{who}: two types of number ({key} is {first[key].dtype} and {second[key].dtype})")
    text = "A micrograph of H&E-stained tissue, 40× objective."  # beside it a short and a long one: padding, truncation
    tokens = [model.tokenize([text, "a", f"{TEXT_OF_ALL_SIGNS} {text}" * 40]) for model in (base, tuned)]
    one, other = ([ids.tolist() for ids in (t.values() if isinstance(t, dict) else [t])] for t in tokens)
    if one != other:
        raise UserError(f"{who}: their tokenizers differ")
    for what in ("activation", "context_length", "recipe"):
        one, other = getattr(base, what), getattr(tuned, what)
        if one != other:
            if what == "recipe":
                what = differing(one, other)
                one, other = one.get(what), other.get(what)
                what = f"preprocessing {what}"
            raise UserError(f"{who}: they differ in {what} ({one} and {other})")
    one, other = (_shape_of(model.network) for model in (base, tuned))
    if one != other:
        key = next(key for key in {**one, **other} if one.get(key) != other.get(key))
        raise UserError(f"{who}: their configurations differ in {key} ({one.get(key)} and {other.get(key)})")


def _shape_of(network) -> dict:
    """Settings of a network that leave no trace in the names and shapes of its weights, such as its heads.

    Of a model of transformers they are its configuration's, without names and versions, and of any model the plain
    values of its modules, without those of training alone.
    """
    config = network.config.to_dict() if hasattr(getattr(network, "config", None), "to_dict") else {}
    parts = {"": config, **{name: config.get(name) or {} for name in ("text_config", "vision_config")}}
    for name, module in network.named_modules():
        parts[name] = {**parts.get(name, {}), **vars(module)}
    return {
        f"{part} {key}".strip(): value
        for part, facts in parts.items()
        for key, value in facts.items()
        if isinstance(value, str | int | float | tuple | list | None) and not any(word in key for word in NO_SETTING)
    }
