"""Pixel size, field of view and the resolution sweep: sizes, keys and differences are what was constructed."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.samples import png
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.pixels import Unreadable
from ubench_utils.data.questions import build_questions
from ubench_utils.engine.work import picture
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import sentences
from ubench_utils.statistics import scores
from ubench_utils.statistics.resampling import resamples
from ubench_utils.studies import overview
from ubench_utils.studies import scale as resolution
from ubench_utils.studies.scale import (
    by_size,
    changes,
    image_sizes,
    shrinking,
    shrunk,
    shrunk_size,
    stated_sizes,
    sweep,
)

pytestmark = pytest.mark.usefixtures("cache")
KEY = ["dataset", "image_id"]


def run_of(path, *models):
    return evaluate(path, list(models), device="cpu", precision="float32")


# Field of view


def test_sizes_come_from_the_header(rows, parquet):
    rows[0]["image"] = png(np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8))
    rows[0]["microns_per_pixel"] = 0.5
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:60]  # header whole, pixels cut off
    rows[2]["image"]["bytes"] = b"no image"
    rows[3]["microns_per_pixel"] = 0.0
    rows[4]["microns_per_pixel"] = None
    benchmark = load_benchmark(parquet(rows[:6]))
    sizes = image_sizes(benchmark)
    assert sizes[KEY].equals(benchmark.images[KEY])
    assert sizes.loc[0, ["width", "height", "microns_per_pixel", "field_of_view"]].tolist() == [50, 30, 0.5, 25]
    with pytest.raises(Unreadable, match=r"[Tt]runcated"):
        picture(benchmark, 1)
    assert sizes.width[1] == 64 and sizes.field_of_view[1] == pytest.approx(64 * rows[1]["microns_per_pixel"])
    assert sizes.loc[2, ["width", "height", "field_of_view"]].isna().all() and sizes.microns_per_pixel[2] > 0
    assert sizes.loc[3:4, ["microns_per_pixel", "field_of_view"]].isna().all(axis=None) and sizes.width[3] == 64
    text = said("sizes", stated_sizes(sizes))
    assert (
        "4 of 6 images" in text
        and f"{rows[0]['dataset']} (1)" in text
        and "Images without a readable header: 1." in text
    )


def test_a_dataset_that_states_no_pixel_size(rows, parquet):
    run = run_of(parquet(rows[:8], drop=["microns_per_pixel"]), "random")
    sizes = image_sizes(run.benchmark)
    points = by_size(run.answers, sizes)
    assert sizes.microns_per_pixel.isna().all() and (sizes.width == 64).all() and points.empty
    assert "stated for 0 of 8 images" in said("sizes", stated_sizes(sizes))
    assert resolution.by_dataset(sizes).microns_per_pixel_low.isna().all()


def constructed(sets, models=("demo-base",), n=40, seed=0):
    """Answers to one fine-grained question an image, and sizes; ``sets[name]`` is (pixel size, share right)."""
    rng = np.random.default_rng(seed)
    images = pd.DataFrame(
        [
            {"dataset": name, "image_id": f"{name}/{i}", "microns_per_pixel": size, "right": share}
            for name, (size, share) in sets.items()
            for i in range(n)
        ]
    )
    sizes = images[[*KEY, "microns_per_pixel"]].assign(width=100.0, height=80.0)
    sizes["field_of_view"] = sizes.microns_per_pixel * sizes.width
    rows = images.merge(pd.DataFrame({"model": list(models)}), "cross")
    rows = rows.assign(question="classification", level="fine", wording=1, n_options=5, scale="tissue")
    rows["correct"] = rng.random(len(rows)) < rows.right
    return rows, sizes


def test_points_are_the_scores_of_sub_datasets():
    rows, sizes = constructed({"a": (0.1, 0.9), "b": (2.0, 0.5), "c": (np.nan, 0.7)})
    points = by_size(rows, sizes).query("measure == 'field_of_view'").set_index("dataset")
    assert sorted(points.index) == ["a", "b"] and points["size"].to_dict() == pytest.approx({"a": 10, "b": 200})
    for name in ("a", "b"):
        share = rows[rows.dataset == name].correct.mean()
        low, high = scores.wilson(share * 40, 40)
        assert points.chance_corrected[name] == pytest.approx((share - 0.2) / 0.8)
        assert points.low[name] == pytest.approx((low - 0.2) / 0.8) and points.n_questions[name] == 40
        assert points.high[name] == pytest.approx((high - 0.2) / 0.8)
    assert by_size(rows[rows.dataset == "c"], sizes).empty


def test_a_sub_dataset_of_many_pixel_sizes_is_taken_apart_by_octaves():
    rows, sizes = constructed({"a": (1.0, 0.5)})
    mixed = sizes.assign(microns_per_pixel=np.repeat([1.0, 1.9, 2.1, 8.0], 10))
    points = by_size(rows, mixed).query("measure == 'microns_per_pixel'")
    assert points["size"].to_numpy() == pytest.approx([np.sqrt(1.9), 2.1, 8]) and [*points.n_questions] == [20, 10, 10]


# The sweep


def test_shrunk_images_have_the_size_the_keys_and_the_questions(rows, parquet):
    rng = np.random.default_rng(0)
    rows[0]["image"] = png(rng.integers(0, 255, (40, 120), dtype=np.uint8))
    rows[1]["image"] = png(rng.integers(0, 65535, (64, 64), dtype=np.uint16))
    rows[2]["image"] = png(rng.integers(0, 255, (5, 9, 3), dtype=np.uint8))
    benchmark = load_benchmark(parquet(rows))
    smaller = shrunk(benchmark, 4)
    sizes = image_sizes(smaller)
    assert sizes.loc[:3, ["width", "height"]].to_numpy().tolist() == [[30, 10], [16, 16], [9, 5], [16, 16]]
    assert smaller.images.drop(columns="image_hash").equals(benchmark.images.drop(columns="image_hash"))
    assert not set(smaller.images.image_hash) & set(benchmark.images.image_hash)
    columns = ["dataset", "image_id", "question", "wording", "options", "answer_idx"]
    assert build_questions(smaller)[columns].equals(build_questions(benchmark)[columns])
    prints = {benchmark.fingerprint, *(shrunk(benchmark, factor).fingerprint for factor in (1, 2, 4))}
    assert len(prints) == 4 and shrunk(benchmark, 4).fingerprint == smaller.fingerprint
    twice = shrunk(shrunk(benchmark, 2), 2)
    assert image_sizes(twice).equals(sizes) and twice.fingerprint != smaller.fingerprint


def test_shrinking_is_the_mean_over_an_area(rows, parquet):
    block = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    rows[0]["image"] = png(block)
    small = np.asarray(picture(shrunk(load_benchmark(parquet(rows[:1])), 4), 0), dtype=float)
    means = block.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert small.shape == (16, 16, 3) and np.abs(small - means).max() <= 1


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((64, 64), 8, (8, 8)),
        ((64, 64), 100, (8, 8)),
        ((100, 40), 8, (20, 8)),
        ((6, 300), 2, (6, 300)),
        ((65, 33), 2, (32, 16)),
        ((64, 64), 1, (64, 64)),
        ((90, 60), 1.5, (60, 40)),
    ],
)
def test_shrunk_size_keeps_a_few_pixels_and_the_shape(size, factor, expected):
    assert shrunk_size(*size, factor) == expected


@pytest.mark.parametrize("factor", [0.5, 0, -2, "4", None, True, float("inf"), float("nan")])
def test_a_factor_that_is_none_is_refused(factor):
    with pytest.raises(UserError, match=r"at least 1, say \[2, 4, 8\]"):
        sweep(SimpleNamespace(), [2, factor])


@pytest.mark.parametrize("factors", [3, None, "hello"])
def test_factors_that_are_no_list_are_refused(factors):
    with pytest.raises(UserError, match=rf"^shrink is {factors!r}: write a list of numbers .* say \[2, 4, 8\]$"):
        sweep(SimpleNamespace(), factors)


def test_factor_one_leaves_pixels_and_answers_bit_identical(rows, parquet):
    path = parquet(rows[:12])
    benchmark = load_benchmark(path)
    same = shrunk(benchmark, 1)
    for row in range(12):
        one, other = (np.asarray(picture(of, row)) for of in (benchmark, same))
        assert np.array_equal(one, other)
    first, second = run_of(path, "demo-base"), run_of(same, "demo-base")
    order = ["dataset", "image_id", "question", "wording"]
    one, other = (run.predictions.sort_values(order, ignore_index=True) for run in (first, second))
    assert one.drop(columns=["p_answer", "p_predicted"]).equals(other.drop(columns=["p_answer", "p_predicted"]))
    assert one.p_answer.to_numpy() == pytest.approx(other.p_answer.to_numpy(), abs=1e-5)  # batches are ordered anew


def test_failed_images_stay_and_fail_for_the_same_reason(rows, parquet):
    rows[0]["image"]["bytes"] = rows[0]["image"]["bytes"][:60]
    rows[1]["image"] = None
    run = run_of(parquet(rows[:10]), "demo-base")
    again = run_of(shrunk(run.benchmark, 2), "demo-base")
    assert len(again.benchmark.images) == 10 and len(run.failures) == 2
    assert again.failures.sort_values("image_id", ignore_index=True).equals(
        run.failures.sort_values("image_id", ignore_index=True)
    )


def test_a_second_sweep_encodes_nothing_and_imports_no_torch(rows, parquet):
    path = parquet(rows[:6])
    run = run_of(path, "demo-base", "random")
    swept = sweep(run, [2])
    assert set(swept.model) == {"demo-base"} and sorted(set(swept.factor)) == [1, 2]
    program = """
