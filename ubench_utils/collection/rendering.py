"""Rendering: the rule by which the planes and channels of a micrograph become one 8-bit picture, and the rule in words.

- z: a plane, the middle one (of an even number the lower of two), or the maximum or mean of all; t: one time.
- Range: what the file states (bits per sample, MaxSampleValue, SignificantBits, the bit depth of its metadata). Of
  whole numbers of 16 bits for which it states no less, the smallest of ``DEPTHS`` that holds every such picture of the
  import: one factor for all. Floats, whole numbers of 32 bits and those with a sign state none.
- Channels: one alone is grey. Several are coloured, added, and cut off at white, in the colours that the file states
  where they all differ; else in magenta and green where they are two, which most people who see no red can tell apart,
  and in the order of ImageJ where they are more.
"""

import io
import math
import re

import numpy as np
from PIL import Image

from ..data.pixels import TURNS, Unreadable
from ..errors import UserError, shown
from .channels import COLOURS, Channel, ramp
from .formats import AXES
from .micrographs import Micrograph, find

PROJECTIONS = ("maximum", "mean")
DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras
ENDS = (0.1, 99.9)  # percentiles that become black and white
OF_TWO = ("magenta", "green")

Span = str | tuple[float, float] | None  # None: what the file states


class Unstated(Exception):
    """A picture of 16-bit values whose range nothing states; ``largest`` is the largest of them."""

    def __init__(self, largest: int):
        super().__init__(largest)
        self.largest = largest


