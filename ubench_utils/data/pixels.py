"""Pixels: the one rule by which an image file becomes 8-bit RGB, and what the file was found to be.

The rule follows what a file says of itself, and refuses where that is not enough:

- Formats: those of ``FORMATS``, known by their first bytes. No other plugin of Pillow is tried; some start programs.
- Depth: 8 bits stay. Values of 16 bits are scaled linearly from the range that the file states to 0…255. That is the
  range of its bits per sample, unless a TIFF names a maximum of a whole number of bits (MaxSampleValue or
  SMaxSampleValue, say 4,095) or its OME-XML SignificantBits. PNG's sBIT says which leading bits count, so it moves no
  range.
  Floats, whole numbers of 32 bits and numbers with a sign have no stated range and are refused.
- White-is-zero is turned over, at every depth.
- Transparent pixels, by alpha, palette or a transparent colour, are laid on white, as a page shows them: what a file
  hides under them never counts.
- Orientation, in EXIF or what stands for it, turns the picture once; a tag that cannot be read turns nothing.
- A file of several pages or frames is refused, since nothing says which is meant. Reduced copies are no pages: a TIFF
  with one page that is not marked as reduced is read by that page, and a camera's MPO by its picture where the others
  are previews or of no stated kind (gain maps). A stack within one page, as ImageJ writes a large one, is refused too.
- Colour profiles are not applied. CMYK and YCbCr are converted by Pillow's formulas, CIE L*a*b* is refused.
"""

import hashlib
import io
import re
import struct
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image, ImageFile, UnidentifiedImageError, features

from ..errors import first_line
from .planes import several, tags_of, whole_pages

RULE = 2  # raise it when the same file gives other pixels
FORMATS = {  # and the library that Pillow needs for each
    "PNG": "zlib",
    "JPEG": "jpg",
    "TIFF": "libtiff",
    "WEBP": "webp",
    "BMP": None,
    "GIF": None,
    "PPM": None,
    "JPEG2000": "jpg_2000",
    "AVIF": "avif",
}
BACKGROUND = (255, 255, 255, 255)
NAMED = 2  # examples, or reasons, in a note
REASONS = 5  # why pictures cannot be read, in a note
DIM = 1 / 16  # of the range: what 12 bits fill of 16
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UNUSUAL = {  # what a note says of the pictures of which a fact is above the usual
    "have transparent pixels, which are laid on white": ("transparent", False),
    "are turned or mirrored, as the file says": ("orientation", 1),
    "hold smaller copies of the picture, which are passed over": ("pages", 1),
    "hold samples without a stated meaning, which are not shown": ("unshown", 0),
}
STORE_ONE = "store the plane or projection you mean as a picture of its own, or name it to `ubench import`"
ORIENTATION = 274  # number of the tag in EXIF and TIFF
TURNED_PNG = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")  # where a PNG may state its orientation
# What Pillow raises on broken bytes. Anything else (memory, threads, a missing library) is no fact of the picture.
BROKEN = (
    *(OSError, RuntimeError, SyntaxError, ValueError, LookupError, ArithmeticError, EOFError, TypeError, struct.error),
    Image.DecompressionBombError,
)
PASSING = "memory|thread|not available|not installed"  # in a message: not the file's fault


class Unreadable(ValueError):
    """What is wrong with an image file: a fact of its bytes, the same whenever they are read by this decoder."""


def decoder() -> dict:
    """What determines the pixels beside the bytes of a file: a part of the key of all that is made from them."""
    return {
        "rule": RULE,
        "pillow": PIL.__version__,
        **{library: features.version(library) for library in FORMATS.values() if library},
        "largest": Image.MAX_IMAGE_PIXELS,
        "truncated": ImageFile.LOAD_TRUNCATED_IMAGES,
    }


def decode(
    encoded: bytes, limits: Callable[[np.ndarray, int], tuple[float, float] | None] | None = None
) -> Image.Image:
    """Decode an image file to 8-bit RGB by the rule of this module.

    Parameters
    ----------
    encoded : bytes
        A whole file.
    limits : callable, optional
        From the values of visible pixels (white-is-zero turned over) and bits per sample to the two values that
        become black and white, where not the range that the file states; None leaves it at that.

    Returns
    -------
    PIL.Image.Image
        Mode RGB. ``info["found"]`` says what the file was found to be: ``format`` and ``mode`` (Pillow's names),
        ``bits`` per sample, ``low, high`` (smallest and largest value of a visible pixel) of 0…``top``, ``pages``,
        ``transparent`` (whether a pixel is), ``orientation`` (1 to 8), ``unshown`` (samples without a stated meaning),
        ``width, height`` as shown.

    Raises
    ------
    Unreadable
        If the file is broken, or of a kind that the rule refuses. Other errors (too little memory, a library that
        Pillow lacks) say nothing about the file and pass through.
    """
    return _checked(lambda content: _decoded(content, limits), encoded)


