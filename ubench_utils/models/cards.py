"""What models.yml says of a model: its card, and the family that opens it."""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..data.benchmark import FACETS
from ..errors import UserError
from ..files import file_state, parse_yaml, read_text

PACKAGE = Path(__file__).parents[1]
MERGES = ("mix", "soup", "ties")  # model strings that are made of other models


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


def _number(least: float, kinds=(int, float)):
    """Whether a value is a finite number of some kinds, at least so large."""
    return lambda value: type(value) in kinds and least <= value < float("inf")


PRICES = ("price_in", "price_out", "currency")
ENDPOINT = {  # what an entry may set of how an address is asked, and what is right
    "concurrency": (_number(1, (int,)), "a whole number of questions at a time"),
    "timeout": (_number(0.1), "a number of seconds"),
    "max_tokens": (_number(1, (int,)), "a whole number of tokens"),
    "key_env": (
        lambda value: isinstance(value, str) and bool(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", value)),
        "the name of the variable that holds the key, not the key",
    ),
    "price_in": (_number(0), "the price of a million tokens"),
    "price_out": (_number(0), "the price of a million tokens"),
    "currency": (lambda value: isinstance(value, str) and 0 < len(value) <= 8, "a text such as EUR"),
}


class Family(NamedTuple):
    """The models of one kind of string: what opens them (imported when one is opened), and what needs no opening."""

    opened_by: str
    has_weights: bool = True
    guesses: bool = False
    takes_argument: bool = True  # after the colon of its model string


ENCODER = Family("ubench_utils.models.encoders.encoder:Encoder")
FAMILIES = {  # by what stands before the colon of a model string
    **dict.fromkeys(("open_clip", "hf-hub", "local-dir", "conch"), ENCODER),
    **dict.fromkeys(MERGES, Family("ubench_utils.models.merges:open_merge")),
    "hf": Family("ubench_utils.models.transformers_models:open_model"),
    "api": Family("ubench_utils.models.generators.hosted:Hosted", has_weights=False),
    "predictions": Family("ubench_utils.models.submission:Submission", has_weights=False),
    "random": Family("ubench_utils.models.baseline:Baseline", has_weights=False, guesses=True, takes_argument=False),
}
# What may stand before the colon; with an exclamation mark a merge goes ahead whatever the lineage.
KINDS = (*(kind for kind, family in FAMILIES.items() if family.takes_argument), *(f"{kind}!" for kind in MERGES))


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
    endpoint: dict | None = None
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
        known = card.base is None or card.base in cards or is_model_string(card.base)
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
    for key in set(entry) - {"in_domain", "preprocess", "endpoint"}:
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
    for name, allowed in (("preprocess", PREPROCESS), ("endpoint", ENDPOINT)):
        given = entry.get(name, {})
        if not isinstance(given, dict) or not set(given) <= set(allowed):
            raise UserError(f"{where}: {name} is a mapping with keys of {', '.join(allowed)}")
        for key, value in given.items():
            is_right, right = allowed[key]
            if not is_right(value):  # a key in the place of its variable's name is not shown
                raise UserError(f"{where}: {key} in {name} is {right}" + f", not {_shown(value)}" * (key != "key_env"))
    if entry.get("endpoint") and not str(entry["spec"]).startswith("api:"):
        raise UserError(f"{where}: endpoint is for models behind an address, api:MODEL@URL")
    if ("price_in" in entry.get("endpoint", {})) != ("price_out" in entry.get("endpoint", {})):
        raise UserError(f"{where}: write both price_in and price_out, or neither")


def _shown(value) -> str:
    """A value from a YAML file, which may hold itself, in a few characters."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list | set) else repr(value)[:40]


def listed(name: str) -> ModelCard | None:
    """The card of a listed name or of a listed spec."""
    cards = model_cards()
    return cards.get(name) or next((card for card in cards.values() if card.spec == name), None)


def is_model_string(name: str) -> bool:
    """Whether a text has the form of a model string."""
    kind, _, rest = name.partition(":")
    return kind in KINDS and bool(rest)


def is_merge(spec: str) -> bool:
    """Whether a model string is that of a merge of other models."""
    return spec.partition(":")[0].removesuffix("!") in MERGES
