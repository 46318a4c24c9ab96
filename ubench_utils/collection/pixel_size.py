"""How large a pixel is in the specimen, as a TIFF states it: OME-XML, ImageJ's description, or the resolution."""

import math
from xml.etree.ElementTree import Element

from tifffile import TiffFile, TiffPage

X, Y, UNIT = 282, 283, 296  # tags: XResolution, YResolution, ResolutionUnit
MICRONS = {  # of a unit, as OME and ImageJ write it
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("pm", "picometer"), 1e-6),
    **dict.fromkeys(("å", "angstrom"), 1e-4),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("m", "meter"), 1e6),
    **dict.fromkeys(("inch", "in"), 25_400.0),
}
OF_PRINT = 10.0  # µm: a coarser resolution is that of a printer or a screen, and says nothing of the specimen
SQUARE = 0.01  # how far width and height of a pixel may differ


def pixel_size(tif: TiffFile, page: TiffPage, ome: Element | None = None) -> float | None:
    """Side of a pixel in micrometres; None where the file does not state one, NaN where it is not as wide as high.

    The first that is stated counts: OME-XML's ``PhysicalSizeX`` and ``Y``; LSM's ``VoxelSizeX`` and ``Y``; in a file of
    ImageJ its ``unit`` with the resolution; the resolution per centimetre or inch, if it is finer than ``OF_PRINT``.

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage
        The one whose resolution counts.
    ome : xml.etree.ElementTree.Element, optional
        OME's ``Pixels`` of the picture.

    References
    ----------
    OME data model, June 2016. TIFF 6.0 (1992), tags 282, 283 and 296.
    """
    if ome is not None and any("PhysicalSize" in name for name in ome.attrib):
        return square(_ome(ome, "X"), _ome(ome, "Y"))
    if tif.is_lsm:
        return square(*(1e6 * float((tif.lsm_metadata or {}).get(f"VoxelSize{axis}", math.nan)) for axis in "XY"))
    try:
        sides = [_side(page, tag) for tag in (X, Y)]
        unit = str((tif.imagej_metadata or {}).get("unit", "")) if tif.is_imagej else ""
        per = page.tags.valueof(UNIT, 2)
    except Exception:  # broken tags state nothing
        return None
    if unit:
        return square(*(MICRONS.get(unit.lower(), math.nan) * side for side in sides))
    found = square(*(MICRONS[{2: "inch", 3: "cm"}[per]] * side for side in sides)) if per in (2, 3) else None
    return None if found is None or found >= OF_PRINT else found


def square(width: float, height: float) -> float | None:
    """Side of a pixel, to six digits; None where one is not stated, NaN where it is not as wide as high."""
    if not (0 < width < math.inf and 0 < height < math.inf):
        return None
    return float(f"{width:.6g}") if math.isclose(width, height, rel_tol=SQUARE) else math.nan


def _side(page: TiffPage, tag: int) -> float:
    pixels, units = page.tags.valueof(tag, (0, 1))
    return units / pixels if pixels else math.nan


def _ome(pixels: Element, axis: str) -> float:
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", "nan"))
    except ValueError:
        return math.nan
    return size * MICRONS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower(), math.nan)  # µm is OME's default
