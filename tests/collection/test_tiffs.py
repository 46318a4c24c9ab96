"""Planes of TIFFs: every plane that is read is the one that its file names so, by an independent reader."""

import struct
import tracemalloc

import numpy as np
import pytest
from helpers.images import page, tiff
from helpers.micrographs import (
    CHANNELS,
    GREY,
    OME,
    STACK,
    Unread,
    coloured,
    grey,
    levels,
    picture_of,
    reason_of,
    shown,
    written,
)
from tifffile import TiffFile, TiffWriter, imread

from ubench_utils.collection.tiffs import open_tiff
from ubench_utils.errors import UserError

LUTS = [np.stack([np.arange(256) * on for on in colour]).astype(np.uint8) for colour in ((0, 0, 1), (0, 1, 0))]
IMAGEJ = {"imagej": True, "metadata": {"axes": "TZCYX", "unit": "um", "LUTs": LUTS}, "resolution": (5, 5)}
AS_OME = {"ome": True, "metadata": OME | CHANNELS, **GREY}
AS_IMAGEJ = STACK.transpose(0, 2, 1, 3, 4)
WRITERS = {
    "OME": lambda path: written(path, STACK, **AS_OME),
    "OME, compressed": lambda path: written(path, STACK, **AS_OME, compression="zlib", predictor=2),
    "OME, tiles": lambda path: written(path, STACK, **AS_OME, tile=(16, 16), compression="lzw"),
    "OME, BigTIFF": lambda path: written(path, STACK, **AS_OME, bigtiff=True, byteorder=">"),
    "ImageJ": lambda path: written(path, AS_IMAGEJ, **IMAGEJ),
    "ImageJ, compressed": lambda path: written(path, AS_IMAGEJ, compression="zlib", **IMAGEJ),
    "named axes": lambda path: written(path, STACK, metadata={"axes": "TCZYX"}, **GREY),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_plane_is_the_one_that_the_file_names(kind, tmp_path):
    path = WRITERS[kind](tmp_path / "a.tif")
    independent = imread(path)
    independent = independent.transpose(0, 2, 1, 3, 4) if "ImageJ" in kind else independent
    with open_tiff(path, "a.tif") as found:
        assert (found.times, len(found.channels), found.planes, found.height, found.width) == STACK.shape
        for t, c, z in np.ndindex(STACK.shape[:3]):
            np.testing.assert_array_equal(found.read(c, z, t), STACK[t, c, z])
            np.testing.assert_array_equal(found.read(c, z, t), independent[t, c, z])
        assert found.microns_per_pixel == (None if kind == "named axes" else pytest.approx(0.2))
        assert [channel.top for channel in found.channels] == [4095 if "OME" in kind else None] * 2
        if kind != "named axes":
            assert [tuple(channel.colours[255]) for channel in found.channels] == [(0, 0, 255), (0, 255, 0)]


def test_an_independent_library_reads_the_same_planes(tmp_path):
    reader = pytest.importorskip("bioio_ome_tiff")
    path = WRITERS["OME, tiles"](tmp_path / "a.ome.tif")
    image = reader.Reader(path)
    with open_tiff(path, "a.ome.tif") as found:
        assert [channel.name for channel in found.channels] == list(image.channel_names)
        assert found.microns_per_pixel == pytest.approx(image.physical_pixel_sizes.X)
        for t, c, z in np.ndindex(STACK.shape[:3]):
            np.testing.assert_array_equal(found.read(c, z, t), image.get_image_data("YX", T=t, C=c, Z=z))


def test_only_planes_that_are_asked_for_are_read(tmp_path):
    path = WRITERS["OME, compressed"](tmp_path / "a.tif")
    content = bytearray(path.read_bytes())
    with open_tiff(path, "a.tif") as found:
        wanted = found.read(1, 2, 0)
        with TiffFile(path) as tif:
            start = tif.pages[3].dataoffsets[0]
            content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with open_tiff(path, "a.tif") as found:
        np.testing.assert_array_equal(found.read(1, 2, 0), wanted)
    assert "its pixels cannot be read" in reason_of(path, choices={"t": "1", "z": "4", "channel": "DAPI"})


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_projection_holds_few_planes_in_memory(compression, tmp_path):
    stack = np.random.default_rng(0).integers(0, 4096, (48, 256, 256)).astype(np.uint16)
    path = written(tmp_path / "a.ome.tif", stack, ome=True, metadata={"axes": "ZYX"}, compression=compression, **GREY)
    picture_of(path, choices={"z": "1"}, span="type")  # libraries are there
    tracemalloc.start()
    picture_of(path, choices={"z": "mean"}, span="type")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < stack.nbytes / 2


@pytest.mark.parametrize(("pages", "axis"), [("z", 0), ("t", 1), ("channel", 2)])
def test_pages_without_a_name_are_what_they_are_said_to_be(pages, axis, tmp_path):
    for options in ({}, {"metadata": {}}, {"compression": "zlib"}):
        path = written(tmp_path / "a.tif", STACK[0, 0, :3], **GREY, **options)
        with pytest.raises(UserError, match="'a.tif' holds 3 pages and does not say what they are; .*--pages z"):
            picture_of(path)
        with open_tiff(path, "a.tif", pages=pages) as found:
            sizes = [1, 1, 1]
            sizes[axis] = 3
            assert [found.planes, found.times, len(found.channels)] == sizes
            at = [0, 0, 0]
            at[axis] = 2
            np.testing.assert_array_equal(found.read(at[2], at[0], at[1]), STACK[0, 0, 2])
    path = written(tmp_path / "b.tif", STACK[0], metadata={}, **GREY)
    assert "pages along two axes without a name" in reason_of(path, pages=pages)


def test_samples_that_are_no_colours_are_channels(tmp_path):
    planes = STACK[0, 0, :2]
    for layout, values in (("separate", planes), ("contig", np.moveaxis(planes, 0, -1).copy())):
        path = written(tmp_path / f"{layout}.tif", values, planarconfig=layout, **GREY)
        made = picture_of(path, choices={"channel": "2"}, span="type")
        assert made.rendering.startswith("channel 2 alone; ")
        np.testing.assert_array_equal(shown(made), grey(levels(planes[1], 65535)))
        both = shown(picture_of(path, span=(0.0, 4095.0)))
        np.testing.assert_array_equal(both, coloured(levels(planes, 4095), [(255, 0, 255), (0, 255, 0)]))


def test_scenes_are_chosen_by_name_or_number_and_pyramids_by_their_full_level(tmp_path):
    path = tmp_path / "a.ome.tif"
    with TiffWriter(path) as file:
        options = {"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0}
        file.write(STACK[0, 0, 0], metadata={"axes": "YX", "Name": "well A", "SignificantBits": 12, **options}, **GREY)
        file.write(STACK[0, 1, 0, :9], metadata={"axes": "YX", "Name": "well B", "SignificantBits": 14}, **GREY)
    with pytest.raises(UserError, match=r"holds 2 scenes \(1 well A, 2 well B\); say which with --scene N|NAME"):
        picture_of(path)
    for scene, values, top, microns in (("1", STACK[0, 0, 0], 4095, 1.0), ("Well b", STACK[0, 1, 0, :9], 16383, None)):
        made = picture_of(path, choices={"scene": scene})
        np.testing.assert_array_equal(shown(made), grey(levels(values, top)))
        assert made.microns_per_pixel == microns
    with pytest.raises(UserError, match=r"scene '3' is none of its 2 scenes \(1 well A, 2 well B\)"):
        picture_of(path, choices={"scene": "3"})
    whole = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    with TiffWriter(tmp_path / "p.ome.tif") as file:
        file.write(np.stack([whole, whole.T]), subifds=1, tile=(16, 16), metadata={"axes": "CYX"}, **GREY)
        file.write(np.stack([whole[::2, ::2]] * 2), subfiletype=1, tile=(16, 16), **GREY)
    np.testing.assert_array_equal(shown(picture_of(tmp_path / "p.ome.tif", choices={"channel": "2"})), grey(whole.T))


def test_an_lsm_states_its_axes_colours_and_pixel_size(tmp_path):
    stack, colours = STACK[:, 0], [(0, 0, 255), (0, 255, 0), (255, 0, 0)]  # channel, z, y, x
    unknown = 0xDEADBEE1
    info = struct.pack("<I9i", 67127628, 112, 18, 26, 5, 3, 1, 2, 9, 13)
    info += struct.pack("<6dHHI4I", 0.2e-6, 0.2e-6, 1e-6, 0, 0, 0, 0, 0, 0, 0, 0, 0, unknown)
    names = b"".join(struct.pack("<I", len(name) + 1) + name + b"\0" for name in (b"DAPI", b"GFP", b"Cy3"))
    table = (
        struct.pack("<6I", 36 + len(names), 3, 3, 24, 36, 0) + bytes(sum(([*one, 0] for one in colours), [])) + names
    )
    pages = []
    for z in range(5):
        tags = {254: 0} | ({34412: info} if z == 0 else {})
        pages.append(page(np.moveaxis(stack[:, z], 0, -1), planar=True, tags=tags))
        pages.append(page(np.zeros((13, 9, 3), np.uint8), planar=True, tags={254: 1}))  # a small copy of each
    content = tiff(*pages)
    place = struct.pack("<I", unknown), struct.pack("<I", len(content))
    (tmp_path / "a.lsm").write_bytes(content.replace(*place) + table)
    with open_tiff(tmp_path / "a.lsm", "a.lsm") as found:
        assert (len(found.channels), found.planes, found.height, found.width) == stack.shape and not found.is_colour
        for c, z in np.ndindex(stack.shape[:2]):
            np.testing.assert_array_equal(found.read(c, z, 0), stack[c, z])
        assert [one.name for one in found.channels] == ["DAPI", "GFP", "Cy3"]
        assert [tuple(one.colours[255]) for one in found.channels] == colours
        assert found.microns_per_pixel == 0.2


def test_planes_that_are_not_in_the_file_are_named(tmp_path):
    path = written(tmp_path / "a.ome.tif", STACK[0, 0], metadata={"axes": "ZYX"}, compression="zlib", **GREY)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'SizeZ="5"', b'SizeZ="7"'))
    assert "plane 6 of those that it names is not in the file" in reason_of(path, choices={"z": "maximum"})


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_is_cut_is_no_other_picture(kind, tmp_path):
    path, how = WRITERS[kind](tmp_path / "a.tif"), {"choices": {"z": "maximum", "t": "3"}, "span": "type"}
    content, whole, refused = path.read_bytes(), shown(picture_of(path, **how)), 0
    rng = np.random.default_rng(0)
    for end in [0, 3, 8, 9, 200, *rng.integers(9, len(content), 12), len(content) - 3000]:
        path.write_bytes(content[:end])
        try:
            np.testing.assert_array_equal(shown(picture_of(path, **how)), whole)  # a list behind the pixels was cut
        except (Unread, UserError) as error:  # the latter where the kind of its pages is no longer known
            refused += 1
            assert str(error) and len(str(error).splitlines()) == 1
    assert refused >= 16


