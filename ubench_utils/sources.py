"""Where a model's configuration and weights lie, and the identity that keys every cache.

Nothing here imports torch, so a page whose embeddings are cached needs none.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .cache import file_digest
from .errors import UserError, first_line
from .registry import ModelCard, find_model, is_merge, parse_merge

WEIGHTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a folder
TEXT_FILES = (".json", ".txt", ".gz", ".model")  # configurations, vocabularies, merges, sentencepiece models
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
ENGINE = 1  # raise it when features change though weights and libraries do not: a new rule of a loader, say
CONCH_TOKENIZER = "conch_byte_level_bpe_uncased.json"


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
    checkpoint : Path or None
        File of weights; with neither tag nor checkpoint they are those of the folder ``arch``, or random.
    files : tuple of Path
        All files that determine the features.
    commit : str or None
        Commit of the Hub repository that was fetched.
    """

    kind: str
    arch: str
    config: dict
    tag: str | None = None
    checkpoint: Path | None = None
    files: tuple = ()
    commit: str | None = None


def resolve(card: ModelCard) -> Source:
    """Find (or download) what a model is loaded from.

    Raises
    ------
    UserError
        If the architecture, tag, folder, file or Hub repository is unknown, incomplete, gated or out of reach.
    """
    kind, _, rest = card.spec.partition(":")
    if kind == "hf-hub":
        return _open_clip_folder(*_snapshot(rest, card, [*_patterns(TEXT_FILES), "*.safetensors"]), card)
    if kind == "local-dir":
        return _open_clip_folder(Path(rest).expanduser(), None, card)
    if kind == "hf":
        return _transformers_folder(*_folder_or_snapshot(rest, card), card)
    if kind == "conch":
        return _conch_folder(rest, card)
    if kind == "predictions":
        path = Path(rest).expanduser()
        if not path.is_file():
            raise UserError(f"model '{card.name}': no file '{rest}' with answers")
        return Source("predictions", str(path), {}, files=(path,))
    if kind != "open_clip":
        raise UserError(f"model '{card.name}': '{card.spec}' is no model string; `ubench list models` shows the forms")
    arch, at, place = rest.partition("@")
    arch, slash, tag = arch.partition("/")
    if (at and not place) or (slash and not tag) or (place and tag):
        raise UserError(f"model '{card.name}': write open_clip:ARCH/TAG or open_clip:ARCH@FILE, not '{card.spec}'")
    config = _arch_config(arch)
    if place.startswith("hf:"):
        folder = _transformers_folder(*_folder_or_snapshot(place.removeprefix("hf:"), card), card, tokenizer=False)
        if folder.config.get("model_type") != "clip":
            raise UserError(f"model '{card.name}': '{place}' is of type {folder.config.get('model_type')}, only CLIP "
                            f"weights fit an open_clip architecture; evaluate it as '{place}'")  # fmt: skip
        there = [Path(folder.arch) / name for name in ("model.safetensors", "pytorch_model.bin")]
        weights = next((file for file in there if file.is_file()), None)
        if weights is None:
            raise UserError(f"model '{card.name}': '{folder.arch}' holds neither model.safetensors nor "
                            "pytorch_model.bin; weights in several parts must be saved in one file")  # fmt: skip
        files = (weights, Path(folder.arch) / "config.json")
        return Source("open_clip", arch, config, checkpoint=weights, files=files, commit=folder.commit)
    if place:
        path = Path(place).expanduser()
        if not path.is_file():
            raise UserError(f"model '{card.name}': no checkpoint file '{place}'")
        beside = path.with_name("config.json")  # of weights in transformers' format: says which activation
        return Source("open_clip", arch, config, checkpoint=path, files=(path, *([beside] * beside.is_file())))
    if tag:
        from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

        entry = get_pretrained_cfg(arch, tag)
        if not entry:
            tags = ", ".join(list_pretrained_tags_by_model(arch)) or "none"
            raise UserError(f"model '{card.name}': open_clip has no tag '{tag}' for {arch}; it has: {tags}")
        try:
            return Source("open_clip", arch, config, tag=tag, files=(Path(download_pretrained(entry)),))
        except Exception as error:  # network, Hub and file system each have their own
            raise UserError(f"model '{card.name}': cannot fetch its weights ({first_line(error)})") from error
    return Source("open_clip", arch, config)


