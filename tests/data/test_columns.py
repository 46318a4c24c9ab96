"""Columns of any type: read where certain, else one line that names the column; what says nothing is counted."""

import copy
from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.refusals import refused
from helpers.samples import as_dataset

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.usefixtures("cache")
NAMES = ["modality", "submodality", "stain", "domain", "subdomain", "dataset", "label_name", "scale", "ncbitaxon_name"]
SMALL = "fewer than 5 images"


@pytest.fixture(scope="module")
def base(demo_rows):
    """Ten rows of the demo as an Arrow table, one of each sub-dataset."""
    return as_dataset(copy.deepcopy(demo_rows[::4])).data.table.replace_schema_metadata(None)


@pytest.fixture
def with_column(base, tmp_path):
    """Load the ten rows with one column replaced or added."""

    def load(column, values):
        values = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        place = base.schema.get_field_index(column)
        table = base.append_column(column, values) if place < 0 else base.set_column(place, column, values)
        pq.write_table(table, tmp_path / "rows.parquet")
        return load_benchmark(str(tmp_path / "rows.parquet"))

    return load


def notes(benchmark):
    return [note for note in benchmark.notes if SMALL not in note and "scale not stated" not in note]


NO_NAMES = {
    "ints": range(10),
    "one int": [1] * 10,
    "floats": [1.5, float("nan")] * 5,
    "bools": [True, False] * 5,
    "bytes": [b"\xff\xfe"] * 10,
    "lists": [["a"]] * 10,
    "structs": [{"a": 1}] * 10,
    "dates": [datetime(2026, 1, 1)] * 10,
}


@pytest.mark.parametrize("values", NO_NAMES.values(), ids=NO_NAMES)
def test_what_is_no_name_is_refused_with_its_column(with_column, values):
    for column in NAMES:
        refused(lambda column=column: with_column(column, list(values)), f"column {column}", "expected", "ClassLabel")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_may_be_stored_in_any_way(with_column, base, kind):
    plain = with_column("stain", base["stain"])
    for column in ("stain", "dataset", "image_id", "label_name"):
        array = base[column].combine_chunks()
        array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)
        found = with_column(column, array)
        assert found.images.equals(plain.images) and found.fingerprint == plain.fingerprint


@pytest.mark.parametrize("values", [pa.nulls(10), [float("nan")] * 10, [""] * 10, [" \t"] * 10, [None] * 10])
def test_what_is_empty_is_not_stated(with_column, values):
    for column in ("stain", "modality", "ncbitaxon_name", "scale"):
        images = with_column(column, values).images
        facet = images[{"ncbitaxon_name": "organism"}.get(column, column)]
        assert set(facet) == ({"not stated"} if column != "scale" else set(facet) - {"", " \t"})
    refused(lambda: with_column("dataset", values), "column dataset, row", "name it")
    refused(lambda: with_column("image_id", values), "column image_id", "in row 0")


def test_a_name_is_one_whatever_blanks_and_accents(with_column):
    """Else one stain would be two slices; the count is told."""
    benchmark = with_column("stain", ["H&E", "H&E ", " H&E", "H&E\n", "\u00a0H&E", "é", "e\u0301", "None", "NaN", None])
    stains = benchmark.images.stain.tolist()
    assert stains == ["H&E"] * 5 + ["é"] * 2 + ["None", "NaN", "not stated"]
    assert len(notes(benchmark)) == 1 and notes(benchmark)[0].startswith("5 values of stain have blanks around them")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31mred", "a\0b", "a\x7fb"])
def test_control_characters_in_names_are_refused(with_column, name):
    for column in ("dataset", "image_id", "stain", "label_name"):
        values = [f"{name}{i}" if i == 7 else f"x{i}" for i in range(10)]
        refused(lambda c=column, v=values: with_column(c, v), f"column {column}, row 7", "control character")


def test_odd_names_are_names(with_column):
    odd = ["$a_$b", "../../x", "a/b", "x" * 300, "%s{0}", "日本", "=cmd|1", "{{x}}", "<b>", "\u202eabc"]
    for column in ("dataset", "image_id", "stain"):
        run = evaluate(with_column(column, odd), ["random"])
        assert run.benchmark.images[column].tolist() == odd
        assert len(run.answers) == len(run.questions)


def test_image_ids_of_numbers_are_text(with_column):
    large = (np.arange(10) + 2**60).tolist()
    assert with_column("image_id", large).images.image_id.tolist() == [str(number) for number in large]
    for values in ([True] * 10, [b"a"] * 10, [["a"]] * 10):
        refused(lambda values=values: with_column("image_id", values), "column image_id")
    refused(lambda: with_column("image_id", [*large[:4], None, *large[5:]]), "column image_id: null in row 4")


SIZES = {
    "numbers": ([0.5] * 10, 0.5, 0),
    "decimals": ([Decimal("0.5")] * 10, 0.5, 0),
    "ints": ([2] * 10, 2, 0),
    "text": (["0.5", " 0.5 ", "5e-1", "+.5", "0.50"] * 2, 0.5, 0),
    "unknown": (["unknown"] * 10, np.nan, 10),
    "other ways to write it": (["0,5", "0.5 µm", "1_0", "٢", "0x1"] * 2, np.nan, 10),
    "not positive": ([-1.0, 0.0] * 5, np.nan, 10),
    "not finite": ([float("inf"), float("-inf")] * 5, np.nan, 10),
    "not finite, as text": (["inf", "1e400"] * 5, np.nan, 10),
    "missing": ([float("nan"), None] * 5, np.nan, 0),
    "empty": (["", " "] * 5, np.nan, 0),
    "null": (pa.nulls(10), np.nan, 0),
}


