"""From values to a picture of 8 bits: what each kind of number, colour and stack means, computed from its metadata."""

import numpy as np
import pytest
from helpers.images import page, tiff
from helpers.micrographs import (
    CHANNELS,
    GREY,
    OME,
    STACK,
    coloured,
    grey,
    levels,
    picture_of,
    reason_of,
    shown,
    written,
)
from tifffile import imread

from ubench_utils.collection.rendering import read_range
from ubench_utils.errors import UserError

PLANE = STACK[0, 0, 0]
RGB8 = np.random.default_rng(1).integers(0, 256, (3, 26, 18, 3)).astype(np.uint8)
RGB16 = np.random.default_rng(2).integers(0, 65536, (26, 18, 3)).astype(np.uint16)
RGB16[0, 0] = 65535
MAGENTA_GREEN = [(255, 0, 255), (0, 255, 0)]


def packed(values) -> bytes:
    """Rows of whole numbers of 12 bits, each row from a new byte."""
    bits = (values[..., None] >> np.arange(12)[::-1]) & 1
    return b"".join(np.packbits(row.reshape(-1)).tobytes() for row in bits.astype(bool))


def check(path, expected, rule=None, **options):
    made = picture_of(path, **options)
    np.testing.assert_array_equal(shown(made), expected)
    assert rule is None or made.rendering == rule


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.uint8, 0, 255),
        (np.uint16, 0, 4095),
        (np.uint16, 100, 3001),
        (np.uint32, 0, 262_139),
        (np.int16, -2000, 2001),
        (np.int32, -70_000, 70_001),
        (np.float32, -0.5, 1.5),
        (np.float64, 0, 4095),
        (np.float16, 0, 255),
    ],
)
def test_every_kind_of_number_is_scaled_from_the_range_that_is_asked_for(dtype, low, high, white_is_zero, tmp_path):
    values = (low + PLANE / 4095 * (high - low)).astype(dtype)
    values[:3, :4] = values.min()
    photometric = "miniswhite" if white_is_zero else "minisblack"
    for name, held, options in (
        ("one", values, {}),
        ("compressed", values, {"compression": "zlib", "tile": (16, 16)}),
        ("big-endian", values, {"byteorder": ">"}),
        ("pages", np.stack([values, values.T.reshape(values.shape)]), {}),
    ):
        path = written(tmp_path / f"{name}.tif", held, photometric=photometric, **options)
        expected = levels(imread(path)[..., :, :].reshape(-1, *values.shape)[0].astype(np.float64), high, low)
        made = picture_of(path, span=(float(low), float(high)), pages="z", choices={"z": "1"})
        difference = shown(made).astype(int) - grey(255 - expected if white_is_zero else expected)
        assert np.abs(difference).max() <= (dtype in (np.float32, np.float64, np.float16))  # halves of fractions
        assert np.abs(difference).mean() < 0.05


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_what_the_file_states_is_its_range(white_is_zero, tmp_path):
    path, photometric = tmp_path / "a.tif", "miniswhite" if white_is_zero else "minisblack"
    turned = (lambda values: 255 - values) if white_is_zero else (lambda values: values)
    expected = grey(turned(levels(PLANE, 4095)))
    for options in (
        {"ome": True, "metadata": {"SignificantBits": 12}},
        {"extratags": [(281, "H", 1, 4095, True)]},
        {"extratags": [(341, "H", 1, 4095, True)]},
    ):
        written(path, PLANE, photometric=photometric, **options)
        check(path, expected)
        assert "states a maximum of 4,095" in reason_of(written(path, PLANE * 2, photometric=photometric, **options))
    strips, tags, order = page(PLANE[..., None], photometric=0 if white_is_zero else 1)
    path.write_bytes(tiff(([packed(PLANE)], tags | {258: 12}, order)))
    check(path, expected)
    ends = "0…65,535 → 0…255 (range of the data type)" + "; white is zero" * white_is_zero
    check(written(path, PLANE, photometric=photometric), grey(turned(levels(PLANE, 65535))), ends, span="type")
    signed = (PLANE.astype(int) - 2000).astype(np.int16)
    whole = grey(turned(levels(signed, 32767, -32768)))
    check(written(path, signed, photometric=photometric), whole, span="type")


