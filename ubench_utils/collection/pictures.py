"""Pictures of files: the file's own bytes where ``data.pixels`` reads them, else a rendering, with its rule."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data import pixels
from ..errors import UserError, shown
from .channels import Channel
from .formats import AXES, MICROSCOPES
from .micrographs import Micrograph
from .rendering import DEPTHS, Span, Unstated, as_png, ends_of, idle, render
from .tiffs import open_tiff

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG = b"\x89PNG"


@dataclass(frozen=True)
class Waiting:
    """Bytes that wait in a file until they are written; ``name`` is that of ``pixels.name``."""

    file: Path
    name: str

    def read(self) -> bytes:
        """The bytes; raises UserError where the file is gone or another one now."""
        try:
            content = self.file.read_bytes()
        except OSError as error:
            raise UserError(f"'{self.file}' cannot be read any more ({error.strerror}); import again") from error
        if pixels.name(content) != self.name:
            raise UserError(f"'{self.file}' changed while it was imported; import again")
        return content


@dataclass(frozen=True)
class Picture:
    """An image to be stored.

    Attributes
    ----------
    content : bytes or Waiting
        The file's own, or a PNG of 8 bits.
    found : dict
        As from ``pixels.decode``.
    rendering : str or None
        The rule by which it was made of the file; None of the file's own bytes.
    microns_per_pixel : float or None
        As of ``pixel_size``.
    unused : list of str
        Axes of which something was asked that the file has one of.
    """

    content: bytes | Waiting
    found: dict
    rendering: str | None
    microns_per_pixel: float | None
    unused: list[str]


def image_ids(labels: pd.DataFrame) -> list[str]:
    """A name for each picture: its file, and what is chosen of it where the file is listed several times."""
    axes = [axis for axis in AXES if axis in labels]
    several = labels.file.duplicated(keep=False)
    names = []
    for row, is_several in zip(labels.itertuples(), several, strict=True):
        said = [f"{axis}={getattr(row, axis)}" for axis in axes if pd.notna(getattr(row, axis))]
        names.append(f"{row.file}#{'&'.join(said)}" if is_several and said else row.file)
    return names


def read_pictures(
    folder: str,
    labels: pd.DataFrame,
    *,
    choices: dict[str, str] | None = None,
    span: Span = None,
    pages: str | None = None,
    aside: Path | None = None,
) -> tuple[dict[str, Picture], dict[str, str], list[str]]:
    """Pictures of a folder.

    Parameters
    ----------
    labels : pandas.DataFrame
        From ``read_labels``: ``file``, and any of ``formats.AXES``.
    choices : dict of str to str, optional
        What is shown of all files: any of ``formats.AXES``.
    span : str, tuple of float or None
        From ``rendering.read_range``.
    pages : str, optional
        What pages are of which a TIFF does not say so.
    aside : pathlib.Path, optional
        An empty folder, in which renderings wait, as own bytes do in their files; by default all are held in memory.

    Returns
    -------
    pictures : dict of str to Picture
        By their ``image_ids``.
    failed : dict of str to str
        Reasons why others cannot be read.
    notes : list of str
        What was assumed.

    Raises
    ------
    UserError
        If it is not clear what of a file is meant, or by which range; names the file.
    """
    choices = choices or {}
    for axis in choices:
        if axis in labels:
            raise UserError(f"{axis} is a column of the table and an option (--{axis}) too; say it in one place")
    columns = [axis for axis in AXES if axis in labels]
    wanted = {}
    for name, row in zip(image_ids(labels), labels.to_dict("records"), strict=True):
        own = {axis: re.sub(r"^(\d+)\.0$", r"\1", row[axis]) for axis in columns if pd.notna(row[axis])}
        wanted[name] = row["file"], choices | own  # a column with gaps is written as 1.0
    pictures: dict[str, Picture] = {}
    failed: dict[str, str] = {}
    largest: dict[str, int] = {}

    def read(name: str, assumed: int | None) -> None:
        file, asked = wanted[name]
        path = Path(folder).expanduser() / file
        try:
            picture = _read(path, file, asked, span, pages, assumed)
        except (UserError, Unstated):
            raise
        except Exception as error:  # each is that picture's own
            failed[name] = pixels.reason(error)
            return
        for axis in picture.unused:
            if axis in choices:
                raise UserError(f"'{file}' has one {axis} alone, not --{axis} {shown(asked[axis], 40)}")
        pictures[name] = picture if aside is None else _put_aside(picture, path, aside / f"{len(pictures)}.png")

    for name in wanted:
        try:
            read(name, None)
        except Unstated as unstated:
            largest[name] = unstated.largest
    assumed = next((bits for bits in DEPTHS if max(largest.values(), default=0) < 2**bits), DEPTHS[-1])
    for name in largest:
        read(name, assumed)
    notes = pixels.rendered([pictures[name].rendering if name in pictures else None for name in wanted])
    made = [name for name in largest if name in pictures and pictures[name].rendering]
    if made:
        top = max(made, key=lambda name: largest[name])
        notes.append(
            f"no file states the range of the values of 16 bits in {len(made):,} pictures; {assumed} bits are assumed, "
            f"since the largest value is {largest[top]:,} ({top}); if that is wrong, state it with --range"
        )
    if span == "percentiles":
        notes.append("each picture is spread by itself (--range percentiles): brightness cannot be compared")
    oblong = sum(one.microns_per_pixel is not None and math.isnan(one.microns_per_pixel) for one in pictures.values())
    if oblong:
        notes.append(f"the pixels of {oblong:,} pictures are not as wide as high, so that no size of a pixel is stated")
    for axis in columns:
        n = sum(axis in picture.unused for picture in pictures.values())
        if n:
            notes.append(f"the column {axis} says nothing of {n:,} pictures, whose files have one of it")
    ordered = {name: pictures[name] for name in wanted if name in pictures}
    return ordered, failed, notes


def _put_aside(picture: Picture, own: Path, rendered: Path) -> Picture:
    """The picture with its content left in its own file, or in one for its rendering."""
    content = picture.content
    assert isinstance(content, bytes)
    if picture.rendering is None:
        return replace(picture, content=Waiting(own, pixels.name(content)))
    rendered.write_bytes(content)
    return replace(picture, content=Waiting(rendered, pixels.name(content)))


def _read(path: Path, file: str, asked: dict, span: Span, pages: str | None, assumed: int | None) -> Picture:
    """Read one picture; raises as ``pixels.decode`` and ``render``."""
    if path.suffix.lower() in MICROSCOPES:
        from .microscopes import open_microscope

        with open_microscope(path, file, scene=asked.get("scene")) as found:
            return _rendered(found, asked, span, assumed)
    with open(path, "rb") as stream:
        start = stream.read(4)
    if start not in TIFF:
        return _still(path.read_bytes(), file, asked, span, assumed)
    with open_tiff(path, file, scene=asked.get("scene"), pages=pages) as found:
        several = found.planes > 1 or found.times > 1 or len(found.channels) > 1 or found.scene[2] > 1
        own = None if several or span else _own(path.read_bytes(), found, asked, assumed)
        return own or _rendered(found, asked, span, assumed)


def _own(content: bytes, found: Micrograph, asked: dict, assumed: int | None) -> Picture | None:
    """A TIFF's own bytes, where they can be read and their range is the one that the file states."""
    try:
        facts = pixels.decode(content).info["found"]
    except pixels.Unreadable:
        return None
    if facts["bits"] == 16 and facts["top"] == 2**16 - 1 and assumed != 16:
        return None
    return Picture(content, facts, None, found.microns_per_pixel, idle(asked, found))


