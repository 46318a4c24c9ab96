"""Names on figures: short enough for an axis, and no two alike."""

from collections import Counter
from functools import cache
from os.path import commonprefix

from matplotlib import font_manager

from ..text import one_line, written_out

FONT = "DejaVu Sans"  # matplotlib's own, and so the same on every machine


def labels(names, most: int = 26) -> dict[str, str]:
    """Label of each name: the name itself where it is short, else what tells it from the others.

    Modalities go without their common noun, a path keeps its end, a longer name loses its middle; names that are then
    alike keep the part in which they differ, or are numbered. A letter that the font does not have is written out.

    Parameters
    ----------
    names : iterable of str
        All that stand in one figure; a name may come twice.
    most : int
        Letters of a label at most, 12 or more.

    Returns
    -------
    dict of str to str
        Different names have different labels.
    """
    whole = {name: _drawable(one_line(name)) for name in dict.fromkeys(names)}
    found: dict[str, str] = {}
    for form in (_common_noun_off, _as_it_is, _end_of_path, _middle_out):
        _take({name: form(whole[name], most) for name in whole if name not in found}, found, most)
    alike: dict[str, dict] = {}
    for name in (name for name in whole if name not in found):
        alike.setdefault(_middle_out(whole[name], most), {})[name] = whole[name]
    for group in alike.values():
        _take(_differences(group, most), found, most)
    numbers: dict[str, int] = {}
    for name in whole:  # in their order, so that equal figures have equal numbers
        while name not in found:
            numbers[name] = numbers.get(name, 0) + 1
            tag = f" ({numbers[name]})"
            _take({name: _middle_out(whole[name], most - len(tag)) + tag}, found, most)
    return {name: found[name] for name in whole}


def _take(candidates: dict, found: dict, most: int) -> None:
    """Add the candidates that are labels: neither empty nor too long, and unlike each other and those there are."""
    # matplotlib leaves a label that begins with an underscore out of a legend.
    candidates = {name: f" {label}" if label.startswith("_") else label for name, label in candidates.items()}
    times = Counter([*candidates.values(), *found.values()])
    found |= {name: label for name, label in candidates.items() if label and len(label) <= most and times[label] == 1}


def _common_noun_off(name: str, most: int) -> str:
    return name.removesuffix(" microscopy").replace("none of the above", "none")


def _as_it_is(name: str, most: int) -> str:
    return name


def _end_of_path(name: str, most: int) -> str:
    return name.rpartition("/")[2]


def _middle_out(name: str, most: int) -> str:
    """The first third and the last two thirds: names of one family differ at the end more often than at the start."""
    start = most // 3
    return name if len(name) <= most else f"{name[:start]}…{name[len(name) - (most - start - 1) :]}"


def _differences(group: dict, most: int) -> dict[str, str]:
    """What is left of texts without their common end, and with as much of their common start as there is room for."""
    texts = list(group.values())
    start, end = len(commonprefix(texts)), len(commonprefix([text[::-1] for text in texts]))
    parts = {name: text[start : max(start, len(text) - end)] for name, text in group.items()}
    before = max(0, min(start, most - 2 - max(map(len, parts.values()))))
    return {name: _middle_out(f"…{group[name][start - before : start]}{part}…", most) for name, part in parts.items()}


def _drawable(name: str) -> str:
    return "".join(one if ord(one) in _glyphs() else written_out(one) for one in name)


@cache
def _glyphs() -> frozenset:
    """Numbers of the characters that the font can draw."""
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())
