"""Where a model's configuration and weights lie, and the identity that keys every cache.

Nothing here imports torch, so a page whose embeddings are cached needs none.
"""

import json
import os
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ..engine import work
from ..engine.store import file_digest
from ..errors import UserError, first_line, shown
from ..files import file_state
from .cards import ModelCard
from .folders import (
    LORA,
    TEXT_FILES,
    Source,
    conch_folder,
    lora_settings,
    open_clip_folder,
    readable,
    transformers_folder,
)

FETCHED = [*(f"*{suffix}" for suffix in TEXT_FILES), "*.safetensors"]  # of a Hub repository


def resolve(card: ModelCard) -> Source:
    """Find (or download) what a model is loaded from.

    Raises
    ------
    UserError
        If the architecture, tag, folder, file or Hub repository is unknown, incomplete, gated or out of reach.
    """
    kind, _, rest = card.spec.partition(":")
    if kind == "hf-hub":
        return open_clip_folder(*_snapshot(rest, card.revision))
    if kind == "local-dir":
        return open_clip_folder(_local(rest), None)
    if kind == "hf":
        return _of_transformers(*_fetched(rest, card.revision))
    if kind == "conch":
        return conch_folder(*_fetched(rest, card.revision, ("pytorch_model.bin", "*.json")))
    if kind == "predictions":
        path = _local(rest)
        if not os.path.isfile(path):
            raise UserError(f"no file '{rest}' with answers")
        return Source("predictions", str(path), {}, files=(path,))
    if kind == "open_clip":
        return _of_architecture(card)
    raise UserError(f"'{card.spec}' is no model string; `ubench list models` shows the forms")


def _of_transformers(folder: Path, commit: str | None) -> Source:
    """Source of a folder in transformers' format, or of a LoRA adapter, whose base is beside it or named in it."""
    adapter = lora_settings(folder)
    if not adapter:
        return transformers_folder(folder, commit)
    base = folder, commit
    if not os.path.isfile(folder / "config.json"):
        place, revision = (adapter.get(key) for key in ("base_model_name_or_path", "revision"))
        if not isinstance(place, str) or not place:
            raise UserError(f"its {LORA[0]} names no base (base_model_name_or_path), and none lies beside it")
        try:
            base = _fetched(place, revision if isinstance(revision, str) else None)
        except UserError as error:
            raise UserError(f"the base of its adapter, by its {LORA[0]}: {error}; write there where it lies") from error
    source = transformers_folder(*base, with_adapter=base[0] == folder)
    return replace(source, adapter=folder, files=(*source.files, *(folder / name for name in LORA)))


def _of_architecture(card: ModelCard) -> Source:
    """Source of one of open_clip's own architectures, with a tag, a checkpoint, weights of transformers, or none."""
    arch, at, place = card.spec.removeprefix("open_clip:").partition("@")
    arch, slash, tag = arch.partition("/")
    if (at and not place) or (slash and not tag) or (place and tag):
        raise UserError(f"write open_clip:ARCH/TAG or open_clip:ARCH@FILE, not '{card.spec}'")
    config = _arch_config(arch)
    if place.startswith("hf:"):
        folder = transformers_folder(*_fetched(place.removeprefix("hf:"), card.revision), tokenizer=False)
        if folder.config.get("model_type") != "clip":
            raise UserError(
                f"'{place}' is of type {folder.config.get('model_type')}, only CLIP "
                f"weights fit an open_clip architecture; evaluate it as '{place}'"
            )
        files = (*folder.weights, Path(folder.arch) / "config.json")
        return Source("open_clip", arch, config, weights=folder.weights, files=files, commit=folder.commit)
    if place:
        path = _local(place)
        if not os.path.isfile(path):
            raise UserError(f"no checkpoint file '{place}'")
        beside = path.with_name("config.json")  # of weights in transformers' format: says which activation
        files = readable((path, *([beside] * os.path.isfile(beside))))
        return Source("open_clip", arch, config, weights=(path,), files=files)
    if tag:
        from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

        entry = get_pretrained_cfg(arch, tag)
        if not entry:
            tags = ", ".join(list_pretrained_tags_by_model(arch)) or "none"
            raise UserError(f"open_clip has no tag '{tag}' for {arch}; it has: {tags}")
        try:
            file = Path(download_pretrained(entry))
        except Exception as error:  # network, Hub and file system each have their own
            raise UserError(f"cannot fetch its weights ({first_line(error)})") from error
        return Source("open_clip", arch, config, tag=tag, weights=(file,), files=(file,))
    return Source("open_clip", arch, config)


