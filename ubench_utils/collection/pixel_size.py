"""How large a pixel is in the specimen, as a TIFF states it: OME-XML, ImageJ's description, or the resolution."""

import io
import math
import re

from PIL import Image

from ..data.planes import tags_of

TEXT, X, Y, UNIT = 270, 282, 283, 296  # tags: ImageDescription, XResolution, YResolution, ResolutionUnit
MICRONS = {  # of a unit, as OME and ImageJ write it
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("inch", "in"), 25_400.0),
}
OF_PRINT = 10.0  # µm: a coarser resolution is that of a printer or a screen, and says nothing of the specimen
SQUARE = 0.01  # how far width and height of a pixel may differ


def pixel_size(content: bytes) -> float | None:
    """Side of a pixel in micrometres, None where the file does not state one, or not one for both directions.

    The first that is stated counts: OME-XML's ``PhysicalSizeX`` and ``Y``; in a file of ImageJ its ``unit`` with the
    resolution; the resolution per centimetre or inch, if it is finer than ``OF_PRINT``.

    References
    ----------
    OME data model, June 2016. TIFF 6.0 (1992), tags 282, 283 and 296.
    """
    try:
        tags = tags_of(Image.open(io.BytesIO(content), formats=["TIFF"]))
        text = _decoded(str(tags.get(TEXT, "")))
        sides = [1 / float(tags[tag]) if tags.get(tag) else math.nan for tag in (X, Y)]
        unit = {2: "inch", 3: "cm"}.get(tags.get(UNIT, 2))
    except Exception:  # no TIFF, or one with broken tags, which states nothing
        return None
    if "<OME" in text and "PhysicalSize" in text:
        return _square(_ome(text, "X"), _ome(text, "Y"))
    imagej = re.match(r"ImageJ=.*?^unit=(\S+)", text, re.DOTALL | re.MULTILINE)
    if imagej:
        factor = MICRONS.get(imagej[1].lower(), math.nan)
        return _square(*(factor * side for side in sides))
    found = _square(*(MICRONS[unit] * side for side in sides)) if unit else None
    return found if found and found < OF_PRINT else None


def _decoded(text: str) -> str:
    """A text that Pillow took for Latin-1, in UTF-8 where it is that."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _ome(text: str, axis: str) -> float:
    size = re.search(rf'\bPhysicalSize{axis}="([\d.eE+-]+)"', text)
    unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', text)
    factor = MICRONS.get(unit[1].lower(), math.nan) if unit else 1.0  # OME's default
    try:
        return factor * float(size[1]) if size else math.nan
    except ValueError:
        return math.nan


def _square(width: float, height: float) -> float | None:
    """The side of a pixel that is as wide as high."""
    is_square = width > 0 and math.isfinite(width) and math.isclose(width, height, rel_tol=SQUARE)
    return width if is_square else None
