"""Labels of a folder of pictures: by folder or by table, and nothing guessed."""

import json
import unicodedata

import numpy as np
import pytest
from helpers.samples import png as cell

from ubench_utils.collection.labels import read_labels
from ubench_utils.errors import UserError

CLASSES = {"red": 3, "blue": 2}


def png(pixels):
    return cell(np.array(pixels, np.uint8))["bytes"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one folder a class."""
    root = tmp_path / "cells"
    for place, (label, n) in enumerate(CLASSES.items()):
        (root / label).mkdir(parents=True)
        for number in range(n):
            (root / label / f"{number}.png").write_bytes(png([[[60 * place + number, 9, 9]]]))
    return root


def written(folder, text, name="labels.csv"):
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder / name


def lines(folder, separator=",", header="file_name,label", end="\n"):
    rows = [(path.relative_to(folder).as_posix(), path.parent.name) for path in sorted(folder.rglob("*.png"))]
    return end.join([header.replace(",", separator), *(separator.join(row) for row in rows), ""])


def test_the_label_is_the_name_of_the_folder(folder):
    labels, notes = read_labels(str(folder))
    assert labels.label.value_counts().to_dict() == CLASSES and list(labels.file) == sorted(labels.file)
    assert notes == ["the label of a picture is the name of its folder"]
    (folder / "red" / ".hidden.png").write_bytes(b"x")
    (folder / "red" / "Thumbs.db").write_bytes(b"x")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "0.png").write_bytes(png([[[1, 2, 3]]]))
    assert len(read_labels(str(folder))[0]) == len(labels)


@pytest.mark.parametrize(
    "content",
    [
        lambda folder: lines(folder),
        lambda folder: "\ufeff" + lines(folder, ";", end="\r\n"),
        lambda folder: "sep=;\r\n" + lines(folder, ";"),
        lambda folder: lines(folder, "\t", "Filename,Class"),
        lambda folder: lines(folder, ", ").replace("\n", "  \n"),
        lambda folder: lines(folder).replace("/", "\\"),
        lambda folder: lines(folder).replace("red/", f"{folder}/red/"),
    ],
    ids=["plain", "office", "sep", "tabs and names", "blanks", "backslashes", "absolute"],
)
def test_a_table_says_what_the_folders_say(folder, content, monkeypatch):
    expected, _ = read_labels(str(folder))
    table = written(folder.parent, content(folder), "mine.csv")
    assert read_labels(str(folder), str(table))[0].equals(expected)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert read_labels("~/cells", "~/mine.csv")[0].equals(expected)
    found = [folder.parent / "mine.csv", folder / "metadata.jsonl"]
    found[1].write_text(
        "\n".join(json.dumps(row) for row in expected.set_axis(["file_name", "label"], axis=1).to_dict("records"))
    )
    assert read_labels(str(folder))[0].equals(expected)


def test_columns_of_facts_are_kept_and_others_named(folder):
    text = (
        lines(folder, header="file_name,label,stain,donor")
        .replace(",red\n", ",red,Giemsa,7\n")
        .replace(",blue\n", ",blue,,8\n")
    )
    labels, notes = read_labels(str(folder), str(written(folder, text)))
    assert labels.stain.dropna().tolist() == ["Giemsa"] * 3 and "donor" not in labels
    assert "columns that are not used: donor" in notes


def test_pictures_without_a_row_are_counted(folder):
    labels, notes = read_labels(str(folder), str(written(folder, "file,class\nred/0.png,a\nblue/0.png,b\n")))
    assert list(labels.file) == ["blue/0.png", "red/0.png"]
    assert "3 of 5 pictures have no row in labels.csv and are left out" in notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_name,label\nred/0.png,a\nred/7.png,b\n", "row 2: 'red/7.png' is no picture in"),
        ("file_name,label\nred/0.png,a\nred/0.png,a\n", "row 2: 'red/0.png' is listed twice"),
        ("file_name,label\nred/0.png,a\nred/1.png,\n", r"row 2 \('red/1.png'\): has no label"),
        ("file_name,label\n,a\n", "row 1: names no file"),
        ("file_name,label,class\nred/0.png,a,b\n", "both label and class could be the labels"),
        (
            "name_of_it,label\nred/0.png,a\n",
            "no column is the file names .found: name_of_it, label.; name one",
        ),
        ("file_name,label\n", "has no rows"),
        ("file_name,label\nred/0.png,a\n".encode("utf-16"), "UTF-8"),
        ("file_name,label\nred/0.png,\xe9\n".encode("cp1252"), "save as UTF-8"),
        ("file_name,label\nred/0.png,a,b,c\n", "line 2: it has 4 cells, the header 2; .* holds a comma in quotes"),
        (";Datei;Klasse\n1;red/0.png;a\n", "no column is the file names .found: Datei, Klasse.; name one"),
        ("file_name,label,label\nred/0.png,a,b\n", "both label and label could be the labels"),
        ("file_name,Label,label\nred/0.png,a,b\n", "both Label and label could be the labels"),
        ("file_name,label\nRed/0.png,a\n", "row 1: 'Red/0.png' is no picture .* as 'red/0.png' is"),
        ("file_name,label\nred/0,a\n", "row 1: 'red/0' is no picture .* as 'red/0.png' is"),
        ("", "is empty"),
        ('file_name,label\nred/0.png,"a\nred/1.png,b\n', "line 2: a quotation mark opens, and none closes"),
        ('file_name,label\nred/0.png,"a\nred/1.png,b\nred/2.png,c"\n', "row 1: its label holds a line break"),
    ],
)
def test_a_table_that_is_not_clear_is_refused(folder, text, words):
    with pytest.raises(UserError, match=words) as error:
        read_labels(str(folder), str(written(folder, text)))
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_not_clear_is_refused(folder, tmp_path):
    def refused(words, *arguments):
        with pytest.raises(UserError, match=words):
            read_labels(*map(str, arguments))

    refused("is no folder", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    refused("holds no picture", tmp_path / "empty")
    refused("there is no table", folder, tmp_path / "no.csv")
    refused("a table of labels is CSV, JSON lines or a COCO file", folder, tmp_path / "mine.parquet")
    refused("line 1: no JSON", folder, written(tmp_path, "file_name,label\n", "x.jsonl"))
    refused("line 2: write an object", folder, written(tmp_path, '\n["a"]\n', "y.jsonl"))
    written(folder, "a", "metadata.csv"), written(folder, "a", "metadata.jsonl")
    refused("holds metadata.csv and metadata.jsonl; say which", folder)
    (folder / "metadata.csv").unlink(), (folder / "metadata.jsonl").unlink()
    (folder / "loose.png").write_bytes(png([[[1, 2, 3]]]))
    refused("1 of 6 pictures lie in no folder of a class, such as 'loose.png'", folder)
    (folder / "loose.png").unlink()
    (folder / "red" / "day 1").mkdir()
    (folder / "red" / "day 1" / "9.png").write_bytes(png([[[1, 2, 3]]]))
    refused("folders in folders, such as that of 'red/day 1/9.png'", folder)
    refused("row 1: its label is a list", folder, written(tmp_path, '{"file": "red/0.png", "label": [1]}', "z.jsonl"))
    table = written(tmp_path, "file,label,mouse,mouse\nred/0.png,a,M1,M2\n", "twice.csv")
    with pytest.raises(UserError, match="--group mouse: .* has two such columns"):
        read_labels(str(folder), str(table), "mouse")


@pytest.mark.parametrize("days", [1, 2, 3])
def test_folders_of_days_within_folders_of_classes_are_no_classes(folder, days):
    for at, path in enumerate(sorted(folder.rglob("*.png"))):
        (path.parent / f"day {at % days}").mkdir(exist_ok=True)
        path.rename(path.parent / f"day {at % days}" / f"{at}.png")
    with pytest.raises(UserError, match="folders in folders, .* either may be the class"):
        read_labels(str(folder))


def test_folders_of_parts_and_folders_above_all_are_no_classes(folder, tmp_path):
    expected, _ = read_labels(str(folder))
    assert read_labels(str(tmp_path))[0].label.tolist() == expected.label.tolist()
    for at, path in enumerate(sorted(folder.rglob("*.png"))):
        target = tmp_path / "parts" / ("Train", "test")[at % 2] / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)
    labels, notes = read_labels(str(tmp_path / "parts"))
    assert sorted(labels.label) == sorted(expected.label)
    assert "the pictures of the folders Train, test are taken together" in notes


def test_rows_without_content_are_no_rows(folder):
    table = written(folder, lines(folder, ";", end="\r\n") + ";\r\n; \r\n\r\n;\r\n")
    assert len(read_labels(str(folder), str(table))[0]) == sum(CLASSES.values())


def test_a_name_is_the_same_in_both_forms_of_its_accents(folder):
    for own, other in (("NFC", "NFD"), ("NFD", "NFC")):
        name = "Präparat é.png"
        file = folder / "red" / unicodedata.normalize(own, name)
        file.write_bytes(png([[[1, 2, 3]]]))
        text = f"file,label\nred/{unicodedata.normalize(other, name)},a\nred/0.png,b\n"
        found, _ = read_labels(str(folder), str(written(folder, text)))
        assert f"red/{file.name}" in set(found.file) and (folder / found.file.iloc[-1]).is_file()
        file.unlink()


def test_labels_without_a_word_are_noted(folder):
    for names, is_noted in ((("0", "1"), True), (("no", "Yes"), True), (("1,5", "cell"), True), (("G1", "S"), False)):
        for path, name in zip((path for path in sorted(folder.iterdir()) if path.is_dir()), names, strict=True):
            path.rename(folder / name)
        _, notes = read_labels(str(folder))
        assert any("learns nothing from the labels" in note for note in notes) == is_noted, names


def test_a_column_says_which_pictures_belong_together(folder):
    text = (
        lines(folder, header="file_name,label,mouse_id").replace(",red\n", ",red,M1\n").replace(",blue\n", ",blue,\n")
    )
    table = str(written(folder, text))
    labels, notes = read_labels(str(folder), table)
    assert "group" not in labels and any(note.endswith("say --group mouse_id") for note in notes)
    labels, notes = read_labels(str(folder), table, "mouse_id")
    assert labels.group.fillna("").tolist() == ["", "", "M1", "M1", "M1"]  # blue comes first
    assert not any("--group" in note for note in notes)
    assert any(note.startswith("2 of 5 pictures have an empty cell as their group") for note in notes)
    written(folder, text.replace("mouse_id", "group"))
    assert read_labels(str(folder))[0].group.dropna().tolist() == ["M1"] * 3
    with pytest.raises(UserError, match=r"--group mouse_id: .* has no such column \(found: file_name, label, group"):
        read_labels(str(folder), table, "mouse_id")
    (folder / "labels.csv").unlink()
    with pytest.raises(UserError, match="--group mouse_id: there is no table with such a column"):
        read_labels(str(folder), None, "mouse_id")


def test_facts_are_columns_however_their_names_are_written(folder):
    text = lines(folder, header="file_name,label,Stain,Microns per Pixel")
    text = text.replace(",red\n", ",red,Giemsa,0.5\n").replace(",blue\n", ",blue,Giemsa,0.5\n")
    labels, notes = read_labels(str(folder), str(written(folder, text)))
    assert {*labels.stain} == {"Giemsa"} and {*labels.microns_per_pixel} == {"0.5"}
    assert "of the table, Stain, Microns per Pixel are used too" in notes
    with pytest.raises(UserError, match="two columns could be stain; rename one of them"):
        read_labels(str(folder), str(written(folder, text.replace("Microns per Pixel", "stain"))))
