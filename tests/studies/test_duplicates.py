"""Copies are found, and nothing else: planted ones, all pairs against brute force, damaged files left out."""

import io

import numpy as np
import pandas as pd
import pytest
from helpers.samples import png
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.pixels import decode
from ubench_utils.errors import first_line
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.studies import benchmark as explore
from ubench_utils.studies import duplicates


def copies_of(counts):
    return sentences.sentence("benchmark", "copies", copies=duplicates.totals(counts))


def near(run, counts):
    return sentences.sentence("benchmark", "near", **duplicates.context(run, counts, counts))


def unread(looked):
    return sentences.sentence("benchmark", "unread", **explore.opened(looked))


def stored(looked):
    return sentences.sentence("benchmark", "pictures", **explore.opened(looked))


def as_cell(image, kind="PNG", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return {"bytes": buffer.getvalue(), "path": None}


def distance(one, other):
    return int((duplicates.perceptual_hash(one) != duplicates.perceptual_hash(other)).sum())


@pytest.fixture
def pictures(rows):
    return [decode(row["image"]["bytes"]) for row in rows]


def test_the_hash_survives_size_brightness_and_format(pictures):
    for image in pictures[::3]:
        doubled = image.resize((128, 128), Image.Resampling.BICUBIC)
        dimmed = Image.eval(image, lambda value: int(0.9 * value + 8))
        jpeg = decode(as_cell(image, "JPEG", quality=90)["bytes"])
        assert max(distance(image, other) for other in (doubled, dimmed, jpeg)) <= duplicates.HAMMING


def test_the_hash_tells_images_apart(pictures):
    apart = [distance(one, other) for one, other in zip(pictures, pictures[7:], strict=False)]
    assert min(apart) > duplicates.HAMMING and 20 < np.median(apart) < 40


def test_a_blank_image_has_an_empty_hash():
    for grey in (0, 77, 255):
        assert not duplicates.perceptual_hash(Image.new("RGB", (50, 40), (grey,) * 3)).any()


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_all_pairs_agree_with_brute_force(block):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = rng.choice(["a", "b", "c"], 30)
    found = duplicates.neighbours(vectors, groups, 0.6, block)
    for i in range(30):
        product = {j: vectors[i] @ vectors[j] for j in range(30) if j != i}
        assert found.partner[i] == max(product, key=product.get)
        for where, same in (("within", True), ("across", False)):
            of_kind = [p for j, p in product.items() if (groups[i] == groups[j]) == same]
            assert found[f"pairs_{where}"][i] == sum(p >= 0.6 for p in of_kind)
            assert found[f"nearest_{where}"][i] == pytest.approx(max(of_kind), abs=1e-6)


def test_what_has_no_neighbour_has_none():
    alone = duplicates.neighbours(np.ones((1, 3)), ["a"], 0.5).squeeze()
    assert alone.partner == -1 and alone.pairs_within == alone.pairs_across == 0 and np.isnan(alone.nearest_within)
    one_set = duplicates.neighbours(np.eye(3), ["a"] * 3, 0.5)
    assert one_set.nearest_across.isna().all() and (one_set.nearest_within == 0).all()
    assert duplicates.neighbours(np.ones((0, 3)), [], 0.5).empty


def planted(rows):
    """Rows with the same file in one sub-dataset, a JPEG copy in another, and a larger copy in a third."""
    image = decode(rows[0]["image"]["bytes"])
    rows[1]["image"] = dict(rows[0]["image"])
    rows[9]["image"] = as_cell(image, "JPEG", quality=90)
    rows[21]["image"] = as_cell(image.resize((150, 150), Image.Resampling.BICUBIC))
    assert len({rows[i]["dataset"] for i in (0, 9, 21)}) == 3 and rows[0]["dataset"] == rows[1]["dataset"]
    return rows


def counted(benchmark):
    looked = duplicates.look(benchmark)
    found = duplicates.counts({"file": duplicates.identical(looked), "hash": duplicates.alike(looked)})
    return {(row.kind, row.where): (row.pairs, row.images) for row in found.itertuples()}


@pytest.mark.usefixtures("cache")
def test_planted_copies_are_found_and_no_others(rows, parquet):
    before = counted(load_benchmark(parquet(rows, "before.parquet")))
    assert all(value == (0, 0) for value in before.values())
    found = counted(load_benchmark(parquet(planted(rows))))
    assert found["file", "within"] == (1, 2) and found["file", "across"] == (0, 0)
    assert found["hash", "within"] == (1, 2)  # four images alike: six pairs, one of them within
    assert found["hash", "across"] == (5, 4)
    assert counted(load_benchmark(parquet(rows[::-1], "reversed.parquet"))) == found


def test_identical_files_are_identical_to_a_model(rows, parquet, cache):
    run = evaluate(parquet(planted(rows)), ["random", "demo-base"])
    assert duplicates.first_encoder(run) == "demo-base"
    table = duplicates.close_in_embedding(run, 1 - 1e-6)
    twins = table[table.pairs_within > 0]
    assert set(twins.image_id) == {rows[0]["image_id"], rows[1]["image_id"]} and len(table) == 40
    assert table.loc[twins.partner].image_hash.tolist() == twins.image_hash.tolist()
    line = near(run, duplicates.counts({"embedding": table}))
    assert "1 pair, 0 across" in line and "demo-base" in line
    loose = duplicates.counts({"embedding": duplicates.close_in_embedding(run, -1)})
    assert loose.pairs.sum() == 40 * 39 // 2


def test_without_a_model_that_encodes_the_page_says_so(rows, parquet, cache):
    run = evaluate(parquet(rows), ["random"])
    assert duplicates.first_encoder(run) is None and duplicates.close_in_embedding(run) is None
    none = duplicates.counts({"embedding": None})
    assert none.empty and "not looked for" in near(run, none)
    hashed = duplicates.alike(duplicates.look(run.benchmark))
    assert list(duplicates.nearness(run, hashed, None)) == ["equal bits of 64"]


def test_a_reason_holds_no_address_in_memory():
    with pytest.raises(Image.UnidentifiedImageError) as caught:
        Image.open(io.BytesIO(b"no image"))
    assert " at 0x" in str(caught.value)
    assert first_line(caught.value) == "UnidentifiedImageError: cannot identify image file"


@pytest.mark.parametrize("broken", [{"bytes": b"no image", "path": None}, None])
def test_an_unreadable_image_is_named_and_left_out(rows, parquet, cache, broken):
    rows = planted(rows)
    rows[17]["image"] = broken
    run = evaluate(parquet(rows), ["random", "demo-base"])
    looked = duplicates.look(run.benchmark)
    line = unread(looked)
    assert line.startswith("1 of 40 images could not be opened and is left out") and " at 0x" not in line
    assert f"{rows[17]['dataset']}/{rows[17]['image_id']} (" in line
    hashed, embedded = duplicates.alike(looked), duplicates.close_in_embedding(run)
    for table in (hashed, embedded):
        assert len(table) == 39 and rows[17]["image_id"] not in set(table.image_id)
    assert hashed.loc[21].pairs_across == 3 and hashed.loc[18].pairs_across == 0  # the index still names the row
    assert unread(looked[looked.unreadable == ""]) == "All 39 images could be opened."


@pytest.mark.usefixtures("cache")
def test_no_readable_image_at_all(rows, parquet):
    rows = rows[:3]
    for row in rows:
        row["image"] = None
    looked = duplicates.look(load_benchmark(parquet(rows)))
    assert unread(looked).startswith("3 of 3 images could not be opened and are left out")
    hashed = duplicates.alike(looked)
    assert hashed.empty and duplicates.closest(hashed).empty
    assert duplicates.counts({"hash": hashed}).pairs.sum() == 0
    assert len(duplicates.counts({"hash": hashed})) == 2


@pytest.mark.usefixtures("cache")
def test_the_closest_pairs_come_first_and_an_image_once(rows, parquet):
    hashed = duplicates.alike(duplicates.look(load_benchmark(parquet(planted(rows)))))
    pairs = duplicates.closest(hashed, 5)
    shown = [*pairs["first"], *pairs["second"]]
    assert len(pairs) == 5 and len(set(shown)) == 10
    assert {pairs["first"][0], pairs["second"][0]} <= {0, 1, 9, 21} and pairs.nearest[0] == 64
    assert pairs.nearest.is_monotonic_decreasing


def test_sentences_and_table_hold_the_counts():
    table = duplicates.counts({"copies": None})
    assert copies_of(table) == ""
    images = pd.DataFrame({"pairs_within": [1, 1, 0], "pairs_across": [0, 1, 1]})
    counts = duplicates.counts({"copies": images})
    assert copies_of(counts) == "Copies: 2 pairs, 1 across sub-datasets, among 3 images."
    assert counts.share.tolist() == [2 / 3, 2 / 3]


@pytest.mark.usefixtures("cache")
def test_how_pictures_are_stored_is_counted_by_sub_dataset(rows, parquet):
    dark = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    rows[0]["image"], rows[1]["image"] = png(dark), png(dark[:, :32] + 1)
    exif = Image.Exif()
    exif[274] = 6
    rows[2]["image"] = as_cell(decode(rows[2]["image"]["bytes"]).crop((0, 0, 64, 48)), exif=exif)
    rows[3]["image"] = {"bytes": b"no image", "path": None}
    looked = duplicates.look(load_benchmark(parquet(rows)))
    assert (looked.width[2], looked.height[2]) == (48, 64)  # as shown
    table = explore.pictures(looked).set_index("dataset")
    own = table.loc[rows[0]["dataset"]]
    columns = ["images", "format", "bits", "dim", "turned", "unreadable"]
    assert own[columns].tolist() == [4, "PNG", "16 (2), 8 (1)", 2, 1, 1]
    assert 6 <= own.brightest_low < 7
    assert own[["width_low", "width_high", "height_low", "height_high"]].tolist() == [32, 64, 64, 64]
    others = table.drop(rows[0]["dataset"])
    assert (others[["dim", "transparent", "turned", "copies", "unreadable"]] == 0).all(axis=None)
    line = stored(looked)
    assert "2 of 39 images use less than 1/16 of their range" in line and "1 of 39 images is turned" in line
    assert stored(looked[10:]) == "No file needed more than decoding."


def test_an_image_replaced_since_it_was_hashed_is_no_picture_of_the_dataset(rows, parquet, cache, monkeypatch):
    benchmark = load_benchmark(parquet(rows))
    read = type(benchmark).image_bytes
    monkeypatch.setattr(type(benchmark), "image_bytes", lambda self, row: read(self, 5 if row == 4 else row))
    assert unread(duplicates.look(benchmark)).startswith("1 of 40 images could not be opened")
