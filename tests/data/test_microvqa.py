"""Questions in MicroVQA's schema, on rows made here."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.refusals import refused
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("cache")
TASKS = ["expert visual understanding", "hypothesis generation", "experiment proposal"]


def image(grey):
    buffer = io.BytesIO()
    Image.new("L", (8, 8), grey).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"{grey}.png"}


def rows():
    return [
        {
            "key_question": 100 + at,
            "key_image": at // 2,
            "images_list": [image(at // 2), image(100 + at)] if at == 1 else [image(at // 2)],
            "question": f"What does panel {at} suggest?",
            "choices": ["actin is lost", "actin is bundled", "actin is bent", "actin is cut"][: 3 + at % 2],
            "correct_index": at % 3,
            "correct_answer": ["actin is lost", "actin is bundled", "actin is bent"][at % 3],
            "task": at % 3 + 1,
            "task_str": TASKS[at % 3],
            "context_motivation": "not read",
        }
        for at in range(6)
    ]


@pytest.fixture
def stored(tmp_path):
    def write(rows):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
        return f"microvqa:{tmp_path / 'train-00000-of-00001.parquet'}"

    return write


def test_rows_become_questions(stored):
    benchmark = load_benchmark(stored(rows()))
    questions = build_questions(benchmark)
    assert questions.image_id.tolist() == [str(100 + at) for at in range(6)] and set(questions.dataset) == {"microvqa"}
    assert questions.answer_idx.tolist() == [0, 1, 2, 0, 1, 2] and questions.n_options.tolist() == [3, 4] * 3
    assert questions.taxonomy.tolist() == TASKS * 2 and set(questions.subdomain) == {"not stated"}
    assert questions.asked[4] == "What does panel 4 suggest?"
    assert len(benchmark.pictures) == 3 == questions.image_hash.nunique()
    assert benchmark.further_bytes(1) == [image(101)["bytes"]] and (questions.further != "").sum() == 1
    assert any(note.startswith("1 questions are about several images") for note in benchmark.notes)


def test_it_is_evaluated_as_any_dataset(stored):
    run = evaluate(stored(rows()), ["demo-base", "random"])
    assert len(run.predictions) == 12 and run.record["dataset"]["images"] == 3
    assert evaluate(stored(rows()[:5]), ["random"]).predictions.shape[0] == 5


@pytest.mark.parametrize(
    "change, words",
    [
        ({"images_list": []}, ["row 2", "images_list is empty"]),
        ({"correct_index": 0}, ["row 2", "correct_index 0 is not correct_answer 'actin is bent'"]),
        ({"correct_index": 7, "correct_answer": None}, ["image_id 102", "answer_idx", "7"]),
    ],
)
def test_what_does_not_fit_together_is_refused(stored, change, words):
    path = stored([one | change if at == 2 else one for at, one in enumerate(rows())])
    refused(lambda: build_questions(load_benchmark(path)), *words)


def test_what_is_no_such_dataset_is_refused(stored, tmp_path, monkeypatch):
    path = stored([{key: value for key, value in one.items() if key != "choices"} for one in rows()])
    refused(lambda: load_benchmark(path), "lacks the column choices")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    refused(lambda: load_benchmark("microvqa:nobody/nothing"), "cannot load nobody/nothing from the Hub")
