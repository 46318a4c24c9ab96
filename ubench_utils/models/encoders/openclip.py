"""Loading through open_clip: published tags, its own folders, local checkpoints, and CLIP weights of transformers.

open_clip builds the network and the tokenizer; the weights are read and fitted here (see ``checkpoints``). The
activation is checked for every way of loading, because the wrong one changes features without an error.
"""

import json
import math
import re
import warnings
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
import transformers
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU
from torchvision.transforms import Compose, Normalize

from ...errors import UserError, first_line, shown
from ...files import scratch
from ..cards import ModelCard
from ..checkpoints import Weights, check_fit, fit, layers_are_there, read
from ..folders import Source, check_config, read_json, refuse_code
from .network import LARGEST_IMAGE, DualEncoder, quiet

OPENAI_RELEASE = {"input_resolution", "context_length", "vocab_size"}  # numbers that lie among its weights


@quiet("")  # open_clip logs a line a step on the root logger
def load(card: ModelCard, source: Source) -> DualEncoder:
    """Load an open_clip model on the CPU.

    Raises
    ------
    UserError
        If the checkpoint is of another architecture, size or activation, if the folder needs code of its own, or if
        the tokenizer cannot be loaded.
    """
    network, weights = _create(card, source)
    activation, activation_from = _check_activation(card, source, network, weights)
    stated: Any = network.visual
    recipe = {
        key: list(value) if isinstance(value, tuple) else value for key, value in stated.preprocess_cfg.items()
    } | (card.preprocess or {})
    _check_recipe(recipe)
    tokenizer = _tokenizer(source)
    return DualEncoder(
        card.name,
        network,
        recipe,
        preprocess=partial(pixels, recipe),
        tokenize=tokenizer,
        truncated=partial(_truncated, tokenizer),
        context_length=tokenizer.context_length,
        activation=activation,
        activation_from=activation_from,
        doubt="; ".join(filter(None, (_doubt(card, source, recipe), weights.note))),
    )


def _tokenizer(source: Source):
    options: dict = {}
    config = source.config.get("model_cfg", source.config)["text_cfg"]
    folder = Path(source.arch.removeprefix("local-dir:")) if "model_cfg" in source.config else None
    if config.get("hf_tokenizer_name"):
        options["trust_remote_code"] = False
        if folder:
            refuse_code(folder)
    merges = (config.get("tokenizer_kwargs") or {}).get("bpe_path")
    if merges:  # relative to the model's own folder
        options["bpe_path"] = str(folder / merges)
    try:
        return open_clip.get_tokenizer(source.arch, **options)
    except Exception as error:
        raise UserError(f"cannot load its tokenizer ({first_line(error)})") from error


def _doubt(card: ModelCard, source: Source, recipe: dict) -> str:
    """What nothing vouches for: random weights, or a checkpoint of an architecture that has several preprocessings."""
    if not source.files:
        return "its weights are random"
    stated, taken = source.config.get("preprocess_cfg", {}).get("size"), recipe["size"]
    sizes = set(map(str, stated if isinstance(stated, list) else [stated]))
    if stated is not None and not sizes <= set(map(str, np.ravel(taken))):
        return f"its preprocess_cfg says images of {shown(stated)} px, its model_cfg {taken} px, which is taken"
    unknown = sorted(set(source.config.get("preprocess_cfg", {})) - set(asdict(PreprocessCfg())))
    if unknown:
        return f"its preprocess_cfg has {shown(', '.join(unknown))}, which open_clip does not know and leaves out"
    if source.tag or "model_cfg" in source.config or card.preprocess:
        return ""
    own = {key: recipe.get(key) for key in ("mean", "std", "interpolation", "resize_mode")}
    for name in open_clip.list_pretrained_tags_by_model(source.arch):
        tag = open_clip.get_pretrained_cfg(source.arch, name)
        published = own | {key: tag[key] for key in own if tag.get(key)}
        if json.dumps(published) != json.dumps(own):
            prepared = f"as for OpenAI's CLIP (mean {recipe['mean'][0]:.3g}, {recipe['resize_mode']})"
            return (
                f"its images are prepared {prepared}, but tags of {source.arch} are published with other "
                "preprocessing; say which in the `preprocess` of its entry"
            )
    return ""


def pixels(recipe: dict, image) -> np.ndarray:
    """open_clip's own preprocessing up to, and without, scaling: PIL image to uint8 array (3, size, size)."""
    key = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in recipe.items())
    return np.array(_resize_of(key)(image)).transpose(2, 0, 1)


@lru_cache
def _resize_of(key: tuple):
    transform = image_transform_v2(PreprocessCfg(**dict(key)), is_train=False)
    *steps, _, normalize = transform.transforms
    if not isinstance(normalize, Normalize):
        raise RuntimeError("open_clip's preprocessing no longer ends with ToTensor and Normalize")
    return Compose(steps)


