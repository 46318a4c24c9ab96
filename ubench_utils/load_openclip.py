"""Loading through open_clip: published tags, its own folders, local checkpoints, and CLIP weights of transformers.

The activation is checked for every way of loading, because the wrong one changes features without an error.
"""

import json
import logging
import re
import warnings
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import QuickGELU
from torchvision.transforms import Compose, Normalize

from .errors import UserError
from .models import Model
from .registry import ModelCard
from .sources import Source


def load(card: ModelCard, source: Source) -> Model:
    """Load an open_clip model on the CPU.

    Raises
    ------
    UserError
        If the checkpoint is of another architecture or activation, or the tokenizer cannot be loaded.
    """
    converted = _foreign_weights(source.checkpoint) if source.checkpoint else None
    network = _create(card, source, converted)
    activation, activation_from = _check_activation(card, source, network, converted)
    arch, options = source.arch, {}
    bpe = source.config.get("model_cfg", {}).get("text_cfg", {}).get("tokenizer_kwargs", {}).get("bpe_path")
    if bpe:  # relative to the model's own folder
        options["bpe_path"] = str(Path(arch.removeprefix("local-dir:")) / bpe)
    try:
        tokenizer = open_clip.get_tokenizer(arch, **options)
    except Exception as error:
        raise UserError(f"model '{card.name}': cannot load its tokenizer ({type(error).__name__}: {error})") from error
    recipe = {key: list(value) if isinstance(value, tuple) else value
              for key, value in network.visual.preprocess_cfg.items()} | (card.preprocess or {})  # fmt: skip
    return Model(
        card.name, network, recipe, spatial=partial(spatial, recipe), tokenize=tokenizer,
        truncated=partial(_truncated, tokenizer), image_tower=lambda network, images: network.encode_image(images),
        text_tower=lambda network, tokens: network.encode_text(tokens), context_length=tokenizer.context_length,
        activation=activation, activation_from=activation_from,
        inverse_temperature=lambda network: network.logit_scale.detach().exp(),
        doubt=_doubt(card, source, recipe),
    )  # fmt: skip


def _doubt(card: ModelCard, source: Source, recipe: dict) -> str:
    """What nothing vouches for: random weights, or a checkpoint of an architecture that has several preprocessings."""
    if not source.files:
        return "its weights are random"
    if source.checkpoint is None or card.preprocess:
        return ""
    keys = ("mean", "std", "interpolation", "resize_mode")
    tags = [open_clip.get_pretrained_cfg(source.arch, tag) for tag in
            open_clip.list_pretrained_tags_by_model(source.arch)]  # fmt: skip
    published = {tuple(str(list(tag[key]) if isinstance(tag.get(key), tuple) else tag.get(key) or recipe.get(key))
                       for key in keys) for tag in tags}  # fmt: skip
    if published <= {tuple(str(recipe.get(key)) for key in keys)}:
        return ""
    return (
        f"its images are prepared as for OpenAI's CLIP (mean {recipe['mean'][0]:.3g}, {recipe['resize_mode']}), but "
        f"tags of {source.arch} are published with other preprocessing; say which in the `preprocess` of its entry"
    )


def spatial(recipe: dict, image) -> np.ndarray:
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


def _create(card: ModelCard, source: Source, converted: dict | None) -> torch.nn.Module:
    """Build the network and load its weights (``converted``: those of another format); random ones are seeded."""
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs a line a step on the root logger
    force = {"force_quick_gelu": True} if card.activation == "quickgelu" else {}
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the activation is checked below, for every way of loading
            torch.manual_seed(0)
            if converted is not None:
                network = open_clip.create_model(source.arch, **force)
                network.load_state_dict(converted["weights"])
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


def _check_activation(card: ModelCard, source: Source, network, converted: dict | None) -> tuple[str, str]:
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
    elif converted and converted["activation"]:
        stated, witness = converted["activation"], converted["witness"]
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


def _foreign_weights(file: Path) -> dict | None:
    """Weights of a checkpoint that is not in open_clip's format, with the activation that its format states.

    OpenAI's release is a TorchScript archive or a state dictionary with three extra keys, in half precision, of
    QuickGELU models; transformers' CLIP format names its layers otherwise and states the activation in the
    config.json beside it. None for any other file.
    """
    state = _read(file)
    if state is None:
        return None
    extra = {"input_resolution", "context_length", "vocab_size"}
    if extra <= state.keys():
        weights = {key: value.float() for key, value in state.items() if key not in extra}
        return {"weights": weights, "activation": "quickgelu", "witness": "the file: OpenAI's release format"}
    if "text_model.embeddings.token_embedding.weight" in state and "visual_projection.weight" in state:
        return {"weights": from_clip_format(state), **_stated_activation(file.with_name("config.json"))}
    return None


def _read(file: Path) -> dict | None:
    """State dictionary of a checkpoint, None where it is none that can be read."""
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        with suppress(SafetensorError, OSError):  # open_clip names the fault
            return load_file(file)
        return None
    state = None
    for read in (partial(torch.load, weights_only=True, mmap=True), torch.jit.load):
        with suppress(Exception), warnings.catch_warnings():  # of another format: open_clip finds out which
            warnings.simplefilter("ignore")
            state = read(file, map_location="cpu")
            break
    if isinstance(state, torch.jit.ScriptModule):
        state = state.state_dict()
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    return state if isinstance(state, dict) else None


def _stated_activation(config: Path) -> dict:
    """Activation that the config.json of a CLIP in transformers' format states; its default is QuickGELU."""
    if not config.is_file():
        return {"activation": None, "witness": None}
    stated = json.loads(config.read_text(encoding="utf-8"))
    names = {stated.get(part, {}).get("hidden_act", "quick_gelu") for part in ("text_config", "vision_config")}
    activation = {"quick_gelu": "quickgelu"}.get(name := "/".join(sorted(names)), name)
    return {"activation": activation, "witness": "its config.json"}


# Names in transformers' CLIP format, and in open_clip's.
_LAYERS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
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
