"""Questions about several images: a generator sees all of them, in their order; another image is another question."""

import json

import numpy as np
import pytest
from helpers.speakers import make
from PIL import Image

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import local

WORDS = "Which of the two is later?"


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    return f"hf:{make('qwen2.5-vl', tmp_path_factory.mktemp('speaker'))}"


@pytest.fixture
def pairs(tmp_path, cache, monkeypatch):
    """Return what writes questions about lists of files; four pictures lie there, the last unreadable."""
    monkeypatch.setattr(local, "MOST_TOKENS", 4)
    folder = tmp_path / "pairs"
    folder.mkdir()
    for at, file in enumerate("abc"):
        Image.new("L", (64, 64), 60 * at).save(folder / f"{file}.png")
    (folder / "d.png").write_bytes(b"no picture")

    def write(*lists):
        fields = {"question": WORDS, "options": ["the first", "the second"], "answer_idx": 0}
        lines = [{"file_names": [f"{file}.png" for file in files], **fields} for files in lists]
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return str(folder)

    return write


@pytest.fixture
def seen(monkeypatch):
    """Grey values of the images that a generator was shown, a tuple a question."""
    shown, ask = [], local.Speaker.ask

    def watched(self, images, prompts):
        if prompts != ["a micrograph"]:  # the trial by which a model is loaded
            shown.extend(tuple(int(np.asarray(image).mean()) for image in of) for of in images)
        return ask(self, images, prompts)

    monkeypatch.setattr(local.Speaker, "ask", watched)
    return shown


def test_all_images_are_shown_in_their_order_and_asked_about_once(pairs, name, seen):
    run = evaluate(pairs("ab", "ba", "a", "ac"), [name])
    assert sorted(seen) == [(0,), (0, 60), (0, 120), (60, 0)]
    assert len(run.predictions) == 4 and run.record["models"][name]["questions_asked_now"] == 4
    again = evaluate(pairs("ac", "ab", "bc"), [name])
    assert again.record["models"][name]["questions_asked_now"] == 1 and seen[4:] == [(60, 120)]


def test_a_further_image_that_is_unreadable_costs_its_question_alone(pairs, name, seen):
    run = evaluate(pairs("ad", "ab", "a"), [name, "demo-base"])
    facts = run.record["models"][name]
    assert facts["questions_failed"] == 1 and facts["images_failed"] == 0 and run.failures.empty
    assert any("a further image: unreadable image" in note for note in facts["notes"])
    assert run.predictions.model.value_counts().to_dict() == {name: 2, "demo-base": 3}  # which sees the first alone
    assert sorted(seen) == [(0,), (0, 60)]
