"""Model strings: the forms they take, what models.yml says of a name, and which models make a pair."""

import os
import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..data.benchmark import FACETS
from ..errors import UserError
from ..files import file_state, parse_yaml, read_text

PACKAGE = Path(__file__).parents[1]
SPEC_HELP = {
    "NAME": "a name in ubench_utils/models.yml, or in a file of your own that $UBENCH_MODELS names",
    "open_clip:ARCH/TAG": "open_clip's architecture and pretrained tag, say open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip:ARCH": "that architecture with random weights (seed 0); it prefers some answer, so it is no guesser",
    "open_clip:ARCH@FILE": "that architecture with the weights of a local checkpoint",
    "open_clip:ARCH@hf:ORG/NAME": "that architecture with CLIP weights in transformers' format (Hub or folder)",
    "hf-hub:ORG/NAME": "a Hub repository in open_clip's format",
    "local-dir:DIR": "a folder in open_clip's format (open_clip_config.json and weights)",
    "hf:ORG/NAME or hf:DIR": "a dual encoder of transformers (CLIP, SigLIP, ALIGN, BLIP, …), from the Hub or a folder",
    "conch:ORG/NAME or conch:DIR": "CONCH's own format: pytorch_model.bin and its tokenizer file",
    "mix:BASE+TUNED@ALPHA": "weights (1 − ALPHA)·BASE + ALPHA·TUNED of two models of one architecture",
    "mix:BASE+TUNED@FIRST..LAST": "the same with an ALPHA that grows from the first to the last layer (LiNeS)",
    "mix:BASE+T1+T2@LAMBDA": "task arithmetic: BASE + LAMBDA·(what T1 and T2 changed in it), two specialists or more",
    "soup:A+B": "the mean of the weights of two models or more",
    "ties:BASE+T1+T2@LAMBDA": "TIES merging: the largest changes of the specialists where their signs agree",
    "mix!: soup!: ties!:": "the same for models that are known not to share a base, which is refused otherwise",
    "predictions:FILE": "answers made elsewhere, CSV or parquet (see `ubench score`)",
    "random": "the random-choice baseline",
}