def size(encoded: bytes) -> tuple[int, int]:
    """Width and height of an image file as shown, from its header; raises as ``decode`` does."""
    return _checked(_size, encoded)


def name(encoded: bytes) -> str:
    """Name of an image by its bytes: 32 hex digits of their SHA-256."""
    return hashlib.sha256(encoded).hexdigest()[:32]


def reason(error: Exception) -> str:
    """Why an image could not be read, in words."""
    return str(error) if isinstance(error, Unreadable) else first_line(error, 120)


def _checked(read, encoded: bytes):
    """Call ``read`` with the bytes of a file; what Pillow raises on broken ones becomes ``Unreadable``."""
    try:
        return read(encoded)
    except Unreadable:
        raise
    except UnidentifiedImageError as error:
        lacking = [format_ for format_ in FORMATS if not _readable(format_)]
        if lacking:  # the file may be one of them
            raise OSError(f"no image of a known format; this Pillow lacks {', '.join(lacking)}") from error
        if encoded.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            raise Unreadable("a TIFF that is broken or whose kind of pixels Pillow cannot read") from error
        raise Unreadable(f"neither {', '.join(FORMATS)}, or broken from its beginning") from error
    except BROKEN as error:
        if isinstance(error, OSError | RuntimeError) and (
            getattr(error, "errno", None) or re.search(PASSING, str(error), re.IGNORECASE)
        ):
            raise
        raise Unreadable(first_line(error, 120)) from error


def _readable(format_: str) -> bool:
    library = FORMATS[format_]
    return format_ in Image.OPEN and (library is None or bool(features.check(library)))


def _open(encoded: bytes) -> ImageFile.ImageFile:
    """An image file opened at its one page, nothing decoded; ``info["pages"]`` counts that page and its copies."""
    Image.init()  # loads every plugin; only those of FORMATS are asked
    formats = [format_ for format_ in FORMATS if format_ in Image.OPEN]
    image = Image.open(io.BytesIO(encoded), formats=formats)
    try:
        whole = whole_pages(image)
    except SyntaxError as error:
        raise Unreadable(f"the file holds several pages, one of a kind that Pillow cannot read; {STORE_ONE}") from error
    n = getattr(image, "n_frames", 1)
    if len(whole) != 1:
        raise Unreadable(f"the file holds {n} {'pages' if image.format == 'TIFF' else 'frames'}; {STORE_ONE}")
    if image.format == "MPO":
        image = Image.open(io.BytesIO(encoded), formats=formats)  # a search that failed leaves traces
    elif image.tell() != whole[0]:
        image.seek(whole[0])
    if image.format == "TIFF":
        _orientation(image)  # Pillow keeps what it found: a broken tag would fail the picture when it is loaded
    if held := several(image, encoded):
        raise Unreadable(f"the file holds {held}; {STORE_ONE}")
    image.info["pages"] = n
    return image


def _size(encoded: bytes) -> tuple[int, int]:
    image = _open(encoded)
    if image.format == "PNG" and not any(key in encoded for key in TURNED_PNG):  # looking for it, Pillow decodes a PNG
        return image.size
    done = tags_of(image).get(ORIENTATION) in range(5, 9)  # by Pillow, as it opens the file
    return image.size[::-1] if _orientation(image) >= 5 and not done else image.size


def _orientation(image: Image.Image) -> int:
    """Orientation that a file states, 1 where it states none or what is none."""
    try:
        found = image.getexif().get(ORIENTATION)
        return int(found) if found in TURNS else 1
    except Exception:  # broken tags break in many ways, and none is worth the picture
        return 1


