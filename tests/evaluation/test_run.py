"""Runs in the cache: opened where they are whole and nothing changed, computed again otherwise."""

import io
import shutil
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.runs import evaluate
from PIL import Image

from ubench_utils.demo import sample
from ubench_utils.engine import store
from ubench_utils.engine.work import picture
from ubench_utils.errors import UserError
from ubench_utils.evaluation import run as runs

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def loads(monkeypatch):
    """Names of the datasets that are loaded and hashed; files count as settled at once."""
    monkeypatch.setattr(runs, "SETTLED", -1)
    found, load = [], runs.load_benchmark

    def counted(name, limit=None):
        found.append(name)
        return load(name, limit)

    monkeypatch.setattr(runs, "load_benchmark", counted)
    return found


@pytest.fixture
def small_demo(monkeypatch):
    """The demo with four images of each sub-dataset."""
    monkeypatch.setattr(sample, "draw_sample", partial(sample.draw_sample, images_per_set=4))


def entries(kind="runs"):
    return sorted((store.cache_dir() / kind).glob("*"))


@pytest.mark.parametrize("limit", [None, 7])
def test_an_opened_run_is_the_run_that_was_computed(rows, parquet, loads, counted, limit):
    path = parquet(rows[:20])
    first = evaluate(path, ["random", "demo-base"], limit=limit)
    counted["images"].clear()
    again = evaluate(path, ["random", "demo-base"], limit=limit)
    assert len(loads) == 1 and not counted["images"]
    for name in ("questions", "predictions", "failures", "answers"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(first, name))
    for name in ("predictions", "failures"):  # as files, too
        assert getattr(again, name).to_parquet(index=False) == getattr(first, name).to_parquet(index=False)
    pd.testing.assert_frame_equal(again.benchmark.images, first.benchmark.images)
    assert again.benchmark.notes == first.benchmark.notes
    assert again.benchmark.fingerprint == first.benchmark.fingerprint
    assert [picture(again.benchmark, row).tobytes() for row in range(3)] == [
        picture(first.benchmark, row).tobytes() for row in range(3)
    ]
    for run in (first, again):
        del run.record["seconds"]
        for fact in ("images_encoded_now", "images_per_second"):
            run.record["models"]["demo-base"].pop(fact)
    assert again.record == first.record


def test_other_models_on_the_same_images_hash_nothing(loads, small_demo):
    for models in (["random"], ["demo-base"], ["demo-base", "random"]):
        evaluate("demo", models, limit=20)
    assert loads == ["demo"] and len(entries()) == 3 and len(entries("benchmarks")) == 1


def test_the_drawn_images_are_kept(loads, small_demo):
    first, again = (evaluate("demo", ["random"], limit=5).benchmark for _ in range(2))
    assert len(loads) == 1 and isinstance(again.rows, runs.Rows)
    assert [again.image_bytes(row) for row in range(5)] == [first.image_bytes(row) for row in range(5)]


def test_whatever_enters_a_run_makes_it_another(rows, parquet, loads, model_folder, tmp_path):
    path, folder = parquet(rows[:6]), model_folder()
    templates = tmp_path / "own.yml"
    templates.write_text("stain: a picture with {class}")
    name = f"local-dir:{folder}"
    evaluate(path, [name])
    evaluate(path, [name], limit=5)
    evaluate(path, [name], templates=str(templates))
    templates.write_text("stain: stained by {class}")
    evaluate(path, [name], templates=str(templates))
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text() + " ")
    evaluate(path, [name])
    parquet(rows[1:7])  # the same name, other rows
    evaluate(path, [name])
    assert len(entries()) == 6 and len(loads) == 3


def test_changed_code_opens_no_run(rows, parquet, loads, monkeypatch):
    path = parquet(rows[:4])
    evaluate(path)
    monkeypatch.setattr(runs, "_code", lambda: "another")
    evaluate(path)
    assert len(loads) == 2


