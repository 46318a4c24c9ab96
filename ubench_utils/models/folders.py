"""Model folders: which of their files are read, and what is refused before a library sees it.

Only regular files are read. Nothing here imports torch.
"""

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError, first_line, shown

WEIGHTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a folder
# Configurations, vocabularies, merges, sentencepiece models, chat templates.
TEXT_FILES = (".json", ".txt", ".gz", ".model", ".jinja")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
CONCH_TOKENIZER = "conch_byte_level_bpe_uncased.json"
# Which of its files open_clip takes for the weights of a folder, first come, first served.
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
TRANSFORMERS_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # or an index beside, that names several files
TOKENIZER_KEYS = ("bpe_path", "clean", "strip_sep_token", "additional_special_tokens", "language")
LORA = ("adapter_config.json", "adapter_model.safetensors")  # as peft saves one
ADAPTERS = ("adapter_config.json", "adapter_model.*", "pytorch_adapter.bin", "pytorch_lora_weights.*")
TOKENIZER_PARTS = ("merges.txt", "special_tokens_map.json", "added_tokens.json")
# Files that say which classes read a folder, and the key under which a class of transformers is named.
CLASSES = {
    "config.json": "model_type",
    "tokenizer_config.json": "tokenizer_class",
    "preprocessor_config.json": "image_processor_type",
    "processor_config.json": "processor_class",
}
CAPTIONER = "BlipForConditionalGeneration"  # it goes on with a text, and follows no question
MATCHING_HEAD = "BlipForImageTextRetrieval"  # the class of transformers that has one
NO_CODE = (
    "needs code of its own, which this project does not run; it reads models that transformers and open_clip know, and "
    "asks others where you serve them (api:MODEL@URL)"
)


@dataclass(frozen=True)
class Source:
    """What a model is loaded from, resolved from its string (downloaded where need be).

    Attributes
    ----------
    kind : {"open_clip", "transformers", "conch", "predictions"}
        Which loader reads it.
    arch : str
        The name to give open_clip; for the other kinds the folder, or the file of answers.
    config : dict
        The architecture's or the folder's configuration.
    tag : str or None
        open_clip's pretrained tag.
    weights : tuple of Path
        Files of weights, several where they are saved in parts; none for random weights.
    files : tuple of Path
        All files that determine the features.
    commit : str or None
        Commit of the Hub repository that was fetched.
    has_embeddings : bool
        Whether it compares features of image and text; else image and text are read together, by a matching head.
    adapter : Path or None
        Folder of a LoRA adapter that is merged into the weights.
    generates : bool
        Whether it writes replies, by the class that its configuration names.
    """

    kind: str
    arch: str
    config: dict
    tag: str | None = None
    weights: tuple = ()
    files: tuple = ()
    commit: str | None = None
    has_embeddings: bool = True
    adapter: Path | None = None
    generates: bool = False


def read_json(file: Path) -> dict:
    """JSON object that a file of a model holds.

    Raises
    ------
    UserError
        If it is no regular file, no JSON in UTF-8, or no object.
    """
    if not os.path.isfile(file):
        raise UserError(f"'{file.parent}' holds no {file.name}" + " that is a file" * os.path.lexists(file))
    try:
        config = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{file}' is no JSON in UTF-8 ({first_line(error)})") from error
    if not isinstance(config, dict):
        raise UserError(f"'{file}' holds no JSON object")
    return config


