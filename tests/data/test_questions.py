"""Questions: what is asked of the rows, which questions nobody can answer, and what is refused in one line."""

import copy
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from helpers.refusals import refused
from helpers.samples import as_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ubench_utils.data.benchmark import FACETS, Benchmark, load_benchmark
from ubench_utils.data.questions import _answer_index, build_questions
from ubench_utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("cache")
LEFT_OUT = " questions left out, captions.modality_1: "


def entries(rows):
    """Every caption and question that has options."""
    for row in rows:
        for part in (row["captions"], row["questions"]):
            yield from (entry for entry in part.values() if entry and entry["options"])


@pytest.fixture
def asked(rows, parquet):
    """Questions and notes of ten rows after a change of every entry, and of the rows as they were."""

    def build(change=None, modality_1=None, row=0):
        chosen = copy.deepcopy(rows[::4])
        for entry in entries(chosen) if change else ():
            change(entry)
        if modality_1:
            modality_1(chosen[row]["captions"]["modality_1"])
        table = build_questions(load_benchmark(parquet(chosen)))
        return table, table.attrs["notes"]

    return build


def offer(*options, answer_idx="0"):
    """Return a change to these options."""
    return lambda entry: entry.update(options=list(options), answer_idx=answer_idx)


# What is asked


def test_questions_are_those_of_the_rows(rows, parquet):
    """Against a loop over the plain rows."""
    table = build_questions(load_benchmark(parquet(rows))).set_index(["image_id", "question", "wording"])
    expected = 0
    for row in rows:
        for name, caption in row["captions"].items():
            if caption is None:
                continue
            question, wording = name.rsplit("_", 1)
            asked = table.loc[row["image_id"], question, int(wording)]
            assert list(asked.options) == caption["options"] and asked.n_options == len(caption["options"])
            assert asked.answer_idx == int(caption["answer_idx"])
            assert asked.labels[asked.answer_idx] == row["questions"][question]["answer"]
            assert asked.level == ("fine" if question == "classification" else "coarse")
            assert (asked.modality, asked.domain) == (row["modality"], row["domain"])
            expected += 1
        for wording, sentence in enumerate(
            ["A micrograph, typically studied in {}.", "A microscopy image frequently studied in {}."]
        ):
            asked, own = table.loc[row["image_id"], "subdomain", wording], row["questions"]["subdomain"]
            assert list(asked.options) == [*map(sentence.format, own["options"][:-1]), "none of the above"]
            assert asked.answer_idx == own["answer_idx"]
            expected += 1
    assert len(table) == expected


def test_cognition_questions_are_question_and_option():
    rows = Dataset.from_list(
        [
            {
                "captions": {},
                "questions": {"cognition": {"question": "Which stage?", "options": ["early", "late"], "answer_idx": 1}},
            }
        ]
    )
    images = pd.DataFrame(
        [
            {
                "dataset": "d",
                "image_id": "i",
                "image_hash": "h",
                "further": "",
                "group": None,
                **dict.fromkeys(FACETS, "x"),
            }
        ]
    )
    asked = build_questions(Benchmark("local", rows, images, "f")).iloc[0]
    assert asked.options == ("Which stage? early", "Which stage? late") and asked.level == "cognition"


def test_null_members_and_null_fields_are_skipped(rows, parquet):
    chosen = rows[:3]
    everything = Counter(build_questions(load_benchmark(parquet(chosen))).question)
    assert everything == dict.fromkeys(everything, 6)  # three images, two wordings
    for k in (0, 1):
        chosen[0]["captions"][f"stain_{k}"] = None
        chosen[1]["captions"][f"stain_{k}"] = dict.fromkeys(chosen[1]["captions"][f"stain_{k}"])
    chosen[0]["questions"]["subdomain"] = None
    chosen[1]["questions"]["subdomain"] = dict.fromkeys(chosen[1]["questions"]["subdomain"])
    left = Counter(build_questions(load_benchmark(parquet(chosen, "nulls.parquet"))).question)
    assert left == {**everything, "stain": 2, "subdomain": 2}


def test_a_dataset_without_any_question_is_refused(rows, parquet):
    row = rows[0]
    row["captions"], row["questions"] = dict.fromkeys(row["captions"]), dict.fromkeys(row["questions"])
    refused(lambda: build_questions(load_benchmark(parquet([row]))), "holds no question")