def _decoded(encoded: bytes, limits) -> Image.Image:
    image = _open(encoded)
    tags = tags_of(image)
    _refuse(image, tags)
    if image.format == "PNG":
        Image.open(io.BytesIO(encoded), formats=["PNG"]).verify()  # decoding alone passes over the checksums
    bits = _bits(image, tags, encoded)
    mode, pages = image.mode, image.info["pages"]  # loading changes them
    turned = _orientation(image) if tags else 1  # by Pillow, as it loads a TIFF
    values = _sixteen(image, encoded)
    if values is None:
        rgb, alpha, top = *_eight(image, bits), 255
    else:
        values, alpha = _parted(image, values)
        top = _top(tags, bits)
        if values.max() > top:
            raise Unreadable(f"it holds values up to {values.max():,}, but states a maximum of {top:,}")
        if image.format == "TIFF" and tags.get(262, 0) == 0:  # white is zero; Pillow turns it over up to 8 bits only
            values = top - values
        levels = (np.arange(top + 1) / (top / 255)).round().astype(np.uint8)
        rgb = Image.fromarray(np.broadcast_to(levels[values], (*values.shape[:2], 3)))
    if alpha is not None and np.asarray(alpha).min() == 255:
        alpha = None
    if limits is not None:
        own = np.asarray(rgb) if values is None else values
        seen = own if alpha is None or not np.asarray(alpha).any() else own[np.asarray(alpha) > 0]
        asked = limits(seen, 8 if values is None else 16)
        if asked is not None:
            levels = (np.arange(top + 1) - asked[0]) / ((asked[1] - asked[0]) / 255)
            levels = np.clip(levels.round(), 0, 255).astype(np.uint8)
            rgb = Image.fromarray(np.broadcast_to(levels[own], (*own.shape[:2], 3)))
    if alpha is not None:
        shown = np.asarray(rgb if values is None else values)[np.asarray(alpha) > 0]
        ends = (shown.min(), shown.max()) if shown.size else (top, top)
        rgb.putalpha(alpha)
        rgb = Image.alpha_composite(Image.new("RGBA", rgb.size, BACKGROUND), rgb).convert("RGB")
    elif values is None:
        bands = np.asarray(rgb.getextrema())
        ends = bands.min(), bands.max()
    else:
        ends = values.min(), values.max()
    if not tags and (turned := _orientation(image)) > 1:
        rgb = rgb.transpose(TURNS[turned])
    found = {
        "format": image.format,
        "mode": mode,
        "bits": bits,
        "pages": pages,
        "unshown": sum(kind == 0 for kind in tags.get(338, ())),
        "transparent": alpha is not None,
        "orientation": turned,
        "low": int(ends[0]),
        "high": int(ends[1]),
        "top": top,
        "width": rgb.width,
        "height": rgb.height,
    }
    rgb.info = {"found": found}
    return rgb


def _refuse(image: Image.Image, tags) -> None:
    """Refuse kinds of number or colour that no rule turns into 0…255."""
    if image.mode == "F":
        raise Unreadable(
            "an image of floats has no stated range; store it with 8 or 16 bits, or name one to `ubench import`"
        )
    if (image.mode == "I" and image.format != "PPM") or 2 in tags.get(339, ()):  # Pillow scales what a PGM states
        raise Unreadable(
            "whole numbers of 32 bits, or with a sign, have no stated range; store 8 or 16 bits without sign, or name "
            "one to `ubench import`"
        )
    if tags and 262 not in tags:
        raise Unreadable("a TIFF that does not say whether zero is black or white (PhotometricInterpretation)")
    if image.mode == "LAB":
        raise Unreadable("its colours are in CIE L*a*b*; store it as RGB")
    plain = set(tags.get(258, (1,))) == {8} and tags.get(262) != 0 and tags.get(266, 1) == 1
    if tags.get(284) == 2 and not plain:
        raise Unreadable("a TIFF with each sample in a plane of its own, which Pillow misreads here; store it as PNG")


def _bits(image: Image.Image, tags, encoded: bytes) -> int:
    """Bits per sample, as stored."""
    if image.format == "PNG":
        return encoded[24]
    if image.format == "TIFF":
        return max(tags.get(258, (1,)))
    return 16 if image.mode.startswith("I") else 1 if image.mode == "1" else 8


def _sixteen(image: ImageFile.ImageFile, encoded: bytes) -> np.ndarray | None:
    """Samples of 16 bits, uint16 of shape (height, width, samples); None where the file has others.

    Of colours Pillow keeps the high bytes alone. Unpacked once more as if in the other order of bytes, it keeps the low
    ones.
    """
    if image.mode.startswith("I"):
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    packing = image.tile[0].args if image.tile else ""
    packing = packing[0] if isinstance(packing, tuple) else packing
    if packing == "LA;16B":  # four bytes a pixel, as RGBA has
        _repack(image, "RGBA")
        return np.asarray(image).view(">u2").astype(np.uint16)
    if packing not in [f"{colours};16{order}" for colours in ("RGB", "RGBX", "RGBA") for order in "BLN"]:
        return None
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[packing[-1]]
    low = _repack(_open(encoded), packing[:-1] + order)
    image.load()
    return np.asarray(image).astype(np.uint16) << 8 | np.asarray(low)


