"""One picture a file: several pages, frames and stacks are refused, copies of the picture are passed over."""

import struct

import numpy as np
import pytest
from helpers.images import FLAT, GREY, check, found, page, saved, scaled, tiff
from PIL import Image

from ubench_utils.data import pixels
from ubench_utils.data.pixels import Unreadable, decode, size

SEVERAL = ["AVIF", "GIF", "MPO", "PNG", "TIFF", "WEBP"]


@pytest.mark.parametrize("format_", SEVERAL)
def test_several_pages_or_frames_are_refused(format_):
    others = [Image.fromarray(FLAT[::-1].copy()), Image.fromarray(FLAT[:, ::-1].copy())]
    encoded = saved(FLAT, format_, save_all=True, append_images=others)
    for read in (decode, size):
        with pytest.raises(Unreadable, match="the file holds 3 (pages|frames); store the plane or projection you mean"):
            read(encoded)


def test_reduced_copies_are_no_pages():
    small, whole = page(GREY[:3], tags={254: 1}), page(GREY)
    for encoded in (tiff(small, whole), tiff(whole, small), tiff(whole, page(GREY[:3], tags={255: 2}))):
        check(encoded, scaled(GREY))
        (note,) = pixels.notes({"a": found(encoded)}, {})
        assert "1 of 1 images holds smaller copies" in note
    for refused in (tiff(whole, whole), tiff(small, whole, whole), tiff(whole, page(GREY, tags={254: 4}))):
        with pytest.raises(Unreadable, match="store the plane"):
            decode(refused)
    check(tiff(small), scaled(GREY[:3]))  # nothing else is there


@pytest.mark.parametrize(
    "tags",
    [
        {270: b"ImageJ=1.54f\nimages=5\nslices=5\n\0"},
        {270: b'{"shape": [5, 6, 5]}\0'},
        {32997: 5},
        {33629: (1,) * 10},
    ],
    ids=["ImageJ", "tifffile", "volume", "MetaMorph"],
)
def test_a_stack_within_one_page_is_refused(tags):
    one, more = tiff(page(GREY, tags=tags)), np.concatenate([GREY] * 5)
    strips, known, order = page(more, tags={**tags, 257: 6, 278: 6})
    for read in (decode, size):
        with pytest.raises(Unreadable, match=r"a stack of (5|10) planes in one page; store the plane or projection"):
            read(tiff((strips, known, order)))
    if 270 in tags:  # the words alone, which a program kept as it saved one plane
        check(one, scaled(GREY))


def test_the_picture_is_not_taken_for_its_copy():
    for refused, why in (
        (tiff(page(GREY, tags={254: 1, 330: 8})), "a small copy, and the picture itself where it is not read"),
        (tiff(page(GREY), page(GREY, photometric=9)), "several pages, one of a kind that Pillow cannot read"),
        (2 * (b"P5 5 6 65535\n" + GREY.astype(">u2").tobytes()), "several pictures, one after the other"),
        (2 * (b"P6 48 32 255\n" + FLAT.tobytes()), "several pictures, one after the other"),
        (2 * (b"P4 9 3\n" + bytes(6)), "several pictures, one after the other"),
    ):
        with pytest.raises(Unreadable, match=f"the file holds {why}.*; store the plane or projection you mean"):
            decode(refused)
    check(b"P5 5 6 65535\n" + GREY.astype(">u2").tobytes() + b"\n", scaled(GREY))


def test_a_cameras_preview_or_gain_map_is_no_page():
    small = Image.fromarray(FLAT[::4, ::4].copy())
    encoded = saved(FLAT, "MPO", save_all=True, append_images=[small], quality=95, subsampling=0)
    check(encoded, FLAT, tolerance=12)
    assert found(encoded)["pages"] == 2
    alone = encoded[: encoded.rindex(b"\xff\xd8")]  # some program dropped the preview and left the list of pictures
    check(alone, FLAT, tolerance=12)
    second = encoded.index(b"MPF\0") + 54 + 16  # its kind, after headers and the first entry
    assert encoded[second - 16 : second - 12] == struct.pack("<I", 0x030000)
    for kind, is_page in ((0x010001, False), (0x020001, True), (0x020002, True)):  # thumbnail, panorama, stereo
        other = encoded[:second] + struct.pack("<I", kind) + encoded[second + 4 :]
        if is_page:
            with pytest.raises(Unreadable, match="the file holds 2 frames"):
                decode(other)
        else:
            check(other, FLAT, tolerance=12)
