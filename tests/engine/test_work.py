"""Work on images: failures are counted and kept only if they last, and nothing is stored under a wrong name."""

import io
import os
import shutil

import numpy as np
import pytest
import torch
from helpers.opened import identity
from helpers.runs import KEY, evaluate, predictions, same
from helpers.samples import DEMO, png
from PIL import Image

from ubench_utils.data import benchmark
from ubench_utils.engine import store, work
from ubench_utils.errors import UserError
from ubench_utils.models.encoders import network
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache")


# Failures


BROKEN = {
    "garbage": lambda image: {"bytes": b"no image", "path": None},
    "truncated": lambda image: {"bytes": image["bytes"][: len(image["bytes"]) // 2], "path": None},
    "empty": lambda image: {"bytes": b"", "path": None},
    "absent": lambda image: None,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_corrupt_image_is_counted_named_and_left_out(rows, parquet, how):
    bad = rows[17]
    without = predictions(parquet([row for row in rows if row is not bad], "without.parquet"))
    bad["image"] = BROKEN[how](bad["image"])
    run = evaluate(parquet(rows, "with.parquet"), ["random", "demo-base", "demo-pathology"])
    assert list(run.failures.image_id) == [bad["image_id"]] * 2
    assert set(run.failures.model) == {"demo-base", "demo-pathology"} and run.failures.reason.str.len().gt(10).all()
    assert run.record["models"]["demo-base"]["images_failed"] == 1
    assert bad["image_id"] not in set(run.predictions.image_id)
    own = run.predictions[run.predictions.model == "demo-base"].sort_values(["model", *KEY]).reset_index(drop=True)
    same(own, without)
    again = evaluate(parquet(rows, "with.parquet"))  # from the cache
    assert list(again.failures.image_id) == [bad["image_id"]]


def test_images_that_all_fail_are_a_users_error(rows, parquet):
    for row in rows:
        row["image"] = BROKEN["garbage"](row["image"])
    with pytest.raises(UserError, match="none of 40 images"):
        evaluate(parquet(rows))


TROUBLE = {
    "input/output": OSError(5, "Input/output error"),
    "too many files": OSError(24, "Too many open files"),
    "memory": MemoryError(),
    "no decoder": OSError("decoder avif not available"),
    "thread": RuntimeError("can't start new thread"),
}


@pytest.mark.parametrize("what", TROUBLE)
@pytest.mark.parametrize("where", ["reading", "decoding"])
def test_trouble_is_told_and_not_remembered(rows, parquet, monkeypatch, what, where):
    path = parquet(rows[:8])
    with monkeypatch.context() as patch:
        if where == "reading":
            read = benchmark.Benchmark.image_bytes

            def hiccup(self, row):
                if row in (3, 4):
                    raise TROUBLE[what]
                return read(self, row)

            patch.setattr(benchmark.Benchmark, "image_bytes", hiccup)
        else:
            decode, bad = work.decode, [rows[row]["image"]["bytes"] for row in (3, 4)]

            def hiccup(encoded):
                if encoded in bad:
                    raise TROUBLE[what]
                return decode(encoded)

            patch.setattr(work, "decode", hiccup)
        first = evaluate(path)
    assert set(first.failures.image_id) == {rows[3]["image_id"], rows[4]["image_id"]}
    assert type(TROUBLE[what]).__name__ in first.failures.reason[0]
    assert any("2 of 8 images cannot be read" in note for note in first.record["dataset"]["notes"])
    for models_ in (["demo-base"], ["demo-pathology"]):
        again = evaluate(path, models_)
        assert again.failures.empty and not any("cannot be read" in note for note in again.record["dataset"]["notes"])


def test_a_broken_picture_is_remembered(rows, parquet, monkeypatch):
    rows[2]["image"] = BROKEN["truncated"](rows[2]["image"])
    path = parquet(rows[:8])
    first = evaluate(path)
    monkeypatch.setattr(work, "decode", None)  # nothing is decoded again
    again = evaluate(path)
    assert again.failures.equals(first.failures) and len(again.failures) == 1


def test_a_reason_belongs_to_its_own_dataset(rows, parquet, monkeypatch):
    rows[2]["image"] = None
    path = parquet(rows[:5])
    assert "holds no image" in evaluate(path).failures.reason[0]

    def gone(cell):
        raise FileNotFoundError(2, "No such file or directory", "two.png")

    real = benchmark.picture_bytes
    monkeypatch.setattr(benchmark, "picture_bytes", lambda cell, *rest: real(cell, *rest) if cell else gone(cell))
    assert "No such file" in evaluate(path).failures.reason[0]


def test_what_was_found_is_told_from_the_cache_too(rows, parquet, monkeypatch):
    rows[1]["image"] = png((np.arange(4096, dtype=np.uint16)).reshape(64, 64))
    rows[2]["image"] = png(np.dstack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64), 9, np.uint8)]))
    path = parquet(rows[:5])
    notes = evaluate(path).record["dataset"]["notes"]
    assert sum("less than 1/16 of their range" in note or "laid on white" in note for note in notes) == 2
    monkeypatch.setattr(work, "decode", None)
    assert evaluate(path).record["dataset"]["notes"] == notes


