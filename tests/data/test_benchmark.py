"""Datasets: what is loaded, named, drawn, left out and refused."""

import copy
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.refusals import refused
from helpers.samples import as_dataset, png
from PIL import Image

from ubench_utils.data.benchmark import REQUIRED_COLUMNS, Rows, draw, load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.engine.work import picture

pytestmark = pytest.mark.usefixtures("cache")
REAL = Path(__file__).parents[3] / "shared" / "data" / "real_sample.parquet"


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
def test_a_missing_column_is_named(rows, parquet, column):
    path = parquet(rows[:3], drop=[column])
    refused(lambda: load_benchmark(path), "column", column)


def test_a_duplicate_key_is_named_with_its_row(rows, parquet):
    rows[7]["dataset"], rows[7]["image_id"] = rows[2]["dataset"], rows[2]["image_id"]
    refused(lambda: load_benchmark(parquet(rows)), "row 7", rows[2]["image_id"], rows[2]["dataset"])


def test_one_image_id_may_serve_two_datasets(rows, parquet):
    rows[4]["image_id"] = rows[0]["image_id"]
    assert len(load_benchmark(parquet(rows)).images) == len(rows)


def test_an_empty_dataset_is_refused(rows, tmp_path, parquet):
    path = parquet(rows[:1])
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    refused(lambda: load_benchmark(path), "no rows")
    as_dataset(rows[:1]).filter(lambda row: False, keep_in_memory=True).save_to_disk(tmp_path / "empty")
    refused(lambda: load_benchmark(str(tmp_path / "empty")), str(tmp_path / "empty"))


