"""Command line: a user's mistakes end in one line and exit code 2; the tables and pages are what was promised."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from helpers.refusals import fails
from helpers.samples import DEMO, as_dataset
from PIL import Image

from ubench_utils.cli import main
from ubench_utils.demo import sample
from ubench_utils.models.answers import COLUMNS
from ubench_utils.pages import runner as run_module
from ubench_utils.pages import site
from ubench_utils.statistics.scores import SCORES

pytestmark = pytest.mark.usefixtures("cache")
ROOT = Path(__file__).parents[1]


def evaluate(dataset, *models, out="never"):
    return ["evaluate", "--dataset", dataset, "--models", *models, "--device", "cpu", "--out", out]


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("nonsense", "unknown model 'nonsense'"),
        ("open_clip:ViT-B-33", "no architecture"),
        (f"open_clip:{300 * 'x'}", "no architecture"),
        ("open_clip:ViT-B-32@missing.pt", "no checkpoint file"),
        ("mix:demo-base+demo-pathology@1.5", "ALPHA between 0 and 1"),
        ("mix:demo-base+nonsense@0.5", "unknown model 'nonsense'"),
    ],
)
def test_a_wrong_model(capsys, model, word):
    fails(capsys, evaluate("demo", model), word)


def test_a_wrong_dataset(capsys, rows, parquet, tmp_path):
    fails(capsys, evaluate("no/such/set", "random"), "unknown dataset 'no/such/set'")
    fails(capsys, evaluate(parquet(rows[:2], "a.parquet", drop=["stain"]), "random"), "column stain")
    rows[1]["captions"]["modality_0"]["answer_idx"] = "4"
    fails(capsys, evaluate(parquet(rows[:2], "b.parquet"), "random"), "row 1", "captions.modality_0.answer_idx")
    (tmp_path / "c.parquet").write_bytes(b"junk")
    fails(capsys, evaluate(tmp_path / "c.parquet", "random"), "cannot read dataset")
    empty = as_dataset(rows[:1]).filter(lambda row: False, keep_in_memory=True)
    empty.save_to_disk(tmp_path / "empty")
    fails(capsys, evaluate(tmp_path / "empty", "random"), "empty")
    fails(capsys, [*evaluate("demo", "random"), "--limit", "0"], "limit is 0")


def test_another_architecture(capsys, rows, parquet, model_folder):
    path = parquet(rows[:2])
    folder = model_folder(change=lambda config: config["model_cfg"]["vision_cfg"].update(layers=[1, 1, 1, 2]))
    fails(capsys, evaluate(path, f"local-dir:{folder}"), "another architecture")
    fails(capsys, evaluate(path, "mix:demo-base+open_clip:ViT-S-32-alt@0.5"), "two architectures")
    file = DEMO / "base" / "open_clip_model.safetensors"
    fails(capsys, evaluate(path, f"open_clip:ViT-S-32-alt@{file}"), "open_clip_model.safetensors")


def test_cuda_where_there_is_none(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = ["evaluate", "--models", "random", "--device", "cuda", "--out", "never"]
    fails(capsys, arguments, "device 'cuda'", "--device auto or cpu")


def test_wrong_sections_and_parameters(capsys):
    fails(capsys, ["run", "--sections", "nonsense"], "unknown section 'nonsense'", "overview")
    fails(capsys, ["run", "-p", "nonsense=1"], "unknown notebook parameter 'nonsense'", "limit")
    fails(capsys, ["run", "-p", "nonsense" * 9999], "NAME=VALUE")
    fails(capsys, ["run", "-p", "shrink=[3"], "parameter 'shrink=[3'", "'[3' is no YAML")


@pytest.mark.parametrize("url", ["github.com/me/copy", "https://github.com/me", "https://gitlab.com/me/copy"])
def test_build_with_a_wrong_address(capsys, tmp_path, monkeypatch, url):
    monkeypatch.setattr(run_module, "ROOT", tmp_path)
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {url}\n")
    fails(capsys, ["build"], f"repository: url is '{url}'", "https://github.com/YOU/YOUR-COPY")
    for text, words in {"repository: [": "is no YAML", "- a": "no mapping", "repository: a": "no mapping"}.items():
        (tmp_path / "_config.yml").write_text(text)
        fails(capsys, ["build"], words, "_config.yml")
    assert not (tmp_path / "_build").exists()


@pytest.mark.parametrize("address", ['""', "", "https://github.com/me/a.copy", "https://github.com/me/copy.git/"])
def test_a_failed_build_is_told_without_colours(capsys, tmp_path, monkeypatch, address):
    monkeypatch.setattr(run_module, "ROOT", tmp_path)
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {address}\n")
    (tmp_path / "_toc.yml").write_text("root: index\n")
    printed = "import sys; print('reading'); print('\\x1b[31mpage.md:3: WARNING: wrong\\x1b[39;49;00m'); sys.exit(1)"
    monkeypatch.setattr(site, "JUPYTER_BOOK", printed)
    fails(capsys, ["build"], "(exit 1): page.md:3: WARNING: wrong; the whole log")


def test_a_home_folder_is_meant_where_no_shell_has_read_it(rows, parquet, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--dataset", parquet(rows[:1]), "--models", "random", "--out=~/o"]) == 0
    assert (tmp_path / "o" / "run.json").exists() and not (tmp_path / "~").exists()


def test_an_output_folder_that_is_a_file(capsys, rows, parquet, tmp_path):
    (tmp_path / "taken").write_text("")
    fails(capsys, evaluate(parquet(rows[:2]), "random", out=tmp_path / "taken"), "taken")


def test_a_command_to_type_next_is_one_that_the_shell_finds(tmp_path, monkeypatch):
    cells = tmp_path / "cells"
    for label in "ab":
        (cells / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(cells / label / "0.png")
    script = Path(sys.executable).with_name("ubench")
    for at, (folders, name) in enumerate(((str(script.parent), "ubench"), (str(tmp_path), str(script)))):
        command = [str(script), "import", "cells", "--out", f"{at}.parquet"]
        where = {**os.environ, "PATH": folders}
        done = subprocess.run(command, capture_output=True, text=True, env=where, cwd=tmp_path)
        assert f"Next: {name} report --dataset {at}.parquet" in done.stdout, done.stderr


def test_the_console_script():
    script = Path(sys.executable).with_name("ubench")
    arguments = [str(script), "evaluate", "--models", "nonsense", "--out", "never"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("ubench: unknown model 'nonsense'")


def test_list_and_doctor(capsys, monkeypatch):
    assert main(["list", "models"]) == 0
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("demo-base", "BiomedCLIP", "mix:BASE+TUNED@ALPHA"))
    assert main(["list", "datasets"]) == 0
    assert "jnirschl/uBench" in capsys.readouterr().out
    monkeypatch.setattr(sample, "draw_sample", partial(sample.draw_sample, images_per_set=4))
    assert main(["doctor"]) == 0
    assert "demo-base answered" in capsys.readouterr().out


def test_evaluate_writes_the_tables_of_the_contract(capsys, rows, parquet, tmp_path):
    rows[3]["image"] = {"bytes": b"junk", "path": None}
    out = tmp_path / "new" / "tables"
    assert main(evaluate(parquet(rows), "random", "demo-base", out=str(out))) == 0
    assert "demo-base: 1 images failed" in capsys.readouterr().out
    assert {file.name for file in out.iterdir()} == {"predictions.parquet", "scores.csv", "failures.csv", "run.json"}
    table = pd.read_parquet(out / "predictions.parquet")
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert (table.correct == (table.answer_idx == table.predicted_idx)).all()
    scores = pd.read_csv(out / "scores.csv")
    assert list(scores.columns) == SCORES and set(scores.estimand) == {"micro", "macro", "balanced"}
    scores = scores[scores.estimate.notna()]  # a macro mean over too few images is withheld
    assert ((scores.ci_low <= scores.estimate) & (scores.estimate <= scores.ci_high)).all()
    failures = pd.read_csv(out / "failures.csv")
    assert list(failures.image_id) == [rows[3]["image_id"]] and failures.reason.notna().all()
    record = json.loads((out / "run.json").read_text())
    assert {"dataset", "models", "device", "precision", "seconds", "versions", "commit", "dirty"} <= set(record)
    assert {"fingerprint", "revision", "images", "questions"} <= set(record["dataset"])
    passport = record["models"]["demo-base"]
    assert {"preprocessing", "activation", "precision", "images_per_second", "identity"} <= set(passport)
    assert len(passport["identity"]["weights"]["open_clip_model.safetensors"]) == 64
    assert record["models"]["random"]["identity"]["seed"] == 0


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a project folder of this test's own that holds the notebooks."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    monkeypatch.setattr(run_module, "ROOT", folder)
    return folder


@pytest.mark.slow
def test_a_page(root, capsys):
    """One notebook through papermill: tidy, repeatable, run only when needed, never replaced by a failure."""
    arguments = ["run", "--sections", "overview", "--models", "demo-base", "--limit", "40", "--device", "cpu"]
    page, source = root / "book" / "results" / "overview.ipynb", root / "notebooks" / "results" / "overview.md"
    assert main(arguments) == 0
    notebook = nbformat.read(page, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert [cell.id for cell in notebook.cells] == [f"cell-{number}" for number in range(len(notebook.cells))]
    assert "papermill" not in notebook.metadata
    assert not any({"papermill", "execution"} & set(cell.metadata) for cell in notebook.cells)
    assert any("limit = 40" in cell.source for cell in notebook.cells)
    first = page.read_bytes()
    assert str(root).encode() not in first  # nothing of this machine

    changed = page.stat().st_mtime_ns
    capsys.readouterr()
    assert main(arguments) == 0
    assert page.stat().st_mtime_ns == changed and "running" not in capsys.readouterr().err

    page.unlink()
    assert main(arguments) == 0
    assert page.read_bytes() == first

    text = source.read_text()
    source.write_text(text.replace("import ubench_utils as ub", "raise ValueError('spoilt')"))
    capsys.readouterr()
    assert main(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ubench: 1 of 1 pages failed") and "spoilt" in last
    assert page.read_bytes() == first


def test_what_nobody_foresaw_is_one_line_and_a_traceback_in_a_file(capsys, monkeypatch):
    def fail(*_, **__):
        raise KeyError("a\nstrange \x1b[31mname")

    monkeypatch.setattr("ubench_utils.evaluation.evaluate.evaluate", fail)
    assert main(["evaluate", "--models", "random", "--out", "never"]) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and told.startswith("ubench: this should not have happened (KeyError: ")
    assert "\x1b" not in told
    file = Path(told.split()[-1])
    assert "in fail" in file.read_text() and "KeyError" in file.read_text()
    file.unlink()


def test_out_of_memory_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("ubench_utils.evaluation.evaluate.evaluate", lambda *_, **__: bytearray(1 << 62))
    assert main(["evaluate", "--models", "random", "--out", "never"]) == 1
    assert capsys.readouterr().err.startswith("ubench: out of memory; use --limit")


def test_a_terminal_that_knows_no_greek():
    """The names of the datasets hold a μ; an ASCII terminal gets a question mark in its place."""
    command = [sys.executable, "-m", "ubench_utils", "list", "datasets"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0 and done.stderr == b"" and b"?-Bench on the Hugging Face Hub" in done.stdout


def test_a_reader_that_leaves():
    command = f"{sys.executable} -m ubench_utils list models | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("random")


def test_scoring_touches_no_file_that_it_did_not_make(capsys, rows, parquet, tmp_path, monkeypatch):
    monkeypatch.setenv("UBENCH_MODELS", "")
    path, own = parquet(rows[:2]), tmp_path / "out"
    own.mkdir()
    (own / "models.yml").write_text("mine: {spec: random}\n")
    (own / "scores.csv").write_text("image_id,question,answer\n")
    score = ["score", str(own / "scores.csv"), "--dataset", path, "--model", "m", "--out"]
    fails(capsys, [*score, str(own)], "scores.csv", "is read by this command")
    fails(capsys, [*score, str(tmp_path / "new")], "no rows")  # refused by what is in it
    (own / "scores.csv").rename(tmp_path / "answers.csv")
    score[1] = str(tmp_path / "answers.csv")
    fails(capsys, [*score, str(own)], "models.yml", "was not written by ubench")
    assert (own / "models.yml").read_text() == "mine: {spec: random}\n" and len(list(own.iterdir())) == 1
    assert not (tmp_path / "new").exists()


def test_a_name_of_the_dataset_forges_no_note(capsys, rows, parquet, tmp_path):
    rows[0]["dataset"] = "a\u2028note: all is well\u202e"
    code = main(["evaluate", "--dataset", parquet(rows[:1]), "--models", "random", "--out", str(tmp_path / "o")])
    assert code == 0
    out = capsys.readouterr().out
    assert "a note: all is well\\u202e" in out
    assert not any(line.startswith("note: all is well") for line in out.splitlines())
