"""Models: loading through open_clip, the activation check, encoding, and interpolation of weights.

Every model offers ``preprocess``, ``encode_images`` and ``encode_texts``; features leave in float32 and
L2-normalised, whatever the precision inside.
"""

import copy
import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU
from PIL import Image
from torchvision.transforms import Compose, Normalize

from .cache import digest
from .errors import UserError
from .registry import ModelCard, Source, find_model, identity, parse_mix, resolve

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Model:
    """A dual encoder, ready to encode.

    Attributes
    ----------
    network : torch.nn.Module
        The open_clip model, in float32 and evaluation mode.
    tokenizer : callable
        Texts to token ids, padded and cut to ``context_length``.
    recipe : dict
        Preprocessing: size, resize mode, interpolation, fill colour, mean, standard deviation.
    activation : str
        ``gelu`` or ``quickgelu``, as found in the network; ``activation_from`` says what vouches for it.
    precision : str
        Of the matrix products inside the towers.
    """

    name: str
    network: torch.nn.Module = field(repr=False)
    tokenizer: object = field(repr=False)
    context_length: int
    recipe: dict
    activation: str
    activation_from: str
    device: torch.device
    precision: str = "float32"

    @property
    def logit_scale(self) -> float:
        """Factor of the cosine similarity before the softmax (the inverse temperature)."""
        return float(self.network.logit_scale.detach().exp())

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Resize and crop as the model's recipe says: RGB image to uint8 array of shape (3, size, size).

        Scaling to mean and standard deviation happens in ``encode_images``, so models that differ only in those
        share the decoded pixels.
        """
        return np.array(_spatial(self.recipe)(image)).transpose(2, 0, 1)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        """Image features, float32 of shape (n, d), L2-normalised, of uint8 pixels of shape (n, 3, size, size)."""
        batch = torch.from_numpy(pixels).to(self.device).float().div_(255)
        mean, std = (torch.tensor(self.recipe[key], device=self.device).view(3, 1, 1) for key in ("mean", "std"))
        return self._normalised(self.network.encode_image, (batch - mean) / std)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Text features, float32 of shape (n, d), L2-normalised; longer texts are cut (see ``truncated``)."""
        return self._normalised(self.network.encode_text, self.tokenizer(texts).to(self.device))

    def truncated(self, texts: list[str]) -> np.ndarray:
        """Which texts (boolean, shape (n,)) have more tokens than the context holds."""
        kept = self.tokenizer(texts)
        whole = self.tokenizer(texts, context_length=4 * self.context_length)
        return (whole[:, : self.context_length] != kept).any(dim=1).numpy()

    def _normalised(self, encode, batch) -> np.ndarray:
        low = self.precision != "float32"
        with torch.inference_mode(), torch.autocast(self.device.type, DTYPES[self.precision], enabled=low):
            features = encode(batch).float()
        return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()


@lru_cache(maxsize=2)  # the two parents of an interpolation are loaded once for all α
def _load(name: str, device: str, key: str) -> Model:
    """Load a model that is no mix; ``key`` is the digest of its identity, so replaced weights are loaded anew."""
    card = find_model(name)
    if card.spec == "random":
        raise UserError("the random-choice baseline has no weights to load")
    source = resolve(card)
    released = _openai_release(source.checkpoint) if source.checkpoint else None
    network = _create(card, source, released)
    for entry, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"model '{name}': weight {entry} holds {int((~torch.isfinite(value)).sum())} values that are not finite"
            )
    activation, activation_from = _check_activation(card, source, network, released is not None)
    arch, options = source.arch, {}
    bpe = source.config.get("model_cfg", {}).get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    if bpe:  # relative to the model's own folder
        options["bpe_path"] = str(Path(arch.removeprefix("local-dir:")) / bpe)
    try:
        tokenizer = open_clip.get_tokenizer(arch, **options)
    except Exception as error:
        raise UserError(f"model '{name}': cannot load its tokenizer ({type(error).__name__}: {error})") from error
    recipe = {key: list(value) if isinstance(value, tuple) else value
              for key, value in network.visual.preprocess_cfg.items()}  # fmt: skip
    return Model(name, network.to(device).eval(), tokenizer, tokenizer.context_length, recipe, activation,
                 activation_from, torch.device(device))  # fmt: skip


def load_model(name: str, device: str = "cpu", precision: str = "float32") -> Model:
    """Load a model by its name or model string, interpolating where it is a mix.

    Raises
    ------
    UserError
        If it is unknown, out of reach, not of the stated architecture or activation, or not finite; for a mix, if
        the parents are not of one architecture, activation, tokenizer and preprocessing.
    """
    card = find_model(name)
    if card.spec.startswith("mix:"):
        base, tuned, alpha = parse_mix(card.spec)
        model = mix(*(_load(parent, device, digest(identity(parent))) for parent in (base, tuned)), alpha)
        model.name = name
    else:
        model = _load(name, device, digest(identity(name)))
    if precision == "float32" and model.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # convolutions would silently use 10-bit mantissas
    return replace(model, precision=precision)


