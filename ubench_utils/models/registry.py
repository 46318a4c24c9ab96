"""Model strings: the forms they take, what a merge is made of, and which models share a base."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache

from ..errors import UserError
from .cards import ModelCard, cards_state, is_merge, is_model_string, listed, model_cards

SPEC_HELP = {
    "NAME": "a name in ubench_utils/models/models.yml, or in a file of your own that $UBENCH_MODELS names",
    "open_clip:ARCH/TAG": "open_clip's architecture and pretrained tag, say open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip:ARCH": "that architecture with random weights (seed 0); it prefers some answer, so it is no guesser",
    "open_clip:ARCH@FILE": "that architecture with the weights of a local checkpoint",
    "open_clip:ARCH@hf:ORG/NAME": "that architecture with CLIP weights in transformers' format (Hub or folder)",
    "hf-hub:ORG/NAME": "a Hub repository in open_clip's format",
    "local-dir:DIR": "a folder in open_clip's format (open_clip_config.json and weights)",
    "hf:ORG/NAME or hf:DIR": "a dual encoder of transformers (CLIP, SigLIP, …), a LoRA adapter of one, or a generator",
    "api:MODEL@URL": "a model behind an address that answers as OpenAI's servers do, say vLLM or llama.cpp",
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
DEFAULT_MODELS = [
    "random",
    "demo-base",
    "demo-pathology",
    "demo-fluorescence",
    "demo-speaker",
    "demo-speaker-pathology",
]
FORMS = {  # how to write each merge
    "mix": "mix:BASE+TUNED@ALPHA with ALPHA between 0 and 1, mix:BASE+TUNED@FIRST..LAST with both between 0 and 1, or "
    "mix:BASE+T1+T2@LAMBDA with LAMBDA between 0 and 3",
    "soup": "soup:A+B or soup:A+B+C",
    "ties": "ties:BASE+T1+T2@LAMBDA with LAMBDA between 0 and 3",
}
LARGEST_WEIGHT = 3.0  # of task vectors: a factor above 1 extrapolates, one far above is a slip of the pen
TIES_DENSITY = 0.2  # share of the entries of a task vector that trimming keeps; the authors' default


def find_model(name: str) -> ModelCard:
    """Card of a model by its name or by any model string; a listed spec keeps its listed facts.

    Raises
    ------
    UserError
        If the string is neither a listed name nor of a known form.
    """
    card = listed(name)
    if card:
        return card
    if is_merge(name):
        same = parse_merge(name).equal_parent
        return replace(same, name=name) if same else ModelCard(name, name)
    if is_model_string(name):
        return ModelCard(name, name)
    cards = model_cards()
    lower = {card.lower(): card for card in cards}
    near = get_close_matches(name.lower(), lower, n=1)
    hint = f" (near it: {lower[near[0]]})" if near else ""
    raise UserError(
        f"unknown model '{name}'{hint}; the names are {', '.join(cards)}, and `ubench list models` shows "
        "the forms of a model string"
    )


@dataclass(frozen=True)
class Merge:
    """A merge of weights, as its model string says.

    Attributes
    ----------
    method : str
        ``interpolation``, ``layer-wise linear scaling``, ``task arithmetic``, ``uniform soup`` or ``TIES``.
    parents : tuple of ModelCard
        The base first (of a soup any).
    parameters : dict of str to float
        ``alpha``; ``first`` and ``last``; ``weight``; none; ``weight`` and ``density``.
    """

    method: str
    parents: tuple[ModelCard, ...]
    parameters: dict

    @property
    def equal_parent(self) -> ModelCard | None:
        """Card of the parent that the merge equals bit for bit, None where it equals none."""
        if self.parameters.get("alpha", self.parameters.get("weight")) == 0:
            return self.parents[0]
        return self.parents[1] if self.parameters.get("alpha") == 1 else None


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
    names = _split_parents(models)
    method, parameters = _method(form, len(names), numbers)
    if method is None or not all(names):
        raise UserError(f"model '{spec}': write {FORMS[form]}")
    parents = _cards_of(names, cards_state())
    for name, parent in zip(names, parents, strict=True):
        if is_merge(parent.spec):
            raise UserError(f"model '{spec}': '{name}' is a merge itself; name the models that it is made of")
        if not parent.has_weights:
            raise UserError(f"model '{spec}': '{name}' has no weights to merge")
    if not kind.endswith("!"):
        try:
            check_lineage(*names)
        except UserError as error:
            raise UserError(f"model '{spec}': {error}; write {kind}!:{rest} to merge them all the same") from error
    return Merge(method, parents, parameters)


@lru_cache(maxsize=64)
def _cards_of(names: tuple[str, ...], state: tuple) -> tuple[ModelCard, ...]:
    """Cards of the parents of a merge, found once for all its parameters."""
    return tuple(map(find_model, names))


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
        return name in cards or is_model_string(name)

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
    card = listed(name) or find_model(name)
    while card.base and card.name not in seen:
        seen.add(card.name)
        card = listed(card.base) or find_model(card.base)
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
