"""Merging the weights of models of one architecture.

The ways of merging are pure functions on state dictionaries (names to torch.Tensor) of equal keys and shapes. All
arithmetic is in float32 and every result has the base's keys, shapes and dtypes; integer buffers are the base's.
Running means and variances of batch normalisation are treated like weights. Nothing given is changed.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch

from ..errors import UserError
from .encoders.network import DualEncoder
from .generators.local import Speaker
from .registry import Merge
from .sources import differing

# Which tower a parameter belongs to, by the start of its name; after _WRAPPERS are gone, the number of its block (and
# of the stage before it), or whether it stands before the first block or after the last. Names of open_clip (ViT,
# ModifiedResNet and timm's visual towers; its own and transformers' text towers), and of transformers' dual encoders
# and generators (what projects image features to the language model counts with the image tower).
_TOWERS = {
    "both": r"logit_scale|logit_bias|temperature",
    "image": r"(model\.)?(visual\.|vision_model\.|visual_projection|vision_tower\.|multi_modal_projector|connector)",
    "text": r"(model\.)?(text\.|text_model\.|text_projection|transformer\.|token_embedding|positional_embedding|"
    r"ln_final|language_model\.|lm_head)",
}
_WRAPPERS = (
    r"((model|visual|text|vision_model|text_model|vision_tower|language_model|trunk|timm_model|transformer|encoder)\.)*"
)
_BLOCKS = (
    r"(?:stages|layers)\.(\d+)\.(?:blocks\.(\d+)|downsample)\.",  # ConvNeXt, Swin
    r"layer(\d+)\.(\d+)\.",  # ResNet
    r"(?:resblocks|blocks?|layers?)\.(\d+)\.",
)
_BEFORE = (
    r"(token|positional|class)_embedding|embeddings|(patch|pos)_embed|(cls|reg)_token|cls_emb|embed_tokens|shared|stem|"
    r"conv[123]\.|bn[123]\.|ln_pre|pre_layrnorm|norm_pre"
)
_AFTER = (
    r"ln_post|ln_final|(final|post)_layer_?norm|norm\.|fc_norm|attn_?pool|pooler|head|proj|(text|visual)_projection|"
    r"multi_modal_projector|connector|(deepstack_)?merger|lm_head"
)
# In the name of a value of a network that takes no part in its answers, or is compared as it is used.
NO_SETTING = (
    *("name_or_path", "version", "dtype", "architectures", "initializer", "training", "drop", "grad_", "output_"),
    *("image_mean", "image_std", "use_kernels"),
)
TEXT_OF_ALL_SIGNS = bytes(range(32, 127)).decode()

Loaded = TypeVar("Loaded", DualEncoder, Speaker)


class Depth(NamedTuple):
    """Place of a parameter: ``tower`` is ``image``, ``text`` or ``both``; ``layer`` counts from 0 to ``layers`` − 1."""

    tower: str
    layer: int
    layers: int


def layer_depths(keys) -> dict[str, Depth]:
    """Tower and layer of every parameter, told from the names of a whole state dictionary.

    A layer is a block of a transformer, or a residual block of a convolutional network, counted through its stages.
    Embeddings and whatever else precedes the first block count with the first layer; the final normalisation, pooling
    and projection count with the last. The temperature (``logit_scale``, ``logit_bias``) belongs to both towers and is
    layer 0 of 1.

    Raises
    ------
    UserError
        If the place of a parameter is not known.
    """
    places: dict[str, tuple] = {}  # (tower, stage and block), or ends that sort before and after all blocks
    for key in keys:
        tower = next((name for name, start in _TOWERS.items() if re.match(start, key)), None)
        rest = re.sub(f"^{_WRAPPERS}", "", key)
        block = next((found for pattern in _BLOCKS if (found := re.match(pattern, rest))), None)
        place: tuple | str | None
        if block:
            place = tuple(int(number or 0) for number in block.groups())
        else:
            place = "before" if re.match(_BEFORE, rest) else "after" if re.match(_AFTER, rest) else None
        if tower is None or (place is None and tower != "both"):
            raise UserError(
                f"the layer of weight {key} is unknown; layers are known of CLIP in open_clip's format and of CLIP, "
                "SigLIP and generators with one vision tower in transformers'"
            )
        places[key] = tower, place
    depths: dict[str, Depth] = {}
    for tower in _TOWERS:
        blocks = sorted({place for at, place in places.values() if at == tower and isinstance(place, tuple)})
        last = max(len(blocks) - 1, 0)
        layer: dict = {**{block: number for number, block in enumerate(blocks)}, "before": 0, "after": last, None: 0}
        depths |= {key: Depth(tower, layer[place], last + 1) for key, (at, place) in places.items() if at == tower}
    return {key: depths[key] for key in keys}


def interpolate(base: dict, tuned: dict, alpha: float) -> dict:
    """Linear interpolation: θ(α) = (1 − α)·θ_base + α·θ_tuned.

    At α = 0 and α = 1 every entry, integer buffers too, is the parent's own, bit for bit. Source: Wortsman et al. 2022
    (WiSE-FT, arXiv 2109.01903), equation 1.

    Parameters
    ----------
    base, tuned : dict
    alpha : float
        Between 0 and 1.
    """
    if alpha == 1:
        return {key: value.clone() for key, value in tuned.items()}
    return {key: _lerp(value, tuned[key], alpha) for key, value in base.items()}


def scale_layers(base: dict, tuned: dict, first: float, last: float) -> dict:
    """Layer-wise linear scaling (LiNeS): the task vector times a factor that grows linearly with depth.

    Layer ℓ of the L of its tower gets first + (last − first)·ℓ/(L − 1), ℓ from 0; see ``layer_depths`` for what counts
    with which layer. The temperature is scaled like the last layer, and so is a tower of one layer. Source: Wang et
    al. 2025 (arXiv 2410.17146), there with α = first and β = last − first; unlike there, what follows the
    last block is scaled like it and not like the first.

    Parameters
    ----------
    base, tuned : dict
    first, last : float
        Factors of the shallowest and of the deepest layer, between 0 and 1.

    Raises
    ------
    UserError
        If the place of a parameter is not known.
    """
    factors = {
        key: first + (last - first) * (depth.layer / (depth.layers - 1)) if depth.layer < depth.layers - 1 else last
        for key, depth in layer_depths(base).items()
    }
    return {key: _lerp(value, tuned[key], factors[key]) for key, value in base.items()}


def task_arithmetic(base: dict, *tuned: dict, weight: float) -> dict:
    """Task arithmetic: θ = θ_base + λ·Σ τ_i with task vectors τ_i = θ_i − θ_base.

    λ = 0 gives the base, bit for bit. Source: Ilharco et al. 2023 (arXiv 2212.04089), section 2.

    Parameters
    ----------
    base, *tuned : dict
    weight : float
        λ; one number for all specialists.

    Raises
    ------
    UserError
        If a variance of batch normalisation would be negative, which λ·n > 1 can bring about.
    """
    vectors = [task_vector(base, state) for state in tuned]
    return _add(base, {key: sum(vector[key] for vector in vectors) for key in vectors[0]}, weight)


def uniform_soup(base: dict, *others: dict) -> dict:
    """Uniform soup: the mean of all models, θ = Σ θ_i / n.

    Equal models give themselves exactly; integer buffers and dtypes are those of the first. Source: Wortsman et al.
    2022 (model soups, arXiv 2203.05482).
    """
    return task_arithmetic(base, *others, weight=1 / (1 + len(others)))


def ties(base: dict, *tuned: dict, weight: float, density: float) -> dict:
    """TIES merging: trim each task vector, elect a sign for each entry, and average the entries that agree with it.

    Trimming keeps the density·n entries of largest magnitude of a whole task vector (and others equal to the smallest
    of them); the elected sign is that of the sum of the trimmed entries; the mean of the non-zero entries of that sign
    is added to the base, times λ. An entry whose sum is exactly zero elects no sign and stays the base's. λ = 0 gives
    the base, bit for bit. Source: Yadav et al. 2023 (arXiv 2306.01708), algorithm 1.

    Parameters
    ----------
    base, *tuned : dict
    weight : float
        λ.
    density : float
        Share of the entries that trimming keeps, above 0 and up to 1.

    Raises
    ------
    UserError
        As for ``task_arithmetic``.
    """
    trimmed = [_trim(task_vector(base, state), density) for state in tuned]
    merged = {}
    for key in trimmed[0]:
        entries = torch.stack([vector[key] for vector in trimmed])
        elected = entries.sum(dim=0).sign()
        agree = (entries.sign() == elected) & (elected != 0)
        merged[key] = (entries * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)
    return _add(base, merged, weight)


def task_vector(base: dict, tuned: dict) -> dict:
    """Task vector τ = θ_tuned − θ_base of the floating-point entries, float32. Source: Ilharco et al. 2023."""
    return {key: tuned[key].float() - value.float() for key, value in base.items() if value.is_floating_point()}


def _lerp(value: torch.Tensor, other: torch.Tensor, alpha: float) -> torch.Tensor:
    if alpha == 0 or not value.is_floating_point():
        return value.clone()
    if alpha == 1:  # arithmetic would turn −0 into 0
        return other.clone()
    return torch.lerp(value.float(), other.float(), alpha).to(value.dtype)


def _trim(vector: dict, density: float) -> dict:
    size = torch.cat([entries.abs().flatten() for entries in vector.values()])
    kept = max(int(density * len(size)), 1)
    smallest = size.kthvalue(len(size) - kept + 1).values
    return {key: torch.where(entries.abs() >= smallest, entries, 0) for key, entries in vector.items()}


def _add(base: dict, vector: dict, weight: float) -> dict:
    if weight == 0:  # arithmetic would turn −0 into 0
        return {key: value.clone() for key, value in base.items()}
    merged = {
        key: (value.float() + weight * vector[key]).to(value.dtype) if key in vector else value.clone()
        for key, value in base.items()
    }
    for key, value in merged.items():
        if key.endswith("running_var") and (value < 0).any():  # its square root is no number
            raise UserError(f"a merge with λ = {weight:g} makes {key} negative, which is a variance; take a smaller λ")
    return merged


MERGING: dict[str, Callable[..., dict]] = {
    "interpolation": interpolate,
    "layer-wise linear scaling": scale_layers,
    "task arithmetic": task_arithmetic,
    "uniform soup": uniform_soup,
    "TIES": ties,
}


def merge_models(parents: list[Loaded], merge: Merge) -> Loaded:
    """Merge the weights of loaded models, on their device; the rest of the model is that of the first.

    Floating-point entries, ``logit_scale`` among them, are merged as the functions of ``merging`` say. Weights that a
    network uses in two places (tied embeddings) are one entry, and stay tied.

    Raises
    ------
    UserError
        If architecture (keys, shapes, dtypes), tokens, preprocessing or another setting differ.
    """
    base: Loaded = parents[0]
    for model in parents[1:]:
        check_mixable(base, model)
    names = _first_names(base.network)
    states = [
        {key: value for key, value in model.network.state_dict().items() if names.get(key, key) == key}
        for model in parents
    ]
    # A copy of the structure alone: its tensors are still the base's, until the merged ones are put in their place.
    tensors = [*base.network.parameters(), *base.network.buffers()]
    network = copy.deepcopy(base.network, memo={id(tensor): tensor for tensor in tensors})
    merged = MERGING[merge.method](*states, **merge.parameters)
    merged |= {first: torch.nn.Parameter(merged[first]) for first in set(names.values())}
    network.load_state_dict(merged | {name: merged[first] for name, first in names.items()}, assign=True)
    return replace(base, network=network)


def check_mixable(base: Loaded, tuned: Loaded) -> None:
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
    one, other = (model.token_ids([text, "a", f"{TEXT_OF_ALL_SIGNS} {text}" * 40]) for model in (base, tuned))
    if one != other:
        raise UserError(f"{who}: their tokenizers differ")
    for what, value in base.settings.items():
        if value != tuned.settings[what]:
            raise UserError(f"{who}: they differ in {what} ({value} and {tuned.settings[what]})")
    for what, facts, others in (
        ("they differ in preprocessing", base.recipe, tuned.recipe),
        ("their configurations differ in", _shape_of(base.network), _shape_of(tuned.network)),
    ):
        key = differing(facts, others)
        if key:
            raise UserError(f"{who}: {what} {key} ({facts.get(key)} and {others.get(key)})")


def _first_names(network) -> dict[str, str]:
    """First name of the parameter of each name; a tied one has several names."""
    first: dict[int, str] = {}
    named = network.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(id(parameter), name) for name, parameter in named}


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
