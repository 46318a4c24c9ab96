"""TIFFs of microscopes, read plane by plane: OME-TIFF, ImageJ's hyperstacks, slides, and pages that say nothing."""

import logging
import math
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

from ..data.pixels import Unreadable
from ..errors import UserError
from .channels import channels_of, tag_of
from .formats import PAGES
from .micrographs import Micrograph, check_size, choose_scene, unreadable_as
from .pixel_size import pixel_size

SLIDES = ("svs", "ndpi", "scn", "bif", "qpi", "philips", "avs")  # kinds of series of scanners of slides
BESIDE = ("thumbnail", "label", "macro", "overview", "map")  # pictures of the glass, which such scanners add
LARGEST = 2**32  # bytes of a page, all its samples and planes
READ = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
# What tifffile says of a list of pages, or a tag that decides on their meaning, that is not in the file.
CUT = (
    r"invalid (page )?offset|corrupted tag list|circular reference|incorrect (Strip|Tile)(ByteCounts|Offsets) count|"
    r"TiffTag (254|262|270|281|282|283|296|341) .*invalid value offset"
)


@contextmanager
def open_tiff(path: Path, file: str, *, scene: str | None = None, pages: str | None = None) -> Iterator[Micrograph]:
    """Open a TIFF of any kind that ``tifffile`` knows, among them OME-TIFF, ImageJ's hyperstacks and slides.

    Parameters
    ----------
    path : Path
    file : str
        Its name, for messages.
    scene : str, optional
        Name or number of one of several images.
    pages : str, optional
        Which of ``formats.PAGES`` the pages are, where the file does not say so.

    Raises
    ------
    Unreadable
        If it is broken or of a kind that has no meaning here.
    UserError
        If it holds several scenes, or pages without a meaning, and nothing says what is meant.

    References
    ----------
    TIFF 6.0 (1992). OME data model, June 2016.
    """
    with _heard() as said, ExitStack() as stack:
        with unreadable_as("a TIFF that is broken"):
            tif = stack.enter_context(TiffFile(path, _multifile=False))
            _check_chain(tif)
        with unreadable_as("a TIFF whose pages cannot be listed"):
            series = [
                (number, one)
                for number, one in enumerate(tif.series)
                if not one.keyframe.is_reduced and not (one.kind in SLIDES and one.name.lower() in BESIDE)
            ]
        if not series:
            raise Unreadable("a TIFF without a page")
        if any(re.search(CUT, words) for words in said):
            raise Unreadable("a TIFF that is cut off or broken: pages, or what tags say of them, are not in the file")
        at = choose_scene(scene, [one.name for _, one in series], file)
        number, own = series[at]
        if tif.is_ome and own.kind != "ome" and len(own) > 1:
            raise Unreadable("its OME-XML does not fit its pages, or names pages in other files; save it as one file")
        stated = _ome(tif, len(tif.series)).get(number) if own.kind == "ome" else None
        with unreadable_as("a TIFF that is broken"):
            found = _described(tif, own, file, stated, pages, (at + 1, own.name, len(series)))
        yield found


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What tifffile would print while a file is open."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)