def test_a_damaged_run_is_noted_and_made_again(rows, parquet, loads, capsys):
    path = parquet(rows[:4])
    first = evaluate(path, ["random"])
    (entry,) = entries()
    content = entry.read_bytes()
    half = len(content) // 2
    for damage in (content[:-9], content[:half] + b"123456789" + content[half + 9 :], b""):
        entry.write_bytes(damage)
        assert evaluate(path, ["random"]).predictions.equals(first.predictions)
        assert "is damaged" in capsys.readouterr().err
        assert evaluate(path, ["random"]).predictions.equals(first.predictions) and not capsys.readouterr().err


def test_a_run_under_another_name_is_not_opened(rows, parquet, loads, capsys):
    path = parquet(rows[:4])
    evaluate(path, ["random"])
    (entry,) = entries()
    other = evaluate(path, ["demo-base"])
    (mine,) = set(entries()) - {entry}
    entry.replace(mine)
    assert evaluate(path, ["demo-base"]).predictions.equals(other.predictions)
    assert "belongs under another name" in capsys.readouterr().err


def test_a_file_written_just_now_may_change_within_a_tick(rows, parquet, monkeypatch):
    evaluate(parquet(rows[:4]))
    assert not entries() and not entries("benchmarks")


def test_a_failure_may_pass_so_the_run_is_not_kept(rows, parquet, loads):
    rows[1]["image"] = None
    path = parquet(rows[:6])
    assert len(evaluate(path).failures) == 1 and not entries()
    assert len(evaluate(path).failures) == 1 and len(loads) == 2


@pytest.fixture
def beside(rows, parquet, tmp_path):
    """Return a table whose pictures lie beside it, and their files."""
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file, row in zip(files, rows, strict=False):
        file.write_bytes(row["image"]["bytes"])
    table = pq.read_table(parquet(rows[:6])).replace_schema_metadata(None)
    cells = pa.array([{"bytes": None, "path": file.name} for file in files])
    pq.write_table(table.set_column(table.schema.get_field_index("image"), "image", cells), tmp_path / "rows.parquet")
    return str(tmp_path / "rows.parquet"), files


def other_picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_changed_picture_beside_the_table_makes_another_run(beside, loads):
    path, files = beside
    first, again = evaluate(path), evaluate(path)
    assert len(loads) == 1 and again.predictions.equals(first.predictions)
    files[2].write_bytes(other_picture())
    changed = evaluate(path)
    assert len(loads) == 2 and changed.benchmark.fingerprint != first.benchmark.fingerprint
    assert changed.record["dataset"]["fingerprint"] == changed.benchmark.fingerprint
    assert changed.predictions.p_answer.tolist() != first.predictions.p_answer.tolist()


def test_a_picture_that_changes_after_the_opening_is_refused(beside, loads):
    path, files = beside
    evaluate(path)
    run = evaluate(path)
    files[2].write_bytes(other_picture())
    picture(run.benchmark, 1)
    with pytest.raises(OSError, match="changed during the run"):
        picture(run.benchmark, 2)


def test_a_table_that_changes_after_the_opening_is_refused(rows, parquet, loads):
    path = parquet(rows[:6])
    evaluate(path)
    run = evaluate(path)
    parquet(rows[6:12])
    with pytest.raises(UserError, match="changed during the run"):
        run.benchmark.image_bytes(0)


def test_an_audit_that_is_asked_for_is_there(rows, parquet, loads):
    path = parquet(rows[:6])
    assert not evaluate(path).record["audited"]
    asked = evaluate(path, audit=True)
    assert evaluate(path).record["models"] == evaluate(path, audit=True).record["models"] and asked.record["audited"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(rows, parquet, loads, monkeypatch):
    path = parquet(rows[:4])
    first = evaluate(path, ["random"])
    for kind in ("runs", "benchmarks"):
        shutil.rmtree(store.cache_dir() / kind)
        (store.cache_dir() / kind).write_text("in the way")
    assert evaluate(path, ["random"]).predictions.equals(first.predictions)


def test_runs_that_are_not_used_any_more_go(rows, parquet, loads, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 2)
    path = parquet(rows[:6])
    for limit in (1, 2, 1, 3):
        evaluate(path, ["random"], limit=limit)
    assert len(entries()) == 2 and len(loads) == 3
    for limit in (1, 3):  # which were used last
        evaluate(path, ["random"], limit=limit)
    assert len(loads) == 3
