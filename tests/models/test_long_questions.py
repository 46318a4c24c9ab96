"""Questions that are longer than what a dual encoder reads: options that look alike are counted in a note."""

import json

import pytest
from PIL import Image

from ubench_utils.evaluation.evaluate import evaluate

LONG = "Which of these would a cell biologist do next, given that " + "the medium was changed again and " * 30


@pytest.fixture
def of_questions(tmp_path, cache):
    def write(*asked):
        Image.new("L", (8, 8), 99).save(tmp_path / "a.png")
        lines = [{"file_name": "a.png", "question": words, "options": of, "answer_idx": 0} for words, of in asked]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return str(tmp_path)

    return write


def notes(run):
    return [note for note in run.record["models"]["demo-base"]["notes"] if "before the options differ" in note]


def test_questions_that_are_cut_before_their_options_are_counted(of_questions):
    options = ["split the culture", "add trypsin", "wait"]
    long_options = [f"{start} and {LONG}" for start in options]
    run = evaluate(of_questions(("What next?", options), (LONG, options), (LONG[:60], long_options)), ["demo-base"])
    facts = run.record["models"]["demo-base"]
    assert facts["texts_truncated"] == 6  # of the last question too, whose options differ before the cut
    assert notes(run) == [
        f"1 question is cut at {facts['context_length']} tokens before the options differ: they look alike to this "
        "model, and its answer says nothing"
    ]


def test_questions_that_are_not_cut_have_no_note(of_questions):
    assert notes(evaluate(of_questions(("What next?", ["split it", "wait"])), ["demo-base"])) == []
