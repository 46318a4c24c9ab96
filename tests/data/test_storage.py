"""Files and folders as found: paths without patterns, one split, no copy of a library, pictures beside their table."""

import base64
import os
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.refusals import refused
from helpers.samples import as_dataset

from ubench_utils.cli import main
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("cache")
ODD = ["plate [2] µm (final)", "a?", "*", "**", "{a,b}", "100 %", "a#b", "x::y", "file:z", " blank ", "[!a]", "~"]


def ids(path):
    return load_benchmark(str(path)).images.image_id.tolist()


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_a_path(rows, parquet, tmp_path, name):
    """As file, folder and save_to_disk folder, beside others that a pattern would take for it."""
    folder = tmp_path / name
    folder.mkdir(), (tmp_path / f"{name}x").mkdir()
    file = shutil.copy(parquet(rows[:3], "first.parquet"), folder / f"{name}.parquet")
    shutil.copy(parquet(rows[3:5], "plate 2 µm (final)/ab.parquet"), tmp_path / f"{name}x")
    assert ids(file) == ids(folder) == [row["image_id"] for row in rows[:3]]
    shutil.copy(parquet(rows[5:9], "second.parquet"), folder / "ab.parquet")
    assert ids(file) == [row["image_id"] for row in rows[:3]]
    as_dataset(rows[:2]).save_to_disk(tmp_path / "saved")
    shutil.move(tmp_path / "saved", folder / "saved")
    assert ids(folder / "saved") == [row["image_id"] for row in rows[:2]]


@pytest.mark.parametrize("suffix", [".PARQUET", ".Parquet", ".ARROW"])
def test_a_suffix_may_be_written_in_capitals(rows, parquet, tmp_path, suffix):
    as_dataset(rows[:2]).save_to_disk(tmp_path / "saved")
    file = Path(parquet(rows[:2])) if suffix.lower() == ".parquet" else next((tmp_path / "saved").glob("*.arrow"))
    shutil.copy(file, tmp_path / f"rows{suffix}")
    assert ids(tmp_path / f"rows{suffix}") == [row["image_id"] for row in rows[:2]]


def test_an_arrow_file_of_either_format_is_read(rows, tmp_path):
    table = as_dataset(rows[:4]).data.table
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert ids(tmp_path / "file.arrow") == [row["image_id"] for row in rows[:4]]


# File by file how many rows it gets; then which are read, or words of the refusal; then words of the note


SPLITS = {
    "train and test": ({"train-00000-of-00001": 1, "test-00000-of-00001": 2}, [1, 2], "only test"),
    "in data/": ({"data/train-00000-of-00001": 1, "data/test-00000-of-00001": 1}, [1], "only test"),
    "plain names": ({"train": 1, "test": 2, "validation": 1}, [1, 2], "only test"),
    "split folders": ({"train/a": 1, "test/a": 1, "val/a": 1}, [1], "only test"),
    "saved beside one another": ({"train/data-00000-of-00001": 1, "test/data-00000-of-00001": 1}, [1], "only test"),
    "words in names": ({"cells_train": 1, "cells-TEST": 1}, [1], "only test"),
    "no test": ({"train": 1, "val": 1}, "train, validation", None),
    "folds": ({"fold1-00000-of-00001": 1, "fold2-00000-of-00001": 1}, "fold1, fold2", None),
    "one split": ({"data/train-00000-of-00001": 2}, [0, 1], "one split only, train"),
    "test alone": ({"data/test-00000-of-00001": 2}, [0, 1], None),
    "shards": ({"test-00001-of-00002": 1, "test-00000-of-00002": 2}, [1, 2, 0], None),
    "a shard is missing": ({"test-00000-of-00003": 1, "test-00002-of-00003": 1}, "missing is number 00001", None),
    "the last shards are missing": ({"test-00000-of-00003": 1}, "of its 3 parts 1 are there", None),
    "a shard too many": ({"test-00000-of-00001": 1, "test-00001-of-00001": 1}, "more than its 1 parts", None),
    "two uploads": ({"test-00000-of-00001": 1, "test-00000-of-00002": 1}, "several datasets", None),
    "two configurations": ({"a/test-00000-of-00001": 1, "b/test-00000-of-00001": 1}, "several datasets", None),
    "a split and another": ({"test": 1, "more": 1}, "files that name none", None),
    "no splits": ({"one": 1, "two": 2}, [0, 1, 2], "2 files were read as one dataset: one.parquet, two.parquet"),
    "hidden": ({"one": 1, ".cache/two": 1, "._one": 1}, [0], None),
    "names that only hold the words": ({"contest": 1, "interval": 1, "strain": 1}, [0, 1, 2], "3 files"),
}