def _rendered(found: Micrograph, asked: dict, span: Span, assumed: int | None) -> Picture:
    image, rule = render(found, asked, span, assumed)
    content = as_png(image)
    return Picture(content, pixels.decode(content).info["found"], rule, found.microns_per_pixel, idle(asked, found))


def _still(content: bytes, file: str, asked: dict, span: Span, assumed: int | None) -> Picture:
    """One picture by ``pixels``, with another range where that is asked for or a PNG of 16 bits states none."""
    told: list[str] = []

    def limits(values: np.ndarray, bits: int) -> tuple[float, float] | None:
        top = 2**bits - 1
        is_open = bits == 16 and content.startswith(PNG)  # the other formats state a maximum
        channel = Channel(top=None if is_open else top, stated=f"{bits} bits per sample")
        low, high, rule = ends_of(values, channel, span, assumed, dtype=values.dtype, bits=bits, file=file)
        if (low, high) == (0, top):
            return None
        told.append(rule)
        return low, high

    image = pixels.decode(content, limits)
    found = image.info["found"]
    if not told:
        return Picture(content, found, None, None, idle(asked, None))
    told += ["transparent pixels on white"] * found["transparent"]
    told += ["turned as the file says"] * (found["orientation"] > 1)
    content = as_png(image)
    return Picture(content, pixels.decode(content).info["found"], "; ".join(told), None, idle(asked, None))