def _three(least: float):
    """Whether a value is three finite numbers above a least one."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) in (int, float) and least < number < float("inf") for number in value)
    )


PREPROCESS = {  # what an entry may set of open_clip's, and what is right
    "mean": (_three(-float("inf")), "a list of three numbers"),
    "std": (_three(0), "a list of three numbers above 0"),
    "interpolation": (("bicubic", "bilinear").__contains__, "bicubic or bilinear"),
    "resize_mode": (("shortest", "longest", "squash").__contains__, "shortest, longest or squash"),
    "fill_color": (lambda value: type(value) is int and 0 <= value <= 255, "a whole number from 0 to 255"),
}
DEFAULT_MODELS = ["random", "demo-base", "demo-pathology", "demo-fluorescence"]
MERGES = {  # how to write each
    "mix": "mix:BASE+TUNED@ALPHA with ALPHA between 0 and 1, mix:BASE+TUNED@FIRST..LAST with both between 0 and 1, or "
    "mix:BASE+T1+T2@LAMBDA with LAMBDA between 0 and 3",
    "soup": "soup:A+B or soup:A+B+C",
    "ties": "ties:BASE+T1+T2@LAMBDA with LAMBDA between 0 and 3",
}
LARGEST_WEIGHT = 3.0  # of task vectors: a factor above 1 extrapolates, one far above is a slip of the pen
TIES_DENSITY = 0.2  # share of the entries of a task vector that trimming keeps; the authors' default


class Family(NamedTuple):
    """The models of one kind of string: what opens them (imported when one is opened), and what needs no opening."""

    opened_by: str
    has_weights: bool = True
    guesses: bool = False


ENCODER = Family("ubench_utils.models.encoders.encoder:Encoder")
FAMILIES = {  # by what stands before the colon of a model string
    **dict.fromkeys(("open_clip", "hf-hub", "local-dir", "hf", "conch", *MERGES), ENCODER),
    "predictions": Family("ubench_utils.models.submission:Submission", has_weights=False),
    "random": Family("ubench_utils.models.baseline:Baseline", has_weights=False, guesses=True),
}
# What may stand before the colon; with an exclamation mark a merge goes ahead whatever the lineage.
KINDS = (*(kind for kind in FAMILIES if kind != "random"), *(f"{kind}!" for kind in MERGES))


@dataclass(frozen=True)
class ModelCard:
    """What models.yml, or the model string itself, says of a model."""

    name: str
    spec: str
    category: str = "unlisted"
    base: str | None = None
    in_domain: dict | None = None
    activation: str | None = None
    preprocess: dict | None = None
    colour: str | None = None
    revision: str | None = None
    licence: str | None = None
    citation: str | None = None
    about: str = ""

    @property
    def family(self) -> Family:
        """What opens the model; a string of no known form is refused when it is opened."""
        return FAMILIES.get(self.spec.partition(":")[0].removesuffix("!"), ENCODER)

    @property
    def guesses(self) -> bool:
        """Whether its answers are drawn, so that they show what chance is and nothing of the images."""
        return self.family.guesses

    @property
    def has_weights(self) -> bool:
        """Whether it has weights, which can be loaded, compared and merged."""
        return self.family.has_weights


def model_cards() -> dict[str, ModelCard]:
    """All entries of models.yml, by name, and those of the user's own files that ``$UBENCH_MODELS`` names.

    Files are read once a process for each of their states.
    """
    return _cards(cards_state())


def cards_state() -> tuple:
    """The files that ``model_cards`` reads, each with its state: equal as long as the cards are."""
    own = [Path(path).expanduser() for path in os.environ.get("UBENCH_MODELS", "").split(os.pathsep) if path]
    return tuple((path, file_state(path)) for path in (PACKAGE / "models" / "models.yml", *own))


@lru_cache(maxsize=8)
def _cards(state: tuple) -> dict[str, ModelCard]:
    cards = {name: card for path, _ in state for name, card in _read_cards(path).items()}
    for name, card in cards.items():
        known = card.base is None or card.base in cards or _is_string(card.base)
        if not known or card.base == name:
            raise UserError(
                f"entry '{name}': its base '{card.base}' is no model string and no other entry of "
                "models.yml or $UBENCH_MODELS"
            )
    return cards


def _read_cards(path: Path) -> dict[str, ModelCard]:
    entries = parse_yaml(read_text(path, "UBENCH_MODELS:"), f"'{path}'") or {}
    fields = set(ModelCard.__dataclass_fields__) - {"name"}
    cards = {}
    for name, entry in entries.items() if isinstance(entries, dict) else [("", None)]:
        if not isinstance(entry, dict) or not entry.get("spec"):
            raise UserError(f"'{path}', entry '{name}': write NAME: {{spec: MODEL STRING, …}}")
        unknown = set(map(str, entry)) - fields
        if unknown:
            keys = ", ".join(sorted(fields))
            raise UserError(f"'{path}', entry {name}: unknown key {min(unknown)}; the keys are {keys}")
        _check_entry(entry, f"'{path}', entry {name}")
        facts: dict = {key: value if isinstance(value, dict | None) else str(value) for key, value in entry.items()}
        facts["spec"] = facts["spec"].replace("{package}", str(PACKAGE))
        cards[str(name)] = ModelCard(str(name), **facts)
    return cards


def _check_entry(entry: dict, where: str) -> None:
    """Refuse values that would only fail on a page, or far into a run."""
    domain, activation, colour = (entry.get(key) for key in ("in_domain", "activation", "colour"))
    for key in set(entry) - {"in_domain", "preprocess"}:
        if not isinstance(entry[key], str | int | float | None) or isinstance(entry[key], bool):
            raise UserError(f"{where}: {key} is a text, not {_shown(entry[key])}")
    if domain is not None and not (
        isinstance(domain, dict)
        and domain
        and set(domain) <= set(FACETS)
        and all(isinstance(value, str) for value in domain.values())
    ):
        raise UserError(f"{where}: write in_domain as {{FACET: VALUE}} with a facet of {', '.join(FACETS)}")
    if activation not in (None, "gelu", "quickgelu"):
        raise UserError(f"{where}: activation is gelu or quickgelu, not '{activation}'")
    if colour is not None and not re.fullmatch("#[0-9A-Fa-f]{6}", str(colour)):
        raise UserError(f"{where}: write the colour as \"#rrggbb\", not '{colour}'")
    preprocess = entry.get("preprocess", {})
    if not isinstance(preprocess, dict) or not set(preprocess) <= set(PREPROCESS):
        raise UserError(f"{where}: preprocess is a mapping with keys of {', '.join(PREPROCESS)}")
    for key, value in preprocess.items():
        if not PREPROCESS[key][0](value):
            raise UserError(f"{where}: {key} in preprocess is {PREPROCESS[key][1]}, not {_shown(value)}")


def _shown(value) -> str:
    """A value from a YAML file, which may hold itself, in a few characters."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list | set) else repr(value)[:40]


