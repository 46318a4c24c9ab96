"""The lessons: each has its parts, exercises with solutions that are run, and what a class plan promises adds up."""

import re
from pathlib import Path

import jupytext
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.pages.outputs import tidy
from ubench_utils.pages.runner import sections
from ubench_utils.report import lessons
from ubench_utils.statistics import scores

ROOT = Path(__file__).parents[2]
LESSONS = [place for place in sections().values() if place.startswith("learn/")]
EXERCISE = r"```\{exercise(?:-start)?\}[^\n]*\n:label: (\S+)"
PLANS = {"Sixty minutes": 60, "A half day": 210}


def source(lesson):
    return (ROOT / "notebooks" / f"{lesson}.md").read_text(encoding="utf-8")


def solutions(lesson):
    """Label of each solution to the code cells between its start and its end."""
    found, label = {}, None
    for cell in jupytext.reads(source(lesson), fmt="md:myst").cells:
        if cell.cell_type == "code":
            if label:
                found[label].append(cell.source)
            continue
        for name, start in re.findall(r"```\{solution-(start|end)\}[ ]?(\S*)", cell.source):
            assert (label is None) == (name == "start"), f"{lesson}: a solution in a solution, or an end alone"
            label = start if name == "start" else None
            found.update({label: []} if label else {})
    assert label is None, f"{lesson}: the solution of {label} has no end"
    return found


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_its_parts(lesson):
    text = source(lesson)
    assert re.search(r"^# .*\?$", text, re.MULTILINE), "the title is a question"
    boxes = re.findall(r"^```\{admonition\} (.+)$", text, re.MULTILINE)
    assert boxes[:3] == ["What you will learn", "You need", "Time"]
    assert ":class: synthetic" in text and "ynthetic" in text.replace(":class: synthetic", "")
    assert "{glue:text}`data`" in text, "what the numbers were measured on is computed"


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_exercise_has_a_solution_that_is_run_and_checked(lesson):
    labels = re.findall(EXERCISE, source(lesson))
    assert len(labels) >= 2
    found = solutions(lesson)
    assert list(found) == labels
    for label, cells in found.items():
        assert any(re.search(r"^\s*assert ", cell, re.MULTILINE) for cell in cells), f"{label} checks nothing"
    assert source(lesson).count(":class: dropdown") == len(labels), "solutions are folded"


def test_labels_of_exercises_are_unique_in_the_book():
    labels = [
        label
        for path in (ROOT / "notebooks").rglob("*.md")
        for label in re.findall(EXERCISE, path.read_text(encoding="utf-8"))
    ]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("lesson", LESSONS)
def test_take_aways_say_where_they_are_shown(lesson):
    text = source(lesson)
    points = text.split("## Take-aways")[1].strip().split("\n- ")
    assert len(points) >= 3
    headings = {slug(line) for line in re.findall(r"^#{2,3} (.+)$", text, re.MULTILINE)}
    for point in points:
        targets = re.findall(r"\]\(([^)]+)\)", point)
        assert targets, point
        assert {target[1:] for target in targets if target.startswith("#")} <= headings, point


def slug(heading):
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("lesson", LESSONS)
def test_lessons_are_linked_for_teachers(lesson):
    assert f"]({lesson}.ipynb)" in (ROOT / "book" / "teach.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("plan", PLANS)
def test_minutes_of_a_plan_add_up(plan):
    text = (ROOT / "book" / "teach.md").read_text(encoding="utf-8")
    part = text.split(f"## {plan}\n")[1].split("\n## ")[0]
    rows = [tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \|", part, re.MULTILINE)]
    start, minutes = np.array(rows).T
    assert minutes.sum() == PLANS[plan]
    assert start.tolist() == [0, *np.cumsum(minutes)[:-1]]
    assert plan == "Sixty minutes" or f"{PLANS[plan]} minutes" in part


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield evaluate("demo", ["demo-base"], limit=60)


def test_a_model_in_memory_answers_as_the_evaluation_does(run):
    from ubench_utils.models.load import load_model

    found = lessons.answer(load_model("demo-base"), run)
    expected = run.answers[(run.answers.wording == 1) & (run.answers.level != "cognition")]
    key = ["dataset", "image_id", "question"]
    both = found.merge(expected, on=key, suffixes=("", "_run"), validate="one_to_one")
    assert len(both) == len(found) == len(expected) > 0
    assert (both.predicted_idx == both.predicted_idx_run).all()
    np.testing.assert_allclose(both.p_predicted, both.p_predicted_run, atol=1e-4)
    assert set(found.columns) == set(expected.columns) - {"model"}


def test_rule_of_the_lesson_is_that_of_the_package():
    """One number of the lesson on intervals, by another way: Wilson of 12 in 20, from its formula."""
    low, high = scores.wilson([12], [20])
    z = 1.959964
    centre, half = (12 + z**2 / 2) / (20 + z**2), z / (20 + z**2) * np.sqrt(12 * 8 / 20 + z**2 / 4)
    np.testing.assert_allclose([low[0], high[0]], [centre - half, centre + half], rtol=1e-6)


def test_what_one_cell_prints_is_one_output():
    """Where a kernel cuts the stream is a matter of timing: equal runs must give equal pages."""

    def page(*pieces):
        outputs = [new_output("stream", name=name, text=text) for name, text in pieces]
        return tidy(new_notebook(cells=[new_code_cell("", outputs=outputs)]), "slug").cells[0].outputs

    assert page(("stdout", "a\n"), ("stderr", "noise"), ("stdout", "b\n")) == page(("stdout", "a\nb\n"))
