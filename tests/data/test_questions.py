"""Options as found: what is no option, which questions nobody can answer, and what is refused in one line."""

import copy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.refusals import refused
from helpers.samples import as_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ubench_utils.data.benchmark import load_benchmark
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


# Other types


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
