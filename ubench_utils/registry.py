"""Model strings: the forms they take, what models.yml says of a name, and which models make a pair."""

import os
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml

from .errors import UserError

PACKAGE = Path(__file__).parent
SPEC_HELP = {
    "NAME": "a name in ubench_utils/models.yml",
    "open_clip:ARCH/TAG": "open_clip's architecture and pretrained tag, say open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip:ARCH": "that architecture with random weights (seed 0); it prefers some answer, so it is no guesser",
    "open_clip:ARCH@FILE": "that architecture with the weights of a local checkpoint",
    "open_clip:ARCH@hf:ORG/NAME": "that architecture with CLIP weights in transformers' format (Hub or folder)",
    "hf-hub:ORG/NAME": "a Hub repository in open_clip's format",
    "local-dir:DIR": "a folder in open_clip's format (open_clip_config.json and weights)",
    "hf:ORG/NAME or hf:DIR": "a dual encoder of transformers (CLIP, SigLIP, ALIGN, BLIP, …), from the Hub or a folder",
    "conch:ORG/NAME or conch:DIR": "CONCH's own format: pytorch_model.bin and its tokenizer file",
    "mix:BASE+TUNED@ALPHA": "weights (1 − ALPHA)·BASE + ALPHA·TUNED of two models of one architecture",
    "predictions:FILE": "answers made elsewhere, CSV or parquet (see `ubench score`)",
    "random": "the random-choice baseline",
}
DEVICES = ["auto", "cpu", "cuda", "mps"]
PRECISIONS = ["auto", "float32", "float16", "bfloat16"]  # of the encoders
KINDS = ("open_clip", "hf-hub", "local-dir", "hf", "conch", "predictions", "mix")  # what may stand before the colon
# The palette of models without a colour of their own; those that models.yml uses come last.
PALETTE = ["#44AA99", "#661100", "#999933", "#6699CC", "#CC6677", "#225555", "#AA7744", "#4477AA"]


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


def model_cards() -> dict[str, ModelCard]:
    """All entries of models.yml, by name, and those of the user's own files that ``$UBENCH_MODELS`` names."""
    own = [Path(path).expanduser() for path in os.environ.get("UBENCH_MODELS", "").split(os.pathsep) if path]
    return {name: card for path in (PACKAGE / "models.yml", *own) for name, card in _read_cards(path).items()}


def _read_cards(path: Path) -> dict[str, ModelCard]:
    try:
        return _parse_cards(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"UBENCH_MODELS: cannot read '{path}' ({error.strerror})") from error


@cache
def _parse_cards(text: str, path: str) -> dict[str, ModelCard]:
    try:
        entries = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"'{path}' is no YAML ({' '.join(str(error).split())[:160]})") from error
    fields = set(ModelCard.__dataclass_fields__) - {"name"}
    cards = {}
    for name, entry in entries.items() if isinstance(entries, dict) else [("", None)]:
        if not isinstance(entry, dict) or "spec" not in entry:
            raise UserError(f"'{path}', entry '{name}': write NAME: {{spec: MODEL STRING, …}}")
        unknown = set(entry) - fields
        if unknown:
            keys = ", ".join(sorted(fields))
            raise UserError(f"'{path}', entry {name}: unknown key {min(unknown)}; the keys are {keys}")
        cards[name] = ModelCard(name, **{**entry, "spec": str(entry["spec"]).replace("{package}", str(PACKAGE))})
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
    if name.partition(":")[0] in KINDS and name.partition(":")[2]:
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
    parts = models.split("+")
    splits = [("+".join(parts[:i]), "+".join(parts[i:])) for i in range(1, len(parts))]
    # a path may hold a plus of its own: the second model starts where a known form does
    base, tuned = next((s for s in splits if _is_known(s[1])), (splits or [("", "")])[0])
    try:
        value = float(alpha)
    except ValueError:
        value = -1.0
    if not (base and tuned and 0.0 <= value <= 1.0):
        raise UserError(f"model '{spec}': write mix:BASE+TUNED@ALPHA with ALPHA between 0 and 1")
    return base, tuned, value


def _is_known(name: str) -> bool:
    return name in model_cards() or (name.partition(":")[0] in KINDS and bool(name.partition(":")[2]))


def mix_name(base: str, tuned: str, alpha: float) -> str:
    """Model string of an interpolated model."""
    return f"mix:{base}+{tuned}@{alpha:g}"


def colours(models) -> dict[str, str]:
    """Colour of each model: the listed one, else one of the palette by place among the unlisted."""
    cards = [(model, find_model(model)) for model in models]
    unlisted = [model for model, card in cards if card.colour is None]
    return {model: card.colour or PALETTE[unlisted.index(model) % len(PALETTE)] for model, card in cards}


def pairs(models, with_weights: bool = False) -> list[tuple[str, str]]:
    """Pairs (base, fine-tuned) among the models: those whose entry names a base.

    ``with_weights`` leaves out pairs of which one is a file of answers, whose weights nobody can mix.
    """
    found = [(card.base, model) for model in models if (card := find_model(model)).base]
    return [pair for pair in found if not with_weights or all(map(_has_weights, pair))]


def _has_weights(model: str) -> bool:
    spec = find_model(model).spec
    return spec != "random" and not spec.startswith("predictions:")
