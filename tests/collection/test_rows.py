"""Rows of a collection: the benchmark's rules for options, what is noted, and that the whole product reads them."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from helpers.refusals import fails
from helpers.samples import png
from PIL import Image

from ubench_utils.cli import main
from ubench_utils.collection.facts import read_vocabulary
from ubench_utils.collection.rows import build_rows, write_rows
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of pictures, one folder a class."""

    def make(classes, name="cells"):
        rng = np.random.default_rng(0)
        for label, n in classes.items():
            (tmp_path / name / label).mkdir(parents=True)
            for number in range(n):
                picture = png(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))["bytes"]
                (tmp_path / name / label / f"{number}.png").write_bytes(picture)
        return tmp_path / name

    return make


def table_of(folder):
    paths = sorted(folder.rglob("*.png"))
    return pd.DataFrame(
        {"file": [path.relative_to(folder).as_posix() for path in paths], "label": [path.parent.name for path in paths]}
    )


def rows_of(folder, labels=None, **how):
    how = {"facts": {}, "name": "mine"} | how
    return build_rows(str(folder), table_of(folder) if labels is None else labels, **how)


@pytest.mark.parametrize("n_classes", [2, 5, 8])
def test_options_follow_the_rules_of_the_benchmark(folder, n_classes):
    cells = folder({f"class_{i}": 4 for i in range(n_classes)})
    facts = {"modality": "light", "stain": "my own stain", "domain": "pathology"}
    rows, _ = rows_of(cells, facts=facts)
    expected = {"modality": 4, "stain": 6, "domain": 6, "classification": min(n_classes, 5) + 1}
    for row in rows:
        assert {kind: len(asked["options"]) for kind, asked in row["questions"].items()} == expected
        truth = {**row, "classification": row["label_name"].replace("_", " ")}
        for kind, asked in row["questions"].items():
            assert asked["options"][-1] == "none of the above" and asked["answer_idx"] < len(asked["options"]) - 1
            assert asked["options"][asked["answer_idx"]] == asked["answer"] == truth[kind]
            assert len(set(asked["options"])) == len(asked["options"])
            for wording in (0, 1):
                caption = row["captions"][f"{kind}_{wording}"]
                said = [option in text for option, text in zip(asked["options"], caption["options"], strict=True)]
                assert all(said) and caption["answer_idx"] == str(asked["answer_idx"])
    places = [row["questions"]["classification"]["answer_idx"] for row in rows]
    assert len(set(places)) > 1