@pytest.mark.parametrize("layout, wanted, note", SPLITS.values(), ids=SPLITS)
def test_one_split_of_a_folder_is_read(rows, parquet, tmp_path, layout, wanted, note):
    left = iter(rows)
    for name, n in layout.items():
        parquet([next(left) for _ in range(n)], f"hub/{name}.parquet")
    (tmp_path / "hub" / "README.md").write_text("test")
    if isinstance(wanted, str):
        refused(lambda: load_benchmark(str(tmp_path / "hub")), "cannot read dataset", "hub'", wanted)
    else:
        benchmark = load_benchmark(str(tmp_path / "hub"))
        assert benchmark.images.image_id.tolist() == [rows[i]["image_id"] for i in wanted]
        about_files = [text for text in benchmark.notes if "read" in text]
        assert len(about_files) == (note is not None) and (note is None or note in about_files[0])


def test_the_folder_or_file_of_a_split_can_be_named(rows, parquet):
    train = Path(parquet(rows[:2], "hub/train/a-00000-of-00002.parquet"))
    parquet(rows[2:4], "hub/train/a-00001-of-00002.parquet"), parquet(rows[4:6], "hub/val/b.parquet")
    assert len(ids(train.parent)) == 4 and len(ids(train)) == 2
    assert "one of 2 parts" in load_benchmark(str(train)).notes[0]


