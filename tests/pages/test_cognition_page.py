"""The page on cognition questions, on every mix of data and models: it runs, and says what is so."""

import json

import pandas as pd
import pytest
from helpers.pages_in_process import executed, glued
from helpers.speakers import make
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import local
from ubench_utils.report import cards
from ubench_utils.studies import cognition

FIELDS = ["cell biology", "neurobiology", "ecology"]


@pytest.fixture
def folder(tmp_path, cache, monkeypatch):
    """Four pictures with 13 questions, of one picture eleven; one question is about two pictures."""
    monkeypatch.setattr(local, "MOST_TOKENS", 4)
    place = tmp_path / "expert"
    place.mkdir()
    for at in range(4):
        Image.new("L", (64, 64), 60 * at).save(place / f"{at}.png")
    fields = {"options": ["wait", "split the culture", "freeze"], "answer_idx": 1}
    lines = [
        {"file_name": "0.png", "question": f"What comes {at}th?", "subdomain": FIELDS[0], **fields} for at in range(11)
    ]
    for at in (1, 2):
        files = [f"{at}.png", "3.png"][:at]
        lines.append({"file_names": files, "question": "What next?", "subdomain": FIELDS[at], **fields})
    (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return str(place)


def sentences(**parameters):
    found = glued(executed("cognition", device="cpu", **parameters))
    assert not [text for text in found.values() if "nan" in text or "1 questions" in text or "1 images" in text], found
    return found


def test_both_families_are_asked(folder, tmp_path):
    name = f"hf:{make('qwen2.5-vl', tmp_path / 'speaker')}"
    found = sentences(dataset=folder, models=["demo-base", name, "random"])
    assert (
        found["answer"].startswith("At best, ") and " 13 cognition questions right (chance 33.3 %)" in found["answer"]
    )
    assert "13 questions are about 3 images, at most 11 about one" in found["units"]
    assert "intervals rest on 3 images, not on 13 questions" in found["units"]
    assert "1 question is about several images" in found["units"]
    assert found["fields"] == "There are 3 subdomains. 3 of them have one image only."
    run = evaluate(folder, ["demo-base", name, "random"])
    scores = cognition.scores(run, "subdomain")
    assert set(scores.family) == {*cognition.FAMILIES.values(), cognition.GUESSES}
    assert (scores.n_images[scores["slice"] == "cell biology"] == 1).all()
    shown = str(cards.answered(run, cognition.examples(cognition.asked(run), "subdomain"), "subdomain").data)
    assert shown.count("<img") == 4 and all(field in shown for field in FIELDS) and name in shown


def test_only_guesses(folder):
    assert sentences(dataset=folder, models=["random"])["answer"].startswith("No model but the random baseline")


def test_no_cognition_question_in_the_data(rows, parquet, cache):
    for models in (["demo-base"], ["random"]):
        found = sentences(dataset=parquet(rows[:4]), models=models)
        assert found["answer"] == "No question of cognition is in this data set."
        assert found["units"] == "There is no cognition question to count."
        assert found["fields"] == "There is nothing to break down."


def test_a_file_of_answers(folder, tmp_path):
    questions = build_questions(load_benchmark(folder))
    answers = questions[["dataset", "image_id", "question"]].assign(answer="B")
    answers.to_csv(tmp_path / "answers.csv", index=False)
    name = f"predictions:{tmp_path / 'answers.csv'}"
    found = sentences(dataset=folder, models=[name])
    assert found["answer"].startswith(f"At best, {name} answers 100.0")
    answers.iloc[1:].to_csv(tmp_path / "answers.csv", index=False)
    assert "No model answered all 13 cognition questions" in sentences(dataset=folder, models=[name])["answer"]


def test_tasks_stand_in_where_no_subdomain_is_stated():
    questions = pd.DataFrame({"subdomain": ["not stated"] * 2, "taxonomy": ["hypothesis generation", "not stated"]})
    assert cognition.field(questions) == "taxonomy"
    assert cognition.field(questions.assign(subdomain=["x", "not stated"])) == "subdomain"
    assert cognition.field(questions.assign(taxonomy="not stated")) == cognition.field(questions[:0]) == "subdomain"


def test_the_published_numbers_are_the_papers():
    found = cognition.published_scores()
    assert found.model.iloc[0] == "GPT-4o" and found.accuracy.iloc[0] == 62 and len(found) == 12
