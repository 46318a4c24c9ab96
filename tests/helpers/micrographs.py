"""Microscope files of every kind that tifffile writes, their pictures, and what those have to be by their own words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tifffile import imwrite

from ubench_utils.collection.pictures import Picture, read_pictures
from ubench_utils.data.pixels import decode

SHAPE = (3, 2, 5, 26, 18)  # t, channel, z, y, x
STACK = np.random.default_rng(0).integers(0, 4096, SHAPE).astype(np.uint16)  # of a camera of 12 bits
STACK[0, 0, 0, 0, 0] = 4095
OME = {"axes": "TCZYX", "SignificantBits": 12, "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}
CHANNELS = {"Channel": {"Name": ["DAPI", "GFP"], "Color": [0x0000FFFF, 0x00FF00FF]}}
GREY = {"photometric": "minisblack"}


def written(path: Path, values: np.ndarray, **options) -> Path:
    """Write a TIFF; without ``metadata`` it says nothing of its axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    imwrite(path, values, **({"metadata": None} | options))
    return path


class Unread(Exception):
    """A file that cannot be read, with the reason."""


def picture_of(path: Path, **options) -> Picture:
    """The picture of one file, read as of a folder; raises Unread."""
    labels = pd.DataFrame({"file": [path.name], "label": ["a"]})
    pictures, failed, _ = read_pictures(str(path.parent), labels, **options)
    if failed:
        raise Unread(failed[path.name])
    return pictures[path.name]


def reason_of(path: Path, **options) -> str:
    """Why a file cannot be read."""
    with pytest.raises(Unread) as caught:
        picture_of(path, **options)
    return str(caught.value)


def shown(picture: Picture) -> np.ndarray:
    """Pixels as a model sees them, uint8 of shape (height, width, 3)."""
    return np.asarray(decode(picture.content))


def levels(values, top, low=0) -> np.ndarray:
    """8 bits of larger values, in whole numbers: halves cannot occur where ``top - low`` is odd."""
    values = np.clip(np.asarray(values, np.float64), low, top)
    return np.floor((values - low) * 255 / (top - low) + 0.5).astype(np.uint8)


def grey(values) -> np.ndarray:
    """A grey picture in three colours."""
    return np.stack([values] * 3, axis=-1)


def coloured(channels, colours) -> np.ndarray:
    """Channels of 8 bits in their colours, added and cut off at white."""
    total = sum(
        np.rint(one[..., None] / 255 * np.asarray(colour)).astype(int)
        for one, colour in zip(channels, colours, strict=True)
    )
    return np.minimum(total, 255).astype(np.uint8)