@pytest.mark.parametrize("splits", [["train", "test"], ["train"], ["train", "validation"]])
def test_a_saved_dict_of_splits_follows_the_same_rule(rows, tmp_path, splits):
    parts = {name: as_dataset(rows[3 * i : 3 * i + 3]) for i, name in enumerate(splits)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    if splits == ["train", "validation"]:
        refused(lambda: load_benchmark(str(tmp_path / "saved")), "train, validation", "name one file, or a folder")
        assert ids(tmp_path / "saved" / "train") == [row["image_id"] for row in rows[:3]]
    else:
        benchmark = load_benchmark(str(tmp_path / "saved"))
        assert benchmark.images.image_id.tolist() == list(parts[splits[-1]]["image_id"])
        assert any(splits[-1] in note and "read" in note for note in benchmark.notes)


def test_a_saved_folder_is_what_its_list_says(rows, parquet, tmp_path):
    """Not what else lies in it: copies that the library left there, or a file elsewhere that the list names."""
    saved = tmp_path / "saved"
    as_dataset(rows[:3]).save_to_disk(saved)
    shutil.copy(next(saved.glob("data*.arrow")), saved / "cache-0123456789abcdef.arrow")
    assert len(ids(saved)) == 3
    as_dataset(rows[:3]).save_to_disk(tmp_path / "other")
    state = (saved / "state.json").read_text()
    (saved / "state.json").write_text(state.replace("data-00000", "../other/data-00000"))
    refused(lambda: load_benchmark(str(saved)), "cannot read dataset", "no name of a file in it")
    for text in ("[]", "{}", "{", '{"_data_files": 3}', '{"_data_files": [{}]}', '{"_data_files": []}', "[" * 100_000):
        (saved / "state.json").write_text(text)
        refused(lambda: load_benchmark(str(saved)), "its state.json lists nothing under _data_files; save the dataset")


def test_files_with_other_columns_are_not_joined(rows, parquet, tmp_path):
    parquet(rows[:2], "set/a.parquet"), parquet(rows[2:4], "set/b.parquet", drop=["stain"])
    refused(lambda: load_benchmark(str(tmp_path / "set")), "b.parquet and a.parquet differ in the columns stain")


def test_content_counts_and_not_path_and_time(rows, parquet):
    path = parquet(rows[:20])
    os.utime(path, (1.7e9, 1.7e9))
    first = load_benchmark(path)
    parquet(rows[20:])
    os.utime(path, (1.7e9, 1.7e9))
    again = load_benchmark(path)
    assert again.images.image_id.tolist() == [row["image_id"] for row in rows[20:]]
    assert again.fingerprint != first.fingerprint
    assert again.fingerprint == load_benchmark(parquet(rows[20:], "other.parquet")).fingerprint


def test_reading_writes_nothing(rows, parquet, tmp_path, monkeypatch):
    """So a home folder that cannot be written to is no obstacle."""
    path = parquet(rows[:2])
    as_dataset(rows[:2]).save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    before = sorted(tmp_path.rglob("*"))
    assert load_benchmark(path).fingerprint == load_benchmark(str(tmp_path / "saved")).fingerprint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_cut_file_is_refused_in_one_line(rows, parquet, tmp_path, share, kind, capsys):
    as_dataset(rows[:3]).save_to_disk(tmp_path / "saved")
    whole = Path(parquet(rows[:3])) if kind == "parquet" else next((tmp_path / "saved").glob("*.arrow"))
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    code = main(["evaluate", "--dataset", str(cut), "--models", "random", "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert code == 2 and error.startswith(f"ubench: cannot read dataset '{cut}'") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("my cells", "ubench import '{path}' --out 'my cells.parquet'"),
        ("cells/metadata.csv", "ubench import {path.parent} --labels {path} --out cells.parquet"),
        ("cells/a/0.png", "ubench import FOLDER --out mine.parquet"),
        ("rows", "ubench import FOLDER --out mine.parquet"),
    ],
)
def test_what_is_not_read_is_told_with_a_way_to_get_there(tmp_path, name, command):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name == "my cells" else path.write_text("file_name,label\n")
    refused(
        lambda: load_benchmark(str(path)), "cannot read dataset", str(path), f"`{command.format(path=path)}` makes one"
    )


def test_devices_pipes_and_loops_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "loop.parquet").symlink_to(tmp_path / "loop.parquet")
    refused(lambda: load_benchmark(str(tmp_path / "pipe.parquet")), "no regular file")
    refused(lambda: load_benchmark("/dev/zero"), "no regular file")
    for name in (str(tmp_path / "loop.parquet"), "x" * 5000, "a\0b"):
        refused(lambda name=name: load_benchmark(name), "unknown dataset")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe.parquet")
    refused(lambda: load_benchmark(str(tmp_path / "folder")), "no .parquet or .arrow file")


# Names of classes

COLUMNS = ["modality", "submodality", "stain", "domain", "subdomain", "dataset", "label_name", "ncbitaxon_name"]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("stored", ["parquet", "saved"])
def test_classes_are_names(rows, parquet, tmp_path, column, stored):
    """As many datasets store them: numbers, and the names in the file's features; −1 and null are no class."""
    rows = rows[::2]
    if column not in ("dataset", "label_name"):
        rows[0][column], rows[1][column] = None, None
    plain = load_benchmark(parquet(rows))
    names = sorted({row[column] for row in rows if row[column] is not None}, reverse=True)
    labels = as_dataset(rows).cast_column(column, datasets.ClassLabel(names=names))
    assert {type(value) for value in labels[column]} <= {int, type(None)}
    path = tmp_path / "labels.parquet"
    labels.to_parquet(path) if stored == "parquet" else labels.save_to_disk(path := tmp_path / "labels")
    found = load_benchmark(str(path))
    assert found.images.equals(plain.images) and found.fingerprint == plain.fingerprint
    assert found.notes == plain.notes