def _repack(image: ImageFile.ImageFile, packing: str) -> ImageFile.ImageFile:
    """Load an opened image with another order of the bytes in its pixels."""
    args = [(packing, *tile.args[1:]) if isinstance(tile.args, tuple) else packing for tile in image.tile]
    image.tile = [tile._replace(args=one) for tile, one in zip(image.tile, args, strict=True)]
    image.load()
    return image


def _parted(image: Image.Image, values: np.ndarray) -> tuple[np.ndarray, Image.Image | None]:
    """Colours, and how opaque they are (8 bits) where the file says so."""
    if values.shape[-1] in (2, 4):
        alpha = (values[..., -1] / 257).round().astype(np.uint8)
        return values[..., :-1], Image.fromarray(alpha)
    clear = image.info.get("transparency")
    if clear is None:
        return values, None
    return values, Image.fromarray(np.where((values == clear).all(axis=-1), 0, 255).astype(np.uint8))


def _eight(image: Image.Image, bits: int) -> tuple[Image.Image, Image.Image | None]:
    """RGB and, where the file has transparency, how opaque each pixel is."""
    image.load()
    if not image.has_transparency_data:
        return image.convert("RGB"), None
    if image.format == "PNG" and image.mode == "L" and bits < 8:  # Pillow scales the pixels but not the clear value
        image.info["transparency"] *= 255 // (2**bits - 1)
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return rgba.convert("RGB"), rgba.getchannel("A")


def _top(tags, bits: int) -> int:
    """Largest value that samples of 16 bits can take by what their file states."""
    full = 2 ** (bits if tags else 16) - 1
    stated = [tags.get(281), tags.get(341)]  # MaxSampleValue, SMaxSampleValue
    used = re.search(r"\bSignificantBits=\"(\d{1,2})\"", str(tags.get(270, "")))  # ImageDescription
    for value in [*stated, 2 ** int(used[1]) - 1 if used else None]:
        value = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        if isinstance(value, int) and 0 < value < full and value & (value + 1) == 0:  # all of k bits; else a statistic
            return value
    return full


def rendered(rules: list[str | None]) -> list[str]:
    """A note on how many images are not the files' own, with the commonest of the rules by which they were made."""
    counts = Counter(rule for rule in rules if rule)
    if not counts:
        return []
    commonest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    told = "; ".join(f"{n:,} × [{rule}]" for rule, n in commonest[:NAMED])
    others = f"; {len(counts) - NAMED:,} more rules" * (len(counts) > NAMED)
    return [f"{sum(counts.values()):,} of {len(rules):,} images were made from their files by a rule: {told}{others}"]


def notes(found: dict, failed: dict) -> list[str]:
    """What a reader has to know about the pictures of a dataset, each note with a count.

    Parameters
    ----------
    found : dict
        Name of each picture that could be read, and its ``info["found"]`` as from ``decode``.
    failed : dict
        Name of each that could not, and the reason.
    """
    narrow = [name for name, facts in found.items() if facts["high"] - facts["low"] < DIM * facts["top"]]
    dark = sum(found[name]["high"] < DIM * found[name]["top"] for name in narrow)
    kinds = {
        f"use less than 1/16 of their range, {dark:,} of them near black; unless that is meant, name their range to "
        "`ubench import --range`, or store them scaled to 8 bits or as TIFF that states it in MaxSampleValue": narrow,
    }
    for what, (fact, usual) in UNUSUAL.items():
        kinds[what] = [name for name in found if found[name][fact] > usual]
    singular = {"use": "uses", "have": "has", "are": "is", "hold": "holds"}
    of, lines = len(found) + len(failed), []
    for what, names in kinds.items():
        verb, _, rest = what.partition(" ")
        verb = singular[verb] if len(names) == 1 else verb
        if names:
            lines.append(f"{len(names):,} of {of:,} images {verb} {rest} ({_examples(names)})")
    if failed:
        counts = sorted(Counter(failed.values()).items(), key=lambda pair: (-pair[1], pair[0]))
        told = [
            f"{n:,} × {what} ({_examples([name for name, why in failed.items() if why == what])})"
            for what, n in counts[:REASONS]
        ]
        more = len(counts) - REASONS
        others = f"; {more:,} more reason{'s' * (more > 1)}" * (more > 0)
        lines.append(
            f"{len(failed):,} of {of:,} images cannot be read and count for nothing: {'; '.join(told)}{others}"
        )
    return lines


def _examples(names: list[str]) -> str:
    return f"{', '.join(names[:NAMED])}{' …' * (len(names) > NAMED)}"