def _local(place: str) -> Path:
    """Path that a user wrote, with the home folder for its tilde."""
    return Path(os.path.expanduser(place))


def _fetched(place: str, revision: str | None, patterns=FETCHED) -> tuple[Path, str | None]:
    """A folder and no commit, or the files of a Hub repository and its commit; see ``_snapshot``."""
    folder = _local(place)
    if os.path.isdir(folder):
        return folder, None
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise UserError(f"no folder '{place}'")
    return _snapshot(place, revision, patterns)


def _snapshot(repository: str, revision: str | None, patterns=FETCHED) -> tuple[Path, str]:
    """Files of a Hub repository that match, and its commit; pickles too where there are no safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
        if not list(folder.glob("*.safetensors")):
            snapshot_download(repository, revision=revision, allow_patterns=["*.bin"])
    except GatedRepoError as error:
        raise UserError(
            f"access to '{repository}' on the Hub is gated; ask for it on the model's page there with your "
            "account, then log in with `hf auth login` or set HF_TOKEN, and try again"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"'{repository}' on the Hub has no revision '{revision}'") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"there is no '{repository}' on the Hub, or it is private and you are not logged in") from error
    except Exception as error:  # offline, disk full, interrupted: each its own class
        raise UserError(f"cannot fetch '{repository}' from the Hub ({first_line(error)})") from error
    return folder, folder.name


def identity_of(card: ModelCard, source: Source) -> dict:
    """What determines the answers of a model by its files; see ``Model.identity``."""
    weights: dict | str
    if source.files:
        weights = {file.name: sha for file, (_, sha) in zip(source.files, contents(source.files), strict=True)}
    else:
        weights = f"random, seed 0, torch {version('torch')}"
    library = "transformers" if source.kind == "transformers" else "open_clip_torch"
    own = {"preprocess": card.preprocess} if card.preprocess else {}
    return {
        "engine": work.ENGINE,
        "kind": source.kind,
        library: version(library),
        **({"peft": version("peft")} if source.adapter else {}),
        "config": source.config,
        **own,
        "tag": source.tag,
        "activation": card.activation,
        "weights": weights,
    }


def image_size(recipe: dict) -> str:
    """Size of the images that a preprocessing recipe makes, in words."""
    size = recipe["size"]
    if isinstance(size, str):  # a number of patches
        return size
    return f"{size if isinstance(size, int) else size[0]} px"


def differing(one: dict, other: dict) -> str | None:
    """First key in which two preprocessing recipes differ, those that both have first; None where they do not."""
    keys = sorted({**one, **other}, key=lambda key: key not in one or key not in other)
    return next((key for key in keys if one.get(key) != other.get(key)), None)


def states(source: Source) -> tuple:
    """States of a model's files and of their folders: where they are equal, the model is as it was."""
    return tuple((file, file_state(file), file_state(file.parent)) for file in source.files)


def contents(files, again: bool = False) -> list[tuple]:
    """State and SHA-256 of files, read once a process for each state, or ``again``; OSError where one is gone."""
    found = []
    for file in files:
        state = file_state(file)
        found.append((state, file_digest(file) if again else _cached_digest(str(file), state)))
    return found


@cache
def _cached_digest(file: str, state: tuple) -> str:
    return file_digest(file)


def _arch_config(arch: str) -> dict:
    """open_clip's own configuration of a named architecture, read without importing torch."""
    package = find_spec("open_clip")
    assert package and package.submodule_search_locations, "open_clip is installed with this package"
    folder = Path(package.submodule_search_locations[0]) / "model_configs"
    file = folder / f"{arch}.json"
    if not os.path.isfile(file):  # a name may be too long for a file
        near = get_close_matches(arch, [path.stem for path in folder.glob("*.json")], n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise UserError(f"open_clip has no architecture '{shown(arch)}'{hint}")
    return json.loads(file.read_text(encoding="utf-8"))
