"""Weights in files: read without running anything, found under the keys of training scripts, and fitted to a network.

A library that loads a checkpoint passes over what it does not know and resizes what does not fit; here every weight
has its place, and every place its weight, or the checkpoint is refused by a line that names the cause.
"""

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import UserError, first_line, shown

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MANY_LAYERS = 1000  # no model has more
DEPTH = 4  # of dictionaries within dictionaries that are searched for weights
# Buffers that a network computes for itself, counters of training, and a bias that all options share: with or without
# them the answers are equal.
HARMLESS = re.compile(
    r"(^|\.)(position_ids|attn_mask|num_batches_tracked|relative_position_index|inv_freq|n_averaged|logit_bias|total_(ops|params))$"
)
# Parts for other tasks, which take none in comparing images with texts.
HEADS = re.compile(r"((\w+_)?classif\w*|cls_head|lm_head|mlm_head|head|fc|text_decoder)\.")
ADAPTER = re.compile(r"lora_|adapter|base_layer|prompt|ia3_|loha_|lokr_|hada_|magnitude_vector|vera_|oft_|boft_")
POSITIONS = re.compile(r"pos(ition(al)?)?_embed(ding)?s?(\.weight)?$")
SAVE_ALONE = (
    "where you trust it, save its weights alone, torch.save(model.state_dict(), FILE) or "
    "safetensors.torch.save_file(model.state_dict(), FILE)"
)


class _Unread:
    """Stands for an object beside the weights, whose own class is never called."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


# Classes of plain data that training scripts save beside the weights: numbers of NumPy, settings, paths.
_BESIDE = [
    *(f"numpy{core}.multiarray.{name}" for core in (".core", "._core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib{module}.{system}Path" for module in ("", "._local") for system in ("Posix", "Windows")),
]


@dataclass
class Weights:
    """Weights as found in a file, and how they fit a network.

    Attributes
    ----------
    values : dict of str to torch.Tensor
        By the names that the network gives them.
    place, prefix : str
        The keys under which they lie in the file, and what was taken off their names.
    activation : str or None
        What their format states; ``witness`` says what of it does.
    beside : list of str
        Names in the file that do not start with the prefix.
    missing, misshapen, odd : list of str
        Weights of the network that are not there, of another shape, and of no plain type of number.
    extra : dict of str to torch.Tensor
        Those without a place in the network.
    heads : list of str
        Weights of parts for other tasks, left out.
    """

    values: dict = field(repr=False)
    place: str = ""
    prefix: str = ""
    activation: str | None = None
    witness: str = ""
    beside: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    extra: dict = field(default_factory=dict, repr=False)
    misshapen: list = field(default_factory=list)
    odd: list = field(default_factory=list)
    heads: list = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether every weight has its place and every place its weight."""
        return not (self.beside or self.missing or self.extra or self.misshapen or self.odd)

    @property
    def note(self) -> str:
        """What was left out, in words; empty where nothing was."""
        if not self.heads:
            return ""
        what = f"{_count(self.heads)} of its file ({shown(self.heads[0])}, …)"
        return f"{what} are of a part for other tasks, which is left out"


def read(files: tuple) -> dict:
    """Content of a file of weights (safetensors, or of ``torch.save``), or of its parts; no code in them is run.

    Raises
    ------
    UserError
        If a file is damaged, of another format, or holds objects other than tensors and plain values.
    """
    content: dict = {}
    for file in files:
        part = _read_safetensors(file) if _is_safetensors(file) else _read_pickle(file)
        for key in content.keys() & part.keys():
            if not _equal({key: content[key]}, part):
                raise UserError(f"'{file}' and another part hold {shown(key)} with different values")
        content |= part
    return content


def _is_safetensors(file: Path) -> bool:
    try:
        with open(file, "rb") as stream:
            start = stream.read(9)
    except OSError as error:
        raise UserError(f"cannot read '{file}' ({error.strerror})") from error
    if not start:
        raise UserError(f"'{file}' is empty")
    return file.suffix == ".safetensors" or start[8:] == b"{"


def _read_safetensors(file: Path) -> dict:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # a plain class of its own, and whatever torch says of sizes
        raise UserError(f"'{file}' is damaged or no safetensors file ({first_line(error)})") from error


