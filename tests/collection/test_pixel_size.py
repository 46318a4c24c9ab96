"""Pixel sizes as programs write them into TIFFs; what says nothing of the specimen is not taken for one."""

import io
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from tifffile import TiffFile

from ubench_utils.collection.pixel_size import pixel_size

SIZES = 'PhysicalSizeX="{}" PhysicalSizeXUnit="{}" PhysicalSizeY="{}" PhysicalSizeYUnit="{}"'
OME = '<?xml version="1.0"?><OME xmlns="x"><Image><Pixels SizeX="4" SizeY="4" {}/></Image></OME>'


def tiff(text=None, per=None, unit=None, encoding="utf-8"):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if text is not None:
        tags[270] = text.encode(encoding)
        tags.tagtype[270] = 2
    if per is not None:
        tags[282], tags[283] = per if isinstance(per, tuple) else (per, per)
    if unit is not None:
        tags[296] = unit
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "microns"),
    [
        (tiff(OME.format('PhysicalSizeX="0.325" PhysicalSizeY="0.325"')), 0.325),
        (
            tiff(OME.format('PhysicalSizeX="65" PhysicalSizeXUnit="nm" PhysicalSizeY="0.065" PhysicalSizeYUnit="µm"')),
            0.065,
        ),
        (tiff(OME.format(SIZES.format("1e-3", "mm", 1, "um"))), 1.0),
        (tiff(OME.format('PhysicalSizeX="1" PhysicalSizeY="2"')), math.nan),
        (
            tiff(OME.format('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"')),
            None,
        ),
        (tiff(OME.format('PhysicalSizeX="-" PhysicalSizeY="-"')), None),
        (tiff(OME.format("")), None),
        (tiff("ImageJ=1.53t\nunit=micron\nmin=0\n", 4.0, 1), 0.25),
        (tiff("ImageJ=1.53t\nunit=\\u00B5m\n", 2.0, 1), 0.5),
        (tiff("ImageJ=1.53t\nunit=nm\n", 0.01, 1), 0.1),
        (tiff("ImageJ=1.53t\nunit=\xb5m\n", 2.0, 1, encoding="latin-1"), 0.5),
        (tiff("ImageJ=1.53t\nunit=pixel\n", 1.0, 1), None),
        (tiff("ImageJ=1.53t\n", 72.0, 2), None),
        (tiff(None, 40_000.0, 3), 0.25),
        (tiff(None, 25_400.0, 2), 1.0),
        (tiff(None, (25_400.0, 12_700.0), 2), math.nan),
        (tiff(None, 300.0, 2), None),
        (tiff(None, 118.0, 3), None),
        (tiff(None, 40_000.0, 1), None),
        (tiff(), None),
    ],
)
def test_what_a_file_states(content, microns):
    with TiffFile(io.BytesIO(content)) as tif:
        pixels = ElementTree.fromstring(tif.ome_metadata).find(".//{*}Pixels") if tif.is_ome else None
        found = pixel_size(tif, tif.pages.first, pixels)
    assert found == (None if microns is None else pytest.approx(microns, rel=1e-6, nan_ok=True))