def test_questions_under_other_names_or_without_captions_are_counted(rows, tmp_path, parquet):
    for row in rows[:2]:
        row["captions"]["modality_2"] = row["captions"]["modality_1"]
        row["questions"]["counting"] = row["questions"]["modality"]
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "a.parquet")
    (note,) = build_questions(load_benchmark(str(tmp_path / "a.parquet"))).attrs["notes"]
    assert note.startswith("4 questions of captions.modality_2, questions.counting: no type of this benchmark")
    rows[2]["captions"]["stain_0"] = rows[2]["captions"]["stain_1"] = rows[3]["captions"]["stain_0"] = None
    (note,) = build_questions(load_benchmark(parquet(rows[2:4]))).attrs["notes"]
    assert note.startswith("1 questions of questions.stain: its captions are null, so it is asked in no wording")


def test_questions_that_cannot_be_asked_are_left_out_and_counted(rows, parquet):
    """Options that read alike would make every answer a tie; a subdomain needs a sentence with {class}."""
    rows[0]["captions"]["modality_1"]["options"][0] = rows[0]["captions"]["modality_1"]["options"][1]
    rows[1]["captions"]["domain_0"]["question"] = "A micrograph."
    rows[2]["captions"]["domain_1"]["question"] = None
    rows[3]["questions"]["subdomain"]["options"] = []
    table = build_questions(load_benchmark(parquet(rows)))
    notes = " ".join(table.attrs["notes"])
    assert "captions.modality_1: its options are not distinct" in notes and "captions.domain_0.question" in notes
    assert "captions.domain_1: options without `question`" in notes
    assert "2 questions left out, questions.subdomain: a question and its answer without options" in notes
    gone = {
        (rows[0]["image_id"], "modality", 1),
        (rows[1]["image_id"], "subdomain", 0),
        (rows[2]["image_id"], "domain", 1),
    }
    assert not gone & set(zip(table.image_id, table.question, table.wording, strict=True))


def test_plain_options_in_another_order_than_the_captions_are_not_shown_for_them(rows, parquet):
    """Labels stand for captions by their place: where the two lists disagree the whole captions are shown."""
    asked = rows[0]["questions"]["modality"]
    asked["options"][0], asked["options"][1] = asked["options"][1], asked["options"][0]
    questions = build_questions(load_benchmark(parquet(rows[:3])))
    modality = questions[questions.question == "modality"]
    same = modality.labels == modality.options
    assert same.tolist() == (modality.image_id == rows[0]["image_id"]).tolist()
    assert any("2 captions have not the options of questions.modality" in note for note in questions.attrs["notes"])


# Options


PADDING = [[None], [""], [" "], ["\u00a0"], ["\u200b"], ["nan"], ["NaN"], ["<NA>"], [None] * 20, ["nan", None, ""]]


@pytest.mark.parametrize("padding", PADDING, ids=str)
def test_empty_options_at_the_end_are_no_options(asked, padding):
    """The questions are the same as without them, so chance is, too; and the labels stay beside their captions."""
    plain, _ = asked()
    padded, notes = asked(lambda entry: entry["options"].extend(padding))
    assert padded.equals(plain)
    assert len(notes) == 1 and notes[0].startswith(f"{len(plain)} questions of captions.domain_0, ")
    assert notes[0].endswith(": empty options at the end of a list are no options")


@pytest.mark.parametrize("part", ["captions", "questions"])
def test_labels_stay_with_captions_where_only_one_of_the_lists_is_padded(rows, parquet, part):
    plain = build_questions(load_benchmark(parquet(rows[:3])))
    for row in rows[:3]:
        for entry in row[part].values():
            if entry and entry["options"]:
                entry["options"] += [None, ""]
    padded = build_questions(load_benchmark(parquet(rows[:3])))
    assert padded.labels.equals(plain.labels) and padded.options.equals(plain.options)


