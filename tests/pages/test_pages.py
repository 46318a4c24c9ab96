"""The committed pages are those of today's code: their numbers agree with a run, their sources are the notebooks."""

import json
import re
from pathlib import Path

import jupytext
import pytest
from helpers.pages_in_process import executed

from ubench_utils.demo import sample
from ubench_utils.errors import UserError
from ubench_utils.evaluation import run
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.registry import DEFAULT_MODELS
from ubench_utils.pages.runner import CARD, run_book, sections, slugs
from ubench_utils.statistics import scores as stats
from ubench_utils.statistics.scores import headline
from ubench_utils.studies import interpolation

ROOT = Path(__file__).parents[2]
PAGES = {place: place for place in sections().values() if place != CARD}
PAGES |= {f"models/{slug}": CARD for slug in slugs(DEFAULT_MODELS).values()}


def code(notebook, but=()):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]).strip() for cell in cells if not set(but) & set(cell["metadata"].get("tags", []))]


@pytest.mark.parametrize("page", PAGES)
def test_page_comes_from_its_source(page):
    """The page holds the code of its notebook, cell for cell, and the injected parameters beside it."""
    executed = json.loads((ROOT / "book" / f"{page}.ipynb").read_text(encoding="utf-8"))
    source = jupytext.read(ROOT / "notebooks" / f"{PAGES[page]}.md")
    assert code(executed, but=["injected-parameters"]) == code(source)


def test_no_page_is_left_over():
    found = {str(path.relative_to(ROOT / "book").with_suffix("")) for path in (ROOT / "book").rglob("*.ipynb")}
    assert found == set(PAGES)


def test_cells_are_short():
    """A cell of more than a dozen lines is a missing function."""
    for path in (ROOT / "notebooks").rglob("*.md"):
        for cell in code(jupytext.read(path)):
            assert len(cell.splitlines()) <= 12, f"{path.name}: {cell[:60]}"


def test_overview_states_the_numbers_of_a_run_today():
    """Within one point: another processor may flip a nearly tied answer, not more."""
    text = (ROOT / "book" / "results" / "overview.ipynb").read_text(encoding="utf-8")
    found = re.search(r"(\S+) answers ([\d.]+) \[.*?\] % of the coarse questions", text)
    model, stated = found[1], float(found[2])
    scores = headline(stats.score(evaluate("demo", [model]).answers, by=()))
    measured = scores.set_index(["level", "question"]).estimate["coarse", "all"]
    assert abs(100 * measured - stated) < 1


@pytest.mark.slow
def test_a_book_draws_and_hashes_its_images_once(cache, monkeypatch):
    """Pages of several kinds in this process, as `ubench run` executes them in others."""
    loads, draws, load, draw = [], [], run.load_benchmark, sample.draw_sample
    monkeypatch.setattr(run, "load_benchmark", lambda *args: loads.append(args) or load(*args))
    monkeypatch.setattr(sample, "draw_sample", lambda *args: draws.append(args) or draw(*args))
    for section in ("benchmark", "overview", "groups", "learn/critical_reading"):
        executed(section)
    assert loads == [("demo", None)] and len(draws) == 1


def test_parameters_with_an_option_of_their_own_are_refused():
    """`-p dataset=…` would show one dataset and describe another."""
    with pytest.raises(UserError, match="--dataset"):
        run_book("demo", ["random"], ["overview"], {"dataset": "other"})


def test_a_sweep_needs_its_ends_and_middle():
    with pytest.raises(UserError, match="0, 0.5 and 1"):
        interpolation.sweep(None, "demo-base", "demo-pathology", [0, 0.25, 1])