def with_classes(table, numbers, names, path):
    """Write a table whose stain is a ClassLabel."""
    features = f'{{"info": {{"features": {{"stain": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}'
    table = table.set_column(table.schema.get_field_index("stain"), "stain", numbers)
    pq.write_table(table.replace_schema_metadata({"huggingface": features.replace("'", '"')}), path)
    return str(path)


def test_numbers_of_classes_are_read_by_their_own_files_names(rows, parquet, tmp_path):
    table = pq.read_table(parquet(rows[:4], "plain.parquet"))
    (tmp_path / "set").mkdir()
    numbers = pa.array([0, 1, -1, None])
    with_classes(table, numbers, ["H&E", "DAPI"], tmp_path / "set" / "a.parquet")
    ids = pa.array([f"other {i}" for i in range(4)])
    other = table.set_column(table.schema.get_field_index("image_id"), "image_id", ids)
    with_classes(other, numbers.cast(pa.float32()), ["DAPI", "H&E"], tmp_path / "set" / "b.parquet")
    unknown = "not stated"
    stains = load_benchmark(str(tmp_path / "set")).images.stain.tolist()
    assert stains == ["H&E", "DAPI", unknown, unknown, "DAPI", "H&E", unknown, unknown]
    beyond = with_classes(table, pa.array([0, 1, 2, 0]), ["a", "b"], tmp_path / "beyond.parquet")
    refused(lambda: load_benchmark(beyond), "column stain, row 2", "2 is no number of its 2 class names")
    parts = with_classes(table, pa.array([0, 0.5, 1, 0]), ["a", "b"], tmp_path / "parts.parquet")
    refused(lambda: load_benchmark(parts), "column stain: fractions are no numbers of its class names")


# Pictures by path


