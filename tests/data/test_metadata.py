"""A folder of pictures with a metadata.jsonl of questions, a line a question."""

import json
from pathlib import Path

import pytest
from helpers.refusals import fails, refused
from PIL import Image

from ubench_utils.data.benchmark import NOT_STATED, load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("cache")
ASKED = {"question": "Which stage?", "options": ["early", "late", "never"], "answer_idx": 1}


@pytest.fixture
def folder(tmp_path):
    """Return what writes lines beside four pictures, and gives the folder."""
    place = tmp_path / "expert questions"
    (place / "in").mkdir(parents=True)
    for at, name in enumerate(("a.png", "b.png", "in/c.png", "d.png")):
        Image.new("L", (8, 8), 40 * at).save(place / name)
    Image.new("L", (8, 8), 9).save(tmp_path / "outside.png")

    def write(*lines):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (place / "metadata.jsonl").write_text(text, "utf-8")
        return str(place)

    return write


def test_every_line_is_a_question(folder):
    path = folder(
        {"file_name": "a.png", **ASKED, "subdomain": "cell biology"},
        {"file_name": "in/c.png", **ASKED, "answer_idx": None, "answer": "never", "modality": "light microscopy"},
        "",
        {"file_name": "a.png", **ASKED, "question": "What next?", "answer": "late", "group": "mouse 1"},
    )
    benchmark = load_benchmark(path)
    questions = build_questions(benchmark)
    assert questions.image_id.tolist() == ["a.png", "in/c.png", "a.png/1"] and set(questions.dataset) == {
        "expert questions"
    }
    assert questions.asked.tolist() == ["Which stage?", "Which stage?", "What next?"]
    assert questions.answer_idx.tolist() == [1, 2, 1]
    assert questions.options[2] == ("What next? early", "What next? late", "What next? never")
    assert questions.subdomain.tolist() == ["cell biology", NOT_STATED, NOT_STATED]
    assert questions.modality.tolist() == [NOT_STATED, "light microscopy", NOT_STATED]
    assert len(benchmark.pictures) == 2 and questions.image_hash[0] == questions.image_hash[2]
    assert benchmark.image_bytes(1) == (benchmark.folder / "in/c.png").read_bytes()


def test_the_file_itself_may_be_named(folder):
    path = folder({"file_name": "a.png", **ASKED})
    assert load_benchmark(f"{path}/metadata.jsonl").fingerprint == load_benchmark(path).fingerprint


def test_it_is_read_as_the_library_reads_it(folder):
    """`datasets` finds the same questions and files in the folder."""
    import datasets

    lines = [
        {"images_file_names": ["a.png", "b.png"], **ASKED},
        {"images_file_names": ["in/c.png"], **ASKED, "question": "What next?"},
        {"images_file_names": ["a.png", "d.png"], **ASKED, "question": "Why?"},
    ]
    path = folder(*lines)
    theirs = datasets.load_dataset(path, split="train").cast_column(
        "images", datasets.List(datasets.Image(decode=False))
    )
    benchmark = load_benchmark(path)
    ours = build_questions(benchmark)
    assert sorted(theirs["question"]) == sorted(ours.asked)
    for row in theirs:
        own = int(ours.index[ours.asked == row["question"]][0])
        found = [benchmark.image_bytes(own), *benchmark.further_bytes(own)]
        assert [Path(image["path"]).read_bytes() for image in row["images"]] == found
    assert ours.further.eq("").tolist() == [False, True, False] and ours.further[0] != ours.further[2]
    assert any(note.startswith("2 questions are about several images") for note in benchmark.notes)


def test_fields_that_are_not_read_are_named(folder):
    notes = load_benchmark(folder({"file_name": "a.png", **ASKED, "author": "x", "label_name": "cell"})).notes
    assert "fields of metadata.jsonl that are not read: author (1)" in notes


def test_lines_that_ask_the_same_again_are_counted(folder):
    one = {"file_name": "a.png", **ASKED}
    benchmark = load_benchmark(folder(one, one | {"file_name": "b.png"}, one, one))
    assert (
        "2 of 4 lines of metadata.jsonl ask again what an earlier one asks, and count again (the first is line 3)"
        in (benchmark.notes)
    )
    assert not any("ask again" in note for note in load_benchmark(folder(one, one | {"question": "What next?"})).notes)