def _read_pickle(file: Path) -> dict:
    packed = zipfile.is_zipfile(file)
    if packed and _holds_script(file):
        raise UserError(
            f"'{file}' is a TorchScript archive, which would run code as it loads; where you trust it, save its "
            f"weights alone: torch.save(torch.jit.load('{file.name}', map_location='cpu').state_dict(), 'weights.pt')"
        )
    if file.suffix in (".npz", ".npy"):
        raise UserError(f"'{file}' is in NumPy's format, which is not read; {SAVE_ALONE}")
    try:
        with torch.serialization.safe_globals([(_Unread, name) for name in _BESIDE]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=packed)
    except Exception as error:  # unpickling raises many kinds
        foreign = re.search(r"GLOBAL ([\w.]+)|but got <class '([\w.]+)'", str(error))
        if foreign:
            what = f"holds an object of {foreign[1] or foreign[2]} beside or around its weights"
            raise UserError(f"'{file}' {what}, and such objects can run code; {SAVE_ALONE}") from error
        detail = re.search(r"WeightsUnpickler error: *(.+)", str(error))
        why = shown(detail[1]) if detail else first_line(error)
        why = f"is not loaded as a PyTorch checkpoint ({why}); if it is one, {SAVE_ALONE}"
        raise UserError(f"'{file}' {why}") from error
    if not isinstance(content, dict):
        raise UserError(f"'{file}' holds no dictionary of weights but a {type(content).__name__}; {SAVE_ALONE}")
    return content


def _holds_script(file: Path) -> bool:
    """Whether a zip file is a TorchScript archive, told as PyTorch tells it."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(re.search(r"(^|/)(constants\.pkl|code/.*)$", name) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # whatever it is, reading it says so


def fit(content: dict, expected: dict, convert: Callable) -> Weights:
    """The weights in a file that fit a network, or those that come nearest; see ``check_fit``.

    Weights are looked for in the file and in every dictionary within it; one prefix that all their names share is
    taken off.

    Parameters
    ----------
    content : dict
        Content of the file.
    expected : dict of str to torch.Tensor
        State dictionary of the network; shapes and types are looked at, so it may lie on the ``meta`` device.
    convert : callable
        State dictionary in any format to ``Weights`` with the network's names.

    Raises
    ------
    UserError
        If two sets of weights fit and differ.
    """
    found = [_fitted(state, place, expected, convert) for place, state in states(content)]
    fitting = [weights for weights in found if weights.fits]
    for other in fitting[1:]:
        if not _equal(fitting[0].values, other.values):
            raise UserError(
                f"its file holds two sets of weights that differ, under {_named(fitting[0])} and "
                f"{_named(other)}; save the one that is meant alone"
            )
    if fitting:
        return fitting[0]
    none = Weights({}, missing=list(expected))
    return min(found, key=lambda weights: len(weights.missing), default=none)


def check_fit(weights: Weights, content: dict, expected: dict, what: str, image_px: int | None) -> None:
    """Refuse what ``fit`` returned where it does not fit the architecture ``what``; UserError says why.

    ``image_px`` is the side of the images that the network takes, where known.
    """
    if not weights.fits:
        raise UserError(f"the checkpoint {_misfit(weights, content, expected, what, image_px)}")


def _misfit(weights: Weights, content: dict, expected: dict, what: str, image_px: int | None) -> str:
    if not any(states(content)):
        keys = ", ".join(sorted(map(shown, content))[:5])
        return f"holds no weights; its keys are {keys or 'none'}"
    sizes = _sizes(weights, expected, image_px)
    if sizes:
        return f"does not fit {what}: {sizes}"
    if weights.odd and not weights.missing:
        key = weights.odd[0]
        return (
            f"holds {shown(key)} as {str(weights.values[key].dtype).removeprefix('torch.')}: quantised weights and "
            "integers are not read; save the model in float32 or float16"
        )
    adapter = [key for key in [*weights.extra, *weights.beside] if ADAPTER.search(key)]
    if adapter:
        return (
            f"holds {_count(adapter)} without a place in {what}, such as {shown(adapter[0])}, which look like an "
            "adapter's; merge it first (peft's merge_and_unload) and save the whole model"
        )
    if weights.beside and len(weights.missing) < len(expected) / 2:
        return (
            f"has the weights of {what} under {_named(weights)}, beside {len(weights.beside)} others such as "
            f"{shown(weights.beside[0])}; save the one model that is meant alone"
        )
    facts = []
    if weights.missing:
        facts += [f"the file lacks {_count(weights.missing)}, such as {weights.missing[0]}"]
    if weights.misshapen:
        key = weights.misshapen[0]
        facts += [f"{key} is {tuple(weights.values[key].shape)} in the file and {tuple(expected[key].shape)} there"]
    if weights.extra:
        facts += [f"it has no place for {_count(weights.extra)}, such as {shown(next(iter(weights.extra)))}"]
    under = f", looked for under {_named(weights)}" if weights.place or weights.prefix else ""
    return f"is of another architecture than {what} ({'; '.join(facts)}{under})"


def layers_are_there(config, content: dict) -> bool:
    """Whether a configuration declares no more layers than the file has tensors, where it declares very many.

    A million take hours to build, with or without memory.
    """
    total, parts = 0, [("", config)]
    while parts:
        key, value = parts.pop()
        if isinstance(value, dict):
            parts += value.items()
        elif key in ("layers", "depth", "num_layers", "num_hidden_layers", "n_layer"):
            numbers = value if isinstance(value, list) else [value]
            total += sum(number for number in numbers if isinstance(number, int))
    return total <= max([MANY_LAYERS, *(len(state) for _, state in states(content))])


def states(content: dict, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict]]:
    """All dictionaries of tensors in a file, each with the keys that lead to it."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(key, str) and depth < DEPTH:
            yield from states(value, f"{place}.{key}".lstrip("."), depth + 1)


