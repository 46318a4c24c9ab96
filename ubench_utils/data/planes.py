"""Whether an image file holds one picture: pages, reduced copies of it, and stacks that are one page by their list."""

import math
import re

from PIL import Image, ImageFile

# Numbers of tags of TIFF.
SUBFILE, OLD_SUBFILE, SUB_PAGES, BITS, COMPRESSION, TEXT = 254, 255, 330, 258, 259, 270
DEPTH, METAMORPH = 32997, 33629  # planes of a volume; MetaMorph's list of planes


def whole_pages(image: Image.Image) -> list[int]:
    """Numbers of the pages or frames that do not say that they are smaller copies of another; ``[0]`` of a single one.

    Pillow may be left at another page. It raises SyntaxError at a page of a TIFF that it cannot read.
    """
    n = getattr(image, "n_frames", 1)
    return [page for page in range(n) if not _is_copy(image, page)] if n > 1 else [0]


def tags_of(image: Image.Image):
    """Tags of a TIFF at its page, by their numbers; none of any other file."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def several(image: ImageFile.ImageFile, encoded: bytes) -> str:
    """What a file whose list has one page holds beside or within it, in words; empty where it is one picture."""
    if image.format == "PPM":
        return "several pictures, one after the other" if re.match(rb"\s*P[1-7]\s", _after(image, encoded)) else ""
    if image.format != "TIFF":
        return ""
    tags = tags_of(image)
    if tags.get(SUBFILE, 0) & 1 and SUB_PAGES in tags:  # as raw files of cameras do
        return "a small copy, and the picture itself where it is not read (SubIFDs)"
    n = _stacked(tags, len(encoded))
    return f"a stack of {n:,} planes in one page" if n > 1 else ""


def _is_copy(image: Image.Image, page: int) -> bool:
    """Whether a page says that it is a smaller copy of another; in an MPO also a smaller one of undefined kind."""
    if image.format == "TIFF":
        image.seek(page)
        tags = tags_of(image)
        return bool(tags.get(SUBFILE, 0) & 1) or tags.get(OLD_SUBFILE) == 2
    if image.format != "MPO" or page == 0:
        return False
    image.seek(0)
    full = image.size
    try:
        image.seek(page)
    except Exception:  # it was cut off, or never was: as in the phones' pictures that some program saved again
        return True
    kind = getattr(image, "mpinfo", {})[0xB002][page]["Attribute"]["MPType"]
    smaller = image.size[0] < full[0] and image.size[1] < full[1]
    return kind.startswith("Large Thumbnail") or (kind == "Undefined" and smaller)


def _stacked(tags, length: int) -> int:
    """Planes in one page of a TIFF of ``length`` bytes, as ImageJ, tifffile, MetaMorph and tools for volumes write it.

    What a text says counts only where there are the bytes for it: a program may have kept the text and one plane.
    """
    text = str(tags.get(TEXT, ""))
    images = re.match(r"ImageJ=[^\0]*?\bimages=(\d{1,9})\b", text)
    shape = re.match(r'\{"shape": \[([\d, ]+)\]', text)
    said, samples = int(images[1]) if images else 1, tags.get(277, 1)
    if shape:
        said = math.prod(map(int, shape[1].split(","))) // (tags[256] * tags[257] * samples)
    bits = max(tags.get(BITS, (1,))) * samples
    there = length // max(1, math.ceil(tags[256] * bits / 8) * tags[257]) if tags.get(COMPRESSION, 1) == 1 else 1
    planes = tags.get(METAMORPH)
    return max(said if said <= there else 1, tags.get(DEPTH, 1), len(planes) if isinstance(planes, tuple) else 1)


def _after(image: ImageFile.ImageFile, encoded: bytes) -> bytes:
    """What follows the pixels of a binary PBM, PGM or PPM."""
    if encoded[:2] not in (b"P4", b"P5", b"P6"):
        return b""
    _, _, start, how = image.tile[0]
    bits = 1 if encoded[:2] == b"P4" else 16 if how == "I;16B" or isinstance(how, tuple) and how[1] > 255 else 8
    row = math.ceil(image.width * (3 if encoded[:2] == b"P6" else 1) * bits / 8)
    return encoded[start + row * image.height :][:100]
