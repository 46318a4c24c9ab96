"""ND2 files of version 3, by the layout that their readers describe: named chunks, and a map of them at the end."""

import struct

import numpy as np

MAGIC = 0x0ABECEDA
FRAME_NAME = 4072  # bytes that the name of a frame takes up


def _item(name: str, value) -> bytes:
    """One value of the maker's binary tree, with its name."""
    kinds = {bool: (1, "<B"), int: (3, "<I"), float: (6, "<d")}
    title = (name + "\0").encode("utf-16-le")
    head = lambda kind: struct.pack("<BB", kind, len(title) // 2) + title  # noqa: E731
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else [("", one) for one in value]
        inner = b"".join(_item(*pair) for pair in pairs)
        return (
            head(11) + struct.pack("<IQ", len(pairs), len(head(11)) + 12 + len(inner)) + inner + bytes(8 * len(pairs))
        )
    if isinstance(value, str):
        return head(8) + (value + "\0").encode("utf-16-le")
    kind, form = kinds[type(value)]
    return head(kind) + struct.pack(form, value)


def _chunk(name: bytes, content: bytes, width: int) -> bytes:
    return struct.pack("<IIQ", MAGIC, width, len(content)) + name.ljust(width, b"\0") + content


def nd2(stack: np.ndarray, *, bits: int, names: list, colours: list, microns: float | None, kept: int | None = None):
    """Bytes of an ND2.

    Parameters
    ----------
    stack : numpy.ndarray
        Positions, times, planes, channels, y, x.
    bits : int
        Significant ones.
    microns : float or None
        Side of a pixel; None of one that is not calibrated.
    kept : int, optional
        Frames that were recorded before it stopped.
    """
    n_positions, n_times, n_planes, n_channels, height, width = stack.shape
    itemsize = stack.dtype.itemsize
    spectrum = {"m_ExcitationSpectrum": {"uiCount": 0}, "m_EmissionSpectrum": {"uiCount": 0}}
    planes = {
        f"a{at}": {
            "sDescription": name,
            "uiColor": red | green << 8 | blue << 16,
            "uiCompCount": 1,
            "uiModalityMask": 0,
            "pFluorescentProbe": spectrum,
        }
        for at, (name, (red, green, blue)) in enumerate(zip(names, colours, strict=True))
    }
    picture = {
        "bCalibrated": microns is not None,
        "dCalibration": float(microns or 1.0),
        "sPicturePlanes": {"uiCount": n_channels, "sPlaneNew": planes},
    }
    attributes = {
        "uiWidth": width,
        "uiWidthBytes": width * itemsize * n_channels,
        "uiHeight": height,
        "uiComp": n_channels,
        "uiBpcInMemory": 8 * itemsize,
        "uiBpcSignificant": bits,
        "uiSequenceCount": n_positions * n_times * n_planes,
        "eCompression": 2,
    }
    points = [{"dPosX": float(at), "dPosY": 0.0, "dPosName": f"well {at + 1}"} for at in range(n_positions)]
    loops = [
        (2, n_positions, {"Points": points}),
        (1, n_times, {"uiCount": n_times, "dStart": 0.0, "dPeriod": 1.0, "dDuration": 1.0}),
        (4, n_planes, {"uiCount": n_planes, "dZLow": 0.0, "dZHigh": 1.0, "dZStep": 0.5, "dZHome": 0.0, "iType": 1}),
    ]
    experiment: dict = {}
    for kind, n, pars in reversed(loops):
        if n > 1:
            below = {"ppNextLevelEx": [experiment]} if experiment else {}
            experiment = {"eType": kind, "uLoopPars": pars} | below
    frames = stack.reshape(-1, n_channels, height, width).transpose(0, 2, 3, 1)
    chunks = [
        (b"ImageAttributesLV!", _item("SLxImageAttributes", attributes), 48),
        (b"ImageMetadataSeqLV|0!", _item("SLxPictureMetadata", picture), 48),
        *([(b"ImageMetadataLV!", _item("SLxExperiment", experiment), 48)] if experiment else []),
        *(
            (f"ImageDataSeq|{at}!".encode(), bytes(8) + np.ascontiguousarray(frame).tobytes(), FRAME_NAME)
            for at, frame in enumerate(frames[:kept])
        ),
    ]
    out = _chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
    listed = b""
    for name, content, name_width in chunks:
        listed += name + struct.pack("<QQ", len(out), len(content))
        out += _chunk(name, content, name_width)
    start = len(out)
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", start)
    return out + _chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", listed + end, 32)