def test_values_without_a_range_are_refused_with_what_they_are(tmp_path):
    for values, what in (
        (PLANE.astype(np.float32), "floats, here from 0 to 4,095"),
        (PLANE.astype(np.int16) - 1, "whole numbers with a sign, here from -1 to 4,094"),
        (PLANE.astype(np.uint32) * 64, "whole numbers of 32 bits, here from 0 to 262,080"),
    ):
        values.flat[-1] = -1 if values.dtype.kind == "i" else 0
        with pytest.raises(UserError, match=f"'a.tif' holds {what}, and no range is stated; .*--range LOW:HIGH"):
            picture_of(written(tmp_path / "a.tif", values, **GREY))
    with pytest.raises(UserError, match="no range is stated"):
        picture_of(written(tmp_path / "a.tif", PLANE.astype(np.float32), **GREY), span="type")


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("values", [RGB8[0], RGB16], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "lzma", "packbits", "lerc"])
def test_colours_are_the_same_however_they_are_laid_out_and_packed(layout, values, compression, tmp_path):
    held = np.moveaxis(values, -1, 0) if layout == "separate" else values
    options = {"planarconfig": layout, "photometric": "rgb", "compression": compression}
    predictor = {"predictor": 2} if compression in ("zlib", "lzw", "zstd") else {}
    path = written(tmp_path / "a.tif", held, **options, **predictor)
    check(path, levels(values, np.iinfo(values.dtype).max))


def test_colours_that_a_program_lists_as_channels_are_colours(tmp_path):
    for channels in (1, 3):
        words = f"ImageJ=1.11a\nimages={channels}\nchannels={channels}\nslices=1\n"
        path = written(
            tmp_path / "a.tif", np.moveaxis(RGB16, -1, 0), photometric="rgb", planarconfig="separate", description=words
        )
        check(path, levels(RGB16, 65535))
    five = np.concatenate([RGB8[0], RGB8[1, ..., :2]], axis=-1)
    path = written(
        tmp_path / "b.tif", np.stack([five, five[::-1]]), photometric="rgb", extrasamples=["unspecified"] * 2
    )
    rule = "t: 2 of 2; 0…255 → 0…255 (8 bits per sample); 2 samples without a stated meaning are not shown"
    check(path, RGB8[0, ::-1], rule, pages="t", choices={"t": "2"})


def test_a_file_of_a_set_is_no_stack_of_unnamed_pages(tmp_path):
    path = tmp_path / "a.ome.tif"
    tiff_data = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z % 2}" PlaneCount="1"><UUID FileName="{name}.ome.tif">'
        f"urn:uuid:00000000-0000-0000-0000-00000000000{name}</UUID></TiffData>"
        for z, name in enumerate("aabb")
    )
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:00000000-0000-0000-0000-00000000000a"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="18" SizeY="26" SizeC="1" SizeZ="4" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{tiff_data}</Pixels></Image></OME>'
    )
    written(path, STACK[0, 0, :2], description=text, **GREY)
    assert "names pages in other files; save it as one file" in reason_of(path, pages="z", choices={"z": "1"})


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "png", "jpegxl"])
def test_pixels_of_pictures_within_a_tiff_are_those_of_an_independent_decoder(compression, tmp_path):
    smooth = np.add.outer(np.arange(48), np.arange(32))[..., None] * np.array([1, 2, 3]) % 256
    options = {"compression": compression, "photometric": "rgb", "tile": (16, 16)}
    path = written(tmp_path / "a.tif", np.stack([smooth, smooth[::-1]]).astype(np.uint8), **options)
    check(path, imread(path)[1], pages="t", choices={"t": "2"})


def test_planes_and_projections(tmp_path):
    path = written(tmp_path / "a.ome.tif", STACK, ome=True, metadata=OME | CHANNELS, **GREY)
    stack = STACK[1, 1]
    for z, values, said in (
        ("1", stack[0], "plane 1 of 5"),
        ("5", stack[4], "plane 5 of 5"),
        ("middle", stack[2], "plane 3 of 5"),
        ("Maximum", stack.max(axis=0), "maximum of 5 planes"),
        ("mean", stack.sum(axis=0, dtype=np.int64) / 5, "mean of 5 planes"),
    ):
        rule = f"z: {said}; t: 2 of 3; GFP alone; 0…4,095 → 0…255 (SignificantBits)"
        check(path, grey(levels(values, 4095)), rule, choices={"z": z, "t": "2", "channel": "gfp"})
    dark = written(tmp_path / "white.tif", stack, photometric="miniswhite", metadata=None)
    brightest = 255 - levels(stack.min(axis=0), 65535)
    check(dark, grey(brightest), pages="z", choices={"z": "maximum"}, span="type")
    even = written(tmp_path / "even.tif", stack[:4], **GREY)
    check(even, grey(levels(stack[1], 65535)), pages="z", choices={"z": "middle"}, span="type")


