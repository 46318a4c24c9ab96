"""Loading through transformers: any dual encoder with its own processor, and BLIP by its matching head.

The processor's resizing and cropping give 8-bit pixels, which are cached; its arithmetic on them (rescaling, offset,
normalisation) is one affine map a channel, measured on a black and a white image, so no processor needs a rule of
its own.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from PIL import Image

from ...errors import UserError, first_line
from ..cards import ModelCard
from ..checkpoints import HARMLESS, Weights, check_fit, fit, layers_are_there, read
from ..folders import NO_CODE, Source, refuse_code
from .lora import merge_adapter
from .network import LARGEST_IMAGE, DualEncoder, quiet

# Families trained on texts that were padded to the whole context, and documented to need it.
PADDED_TO_CONTEXT = ("siglip", "siglip2")
# What the numbers of the processors' `resample` mean (Pillow's).
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@contextmanager
def silent() -> Iterator[None]:
    """Let transformers tell errors alone, without bars of progress, and leave it as it was."""
    bars, hub_bars = transformers.logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    transformers.logging.disable_progress_bar()
    try:
        with quiet("transformers"):
            yield
    finally:
        if bars:
            transformers.logging.enable_progress_bar()
        (enable_progress_bars if hub_bars else disable_progress_bars)()


@silent()
def load(card: ModelCard, source: Source) -> DualEncoder:
    """Load a dual encoder of transformers on the CPU in float32.

    Raises
    ------
    UserError
        If the folder holds no dual encoder, lacks weights, or its processor or tokenizer cannot be loaded.
    """
    refuse_code(Path(source.arch))
    if card.preprocess:
        raise UserError(
            "`preprocess` in its entry is for models of open_clip; this one's images are prepared as its "
            "preprocessor_config.json says"
        )
    network, doubt = network_of(source)
    if source.adapter:
        network, merged = merge_adapter(network, source.adapter)
        doubt = "; ".join(filter(None, (doubt, merged)))
    matching = isinstance(network, transformers.BlipForImageTextRetrieval)
    processor = part_of(source, "image processor", transformers.AutoImageProcessor)
    tokenizer = part_of(source, "tokenizer", transformers.AutoTokenizer)
    text_config = getattr(network.config, "text_config", network.config)
    longest = getattr(text_config, "max_position_embeddings", None) or tokenizer.model_max_length
    context = min(longest, tokenizer.model_max_length)
    activation, activation_from = _activation(card, network.config)
    padding = "max_length" if network.config.model_type in PADDED_TO_CONTEXT else "longest"
    # SigLIP 2 was trained on lower-case texts; where its tokenizer is given as Gemma's, nothing else lowers the case
    lower = padding == "max_length" and "Gemma" in type(tokenizer).__name__

    def tokenize(texts):
        texts = [text.lower() if lower else text for text in texts]
        return dict(tokenizer(texts, padding=padding, truncation=True, max_length=context, return_tensors="pt"))

    towers = (_blip_image, _blip_text) if matching else (_image_features, _text_features)
    return DualEncoder(
        card.name,
        network,
        _checked_recipe(processor),
        preprocess=partial(_pixels, processor),
        tokenize=tokenize,
        truncated=partial(too_long, tokenizer, context),
        image_tower=towers[0],
        text_tower=towers[1],
        context_length=context,
        activation=activation,
        activation_from=activation_from,
        matching_image=_blip_patches if matching else None,
        matching_head=_blip_match if matching else None,
        doubt=doubt,
    )


def too_long(tokenizer, context: int, texts) -> np.ndarray:
    """Whether each text has more tokens than a context, told by a tokenizer of transformers; boolean of shape (n,)."""
    return np.array([len(ids) > context for ids in tokenizer(list(texts))["input_ids"]], bool)


def network_of(source: Source, dtype: torch.dtype = torch.float32) -> tuple[torch.nn.Module, str]:
    """The network with its weights, and what a user should know of them.

    It is built without memory first, so that what does not fit its configuration is found by names and shapes. Where
    the names do not fit to the last, transformers loads them: it knows the older names of its own models, and tells
    what it had no weight or no place for.
    """
    config = part_of(source, "configuration", transformers.AutoConfig)
    content = read(source.weights)
    if not layers_are_there(source.config, content):
        raise UserError("its config.json declares more layers than the file holds weights")
    kind = _class_of(source, config)
    try:
        with torch.device("meta"):
            plan = kind(config)
    except Exception as error:  # whatever the classes that are built say of a setting
        raise UserError(f"no network can be built from its config.json ({first_line(error)})") from error
    expected = plan.state_dict()
    if source.generates:  # whose files have names of their own, which transformers alone knows
        network, report = _filled(kind, config, content, dtype)
        lost = {key: sorted(report[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        _check_report(lost, kind.__name__)
        return network, ""
    weights = fit(content, expected, Weights)
    if not (weights.misshapen or weights.odd or weights.beside) and _mostly_there(weights, expected):
        network, report = _filled(kind, config, {**weights.values, **weights.extra}, dtype)
        weights.missing = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
        weights.extra = dict.fromkeys(sorted(report["unexpected_keys"]))
    side = getattr(getattr(config, "vision_config", None), "image_size", None)
    # transformers would go on with random weights, or without them
    check_fit(weights, content, expected, kind.__name__, side if isinstance(side, int) else None)
    foreign = "its config.json names code of its own, which is not run" if source.config.get("auto_map") else ""
    return network, "; ".join(filter(None, (weights.note, foreign)))


def _check_report(lost: dict[str, list], kind: str) -> None:
    """Refuse weights of which transformers found some without a place, or places without a weight."""
    for key, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has no place for"),
        ("mismatched_keys", "cannot fit"),
    ):
        names = [str(name) for name in lost[key] if not HARMLESS.search(str(name))]
        if names:
            raise UserError(f"a {kind} {what} {len(names)} weights of the file, such as {names[0]}")


def _mostly_there(weights: Weights, expected: dict) -> bool:
    """Whether what is missing is less than what is there; transformers would take memory for it."""
    missing = sum(expected[key].numel() for key in weights.missing)
    return missing < sum(value.numel() for value in weights.values.values()) + 1


def _filled(kind, config, state: dict, dtype: torch.dtype) -> tuple[torch.nn.Module, dict]:
    """Network of transformers with the weights of a state dictionary, and what did not fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return kind.from_pretrained(
                None,
                config=config,
                state_dict=state,
                dtype=dtype,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except Exception as error:  # sizes, conversion, memory: each its own class
        raise UserError(f"transformers cannot load it ({first_line(error)})") from error


def _class_of(source: Source, config):
    """Class of transformers that a configuration is for; only dual encoders, and BLIP with its matching head."""
    if not source.has_embeddings:
        return transformers.BlipForImageTextRetrieval
    if source.generates:
        return transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    kind = transformers.MODEL_MAPPING.get(type(config), None)
    name = kind.__name__ if isinstance(kind, type) else type(config).__name__
    if name == "BlipModel":
        raise UserError(
            "of BLIP only the image-text retrieval models (class BlipForImageTextRetrieval) "
            "compare options, say Salesforce/blip-itm-base-coco"
        )
    if not (hasattr(kind, "get_image_features") and hasattr(kind, "get_text_features")):
        raise UserError(
            f"a {name} has no features of images and of texts to compare; dual encoders such as "
            "CLIP, SigLIP and ALIGN do, and BLIP for image-text retrieval"
        )
    return kind


def part_of(source: Source, what: str, auto):
    try:
        return auto.from_pretrained(source.arch, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise UserError(f"its {what} {NO_CODE}") from error
        raise UserError(f"cannot load its {what} ({first_line(error)})") from error


def _pixels(processor, image: Image.Image) -> np.ndarray:
    """Everything a processor does before its arithmetic: uint8 (3, size, size), or a record of patches, mask, grid."""
    made = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
    fields = {name: np.asarray(value[0]) for name, value in made.items()}
    pixels = fields["pixel_values"]
    if pixels.dtype != np.uint8:
        raise ValueError(f"{type(processor).__name__} makes {pixels.dtype} before rescaling, not 8-bit pixels")
    if len(fields) == 1:
        return pixels
    record = np.empty((), [(name, value.dtype, value.shape) for name, value in fields.items()])
    for name, value in fields.items():
        record[name] = value
    return record


def _checked_recipe(processor) -> dict:
    """Recipe of a processor that has been tried; refuse one that would fail, or fill the memory, at the first image."""
    sizes = [dict(getattr(processor, key, None) or {}) for key in ("size", "crop_size", "pad_size")]
    sides = [side for size in sizes for side in size.values() if isinstance(side, int | float)]
    patches, side = (getattr(processor, key, None) for key in ("max_num_patches", "patch_size"))
    if isinstance(patches, int) and isinstance(side, int):  # of one image, whatever its shape
        sides.append((patches * side * side) ** 0.5)
    if max(sides, default=0) > LARGEST_IMAGE:
        raise UserError(f"its preprocessing makes images of {max(sides):.0f} px; up to {LARGEST_IMAGE} are taken")
    try:
        with np.errstate(divide="ignore", invalid="ignore"):  # told below
            recipe = _recipe(processor)
    except UserError:
        raise
    except Exception as error:  # a mean that is no number, say: each processor has its own way to fail
        raise UserError(f"its image processor takes no image ({first_line(error)})") from error
    if not np.isfinite([recipe["mean"], recipe["std"]]).all() or not np.all(recipe["std"]):
        raise UserError(
            "its image processor gives no finite numbers, or the same for black and for white; "
            "correct image_mean and image_std in its preprocessor_config.json"
        )
    return recipe


def _recipe(processor) -> dict:
    """What determines the pixels, and the affine map after it as mean and standard deviation of 0…1 pixels."""
    size = dict(processor.size or {})
    output = dict(processor.crop_size or {}) if getattr(processor, "do_center_crop", False) else size
    side = output.get("height") or output.get("shortest_edge")
    black, white = (_constant(processor, colour) for colour in ("black", "white"))
    patches = (
        f"up to {getattr(processor, 'max_num_patches', '?')} patches of {getattr(processor, 'patch_size', '?')} px"
    )
    facts = {
        key: value
        for key, value in processor.to_dict().items()
        if key not in ("image_mean", "image_std", "do_rescale", "rescale_factor", "do_normalize")
    }
    return {
        "size": side or patches,
        "resize_mode": "shortest" if "shortest_edge" in size else "squash" if side else "aspect kept",
        "interpolation": RESAMPLING.get(int(processor.resample), str(processor.resample)),
        "mean": (black / (black - white)).tolist(),
        "std": (1 / (white - black)).tolist(),
        "processor": {key: str(value) for key, value in sorted(facts.items())},
        "transformers": version("transformers"),
    }


def _constant(processor, colour: str) -> np.ndarray:
    """What the processor makes of an image of one colour: a number a channel, or one number for patches."""
    values = np.asarray(
        processor(Image.new("RGB", (64, 64), colour), return_tensors="np")["pixel_values"][0], dtype=np.float64
    )
    if values.ndim == 3:
        return values[:, 0, 0]
    if np.ptp(values[0, :3]) > 1e-6:
        raise UserError(
            "its processor scales the channels of its patches differently, which this project cannot yet do"
        )
    return values[0, 0]


def _activation(card: ModelCard, config) -> tuple[str, str]:
    """Activation that the folder's configuration makes the towers compute; models.yml may contradict it."""
    parts = {name: getattr(config, f"{name}_config", None) for name in ("text", "vision")}
    found = {name: getattr(part, "hidden_act", None) for name, part in parts.items()}
    found = {name: {"quick_gelu": "quickgelu"}.get(act, act) for name, act in found.items() if act}
    distinct = set(found.values())
    text = distinct.pop() if len(distinct) == 1 else ", ".join(f"{act} ({name})" for name, act in found.items())
    if card.activation and card.activation != text:
        raise UserError(
            f"its weights were trained with {card.activation} (says models.yml), but its config.json makes it compute "
            f"{text}; correct hidden_act there, or `activation` in models.yml"
        )
    return text or "not stated", "models.yml" if card.activation else "its config.json"


def _image_features(network, batch) -> torch.Tensor:
    inputs = batch if isinstance(batch, dict) else {"pixel_values": batch}
    return network.get_image_features(**inputs).pooler_output


def _text_features(network, tokens) -> torch.Tensor:
    return network.get_text_features(**tokens).pooler_output


def _blip_patches(network, images) -> torch.Tensor:
    return network.vision_model(pixel_values=images).last_hidden_state


def _blip_image(network, images) -> torch.Tensor:
    return network.vision_proj(_blip_patches(network, images)[:, 0])


def _blip_text(network, tokens) -> torch.Tensor:
    return network.text_proj(network.text_encoder(**tokens).last_hidden_state[:, 0])


def _blip_match(network, patches, tokens) -> torch.Tensor:
    """Log-odds of the matching head (Li et al. 2022, section 3.2): logit of "match" minus logit of "no match"."""
    patches = patches.expand(len(tokens["input_ids"]), -1, -1)
    states = network.text_encoder(**tokens, encoder_hidden_states=patches).last_hidden_state
    scores = network.itm_head(states[:, 0])
    return scores[:, 1] - scores[:, 0]