def test_options_of_a_picture_depend_on_it_and_the_seed_alone(folder):
    cells = folder({"a": 6, "b": 6, "c": 6})
    first, again, other = (rows_of(cells, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again and first != other
    fewer = table_of(cells).iloc[::2]
    assert rows_of(cells, fewer)[0] == first[::2]


def test_no_option_stands_beside_itself_written_otherwise(folder):
    cells = folder({"a": 3, "b": 3})
    labels = table_of(cells)
    rows, _ = rows_of(cells, facts={"stain": "giemsa", "submodality": "Confocal Microscopy"})
    for row in rows:
        assert (row["stain"], row["submodality"]) == ("Giemsa", "confocal microscopy")
        for asked in row["questions"].values():
            assert len({option.casefold() for option in asked["options"]}) == len(asked["options"])
    for one, other in (("red_cell", "red cell"), ("Red cell", "red cell")):
        with pytest.raises(UserError, match=f"the labels '{one}' and '{other}' differ only in how they are written"):
            rows_of(cells, labels.assign(label=[one, other] * 3))
    with pytest.raises(UserError, match="the values of stain, 'My dye' and 'my dye' differ"):
        rows_of(cells, labels.assign(stain=["My dye", "my dye"] * 3))
    with pytest.raises(UserError, match="a class is called"):
        rows_of(cells, labels.assign(label=["None of the above", "b"] * 3))


def test_options_are_drawn_from_a_vocabulary_of_ones_own(folder):
    cells = folder({"a": 4, "b": 4})
    vocabulary = read_vocabulary() | {"stain": ["Giemsa", "Fast Red"], "classification": ["debris", "a"]}
    rows, _ = rows_of(cells, facts={"stain": "My dye"}, vocabulary=vocabulary)
    for row in rows:
        assert {*row["questions"]["stain"]["options"]} == {"My dye", "Giemsa", "Fast Red", "none of the above"}
        assert {*row["questions"]["classification"]["options"]} == {"a", "b", "debris", "none of the above"}
    for name in ("A", "None of the above"):
        with pytest.raises(UserError, match="differ only|a class is called"):
            rows_of(cells, vocabulary=vocabulary | {"classification": [name]})


def test_what_is_left_out_is_noted(folder):
    cells = folder({"a": 12, "b": 12, "c": 3})
    (cells / "a" / "0.png").write_bytes(b"no picture")
    rows, notes = rows_of(cells)
    assert len(rows) == 26
    assert any(
        note.startswith("1 of 27 images cannot be read and count for nothing: 1 × neither PNG") for note in notes
    )


def test_facts_that_cannot_be_meant_are_refused(folder):
    cells = folder({"a": 2, "b": 2})
    labels = table_of(cells)
    for how, words in (
        ({"facts": {"modality": "x-ray"}}, "modality 'x-ray' of 'a/0.png': it is one of electron"),
        ({"facts": {"scale": "organ"}}, "scale 'organ' of 'a/0.png': it is one of subcellular, cellular, tissue"),
        ({"facts": {"stain": "H&E"}, "labels": labels.assign(stain="Giemsa")}, r"stain is a column .* \(--stain\)"),
        ({"facts": {"microns_per_pixel": "0"}}, "'a/0.png': the pixel size '0' is no positive number"),
        ({"labels": labels.assign(microns_per_pixel=["0,5", "x", "1", "1"])}, "'a/1.png': the pixel size 'x'"),
        ({"labels": labels[:2]}, r"all pictures are of one class \('a'\)"),
        ({"labels": labels.assign(label=["none_of_the_above", "b"] * 2)}, "a class is called 'none of the above'"),
        ({"labels": labels.assign(label=["a", "\x1b[31mb"] * 2)}, r"'.x1b.31mb' holds a control character"),
        ({"sentences": ["A picture.", "{class}"]}, "'A picture.' lacks {class}"),
    ):
        with pytest.raises(UserError, match=words):
            rows_of(cells, **how)
    sizes = rows_of(cells, labels.assign(microns_per_pixel=["0,5", "0.25", None, "1e-1"]))[0]
    assert [row["microns_per_pixel"] for row in sizes] == [0.5, 0.25, None, 0.1]
    for path in cells.rglob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(UserError, match="none of 4 pictures can be read; of the first, 'a/0.png'"):
        rows_of(cells)


def test_a_pixel_size_is_read_from_the_file_where_none_is_stated(folder):
    cells = folder({"a": 2, "b": 2})
    for path in cells.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".tif"), resolution=20_000, resolution_unit=3)
    labels = table_of(cells).assign(file=lambda table: table.file.str.replace(".png", ".tif"))
    rows, notes = rows_of(cells, labels.assign(microns_per_pixel=["2", None, None, None]))
    assert [row["microns_per_pixel"] for row in rows] == pytest.approx([2, 0.5, 0.5, 0.5])
    assert "the pixel size of 3 of 4 pictures is the one that their files state" in notes


def test_from_a_folder_to_scores_in_two_commands(folder, cache, tmp_path, monkeypatch, capsys):
    cells, out = folder({"red_cell": 3, "blue cell": 3}), tmp_path / "mine.parquet"
    assert main(["import", str(cells), "--out", str(out), "--modality", "light", "--microns-per-pixel", "0.5"]) == 0
    told = capsys.readouterr().out
    assert (
        "6 pictures of 2 classes: blue cell (3), red_cell (3)" in told
        and "asked: modality (6), classification (6)" in told
    )
    assert "not stated, so nothing is asked or broken down by it: submodality, stain" in told
    assert (
        "warning: cells: a score of fewer than 10 pictures says little of a class: blue cell (3), red_cell (3)." in told
    )
    assert "warning: The question on the modality (always light microscopy) has one right answer" in told
    questions = build_questions(load_benchmark(str(out)))
    assert questions.attrs["notes"] == [] and set(questions.wording) == {0, 1} and len(questions) == 24
    assert set(questions.microns_per_pixel) == {0.5} and set(questions.dataset) == {"cells"}
    fine = questions[(questions.level == "fine") & (questions.wording == 1)]
    right = [options[at] for options, at in zip(fine.options, fine.answer_idx, strict=True)]
    assert set(right) == {"A microscopy image showing red cell.", "A microscopy image showing blue cell."}
    evaluate = ["evaluate", "--models", "demo-base", "random", "--out", tmp_path / "o", "--dataset"]
    assert main(list(map(str, [*evaluate, out]))) == 0
    assert len(pd.read_parquet(tmp_path / "o" / "predictions.parquet")) == 48
    again = ["import", cells, "--out"]
    fails(capsys, [*again, out], "is there already")
    fails(capsys, [*again, tmp_path / "mine.csv"], "ends with .parquet")
    fails(capsys, [*again, tmp_path / "no" / "x.parquet"], "is no folder")
    fails(capsys, [*again, tmp_path / "x.parquet", "--sentence", "{class}"], "give two")
    fails(capsys, [*evaluate, cells], "ubench import")
    assert not (tmp_path / "x.parquet").exists()


