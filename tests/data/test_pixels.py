"""Pixels: every kind of image file becomes 8-bit RGB as the file says, or is refused with a reason."""

import struct

import numpy as np
import pytest
from helpers.images import COLOUR, FLAT, GREY, check, chunk, found, page, png_file, saved, scaled, tiff
from PIL import EpsImagePlugin, Image, UnidentifiedImageError, features

from ubench_utils.data import pixels
from ubench_utils.data.pixels import Unreadable, decode

LOSSLESS = {
    "PNG": {},
    "TIFF": {},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True, "exact": True},
}
OTHERS = {"JPEG": {"quality": 95, "subsampling": 0}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


# Depth


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
def test_16_bits_are_scaled_from_the_range_of_the_type(order, deflate):
    check(tiff(page(GREY, order=order, deflate=deflate)), scaled(GREY))
    check(tiff(page(COLOUR, order=order, deflate=deflate)), scaled(COLOUR))


def test_png_of_16_bits_keeps_the_low_bytes_and_a_pgm_too():
    for samples in (GREY, COLOUR):
        check(png_file(samples), scaled(samples))
    opaque = np.full((6, 5, 1), 65535, np.uint16)
    check(png_file(np.concatenate([GREY, opaque], axis=2)), scaled(GREY))
    check(png_file(np.concatenate([COLOUR, opaque], axis=2)), scaled(COLOUR))
    check(b"P5 5 6 65535\n" + GREY.astype(">u2").tobytes(), scaled(GREY))
    check(b"P5 5 6 4095\n" + (GREY >> 4).astype(">u2").tobytes(), scaled(GREY >> 4, 4095), tolerance=1)


@pytest.mark.parametrize(
    "statement",
    [
        {281: 4095},
        {341: 4095},
        {270: b'<OME><Pixels SignificantBits="12" Type="uint16"/></OME>\0'},
    ],
)
@pytest.mark.parametrize("samples", [GREY >> 4, COLOUR >> 4], ids=["grey", "colour"])
def test_a_stated_range_is_used(statement, samples):
    statement = {tag: (value,) * samples.shape[2] if tag == 281 else value for tag, value in statement.items()}
    encoded = tiff(page(samples, tags=statement))
    check(encoded, scaled(samples, 4095))
    assert found(encoded)["top"] == 4095 and not pixels.notes({"a": found(encoded)}, {})


def test_a_maximum_that_is_no_whole_number_of_bits_is_a_statistic():
    check(tiff(page(GREY >> 4, tags={281: int((GREY >> 4).max())})), scaled(GREY >> 4))


def test_values_beyond_the_stated_range_are_not_cut():
    with pytest.raises(Unreadable, match=r"holds values up to [\d,]+, but states a maximum of 4,095"):
        decode(tiff(page(GREY, tags={281: 4095})))


def test_12_bits_a_sample_state_their_range():
    packed = bytes.fromhex("fff 000 800 7ff".replace(" ", ""))
    values = np.array([[[0xFFF], [0x000], [0x800], [0x7FF]]])
    _, tags, _ = page(np.zeros((1, 4, 1), np.uint16))
    check(tiff(([packed], {**tags, 258: 12}, "<")), scaled(values, 4095))


@pytest.mark.parametrize("samples", [GREY >> 4, GREY >> 6, GREY >> 8, COLOUR >> 4], ids=["12", "10", "8", "colour"])
def test_a_picture_that_uses_a_part_of_its_range_is_counted_and_named(samples):
    dark, bright = found(png_file(samples)), found(saved(FLAT, "PNG"))
    (note,) = pixels.notes({"set/one": dark, "set/two": bright, "set/three": bright}, {})
    assert note.startswith("1 of 3 images uses less than 1/16 of their range, 1 of them near black")
    assert "MaxSampleValue" in note and note.endswith("(set/one)")
    assert dark["high"] == samples.max() and dark["top"] == 65535 and dark["bits"] == 16


def test_a_narrow_range_that_is_not_dark_is_counted_too():
    (note,) = pixels.notes({"a": found(png_file((GREY >> 4) + np.uint16(32768)))}, {})
    assert "less than 1/16" in note and "0 of them near black" in note


@pytest.mark.parametrize(
    "samples",
    [
        GREY.astype(np.int32),
        GREY.astype(np.uint32),
        GREY.astype(np.int16),
        (GREY >> 8).astype(np.int8),
        GREY.astype(np.float32),
    ],
    ids=lambda samples: str(samples.dtype),
)
def test_numbers_without_a_stated_range_are_refused(samples):
    kinds = {"i": 2, "u": 1, "f": 3}
    encoded = tiff(page(samples, tags={339: kinds[samples.dtype.kind]}))
    with pytest.raises(Unreadable, match="no stated range"):
        decode(encoded)


def test_samples_in_planes_are_read_or_refused_but_not_misread():
    check(tiff(page((COLOUR >> 8).astype(np.uint8), planar=True)), COLOUR >> 8)
    for deflate in (False, True):
        with pytest.raises(Unreadable, match="a plane of its own"):
            decode(tiff(page(COLOUR, planar=True, deflate=deflate)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    image = Image.fromarray(FLAT).convert(mode)
    check(saved(image, "TIFF" if mode == "CMYK" else "PNG"), image.convert("RGB"))


def test_other_colours_are_converted_or_refused():
    image = Image.fromarray(FLAT)
    check(saved(image.convert("YCbCr"), "TIFF"), image, tolerance=2)
    with pytest.raises(Unreadable, match="store it as RGB"):
        decode(saved(image.convert("LAB"), "TIFF"))


# White is zero


def test_a_tiff_that_does_not_say_what_zero_is():
    strips, tags, order = page(GREY)
    del tags[262]
    with pytest.raises(Unreadable, match="does not say whether zero is black or white"):
        decode(tiff((strips, tags, order)))


@pytest.mark.parametrize("deflate", [False, True])
def test_white_is_zero_at_every_depth(deflate):
    eight = (GREY >> 8).astype(np.uint8)
    check(tiff(page(eight, 0, deflate=deflate)), scaled(255 - eight, 255))
    check(tiff(page(GREY, 0, deflate=deflate)), scaled(65535 - GREY))
    check(tiff(page(GREY >> 4, 0, deflate=deflate, tags={281: 4095})), scaled(4095 - (GREY >> 4), 4095))


def test_white_is_zero_of_one_bit():
    strips, tags, order = page(np.array([[[0b10100000]]], np.uint8), 0)
    check(tiff((strips, {**tags, 256: 3, 258: 1}, order)), scaled(np.array([[[0], [255], [0]]]), 255))


def test_white_is_zero_that_pillow_cannot_read_is_refused():
    with pytest.raises(Unreadable, match="a TIFF that is broken or whose kind of pixels"):
        decode(tiff(page(GREY, 0, order=">")))


# Transparency


def cut_out(hidden, format_):
    """One picture whose left half is transparent, with a colour hidden there, in some way of storing it."""
    rgba = np.dstack([FLAT, np.full((32, 48), 255, np.uint8)])
    rgba[:, :24] = (*hidden, 0)
    if format_ in ("PNG", "TIFF", "WEBP"):
        return saved(rgba, format_, **LOSSLESS[format_])
    if format_ in ("LA", "PA"):
        grey = rgba.copy()
        grey[..., :3] = grey[..., :1]
        return saved(Image.fromarray(grey).convert(format_), "PNG" if format_ == "LA" else "TIFF")
    if format_ == "16 bits":
        return png_file(rgba.astype(np.uint16) * 257)
    if format_ == "16 bits, LA":
        return png_file(rgba[..., [0, 3]].astype(np.uint16) * 257)
    index = np.zeros((32, 48), np.uint8)
    index[:, 24:] = 1 + (FLAT[:, 24:, 2] > 100)
    image = Image.fromarray(index, "P")
    image.putpalette([*hidden, 9, 9, 9, 20, 60, 220])
    return saved(image, format_.removeprefix("palette, "), transparency=0)


WAYS = ["PNG", "TIFF", "WEBP", "LA", "PA", "16 bits", "16 bits, LA", "palette, PNG", "palette, GIF"]


@pytest.mark.parametrize("way", WAYS)
def test_a_colour_hidden_under_transparency_never_counts(way):
    one, other = (decode(cut_out(hidden, way)) for hidden in ((0, 0, 0), (40, 255, 7)))
    assert one.tobytes() == other.tobytes()
    assert (np.asarray(one)[:, :24] == 255).all() and np.asarray(one)[:, 24:].min() < 60
    facts = one.info["found"]
    assert facts["transparent"] and facts["high"] == other.info["found"]["high"]
    assert pixels.notes({"a": facts}, {}) == ["1 of 1 images has transparent pixels, which are laid on white (a)"]


@pytest.mark.parametrize("samples", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_transparent_colour_of_16_bits_is_that_colour_alone(samples):
    near = samples.copy()
    near[0, 0], near[0, 1] = 0x1234, 0x1235  # alike in 8 bits
    clear = struct.pack(f">{near.shape[2]}H", *near[0, 0])
    expected = scaled(near).copy()
    expected[0, 0] = 255
    check(png_file(near, before=chunk(b"tRNS", clear)), expected)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_grey_of_few_bits(bits):
    levels = np.arange(2**bits)[None, :, None]
    encoded = png_file(levels, bits, before=chunk(b"tRNS", struct.pack(">H", 1)))
    expected = scaled(levels, 2**bits - 1).copy()
    expected[0, 1] = 255
    check(encoded, expected)
    assert found(encoded)["bits"] == bits


def test_opaque_alpha_is_no_transparency():
    rgba = np.dstack([FLAT, np.full((32, 48), 255, np.uint8)])
    check(saved(rgba, "PNG"), FLAT)
    assert not found(saved(rgba, "PNG"))["transparent"] and not pixels.notes({"a": found(saved(rgba, "PNG"))}, {})


# Orientation


def tagged(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def turned(array, orientation):
    turn = pixels.TURNS.get(orientation)
    return array if turn is None else np.asarray(Image.fromarray(np.ascontiguousarray(array)).transpose(turn))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_picture_once_in_every_format(orientation):
    expected = turned(FLAT, orientation)
    for name, options in (LOSSLESS | OTHERS).items():
        encoded = saved(FLAT, name.partition(",")[0], exif=tagged(orientation), **options)
        check(encoded, expected, tolerance=0 if name in LOSSLESS else 12)
        assert found(encoded)["orientation"] == orientation
    late = chunk(b"eXIf", tagged(orientation).tobytes().removeprefix(b"Exif\0\0"))
    check(png_file(COLOUR, before=late), turned(scaled(COLOUR), orientation))
    check(png_file(COLOUR, after=late), turned(scaled(COLOUR), orientation))
    for order in "<>":
        check(tiff(page(GREY, tags={274: orientation}, order=order)), turned(scaled(GREY), orientation))
    second = page(COLOUR, tags={274: orientation}, deflate=True)
    check(tiff(page(COLOUR[:2], tags={254: 1}), second), turned(scaled(COLOUR), orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_xmp_counts_where_exif_states_none(orientation):
    text = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    expected = turned(scaled(COLOUR), orientation)
    check(png_file(COLOUR, after=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)), expected)
    check(tiff(page(COLOUR, tags={700: text})), expected)
    check(saved(FLAT, "JPEG", xmp=text, **OTHERS["JPEG"]), turned(FLAT, orientation), tolerance=12)


def test_a_turned_picture_is_told():
    (note,) = pixels.notes({"a": found(saved(FLAT, "JPEG", exif=tagged(6)))}, {})
    assert note == "1 of 1 images is turned or mirrored, as the file says (a)"


@pytest.mark.parametrize(
    "junk",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05",
        b"no exif at all",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0",  # a text
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",  # 9
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_tag_does_not_fail_the_picture(junk):
    for format_ in ("PNG", "JPEG", "WEBP"):
        check(saved(FLAT, format_, exif=junk, **(LOSSLESS | OTHERS)[format_]), FLAT, tolerance=12)
    for value in (0, 9, 70000, b"6\0"):
        check(tiff(page(FLAT, tags={274: value})), FLAT)
    check(tiff(page(FLAT, tags={34665: 99999})), FLAT)
    check(tiff(page(COLOUR, tags={700: b"a text, where bytes belong\0"})), scaled(COLOUR))


# Formats, damage, trouble


@pytest.mark.parametrize(
    "encoded",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(trace) (w) file closefile\nshowpage\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html>",
        saved(FLAT, "ICO"),
        saved(FLAT, "TGA"),
        saved(FLAT, "PCX"),
    ],
    ids=["EPS", "SVG", "HTML", "ICO", "TGA", "PCX"],
)
def test_other_formats_are_refused_before_their_plugin_sees_them(encoded, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "EpsImageFile", None)
    with pytest.raises(Unreadable, match="neither PNG, JPEG, TIFF"):
        decode(encoded)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "PPM", "JPEG2000"])
def test_a_cut_file_is_refused(format_):
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    encoded = saved(noise, format_)
    for share in (0.1, 0.5, 0.95):
        with pytest.raises(Unreadable):
            decode(encoded[: int(share * len(encoded))])


def test_every_flip_in_a_png_is_noticed():
    """Its chunks have checksums, which Pillow does not look at while it decodes."""
    encoded = saved(FLAT, "PNG", compress_level=0)
    pixels_start = encoded.index(b"IDAT") + 4
    for at in range(pixels_start, len(encoded) - 20, 97):
        flipped = bytearray(encoded)
        flipped[at] ^= 1
        with pytest.raises(Unreadable):
            decode(bytes(flipped))


def test_a_picture_beyond_pillows_limit_gives_a_reason(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Unreadable, match="exceeds limit"):
        decode(saved(FLAT, "PNG"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(24, "Too many open files"),
        OSError(5, "Input/output error"),
        OSError("decoder avif not available"),
        OSError("out of memory when reading image file"),
        RuntimeError("can't start new thread"),
    ],
)
def test_trouble_is_no_fact_of_the_picture(error, monkeypatch):
    def fail(*_, **__):
        raise error

    encoded = saved(FLAT, "PNG")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(type(error)) as caught:
        decode(encoded)
    assert caught.value is error


def test_a_format_that_this_pillow_lacks_is_no_fact_of_the_picture(monkeypatch):
    encoded = saved(FLAT, "WEBP")
    with monkeypatch.context() as patch:
        patch.delitem(Image.OPEN, "WEBP")
        with pytest.raises(OSError, match="this Pillow lacks WEBP") as caught:
            decode(encoded)
        assert not isinstance(caught.value, UnidentifiedImageError)
    assert decode(encoded).size == (48, 32)


def test_the_decoder_names_all_that_can_change_pixels(monkeypatch):
    before = pixels.decoder()
    monkeypatch.setattr("PIL.__version__", "99.0")
    assert pixels.decoder() != before
    monkeypatch.undo()
    monkeypatch.setattr(pixels, "RULE", pixels.RULE + 1)
    assert pixels.decoder() != before
    monkeypatch.undo()
    monkeypatch.setattr(features, "version", lambda name: "0")
    assert pixels.decoder() != before


def test_reasons_are_counted_and_the_rarest_are_not_spelt_out():
    failed = {f"s/{at}": "it is cut" for at in range(3)} | {f"s/{why}": f"no {why}" for why in "bcdefg"}
    told = "; ".join(f"1 × no {why} (s/{why})" for why in "bcde")
    assert pixels.notes({"s/a": found(saved(FLAT, "PNG"))}, failed) == [
        f"9 of 10 images cannot be read and count for nothing: 3 × it is cut (s/0, s/1 …); {told}; 2 more reasons"
    ]


def test_samples_without_a_meaning_are_told():
    four = np.dstack([FLAT, FLAT[..., :1]])
    encoded = tiff(page(four, tags={338: 0}))
    check(encoded, FLAT)
    assert "hold samples without a stated meaning" in pixels.notes(dict.fromkeys("ab", found(encoded)), {})[0]