@pytest.mark.parametrize("values, size, unread", SIZES.values(), ids=SIZES)
def test_pixel_sizes_are_positive_numbers_or_not_stated(with_column, values, size, unread):
    benchmark = with_column("microns_per_pixel", values)
    found = benchmark.images.microns_per_pixel
    assert found.dtype == np.float64 and np.array_equal(found, [size] * 10, equal_nan=True)
    assert len(notes(benchmark)) == bool(unread)
    assert not unread or notes(benchmark)[0].startswith(f"{unread} pixel sizes are no positive number, such as")


@pytest.mark.parametrize("values", [[[1.0]] * 10, [{"x": 1.0}] * 10, [True] * 10, [b"1"] * 10, [datetime.now()] * 10])
def test_pixel_sizes_of_other_types_are_refused(with_column, values):
    refused(lambda: with_column("microns_per_pixel", values), "column microns_per_pixel", "numbers are expected")


@pytest.mark.parametrize("yes, no", [(True, False), (1, 0), (1.0, 0.0), ("yes", "no"), (" TRUE", "False"), ("1", "0")])
def test_synthetic_may_be_written_in_several_ways(with_column, yes, no):
    found = with_column("synthetic", [yes, no, None] * 3 + [no]).images.synthetic
    assert found.tolist() == ["synthetic", "real", "not stated"] * 3 + ["real"]


@pytest.mark.parametrize("value", [2, 0.5, "maybe", "y.", b"1", ["yes"]])
def test_synthetic_is_never_guessed(with_column, value):
    refused(lambda: with_column("synthetic", [value] * 10), "column synthetic")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("in_struct", [False, True])
def test_image_bytes_may_be_stored_in_any_way(with_column, base, kind, in_struct):
    plain = with_column("image", base["image"])
    cells = base["image"].combine_chunks().field("bytes").cast(kind)
    found = with_column("image", pa.StructArray.from_arrays([cells], ["bytes"]) if in_struct else cells)
    assert found.fingerprint == plain.fingerprint and found.image_bytes(3) == plain.image_bytes(3)


NO_IMAGES = [1, [1, 2], {"file": "x.png"}, {"bytes": "abc"}, {"bytes": b"", "path": 1}]


@pytest.mark.parametrize("value", NO_IMAGES, ids=str)
def test_what_is_no_image_is_refused(with_column, value):
    refused(lambda: with_column("image", [value] * 10), "column image: expected image bytes")


def test_a_column_that_is_there_twice_is_refused(base, tmp_path):
    pq.write_table(base.append_column("stain", base["modality"]), tmp_path / "rows.parquet")
    refused(lambda: load_benchmark(str(tmp_path / "rows.parquet")), "column stain", "2 of this name")


def test_text_that_is_none_is_refused_in_one_line(with_column):
    buffers = [None, pa.py_buffer(np.arange(11, dtype=np.int32).tobytes()), pa.py_buffer(b"\xff" * 10)]
    stains = pa.Array.from_buffers(pa.string(), 10, buffers)
    refused(lambda: with_column("stain", stains), "cannot read dataset", "Invalid UTF8")


@pytest.mark.parametrize("limit", [0, -1, 5.0, "5", True])
def test_a_limit_is_a_whole_number(limit):
    refused(lambda: load_benchmark("demo", limit=limit), f"limit is {limit}")


def test_nested_texts_may_be_stored_in_any_way(with_column, base):
    """Captions as pandas and other programs write them: categories, views, large lists."""
    plain = build_questions(with_column("captions", base["captions"]))

    def typed(kind, text, lists):
        if pa.types.is_struct(kind):
            return pa.struct([(field.name, typed(field.type, text, lists)) for field in kind])
        if pa.types.is_list(kind):
            return lists(typed(kind.value_type, text, lists))
        return text if pa.types.is_string(kind) else kind

    for text, lists in ((pa.dictionary(pa.int32(), pa.string()), pa.list_), (pa.large_string(), pa.large_list)):
        kind = typed(base["captions"].type, text, lists)
        found = with_column("captions", pa.array(base["captions"].to_pylist(), kind))
        assert build_questions(found).equals(plain)


def test_questions_may_be_a_list_with_their_names(with_column, base):
    plain = build_questions(with_column("captions", base["captions"]))
    listed = [[{**entry, "name": name} for name, entry in row.items() if entry] for row in base["captions"].to_pylist()]
    assert build_questions(with_column("captions", pa.array(listed))).equals(plain)
    for names in (["modality_0", "modality_0"], ["modality_0", None]):
        wrong = [*listed[:1], [entry | {"name": name} for entry, name in zip(listed[1], names, strict=False)]]
        wrong += listed[2:]
        refused(
            lambda wrong=wrong: build_questions(with_column("captions", pa.array(wrong))), "row 1", "name` of its own"
        )
    texts = pa.array([["a"]] * len(listed))
    refused(lambda: with_column("captions", texts), "column captions", "or a list of structs with their `name`")
