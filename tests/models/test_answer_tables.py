"""Tables of answers as spreadsheets and scripts save them: read where that is certain, else one line that says why."""

import os
import unicodedata

import numpy as np
import pandas as pd
import pytest

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.errors import UserError
from ubench_utils.models.submission import read_submission

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def questions(rows, parquet):
    """Questions whose options hold an accent and a comma."""
    for row in rows[:4]:
        for part in ("captions", "questions"):
            for asked in filter(None, row[part].values()):
                asked["options"] = [option.replace("microscopy", "microscopié, so") for option in asked["options"]]
    table = build_questions(load_benchmark(parquet(rows[:4])))
    return table[table.wording == 1]


@pytest.fixture
def table(questions):
    """The right option to every question, by its words."""
    right = [labels[at] for labels, at in zip(questions.labels, questions.answer_idx, strict=True)]
    return questions[["dataset", "image_id", "question"]].assign(answer=right)


def refused(path, questions, *words):
    with pytest.raises(UserError) as caught:
        read_submission(path, questions)
    assert all(word in str(caught.value) for word in words), caught.value
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 1000


def test_plain_saves_of_a_spreadsheet_are_read(questions, table, tmp_path):
    text = table.to_csv(index=False)
    head = "dataset,image_id,question,answer"
    spaced = "\n".join(", ".join(f'"{cell}"' for cell in row) for row in table.to_numpy())
    saves = {
        "plain.csv": text.encode(),
        "bom.csv": text.encode("utf-8-sig"),
        "crlf.csv": text.replace("\n", "\r\n").encode("utf-8-sig"),
        "quoted.csv": table.to_csv(index=False, quoting=1).encode(),
        "UPPER.CSV": text.encode(),
        "header_blanks.csv": text.replace(head, "dataset, image_id,  question , answer", 1).encode(),
        "blanks.csv": f"dataset, image_id, question, answer\n{spaced}\n".encode(),
        "quoted_header.csv": text.replace(head, '"dataset","image_id","question","answer"', 1).encode("utf-8-sig"),
        "semicolons.csv": table.to_csv(index=False, sep=";").encode("utf-8-sig"),
        "told.csv": b"sep=;\r\n" + table.to_csv(index=False, sep=";").encode(),
        "tabs.tsv": table.to_csv(index=False, sep="\t").encode(),
        "tabs.csv": table.to_csv(index=False, sep="\t").encode(),
        "empty_lines.csv": f"\n{text}\n\n".encode(),
        "decomposed.csv": unicodedata.normalize("NFD", text).encode(),
        "more_columns.csv": table.assign(note="a,b", other=1).to_csv().encode(),
    }
    for name, content in saves.items():
        (tmp_path / name).write_bytes(content)
        predictions, notes = read_submission(tmp_path / name, questions)
        assert len(predictions) == len(table) and predictions.correct.all(), (name, notes)
        assert notes == [
            f"{len(table)} replies: 0 read by their letter, {len(table)} by the words of an option, 0 name no option"
        ]


def test_what_is_not_certain_is_one_line(questions, table, tmp_path):
    text = table.to_csv(index=False)
    saves = {
        "windows.csv": (text.encode("cp1252"), "save as UTF-8"),
        "utf16.csv": (text.encode("utf-16"), "save as UTF-8"),
        "utf16_bare.csv": (
            table[["image_id", "question"]].assign(predicted_idx=0).to_csv().encode("utf-16-le"),
            "save as UTF-8",
        ),
        "book.xlsx": (b"PK", "as CSV in UTF-8"),
        "lines.jsonl": (b"{}", "as CSV in UTF-8"),
        "empty.csv": (b"", "is empty"),
        "header.csv": (b"image_id,question,answer\n", "has no rows"),
        "longer.csv": (f"{text}a,b,c,d,e\n".encode(), "line"),
        "twice.csv": (text.replace("dataset", "answer", 1).encode(), "two columns named answer"),
        "other.csv": (b"a|b\n1|2\n", "lacks the column image_id"),
        "junk.parquet": (b"junk", "cannot read"),
    }
    for name, (content, word) in saves.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, questions, name, word)