@pytest.mark.parametrize(
    "line, words",
    [
        ('{"file_name": "a.png"', ["no JSON"]),
        ('["a.png"]', ["no JSON object"]),
        (ASKED, ["lacks `file_name`"]),
        ({"file_name": "a.png", "options": ["a", "b"], "answer_idx": 0}, ["lacks `question`", "ubench import"]),
        ({"file_name": "a.png", "question": "Which?", "answer_idx": 0}, ["lacks `options`"]),
        ({"file_name": "a.png", "question": "Which?", "options": ["a", "b"]}, ["lacks `answer_idx`"]),
        ({"file_name": "a.png", **ASKED, "answer_idx": 3}, ["`answer_idx` is 3", "3 options"]),
        ({"file_name": "a.png", **ASKED, "answer_idx": -1}, ["`answer_idx` is -1"]),
        ({"file_name": "a.png", **ASKED, "answer_idx": "1"}, ['`answer_idx` is "1"']),
        ({"file_name": "a.png", **ASKED, "answer_idx": True}, ["`answer_idx` is true"]),
        ({"file_name": "a.png", **ASKED, "answer": "B"}, ["'B'", "none of its options"]),
        ({"file_name": "a.png", **ASKED, "answer": "early"}, ["not one option"]),
        ({"file_name": "a.png", **ASKED, "options": ["late", " Late", "x"]}, ["alike", "late"]),
        ({"file_name": "a.png", **ASKED, "options": ["late", 3]}, ["no list of texts"]),
        ({"file_name": "a.png", **ASKED, "options": ["late"]}, ["fewer than two"]),
        ({"file_name": "none.png", **ASKED}, ["no file 'none.png'"]),
        ({"file_name": "in", **ASKED}, ["no file 'in'"]),
        ({"file_name": "../outside.png", **ASKED}, ["'../outside.png' leads out of the folder"]),
        ({"file_name": ["a.png"], **ASKED}, ["`file_name` is no path"]),
        ({"file_names": "a.png", **ASKED}, ["`file_names` is no list of paths"]),
        ({"file_name": "a.png", "file_names": ["b.png"], **ASKED}, ["several fields name its files"]),
        ('{"file_name": "a.png", "answer_idx": 0, "answer_idx": 1}', ["two fields `answer_idx`"]),
        ({"file_name": "d.png", **ASKED, "answer_idx": 2}, ["asks what line 1 asks, and has another answer"]),
        (
            {"file_name": "d.png", **ASKED, "options": ["never", "early", "late"], "answer_idx": 1},
            ["has another answer"],
        ),
    ],
)
def test_a_mistake_is_told_by_its_line(folder, line, words):
    path = folder({"file_name": "d.png", **ASKED}, "", line)
    refused(lambda: load_benchmark(path), "metadata.jsonl, line 3", *words)


def test_other_mistakes_are_told_too(folder, capsys, tmp_path):
    refused(lambda: load_benchmark(folder("", " ")), "metadata.jsonl", "holds no line")
    several = [{"file_name": "a.png", **ASKED, "subdomain": value} for value in ("x", 3)]
    refused(lambda: load_benchmark(folder(*several)), "`subdomain`", "several kinds")
    twice = {"file_name": "a.png", **ASKED, "image_id": "one"}
    refused(lambda: load_benchmark(folder(twice, twice)), "image_id one", "occurs twice")
    path = folder({"file_name": "none.png", **ASKED})
    arguments = ["evaluate", "--dataset", path, "--models", "random", "--out", tmp_path / "out"]
    fails(capsys, arguments, "line 1", "no file 'none.png'")


def test_answers_are_scored_by_picture(folder):
    lines = [{"file_name": name, **ASKED, "question": f"{at}?"} for name in ("a.png", "b.png") for at in range(5)]
    run = evaluate(folder(*lines), ["random"])
    assert len(run.predictions) == 10 and run.record["dataset"]["images"] == 2
    changed = folder(*lines[:9])
    assert len(evaluate(changed, ["random"]).predictions) == 9