def _each_once(pairs: list) -> dict:
    """Object of JSON; of two equal keys a library would keep the last in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key occurs twice, one of {shown(', '.join(found))}")
    return found


def refuse_code(folder: Path) -> None:
    """Refuse a folder whose files name classes that only code beside them defines; nobody is asked to allow it.

    Raises
    ------
    UserError
        If a file has an ``auto_map`` and its class is none of transformers'.
    """
    import transformers

    for name, key in CLASSES.items():
        config = read_json(folder / name) if os.path.isfile(folder / name) else {}
        stated = config.get(key)
        known = isinstance(stated, str) and (
            stated in transformers.CONFIG_MAPPING if key == "model_type" else hasattr(transformers, stated)
        )
        if config.get("auto_map") and not known:
            raise UserError(f"its {name} {NO_CODE}")


def check_config(config: dict, name: str) -> None:
    """Refuse a configuration that would make a library run code of others, or read other weights than are looked at.

    Raises
    ------
    UserError
        At the first such key, at any depth.
    """
    entries = [(key, value, 0) for key, value in config.items()]
    while entries:
        key, value, depth = entries.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        entries += [(part, entry, depth + 1) for part, entry in inner]
        where = f"its {name} ({shown(key)})"
        if name == "open_clip_config.json" and isinstance(value, str) and value.lower() in ("true", "false"):
            raise UserError(f"{where} is the text '{value}', which counts as true; write it without quotes")
        foreign = key == "auto_map" and (depth or name == "open_clip_config.json")
        if value and (foreign or key in ("trust_remote_code", "code_revision")):
            raise UserError(f"{where} {NO_CODE}")
        attention = list(value.values()) if isinstance(value, dict) else [value]
        if str(key).endswith("_implementation") and not all(kind in (None, "eager", "sdpa") for kind in attention):
            raise UserError(f"{where} asks for '{shown(value)}', which may be code of the Hub; leave that key out")
        if value and key in ("quantization_config", "fusion_config", "transformers_weights"):
            raise UserError(
                f"{where} asks for weights that are quantised, fused or of another file; save the model's "
                "plain weights with save_pretrained, without that key"
            )


def open_clip_folder(folder: Path, commit: str | None) -> Source:
    """Source of a folder in open_clip's format; raises UserError where it is incomplete or asks for foreign code."""
    if not os.path.isdir(folder):
        raise UserError(f"no folder '{folder}'")
    _refuse_adapter(folder)
    file = folder / "open_clip_config.json"
    config = read_json(file)
    check_config(config, file.name)
    parts = config.get("model_cfg")
    if not isinstance(parts, dict):
        raise UserError(f"'{file}' lacks the key model_cfg")
    for name, part in (
        *((name, parts.get(name)) for name in ("text_cfg", "vision_cfg")),
        ("preprocess_cfg", config.get("preprocess_cfg", {})),
    ):
        if not isinstance(part, dict):
            raise UserError(f"'{file}' has no {name} that is an object")
    merges = _check_tokenizer(folder, parts["text_cfg"])
    if parts["text_cfg"].get("hf_tokenizer_name"):
        _need_tokenizer(folder)
    there = [path for path in _entries(folder) if path.suffix in WEIGHTS]
    first = next((folder / name for name in OPEN_CLIP_WEIGHTS if folder / name in there), None)
    safe = [path for path in there if path.suffix == ".safetensors"]
    weights = [first] if first else safe or there
    if len(weights) > 1:
        names = ", ".join(path.name for path in weights)
        raise UserError(
            f"'{folder}' holds several files of weights ({shown(names)}) and nothing says which is "
            f"meant; name it {OPEN_CLIP_WEIGHTS[0]}"
        )
    files = _files(folder, weights, WEIGHTS)
    files += tuple(path for path in merges if path not in files)
    return Source("open_clip", f"local-dir:{folder}", config, weights=tuple(weights), files=files, commit=commit)


def _check_tokenizer(folder: Path, text: dict) -> list:
    """File of merges that the configuration of a text tower names, if any; refuse settings of no published model.

    Settings reach the constructors of tokenizers, which would take some of them for a permission to run code.
    """
    if os.path.lexists(folder / "tokenizer_config.json"):
        check_config(read_json(folder / "tokenizer_config.json"), "tokenizer_config.json")
    settings = text.get("tokenizer_kwargs") or {}
    unknown = sorted(set(settings) - set(TOKENIZER_KEYS)) if isinstance(settings, dict) else ["tokenizer_kwargs"]
    if unknown:
        raise UserError(
            f"its open_clip_config.json asks for a tokenizer with {shown(unknown[0])}; "
            f"tokenizer_kwargs may hold {', '.join(TOKENIZER_KEYS)}"
        )
    if "bpe_path" not in settings:
        return []
    place = str(settings["bpe_path"])
    path = folder / place
    if os.path.isabs(place) or ".." in Path(place).parts or not os.path.isfile(path):
        raise UserError(f"its open_clip_config.json names the merges '{shown(place)}', which is no file of its folder")
    return [path]


def transformers_folder(
    folder: Path, commit: str | None, *, tokenizer: bool = True, with_adapter: bool = False
) -> Source:
    """Source of a folder in transformers' format; raises UserError as ``open_clip_folder``.

    An adapter in it is refused, unless it is added ``with_adapter``.
    """
    if not with_adapter:
        _refuse_adapter(folder)
    config = read_json(folder / "config.json")
    for name in CLASSES:
        if os.path.lexists(folder / name):
            check_config(read_json(folder / name), name)
    weights = next((found for name in TRANSFORMERS_WEIGHTS if (found := _parts(folder, name))), [])
    files = _files(folder, weights, TRANSFORMERS_WEIGHTS)
    if tokenizer:
        _need_tokenizer(folder)
        if not any(os.path.isfile(folder / name) for name in ("preprocessor_config.json", "processor_config.json")):
            raise UserError(
                f"'{folder}' holds no preprocessor_config.json, so nothing says how its images are to be prepared"
            )
    classes = config.get("architectures")
    return Source(
        "transformers",
        str(folder),
        config,
        weights=tuple(weights),
        files=files,
        commit=commit,
        has_embeddings=not (isinstance(classes, list) and MATCHING_HEAD in classes),
        generates=_generates(classes),
    )