def read_range(text: str | None) -> Span:
    """The option ``--range``: ``type``, ``percentiles``, or two values ``LOW:HIGH``; raises UserError on others."""
    if text in (None, "type", "percentiles"):
        return text
    low, colon, high = str(text).partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not (colon and math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise UserError(
            f"--range '{shown(text, 40)}': write type, percentiles, or the values that become black and white, say "
            "--range 0:4095 (with a minus before the first: --range=-100:1000)"
        )
    return ends


def chosen(found: Micrograph, asked: dict[str, str]) -> tuple[int | str, int, list[int]]:
    """What of a micrograph is shown: its plane or projection, its time, and its channels, counted from 0.

    Parameters
    ----------
    asked : dict of str to str
        Any of ``formats.AXES``, as a person writes it.

    Raises
    ------
    UserError
        If it is not clear, or not there; names the file, what it holds, and the options.
    """
    lacking = []
    if found.planes > 1 and not asked.get("z"):
        lacking.append((f"{found.planes:,} planes (z)", "--z N|middle|maximum|mean"))
    if found.times > 1 and not asked.get("t"):
        lacking.append((f"{found.times:,} times (t)", "--t N"))
    if len(found.channels) > len(COLOURS) and not asked.get("channel"):
        lacking.append((f"{len(found.channels):,} channels", "--channel N|NAME"))
    if lacking:
        held, options = (" and ".join(words) for words in zip(*lacking, strict=True))
        axes = ", ".join(option.split()[0].removeprefix("--") for _, option in lacking)
        raise UserError(
            f"'{found.file}' holds {held}; say what is meant with {options}, or in the table (columns: {axes})"
        )
    z: int | str = 0
    if (word := asked.get("z")) and found.planes > 1:
        z = word.strip().casefold()
        z = (found.planes - 1) // 2 if z == "middle" else z
        if z not in PROJECTIONS and not isinstance(z, int):
            z = _numbered("z", word, found.planes, found.file, ", middle, maximum or mean")
    t = _numbered("t", asked["t"], found.times, found.file) if asked.get("t") and found.times > 1 else 0
    if asked.get("channel") and len(found.channels) > 1:
        names = [channel.name for channel in found.channels]
        return z, t, [find("channel", asked["channel"], names, file=found.file)]
    return z, t, list(range(len(found.channels)))


def idle(asked: dict[str, str], found: Micrograph | None) -> list[str]:
    """Axes along which something else is asked of a file than the one thing that it has.

    ``found`` is None for a file that is one picture. A channel or scene with a name counts as having that name.
    """
    sizes = dict.fromkeys(AXES, 1)
    names = dict.fromkeys(AXES, "")
    if found is not None:
        sizes = {"z": found.planes, "t": found.times, "channel": len(found.channels), "scene": found.scene[2]}
        names |= {"channel": found.channels[0].name, "scene": found.scene[1]}
    same = {axis: {"1", names[axis].casefold(), *((*PROJECTIONS, "middle") if axis == "z" else ())} for axis in AXES}
    return [axis for axis, word in asked.items() if sizes[axis] == 1 and word.strip().casefold() not in same[axis]]


def _numbered(axis: str, word: str, n: int, file: str, others: str = "") -> int:
    if not re.fullmatch(r"\d{1,9}", word.strip(), re.ASCII) or not 1 <= int(word) <= n:
        raise UserError(f"'{file}': {axis} '{shown(word, 40)}' is none of 1 to {n:,}{others}")
    return int(word) - 1


def render(
    found: Micrograph, asked: dict[str, str], span: Span = None, assumed: int | None = None
) -> tuple[Image.Image, str]:
    """One 8-bit picture of a micrograph, and the rule by which it was made.

    Parameters
    ----------
    asked : dict of str to str
        As for ``chosen``.
    span : str, tuple of float or None
        From ``read_range``.
    assumed : int, optional
        Bits of the values of 16 bits whose range nothing states.

    Returns
    -------
    picture : PIL.Image.Image
        Mode L of one channel, else RGB.
    rule : str
        Equal for pictures that were made alike.

    Raises
    ------
    Unstated
        If ``assumed`` is needed and absent.
    Unreadable
        If values are no finite numbers, above what the file states, or all alike where percentiles spread them.
    UserError
        As ``chosen``, or if nothing states a range; says which values there are.
    """
    z, t, shown_channels = chosen(found, asked)
    channels = [found.channels[at] for at in shown_channels]
    tables = colours_of(channels)
    opaque, ranges = None, []
    added = np.zeros(1, np.uint16)
    for at, channel, (_, table) in zip(shown_channels, channels, tables, strict=True):
        values, opaque = _parted(_projected(found, z, t, at), found)
        visible = values if opaque is None or not opaque.any() else values[opaque > 0]
        low, high, told = ends_of(visible, channel, span, assumed, dtype=found.dtype, bits=found.bits, file=found.file)
        ranges.append(told)
        levels = scaled(values, low, high)
        levels = 255 - levels if found.white_is_zero else levels
        coloured = levels if table is None else table[levels]
        added = coloured.astype(np.uint16) + added
    array = np.minimum(added, 255).astype(np.uint8)
    if opaque is not None:
        array = _on_white(array, opaque, found)
    image = Image.fromarray(array)
    image = image.transpose(TURNS[found.orientation]) if found.orientation in TURNS else image
    return image, _rule(found, z, t, shown_channels, tables, ranges)


def _projected(found: Micrograph, z: int | str, t: int, channel: int) -> np.ndarray:
    """Values of one channel; of a projection two planes are in memory at a time."""
    planes = range(found.planes) if isinstance(z, str) else [z]
    total: np.ndarray | None = None
    for plane in planes:
        values = found.read(channel, plane, t)
        if values.dtype.kind not in "uif":
            raise Unreadable(f"its values are {values.dtype}, which are no levels of light")
        if values.dtype.kind == "f" and (n := int(values.size - np.isfinite(values).sum())):
            raise Unreadable(f"{n:,} of its values are no finite numbers (NaN, infinity)")
        if total is None:
            total = values.astype(np.float64 if z == "mean" else values.dtype)  # a copy
        elif z == "mean":
            total += values
        else:
            total = (np.minimum if found.white_is_zero else np.maximum)(total, values, out=total)
    assert total is not None  # there is a plane
    return total / len(planes) if z == "mean" else total


def _parted(values: np.ndarray, found: Micrograph) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours or grey, and how opaque pixels are where the file says so; further samples have no meaning."""
    opaque = values[..., -1] if found.alpha else None
    if found.is_colour:
        return values[..., :3], opaque
    return (values[..., 0] if found.alpha else values), opaque


def ends_of(
    values: np.ndarray, channel: Channel, span: Span, assumed: int | None, *, dtype: np.dtype, bits: int, file: str
) -> tuple[float, float, str]:
    """The values that become black and white, and the rule in words.

    Parameters
    ----------
    values : numpy.ndarray
        Of visible pixels, of one channel.
    dtype, bits
        Of the values as stored, and bits per sample.

    Raises
    ------
    Unstated, Unreadable, UserError
        As ``render``.
    """
    if isinstance(span, tuple):
        return *span, f"{span[0]:,g}…{span[1]:,g} → 0…255 (as asked)"
    if span == "percentiles":
        low, high = np.percentile(values, ENDS)
        if low == high:
            raise Unreadable(f"almost all of its values are {low:g}, which percentiles cannot spread")
        return low, high, f"percentiles {ENDS[0]} and {ENDS[1]} of each picture and channel → 0…255"
    if span == "type" and dtype.kind in "ui":
        low, high = (0, 2**bits - 1) if dtype.kind == "u" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return low, high, f"{low:,}…{high:,} → 0…255 (range of the data type)"
    if channel.top is not None:
        if values.max() > channel.top:
            raise Unreadable(f"it holds values up to {values.max():,g}, but states a maximum of {channel.top:,}")
        return 0, channel.top, f"0…{channel.top:,} → 0…255 ({channel.stated})"
    if dtype.kind == "u" and bits == 16:
        if assumed is None:
            raise Unstated(math.ceil(values.max()))
        return 0, 2**assumed - 1, f"0…{2**assumed - 1:,} → 0…255 ({assumed} bits, assumed)"
    kind = {"f": "floats", "i": "whole numbers with a sign", "u": f"whole numbers of {bits} bits"}[dtype.kind]
    raise UserError(
        f"'{file}' holds {kind}, here from {values.min():,g} to {values.max():,g}, and no range is stated; state the "
        "values that become black and white with --range LOW:HIGH, or --range percentiles"
    )


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Levels from 0 to 255, uint8 of the same shape; what lies outside is cut off."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return scaled(np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64), low, high)[values]
    return np.clip(np.rint((values.astype(np.float64) - low) / ((high - low) / 255)), 0, 255).astype(np.uint8)


def colours_of(channels: list[Channel]) -> list[tuple[str, np.ndarray | None]]:
    """Name and table of the colour of each channel that is shown; one alone has none, and is grey."""
    if len(channels) == 1:
        return [("", None)]
    stated = [channel.colours for channel in channels if channel.colours is not None]
    if len({table.tobytes() for table in stated}) == len(channels):
        return [(_colour_name(table), table) for table in stated]
    order = OF_TWO if len(channels) == 2 else tuple(COLOURS)
    return [(name, ramp(COLOURS[name])) for name in order[: len(channels)]]


def _colour_name(table: np.ndarray) -> str:
    brightest = (int(table[-1, 0]), int(table[-1, 1]), int(table[-1, 2]))
    if not np.array_equal(table, ramp(brightest)):
        return "in a table of colours of its own"
    known = {colour: name for name, colour in COLOURS.items()}
    return known.get(brightest, "#{:02x}{:02x}{:02x}".format(*brightest))


def _on_white(array: np.ndarray, opaque: np.ndarray, found: Micrograph) -> np.ndarray:
    """Lay a picture on white where it is transparent, as ``pixels`` does."""
    share = opaque.astype(np.float64) / (2**found.bits - 1 if found.dtype.kind == "u" else 1.0)
    share = share[..., None] if array.ndim == 3 else share
    own = array if found.alpha == "premultiplied" else array * share
    return np.clip(np.rint(own + 255 * (1 - share)), 0, 255).astype(np.uint8)


def _rule(found: Micrograph, z: int | str, t: int, channels: list[int], tables: list, ranges: list[str]) -> str:
    """The rule in words."""
    told = []
    if found.scene[2] > 1:
        told.append(f"scene {found.scene[0]} of {found.scene[2]}")
    if found.planes > 1:
        plane = f"{z} of {found.planes:,} planes" if isinstance(z, str) else f"plane {z + 1:,} of {found.planes:,}"
        told.append(f"z: {plane}")
    if found.times > 1:
        told.append(f"t: {t + 1:,} of {found.times:,}")
    names = [f"{found.channels[at].name or f'channel {at + 1}'}" for at in channels]
    if len(channels) > 1:
        told.append(", ".join(f"{name} {colour}" for name, (colour, _) in zip(names, tables, strict=True)))
    elif len(found.channels) > 1:
        told.append(f"{names[0]} alone")
    told.append(", ".join(dict.fromkeys(ranges)))
    told += [f"{found.unshown} samples without a stated meaning are not shown"] * (found.unshown > 0)
    told += ["white is zero"] * found.white_is_zero + ["transparent pixels on white"] * bool(found.alpha)
    return "; ".join([*told, *["turned as the file says"] * (found.orientation in TURNS)])


def as_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG, in grey where it has no colour."""
    first, *others = image.split()
    if all(other.tobytes() == first.tobytes() for other in others):
        image = first
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
