"""Files of the makers of microscopes, CZI, ND2 and LIF, through the libraries that read them: an optional extra."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..data.pixels import Unreadable
from ..errors import UserError
from .channels import COLOURS, Channel, bounded, ramp
from .formats import EXTRA, MICROSCOPES
from .micrographs import Micrograph, check_size, choose_scene, unreadable_as
from .pixel_size import square

CZI_TYPES = {"Gray8": "u1", "Gray16": "u2", "Gray32Float": "f4", "Bgr24": "u1", "Bgr48": "u2", "Bgr96Float": "f4"}


@contextmanager
def open_microscope(path: Path, file: str, *, scene: str | None = None) -> Iterator[Micrograph]:
    """Open a CZI, ND2 or LIF.

    Parameters
    ----------
    path, file, scene
        As for ``open_tiff``.

    Raises
    ------
    Unreadable
        If it is broken, or holds axes that no option chooses from.
    UserError
        If the library is not installed, or it is not clear which scene is meant.

    References
    ----------
    Bit depth, colour and size of a pixel are CZI's ``ComponentBitCount``, ``Color`` and ``Scaling``; ND2's
    ``bitsPerComponentSignificant``, ``color`` and ``axesCalibration``; LIF's ``Resolution``, ``LUTName`` and
    ``Length``, which runs from the middle of the first pixel to that of the last.
    """
    suffix = path.suffix.lower()
    if find_spec(MICROSCOPES[suffix]) is None:
        raise UserError(f"'{file}': {suffix} is read by the library {MICROSCOPES[suffix]}; install it with {EXTRA}")
    with ExitStack() as stack:
        with unreadable_as(f"no {suffix[1:].upper()}, or a broken one"):
            found = {".czi": _czi, ".nd2": _nd2, ".lif": _lif}[suffix](path, file, scene, stack)
        yield found


def _check_axes(sizes: dict, known: str, path: Path) -> None:
    if math.prod(sizes.get(axis, 1) for axis in "TZC") > path.stat().st_size:
        raise Unreadable("it names more planes than it has bytes")
    others = [f"{n:,} along {axis}" for axis, n in sizes.items() if axis not in known and n > 1]
    if others:
        raise Unreadable(f"it holds axes that no option chooses from ({', '.join(others)}); save the part you mean")


def _channel(name: str | None, colour, bits: int, used: int | None, stated: str) -> Channel:
    """A channel of values of ``bits`` bits, of which ``used`` are."""
    table = None if colour is None else ramp(colour)
    if bits == 8:
        return Channel((name or "").strip(), table, 255, "8 bits per sample")
    return Channel((name or "").strip(), table, bounded(bits, 2**used - 1 if used else None), stated)


def _czi(path: Path, file: str, scene: str | None, stack: ExitStack) -> Micrograph:
    from pylibCZIrw.czi import open_czi

    document = stack.enter_context(open_czi(str(path)))
    metadata = ElementTree.fromstring(document.raw_metadata)
    box = document.total_bounding_box_no_pyramid
    places = document.scenes_bounding_rectangle_no_pyramid or {None: document.total_bounding_rectangle_no_pyramid}
    named = {one.get("Index"): one.get("Name") or "" for one in metadata.iterfind(".//S/Scenes/Scene")}
    at, number = choose_scene(scene, [named.get(str(key), "") for key in places], file), len(places)
    key, area = list(places.items())[at]
    sizes = {axis: end - start for axis, (start, end) in box.items()}
    _check_axes(sizes, "TZCXYS", path)
    check_size(area.h, area.w)
    kinds = set(document.pixel_types.values())
    if len(kinds) != 1 or not kinds <= {*CZI_TYPES}:
        raise Unreadable(f"its channels are of the kinds {', '.join(sorted(kinds))}; save them apart")
    kind = kinds.pop()
    dtype = np.dtype(CZI_TYPES[kind])
    described = metadata.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    displayed = metadata.findall("./Metadata/DisplaySetting/Channels/Channel")
    overall = metadata.findtext("./Metadata/Information/Image/ComponentBitCount")
    channels = []
    for c in range(sizes.get("C", 1)):
        own, shown_as = (
            listed[c] if c < len(listed) else ElementTree.Element("none") for listed in (described, displayed)
        )
        colour = re.fullmatch(
            r"#[0-9A-Fa-f]{2}([0-9A-Fa-f]{6})", own.findtext("Color") or shown_as.findtext("Color") or ""
        )
        used = own.findtext("ComponentBitCount") or overall or ""
        channels.append(
            _channel(
                own.get("Name"),
                tuple(bytes.fromhex(colour[1])) if colour else None,
                8 * dtype.itemsize,
                int(used) if used.isdecimal() and dtype.kind == "u" else None,
                "ComponentBitCount",
            )
        )

    def read(channel: int, plane: int, time: int) -> np.ndarray:
        place = {axis: box[axis][0] + n for axis, n in (("C", channel), ("Z", plane), ("T", time)) if axis in box}
        there: list[int] = []

        def note(number: int, _) -> bool:
            there.append(number)
            return False  # one is enough

        document.enumerate_subblocks_subset(note, plane=place, roi=area, only_layer0=True)
        if not there:  # the library would give a black one
            raise Unreadable(f"plane {plane + 1} of channel {channel + 1} at time {time + 1} is not in the file")
        with unreadable_as("its pixels cannot be read"):
            values = document.read(plane=place, scene=key, roi=area)
        return values[..., ::-1] if values.shape[-1] == 3 else values[..., 0]

    metres = {one.get("Id"): one.findtext("Value") for one in metadata.iterfind("./Metadata/Scaling/Items/Distance")}
    return Micrograph(
        file=file,
        planes=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=tuple(channels),
        height=area.h,
        width=area.w,
        dtype=dtype,
        bits=8 * dtype.itemsize,
        read=read,
        is_colour=kind.startswith("Bgr"),
        microns_per_pixel=square(*(1e6 * float(metres.get(axis) or "nan") for axis in "XY")),
        scene=(at + 1, named.get(str(key), ""), number),
    )


def _nd2(path: Path, file: str, scene: str | None, stack: ExitStack) -> Micrograph:
    from nd2 import ND2File

    opened = stack.enter_context(ND2File(path))
    sizes = dict(opened.sizes)
    loops = [loop for loop in opened.experiment if loop.type == "XYPosLoop"]
    names = [point.name or "" for point in loops[0].parameters.points] if loops else []
    n = sizes.pop("P", 1)
    names = names if len(names) == n else [""] * n
    at = choose_scene(scene, names, file)
    _check_axes(sizes, "TZCYX", path)
    if opened.is_rgb:
        raise Unreadable("an ND2 of a colour camera, whose order of red, green and blue is not sure; save it as TIFF")
    check_size(sizes["Y"], sizes["X"])
    bits = 8 * opened.dtype.itemsize
    used = opened.attributes.bitsPerComponentSignificant if opened.dtype.kind == "u" else None
    known = [one.channel for one in opened.metadata.channels]
    if len(known) != sizes.get("C", 1):
        raise Unreadable(f"it lists {len(known):,} channels and holds {sizes.get('C', 1):,}")
    channels = [_channel(one.name, one.color[:3], bits, used, "bitsPerComponentSignificant") for one in known]
    frames = {(one.get("P", 0), one.get("Z", 0), one.get("T", 0)): k for k, one in enumerate(opened.loop_indices)}

    def read(channel: int, plane: int, time: int) -> np.ndarray:
        number = frames[at, plane, time]
        with unreadable_as("its pixels cannot be read"):
            values = np.asarray(opened.read_frame(number)).reshape(-1, sizes["Y"], sizes["X"])[channel]
        if not values.any():  # the library gives zeros for a frame that is not there
            raise Unreadable(
                f"plane {plane + 1} of channel {channel + 1} at time {time + 1} is empty or not in the file"
            )
        return values

    volume = opened.metadata.channels[0].volume  # without a calibration a size of 1 stands for none
    sides = volume.axesCalibration[:2] if all(volume.axesCalibrated[:2]) else (math.nan, math.nan)
    return Micrograph(
        file=file,
        planes=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=tuple(channels),
        height=sizes["Y"],
        width=sizes["X"],
        dtype=opened.dtype,
        bits=bits,
        read=read,
        microns_per_pixel=square(*sides),
        scene=(at + 1, names[at], n),
    )


def _lif(path: Path, file: str, scene: str | None, stack: ExitStack) -> Micrograph:
    from liffile import LifFile

    images = list(stack.enter_context(LifFile(path)).images)
    if not images:
        raise Unreadable("it holds no picture")
    at = choose_scene(scene, [one.path for one in images], file)
    image = images[at]
    sizes, dtype = image.sizes, image.dtype
    _check_axes(sizes, "TZCYXS", path)
    if image.frames.frame_dims[:2] != ("Y", "X"):
        raise Unreadable(f"its planes run along {' and '.join(image.frames.frame_dims)}, not y and x")
    check_size(sizes["Y"], sizes["X"])
    described = image.xml_element.find("./Data/Image/ImageDescription")
    listed = sorted(described.iterfind("./Channels/ChannelDescription"), key=lambda one: int(one.get("BytesInc", 0)))
    n = sizes.get("C", 1)
    is_colour = sizes.get("S", 1) == 3
    listed = listed[:1] if is_colour and n == 1 else listed
    if len(listed) != n:
        raise Unreadable(f"it lists {len(listed):,} channels and holds {n:,}")
    channels = [
        _channel(
            one.findtext("./ChannelProperty[Key='DyeName']/Value"),
            COLOURS.get((one.get("LUTName") or "").lower().replace("gray", "grey")),
            8 * dtype.itemsize,
            int(one.get("Resolution", 0)) if dtype.kind == "u" else None,
            "Resolution",
        )
        for one in listed
    ]

    def read(channel: int, plane: int, time: int) -> np.ndarray:
        place = {axis: n for axis, n in (("C", channel), ("Z", plane), ("T", time)) if axis in sizes}
        with unreadable_as("its pixels cannot be read"):
            return image.frame(**place)

    sides = {}
    for one in described.iterfind("./Dimensions/DimensionDescription"):
        metres = float(one.get("Length", "nan")) if one.get("Unit") == "m" else math.nan
        sides[one.get("DimID")] = 1e6 * metres / max(1, int(one.get("NumberOfElements", 1)) - 1)
    return Micrograph(
        file=file,
        planes=sizes.get("Z", 1),
        times=sizes.get("T", 1),
        channels=tuple(channels),
        height=sizes["Y"],
        width=sizes["X"],
        dtype=dtype,
        bits=8 * dtype.itemsize,
        read=read,
        is_colour=is_colour,
        microns_per_pixel=square(abs(sides.get("1", math.nan)), abs(sides.get("2", math.nan))),
        scene=(at + 1, image.path, len(images)),
    )
