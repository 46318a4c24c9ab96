"""Pictures of a folder: own bytes where nothing has to be chosen, one range for all, and what is said of it."""

import io

import numpy as np
import pandas as pd
import pytest
from helpers.images import GREY as GREY16
from helpers.images import png_file
from helpers.micrographs import GREY, OME, STACK, grey, levels, picture_of, shown, written
from helpers.refusals import fails
from PIL import Image
from tifffile import TiffWriter

from ubench_utils.cli import main
from ubench_utils.collection.pictures import image_ids, read_pictures
from ubench_utils.collection.rows import build_rows
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.pixels import decode
from ubench_utils.errors import UserError

PLANE = STACK[0, 0, 0]


def saved(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def pictures_of(folder, choices=None, **columns):
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    labels = pd.DataFrame({"file": files, "label": "a", **columns})
    return read_pictures(str(folder), labels, choices=choices)


def test_a_picture_that_needs_no_choice_keeps_its_own_bytes(tmp_path):
    colour = np.stack([levels(PLANE, 4095)] * 3, axis=-1)
    files = [
        saved(tmp_path / "a.png", colour),
        saved(tmp_path / "a.jpg", colour),
        saved(tmp_path / "a.tif", colour),
        saved(tmp_path / "grey.tif", colour[..., 0]),
        saved(tmp_path / "a.bmp", colour),
        written(tmp_path / "twelve.tif", PLANE, ome=True, metadata={"SignificantBits": 12}, **GREY),
    ]
    for path in files:
        for how in ({}, {"choices": {"z": "maximum"}}, {"choices": {"t": "1", "channel": "1", "scene": "1"}}):
            made = picture_of(path, **how)
            assert (made.content, made.rendering, made.unused) == (path.read_bytes(), None, [])


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (10, 4), (12, 16), (14, 64), (16, 256)])
def test_values_of_a_camera_in_16_bits_are_not_black(bits, factor, tmp_path):
    eight = np.random.default_rng(0).integers(0, 256, (30, 20)).astype(np.uint8)
    eight[0, 0] = 255
    sixteen = eight.astype(np.uint16) * factor
    saved(tmp_path / "a.png", sixteen)
    written(tmp_path / "b.tif", sixteen // 2, **GREY)
    written(tmp_path / "c.tif", np.stack([sixteen] * 3, axis=-1), photometric="rgb")
    pictures, failed, notes = pictures_of(tmp_path)
    assert not failed
    top = 2**bits - 1
    for name, values in (("a.png", sixteen), ("b.tif", sixteen // 2), ("c.tif", sixteen)):
        np.testing.assert_array_equal(shown(pictures[name]), grey(levels(values, top)))
        assert pictures[name].rendering == (None if bits == 16 else f"0…{top:,} → 0…255 ({bits} bits, assumed)")
    own = "3 of 3 images were made from their files by a rule: 3 × [0…"
    assumed = f"3 pictures; {bits} bits are assumed, since the largest value is {255 * factor:,} (a.png)"
    assert [bits < 16] * 2 == [any(told in note for note in notes) for told in (own, assumed)]


def test_one_factor_holds_for_all_pictures_of_the_import(tmp_path):
    written(tmp_path / "dark.tif", PLANE // 16, **GREY)
    written(tmp_path / "bright.tif", PLANE, **GREY)
    written(tmp_path / "stated.tif", PLANE * 16, ome=True, metadata={"SignificantBits": 16}, **GREY)
    saved(tmp_path / "eight.png", levels(PLANE, 4095))
    pictures, _, notes = pictures_of(tmp_path)
    for name, values in (("dark.tif", PLANE // 16), ("bright.tif", PLANE), ("stated.tif", PLANE * 16)):
        np.testing.assert_array_equal(shown(pictures[name]), grey(levels(values, 65535)))
    assert notes == []  # 16 bits are used, so nothing is assumed
    (tmp_path / "stated.tif").unlink()
    pictures, _, notes = pictures_of(tmp_path)
    for name, values in (("dark.tif", PLANE // 16), ("bright.tif", PLANE)):
        np.testing.assert_array_equal(shown(pictures[name]), grey(levels(values, 4095)))
    assert len(notes) == 2 and pictures["eight.png"].rendering is None


def test_an_assumed_range_is_told_for_stacks_of_16_bits_too(tmp_path):
    written(tmp_path / "a.ome.tif", STACK[0, 0] * 16, ome=True, metadata={"axes": "ZYX"}, **GREY)
    pictures, _, notes = pictures_of(tmp_path, choices={"z": "maximum"})
    expected = grey(levels(STACK[0, 0].max(axis=0) * 16, 65535))
    np.testing.assert_array_equal(shown(pictures["a.ome.tif"]), expected)
    assert "no file states the range of the values of 16 bits in 1 pictures; 16 bits are assumed" in notes[1]
    assert "(16 bits, assumed)" in notes[0] and len(notes) == 2
    _, _, notes = read_pictures(
        str(tmp_path), pd.DataFrame({"file": ["a.ome.tif"], "label": "a"}), choices={"z": "1"}, span="percentiles"
    )
    assert notes[1] == "each picture is spread by itself (--range percentiles): brightness cannot be compared"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGB+tRNS", "RGBA16"])
def test_colour_hidden_under_alpha_decides_nothing(mode, tmp_path):
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    alpha = np.zeros((12, 12), np.uint8)
    alpha[3:9, 3:9] = 255
    made = []
    for hidden in (0, 201):
        own = np.where(alpha[..., None] > 0, visible, hidden).astype(np.uint8)
        path = tmp_path / f"{hidden}.png"
        if mode == "RGBA16":
            samples = np.concatenate([own.astype(np.uint16) * 16, (alpha[..., None].astype(np.uint16)) * 257], axis=-1)
            path.write_bytes(png_file(samples))
        else:
            image = Image.fromarray(np.concatenate([own, alpha[..., None]], axis=-1))
            if mode == "LA":
                image = image.convert("LA")
            if mode == "PA":
                image = image.quantize(200)
            if mode == "RGB+tRNS":
                own[own.sum(axis=-1) == 3 * hidden] = hidden
                image = Image.fromarray(own)
                image.info["transparency"] = (hidden,) * 3
            image.save(path, **({"transparency": (hidden,) * 3} if mode == "RGB+tRNS" else {}))
        made.append([shown(picture_of(path, span=span)) for span in (None, (0.0, 127.0), "percentiles")])
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one[0] == 255).all()


def test_another_range_of_ordinary_pictures(tmp_path):
    eight = np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype(np.uint8)
    for path in (saved(tmp_path / "a.png", eight), saved(tmp_path / "a.tif", eight), saved(tmp_path / "a.bmp", eight)):
        made = picture_of(path, span=(10.0, 111.0))
        np.testing.assert_array_equal(shown(made), levels(eight, 111, 10))
        assert made.rendering == "10…111 → 0…255 (as asked)"
        assert picture_of(path, span="type").content == path.read_bytes() or path.suffix == ".tif"
    path = tmp_path / "b.png"
    path.write_bytes(png_file(GREY16))
    np.testing.assert_array_equal(shown(picture_of(path, span=(5.0, 30_000.0)))[..., :1], levels(GREY16, 30_000, 5))


def test_a_column_chooses_for_each_picture_and_one_that_describes_is_noted(tmp_path):
    written(tmp_path / "a.ome.tif", STACK[0, 0], ome=True, metadata={"axes": "ZYX", "SignificantBits": 12}, **GREY)
    saved(tmp_path / "b.png", levels(PLANE, 4095))
    pictures, _, notes = pictures_of(tmp_path, z=["4.0", "7"], channel=[None, "GFP"])
    np.testing.assert_array_equal(shown(pictures["a.ome.tif"]), grey(levels(STACK[0, 0, 3], 4095)))
    assert pictures["b.png"].rendering is None
    for axis in ("z", "channel"):
        assert f"the column {axis} says nothing of 1 pictures, whose files have one of it" in notes
    with pytest.raises(UserError, match="'b.png' has one z alone, not --z 4"):
        pictures_of(tmp_path, choices={"z": "4"})
    with pytest.raises(UserError, match=r"z is a column of the table and an option \(--z\) too"):
        pictures_of(tmp_path, choices={"z": "4"}, z=["1", None])


def test_a_pixel_that_is_not_as_wide_as_high_has_no_size_and_is_noted(tmp_path):
    sizes = {"SignificantBits": 12, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    written(tmp_path / "a.tif", PLANE, ome=True, metadata=sizes, **GREY)
    written(tmp_path / "b.tif", PLANE, ome=True, metadata=sizes | {"PhysicalSizeX": 0.25}, **GREY)
    pictures, _, notes = pictures_of(tmp_path)
    assert np.isnan(pictures["a.tif"].microns_per_pixel) and pictures["b.tif"].microns_per_pixel == 0.25
    assert notes == ["the pixels of 1 pictures are not as wide as high, so that no size of a pixel is stated"]
    rows, told = build_rows(
        str(tmp_path), pd.DataFrame({"file": ["a.tif", "b.tif"], "label": ["a", "b"]}), facts={}, name="mine"
    )
    assert [row["microns_per_pixel"] for row in rows] == [None, 0.25] and notes[0] in told


def test_a_file_that_is_listed_several_times_has_a_name_for_each_picture():
    labels = pd.DataFrame({"file": ["a", "a", "b"], "label": "x", "z": ["1", "2", "1"], "t": [None, "3", None]})
    assert image_ids(labels) == ["a#z=1", "a#z=2&t=3", "b"]


@pytest.fixture
def cells(tmp_path):
    """Return a folder of two classes of stacks of two channels, and a table that lists each twice."""
    rng, rows = np.random.default_rng(0), []
    for number in range(6):
        label = ("round", "flat")[number % 2]
        stack = rng.integers(0, 4096, (4, 2, 24, 24)).astype(np.uint16)
        written(tmp_path / "cells" / f"{number}.ome.tif", stack, ome=True, metadata=OME | {"axes": "ZCYX"}, **GREY)
        rows += [(f"{number}.ome.tif", label, plane) for plane in (1, 3)]
    return tmp_path / "cells", pd.DataFrame(rows, columns=["file_name", "label", "z"])


def test_from_stacks_to_a_dataset_that_states_its_rule(cells, cache, tmp_path, capsys):
    folder, table = cells
    table.to_csv(folder / "labels.csv", index=False)
    out = tmp_path / "mine.parquet"
    assert main(["import", str(folder), "--out", str(out), "--channel", "2", "--check"]) == 0
    told = capsys.readouterr().out
    rule = "z: plane 1 of 4; channel 2 alone; 0…4,095 → 0…255 (SignificantBits)"
    assert f"note: 12 of 12 images were made from their files by a rule: 6 × [{rule}]" in told
    images = load_benchmark(str(out)).images
    assert set(images.rendering) == {rule, rule.replace("plane 1", "plane 3")}
    assert images.image_id[0] == "0.ome.tif#z=1" and set(images.microns_per_pixel) == {0.2}
    assert rule in (tmp_path / "mine.html").read_text(encoding="utf-8")
    rows = pd.read_parquet(out)
    assert {Image.open(io.BytesIO(image["bytes"])).mode for image in rows.image} == {"L"}
    assert decode(rows.image[0]["bytes"]).size == (24, 24)
    results = tmp_path / "results"
    assert main(["evaluate", "--dataset", str(out), "--models", "random", "demo-base", "--out", str(results)]) == 0
    assert "12 of 12 images were made from their files by a rule" in (results / "run.json").read_text(encoding="utf-8")


def test_scenes_of_one_file_are_rows_of_their_own(tmp_path, capsys):
    folder = tmp_path / "cells"
    folder.mkdir()
    with TiffWriter(folder / "plate.ome.tif") as file:
        for well in range(3):
            axes = {"axes": "YX", "Name": f"well {well}", "SignificantBits": 12}
            file.write(STACK[0, 0, well], metadata=axes, **GREY)
    rows = [("plate.ome.tif", "ab"[well % 2], f"well {well}") for well in range(3)]
    table = pd.DataFrame(rows, columns=["file_name", "label", "scene"])
    table.to_csv(folder / "labels.csv", index=False)
    out = tmp_path / "mine.parquet"
    assert main(["import", str(folder), "--out", str(out)]) == 0
    made = pd.read_parquet(out)
    assert list(made.image_id) == [f"plate.ome.tif#scene=well {well}" for well in range(3)]
    for well, image in enumerate(made.image):
        np.testing.assert_array_equal(np.asarray(decode(image["bytes"])), grey(levels(STACK[0, 0, well], 4095)))
    assert set(made.rendering) == {f"scene {well + 1} of 3; 0…4,095 → 0…255 (SignificantBits)" for well in range(3)}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own
def test_mistakes_are_one_line_and_nothing_is_written(cells, tmp_path, capsys):
    folder, table = cells
    table.drop(columns="z").drop_duplicates().to_csv(folder / "labels.csv", index=False)
    out = tmp_path / "mine.parquet"
    command = ["import", folder, "--out", out]
    fails(capsys, command, "'0.ome.tif' holds 4 planes (z)", "--z N|middle|maximum|mean")
    fails(capsys, [*command, "--z", "9"], "'0.ome.tif': z '9' is none of 1 to 4")
    fails(capsys, [*command, "--z", "maximum", "--range", "5:1"], "--range '5:1': write type")
    fails(capsys, [*command, "--z", "maximum", "--scene", "B"], "has one scene alone, not --scene B")
    table.assign(z=[1] * 12).to_csv(folder / "labels.csv", index=False)
    fails(capsys, command, "row 2: '0.ome.tif' is listed twice, with the same z")
    table.to_csv(folder / "labels.csv", index=False)
    fails(capsys, [*command, "--z", "1"], "z is a column of the table and an option (--z) too")
    for path in folder.glob("*.tif"):
        path.write_bytes(path.read_bytes()[:3000])
    fails(capsys, command, "none of 12 pictures can be read; of the first, '0.ome.tif#z=1'")
    assert not out.exists()


def test_files_of_microscopes_that_are_not_read_are_named_with_what_reads_them(tmp_path, capsys):
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        saved(tmp_path / "cells" / name, levels(PLANE, 4095))
    for name in ("a/1.vsi", "b/2.VSI", "b/3.ims"):
        (tmp_path / "cells" / name).write_bytes(b"x")
    (tmp_path / "cells" / "b" / "4.zarr" / "0").mkdir(parents=True)
    (tmp_path / "cells" / "b" / "4.zarr" / "0" / "c").write_bytes(b"x")
    assert main(["import", str(tmp_path / "cells"), "--out", str(tmp_path / "mine.parquet")]) == 0
    told = capsys.readouterr().out
    assert "files that are not read here, to be saved as OME-TIFF: 1 .ims (imaris-ims-file-reader reads it)" in told
    assert "2 .vsi (bioio-bioformats reads it), 1 .zarr (bioio-ome-zarr reads it)" in told
    table = tmp_path / "labels.csv"
    table.write_text("file_name,label\na/0.png,a\na/1.vsi,b\n", encoding="utf-8")
    told = "row 2: 'a/1.vsi' is not read here, but by bioio-bioformats; save such files as OME-TIFF"
    fails(capsys, ["import", tmp_path / "cells", "--labels", table, "--out", tmp_path / "x.parquet"], told)
    for path in (tmp_path / "cells").rglob("*.png"):
        path.unlink()
    fails(
        capsys,
        ["import", tmp_path / "cells", "--out", tmp_path / "x.parquet"],
        "holds no picture; files that are",
        ".vsi",
    )