# Changes during a run, and versions


def test_a_picture_replaced_during_the_run_is_stored_under_no_name(rows, parquet, monkeypatch, tmp_path):
    path = parquet(rows[:10])
    read = benchmark.Benchmark.image_bytes
    with monkeypatch.context() as patch:
        patch.setattr(
            benchmark.Benchmark, "image_bytes", lambda self, row: read(self, (row + 3) % 10 if row < 9 else row)
        )
        during = evaluate(path)
    assert len(during.failures) == 9 and during.failures.reason.str.contains("changed during the run").all()
    later = predictions(path)
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    assert later.equals(predictions(path))


def replace_weights(file, which):
    """Put other weights into the place of a file, as an editor does: by a rename."""
    shutil.copyfile(DEMO / which / file.name, file.with_suffix(".new"))
    os.replace(file.with_suffix(".new"), file)


@pytest.mark.parametrize("put_back", [False, True])
def test_weights_replaced_while_they_are_loaded_are_stored_under_no_name(
    rows, parquet, model_folder, monkeypatch, tmp_path, put_back
):
    from ubench_utils.models.encoders import openclip

    path, folder = parquet(rows[:6]), model_folder()
    name, file, load = f"local-dir:{folder}", folder / "open_clip_model.safetensors", openclip.load

    def slow(card, source):
        replace_weights(file, "pathology")
        model = load(card, source)
        if put_back:
            replace_weights(file, "base")
        return model

    with monkeypatch.context() as patch:
        patch.setattr(openclip, "load", slow)
        with pytest.raises(UserError, match="changed while they were loaded"):
            evaluate(path, [name])
    replace_weights(file, "base")
    later = predictions(path, [name])
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    assert later.equals(predictions(path, [name]))


def test_weights_replaced_before_they_are_loaded_are_noticed(rows, parquet, model_folder, monkeypatch):
    path, folder = parquet(rows[:6]), model_folder()
    file, load = folder / "open_clip_model.safetensors", network.load

    def late(*args):
        replace_weights(file, "pathology")
        return load(*args)

    monkeypatch.setattr(network, "load", late)
    with pytest.raises(UserError, match="its files changed during the run"):
        evaluate(path, [f"local-dir:{folder}"])
    assert not list(store.cache_dir().rglob("*.*"))


def test_other_weights_of_the_same_size_and_time_are_read_again(model_folder):
    folder = model_folder()
    file = folder / "open_clip_model.safetensors"
    facts = file.stat()
    before = identity(f"local-dir:{folder}")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert identity(f"local-dir:{folder}") != before


def test_a_loaded_model_does_not_follow_its_file(model_folder):
    folder = model_folder()
    model = load_model(f"local-dir:{folder}")
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    file = folder / "open_clip_model.safetensors"
    with open(file, "r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(bytes(file.stat().st_size // 2))
    assert all(value.equal(before[key]) for key, value in model.network.state_dict().items())


def raise_engine(patch):
    patch.setattr(work, "ENGINE", work.ENGINE + 1)


def other_pillow(patch):
    patch.setattr("PIL.__version__", "99.0")


@pytest.mark.parametrize("change", [raise_engine, other_pillow])
def test_another_version_shares_no_pixels(rows, parquet, monkeypatch, change, tmp_path):
    path = parquet(rows[:10])
    with monkeypatch.context() as patch:  # an older version, to which all pictures were grey
        change(patch)
        patch.setattr(work, "decode", lambda encoded: Image.open(io.BytesIO(encoded)).convert("L").convert("RGB"))
        older = predictions(path)
    newer = predictions(path)
    assert not np.allclose(older.p_answer, newer.p_answer)
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    assert newer.equals(predictions(path))


# Memory


@pytest.mark.parametrize("fits", [1, 3, 10])
def test_out_of_memory_halves_the_batch(fits):
    items, sizes = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32), []

    def encoder(batch):
        sizes.append(len(batch))
        if len(batch) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return batch * 2

    np.testing.assert_array_equal(work.encode_batched(encoder, items), items * 2)
    good = [size for size in sizes if size <= fits]
    assert sum(good) == 40 and sizes[0] == 40 and len(sizes) - len(good) <= 6


def test_out_of_memory_with_one_image_is_told():
    def encoder(batch):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(UserError, match="batch of one"):
        work.encode_batched(encoder, np.zeros((4, 2)))


def test_other_errors_of_the_encoder_are_not_swallowed():
    def encoder(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        work.encode_batched(encoder, np.zeros((4, 2)))