def _generates(classes) -> bool:
    """Whether the first class that a configuration names is one of transformers' that read image and text and write."""
    named = classes[0] if isinstance(classes, list) and classes else None
    if named in (None, MATCHING_HEAD, CAPTIONER) or str(named).endswith(
        "Model"
    ):  # a dual encoder; the list loads torch
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    return named in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()


def _parts(folder: Path, name: str) -> list:
    """A file of weights, or those that its index names; none where neither is there."""
    index = folder / f"{name}.index.json"
    if os.path.isfile(folder / name) or not os.path.isfile(index):
        return [folder / name] * os.path.isfile(folder / name)
    places = read_json(index).get("weight_map")
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    for part in names:
        if Path(part).name != part or not os.path.isfile(folder / part):
            raise UserError(f"{index.name} names weights in '{shown(part)}', which is no file of '{folder}'")
    return [folder / part for part in names]


def conch_folder(folder: Path, commit: str | None) -> Source:
    """Source of CONCH's weights; its tokenizer is published with the authors' code, not beside them."""
    weights = folder / "pytorch_model.bin"
    if not os.path.isfile(weights):
        raise UserError(f"'{folder}' holds no pytorch_model.bin")
    package = find_spec("conch")
    installed = package.submodule_search_locations or [] if package else []
    places = [folder, *(Path(path) / "open_clip_custom" / "tokenizers" for path in installed)]
    tokenizer = next((path / CONCH_TOKENIZER for path in places if os.path.isfile(path / CONCH_TOKENIZER)), None)
    if tokenizer is None:
        raise UserError(
            f"its tokenizer {CONCH_TOKENIZER} is missing; the authors publish it with their code (folder "
            "conch/open_clip_custom/tokenizers of the repository mahmoodlab/CONCH): install that package, or put the "
            "file and pytorch_model.bin into one folder and write conch:DIR"
        )
    files = readable((weights, tokenizer))
    return Source("conch", str(folder), {}, weights=(weights,), files=files, commit=commit)


def _entries(folder: Path) -> list:
    """Regular files of a folder, sorted; pipes, folders and broken links among them hold nothing to read."""
    try:
        return [path for path in sorted(folder.iterdir()) if os.path.isfile(path)]
    except OSError as error:
        raise UserError(f"cannot read the folder '{folder}' ({error.strerror})") from error


def _files(folder: Path, weights: list, expected: tuple) -> tuple:
    """Files of a folder that determine the features: all configurations and vocabularies, and the weights."""
    there = _entries(folder)
    if not weights:
        odd = [path.name for path in sorted(folder.iterdir()) if path.suffix in WEIGHTS and path not in there]
        why = f"; {shown(odd[0])} is a folder, a pipe or a broken link" if odd else ""
        raise UserError(f"'{folder}' holds no weights ({', '.join(expected)}){why}")
    return readable((*(path for path in there if path.suffix in TEXT_FILES), *weights))


def lora_settings(folder: Path) -> dict:
    """Settings of the LoRA adapter that a folder holds, alone or beside its base; empty where it holds none.

    Raises
    ------
    UserError
        If it is an adapter of another kind or format, or peft, which merges one, is not installed.
    """
    found = _adapters(folder)
    if not found:
        return {}
    settings = read_json(folder / LORA[0]) if {*found} == {*LORA} else {}
    if settings.get("peft_type") != "LORA" or find_spec("peft") is None:
        _refuse_adapter(folder)
    readable(tuple(folder / name for name in LORA))
    return settings


def _refuse_adapter(folder: Path) -> None:
    """Refuse an adapter, alone or beside its base, where it would be left out."""
    found = _adapters(folder)
    if found:
        file = folder / LORA[0]
        of = read_json(file).get("base_model_name_or_path") if os.path.isfile(file) else None
        raise UserError(
            f"'{folder}' holds an adapter ({shown(found[0])}), which would be left out; merge it into its "
            f"base{f' ({shown(of)})' if of else ''} first, with peft's merge_and_unload, and save the whole model; "
            "where the package peft is installed, hf:DIR does that for LoRA in safetensors"
        )


def _adapters(folder: Path) -> list[str]:
    return sorted(path.name for pattern in ADAPTERS for path in folder.glob(pattern))


def _need_tokenizer(folder: Path) -> None:
    for name in (*TOKENIZERS, *TOKENIZER_PARTS):
        if os.path.lexists(folder / name) and not os.path.isfile(folder / name):  # a library would do without it
            raise UserError(f"'{folder / name}' is a folder, a pipe or a broken link")
    if not any(os.path.isfile(folder / name) for name in TOKENIZERS):
        raise UserError(
            f"'{folder}' holds no tokenizer ({', '.join(TOKENIZERS)}); save it beside the weights with "
            "tokenizer.save_pretrained"
        )


def readable(files: tuple) -> tuple:
    """The files, all of which this user may read.

    Raises
    ------
    UserError
        At the first that may not be read.
    """
    closed = [file for file in files if not os.access(file, os.R_OK)]
    if closed:
        raise UserError(f"no permission to read '{closed[0]}'")
    return files