def mix(base: Model, tuned: Model, alpha: float) -> Model:
    """Interpolate the weights of two models: θ(α) = (1 − α)·θ_base + α·θ_tuned, in float32 on their device.

    Floating-point entries, ``logit_scale`` among them, are interpolated; integer buffers are copied from the base.
    At α = 0 and α = 1 every entry is the parent's own, bit for bit. Source: Wortsman et al. 2022 (WiSE-FT),
    equation 1.

    Raises
    ------
    UserError
        If architecture (keys, shapes), activation, context length or preprocessing differ.
    """
    first, second = base.network.state_dict(), tuned.network.state_dict()
    who = f"cannot mix '{base.name}' and '{tuned.name}'"
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise UserError(f"{who}: two architectures ({len(odd)} weights are in one only, such as {odd[0]})")
    for key in first:
        if first[key].shape != second[key].shape:
            raise UserError(
                f"{who}: two architectures ({key} is {tuple(first[key].shape)} and {tuple(second[key].shape)})"
            )
    for what in ("activation", "context_length", "recipe"):
        one, other = getattr(base, what), getattr(tuned, what)
        if one != other:
            if what == "recipe":
                what = next(key for key in one if one[key] != other[key])
                one, other = one[what], other[what]
                what = f"preprocessing {what}"
            raise UserError(f"{who}: they differ in {what} ({one} and {other})")
    network = copy.deepcopy(base.network)
    network.load_state_dict(mix_weights(first, second, alpha))
    return replace(base, name=f"mix:{base.name}+{tuned.name}@{alpha:g}", network=network)


def mix_weights(base: dict, tuned: dict, alpha: float) -> dict:
    """Interpolate two state dictionaries of equal keys and shapes; see ``mix``."""
    if alpha in (0, 1):
        return {key: value.clone() for key, value in (tuned if alpha else base).items()}
    return {
        key: torch.lerp(value.float(), tuned[key].float(), alpha).to(value.dtype)
        if value.is_floating_point() else value.clone()
        for key, value in base.items()
    }  # fmt: skip


def _create(card: ModelCard, source: Source, released: dict | None) -> torch.nn.Module:
    """Build the network and load its weights (``released``: those of an OpenAI archive); random ones are seeded."""
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs a line a step on the root logger
    force = {"force_quick_gelu": True} if card.activation == "quickgelu" else {}
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the activation is checked below, for every way of loading
            torch.manual_seed(0)
            if released is not None:
                network = open_clip.create_model(source.arch, **force)
                network.load_state_dict(released)
                return network
            return open_clip.create_model(
                source.arch, source.tag or (source.checkpoint and str(source.checkpoint)), **force
            )
    except (RuntimeError, AssertionError) as error:  # open_clip asserts the width of the positional embedding
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no details"]
        if isinstance(error, AssertionError) or any("state_dict" in line for line in lines):
            first = lines[min(1, len(lines) - 1)][:160]
            raise UserError(f"model '{card.name}': the checkpoint is of another architecture than {source.arch} "
                            f"({first})") from error  # fmt: skip
        raise UserError(f"model '{card.name}': cannot load it ({lines[0][:200]})") from error
    except Exception as error:  # unpickling, safetensors, configuration: each its own class
        first = (str(error).strip().splitlines() or ["no details"])[0][:200]
        why = f"{type(error).__name__}: {first}"
        raise UserError(f"model '{card.name}': not loaded as a PyTorch or safetensors checkpoint ({why})") from error


def _check_activation(card: ModelCard, source: Source, network, released: bool) -> tuple[str, str]:
    """Activation of the network and who vouches for it; refuse a contradiction.

    OpenAI's lineage was trained with QuickGELU, LAION's with GELU; the wrong one changes features silently. The
    evidence, strongest first: open_clip's table for a tag; the entry in models.yml; the format of OpenAI's own
    release; the model folder's configuration. An architecture name alone vouches for nothing.
    """
    found = "quickgelu" if any(isinstance(module, QuickGELU) for module in network.modules()) else "gelu"
    if source.tag:
        table = open_clip.get_pretrained_cfg(source.arch, source.tag)
        stated, witness = "quickgelu" if table.get("quick_gelu") else "gelu", "open_clip's table of tags"
    elif card.activation:
        stated, witness = card.activation, "models.yml"
    elif released:
        stated, witness = "quickgelu", "the file: OpenAI's release format"
    elif "model_cfg" in source.config and "quick_gelu" in source.config["model_cfg"]:
        stated, witness = found, "the folder's open_clip_config.json"
    elif not source.files:
        stated, witness = found, "random weights"
    else:
        stated, witness = found, "nothing: neither file nor configuration says so; check it"
    if stated != found:
        mend = f"use open_clip:{source.arch.removesuffix('-quickgelu')}" + (
            "-quickgelu" if stated == "quickgelu" else ""
        )
        raise UserError(f"model '{card.name}': its weights were trained with {stated} (says {witness}), but the "
                        f"architecture computes {found}; {mend}, or correct `activation` in models.yml")  # fmt: skip
    return found, witness


def _openai_release(file: Path) -> dict | None:
    """Weights of a checkpoint in the format of OpenAI's release, None for any other file.

    That is a TorchScript archive or a state dictionary with three extra keys, in half precision.
    """
    extra = {"input_resolution", "context_length", "vocab_size"}
    state = None
    if file.suffix != ".safetensors":
        for read in (partial(torch.load, weights_only=True, mmap=True), torch.jit.load):
            with suppress(Exception), warnings.catch_warnings():  # of another format: open_clip finds out which
                warnings.simplefilter("ignore")
                state = read(file, map_location="cpu")
                break
    if isinstance(state, torch.jit.ScriptModule):
        state = state.state_dict()
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict) or not extra <= state.keys():
        return None
    return {key: value.float() for key, value in state.items() if key not in extra}


@lru_cache
def _spatial_of(key: tuple):
    transform = image_transform_v2(PreprocessCfg(**dict(key)), is_train=False)
    *steps, _, normalize = transform.transforms
    if not isinstance(normalize, Normalize):
        raise RuntimeError("open_clip's preprocessing no longer ends with ToTensor and Normalize")
    return Compose(steps)


def _spatial(recipe: dict):
    """open_clip's own preprocessing up to, and without, ToTensor and Normalize."""
    return _spatial_of(
        tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in recipe.items())
    )
