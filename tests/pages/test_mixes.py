"""Other mixes of questions than the demo's: every page runs, and says nothing that is not so."""

import copy
import html
import re

import pandas as pd
import pytest
from helpers.pages_in_process import executed, glued
from helpers.samples import as_dataset

from ubench_utils.demo import cognition
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.registry import as_list, pairs
from ubench_utils.pages import runner
from ubench_utils.report import figures
from ubench_utils.report import sentences as said
from ubench_utils.statistics import scores as stats
from ubench_utils.studies import benchmark, duplicates, interpolation, leaderboard, modality, overview

MODELS = ["demo-base", "demo-pathology"]
ABSENT = "No question on the modality is in this data set."
WITH_OTHER_QUESTIONS = ("No model but the random baseline", "none but the random baseline", "was run, or fewer")


def only(rows, keep):
    """Rows with the questions and captions alone whose names are kept."""
    rows = copy.deepcopy(rows)
    for row in rows:
        for part in ("captions", "questions"):
            row[part] = {name: asked if keep(name) else None for name, asked in row[part].items()}
    return rows


def reasoned(rows):
    """Rows with two cognition questions each, and nothing else."""
    rows = only(rows, lambda name: False)
    for at, row in enumerate(rows):
        options = ["wait", "split the culture", "freeze it"]
        entry = {"question": f"What comes after {at}?", "options": options, "answer_idx": at % 3}
        row["questions"] |= {name: {**entry, "question": f"{name}: {entry['question']}"} for name in cognition.NAMES}
    return rows


MIXES = {
    "classes": lambda rows: only(rows[::4], lambda name: name.startswith("classification")),
    "coarse": lambda rows: only(rows[::4], lambda name: not name.startswith("classification")),
    "cognition": lambda rows: reasoned(rows[::4]),
    "one image": lambda rows: rows[:1],
}


