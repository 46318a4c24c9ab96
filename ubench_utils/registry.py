"""Model strings: what they mean, which file holds the weights, and the identity that keys every cache.

Nothing here imports torch, so a page whose embeddings are cached needs none.
"""

import json
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

from .cache import file_digest
from .errors import UserError

PACKAGE = Path(__file__).parent
SPEC_HELP = {
    "NAME": "a name in ubench_utils/models.yml",
    "open_clip:ARCH/TAG": "open_clip's architecture and pretrained tag, say open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip:ARCH": "that architecture with random weights (seed 0); it prefers some answer, so it is no guesser",
    "open_clip:ARCH@FILE": "that architecture with the weights of a local checkpoint",
    "hf-hub:ORG/NAME": "a Hub repository in open_clip's format",
    "local-dir:DIR": "a folder in open_clip's format (open_clip_config.json and weights)",
    "mix:BASE+TUNED@ALPHA": "weights (1 − ALPHA)·BASE + ALPHA·TUNED of two models of one architecture",
    "random": "the random-choice baseline",
}
DEVICES = ["auto", "cpu", "cuda", "mps"]
PRECISIONS = ["auto", "float32", "float16", "bfloat16"]  # of the encoders
WEIGHTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a folder
# The palette of models without a colour of their own; those that models.yml uses come last.
PALETTE = ["#882255", "#44AA99", "#332288", "#999933", "#AA4499", "#117733", "#661100", "#6699CC"]


@dataclass(frozen=True)
class ModelCard:
    """What models.yml, or the model string itself, says of a model."""

    name: str
    spec: str
    category: str = "unlisted"
    base: str | None = None
    in_domain: dict | None = None
    activation: str | None = None
    colour: str | None = None
    revision: str | None = None
    licence: str | None = None
    citation: str | None = None
    about: str = ""


@cache
def model_cards() -> dict[str, ModelCard]:
    """All entries of models.yml, by name."""
    entries = yaml.safe_load((PACKAGE / "models.yml").read_text(encoding="utf-8"))
    cards = {}
    for name, entry in entries.items():
        unknown = set(entry) - set(ModelCard.__dataclass_fields__)
        if unknown or "spec" not in entry:
            raise UserError(f"models.yml, entry {name}: {'unknown key ' + min(unknown) if unknown else 'no spec'}")
        cards[name] = ModelCard(name, **{**entry, "spec": entry["spec"].replace("{package}", str(PACKAGE))})
    return cards


def find_model(name: str) -> ModelCard:
    """Card of a model by its name or by any model string; a listed spec keeps its listed facts.

    Raises
    ------
    UserError
        If the string is neither a listed name nor of a known form.
    """
    cards = model_cards()
    if name in cards:
        return cards[name]
    for card in cards.values():
        if card.spec == name:
            return card
    if name.partition(":")[0] in ("open_clip", "hf-hub", "local-dir", "mix") and name.partition(":")[2]:
        if name.startswith("mix:"):
            base, tuned, alpha = parse_mix(name)
            base, tuned = find_model(base).name, find_model(tuned).name  # both must be known, whatever α
            if alpha in (0.0, 1.0):  # the ends of an interpolation are its parents, bit for bit
                parent = find_model(base if alpha == 0.0 else tuned)
                return ModelCard(**{**asdict(parent), "name": name})
        return ModelCard(name, name)
    near = get_close_matches(name, cards, n=1)
    hint = f" (near it: {near[0]})" if near else ""
    raise UserError(f"unknown model '{name}'{hint}: use a listed name ({', '.join(cards)}) or one of "
                    f"{', '.join(list(SPEC_HELP)[1:-1])}")  # fmt: skip


def parse_mix(spec: str) -> tuple[str, str, float]:
    """Split ``mix:BASE+TUNED@ALPHA`` into its three parts."""
    models, _, alpha = spec.removeprefix("mix:").rpartition("@")
    base, _, tuned = models.partition("+")
    try:
        value = float(alpha)
    except ValueError:
        value = -1.0
    if not (base and tuned and 0.0 <= value <= 1.0):
        raise UserError(f"model '{spec}': write mix:BASE+TUNED@ALPHA with ALPHA between 0 and 1")
    return base, tuned, value


def mix_name(base: str, tuned: str, alpha: float) -> str:
    """Model string of an interpolated model."""
    return f"mix:{base}+{tuned}@{alpha:g}"


def colours(models) -> dict[str, str]:
    """Colour of each model: the listed one, else one of the palette by place among the unlisted."""
    cards = [(model, find_model(model)) for model in models]
    unlisted = [model for model, card in cards if card.colour is None]
    return {model: card.colour or PALETTE[unlisted.index(model) % len(PALETTE)] for model, card in cards}


def pairs(models) -> list[tuple[str, str]]:
    """Pairs (base, fine-tuned) among the models: those whose entry names a base."""
    return [(card.base, model) for model in models if (card := find_model(model)).base]