def _truncated(tokenizer, texts: list[str]) -> np.ndarray:
    """Whether the tokens of each text differ once the context is four times as long."""
    kept = tokenizer(texts)
    whole = tokenizer(texts, context_length=4 * tokenizer.context_length)
    return (whole[:, : kept.shape[1]] != kept).any(dim=1).numpy()


def _check_recipe(recipe: dict) -> None:
    """Refuse a preprocessing that would fail, or fill the memory, at the first image."""

    def numbers(value, least, most, n):  # one or n numbers within bounds
        values = value if isinstance(value, list) else [value]
        return len(values) in (1, n) and all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and least <= v <= most
            for v in values
        )

    sound = {
        "mode": recipe["mode"] == "RGB",
        "size": numbers(recipe["size"], 1, LARGEST_IMAGE, 2) and all(v == int(v) for v in np.ravel(recipe["size"])),
        "mean": numbers(recipe["mean"], -1e3, 1e3, 3),
        "std": numbers(recipe["std"], 1e-6, 1e3, 3),
        "interpolation": recipe["interpolation"] in ("bicubic", "bilinear"),
        "resize_mode": recipe["resize_mode"] in ("shortest", "longest", "squash"),
        "fill_color": numbers(recipe["fill_color"], 0, 255, 3),
    }
    wrong = [key for key, is_sound in sound.items() if not is_sound]
    if wrong:
        raise UserError(
            f"its preprocessing has {wrong[0]} {shown(recipe[wrong[0]])}; mode is RGB, mean "
            f"and std are a number a channel (std above 0), size up to {LARGEST_IMAGE} px, interpolation bicubic or "
            "bilinear, resize_mode shortest, longest or squash"
        )


def _create(card: ModelCard, source: Source) -> tuple[torch.nn.Module, Weights]:
    """Build the network and put its weights in their places; without a file they are random, and seeded.

    The network is built without memory first: a configuration that does not fit its weights is found by names and
    shapes, however large the sizes that it declares.
    """
    content = read(source.weights) if source.weights else None
    with scratch() as folder:
        config = _configured(card, source, folder)
        if content is None:
            return _built(folder), Weights({})
        if not layers_are_there(config, content):
            raise UserError("its configuration declares more layers than the file holds weights")
        plan = _built(folder, "meta")
        expected = plan.state_dict()
        weights = fit(content, expected, partial(_converted, plan, source.weights[0]))
        what = source.arch if source.arch in open_clip.list_models() else "its configuration"
        size = np.ravel(plan.visual.image_size)[0] if hasattr(plan.visual, "image_size") else None
        check_fit(weights, content, expected, what, size)
        network = _built(folder)
    # Not strict, for what is harmless may be absent; everything else has been compared.
    network.load_state_dict(weights.values, strict=False)
    return network, weights


def _configured(card: ModelCard, source: Source, folder: Path) -> dict:
    """Write the configuration that open_clip builds from: towers of its own, timm's or transformers' classes."""
    config = json.loads(json.dumps(source.config))
    model = config.get("model_cfg", config)
    tag = open_clip.get_pretrained_cfg(source.arch, source.tag) if source.tag else {}
    preprocessing = config.get("preprocess_cfg", {}) if "model_cfg" in config else tag
    if card.activation == "quickgelu":
        model["quick_gelu"] = True
    timm_name = model["vision_cfg"].get("timm_model_name")
    if timm_name and not (isinstance(timm_name, str) and ":" not in timm_name and timm.is_model(timm_name)):
        raise UserError(
            f"its vision tower '{shown(timm_name)}' is no architecture of timm; the name must be "
            "one of timm.list_models()"
        )
    text_name = model["text_cfg"].get("hf_model_name")
    if text_name:
        try:
            text = transformers.AutoConfig.from_pretrained(text_name, trust_remote_code=False)
        except Exception as error:  # out of reach, of an unknown type: each its own class
            raise UserError(
                f"cannot load the configuration of its text tower '{shown(text_name)}' as one of "
                f"transformers ({first_line(error)}); code of its own is not run"
            ) from error
        check_config(text.to_dict(), "text tower's config.json")
        plain = {key: value for key, value in text.to_dict().items() if key != "auto_map"}
        (folder / "text").mkdir()
        (folder / "text" / "config.json").write_text(json.dumps(plain), encoding="utf-8")
        model["text_cfg"]["hf_model_name"] = str(folder / "text")
    keys = asdict(PreprocessCfg())
    content = {"model_cfg": model, "preprocess_cfg": {key: preprocessing[key] for key in keys if key in preprocessing}}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    return {"model": model, "text": plain if text_name else {}}


