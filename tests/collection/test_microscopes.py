"""Files of the makers of microscopes: planes, colours, bit depths and pixel sizes are those that were written."""

import re

import numpy as np
import pytest
from helpers import leica, nikon
from helpers.micrographs import STACK, coloured, grey, levels, picture_of, reason_of, shown

from ubench_utils.collection import microscopes
from ubench_utils.errors import UserError

BLUE_GREEN = [(0, 0, 255), (0, 255, 0)]
RGB = np.random.default_rng(7).integers(0, 256, (26, 18, 3)).astype(np.uint8)


def czi_file(path, planes, bits=None, names=True, scale=0.2e-6):
    """Write a CZI; ``planes`` maps (scene, channel, plane, time) to values, those of colours in blue, green, red."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(path), exist_ok=True) as document:
        for (scene, c, z, t), values in planes.items():
            at = {"plane": {"C": c, "Z": z, "T": t}, "location": (100 * scene, 0)}
            values = values if values.ndim == 3 else values[..., None]
            document.write(values, **at, **({"scene": scene} if any(key[0] for key in planes) else {}))
        shown_as = {
            c: czi.ChannelDisplaySettingsDataClass(
                True, czi.TintingMode.Color, czi.Rgb8Color(*map(np.uint8, colour)), 0.0, 0.5
            )
            for c, colour in enumerate(BLUE_GREEN)
        }
        called = {0: "DAPI", 1: "GFP"}
        display = {"channel_names": called, "display_settings": shown_as} if names else {}
        document.write_metadata(path.name, scale_x=scale, scale_y=scale, **display)
    if bits:
        with czi.edit_czi(str(path)) as editor, editor.edit_session() as builder:
            count = f"<ComponentBitCount>{bits}</ComponentBitCount><PixelType>"
            builder.set_xml(builder.get_xml().replace("<PixelType>", count))
    return path


def test_planes_of_a_czi(tmp_path):
    stack = STACK[:2]
    planes = {(0, c, z, t): stack[t, c, z] for t, c, z in np.ndindex(stack.shape[:3])}
    path = czi_file(tmp_path / "a.czi", planes, bits=12)
    with microscopes.open_microscope(path, "a.czi") as found:
        assert (found.times, len(found.channels), found.planes, found.height, found.width) == stack.shape
        assert [(one.name, one.top, tuple(one.colours[255])) for one in found.channels] == [
            ("DAPI", 4095, (0, 0, 255)),
            ("GFP", 4095, (0, 255, 0)),
        ]
        assert found.microns_per_pixel == pytest.approx(0.2)
        for (_, c, z, t), values in planes.items():
            np.testing.assert_array_equal(found.read(c, z, t), values)
    with pytest.raises(UserError, match=r"'a.czi' holds 5 planes \(z\) and 2 times \(t\); say what is meant"):
        picture_of(path)
    made = picture_of(path, choices={"z": "maximum", "t": "2"})
    np.testing.assert_array_equal(shown(made), coloured(levels(stack[1].max(axis=1), 4095), BLUE_GREEN))
    assert made.rendering == (
        "z: maximum of 5 planes; t: 2 of 2; DAPI blue, GFP green; 0…4,095 → 0…255 (ComponentBitCount)"
    )
    one = picture_of(path, choices={"z": "3", "t": "1", "channel": "gfp"})
    np.testing.assert_array_equal(shown(one), grey(levels(stack[0, 1, 2], 4095)))


def test_colours_scenes_and_gaps_of_a_czi(tmp_path):
    path = czi_file(tmp_path / "rgb.czi", {(0, 0, 0, 0): RGB[..., ::-1].copy()}, names=False)
    np.testing.assert_array_equal(shown(picture_of(path)), RGB)
    two = {(scene, 0, 0, 0): levels(STACK[0, 0, scene], 4095) for scene in (0, 1)}
    path = czi_file(tmp_path / "scenes.czi", two, names=False, scale=0.0)
    with pytest.raises(UserError, match="'scenes.czi' holds 2 scenes"):
        picture_of(path)
    for scene in (0, 1):
        made = picture_of(path, choices={"scene": str(scene + 1)})
        np.testing.assert_array_equal(shown(made), grey(two[scene, 0, 0, 0]))
        assert made.microns_per_pixel is None
    gap = {(0, c, z, 0): STACK[0, c, z] for c, z in ((0, 0), (0, 1), (1, 0))}
    path = czi_file(tmp_path / "gap.czi", gap)
    assert reason_of(path, choices={"z": "2"}, span="type") == "plane 2 of channel 2 at time 1 is not in the file"
    np.testing.assert_array_equal(
        shown(picture_of(path, choices={"z": "2", "channel": "DAPI"}, span="type")), grey(levels(STACK[0, 0, 1], 65535))
    )
    floats = czi_file(tmp_path / "f.czi", {(0, 0, 0, 0): STACK[0, 0, 0].astype(np.float32)}, names=False)
    with pytest.raises(UserError, match="'f.czi' holds floats, here from"):
        picture_of(floats)


@pytest.fixture
def lif_file(tmp_path):
    pytest.importorskip("liffile")

    def make(*images):
        (tmp_path / "a.lif").write_bytes(leica.lif(*images))
        return tmp_path / "a.lif"

    return make


def series(name, values=STACK, bits=12, colours=("Blue", "Green"), **options):
    step = {"metres": {"X": 0.2e-6 * (values.shape[-1] - 1), "Y": 0.2e-6 * (values.shape[-2] - 1)}}
    return leica.image(name, values, "TCZYX", bits=bits, colours=colours, **(step | options))


def test_planes_and_scenes_of_a_lif(lif_file):
    path = lif_file(series("one"), series("two", STACK[:1, :, :, :9] // 16, bits=8 + 2))
    with pytest.raises(UserError, match=r"'a.lif' holds 2 scenes \(1 one, 2 two\); say which with --scene"):
        picture_of(path)
    with microscopes.open_microscope(path, "a.lif", scene="one") as found:
        assert (found.times, len(found.channels), found.planes, found.height, found.width) == STACK.shape
        assert [(one.top, tuple(one.colours[255])) for one in found.channels] == [
            (4095, (0, 0, 255)),
            (4095, (0, 255, 0)),
        ]
        assert found.microns_per_pixel == pytest.approx(0.2)
        for t, c, z in np.ndindex(STACK.shape[:3]):
            np.testing.assert_array_equal(found.read(c, z, t), STACK[t, c, z])
    made = picture_of(path, choices={"scene": "2", "z": "mean"})
    mean = (STACK[0, :, :, :9] // 16).sum(axis=1, dtype=int) / 5
    np.testing.assert_array_equal(shown(made), coloured(levels(mean, 1023), BLUE_GREEN))
    rule = "scene 2 of 2; z: mean of 5 planes; channel 1 blue, channel 2 green; 0…1,023 → 0…255 (Resolution)"
    assert made.rendering == rule


def test_colours_and_axes_of_a_lif(lif_file):
    size = {"bits": 8, "colours": ["Red", "Green", "Blue"], "metres": {"X": 1e-6, "Y": 1e-6}}
    made = picture_of(lif_file(leica.image("rgb", RGB, "YXS", **size)))
    np.testing.assert_array_equal(shown(made), RGB)
    assert np.isnan(made.microns_per_pixel)  # it is not as wide as high
    backwards = {**size, "colours": ["Blue", "Green", "Red"]}
    path = lif_file(leica.image("bgr", RGB[..., ::-1].copy(), "YXS", **backwards))
    np.testing.assert_array_equal(shown(picture_of(path)), RGB)
    tiles = lif_file(leica.image("tiles", STACK[0, 0], "MYX", bits=12, colours=["Gray"], metres={}))
    assert reason_of(tiles) == "it holds axes that no option chooses from (5 along M); save the part you mean"
    with pytest.raises(UserError, match="'a.lif' holds floats"):
        picture_of(lif_file(series("f", STACK[:1, :1, :1].astype(np.float32), bits=32)))


def nd2_file(path, stack, **how):
    pytest.importorskip("nd2")
    how = {"bits": 12, "names": ["DAPI", "GFP"], "colours": BLUE_GREEN, "microns": 0.2} | how
    path.write_bytes(nikon.nd2(stack, **how))
    return path


def test_planes_and_scenes_of_an_nd2(tmp_path):
    stack = np.stack([STACK, STACK[::-1, ::-1]]).transpose(0, 1, 3, 2, 4, 5)  # positions, times, planes, channels
    path = nd2_file(tmp_path / "a.nd2", stack)
    with pytest.raises(UserError, match=r"'a.nd2' holds 2 scenes \(1 well 1, 2 well 2\)"):
        picture_of(path)
    for scene in (0, 1):
        with microscopes.open_microscope(path, "a.nd2", scene=f"well {scene + 1}") as found:
            assert (found.times, found.planes, len(found.channels), found.height, found.width) == stack.shape[1:]
            for t, z, c in np.ndindex(stack.shape[1:4]):
                np.testing.assert_array_equal(found.read(c, z, t), stack[scene, t, z, c])
            assert [(one.name, one.top, tuple(one.colours[255])) for one in found.channels] == [
                ("DAPI", 4095, (0, 0, 255)),
                ("GFP", 4095, (0, 255, 0)),
            ]
    made = picture_of(path, choices={"scene": "2", "z": "maximum", "t": "3"})
    np.testing.assert_array_equal(shown(made), coloured(levels(stack[1, 2].max(axis=0), 4095), BLUE_GREEN))
    assert made.microns_per_pixel == pytest.approx(0.2)
    rule = "scene 2 of 2; z: maximum of 5 planes; t: 3 of 3; DAPI blue, GFP green; 0…4,095 → 0…255 "
    assert made.rendering == rule + "(bitsPerComponentSignificant)"


def test_what_an_nd2_does_not_hold_is_not_taken_for_black(tmp_path):
    stack = STACK[:1].transpose(0, 2, 1, 3, 4)[None]
    path = nd2_file(tmp_path / "a.nd2", stack, kept=3, microns=None)
    np.testing.assert_array_equal(
        shown(picture_of(path, choices={"z": "3", "channel": "1"})), grey(levels(STACK[0, 0, 2], 4095))
    )
    assert picture_of(path, choices={"z": "3"}).microns_per_pixel is None
    for z in ("4", "maximum"):
        assert "plane 4 of channel 1 at time 1 is empty or not in" in reason_of(path, choices={"z": z})


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
def test_a_broken_file_is_no_picture_and_a_lacking_library_is_named(suffix, tmp_path, monkeypatch):
    library = microscopes.MICROSCOPES[suffix]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no file of a microscope")
    with monkeypatch.context() as patch:
        patch.setattr(microscopes, "find_spec", lambda name: None)
        with pytest.raises(
            UserError, match=re.escape(f"'a{suffix}': {suffix} is read by the library {library}; install")
        ):
            picture_of(path)
    pytest.importorskip(library)
    for content in (b"", b"no file of a microscope", b"\0" * 5000):
        path.write_bytes(content)
        assert reason_of(path).startswith(f"no {suffix[1:].upper()}, or a broken one")


@pytest.mark.parametrize("suffix", [".czi", ".lif", ".nd2"])
def test_a_file_that_is_cut_is_no_other_picture(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix == ".lif":
        pytest.importorskip("liffile")
        path.write_bytes(leica.lif(series("one")))
    elif suffix == ".nd2":
        nd2_file(path, STACK.transpose(0, 2, 1, 3, 4)[None])
    else:
        czi_file(path, {(0, c, z, 0): STACK[0, c, z] for c, z in np.ndindex(2, 5)}, bits=12)
    how = {"choices": {"z": "maximum"} | ({} if suffix == ".czi" else {"t": "3"})}
    content, whole = path.read_bytes(), shown(picture_of(path, **how))
    for end in np.random.default_rng(0).integers(9, len(content), 25):
        path.write_bytes(content[:end])
        try:
            np.testing.assert_array_equal(shown(picture_of(path, **how)), whole)
        except Exception as error:
            assert type(error).__name__ in ("Unread", "UserError") and len(str(error).splitlines()) == 1