UNASKABLE = {
    "single": (offer("a"), "fewer than two options"),
    "single among padding": (offer("a", "", None), "fewer than two options"),
    "all empty": (offer(None, "", " "), "fewer than two options"),
    "right one null": (offer(None, "b", "c"), "its right option is empty"),
    "right one blank": (offer("a", " ", "c", answer_idx="1"), "its right option is empty"),
    "right one in the padding": (offer("a", "b", "", answer_idx="2"), "its right option is empty"),
    "right one is nan": (offer("a", "b", "nan", answer_idx="2"), "its right option is empty"),
    "null in the middle": (offer("a", None, "c", answer_idx="2"), "one of its options is empty, and not at the end"),
    "blank in the middle": (offer("a", "\u3000", "c"), "one of its options is empty, and not at the end"),
    "no options": (lambda entry: entry.update(options=[]), "a question and its answer without options"),
    "equal": (offer("a", "a", "c"), "its options are not distinct"),
    "trailing blank": (offer("H&E ", "H&E", "c"), "its options are not distinct"),
    "leading blank": (offer(" H&E", "H&E", "c"), "its options are not distinct"),
    "double blank": (offer("a  cell", "a cell", "c"), "its options are not distinct"),
    "no-break space": (offer("a\u00a0cell", "a cell", "c"), "its options are not distinct"),
    "thin space": (offer("5\u2009µm", "5 µm", "c"), "its options are not distinct"),
    "line break": (offer("a\ncell", "a cell", "c"), "its options are not distinct"),
    "case": (offer("Giemsa", "giemsa", "c"), "its options are not distinct"),
    "sharp s": (offer("gross", "groß", "c"), "its options are not distinct"),
    "full stop": (offer("a cell.", "a cell", "c"), "its options are not distinct"),
    "full stop and blank": (offer("a cell .", "a cell", "c"), "its options are not distinct"),
    "decomposed accents": (offer("caf\u00e9", "cafe\u0301", "c"), "its options are not distinct"),
    "compatible characters": (offer("5 µm", "5 μm", "c"), "its options are not distinct"),
    "full width": (offer("ＤＡＰＩ", "DAPI", "c"), "its options are not distinct"),
    "what does not show": (offer("D\u200bAPI", "DAPI\ufeff", "c"), "its options are not distinct"),
}


@pytest.mark.parametrize("change, reason", UNASKABLE.values(), ids=UNASKABLE)
def test_what_nobody_can_answer_is_left_out_and_counted(asked, change, reason):
    plain, _ = asked()
    table, notes = asked(modality_1=change, row=3)
    keys = [tuple(key) for key in plain[["image_id", "question", "wording"]].to_numpy()]
    left = [tuple(key) for key in table[["image_id", "question", "wording"]].to_numpy()]
    assert [key for key in keys if key not in set(left)] == [(plain.image_id.unique()[3], "modality", 1)]
    assert [note for note in notes if "left out" in note] == [f"1{LEFT_OUT}{reason}"]


@pytest.mark.parametrize("options", [("H&E", "HE"), ("a.b", "ab"), ("T cell", "B cell"), ("None", "nan b"), ("α", "a")])
def test_options_that_read_differently_are_asked(asked, options):
    table, notes = asked(modality_1=offer(*options, "none of the above"))
    row = table[(table.question == "modality") & (table.wording == 1)].iloc[0]
    assert row.options == (*options, "none of the above") and not any("left out" in note for note in notes)


def test_reasons_are_counted_each(asked):
    """Every field of a reason is named in one note; what cannot be asked at all is refused with the reasons."""
    _, notes = asked(lambda entry: entry.update(options=["a", "a"]) if len(entry["options"]) == 4 else None)
    assert len([note for note in notes if "not distinct" in note]) == 1
    assert "captions.modality_0, captions.modality_1" in notes[0]
    refused(lambda: asked(offer("a", "A")), "holds no question that can be asked: its options are not distinct (capt")


def test_a_padded_dataset_has_the_scores_of_the_plain_one(rows, parquet):
    plain = evaluate(parquet(rows[:8], "plain.parquet"), ["demo-base", "random"], device="cpu").predictions
    for entry in entries(rows[:8]):
        entry["options"] += ["", None]
    padded = evaluate(parquet(rows[:8]), ["demo-base", "random"], device="cpu").predictions
    assert padded.equals(plain)


# Answer indices


@pytest.mark.parametrize("value", [2, 2.0, "2", " 2 ", "2.0", "02"])
def test_forms_of_an_answer_index(value):
    index = _answer_index(value, "abcd")
    assert index == 2 and type(index) is int


NO_NUMBERS = [4, -1, 1.5, float("inf"), float("nan"), 2**62, True, None, [2], b"2"]
NO_TEXTS = ["4", "-1", "1.5", "nan", "", "abc", "2_0", "0_2", "٢", "²", "1e0", "0x1", "True", "+", "9" * 5000]


@pytest.mark.parametrize("value", NO_NUMBERS + NO_TEXTS, ids=lambda value: repr(value)[:9])
def test_what_is_no_answer_index(value):
    assert _answer_index(value, "abcd") is None