def _built(folder: Path, device: str = "cpu") -> torch.nn.Module:
    """Network of a written configuration; its weights are random, and nothing is fetched or read for them."""
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.device(device):
            warnings.simplefilter("ignore")  # the activation is checked for every way of loading
            torch.manual_seed(0)
            return open_clip.create_model(
                f"local-dir:{folder}", load_weights=False, pretrained_text=False, device=device
            )
    except Exception as error:  # whatever the classes that are built say of a setting
        raise UserError(f"no network can be built from its configuration ({first_line(error)})") from error


def _check_activation(card: ModelCard, source: Source, network, weights: Weights) -> tuple[str, str]:
    """Activation of the network and who vouches for it; refuse a contradiction.

    OpenAI's lineage was trained with QuickGELU, LAION's with GELU; the wrong one changes features silently. The
    evidence, strongest first: open_clip's table for a tag; the entry in models.yml; the format of OpenAI's own
    release or the config.json of transformers; the model folder's configuration. An architecture name alone vouches
    for nothing.
    """
    found = "quickgelu" if any(isinstance(module, QuickGELU) for module in network.modules()) else "gelu"
    if source.tag:
        table = open_clip.get_pretrained_cfg(source.arch, source.tag)
        stated, witness = "quickgelu" if table.get("quick_gelu") else "gelu", "open_clip's table of tags"
    elif card.activation:
        stated, witness = card.activation, "models.yml"
    elif weights.activation:
        stated, witness = weights.activation, weights.witness
    elif "model_cfg" in source.config and "quick_gelu" in source.config["model_cfg"]:
        stated, witness = found, "the folder's open_clip_config.json"
    elif not source.files:
        stated, witness = found, "random weights"
    else:
        stated, witness = found, "nothing: neither file nor configuration says so; check it"
    if stated != found:
        mend = f"use open_clip:{source.arch.removesuffix('-quickgelu')}" + "-quickgelu" * (stated == "quickgelu")
        raise UserError(
            f"its weights were trained with {stated} (says {witness}), but the "
            f"architecture computes {found}; {mend}, or correct `activation` in models.yml"
        )
    return found, witness


def _converted(network, file: Path, state: dict) -> Weights:
    """Weights in open_clip's present format, or in another under its names.

    OpenAI's release is a state dictionary with three extra numbers, in half precision, of QuickGELU models;
    transformers' CLIP format names its layers otherwise and states the activation in the config.json beside it.
    MobileCLIP's release and older files of open_clip, which have the text tower outside, state nothing.
    """
    if "text_model.embeddings.token_embedding.weight" in state and "visual_projection.weight" in state:
        stated = _stated_activation(file.with_name("config.json"))
        return Weights(from_clip_format(state), activation=stated, witness="its config.json")
    activation, witness = None, ""
    if state.keys() >= OPENAI_RELEASE:
        state = {key: value for key, value in state.items() if key not in OPENAI_RELEASE}
        activation, witness = "quickgelu", "the file: OpenAI's release format"
    state = convert_state_dict(network, state)
    if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    return Weights(state, activation=activation, witness=witness)


def _stated_activation(config: Path) -> str | None:
    """Activation that the config.json of a CLIP in transformers' format states; its default is QuickGELU."""
    stated = read_json(config) if config.is_file() else {}
    if stated.get("model_type") != "clip":
        return None
    parts = [stated.get(part) for part in ("text_config", "vision_config")]
    names = {shown(part.get("hidden_act", "quick_gelu")) if isinstance(part, dict) else "quick_gelu" for part in parts}
    name = "/".join(sorted(names))
    return {"quick_gelu": "quickgelu"}.get(name, name)


# Names in transformers' CLIP format, and in open_clip's.
_LAYERS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_REST = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_PROJECTIONS = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}


def from_clip_format(state: dict) -> dict:
    """Rename the weights of a CLIP in transformers' format to open_clip's, in float32.

    The three projections of an attention layer are stacked, the output projections transposed; ``position_ids`` are
    dropped (open_clip counts for itself). Unknown names stay as they are, so that loading names them.
    """
    weights = {}
    for key, value in state.items():
        layer = re.fullmatch(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
        if key.endswith("position_ids") or (layer and layer[3] in ("self_attn.k_proj", "self_attn.v_proj")):
            continue
        if layer:
            tower = {"text": "", "vision": "visual."}[layer[1]]
            place = f"{tower}transformer.resblocks.{layer[2]}"
            if layer[3] == "self_attn.q_proj":
                parts = [state[key.replace("q_proj", f"{which}_proj")] for which in "qkv"]
                weights[f"{place}.attn.in_proj_{layer[4]}"] = torch.cat(parts).float()
            else:
                weights[f"{place}.{_LAYERS.get(layer[3], layer[3])}.{layer[4]}"] = value.float()
        elif key in _PROJECTIONS:
            weights[_PROJECTIONS[key]] = value.float().T.contiguous()
        else:
            weights[_REST.get(key, key)] = value.float()
    return weights
