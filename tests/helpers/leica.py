"""LIF files, written by their published layout: a list in UTF-16, then blocks of memory with the pixels."""

import struct

import numpy as np

PRIMARY = ["Red", "Green", "Blue"]
TAGS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "M": 10}


def image(
    name: str, values: np.ndarray, axes: str, *, bits: int, colours: list[str], metres: dict
) -> tuple[str, bytes]:
    """One image of a LIF: its element of the list, and its pixels.

    Parameters
    ----------
    values : numpy.ndarray
        In the order of ``axes``, such as ``TZCYX``, or ``YXS`` with red, green and blue.
    colours : list of str
        Their tables, one a channel; of red, green and blue the order in which they are stored.
    metres : dict
        From the middle of the first to that of the last pixel, by axis.
    """
    steps = dict(zip(axes, values.strides, strict=True))
    n_channels = values.shape[axes.index("S" if "S" in axes else "C")] if {"S", "C"} & {*axes} else 1
    step = steps.get("S", steps.get("C", 0))
    kind = 1 if values.dtype.kind == "f" else 0
    tags = [PRIMARY.index(colour) + 1 if "S" in axes else 0 for colour in colours]
    channels = "".join(
        f'<ChannelDescription DataType="{kind}" ChannelTag="{tags[at]}" Resolution="{bits}" NameOfMeasuredQuantity="" '
        f'Min="0" Max="{2**bits - 1}" Unit="" LUTName="{colours[at]}" IsLUTInverted="0" BytesInc="{at * step}" '
        'BitInc="0"/>'
        for at in range(n_channels)
    )
    dimensions = "".join(
        f'<DimensionDescription DimID="{TAGS[axis]}" NumberOfElements="{n}" Origin="0" Length="{metres.get(axis, 0)}" '
        f'Unit="m" BitInc="0" BytesInc="{steps[axis]}"/>'
        for axis, n in reversed(list(zip(axes, values.shape, strict=True)))
        if axis in TAGS
    )
    described = f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
    element = (
        f'<Element Name="{name}" Visibility="1" UniqueID="{name}"><Data><Image TextDescription="">'
        f"<ImageDescription>{described}</ImageDescription></Image></Data>"
        f'<Memory Size="{values.nbytes}" MemoryBlockID="MemBlock_{name}"/><Children/></Element>'
    )
    return element, values.astype(values.dtype.newbyteorder("<")).tobytes()


def lif(*images: tuple[str, bytes]) -> bytes:
    """Bytes of a LIF of images from ``image``."""
    elements = "".join(element for element, _ in images)
    text = (
        '<LMSDataContainerHeader Version="2"><Element Name="Project" Visibility="1" UniqueID="p"><Data/>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_p"/><Children>{elements}</Children></Element>'
        "</LMSDataContainerHeader>"
    )
    out = struct.pack("<IIBI", 0x70, 2 * len(text) + 5, 0x2A, len(text)) + text.encode("utf-16-le")
    blocks = [("MemBlock_p", b"")]
    for element, pixels in images:
        blocks.append((element.split('MemoryBlockID="')[1].split('"')[0], pixels))
    for name, pixels in blocks:
        head = struct.pack("<BQBI", 0x2A, len(pixels), 0x2A, len(name)) + name.encode("utf-16-le")
        out += struct.pack("<II", 0x70, len(head)) + head + pixels
    return out