def find_model(name: str) -> ModelCard:
    """Card of a model by its name or by any model string; a listed spec keeps its listed facts.

    Raises
    ------
    UserError
        If the string is neither a listed name nor of a known form.
    """
    cards = model_cards()
    card = listed(name, cards)
    if card:
        return card
    if is_merge(name):
        merge = parse_merge(name)
        parents = dict(zip(merge.parents, merge.cards, strict=True))
        return replace(parents[merge.equal_parent], name=name) if merge.equal_parent else ModelCard(name, name)
    if _is_string(name):
        return ModelCard(name, name)
    lower = {card.lower(): card for card in cards}
    near = get_close_matches(name.lower(), lower, n=1)
    hint = f" (near it: {lower[near[0]]})" if near else ""
    raise UserError(
        f"unknown model '{name}'{hint}; the names are {', '.join(cards)}, and `ubench list models` shows "
        "the forms of a model string"
    )


def listed(name: str, cards: dict[str, ModelCard]) -> ModelCard | None:
    """The card of a listed name or of a listed spec."""
    return cards.get(name) or next((card for card in cards.values() if card.spec == name), None)


@dataclass(frozen=True)
class Merge:
    """A merge of weights, as its model string says.

    Attributes
    ----------
    method : str
        ``interpolation``, ``layer-wise linear scaling``, ``task arithmetic``, ``uniform soup`` or ``TIES``.
    parents : tuple of str
        Names or model strings, the base first (of a soup any).
    parameters : dict of str to float
        ``alpha``; ``first`` and ``last``; ``weight``; none; ``weight`` and ``density``.
    cards : tuple of ModelCard
        Of the parents.
    """

    method: str
    parents: tuple[str, ...]
    parameters: dict
    cards: tuple[ModelCard, ...] = field(default=(), compare=False, repr=False)

    @property
    def equal_parent(self) -> str | None:
        """The parent that the merge equals bit for bit, None where it equals none."""
        if self.parameters.get("alpha", self.parameters.get("weight")) == 0:
            return self.parents[0]
        return self.parents[1] if self.parameters.get("alpha") == 1 else None


def _is_string(name: str) -> bool:
    """Whether a text has the form of a model string."""
    kind, _, rest = name.partition(":")
    return kind in KINDS and bool(rest)


def is_merge(spec: str) -> bool:
    """Whether a model string is that of a merge of other models."""
    return spec.partition(":")[0].removesuffix("!") in MERGES


def parse_merge(spec: str) -> Merge:
    """Method, parents and parameters of a merge by its model string.

    Raises
    ------
    UserError
        If it is malformed, if a parent is unknown or a merge itself, or if the parents are known not to share a base
        and no exclamation mark (``mix!:…``) says to go on.
    """
    kind, _, rest = spec.partition(":")
    form = kind.removesuffix("!")
    models, _, numbers = (rest, "", "") if form == "soup" else rest.rpartition("@")
    parents = _split_parents(models)
    method, parameters = _method(form, len(parents), numbers)
    if method is None or not all(parents):
        raise UserError(f"model '{spec}': write {MERGES[form]}")
    cards = _parent_cards(parents, cards_state())
    for parent, card in zip(parents, cards, strict=True):
        if is_merge(card.spec):
            raise UserError(f"model '{spec}': '{parent}' is a merge itself; name the models that it is made of")
    if not kind.endswith("!"):
        try:
            check_lineage(*parents)
        except UserError as error:
            raise UserError(f"model '{spec}': {error}; write {kind}!:{rest} to merge them all the same") from error
    return Merge(method, parents, parameters, cards)


