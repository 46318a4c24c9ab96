"""Pages as files: whole or not at all, no card lost for another's failure, nobody else's notebook touched."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4

from ubench_utils.errors import UserError
from ubench_utils.pages import execution, runner
from ubench_utils.pages import site as sites
from ubench_utils.pages.outputs import tidy
from ubench_utils.pages.runner import LONGEST_SLUG, slugs

ROOT = Path(__file__).resolve().parents[2]
CARDS = ["demo-base", "demo-pathology"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a project folder with the notebooks; what a page takes long for, the models and the kernel, is left out.

    `failing` names the pages whose notebook fails; every other page says which execution it was.
    """
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    record = {"device": "cpu", "precision": "float32", "dataset": {"templates": None}}
    answers = pd.DataFrame({"wording": [1]})
    evaluated = SimpleNamespace(
        benchmark=SimpleNamespace(fingerprint="data", is_synthetic=True),
        predictions=answers,
        record=record,
        save=lambda folder: folder.mkdir(parents=True, exist_ok=True),
    )
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: evaluated)
    found = SimpleNamespace(
        folder=tmp_path, book=tmp_path / "book", failing=set(), state=tmp_path / "_build/pages.json"
    )
    count = itertools.count()

    def executed(jobs):
        for number, (_, _, slug) in enumerate(jobs):
            cells = [v4.new_markdown_cell("# Report card"), v4.new_code_cell(f"execution {next(count)}")]
            failed = slug in found.failing
            yield number, UserError("cell 3 failed") if failed else tidy(v4.new_notebook(cells=cells), slug)

    monkeypatch.setattr(runner, "executed", executed)
    return found


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_card_costs_no_other_card(project):
    runner.run_book("demo", CARDS, ["model"])
    project.failing.add("demo-base")
    for models in (["demo-base"], ["demo-base", "random"]):
        with pytest.raises(UserError, match="book/models/demo-base.ipynb: cell 3 failed"):
            runner.run_book("demo", models, ["model"])
        assert {"demo-base.ipynb", "demo-pathology.ipynb"} <= set(names(project.book / "models"))


def test_the_card_of_a_model_that_is_gone_goes(project, capsys):
    runner.run_book("demo", CARDS, ["model"])
    runner.run_book("demo", CARDS[:1], ["overview"])
    assert len(names(project.book / "models")) == 2, "a run without report cards says nothing of them"
    runner.run_book("demo", CARDS[:1], ["model"])
    assert names(project.book / "models") == ["demo-base.ipynb"]
    assert "book/models/demo-pathology.ipynb" not in json.loads(project.state.read_text())
    assert "removing book/models/demo-pathology.ipynb" in capsys.readouterr().err


def test_cards_of_a_fresh_clone_are_known_as_such(project):
    runner.run_book("demo", CARDS, ["model"])
    project.state.unlink()
    runner.run_book("demo", ["random"], ["model"])
    assert names(project.book / "models") == ["random.ipynb"]


def test_a_notebook_of_the_user_is_not_touched(project):
    runner.run_book("demo", CARDS, ["model"])
    cards = project.book / "models"
    shutil.copy(cards / "demo-base.ipynb", cards / "copied.ipynb")
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1")]), cards / "mine.ipynb")
    (cards / "odd.ipynb").write_text("no notebook")
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("2")]), cards / "random.ipynb")
    before = {path: path.read_bytes() for path in cards.iterdir()}
    with pytest.raises(UserError, match="book/models/random.ipynb: the notebook there is none of this project's"):
        runner.run_book("demo", ["random"], ["model"])
    assert {path: path.read_bytes() for path in cards.iterdir()} == before
    (cards / "random.ipynb").unlink()
    runner.run_book("demo", ["random"], ["model"])
    assert names(cards) == ["copied.ipynb", "mine.ipynb", "odd.ipynb", "random.ipynb"]