def test_a_sheet_shows_pictures_beside_their_questions(folder, cache, tmp_path, capsys):
    cells, out = folder({"red_cell": 3, "<b>blue": 70}), tmp_path / "mine.parquet"
    (cells / "red_cell" / "0.png").write_bytes(b"no picture")
    command = ["import", str(cells), "--out", str(out), "--stain", "Giemsa", "--microns-per-pixel", "0.5", "--check"]
    assert main(command) == 0 and "open " + str(tmp_path / "mine.html") in capsys.readouterr().out
    text = (tmp_path / "mine.html").read_text(encoding="utf-8")
    page = BeautifulSoup(text, "html.parser")
    pictures = page.select("ol.pictures > li")
    assert len(pictures) == 60 and "60 of 72 pictures" in page.get_text() and not page.find_all("b")
    assert sum("red_cell" in picture.h2 for picture in pictures) == 2, "every class is there, a rare one whole"
    for picture in pictures:
        right = [strong.get_text() for strong in picture.find_all("strong")]
        assert right == ["Giemsa", picture.h2.get_text().replace("_", " ")] and "bar 1 µm" in picture.get_text()
        assert len(picture.find_all("p")) == 2 and "none of the above" in picture.find_all("li")[-1]
        assert picture.img["alt"] and picture.img["src"].startswith("data:image/jpeg")
    out.unlink()
    fails(capsys, command, "mine.html' is there already")
    assert not out.exists()


def test_a_sheet_that_cannot_be_written_is_told_beside_the_dataset_that_is(folder, tmp_path, capsys, monkeypatch):
    cells, out = folder({"a": 3, "b": 3}), tmp_path / "mine.parquet"

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("ubench_utils.commands.write_whole", full)
    fails(
        capsys, ["import", cells, "--out", out, "--check"], "mine.html' (No space left on device)", "parquet is whole"
    )
    assert load_benchmark(str(out)).images.image_id.nunique() == 6


def test_pictures_wait_in_their_files_and_one_that_changes_is_noticed(folder, tmp_path):
    cells, aside = folder({"a": 15, "b": 15}), tmp_path / "aside"
    aside.mkdir()
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(cells / "a" / "0.png")  # made by a rule: 12 bits assumed
    held, waiting = rows_of(cells)[0], rows_of(cells, aside=aside)[0]
    assert not any(isinstance(row["image"]["bytes"], bytes) for row in waiting) and len([*aside.iterdir()]) == 1
    for rows, name in ((held, "held"), (waiting, "waiting")):
        write_rows(rows, str(tmp_path / f"{name}.parquet"))
    assert (tmp_path / "held.parquet").read_bytes() == (tmp_path / "waiting.parquet").read_bytes()
    found = load_benchmark(str(tmp_path / "waiting.parquet"))
    assert [found.image_bytes(at) for at in range(30)] == [row["image"]["bytes"] for row in held]
    (cells / "b" / "3.png").write_bytes((cells / "b" / "4.png").read_bytes())
    with pytest.raises(UserError, match=r"b/3.png' changed while it was imported; import again"):
        write_rows(waiting, str(tmp_path / "changed.parquet"))
    (cells / "b" / "3.png").unlink()
    with pytest.raises(UserError, match=r"b/3.png' cannot be read any more \(No such file or directory\)"):
        write_rows(waiting, str(tmp_path / "changed.parquet"))
    assert not (tmp_path / "changed.parquet").exists() and not [*tmp_path.glob("*.part")]


def test_a_class_of_which_no_picture_can_be_read_is_named(folder):
    cells = folder({"a": 3, "b": 2})
    for path in (cells / "b").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(UserError, match="no picture of 'b' can be read, so one class is left; of the first, 'b/0.png'"):
        rows_of(cells)


def test_pixels_that_no_microscope_has_are_noted(folder):
    cells = folder({"a": 3, "b": 2})
    _, notes = rows_of(cells, facts={"microns_per_pixel": "250"})
    assert "pixels of 5 of 5 pictures are larger than 50 µm, such as 250 µm (a/0.png): nanometres?" in notes
    assert not any("nanometres" in note for note in rows_of(cells, facts={"microns_per_pixel": "0.25"})[1])
