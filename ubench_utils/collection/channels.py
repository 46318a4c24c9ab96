"""Channels: what a file says of the name, the colour and the largest value of each."""

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from tifffile import TiffFile, TiffPage

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "grey": (255, 255, 255),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "yellow": (255, 255, 0),
}
SMAX, MAX = 341, 281  # tags: SMaxSampleValue, MaxSampleValue


@dataclass(frozen=True)
class Channel:
    """A channel as its file states it.

    Attributes
    ----------
    name : str
        Empty where it has none.
    colours : numpy.ndarray or None
        Table of colours, uint8 of shape (256, 3), from black to the brightest; None where none is stated.
    top : int or None
        Largest value that the file says there can be; None where it says none, or no less than its whole numbers of 16
        bits could hold.
    stated : str
        Where the file says so.
    """

    name: str = ""
    colours: np.ndarray | None = None
    top: int | None = None
    stated: str = ""


def ramp(colour) -> np.ndarray:
    """Table of colours from black to one, uint8 of shape (256, 3)."""
    return np.rint(np.arange(256)[:, None] * (np.asarray(colour) / 255)).astype(np.uint8)


def bounded(file_bits: int, top: int | None) -> int | None:
    """A stated largest value, where it is one of fewer whole bits than are stored; others are a statistic."""
    is_stated = isinstance(top, int) and 0 < top < 2**file_bits - 1 and top & (top + 1) == 0
    return top if is_stated else None


def channels_of(tif: TiffFile, page: TiffPage, n: int, bits: int, stated: Element | None) -> tuple[Channel, ...]:
    """Names, colours and largest values as a file states them, each where it does."""
    tops: dict[str, int | None] = {f"{bits} bits per sample": 2**bits - 1 if bits < 16 else None}
    if page.dtype is not None and page.dtype.kind not in "ub":
        tops = {}
    else:
        for name, tag in (("MaxSampleValue", MAX), ("SMaxSampleValue", SMAX)):
            tops[name] = bounded(bits, tag_of(page, tag, None))
    names = [""] * n
    tables: list[np.ndarray | None] = [None] * n
    if stated is not None:
        used = stated.get("SignificantBits", "")
        if tops and re.fullmatch(r"\d{1,2}", used):
            tops["SignificantBits"] = bounded(bits, 2 ** int(used) - 1)
        own = stated.findall("{*}Channel")
        if len(own) == n:
            names = [(one.get("Name") or "").strip() for one in own]
            tables = [_ome_colour(one.get("Color")) for one in own]
    luts = (tif.imagej_metadata or {}).get("LUTs", [])
    if len(luts) == n and all(np.shape(lut) == (3, 256) for lut in luts):
        tables = [np.ascontiguousarray(np.asarray(lut, np.uint8).T) for lut in luts]
    known = (tif.lsm_metadata or {}).get("ChannelColors", {}) if tif.is_lsm else {}
    if len(known.get("Colors", [])) == len(known.get("ColorNames", [])) == n:
        names = [str(name).strip() for name in known["ColorNames"]]
        tables = [ramp(colour[:3]) for colour in known["Colors"]]
    top, stated_by = min(((top, name) for name, top in tops.items() if top), default=(None, ""))
    return tuple(Channel(name, table, top, stated_by) for name, table in zip(names, tables, strict=True))


def _ome_colour(text: str | None) -> np.ndarray | None:
    """Table of a colour that OME writes as a signed number of red, green, blue and alpha."""
    if not re.fullmatch(r"[+-]?\d{1,10}", text or ""):
        return None
    number = int(text or 0) & 0xFFFFFFFF
    return ramp([number >> 24, number >> 16 & 255, number >> 8 & 255])


def tag_of(page: TiffPage, number: int, default: int | None = None) -> int | None:
    """A tag with one value for all samples; the default where it is broken or absent."""
    tag = page.tags.get(number)
    value = tag.value if tag is not None else default
    value = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
    return int(value) if isinstance(value, int) else default