def _fitted(state: dict, place: str, expected: dict, convert: Callable) -> Weights:
    prefix = _prefix(state, expected)
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    weights = convert(inner)
    weights.place, weights.prefix = place, prefix
    weights.beside = [key for key in state if not key.startswith(prefix) and not HARMLESS.search(key)]
    extra = {key: value for key, value in weights.values.items() if key not in expected}
    weights.heads = [key for key in extra if HEADS.match(key)]
    weights.extra = {key: extra[key] for key in extra if not (HARMLESS.search(key) or HEADS.match(key))}
    weights.values = {key: value for key, value in weights.values.items() if key in expected}
    weights.missing = [key for key in expected if key not in weights.values and not HARMLESS.search(key)]
    for key, value in weights.values.items():
        like = expected[key]
        if value.shape != like.shape and value.numel() == like.numel() == 1:  # a scale of shape () or (1,)
            weights.values[key] = value.reshape(like.shape)
        elif value.shape != like.shape:
            weights.misshapen.append(key)
        plain = value.layout == torch.strided and not value.is_quantized
        if not plain or (like.is_floating_point() and value.dtype not in REAL):
            weights.odd.append(key)
    return weights


def _prefix(state: dict, expected: dict) -> str:
    """What most names start with before a name of the network, or of another format, begins."""
    known = {*expected, "text_model.embeddings.token_embedding.weight", "visual_projection.weight"}
    prefixes: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in known:
                prefixes[".".join([*parts[:start], ""])] += 1
    return min(prefixes, key=lambda prefix: (-prefixes[prefix], len(prefix)), default="")


def _equal(one: dict, other: dict) -> bool:
    return all(
        isinstance(other[key], torch.Tensor) and isinstance(value, torch.Tensor) and torch.equal(value, other[key])
        for key, value in one.items()
        if key in other
    )


def _sizes(weights: Weights, expected: dict, image_px: int | None) -> str:
    """Positions of another image size or context, in words; empty where the weights differ in more than that."""
    if weights.missing or weights.extra or weights.beside:
        return ""
    facts = []
    for key in weights.misshapen:
        shapes = [[size for size in state[key].shape if size != 1] for state in (weights.values, expected)]
        if not POSITIONS.search(key) or any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
            return ""
        there, wanted = (shape[0] for shape in shapes)
        if not re.match(r"visual|vision", key):
            facts.append(f"its positions are of {there} tokens, the architecture takes {wanted}")
            continue
        sides = [(_side(there - other), _side(wanted - other)) for other in range(6)]  # tokens that are no patches
        side, own = next((pair for pair in sides if all(pair)), (None, None))
        if side and own and image_px:
            facts.append(
                f"its positions are of {side} × {side} patches, images of {side * image_px // own} px; the "
                f"architecture takes {own} × {own} and {image_px} px"
            )
        else:
            facts.append(f"it has {there} positions of patches, the architecture {wanted}")
    mend = "; name an architecture of that size, or a folder whose configuration says it"
    return "; ".join(facts) + mend if facts else ""


def _side(patches: int) -> int | None:
    side = round(max(patches, 0) ** 0.5)
    return side if side and side * side == patches else None


def _named(weights: Weights) -> str:
    prefix = f"the prefix {shown(weights.prefix)}" if weights.prefix else ""
    place = f"the key {shown(weights.place)}" if weights.place else ""
    return " and ".join(filter(None, (place, prefix))) or "no key"


def _count(names) -> str:
    return f"{len(names)} weight" + "s" * (len(names) != 1)
