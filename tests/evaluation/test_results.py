"""The tables of a run in a folder: of one run whatever was killed, and nobody else's file is touched."""

import io
import json
import os
import signal
import stat
import sys
from pathlib import Path

import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES

from ubench_utils.errors import UserError
from ubench_utils.evaluation import results
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.evaluation.results import as_csv, check_folder
from ubench_utils.files import write_whole

pytestmark = pytest.mark.usefixtures("cache")
NAMES = {"predictions.parquet", "scores.csv", "failures.csv", "run.json"}


@pytest.fixture
def runs(rows, parquet):
    """Two runs with other models."""
    path = parquet(rows[:3])
    return evaluate(path, ["random"]), evaluate(path, ["demo-base"], device="cpu")


def models_in(folder):
    """Models of the predictions, of the scores and of the record, None without a record."""
    if not (folder / "run.json").exists():
        return None
    record = json.loads((folder / "run.json").read_text())
    tables = pd.read_parquet(folder / "predictions.parquet"), pd.read_csv(folder / "scores.csv")
    return [*({*table.model} for table in tables), {*record["models"]}]


def killed_at(operation, run, folder):
    """Save in a process of its own that is killed just before its n-th change to a file; whether it was."""
    child = os.fork()
    if child == 0:
        left = [operation]

        def count(event, arguments):
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if str(folder) in str(arguments[0] if arguments else "") and (
                writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
            ):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        run.save(folder)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_folder_never_holds_tables_of_two_runs(runs, tmp_path, monkeypatch):
    first, second = runs
    content = {id(run): results._content(run) for run in runs}  # scored once, and not at each of many savings
    monkeypatch.setattr(results, "_content", lambda run: dict(content[id(run)]))
    operation, seen = 0, set()
    while True:
        folder = tmp_path / str(operation)
        first.save(folder)
        killed = killed_at(operation, second, folder)
        found = models_in(folder)
        assert found is None or found in ([{"random"}] * 3, [{"demo-base"}] * 3), f"killed at {operation}"
        seen.add(found and min(found[0]))
        check_folder(str(folder))  # whatever lies there is still known as its own
        second.save(folder)
        assert models_in(folder) == [{"demo-base"}] * 3
        assert {file.name for file in folder.iterdir()} == NAMES
        if not killed:
            break
        operation += 1
    assert operation > 10 and seen == {"random", None, "demo-base"}


def test_scores_are_read_as_they_were_written():
    """By pandas' defaults, in all columns: no slice is lost, whatever its name; withheld estimates stay empty."""
    names = [*sorted(STR_NA_VALUES - {""}), "H&E, 20x", 'a "b"', "0.5", "all"]
    table = pd.DataFrame({"model": "m", "by": "stain", "slice": names, "estimate": 0.25, "n_questions": 3})
    table = table.assign(estimate=table.estimate.mask(table.slice == "all"), interval="withheld")
    found = pd.read_csv(io.StringIO(as_csv(table)))
    assert found.slice.str.startswith("'").sum() == len(names) - 4
    plain = found.slice.where(~found.slice.str.startswith("'"), found.slice.str[1:-1])
    pd.testing.assert_frame_equal(found.assign(slice=plain), table, check_dtype=False)
    numbers = pd.DataFrame({"model": ["007", "1e3", "2.50"], "dataset": ["12", "2020", "-3"]})
    found = pd.read_csv(io.StringIO(as_csv(numbers)))
    assert found.model.tolist() == ["'007'", "'1e3'", "'2.50'"] and found.dataset.astype(str).equals(numbers.dataset)


def test_a_full_disk_leaves_the_run_before(runs, tmp_path, monkeypatch):
    first, second = runs
    first.save(tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def full(path, content, write=write_whole):
        if Path(path).name == "scores.csv":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(results, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        second.save(tmp_path / "out")
    after = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
    assert after == before
    monkeypatch.undo()
    check_folder(str(tmp_path / "out"))


def test_the_record_lists_its_tables(runs, tmp_path):
    folder = runs[0].save(tmp_path / "out")
    listed = json.loads((folder / "run.json").read_text())["files"]
    assert listed == {name: results.file_digest(folder / name) for name in NAMES - {"run.json"}}
    check_folder(str(folder))
    (folder / "scores.csv").write_text("edited by hand\n")
    with pytest.raises(UserError, match="scores.csv' was not written by ubench, or was changed since"):
        check_folder(str(folder))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_somebody_elses_file_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text('{"files": []}')
    with pytest.raises(UserError, match=name):
        check_folder(str(tmp_path))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(UserError, match=name):
        check_folder(str(tmp_path))
    assert [file.name for file in tmp_path.iterdir() if file.name != "cache"] == [name]


def test_a_file_that_is_read_is_not_overwritten(runs, tmp_path):
    folder = runs[0].save(tmp_path / "out")
    with pytest.raises(UserError, match="is read by this command"):
        check_folder(str(folder), inputs=[str(folder / ".." / "out" / "scores.csv")])


@pytest.mark.parametrize("name", ["taken", "taken/below", "loop", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be(tmp_path, name):
    (tmp_path / "taken").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="'.*"):
        check_folder(str(tmp_path / name))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["loop", "taken"]


def test_tables_do_not_go_among_those_of_the_dataset(tmp_path):
    (tmp_path / "set" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to("set")
    for out in ("set", "set/out/new", "link/out"):
        with pytest.raises(UserError, match="whose tables are read"):
            check_folder(str(tmp_path / out), inputs=[str(tmp_path / "set")])
    check_folder(str(tmp_path / "beside"), inputs=[str(tmp_path / "set"), "demo", "a\0b"])
    with pytest.raises(UserError, match="--out is empty"):
        check_folder("", inputs=[str(tmp_path / "set")])


def test_nothing_goes_through_a_link(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / results.ASIDE).symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a link; remove it"):
        check_folder(str(tmp_path / "out"))
    (tmp_path / "out" / results.ASIDE).unlink()
    (tmp_path / "out" / "scores.csv").symlink_to("scores.csv")
    with pytest.raises(UserError, match="scores.csv' was not written by ubench"):
        check_folder(str(tmp_path / "out"))


def test_a_file_among_the_unfinished_ones_stays(runs, tmp_path):
    aside = tmp_path / "out" / results.ASIDE
    aside.mkdir(parents=True)
    (aside / "mine").write_text("")
    (aside / ".0123456789abcdef.part").write_text("left by a run that was killed")
    runs[0].save(tmp_path / "out")
    assert [file.name for file in aside.iterdir()] == ["mine"]


def test_a_trial_leaves_nothing(tmp_path):
    check_folder(str(tmp_path / "a" / "b"))
    check_folder(str(tmp_path))
    assert not [file for file in tmp_path.iterdir() if file.name != "cache"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_whole(file, "first")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_whole(file, b"second")
    assert file.read_text() == "first" and [path.name for path in tmp_path.iterdir()] == ["file"]