def test_what_is_no_file_is_not_waited_for(questions, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for name in ("pipe.csv", "folder.csv", "loop.csv", "none.csv", f"{'x' * 300}.csv"):
        refused(tmp_path / name, questions, name)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["x"], "no index"),
        (["1e400"], "no index"),
        ([float("inf")], "no index"),
        ([None], "no index"),
        ([-1], "no index"),
        ([True], "a bool"),
        ([[1]], "a list"),
        ([b"1"], "a bytes"),
        ([{"a": 1}], "a dict"),
        (["9" * 400], "no index"),
    ],
)
def test_indices_that_are_none(questions, table, tmp_path, given, word):
    changed = table.head(1).drop(columns="answer").assign(predicted_idx=given)
    changed.to_parquet(tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", questions, word, "row 0")


def test_indices_in_every_type(questions, table, tmp_path):
    for index in (
        questions.answer_idx,
        questions.answer_idx.astype(str),
        questions.answer_idx.astype(float),
        questions.answer_idx.astype("category"),
        questions.answer_idx.astype("int8"),
    ):
        table.drop(columns="answer").assign(predicted_idx=index).to_parquet(tmp_path / "x.parquet")
        assert read_submission(tmp_path / "x.parquet", questions)[0].correct.all()


@pytest.mark.parametrize(
    "scores",
    [
        None,
        3.0,
        "1 2 3 4",
        [],
        [1.0],
        [[1.0]] * 4,
        [1, None, 2, 3],
        [1, float("nan"), 2, 3],
        [1, float("inf"), 2, 3],
        ["a", "b", "c", "d"],
        [True, False, False, False],
        b"abcd",
        {"a": 1},
        [10**400, 1, 2, 3],
        ["1_0", 1, 2, 3],
    ],
)
def test_scores_that_are_no_numbers(questions, table, tmp_path, monkeypatch, scores):
    asked = table[table.question == "modality"].head(1).drop(columns="answer")
    changed = asked.assign(scores=pd.Series([scores], index=asked.index, dtype=object))
    (tmp_path / "x.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda _: changed)  # parquet cannot hold all of them
    refused(tmp_path / "x.parquet", questions, "row 0", "4 finite scores are needed")


@pytest.mark.parametrize("text", ["[", "[" * 100_000, "[1, 2", "abc", "", "1 2", "[1,,2]"])
def test_scores_that_are_no_json(questions, table, tmp_path, text):
    table.drop(columns="answer").assign(scores=text).to_csv(tmp_path / "x.csv", index=False)
    refused(tmp_path / "x.csv", questions, "scores")


def test_wordings_that_are_none(questions, table, tmp_path):
    for wording in (np.inf, -np.inf, 1.5, "one", 1e300, "", "99"):
        changed = table.assign(wording=[wording, *[1] * (len(table) - 1)])
        changed.to_csv(tmp_path / "x.csv", index=False)
        predictions, notes = read_submission(tmp_path / "x.csv", questions)
        assert len(predictions) == len(table) - 1 and "1 of " in notes[0] and "of no question" in notes[0]
    table.assign(wording=[[1]] * len(table)).to_parquet(tmp_path / "x.parquet")
    refused(tmp_path / "x.parquet", questions, "column wording", "a list")


@pytest.mark.parametrize("column", ["dataset", "image_id", "question", "answer"])
def test_lists_and_bytes_in_the_place_of_text(questions, table, tmp_path, column):
    for cell in (["a"], b"a", {"a": 1}):
        table.assign(**{column: [cell] * len(table)}).to_parquet(tmp_path / "x.parquet")
        refused(tmp_path / "x.parquet", questions, f"column {column}")


def test_what_a_spreadsheet_does_to_names_is_pointed_out(rows, parquet, tmp_path):
    for number, row in enumerate(rows[:4]):
        row["image_id"] = f"{number:03}" if number < 3 else "12E10"
    questions = build_questions(load_benchmark(parquet(rows[:4])))
    asked = questions[questions.wording == 1][["dataset", "image_id", "question"]].assign(predicted_idx=0)
    asked.assign(image_id=asked.image_id.str.lstrip("0")).to_csv(tmp_path / "zeros.csv", index=False)
    assert "have lost their leading zeros" in read_submission(tmp_path / "zeros.csv", questions)[1][0]
    asked.assign(image_id=asked.image_id.replace("12E10", "1.2E+11")).to_csv(tmp_path / "e.csv", index=False)
    assert "that a spreadsheet rounded" in read_submission(tmp_path / "e.csv", questions)[1][0]


def test_names_that_are_numbers_match_whatever_their_type(rows, parquet, tmp_path):
    for number, row in enumerate(rows[:4]):
        row["image_id"] = str(number)
    questions = build_questions(load_benchmark(parquet(rows[:4])))
    asked = questions[questions.wording == 1][["dataset", "image_id", "question"]].assign(predicted_idx=0)
    for kind in (int, float, "category"):
        asked.assign(image_id=asked.image_id.astype(kind)).to_parquet(tmp_path / "x.parquet")
        assert len(read_submission(tmp_path / "x.parquet", questions)[0]) == len(asked)


def test_a_long_reply_in_a_table(questions, table, tmp_path):
    table.answer = ["<think>" + "A) or B) " * 200_000 + "</think>" + answer for answer in table.answer.head(3)] + list(
        table.answer[3:]
    )
    table.to_csv(tmp_path / "x.csv", index=False)
    assert read_submission(tmp_path / "x.csv", questions)[0].correct.all()