@pytest.mark.parametrize("damage", ["", "{", '{"cells": [', "[]", "{}", "\x00" * 9], ids=range(6))
@pytest.mark.parametrize("known", [True, False])
def test_a_cut_page_is_made_again(project, damage, known):
    (page,) = runner.run_book("demo", CARDS, ["overview"])
    page.write_text(damage)
    if not known:
        project.state.unlink()
    assert runner.run_book("demo", CARDS, ["overview"]) == [page]
    nbformat.validate(nbformat.read(page, as_version=4))
    assert runner.run_book("demo", CARDS, ["overview"]) == []


@pytest.mark.parametrize("damage", ["", '{"book/results/ov', "[]", '{"a": 1}', "\xff", "[" * 10**5], ids=range(6))
def test_a_damaged_record_of_the_pages_is_named_and_made_again(project, capsys, damage):
    (page,) = runner.run_book("demo", CARDS, ["overview"])
    project.state.write_bytes(damage.encode("latin-1"))
    assert runner.run_book("demo", CARDS, ["overview"]) == [page]
    noted = [line for line in capsys.readouterr().err.splitlines() if "pages.json" in line]
    assert noted == ["note: _build/pages.json is damaged; it is made again, and so is every page"]
    assert runner.run_book("demo", CARDS, ["overview"]) == []


def test_a_full_disk_costs_no_page(project, monkeypatch):
    (page,) = runner.run_book("demo", CARDS, ["overview"])
    before = page.read_bytes()

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "write_whole", full)
    with pytest.raises(UserError, match="overview.ipynb: .*No space left"):
        runner.run_book("demo", ["random"], ["overview"])
    assert page.read_bytes() == before


def test_pages_are_readable_by_all_whom_the_umask_allows(project):
    (page,) = runner.run_book("demo", CARDS, ["overview"])
    fresh = project.folder / "fresh"
    fresh.touch()
    assert page.stat().st_mode == fresh.stat().st_mode
    assert names(page.parent) == ["overview.ipynb"]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_a_page_has_a_file_name_of_its_own(models):
    models += [
        "模型",
        "数据",
        "a/b",
        "A B",
        "a b",
        "index",
        "CON",
        "..",
        "$",
        "x" * 300,
        "x" * 299 + "y",
        "mo$del",
        " ",
    ]
    found = slugs(dict.fromkeys(models))
    assert len({slug.casefold() for slug in found.values()}) == len(set(models))
    for slug in found.values():
        assert re.fullmatch(r"[a-z0-9]+(-+[a-z0-9]+)*", slug) and len(slug) <= LONGEST_SLUG
        assert slug not in {"index", "con", "nul", "aux", "prn", "com1", "lpt9"}


def test_the_file_name_of_a_short_name_is_the_name():
    assert slugs(["random", "demo-base", "hf:ORG/Name"]) == {
        "random": "random",
        "demo-base": "demo-base",
        "hf:ORG/Name": "hf-org-name",
    }


@pytest.mark.parametrize("model", [r"a\1\g<0>", "a\n# b", "{{ 1 + 1 }}", "模型"])
def test_the_title_of_a_card_is_the_name_of_its_model(model):
    notebook = v4.new_notebook(
        cells=[v4.new_markdown_cell("# Report card of a model\n\nWords."), v4.new_code_cell('x = ":class: synthetic"')]
    )
    runner.adapt(notebook, model, False)
    title, _, rest = notebook.cells[0].source.partition("\n")
    assert re.sub(r"\\([^\w\s])", r"\1", title) == "# " + " ".join(model.split()) and rest == "\nWords."
    assert notebook.cells[1].source == 'x = ":class: synthetic"', "code is left as it is"