def test_pages_that_come_back_to_a_page_are_not_followed_for_ever(tmp_path):
    content = tiff(*[page(STACK[0, 0, z, ..., None]) for z in range(3)])
    (tmp_path / "a.tif").write_bytes(content[:-4] + content[4:8])
    assert reason_of(tmp_path / "a.tif", pages="z") == "a TIFF whose list of pages comes back to a page"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own
def test_what_has_no_meaning_is_refused_with_its_reason(tmp_path):
    path = tmp_path / "a.tif"
    strips, tags, _ = page(STACK[0, 0, 0, ..., None])
    for content, why in (
        (
            tiff((strips, tags | {256: 100_000, 257: 100_000, 278: 100_000}, "<")),
            "100,000 × 100,000 pixels, more than",
        ),
        (
            tiff((strips, tags | {256: 9000, 257: 9000, 278: 9000, 277: 99, 258: (16,) * 99}, "<")),
            "one page of it is 15 GiB, more than",
        ),
        (
            tiff((strips, {tag: tags[tag] for tag in tags if tag != 262}, "<")),
            "does not say whether zero is",
        ),
        (tiff(page(np.zeros((4, 4, 3), np.uint16), photometric=8)), "its colours are CIELAB"),
        (b"II*\0" + bytes(4), "a TIFF"),
        (b"II*\0\x08\0\0\0" + b"\xff" * 40, "a TIFF"),
    ):
        path.write_bytes(content)
        assert why in reason_of(path)