def test_channels_are_added_in_the_colours_that_the_file_states(tmp_path):
    path, how = tmp_path / "a.ome.tif", {"choices": {"z": "2", "t": "3"}}
    eight = levels(STACK[2, :, 1], 4095)

    def of(colours):
        channel = {"Channel": {"Name": ["DAPI", "GFP"], "Color": colours}} if colours else {}
        return written(path, STACK, ome=True, metadata=OME | channel, **GREY)

    start, end = "z: plane 2 of 5; t: 3 of 3; ", "; 0…4,095 → 0…255 (SignificantBits)"
    check(of([0x0000FFFF, 0x00FF00FF]), coloured(eight, [(0, 0, 255), (0, 255, 0)]), **how)
    check(
        of([-16776961, 0x804000FF]),
        coloured(eight, [(255, 0, 0), (128, 64, 0)]),
        f"{start}DAPI red, GFP #804000{end}",
        **how,
    )
    rule = f"{start}DAPI magenta, GFP green{end}"
    check(of([-1, -1]), coloured(eight, MAGENTA_GREEN), rule, **how)  # alike, they say nothing
    check(of(None), coloured(eight, MAGENTA_GREEN), f"{start}channel 1 magenta, channel 2 green{end}", **how)


def test_more_channels_have_the_order_of_imagej_and_too_many_are_asked_for(tmp_path):
    many = np.random.default_rng(3).integers(0, 256, (8, 26, 18)).astype(np.uint8)
    order = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0)]
    for n in (3, 7):
        path = written(tmp_path / f"{n}.tif", many[:n], **GREY)
        check(path, coloured(many[:n], order[:n]), pages="channel")
    path = written(tmp_path / "8.tif", many, **GREY)
    with pytest.raises(UserError, match=r"'8.tif' holds 8 channels; say what is meant with --channel N\|NAME"):
        picture_of(path, pages="channel")
    check(
        path,
        grey(many[7]),
        "channel 8 alone; 0…255 → 0…255 (8 bits per sample)",
        pages="channel",
        choices={"channel": "8"},
    )


def test_lookup_tables_of_imagej_are_applied(tmp_path):
    fire = np.random.default_rng(4).integers(0, 256, (3, 256)).astype(np.uint8)
    ramp = np.stack([np.arange(256), np.arange(256) * 0, np.arange(256) * 0]).astype(np.uint8)
    two = RGB8[0, ..., :2].transpose(2, 0, 1).copy()
    path = written(tmp_path / "a.tif", two, imagej=True, metadata={"axes": "CYX", "LUTs": [fire, ramp]})
    expected = np.minimum(fire.T[two[0]].astype(int) + ramp.T[two[1]], 255)
    check(
        path, expected, "channel 1 in a table of colours of its own, channel 2 red; 0…255 → 0…255 (8 bits per sample)"
    )


