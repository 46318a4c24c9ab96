"""Several cognition questions a picture: each has a key of its own, and all of a picture are one unit."""

import copy

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.samples import png
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.evaluation.run import open_benchmark
from ubench_utils.statistics.cells import answered_cells, lay_out
from ubench_utils.statistics.resampling import numbered
from ubench_utils.statistics.scores import score

pytestmark = pytest.mark.usefixtures("cache")
KEY = ["dataset", "image_id", "question", "wording"]
FACETS = ("label_name", "domain", "subdomain", "modality", "submodality", "stain")


def entry(words, right=1):
    return {"question": words, "options": ["early", "late", "never"], "answer_idx": right}


def row(number, entries, dataset="d", **others):
    shown = Image.new("L", (8, 8), number)
    return {"dataset": dataset, "image_id": f"i{number}", "image": png(shown), "questions": entries, **others}


@pytest.fixture
def stored(tmp_path):
    def write(rows, questions=None, name="cognition.parquet"):
        captions = [one.get("captions") for one in rows]
        table = {name: [one.get(name) for one in rows] for name in ("dataset", "image_id", "image", "label_name")}
        table |= {name: pa.nulls(len(rows), pa.string()) for name in FACETS}
        table["questions"] = pa.array([one["questions"] for one in rows], questions)
        table["captions"] = pa.array(captions) if any(captions) else pa.nulls(len(rows))
        pq.write_table(pa.table(table), tmp_path / name)
        return str(tmp_path / name)

    return write


def asked(path, **options):
    benchmark = load_benchmark(path, **options)
    return benchmark, build_questions(benchmark)


def test_each_question_of_a_picture_has_a_key_of_its_own(stored):
    entries = {"cognition": entry("When?", 0), "cognition_10": entry("Why?", 1), "cognition_2": entry("How?", 2)}
    benchmark, questions = asked(stored([row(1, entries), row(2, {"cognition_7": entry("Who?")})]))
    assert not questions.duplicated(KEY).any()
    assert questions.set_index("image_id").asked.to_dict() == {
        "i1": "When?",
        "i2": "Who?",
        "i1/cognition_2": "How?",
        "i1/cognition_10": "Why?",
    }
    assert questions.answer_idx.tolist() == [0, 1, 2, 1] and set(questions.level) == {"cognition"}
    assert questions.options[1] == ("Who? early", "Who? late", "Who? never")
    assert questions.image_hash.nunique() == 2 == len(benchmark.pictures) and len(benchmark.images) == 4
    assert questions.attrs["notes"] == []


def test_structs_and_lists_of_structs_say_the_same(stored):
    entries = {f"cognition_{at}": entry(f"Question {at}?", at) for at in range(3)}
    listed = [{"name": name, **one} for name, one in entries.items()]
    tables = [asked(stored([row(1, form)], name=f"{at}.parquet"))[1] for at, form in enumerate((entries, listed))]
    pd.testing.assert_frame_equal(*tables)


def test_the_other_questions_of_a_row_are_asked_once(rows, parquet, tmp_path):
    """Rows of the demo with cognition beside them: all else is as before, byte for byte."""
    plain = load_benchmark(parquet(rows[:6]))
    more = copy.deepcopy(rows[:6])
    for one in more:
        one["questions"] |= {f"cognition_{at}": entry(f"Question {at}?") for at in range(11)}
    pq.write_table(pa.Table.from_pylist(more), tmp_path / "more.parquet")
    benchmark, questions = asked(str(tmp_path / "more.parquet"))
    before = build_questions(plain)
    kept = questions[(questions.level != "cognition")].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before[before.level != "cognition"].reset_index(drop=True), check_like=True)
    assert (questions.level == "cognition").sum() == 66 and len(benchmark.pictures) == 6


def test_all_questions_of_a_picture_are_one_unit(stored):
    many = {f"cognition_{at}": entry(f"Question {at}?") for at in range(11)}
    path = stored([row(1, many), *(row(at, {"cognition": entry("When?")}) for at in (2, 3, 4))])
    run = evaluate(path, ["random"])
    total = score(run.answers).query("estimand == 'micro' and question == 'all'").iloc[0]
    assert (total.n_questions, total.n_images) == (14, 4) and run.record["dataset"]["images"] == 4
    table = numbered(run.answers)
    found = answered_cells(lay_out(table), table[["n_options"]].to_numpy(float) * 0 + 1)[0]
    assert found.n_units.tolist() == [4] * len(found) and not found.single.any()


def test_a_sample_takes_a_picture_with_all_its_questions(stored):
    rows = [row(at, {"cognition_0": entry("When?"), "cognition_1": entry("How?")}) for at in range(1, 9)]
    benchmark, questions = asked(stored(rows), limit=3)
    assert len(questions) == 6 and len(benchmark.pictures) == 3 and questions.image_hash.value_counts().eq(2).all()
    assert any(note.startswith("3 of 8 images") for note in benchmark.notes)


def test_rows_that_ask_about_the_same_bytes_are_one_picture(stored):
    rows = [row(1, {"cognition": entry(f"Question {at}?")}) | {"image_id": f"q{at}"} for at in range(3)]
    assert len(load_benchmark(stored(rows)).pictures) == 1


def test_a_question_that_cannot_be_asked_is_counted(stored):
    entries = {
        "cognition_0": entry("When?"),
        "cognition_1": {"question": "How?", "options": None, "answer_idx": 1},
        "cognition_2": {"question": None, "options": ["a", "b"], "answer_idx": 1},
        "cognition_3": None,
    }
    questions = asked(stored([row(1, entries)]))[1]
    assert len(questions) == 1
    assert sorted(note.split(",")[0] for note in questions.attrs["notes"]) == ["1 questions left out"] * 2


def test_a_dataset_that_is_known_is_opened_as_it_was(stored, monkeypatch):
    monkeypatch.setattr("ubench_utils.evaluation.run.SETTLED", -1)
    path = stored([row(1, {f"cognition_{at}": entry(f"Question {at}?") for at in range(3)})])
    first, again = open_benchmark(path), open_benchmark(path)
    pd.testing.assert_frame_equal(first.images, again.images)
    pd.testing.assert_frame_equal(build_questions(first), build_questions(again))
    assert again.rows[2]["questions"]["cognition_2"]["question"] == "Question 2?"
