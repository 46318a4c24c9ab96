"""Micrographs: what a file of planes, channels, times and scenes holds by its own words, and a way to read one plane.

Nothing is chosen or scaled here; that is ``rendering``. Planes, channels, times and scenes count from 1, as microscope
software shows them.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..data.pixels import Unreadable
from ..errors import UserError, first_line, shown
from .channels import Channel


@dataclass(frozen=True)
class Micrograph:
    """One scene of an opened file.

    Attributes
    ----------
    file : str
        Its name, for messages.
    planes, times : int
        Sizes of z and t.
    channels : tuple of Channel
        One where the samples of a pixel are its red, green and blue.
    height, width : int
    dtype : numpy.dtype
        Of the values, as stored.
    bits : int
        Bits per sample, as stored.
    read : callable
        From numbers of channel, plane and time, counted from 0, to values of shape (height, width), or
        (height, width, samples) of a colour.
    is_colour, white_is_zero : bool
    alpha : str
        ``straight`` or ``premultiplied`` where the last sample says how opaque a pixel is; else empty.
    orientation : int
        As in EXIF.
    microns_per_pixel : float or None
        As of ``pixel_size``.
    scene : tuple
        Its number, its name, and how many there are.
    unshown : int
        Samples of a colour without a stated meaning.
    """

    file: str
    planes: int
    times: int
    channels: tuple[Channel, ...]
    height: int
    width: int
    dtype: np.dtype
    bits: int
    read: Callable[[int, int, int], np.ndarray] = field(repr=False)
    is_colour: bool = False
    white_is_zero: bool = False
    alpha: str = ""
    orientation: int = 1
    microns_per_pixel: float | None = None
    scene: tuple[int, str, int] = (1, "", 1)
    unshown: int = 0


def check_size(height: int, width: int) -> None:
    """Refuse a plane of more pixels than a picture may have; raises Unreadable."""
    most = 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
    if height * width > most:
        raise Unreadable(f"its planes have {width:,} × {height:,} pixels, more than {most:,}; cut out what you mean")


def find(what: str, asked: str, names: list[str], *, file: str) -> int:
    """Number, from 0, of the scene or channel that is asked for by its name, or by its number from 1.

    Raises
    ------
    UserError
        If there is none, or two could be meant; names the file and what there is.
    """
    word = asked.strip().casefold()
    named = [at for at, name in enumerate(names) if name.casefold() == word]
    number = int(word) - 1 if re.fullmatch(r"\d{1,9}", word, re.ASCII) else -1
    found = set(named) | ({number} if 0 <= number < len(names) and not named else set())
    if len(found) == 1:
        return found.pop()
    there = ", ".join(f"{at} {shown(name, 40)}".strip() for at, name in enumerate(names[:8], start=1))
    why = f"is the name of {len(named)} of its" if named else "is none of its"
    plural = f"{what}s" if len(names) > 1 else what
    raise UserError(f"'{file}': {what} '{shown(asked, 40)}' {why} {len(names):,} {plural} ({there})")


def choose_scene(scene: str | None, names: list[str], file: str) -> int:
    """Number, from 0, of the scene that is meant; raises UserError where several are there and none is asked for."""
    if len(names) == 1:
        return 0
    if scene is None:
        there = ", ".join(f"{at} {shown(name, 40)}".strip() for at, name in enumerate(names[:6], start=1))
        more = " …" * (len(names) > 6)
        raise UserError(
            f"'{file}' holds {len(names):,} scenes ({there}{more}); say which with --scene N|NAME or a column scene"
        )
    return find("scene", scene, names, file=file)


@contextmanager
def unreadable_as(words: str) -> Iterator[None]:
    """What a library raises on a broken file becomes Unreadable."""
    try:
        yield
    except (Unreadable, UserError, MemoryError):
        raise
    except Exception as error:  # they break in many ways
        raise Unreadable(f"{words} ({first_line(error, 80)})") from error
