"""Cache: what it refuses to believe, and what it does where it cannot be used."""

import io
import os
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.runs import evaluate, predictions, same

from ubench_utils.engine import store, work
from ubench_utils.errors import UserError

pytestmark = pytest.mark.usefixtures("cache")
TWO = ("demo-base", "demo-pathology")


# Damage


def damage(file, how):
    content = bytearray(file.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = content[:0]
    else:
        content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped"])
def test_a_damaged_cache_is_noticed_and_rebuilt(rows, parquet, cache, monkeypatch, capsys, counted, how):
    monkeypatch.setattr(work, "CHUNK", 16)
    path = parquet(rows)
    sound = predictions(path)
    counted["images"].clear(), counted["texts"].clear()
    files = {kind: sorted((cache / kind).rglob("*.*")) for kind in ("images", "texts", "pixels", "passports")}
    assert [len(files[kind]) for kind in ("images", "pixels", "passports")] == [3, 3, 1]
    for kind in files:
        damage(files[kind][0], how)
    damage(files["images"][1], how)
    same(sound, predictions(path))
    assert 16 < len(counted["images"]) < 40 and 0 < len(counted["texts"]) <= 16
    assert "damaged" in capsys.readouterr().err
    counted["images"].clear()
    same(sound, predictions(path))
    assert not counted["images"]


def entry_and_every_flip(tmp_path):
    path = tmp_path / "entry.npz"
    arrays = {"vectors": np.arange(12, dtype=np.float32).reshape(4, 3), "reasons": np.array(["", "x", "", ""])}
    store.write(path, **arrays)
    content = path.read_bytes()
    for bit in range(0, 8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        yield bit, path, arrays


def test_every_single_bit_flip_is_noticed_or_harmless(tmp_path, capsys):
    wrong = []
    for bit, path, arrays in entry_and_every_flip(tmp_path):
        try:
            found = store.read(path)
        except Exception as error:
            wrong.append((bit, type(error).__name__))
            continue
        if found is not None and not (
            found.keys() == arrays.keys() and all(np.array_equal(found[key], arrays[key]) for key in arrays)
        ):
            wrong.append((bit, "other content"))
    counts = pd.Series([what for _, what in wrong], dtype=object).value_counts().to_dict()
    assert not wrong, f"{len(wrong)} flips: {counts}"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "entry.npz"
    store.write(path, a=np.ones(3))
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write(path, a=np.zeros(3))
    assert store.read(path)["a"].tolist() == [1, 1, 1]
    assert [file.name for file in path.parent.iterdir()] == ["entry.npz"]


# Entries in the place of others, and other things in the place of entries


@pytest.fixture
def filled(rows, parquet, cache, monkeypatch):
    """A data set of three chunks, its predictions by two models, and the cache that holds all of it."""
    monkeypatch.setattr(work, "CHUNK", 16)
    path = parquet(rows)
    return path, predictions(path, TWO), cache


def exchange(first, second):
    one, other = first.read_bytes(), second.read_bytes()
    assert one != other
    first.write_bytes(other), second.write_bytes(one)


EXCHANGES = {
    "two chunks of one model": ("images", lambda files: [f for f in files if f.parent == files[0].parent][:2], None),
    "one chunk of two models": ("images", lambda files: [f for f in files if f.name == files[0].name], None),
    "texts of two models": ("texts", lambda files: [f for f in files if f.name == files[0].name], None),
    "pixels of two chunks": ("pixels", lambda files: files[:2], "images"),
    "passports of two models": ("passports", lambda files: files, None),
}


@pytest.mark.parametrize("what", EXCHANGES)
def test_exchanged_entries_are_noticed_and_computed_again(filled, capsys, what):
    path, sound, cache = filled
    kind, choose, drop = EXCHANGES[what]
    files = choose(sorted((cache / kind).rglob("*.*")))
    assert len(files) == 2
    exchange(*files)
    if drop:
        shutil.rmtree(cache / drop)
    same(sound, predictions(path, TWO))
    assert capsys.readouterr().err.count("belongs under another name") == 2
    predictions(path, TWO)
    assert not capsys.readouterr().err  # mended


def test_whole_folders_exchanged_are_noticed(filled, capsys):
    path, sound, cache = filled
    one, other = (cache / "images").iterdir()
    one.rename(cache / "x"), other.rename(one), (cache / "x").rename(other)
    same(sound, predictions(path, TWO))
    assert capsys.readouterr().err.count("belongs under another name") == 6


def folder(file):
    file.unlink(), file.mkdir(), (file / "something").touch()


ODD = {
    "folder": folder,
    "loop": lambda file: (file.unlink(), file.symlink_to(file.name)),
    "dangling link": lambda file: (file.unlink(), file.symlink_to("/nowhere/at/all")),
    "pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}


@pytest.mark.parametrize("how", ODD)
def test_what_is_no_entry_is_noted_and_replaced(filled, capsys, how):
    path, sound, cache = filled
    for kind in ("images", "texts", "pixels", "passports"):
        ODD[how](sorted((cache / kind).rglob("*.*"))[0])
    same(sound, predictions(path, TWO))
    assert "is no file; computing it again" in capsys.readouterr().err
    assert (how == "folder") == bool(list(cache.rglob("something")))  # what may be somebody's is moved aside
    predictions(path, TWO)
    assert not capsys.readouterr().err


def test_an_entry_elsewhere_behind_a_link_is_read(filled, counted, tmp_path):
    path, sound, cache = filled
    file = sorted((cache / "images").rglob("*.npz"))[0]
    file.rename(tmp_path / "elsewhere"), file.symlink_to(tmp_path / "elsewhere")
    same(sound, predictions(path, TWO))
    assert not counted["images"]


class Trace:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_objects_in_an_entry_are_never_unpickled(tmp_path, capsys):
    path, buffer = store.entry("images", "model", ["chunk"]), io.BytesIO()
    np.savez(buffer, vectors=np.array([Trace(tmp_path / "trace")], dtype=object))
    path.parent.mkdir(parents=True)
    path.write_bytes(buffer.getvalue() + store._seal(path, buffer.getvalue()))
    assert store.read(path) is None and "holds no arrays" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


# Several users, full disks


def test_an_entry_has_the_permissions_of_the_umask(tmp_path):
    path = store.entry("texts", "model", ["a"])
    before = os.umask(0o022)
    try:
        store.write(path, a=np.ones(3))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_cache_that_cannot_be_used_is_told_in_one_line(rows, parquet, tmp_path, monkeypatch):
    path = parquet(rows[:2])
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("long" * 100)):
        monkeypatch.setenv("UBENCH_CACHE", str(place))
        with pytest.raises(
            UserError, match="cannot write to the cache .*; set UBENCH_CACHE to another folder"
        ) as caught:
            evaluate(path)
        assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_no_half_entry(monkeypatch):
    path = store.entry("texts", "model", ["a"])
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left on device"):
        store.write(path, a=np.ones(3))
    assert not list(path.parent.iterdir())


def test_what_a_killed_run_left_is_removed_after_a_day():
    path = store.entry("texts", "model", ["a"])
    store.write(path, a=np.ones(3))
    old, young = path.with_name("old.part"), path.with_name("young.part")
    old.touch(), young.touch()
    os.utime(old, (time.time() - store.STALE - 60,) * 2)
    store.write(path, a=np.ones(3))
    assert young.exists() and not old.exists()