@pytest.fixture
def table(rows, parquet, tmp_path):
    """Write a table of pictures by path, and return its path; the pictures 0.png to 3.png lie in a folder beside it."""

    def write(cells, name="set/table.parquet", as_struct=False):
        (tmp_path / "set" / "pictures").mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows[:4]):
            (tmp_path / "set" / "pictures" / f"{number}.png").write_bytes(row["image"]["bytes"])
        plain = pq.read_table(parquet(rows[: len(cells)], "plain.parquet"))
        cells = [{"bytes": None, "path": cell} for cell in cells] if as_struct else cells
        plain = plain.set_column(plain.schema.get_field_index("image"), "image", pa.array(cells))
        pq.write_table(plain.replace_schema_metadata(None), tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("as_struct", [False, True])
def test_picture_paths_are_relative_to_the_table(rows, table, parquet, tmp_path, monkeypatch, as_struct):
    whole = load_benchmark(parquet(rows[:4], "whole.parquet"))
    path = table([f"pictures/{i}.png" for i in range(3)] + [str(tmp_path / "set/pictures/3.png")], as_struct=as_struct)
    for folder, named in (("/", path), (tmp_path, "set/table.parquet"), (tmp_path / "set", "."), (tmp_path, "set")):
        monkeypatch.chdir(folder)
        found = load_benchmark(named)
        monkeypatch.chdir("/")
        assert found.images.image_hash.equals(whole.images.image_hash) and found.fingerprint == whole.fingerprint
        assert [found.image_bytes(row) for row in range(4)] == [whole.image_bytes(row) for row in range(4)]


REFUSED_PATHS = {
    "../outside.png": "leads out of the dataset's folder",
    "pictures/../../outside.png": "leads out",
    "{tmp}/outside.png": "leads out",
    "link.png": "leads out",
    "/etc/hostname": "leads out",
    "/dev/zero": "leads out",
    "pipe.png": "is that of a folder, a pipe or a device",
    "pictures": "is that of a folder",
    "gone.png": "no such file in the folder of the dataset's table: 'gone.png'",
    "loop.png": "no path, no bytes",
    "https://example.org/0.png": "an address is not fetched",
    "file:///etc/hostname": "an address is not fetched",
    "data:image/png;base64,iVBORw0KGgo=": "an address is not fetched",
    "x" * 5000: "no path, no bytes",
    base64.b64encode(bytes(range(150))).decode(): "no path, no bytes",
    "a\0b": "no path, no bytes",
    "": "holds no image",
}


def test_a_picture_path_opens_nothing_outside_and_no_pipe_or_device(table, tmp_path):
    path = table([cell.format(tmp=tmp_path) for cell in REFUSED_PATHS] + ["pictures/1.png"])
    shutil.copy(tmp_path / "set/pictures/0.png", tmp_path / "outside.png")
    (tmp_path / "set/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "set/loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "set/pipe.png")
    benchmark = load_benchmark(path)
    for row, reason in enumerate(REFUSED_PATHS.values()):
        with pytest.raises(OSError, match=reason):
            benchmark.image_bytes(row)
    assert benchmark.image_bytes(len(REFUSED_PATHS)) == (tmp_path / "set/pictures/1.png").read_bytes()
    failures = evaluate(benchmark, ["demo-base"], device="cpu").failures.set_index("image_id").reason
    assert sorted(failures.index) == sorted(benchmark.images.image_id[:-1])
    for image_id, reason in zip(benchmark.images.image_id, REFUSED_PATHS.values(), strict=False):
        assert reason in failures[image_id]


def test_a_link_within_the_folder_is_followed(table, tmp_path):
    path = table(["link.png"])
    (tmp_path / "set/link.png").symlink_to("pictures/0.png")
    assert load_benchmark(path).image_bytes(0) == (tmp_path / "set/pictures/0.png").read_bytes()


def test_the_bytes_of_a_row_go_before_its_path(rows, parquet):
    rows[0]["image"]["path"] = "/dev/zero"
    benchmark = load_benchmark(parquet(rows[:1]))
    assert benchmark.image_bytes(0) == rows[0]["image"]["bytes"]


def test_other_columns_of_pictures_are_not_opened(rows, tmp_path):
    """The library would open what a column of images names when a row is read."""
    (tmp_path / "mask.png").write_bytes(rows[0]["image"]["bytes"])
    masks = as_dataset(rows[:2]).add_column("mask", [str(tmp_path / "mask.png")] * 2)
    masks.cast_column("mask", datasets.Image()).to_parquet(tmp_path / "masks.parquet")
    table = pq.read_table(tmp_path / "masks.parquet")
    absent = pa.array([{"bytes": None, "path": str(tmp_path / "gone.png")}] * 2, table["mask"].type)
    pq.write_table(table.set_column(table.schema.get_field_index("mask"), "mask", absent), tmp_path / "masks.parquet")
    with pytest.raises(FileNotFoundError):
        datasets.Dataset.from_parquet(str(tmp_path / "masks.parquet"), cache_dir=str(tmp_path / "copy"))[0]
    benchmark = load_benchmark(str(tmp_path / "masks.parquet"))
    assert benchmark.rows[0]["image"]["bytes"] == rows[0]["image"]["bytes"]


def test_a_reason_belongs_to_its_own_dataset(table, capsys, tmp_path):
    """Two tables with the same keys: the second must not be given the reason that was found for the first."""
    reasons = []
    for cells in (["gone.png"] * 2, [base64.b64encode(bytes(200)).decode()] * 2):
        code = main(["evaluate", "--dataset", table(cells), "--models", "demo-base", "--out", str(tmp_path / "out")])
        reasons.append(capsys.readouterr().err)
        assert code == 2 and "none of 2 images could be encoded" in reasons[-1]
    assert "table: 'gone.png'" in reasons[0] and "no path, no bytes" in reasons[1] and "gone" not in reasons[1]