@pytest.mark.parametrize("content", [b"", b"not a parquet file", b"PAR1" + bytes(64) + b"PAR1"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_an_unreadable_file_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"broken.{suffix}"
    file.write_bytes(content)
    refused(lambda: load_benchmark(str(file)), "cannot read dataset", str(file))


def test_unknown_names_folders_and_limits_are_refused(tmp_path):
    refused(lambda: load_benchmark("no/such/thing"), "unknown dataset 'no/such/thing'")
    refused(lambda: load_benchmark(str(tmp_path)), "cannot read dataset")
    refused(lambda: load_benchmark("demo", limit=0), "limit is 0")


def test_held_rows_are_named_from_stain_and_class(rows, parquet):
    chosen = rows[:6]
    stains = ["H2B-mCherry", "GalT–EGFP", "mCherry-tubulin", "H2B-mCherry", "x", "GalT–EGFP"]
    labels = ["prophase", "golgi", "aster", "interphase", "bipolar_spindle", "midbody"]
    for row, stain, label in zip(chosen, stains, labels, strict=True):
        row |= {"dataset": None, "stain": stain, "label_name": label}
    benchmark = load_benchmark(parquet(chosen))
    kinds = ["h2b", "galt", "mt", "h2b", "mt", "mt"]
    assert list(benchmark.images.dataset) == [f"held_et_al_2010_{kind}" for kind in kinds]
    assert list(benchmark.images.scale) == ["subcellular"] * 6
    assert any(note.startswith("6 rows") for note in benchmark.notes)


@pytest.mark.parametrize("stain", ["GalT-EGFP", "H&E", None])  # a hyphen is no en dash: not on the Hub
def test_a_nameless_row_that_is_no_held_row_is_refused(rows, parquet, stain):
    rows[2] |= {"dataset": None, "stain": stain}
    refused(lambda: load_benchmark(parquet(rows)), "column dataset", "row 2", rows[2]["image_id"], "1 such rows")


def test_opencell_is_left_out_with_a_count(rows, parquet):
    for row in rows[10:13]:
        row["dataset"] = "opencell"
    benchmark = load_benchmark(parquet(rows))
    assert len(benchmark.images) == len(benchmark.rows) == 37
    assert "opencell" not in set(benchmark.images.dataset)
    assert list(benchmark.images.image_id) == list(benchmark.rows["image_id"])
    assert any(note.startswith("3 rows of opencell left out") for note in benchmark.notes)
    refused(lambda: load_benchmark(parquet([r for r in rows if r["dataset"] == "opencell"])), "only rows outside")


def test_scale_taxonomy_and_other_facets(rows, parquet):
    rows[0]["dataset"] = "kather_et_al_2016"
    rows[1] |= {"dataset": "someone_else", "stain": None, "ncbitaxon_name": None, "microns_per_pixel": None}
    images = load_benchmark(parquet(rows)).images.set_index("dataset")
    assert images.loc["kather_et_al_2016", "scale"] == "tissue"
    assert images.loc["kather_et_al_2016", "taxonomy"] == "Interpretation of neoplastic histopathology"
    unknown = images.loc["someone_else"]
    assert set(unknown[["scale", "taxonomy", "stain", "organism"]]) == {"not stated"}
    assert np.isnan(unknown.microns_per_pixel)
    assert set(images.loc["demo_organelle_tem", "scale"]) == {"subcellular"}
    assert set(images.loc["demo_colon", "organism"]) == {"Homo sapiens"}
    assert set(images.synthetic) == {"synthetic"}


def test_a_scale_column_of_the_rows_goes_before_ours(rows, tmp_path):
    scales = ["organ", None, "organ"]
    as_dataset(rows[:3]).add_column("scale", scales).to_parquet(tmp_path / "scaled.parquet")
    assert list(load_benchmark(str(tmp_path / "scaled.parquet")).images.scale) == ["organ", "subcellular", "organ"]


def test_the_fingerprint_is_of_the_content(rows, parquet):
    def fingerprint(changed, name):
        return load_benchmark(parquet(changed, f"{name}.parquet")).fingerprint

    original = fingerprint(rows, "original")
    assert fingerprint(rows[::-1], "reversed") == original
    assert fingerprint(rows[1:], "shorter") != original
    pixel, caption, question = (copy.deepcopy(rows) for _ in range(3))
    array = np.array(Image.open(io.BytesIO(rows[3]["image"]["bytes"])))
    assert fingerprint([*rows[:3], rows[3] | {"image": png(array)}, *rows[4:]], "png") != original  # bytes count
    array[5, 5, 0] ^= 1
    pixel[3]["image"] = png(array)
    caption[3]["captions"]["domain_0"]["options"][0] += " "
    question[3]["questions"]["subdomain"]["answer_idx"] = 5
    changed = [fingerprint(x, str(i)) for i, x in enumerate((pixel, caption, question))]
    assert len({original, *changed}) == 4


def test_every_way_of_storing_gives_the_same_fingerprint(rows, parquet, tmp_path):
    expected = load_benchmark(parquet(rows)).fingerprint
    as_dataset(rows).save_to_disk(tmp_path / "disk")
    parquet(rows[:15], "folder/a.parquet"), parquet(rows[15:], "folder/b.parquet")
    arrow = next((tmp_path / "disk").glob("*.arrow"))
    for path in (tmp_path / "disk", tmp_path / "folder", arrow):
        assert load_benchmark(str(path)).fingerprint == expected


def test_limit_draws_the_same_images_each_time(rows, parquet):
    path = parquet(rows)
    first, again = (load_benchmark(path, limit=12).images.image_id.tolist() for _ in range(2))
    assert first == again and len(set(first)) == 12 and first != [row["image_id"] for row in rows[:12]]
    whole = load_benchmark(path, limit=1000)
    assert len(whole.images) == len(rows) and not any("drawn at random" in note for note in whole.notes)


def test_limit_draws_of_each_sub_dataset_its_share(rows, parquet):
    for row in rows[:7]:
        row["dataset"] = "opencell"  # outside the official tables, so no part of what is drawn
    whole = load_benchmark(parquet(rows)).images.dataset.value_counts()
    drawn = load_benchmark(parquet(rows), limit=15)
    n = drawn.images.dataset.value_counts().reindex(whole.index, fill_value=0)
    assert len(whole) < 10 and n.sum() == 15 and ((n - 15 * whole / whole.sum()).abs() < 1).all()
    assert any(note.startswith("15 of 33 rows, of each sub-dataset its share") for note in drawn.notes)
    assert list(drawn.images.image_id) == list(drawn.rows["image_id"])


def test_a_sample_names_how_many_sub_datasets_it_misses():
    datasets = np.repeat(["large", "middle", "small"], [60, 38, 2])
    found = datasets[draw(datasets, 10)]
    assert [(found == name).sum() for name in ("large", "middle", "small")] == [6, 4, 0]
    assert len(draw(datasets, 1000)) == 100 and (np.diff(draw(datasets, 50)) > 0).all()


@pytest.mark.skipif(not REAL.exists(), reason="needs the project's shared data")
def test_the_real_sample_is_as_documented():
    """Counts of the README beside the file: per question type, two wordings each."""
    benchmark = load_benchmark(str(REAL))
    table = build_questions(benchmark)
    counts = dict.fromkeys(["modality", "submodality", "domain", "subdomain"], 306) | {
        "stain": 261,
        "classification": 246,
    }
    assert Counter(table.question) == {name: 2 * n for name, n in counts.items()}
    assert sum(table.question != "subdomain") == 2850  # filled captions
    assert dict(Counter(benchmark.images.dataset)) == {
        "bccd": 60,
        "bbbc038_fluorescence": 60,
        "bbbc038_histology": 36,
        "isbi_2012_em": 54,
        "cellprofiler_fluorescence": 45,
        "cellprofiler_transfluor": 21,
        "cellprofiler_wound_healing": 24,
        "cellprofiler_worms_brightfield": 6,
    }
    nulls = benchmark.images.dataset.isin(["isbi_2012_em", "cellprofiler_worms_brightfield"])
    fine = set(table[table.question == "classification"].image_id)
    assert fine == set(benchmark.images.image_id[~nulls])
    assert not benchmark.is_synthetic and (table.options.map(lambda o: o[-1]) == "none of the above").all()
    assert (table.answer_idx < table.n_options - 1).all()


def test_columns_under_other_names_are_missing(rows, tmp_path):
    table = as_dataset(rows[:1]).data.table
    pq.write_table(table.rename_columns([name.upper() for name in table.column_names]), tmp_path / "a.parquet")
    refused(lambda: load_benchmark(str(tmp_path / "a.parquet")), "lacks the columns image_id, image, label_name")


def test_a_part_holds_the_pictures_of_one_sub_dataset(cache, parquet, rows):
    loaded = load_benchmark(parquet(rows))
    for whole in (loaded, replace(loaded, rows=Rows(lambda: loaded.rows))):
        for name, own in whole.images.groupby("dataset"):
            part = whole.part(name)
            assert list(part.images.image_id) == list(own.image_id) and list(part.images.index) == list(range(len(own)))
            for place, row in enumerate(own.index):
                assert part.image_bytes(place) == whole.image_bytes(row)
            assert picture(part, len(own) - 1).tobytes() == picture(whole, own.index[-1]).tobytes()