def identity(name: str) -> dict:
    """Everything that determines a model's features but the device: the key of its cached embeddings.

    The weights enter by the SHA-256 of their file, so a name can be reused for other weights without harm.
    """
    card = find_model(name)
    if card.spec == "random":
        return {"kind": "random choice", "seed": 0}
    if is_merge(card.spec):
        merge = parse_merge(card.spec)
        base, *tuned = map(identity, merge.parents)
        return {"kind": merge.method, "base": base, "tuned": tuned[0] if len(tuned) == 1 else tuned, **merge.parameters}
    source = resolve(card)
    if source.files:
        weights = {file.name: sha for file, (_, sha) in zip(source.files, contents(source.files), strict=True)}
    else:
        weights = f"random, seed 0, torch {version('torch')}"
    library = "transformers" if source.kind == "transformers" else "open_clip_torch"
    own = {"preprocess": card.preprocess} if card.preprocess else {}
    return {"engine": ENGINE, "kind": source.kind, library: version(library), "config": source.config, **own,
            "tag": source.tag, "activation": card.activation, "weights": weights}  # fmt: skip


def image_size(recipe: dict) -> str:
    """Size of the images that a preprocessing recipe makes, in words."""
    size = recipe["size"]
    if isinstance(size, str):  # a number of patches
        return size
    return f"{size if isinstance(size, int) else size[0]} px"


def commits(name: str) -> dict[str, str]:
    """Commit of every Hub repository that a model (or the parents of a merge) was fetched from, by model string."""
    spec = find_model(name).spec
    cards = [find_model(parent) for parent in (parse_merge(spec).parents if is_merge(spec) else [name])]
    return {card.spec: commit for card in cards if (commit := resolve(card).commit)}


def differing(one: dict, other: dict) -> str | None:
    """First key in which two preprocessing recipes differ, those that both have first; None where they do not."""
    keys = sorted({**one, **other}, key=lambda key: key not in one or key not in other)
    return next((key for key in keys if one.get(key) != other.get(key)), None)


def contents(files, again: bool = False) -> list[tuple]:
    """State (size, times, inode) and SHA-256 of files, read once a process for each state, or ``again``.

    The time of change alone says nothing of the content, as it can be set; the state as a whole differs after anything
    was written to a file or put in its place.
    """
    found = []
    for file in files:
        facts = Path(file).stat()
        state = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)
        found.append((state, file_digest(file) if again else _cached_digest(str(file), state)))
    return found


@cache
def _cached_digest(file: str, state: tuple) -> str:
    return file_digest(file)


def _arch_config(arch: str) -> dict:
    """open_clip's own configuration of a named architecture, read without importing torch."""
    folder = Path(find_spec("open_clip").submodule_search_locations[0]) / "model_configs"
    file = folder / f"{arch}.json"
    if not file.is_file():
        near = get_close_matches(arch, [path.stem for path in folder.glob("*.json")], n=3)
        raise UserError(f"open_clip has no architecture '{arch}'" + (f"; near it: {', '.join(near)}" if near else ""))
    return json.loads(file.read_text(encoding="utf-8"))


def _open_clip_folder(folder: Path, commit: str | None, card: ModelCard) -> Source:
    config = _read_config(folder, "open_clip_config.json", card)
    if not isinstance(config.get("model_cfg"), dict):
        raise UserError(f"model '{card.name}': '{folder / 'open_clip_config.json'}' lacks the key model_cfg")
    if config["model_cfg"].get("text_cfg", {}).get("hf_tokenizer_name"):
        _need_tokenizer(folder, card)
    return Source("open_clip", f"local-dir:{folder}", config, files=_files(folder, card), commit=commit)


def _transformers_folder(folder: Path, commit: str | None, card: ModelCard, tokenizer: bool = True) -> Source:
    config = _read_config(folder, "config.json", card)
    files = _files(folder, card)
    if tokenizer:
        _need_tokenizer(folder, card)
        if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
            raise UserError(f"model '{card.name}': '{folder}' holds no preprocessor_config.json, so nothing says how "
                            "its images are to be prepared")  # fmt: skip
    return Source("transformers", str(folder), config, files=files, commit=commit)