@pytest.fixture(scope="module")
def mix(tmp_path_factory, demo_rows):
    """Return the path of a dataset of a mix of questions; all mixes share a cache."""
    folder = tmp_path_factory.mktemp("mixes")
    for name, change in MIXES.items():
        as_dataset(change(demo_rows)).to_parquet(folder / f"{name}.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        yield lambda name: str(folder / f"{name}.parquet")


def shown(notebook):
    """All that a page shows beside its text: sentences, tables, captions and alt texts."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [re.sub("<[^>]*>", " ", output.get("data", {}).get("text/html", "")) for output in outputs]
    captions = [word for output in outputs for word in output.get("metadata", {}).get("ubench", {}).values()]
    return html.unescape(" ".join([*glued(notebook).values(), *tables, *captions]))


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXES)
def test_every_page_runs_and_says_what_is_so(mix, name):
    of_run = [name for name, place in runner.sections().items() if place.startswith(("results/", "models/"))]
    for section in of_run:
        own = {"model": {"model": "demo-base"}, "interpolation": {"alphas": [0, 0.5, 1]}, "scale": {"shrink": [4]}}
        page = executed(section, dataset=mix(name), models=MODELS, device="cpu", **own.get(section, {}))
        words, answer, sentences = shown(page), glued(page)["answer"], " ".join(glued(page).values())
        assert not [phrase for phrase in WITH_OTHER_QUESTIONS if phrase in words], section
        assert not re.search(r"\b1 (images|sub-datasets|others|models)\b|\(–|– points", sentences), section
        assert not re.search(r"\bnan\b", words) and (name == "one image" or "(left)" not in words), section
        if name == "classes":
            assert (answer == ABSENT) == (section == "modality")
            assert "coarse questions (" not in words or section == "forgetting"
        if name == "cognition" and section == "cognition":
            assert "20 cognition questions" in answer and "about 10 images, at most 2 about one" in words
        if name == "coarse" and section in ("leaderboard", "scale"):
            assert answer.startswith("No fine-grained question is in this data set")


@pytest.fixture
def scores_of(mix):
    return lambda name, models=("demo-base",): stats.score(evaluate(mix(name), list(models)).answers, by=["modality"])


def slices(scores, question="modality"):
    return said.sentence("modality", "answer", slices=overview.slices(scores, "modality", question))


def leader(scores, distances):
    return said.sentence("leaderboard", "answer", **leaderboard.context(scores, distances))


def test_a_question_that_is_absent_is_called_so(scores_of):
    classes, coarse = scores_of("classes"), scores_of("coarse")
    assert slices(classes) == ABSENT
    assert slices(coarse, "classification") == "No fine-grained question is in this data set."
    assert slices(scores_of("classes", ["random"])) == ABSENT
    guessed = slices(scores_of("coarse", ["random"]))
    assert guessed == "No model but the random baseline was run."
    other = classes.assign(wording=0, question="modality")
    assert slices(other).startswith("No question on the modality is asked in wording 1")


def test_answers_made_elsewhere_may_leave_out_what_is_in_the_data(scores_of, monkeypatch, tmp_path):
    (tmp_path / "models.yml").write_text("partial: {spec: 'predictions:answers.csv'}\n")
    monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "models.yml"))
    scores = scores_of("classes").assign(model="partial")
    assert slices(scores) == "No model of this run answered a question on the modality."


def test_a_leader_needs_fine_questions(mix):
    found = {}
    for name, models in (("coarse", MODELS), ("classes", ["random"]), ("one image", MODELS), ("classes", MODELS[:1])):
        made = evaluate(mix(name), models)
        scores = stats.score(made.answers, by=[])
        found[name, len(models)] = leader(scores, leaderboard.behind(made, scores))
    assert found["coarse", 2] == "No fine-grained question is in this data set, so no model leads."
    assert "no other model was run" in found["classes", 1]
    assert re.search(r"; the other model can(not)? be told from it on the same images\.", found["one image", 2])


def test_who_has_as_many_right_is_named():
    scores = pd.DataFrame(
        {
            "model": MODELS,
            "level": "fine",
            "question": "classification",
            "wording": 1,
            "by": "all",
            "slice": "all",
            "estimand": "micro",
            "estimate": 0.5,
            "ci_low": 0.2,
            "ci_high": 0.8,
            "chance": 0.25,
            "n_questions": 10,
        }
    )
    distances = pd.DataFrame({"model": MODELS, "estimate": [None, 0.0], "ci_low": -0.3, "ci_high": 0.3})
    text = leader(scores, distances)
    assert text.startswith("In this run demo-base leads") and text.endswith(" With as many right: demo-pathology.")


def test_α_is_not_chosen_on_too_few_images(mix):
    made = evaluate(mix("one image"), MODELS)
    swept = interpolation.sweep(made, *MODELS, [0, 0.5, 1])
    chosen = interpolation.choice_of_alpha(swept, "demo-pathology")
    assert chosen.empty
    found = interpolation.mixing_context(
        {tuple(MODELS): interpolation.summary(swept, *MODELS)}, {tuple(MODELS): chosen}
    )
    text = said.sentence("interpolation", "choice", **found)
    assert text == "demo-pathology: there are too few images to choose α on some and to score it on others."
    kept = said.sentence("interpolation", "answer", **found)
    assert "no fine-grained question in-domain" in kept and "–" not in kept


def test_figures_of_what_is_absent_say_so(mix, scores_of):
    classes = scores_of("classes")
    alone = {"modality": "Names the modality", "stain": "Names the stain"}
    shown = stats.headline(classes, by="modality")
    assert figures.dots(shown, "slice", panel="question", panels=alone, empty="Nothing.").instead == "Nothing."
    panels = figures.dots(shown, "slice", panel="question", panels={**alone, "classification": "Fine"})
    assert [axis.get_title(loc="left") for axis in panels.axes] == ["Fine"], "no empty panel"
    nowhere = pd.DataFrame({column: [float("nan")] for column in ("nearest_within", "nearest_across")})
    assert duplicates.histograms({"equal bits": (nowhere, 60)}).empty


def test_one_image_a_source_tells_nothing_of_the_source(mix):
    questions = evaluate(mix("one image"), ["random"]).questions
    rows = benchmark.of_source(benchmark.source_shortcuts(questions))
    assert said.sentence("benchmark", "source", by_source=rows).startswith("No sub-dataset has two images")


def test_nothing_to_audit_names_what_is_missing():
    nobody = modality.readings(pd.DataFrame())
    assert "answered a question on the modality" in said.sentence("modality", "informed", readings=nobody)


def test_one_model_string_is_one_model(mix):
    assert (
        as_list("demo-base") == ["demo-base"] and as_list(("a", "b")) == ["a", "b"] and pairs(as_list("random")) == []
    )
    with pytest.raises(UserError, match="papermill"):
        as_list("['demo-base','random']")
    for wrong in (3, {"a": 1}, [1], ["a", None]):
        with pytest.raises(UserError, match="give a list"):
            as_list(wrong)
    page = executed("overview", dataset=mix("one image"), models="demo-base")
    assert glued(page)["answer"].startswith("At best, demo-base answers")