@lru_cache(maxsize=64)
def _parent_cards(parents: tuple[str, ...], state: tuple) -> tuple[ModelCard, ...]:
    """Cards of the parents of a merge, found once for all its parameters."""
    return tuple(map(find_model, parents))


def _method(form: str, n_parents: int, numbers: str) -> tuple[str | None, dict]:
    """Method and parameters of a merge, None where form and numbers do not fit together."""
    values = [_number(text) for text in numbers.split("..")]
    is_share = all(0 <= value <= 1 for value in values)
    is_weight = len(values) == 1 and 0 <= values[0] <= LARGEST_WEIGHT
    if form == "soup" and n_parents > 1:
        return "uniform soup", {}
    if form == "ties" and n_parents > 1 and is_weight:
        return "TIES", {"weight": values[0], "density": TIES_DENSITY}
    if form == "mix" and n_parents > 2 and is_weight:
        return "task arithmetic", {"weight": values[0]}
    if form == "mix" and n_parents == 2 and is_share and len(values) <= 2:
        if values[0] == values[-1]:  # equal ends: one α for all layers
            return "interpolation", {"alpha": values[0]}
        return "layer-wise linear scaling", {"first": values[0], "last": values[1]}
    return None, {}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0  # out of every range


def _split_parents(models: str) -> tuple:
    """Split at the plus signs; a path may hold one of its own, so a model starts where a known form or name does."""
    cards, parts = model_cards(), models.split("+")
    parents, start = [], 0

    def known(name: str) -> bool:
        return name in cards or _is_string(name)

    for end in range(1, len(parts) + 1):
        if end == len(parts) or any(known("+".join(parts[end:stop])) for stop in range(len(parts), end, -1)):
            parents.append("+".join(parts[start:end]))
            start = end
    if len(parents) == 1:
        return tuple(parts)  # which of them is unknown, or what is wrong with the string, is told by others
    return tuple(model for parent in parents for model in ([parent] if known(parent) else parent.split("+")))


def root(name: str) -> str | None:
    """The model that a model descends from by the ``base`` entries of models.yml, None where nothing is known of it."""
    cards, seen = model_cards(), set()
    card = find_model(name)
    while card.base and card.name not in seen:
        seen.add(card.name)
        card = find_model(card.base)
    return card.name if seen or card.name in cards else None


def check_lineage(*models: str) -> None:
    """Refuse models that are known not to descend from one model: their weights are not comparable number by number.

    Raises
    ------
    UserError
        If the roots of two of them are known and differ.
    """
    roots = {root(model): model for model in models}
    roots.pop(None, None)
    if len(roots) > 1:
        (root_1, one), (root_2, other) = list(roots.items())[:2]
        raise UserError(
            f"'{one}' and '{other}' do not share a base (they go back to {root_1} and {root_2}), so their "
            "weights are not comparable number by number"
        )


def mix_name(base: str, tuned: str, alpha: float) -> str:
    """Model string of an interpolated model."""
    return f"mix:{base}+{tuned}@{alpha:g}"


def as_list(models) -> list:
    """Models as a list, each once: those of the demo for None, and one for one text, as ``papermill -p`` gives it.

    Raises
    ------
    UserError
        For a list that was written as one text, and for what is no list of texts.
    """
    models = DEFAULT_MODELS if models is None else models
    if isinstance(models, str) and models.lstrip().startswith(("[", "(")):
        raise UserError(f"models is the text {models[:60]!r}; give papermill a list with -y 'models: [A, B]'")
    models = [models] if isinstance(models, str) else models
    if not isinstance(models, list | tuple) or not all(isinstance(model, str | ModelCard) for model in models):
        raise UserError(f"models is {str(models)[:60]}; give a list of names or model strings")
    return list({getattr(model, "name", model): model for model in models}.values())


def pairs(models, with_weights: bool = False) -> list[tuple[str, str]]:
    """Pairs (base, fine-tuned) of the models whose entry names a base, be the base among them or not.

    ``with_weights`` leaves out pairs of which one is a file of answers, whose weights nobody can mix.
    """
    found = [(card.base, model) for model in models if (card := find_model(model)).base]
    return [pair for pair in found if not with_weights or all(find_model(model).has_weights for model in pair)]