def _conch_folder(place: str, card: ModelCard) -> Source:
    """Weights from the Hub (gated) or a folder; the tokenizer is published with the authors' code, not beside them."""
    folder, commit = _folder_or_snapshot(place, card, ["pytorch_model.bin", "*.json"], also=())
    weights = folder / "pytorch_model.bin"
    if not weights.is_file():
        raise UserError(f"model '{card.name}': '{folder}' holds no pytorch_model.bin")
    package = find_spec("conch")
    places = [folder, *(Path(path) / "open_clip_custom" / "tokenizers"
                        for path in (package.submodule_search_locations or [] if package else []))]  # fmt: skip
    tokenizer = next((path / CONCH_TOKENIZER for path in places if (path / CONCH_TOKENIZER).is_file()), None)
    if tokenizer is None:
        raise UserError(f"model '{card.name}': its tokenizer {CONCH_TOKENIZER} is missing; the authors publish it with "
                        "their code (folder conch/open_clip_custom/tokenizers of the repository mahmoodlab/CONCH): "
                        "install that package, or put the file and pytorch_model.bin into one folder and write "
                        "conch:DIR")  # fmt: skip
    return Source("conch", str(folder), {}, checkpoint=weights, files=(weights, tokenizer), commit=commit)


def _read_config(folder: Path, name: str, card: ModelCard) -> dict:
    file = folder / name
    if not file.is_file():
        raise UserError(f"model '{card.name}': '{folder}' holds no {name}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model '{card.name}': '{file}' is no JSON ({error})") from error
    if not isinstance(config, dict):
        raise UserError(f"model '{card.name}': '{file}' holds no JSON object")
    return config


def _files(folder: Path, card: ModelCard) -> tuple:
    """Files of a folder that determine the features; where weights are there twice, the safetensors that are loaded."""
    weights = [path for path in sorted(folder.iterdir()) if path.suffix in WEIGHTS and path.is_file()]
    safe = [path for path in weights if path.suffix == ".safetensors"]
    if not weights:
        raise UserError(f"model '{card.name}': '{folder}' holds no weights ({', '.join(WEIGHTS)})")
    return (*(path for path in sorted(folder.iterdir()) if path.suffix in TEXT_FILES), *(safe or weights))


def _need_tokenizer(folder: Path, card: ModelCard) -> None:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(f"model '{card.name}': '{folder}' holds no tokenizer ({', '.join(TOKENIZERS)}); save it beside "
                        "the weights with tokenizer.save_pretrained")  # fmt: skip


def _patterns(suffixes) -> list[str]:
    return [f"*{suffix}" for suffix in suffixes]


def _folder_or_snapshot(place: str, card: ModelCard, patterns=None, also=("*.bin",)) -> tuple[Path, str | None]:
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder, None
    if place.startswith((".", "/", "~")) or place.count("/") != 1:
        raise UserError(f"model '{card.name}': no folder '{place}'")
    return _snapshot(place, card, patterns or [*_patterns(TEXT_FILES), "*.safetensors"], also)


def _snapshot(repository: str, card: ModelCard, patterns: list, also=("*.bin",)) -> tuple[Path, str]:
    """Files of a Hub repository that match, and its commit; ``also`` those too where there are no safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    who = f"model '{card.name}'"
    try:
        folder = Path(snapshot_download(repository, revision=card.revision, allow_patterns=patterns))
        if also and not list(folder.glob("*.safetensors")):
            snapshot_download(repository, revision=card.revision, allow_patterns=list(also))
    except GatedRepoError as error:
        raise UserError(
            f"{who}: access to '{repository}' on the Hub is gated; ask for it on the model's page there with your "
            "account, then log in with `hf auth login` or set HF_TOKEN, and try again"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{who}: '{repository}' on the Hub has no revision '{card.revision}'") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{who}: there is no '{repository}' on the Hub, or it is private and you are not logged in"
        ) from error
    except Exception as error:  # offline, disk full, interrupted: each its own class
        raise UserError(f"{who}: cannot fetch '{repository}' from the Hub ({first_line(error)})") from error
    return folder, folder.name