CIRCLE = []
CIRCLE.append(CIRCLE)
ODD = {
    "nested": [[1], 2],
    "circular": CIRCLE,
    "mapping": {"a": 1},
    "in a list": [None, {}],
    "set": {1},
    "bytes": b"x",
    "date": date(2026, 1, 1),
    "nan": float("nan"),
    "infinite": float("-inf"),
    "huge": 10**5000,
    "long": "x" * 10**5,
    "many": [0] * 10**5,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_parameter_that_can_be_none_is_refused_in_one_line(project, kind):
    with pytest.raises(UserError, match="notebook parameter 'shrink': write a number, a text") as told:
        runner.run_book("demo", ["random"], ["scale"], {"shrink": ODD[kind]})
    assert len(str(told.value)) < 250


@pytest.mark.parametrize("value", [[], [1, 2.5, "a", None, True], 3, "a", None, False])
def test_a_parameter_may_be_a_value_or_a_list(project, value):
    assert runner.run_book("demo", ["random"], ["scale"], {"shrink": value})


@pytest.fixture
def site(project, monkeypatch):
    """Return a project whose book is built by a stand-in for Jupyter Book: it copies the names of the pages."""
    (project.folder / "_config.yml").write_text("title: x\n")
    shutil.copyfile(ROOT / "_toc.yml", project.folder / "_toc.yml")
    builder = project.folder / "builder.py"
    builder.write_text(
        "import sys\nfrom pathlib import Path\nroot, out = Path(sys.argv[2]), Path(sys.argv[4]) / '_build' / 'html'\n"
        "out.mkdir(parents=True)\nfor page in [root / 'index', *root.glob('book/**/*.ipynb')]:\n"
        "    (out / page.with_suffix('.html').name).write_text('x')\n"
        "if (root / 'fail').exists(): sys.exit('x.md:1: WARNING: no such page')\n"
    )
    monkeypatch.setattr(sites, "JUPYTER_BOOK", builder.read_text())
    return project


def test_a_site_holds_this_build_and_nothing_else(site):
    runner.run_book("demo", CARDS, ["model"])
    assert sites.build_book() == site.folder / "_build" / "html" / "index.html"
    assert names(site.folder / "_build" / "html") == ["demo-base.html", "demo-pathology.html", "index.html"]
    runner.run_book("demo", CARDS[:1], ["model"])
    sites.build_book()
    assert names(site.folder / "_build" / "html") == ["demo-base.html", "index.html"]
    assert names(site.folder / "_build") == ["build.log", "html", "pages.json", "site.json", "tables"]


def test_a_build_that_fails_leaves_the_site_that_was_there(site):
    runner.run_book("demo", CARDS, ["model"])
    sites.build_book()
    (site.folder / "fail").touch()
    runner.run_book("demo", CARDS[:1], ["model"])
    with pytest.raises(UserError, match="WARNING: no such page"):
        sites.build_book()
    assert "demo-pathology.html" in names(site.folder / "_build" / "html")


@pytest.mark.parametrize(
    "damage", ["", "{", "{}", "[]", '{"cells": [], "metadata": {}, "nbformat": 4', "\xff"], ids=range(6)
)
def test_a_build_names_the_damaged_page(site, damage):
    (page,) = runner.run_book("demo", CARDS, ["overview"])
    page.write_bytes(damage.encode("latin-1"))
    with pytest.raises(UserError, match=r"the page 'book/results/overview.ipynb' is damaged \(.*`ubench run` makes it"):
        sites.build_book()


def test_a_page_that_no_reader_finds_is_named(site, capsys):
    runner.run_book("demo", CARDS, ["overview", "model"])
    sites.build_book()
    assert "note" not in capsys.readouterr().err
    contents = site.folder / "_toc.yml"
    contents.write_text(contents.read_text().replace("      - file: book/results/overview\n", ""))
    sites.build_book()
    assert "note: book/results/overview is not in _toc.yml" in capsys.readouterr().err


def test_a_notebook_that_would_show_another_run_is_refused(project):
    wrongs = {"results/overview": "limit: int", "models/card": "precision: str", "results/groups": "tags: ["}
    for name, wrong in wrongs.items():
        notebook = project.folder / "notebooks" / f"{name}.md"
        before = notebook.read_text()
        notebook.write_text(before.replace(wrong, f"un{wrong}", 1))
        with pytest.raises(UserError, match=f"notebooks/{name}.md declares no .*; its cell tagged"):
            runner.run_book("demo", CARDS)
        notebook.write_text(before)


def test_a_report_card_may_be_interrupted(tmp_path):
    """A process killed while it writes leaves the page as it was."""
    page = tmp_path / "page.ipynb"
    page.write_text("before")
    code = (
        "import os, sys\nfrom ubench_utils.files import write_whole\nos.replace = lambda *_: os._exit(9)\n"
        "write_whole(sys.argv[1], 'after')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(page)]).returncode == 9
    assert page.read_text() == "before"


def test_a_site_that_is_up_to_date_is_left_as_it_is(site):
    runner.run_book("demo", CARDS, ["model"])
    page = sites.build_book().with_name("demo-base.html")
    before = page.stat().st_mtime_ns
    sites.build_book()
    assert page.stat().st_mtime_ns == before
    for change in (lambda: page.write_text("cut"), page.unlink, (site.book / "added.md").touch):
        change()
        sites.build_book()
        assert page.read_text() == "x" and page.stat().st_mtime_ns != before
        before = page.stat().st_mtime_ns
    sites.build_book()
    assert page.stat().st_mtime_ns == before


def test_the_tree_says_which_pages_there_are(project):
    found = runner.sections()
    files = (ROOT / "notebooks").rglob("*.md")
    assert sorted(found.values()) == sorted(str(f.relative_to(ROOT / "notebooks").with_suffix("")) for f in files)
    assert {"overview", "model", "index", "learn/forgetting", "published/results"} <= set(found)
    folder = project.folder / "notebooks" / "results"
    shutil.copyfile(folder / "overview.md", folder / "more.md")
    assert runner.run_book("demo", CARDS, ["more"]) == [project.book / "results" / "more.ipynb"]


def code_of(*sources):
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    return v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources], metadata=about)