@dataclass(frozen=True)
class Source:
    """Where a model's configuration and weights lie, resolved from its string (downloaded where need be).

    ``arch`` is the name to give open_clip, ``tag`` its pretrained tag, ``checkpoint`` a local file; with neither, the
    weights are those of the folder that ``arch`` names, or random. ``files`` are all files that determine the features.
    """

    arch: str
    config: dict
    tag: str | None = None
    checkpoint: Path | None = None
    files: tuple = ()


def resolve(card: ModelCard) -> Source:
    """Find (or download) what an open_clip-format model is loaded from.

    Raises
    ------
    UserError
        If the architecture, tag, folder, file or Hub repository is unknown or out of reach.
    """
    kind, _, rest = card.spec.partition(":")
    if kind == "hf-hub":
        return _from_folder(_download(rest, card.revision), card)
    if kind == "local-dir":
        return _from_folder(Path(rest).expanduser(), card)
    arch, _, file = rest.partition("@")
    arch, _, tag = arch.partition("/")
    config = _arch_config(arch)
    if file:
        path = Path(file).expanduser()
        if not path.is_file():
            raise UserError(f"model '{card.name}': no checkpoint file '{file}'")
        return Source(arch, config, checkpoint=path, files=(path,))
    if tag:
        from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

        entry = get_pretrained_cfg(arch, tag)
        if not entry:
            tags = ", ".join(list_pretrained_tags_by_model(arch)) or "none"
            raise UserError(f"model '{card.name}': open_clip has no tag '{tag}' for {arch}; it has: {tags}")
        try:
            return Source(arch, config, tag=tag, files=(Path(download_pretrained(entry)),))
        except Exception as error:  # network, Hub and file system each have their own
            raise UserError(f"model '{card.name}': cannot fetch its weights ({_brief(error)})") from error
    return Source(arch, config)


def identity(name: str) -> dict:
    """Everything that determines a model's features but the device: the key of its cached embeddings.

    The weights enter by the SHA-256 of their file, so a name can be reused for other weights without harm.
    """
    card = find_model(name)
    if card.spec == "random":
        return {"kind": "random choice", "seed": 0}
    if card.spec.startswith("mix:"):
        base, tuned, alpha = parse_mix(card.spec)
        return {"kind": "interpolation", "base": identity(base), "tuned": identity(tuned), "alpha": alpha}
    source = resolve(card)
    if source.files:
        weights = {file.name: _digest_of(file) for file in source.files}
    else:
        weights = f"random, seed 0, torch {version('torch')}"
    return {"kind": "open_clip", "open_clip": version("open_clip_torch"), "config": source.config,
            "tag": source.tag, "activation": card.activation, "weights": weights}  # fmt: skip


def _digest_of(file: Path) -> str:
    facts = file.stat()
    return _cached_digest(str(file), facts.st_size, facts.st_mtime_ns)


@cache
def _cached_digest(file: str, size: int, mtime: int) -> str:
    return file_digest(file)


def _arch_config(arch: str) -> dict:
    """open_clip's own configuration of a named architecture, read without importing torch."""
    folder = Path(find_spec("open_clip").submodule_search_locations[0]) / "model_configs"
    file = folder / f"{arch}.json"
    if not file.is_file():
        near = get_close_matches(arch, [path.stem for path in folder.glob("*.json")], n=3)
        raise UserError(f"open_clip has no architecture '{arch}'" + (f"; near it: {', '.join(near)}" if near else ""))
    return json.loads(file.read_text(encoding="utf-8"))


def _from_folder(folder: Path, card: ModelCard) -> Source:
    file = folder / "open_clip_config.json"
    if not file.is_file():
        raise UserError(f"model '{card.name}': '{folder}' holds no open_clip_config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model '{card.name}': '{file}' is no JSON ({error})") from error
    if "model_cfg" not in config:
        raise UserError(f"model '{card.name}': '{file}' lacks the key model_cfg")
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (*WEIGHTS, ".json", ".txt", ".gz")]
    if not any(path.suffix in WEIGHTS for path in files):
        raise UserError(f"model '{card.name}': '{folder}' holds no weights ({', '.join(WEIGHTS)})")
    return Source(f"local-dir:{folder}", config, files=tuple(files))


def _download(repository: str, revision: str | None) -> Path:
    """Snapshot of a Hub repository's configuration, tokenizer and weights (safetensors where there are any)."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision,
                                        allow_patterns=["*.json", "*.txt", "*.safetensors"]))  # fmt: skip
        if not list(folder.glob("*.safetensors")):
            snapshot_download(repository, revision=revision, allow_patterns=["*.bin"])
    except Exception as error:  # offline, missing, gated: each its own class
        raise UserError(f"model 'hf-hub:{repository}': cannot fetch it from the Hub ({_brief(error)})") from error
    return folder


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}" if str(error) else type(error).__name__