def test_palettes_alpha_and_orientation_mean_in_a_stack_what_they_mean_in_a_picture(tmp_path):
    path, how = tmp_path / "a.tif", {"pages": "t", "choices": {"t": "2"}}
    index, table = RGB8[..., 0], np.random.default_rng(5).integers(0, 65536, (3, 256)).astype(np.uint16)
    written(path, index, photometric="palette", colormap=table)
    check(path, levels(table.T[index[1]], 65535), span="type", **how)
    straight = np.concatenate([RGB8, index[..., None]], axis=-1)
    written(path, straight, photometric="rgb", extrasamples=["unassalpha"])
    share = index[1][..., None] / 255
    laid = np.floor(RGB8[1] * share + 255 * (1 - share) + 0.5)
    assert np.abs(shown(picture_of(path, **how)) - laid).max() <= 1
    hidden = straight.copy()
    hidden[index == 0, :3] = 0
    before = shown(picture_of(path, **how))
    written(path, hidden, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(shown(picture_of(path, **how)), before)
    for orientation, turn in ((3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (2, lambda a: a[:, ::-1])):
        written(path, RGB8, photometric="rgb", extratags=[(274, "H", 1, orientation, False)])
        check(path, turn(RGB8[1]), **how)
        assert picture_of(path, **how).rendering.endswith("; turned as the file says")


def test_percentiles_spread_each_channel_by_itself(tmp_path):
    path, how = tmp_path / "a.ome.tif", {"choices": {"z": "2", "t": "3"}, "span": "percentiles"}
    written(path, STACK, ome=True, metadata=OME, **GREY)
    spread = []
    for values in STACK[2, :, 1].astype(float):
        low, high = np.quantile(values, [0.001, 0.999])
        spread.append(np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8))
    difference = shown(picture_of(path, **how)).astype(int) - coloured(spread, MAGENTA_GREEN)
    assert np.abs(difference).max() <= 1
    flat = written(tmp_path / "flat.tif", np.full((9, 9), 7, np.uint16), **GREY)
    assert "almost all of its values are 7, which percentiles cannot spread" in reason_of(flat, span="percentiles")
    check(flat, grey(np.full((9, 9), 0)), span="type")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_named(bad, tmp_path):
    values = PLANE.astype(np.float32)
    values[3, 4:6] = bad
    for span in ((0.0, 1.0), "percentiles", None):
        assert "2 of its values are no finite numbers" in reason_of(
            written(tmp_path / "a.tif", values, **GREY), span=span
        )


@pytest.mark.parametrize(
    "text", ["", "0", "0:", ":9", "9:0", "3:3", "nan:1", "0:inf", "0:1:2", "Type", "auto", "0-255", "0..9"]
)
def test_a_range_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UserError, match="--range '.*': write type, percentiles, or the values"):
        read_range(text)
    assert [read_range(one) for one in (None, "type", "-100:1e3")] == [None, "type", (-100.0, 1000.0)]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({}, r"holds 5 planes \(z\) and 3 times \(t\); say what is meant with --z N\|middle\|maximum\|mean and --t N"),
        ({"z": "maximum"}, r"holds 3 times \(t\); say what is meant with --t N, or in the table \(columns: t\)"),
        ({"z": "0", "t": "1"}, "z '0' is none of 1 to 5, middle, maximum or mean"),
        ({"z": "6", "t": "1"}, "z '6' is none of 1 to 5"),
        ({"z": "max", "t": "1"}, "z 'max' is none of 1 to 5"),
        ({"z": "1.5", "t": "1"}, "z '1.5' is none of"),
        ({"z": "1", "t": "4"}, "t '4' is none of 1 to 3"),
        ({"z": "1", "t": "maximum"}, "t 'maximum' is none of 1 to 3"),
        ({"z": "1", "t": "1", "channel": "3"}, r"channel '3' is none of its 2 channels \(1 DAPI, 2 GFP\)"),
        ({"z": "1", "t": "1", "channel": "Cy5"}, "channel 'Cy5' is none of its 2 channels"),
        ({"z": "1", "t": "1", "scene": "2"}, "has one scene alone, not --scene 2"),
    ],
)
def test_a_choice_that_is_not_there_is_refused_in_one_line(choices, words, tmp_path):
    path = written(tmp_path / "a.ome.tif", STACK, ome=True, metadata=OME | CHANNELS, **GREY)
    with pytest.raises(UserError, match=f"'a.ome.tif'.*{words}") as error:
        picture_of(path, choices=choices)
    assert len(str(error.value).splitlines()) == 1


def test_channels_that_are_called_by_numbers_are_found_by_their_names(tmp_path):
    names = {"Channel": {"Name": ["488", "2", "561", "561"]}}
    values = np.stack([PLANE, PLANE[::-1], PLANE.T.reshape(PLANE.shape), PLANE])
    path = written(
        tmp_path / "a.ome.tif", values, ome=True, metadata={"axes": "CYX", "SignificantBits": 12} | names, **GREY
    )
    for channel, at in (("488", 0), ("2", 1), ("1", 0), ("4", 3)):
        check(path, grey(levels(values[at], 4095)), choices={"channel": channel})
    with pytest.raises(UserError, match="channel '561' is the name of 2 of its 4 channels"):
        picture_of(path, choices={"channel": "561"})