def test_pages_run_two_at_a_time_each_in_a_fresh_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meet = """
import sys, time
from pathlib import Path
Path(me).touch()
end = time.time() + 60
while not Path(other).exists() and time.time() < end:
    time.sleep(0.01)
print(Path(other).exists(), "left" in sys.modules)
sys.modules["left"] = sys
"""
    jobs = [(code_of(meet, "1 + 1"), {"me": me, "other": other}, "x") for me, other in ("ab", "ba", "ab")]
    found = dict(execution.executed(jobs))
    texts = [
        ["".join(o.get("text", "") or o.data["text/plain"]) for c in found[n].cells for o in c.outputs] for n in found
    ]
    assert sorted(found) == [0, 1, 2] and texts == [["True False\n", "2"]] * 3
    counts = [cell.execution_count for cell in found[0].cells]
    assert counts == [1, 2, 3], "that of the parameters is one"


def test_a_page_that_fails_or_dies_costs_no_other(tmp_path):
    jobs = [
        (code_of("x = 1", "raise ValueError('so\\nnot')"), {}, "x"),
        (code_of("import os; os._exit(9)"), {}, "x"),
        (code_of("print(x)"), {}, "x"),
        (code_of("x ="), {}, "x"),
        (code_of("print(2)"), {}, "x"),
    ]
    found = dict(execution.executed(jobs))
    told = {number: str(result) for number, result in found.items() if isinstance(result, UserError)}
    assert told.pop(0) == "cell 2 failed (ValueError: so)"
    assert told.pop(1) == "its kernel died, most likely for want of memory; try --limit"
    assert told.pop(2) == "cell 1 failed (NameError: name 'x' is not defined)"
    assert told.pop(3).startswith("cell 1 failed (SyntaxError")
    assert not told and found[4].cells[0].outputs[0].text == "2\n"