@given(st.text() | st.floats() | st.integers() | st.none() | st.booleans(), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_an_answer_index_never_raises_nor_points_outside(value, n):
    index = _answer_index(value, range(n))
    assert index is None or (type(index) is int and 0 <= index < n)


@pytest.mark.parametrize("answer", ["6", "x", None])
def test_an_answer_index_out_of_range_in_captions_is_named(rows, parquet, answer):
    rows[5]["captions"]["domain_1"]["answer_idx"] = answer
    benchmark = load_benchmark(parquet(rows))
    refused(lambda: build_questions(benchmark), "row 5", rows[5]["image_id"], "captions.domain_1.answer_idx")


@pytest.mark.parametrize("answer", [6, -1])
def test_an_answer_index_out_of_range_in_questions_is_named(rows, parquet, answer):
    rows[3]["questions"]["subdomain"]["answer_idx"] = answer
    benchmark = load_benchmark(parquet(rows))
    refused(lambda: build_questions(benchmark), "row 3", rows[3]["image_id"], "questions.subdomain.answer_idx")


def test_the_row_of_an_error_is_that_of_the_file(rows, parquet):
    """Rows that were left out must not shift the number by which the user finds the mistake."""
    rows[0]["dataset"] = "opencell"
    rows[5]["captions"]["domain_1"]["answer_idx"] = "9"
    refused(lambda: build_questions(load_benchmark(parquet(rows))), "row 5")


# Other types


def test_a_column_of_the_wrong_kind_is_named(rows, tmp_path):
    """Captions or questions stored as text (JSON), as after a detour through a CSV file."""
    for column in ("captions", "questions"):
        dataset = as_dataset(rows[:3]).remove_columns(column).add_column(column, ["{}"] * 3)
        dataset.to_parquet(tmp_path / f"{column}.parquet")
        refused(lambda name=column: build_questions(load_benchmark(str(tmp_path / f"{name}.parquet"))), column)


def typed(rows, path, change):
    """Write rows after a change of every row that the schema does not allow."""
    chosen = copy.deepcopy(rows[:3])
    for row in chosen:
        change(row)
    pq.write_table(pa.Table.from_pylist(chosen), path)
    return str(path)


def put(part, name, field, value):
    """Return a change of one field, or of a whole entry."""
    return lambda row: row[part].update({name: value}) if field is None else row[part][name].update({field: value})


WRONG = {
    "options are ints": ("captions", "modality_1", "options", [1, 2, 3, 4]),
    "options are floats": ("captions", "modality_0", "options", [1.0, float("nan")]),
    "options are truth values": ("captions", "modality_0", "options", [True, False]),
    "options are text": ("captions", "modality_1", "options", "hello"),
    "options are bytes": ("captions", "modality_1", "options", [b"a", b"b"]),
    "options are lists": ("captions", "modality_1", "options", [["a"], ["b"]]),
    "options are a number": ("captions", "modality_1", "options", 4),
    "options are a struct": ("captions", "modality_1", "options", {"a": "b"}),
    "labels are ints": ("questions", "modality", "options", [1, 2, 3, 4]),
    "labels are text": ("questions", "stain", "options", "hello"),
    "caption is text": ("captions", "modality_1", None, "hello"),
    "caption is a list": ("captions", "modality_1", None, ["hello"]),
    "question is text": ("questions", "modality", None, "hello"),
    "question is a number": ("questions", "subdomain", None, 1),
    "sentence is a number": ("captions", "domain_1", "question", 1),
    "words are a list": ("questions", "modality", "question", ["a"]),
}


@pytest.mark.parametrize("part, name, field, value", WRONG.values(), ids=WRONG)
def test_a_field_of_another_type_is_refused_with_row_and_field(rows, tmp_path, part, name, field, value):
    path = typed(rows, tmp_path / "rows.parquet", put(part, name, field, value))
    where = f"{part}.{name}.{field}" if field else f"{part}.{name}:"
    refused(lambda: build_questions(load_benchmark(path)), "row 0", rows[0]["image_id"], where, "expected")


@pytest.mark.parametrize("value", [1.5, float("inf"), float("nan"), 2**62, True, [1], {"a": 1}])
def test_answer_indices_of_other_types_are_refused(rows, tmp_path, value):
    path = typed(rows, tmp_path / "rows.parquet", put("captions", "modality_1", "answer_idx", value))
    refused(lambda: build_questions(load_benchmark(path)), "row 0", "captions.modality_1.answer_idx", "no index")


def test_whole_numbers_in_floats_are_answer_indices(rows, parquet, tmp_path):
    """As integers with gaps become in pandas."""
    plain = build_questions(load_benchmark(parquet(rows[:3])))

    def change(row):
        for part in (row["captions"], row["questions"]):
            for entry in filter(None, part.values()):
                entry["answer_idx"] = None if entry["answer_idx"] is None else float(entry["answer_idx"])

    assert build_questions(load_benchmark(typed(rows, tmp_path / "floats.parquet", change))).equals(plain)


def test_the_demo_schema_holds_what_these_tests_change(rows):
    assert len(list(entries(rows))) > 10 * len(rows) and len(as_dataset(rows)) == 40