import sys
from PIL import Image
from ubench_utils.studies import overview
from ubench_utils.studies import scale as resolution
from ubench_utils.evaluation.evaluate import evaluate
Image.Image.resize = None
swept = resolution.sweep(evaluate(sys.argv[1], ["demo-base"], device="cpu", precision="float32"), [2])
assert len(swept) and not {"torch", "open_clip"} & set(sys.modules), "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def swept_by_hand(lost=12, gained=4, n=60):
    """Two sizes of constructed answers: of ``n`` questions, some right at native size are lost and some gained."""
    rows, _ = constructed({"a": (1, 1), "b": (1, 1)}, n=n // 2)
    native = rows.assign(correct=np.arange(n) < 40, factor=1.0)
    small = native.assign(factor=4.0, correct=[(lost <= i < 40) or 40 <= i < 40 + gained for i in range(n)])
    return pd.concat([native, small], ignore_index=True)


def test_constructed_differences_are_recovered():
    table = changes(swept_by_hand())
    row = table[(table.by == "all") & (table.level == "fine")].iloc[0]
    assert (row.model, row.factor, row.n_questions) == ("demo-base", 4.0, 60)
    assert row.estimate == pytest.approx(-8 / 60) and (row.lost, row.gained) == (12, 4)
    assert row.ci_low < row.estimate < row.ci_high and set(table.by) == {"all", "scale"}
    assert resolution.of_levels(table).estimate.tolist() == [row.estimate]
    clear = lost(changes(swept_by_hand(lost=30, gained=0)))
    assert "a loss for demo-base (−50.0" in clear and "shrunk by 4" in clear
    assert "no clear change" in lost(changes(swept_by_hand(lost=3, gained=3)))


def said(name, found):
    return sentences.sentence("scale", name, **found)


def lost(table):
    rows, _ = constructed({"a": (1, 0.8)})
    named = overview.slices(resamples(50)(scores.score)(rows, by=["scale"]), "scale", "classification")
    nobody = SimpleNamespace(record={"models": {}}, benchmark=SimpleNamespace(pictures=[]))
    return said("answer", {"slices": named, **shrinking(nobody, table)})


def test_the_native_size_is_the_start_of_every_line():
    table = changes(swept_by_hand(lost=12, gained=4))
    start = resolution.with_native(table).query("factor == 1")
    assert len(start) == len(table) and (start.estimate == 0).all() and start.ci_low.isna().all()
    assert len(resolution.with_native(table)) == 2 * len(table)


def test_models_that_reply_look_again_at_a_sample_and_the_page_says_so(rows, parquet, monkeypatch):
    run = run_of(parquet(rows), "demo-base", "demo-speaker")
    assert not shrinking(run, changes(sweep(run, [4])))["sampled"]
    monkeypatch.setattr(resolution, "REPLIES", 20)
    swept = sweep(run, [4])
    images = swept[swept.factor == 4].drop_duplicates(["model", *KEY])[["model", "dataset"]].value_counts()
    assert len(images) == 20 and (images["demo-base"] == 4).all() and (images["demo-speaker"] == 2).all()
    table = changes(swept).query("by == 'all' and question == 'all'").set_index(["model", "level"])
    for (model, level), row in table.iterrows():
        own = swept[(swept.model == model) & (swept.level == level)]
        native, shrunken = (own[own.factor == of].set_index([*KEY, "question"]).correct for of in (1, 4))
        assert row.n_questions == len(shrunken)  # paired: of the native answers those to the same questions
        assert row.estimate == pytest.approx(shrunken.mean() - native[shrunken.index].mean(), abs=1e-6)
    text = said("shrunk", shrinking(run, table.reset_index()))
    assert "demo-speaker was asked about a sample of 20 images of 40." in text


def test_no_sweep_is_said_plainly(rows, parquet):
    run = run_of(parquet(rows[:4]), "random")
    for factors in ([2], []):
        table = changes(sweep(run, factors))
        assert table.empty and resolution.of_levels(table).empty
        assert "No image was shrunk" in said("shrunk", shrinking(run, table))
        assert "shrunk" in lost(table)
        assert resolution.with_native(table).empty
    weighted = run_of(parquet(rows[:4]), "demo-base", "random")
    text = said("shrunk", shrinking(weighted, changes(sweep(weighted, [1]))))
    assert "no factor above 1" in text and text.endswith("Left out, since they cannot look again here: random.")


def test_detail_left_counts_images_that_could_not_shrink(rows, parquet):
    rows[0]["image"] = png(np.zeros((12, 20), dtype=np.uint8))
    table = resolution.detail_left(image_sizes(load_benchmark(parquet(rows[:5]))), [2, 4])
    assert table.factor.tolist() == [1, 2, 4] and table.n_less.tolist() == [0, 1, 1]
    assert table["median"].tolist() == [64, 32, 16] and table.smallest.tolist() == [12, 8, 8]


def test_images_are_read_as_png(rows, parquet):
    encoded = shrunk(load_benchmark(parquet(rows[:1])), 2).image_bytes(0)
    assert Image.open(io.BytesIO(encoded)).format == "PNG"