def _check_chain(tif: TiffFile) -> None:
    """Refuse a list of pages that comes back to a page: it would be followed for ever."""
    form, file, seen = tif.tiff, tif.filehandle, set()
    offset = tif.pages.first.offset
    while offset and offset not in seen:
        seen.add(offset)
        file.seek(offset)
        (n,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        file.seek(offset + form.tagnosize + n * form.tagsize)
        (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if offset:
        raise Unreadable("a TIFF whose list of pages comes back to a page")


def _ome(tif: TiffFile, n: int) -> dict[int, ElementTree.Element]:
    """The ``Pixels`` of each image of OME-XML, by its number, where there are as many as the file holds."""
    try:
        found = ElementTree.fromstring((tif.ome_metadata or "").encode()).findall("{*}Image/{*}Pixels")
    except ElementTree.ParseError:
        return {}
    return dict(enumerate(found)) if len(found) == n else {}


def _described(tif: TiffFile, series, file: str, stated, pages: str | None, scene: tuple) -> Micrograph:
    page = series.keyframe
    axes = list(zip(series.axes, series.shape, strict=True))
    sizes = dict(axes)
    check_size(sizes["Y"], sizes["X"])
    if page.nbytes > LARGEST:
        raise Unreadable(
            f"one page of it is {page.nbytes / 2**30:,.0f} GiB, more than is read at once; save it in parts"
        )
    colour, refused = _colour(page)
    nameless = [n for letter, n in axes if letter in "IQ" and n > 1]
    if nameless:
        sizes |= _named(nameless, sizes, file, pages)
    if series.transform is not None:
        raise Unreadable("its values are stored as roots or logarithms of what was measured; save them plain")
    unknown = [f"{n:,} along {letter}" for letter, n in sizes.items() if letter not in "TZCYXSIQ" and n > 1]
    if unknown:
        raise Unreadable(f"it holds axes that no option chooses from ({', '.join(unknown)}); save the part you mean")
    samples, n_channels = sizes.get("S", 1), sizes.get("C", 1)
    alpha = _alpha(page)
    colour = colour and (samples > 1 or page.photometric == PHOTOMETRIC.PALETTE)  # else its channels are the colours
    apart = not colour and not refused and samples - bool(alpha) > 1  # samples that are channels
    if apart and n_channels > 1:
        raise Unreadable(f"it holds {n_channels:,} channels of {samples:,} samples each, which have no stated meaning")
    n_channels = samples - bool(alpha) if apart else n_channels
    if math.prod(sizes.values()) == math.prod(page.shape) and _is_cut(tif, page):
        raise Unreadable("a stack that ends before all planes that it names")
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    if page.photometric == PHOTOMETRIC.PALETTE:
        bits = 16 if page.colormap.max() > 255 else 8
    return Micrograph(
        file=file,
        planes=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=channels_of(tif, page, n_channels, bits, stated),
        height=sizes["Y"],
        width=sizes["X"],
        dtype=np.dtype(f"u{bits // 8}") if page.photometric == PHOTOMETRIC.PALETTE else series.dtype,
        bits=bits,
        read=_refuser(refused) if refused else _reader(tif, series, pages, apart),
        is_colour=colour,
        white_is_zero=page.photometric == PHOTOMETRIC.MINISWHITE,
        alpha=alpha,
        orientation=tag_of(page, 274) or 1,
        microns_per_pixel=pixel_size(tif, page, stated),
        scene=scene,
        unshown=max(0, samples - 3 - bool(alpha)) if colour else 0,
    )


def _colour(page) -> tuple[bool, str]:
    """Whether the samples of a pixel are its red, green and blue, and why it is not read where they are no grey."""
    if 262 not in page.tags:
        return False, "a TIFF that does not say whether zero is black or white (PhotometricInterpretation)"
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG:
        return True, ""  # tifffile gives red, green and blue
    if page.photometric not in READ:
        return False, f"its colours are {getattr(page.photometric, 'name', page.photometric)}; store it as RGB"
    return page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE), ""


def _refuser(why: str) -> Callable[[int, int, int], np.ndarray]:
    """A reader that raises Unreadable: ``data.pixels`` may know what has no meaning here."""

    def read(channel: int, plane: int, time: int) -> np.ndarray:
        raise Unreadable(why)

    return read


def _named(nameless: list[int], sizes: dict[str, int], file: str, pages: str | None) -> dict[str, int]:
    """Size of pages without a name, along the axis that they are said to be."""
    if pages is None:
        raise UserError(
            f"'{file}' holds {math.prod(nameless):,} pages and does not say what they are; say it with --pages z, "
            "--pages t or --pages channel"
        )
    if len(nameless) > 1 or sizes.get(PAGES[pages], 1) > 1:
        raise Unreadable("it holds pages along two axes without a name; save it as OME-TIFF or from ImageJ")
    return {PAGES[pages]: nameless[0]}


def _reader(tif: TiffFile, series, pages: str | None, apart: bool) -> Callable[[int, int, int], np.ndarray]:
    """A function that reads the plane of a channel, a plane and a time, and nothing else from the file."""
    page, axes, shape = series.keyframe, series.axes, series.shape
    nameless = PAGES.get(pages or "", "")
    n_pages = math.prod(shape) // math.prod(page.shape)
    before = next(at for at in range(len(shape)) if math.prod(shape[:at]) == n_pages)
    has_samples = dict(zip(axes, shape, strict=True)).get("S", 1) > 1
    letters = page.axes if has_samples else page.axes.replace("S", "C")  # Bio-Formats lists samples as channels

    def read(channel: int, plane: int, time: int) -> np.ndarray:
        at = {"Z": plane, "T": time, "C": 0 if apart else channel}
        at |= {letter: at.get(nameless, 0) for letter in "IQ"}
        leading = [min(at.get(letter, 0), n - 1) for letter, n in zip(axes[:before], shape[:before], strict=True)]
        values = _page(tif, series, int(np.ravel_multi_index(leading, shape[:before])) if before else 0)
        if page.photometric == PHOTOMETRIC.PALETTE:
            return page.colormap.T.astype(np.uint16 if page.colormap.max() > 255 else np.uint8)[values]
        for letter in (letter for letter in letters if letter not in "YXS"):
            values = values.take(min(at.get(letter, 0), len(values) - 1), axis=0)  # they come before y and x
        if not has_samples:
            return values
        values = np.moveaxis(values, 0, -1) if letters[-1] == "X" else values
        return values[..., [channel, -1] if _alpha(page) else channel] if apart else values

    return read


def _is_cut(tif: TiffFile, page) -> bool:
    """Whether one page says that planes follow its own, and more than one but not all of them do.

    The words alone, with one plane, are what a program leaves that saved a plane of a stack.
    """
    if not re.match(r'ImageJ=.*\bimages=\d|\{"shape": \[', page.description, re.DOTALL) or not page.is_contiguous:
        return False
    start = page.dataoffsets[0]
    end = page.offset if page.offset > start else tif.filehandle.size
    return end - start >= 2 * page.nbytes


def _alpha(page) -> str:
    """How the last sample of a pixel says how opaque it is; empty where it does not."""
    return {1: "premultiplied", 2: "straight"}.get(int(page.extrasamples[-1]), "") if page.extrasamples else ""


def _page(tif: TiffFile, series, number: int) -> np.ndarray:
    page, start = series.keyframe, series.dataoffset
    with unreadable_as("its pixels cannot be read"):
        if start is not None:  # planes one after the other, as of a large stack of ImageJ, which lists one page
            dtype = np.dtype(f"{tif.byteorder}{series.dtype.char}")
            n = math.prod(page.shape)
            found = tif.filehandle.read_array(dtype, n, start + number * n * dtype.itemsize)
            values = found.reshape(page.shape)
        else:
            own = series[number] if number < len(series) else None
            if own is None:
                raise Unreadable(f"plane {number + 1:,} of those that it names is not in the file")
            for offset, length in zip(own.dataoffsets, own.databytecounts, strict=True):
                if not offset or not length or offset + length > tif.filehandle.size:
                    raise Unreadable("it ends before its pixels do, or lacks some of them")
            values = own.asarray()
    return (
        values.astype(np.uint8) if values.dtype == bool else values.astype(values.dtype.newbyteorder("="), copy=False)
    )
