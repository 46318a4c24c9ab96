"""Every architecture family: loaded by its public string, it answers as its library's documentation does."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from helpers.families import FAMILIES, documented
from helpers.runs import shuffle_options
from helpers.samples import png
from PIL import Image

from ubench_utils.data.pixels import decode
from ubench_utils.engine import work
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.encoders.network import DualEncoder
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache", "forgotten")
KEY = ["dataset", "image_id", "question", "wording"]
REAL = Path(__file__).parents[3] / "shared" / "data" / "real_sample.parquet"


def run_on(path, spec, **settings):
    return evaluate(path, [spec], device="cpu", precision="float32", **settings)


def choices(path, spec):
    """Text of the chosen option of each question."""
    run = run_on(path, spec)
    table = run.predictions.merge(run.questions[[*KEY, "options"]], on=KEY)
    return {tuple(key): options[i] for *key, options, i in table[[*KEY, "options", "predicted_idx"]].to_numpy()}


def check_against_library(run, score):
    """Compare every answer with the library's; a pair closer than rounding may fall either way."""
    place = {
        key: row
        for row, key in enumerate(zip(run.benchmark.images.dataset, run.benchmark.images.image_id, strict=True))
    }
    predicted = run.predictions.set_index(KEY).predicted_idx
    different = close = 0
    with torch.inference_mode():
        for row in run.questions.itertuples():
            image = decode(run.benchmark.image_bytes(place[row.dataset, row.image_id]))
            scores = score(image, row.options).numpy()
            ours = int(predicted[row.dataset, row.image_id, row.question, row.wording])
            if ours != scores.argmax():
                gap = scores.max() - scores[ours]
                close += gap < 1e-5
                different += gap >= 1e-5
    assert different == 0 and close <= max(1, 0.01 * len(predicted)), (different, close)
    assert predicted.nunique() > 2  # neither side can be constant
    return len(predicted)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_the_librarys_documented_usage(family, saved, demo_rows, parquet):
    path = parquet(demo_rows[:: 5 if family == "blip" else 2])
    run = run_on(path, f"hf:{saved(family)}")
    assert check_against_library(run, documented(family, saved(family))) >= (80 if family == "blip" else 200)


@pytest.mark.skipif(not REAL.exists(), reason="needs the project's shared data")
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_on_real_images_equal_the_librarys(family, saved, tmp_path):
    import datasets

    rows = datasets.load_dataset("parquet", data_files={"test": str(REAL)}, split="test")
    rows.cast_column("image", datasets.Image(decode=False)).select(range(0, 306, 51)).to_parquet(tmp_path / "r.parquet")
    run = run_on(str(tmp_path / "r.parquet"), f"hf:{saved(family)}")
    assert check_against_library(run, documented(family, saved(family))) >= 40


@pytest.mark.parametrize("family", FAMILIES)
def test_features_equal_the_librarys(family, saved, demo_rows):
    """The measured affine map and the own batching give the features of the library's processor to 1e-4."""
    if family == "blip":
        pytest.skip("BLIP has no features of its own to compare: its answers are compared above")
    folder = saved(family)
    model, library = load_model(f"hf:{folder}"), transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    images = [decode(row["image"]["bytes"]) for row in demo_rows[::8]]
    with torch.inference_mode():
        own = library.get_image_features(**processor(images, return_tensors="pt")).pooler_output
    own = torch.nn.functional.normalize(own, dim=-1).numpy()
    ours = model.encode_images(np.stack([model.preprocess(image) for image in images]))
    np.testing.assert_allclose(ours, own, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_depend_on_nothing_else(family, saved, rows, parquet, monkeypatch):
    """The order of options and rows, and the batch size."""
    spec, rows = f"hf:{saved(family)}", rows[:: 8 if family == "blip" else 4]
    before = choices(parquet(rows, "before.parquet"), spec)
    rng = np.random.default_rng(0)
    for row in rows:
        shuffle_options(row, rng)
    monkeypatch.setattr(work, "CHUNK", 3)
    after = choices(parquet(rows[::-1], "after.parquet"), spec)
    assert before.keys() == after.keys()
    flipped = sum(before[key] != after[key] for key in before)
    print(f"{family}: {flipped} of {len(before)} answers flip with batch size 3")
    assert flipped <= 0.01 * len(before)


@pytest.mark.parametrize("family", ["siglip2", "blip"])
def test_what_was_computed_is_read_from_the_cache(family, saved, rows, parquet, monkeypatch):
    """Patches with their mask, and matching logits, survive the way to the disk."""
    path, spec = parquet(rows[::8]), f"hf:{saved(family)}"
    first = run_on(path, spec)
    for name in ("encode_images", "encode_texts", "match"):
        monkeypatch.setattr(DualEncoder, name, lambda *args: pytest.fail("computed again"))
    again = run_on(path, spec)
    assert again.record["models"][spec]["images_encoded_now"] == 0
    pd.testing.assert_frame_equal(first.predictions, again.predictions)


def test_blip_is_scored_by_its_matching_head_option_by_option(saved, rows, parquet):
    """The official loop took the two outputs of the head for an option index: only options 0 and 1 were ever chosen."""
    path = parquet(rows[::8])
    run = run_on(path, f"hf:{saved('blip')}")
    assert run.predictions.predicted_idx.max() > 1
    assert run.record["models"][f"hf:{saved('blip')}"]["has_embeddings"] is False
    probability = run.predictions.groupby(KEY).p_predicted.first()
    assert ((probability > 1 / 6) & (probability <= 1)).all()


def test_a_failed_image_inherits_no_answer(saved, rows, parquet):
    """The official loop gave it the answer of the image before; here it is named and left out."""
    for family in ("clip", "blip"):
        damaged = [dict(row) for row in rows[::8]]
        damaged[2] = {**damaged[2], "image": {"bytes": b"junk", "path": None}}
        run = run_on(parquet(damaged, f"{family}.parquet"), f"hf:{saved(family)}")
        assert list(run.failures.image_id) == [damaged[2]["image_id"]]
        assert damaged[2]["image_id"] not in set(run.predictions.image_id)
        assert run.predictions.image_id.nunique() == len(damaged) - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts_are_cut_and_counted(family, saved):
    model = load_model(f"hf:{saved(family)}")
    texts = ["a cell", " ".join(["cell"] * 600)]
    assert model.truncated(texts).tolist() == [False, True]
    tokens = model.tokenize(texts)["input_ids"]
    assert tokens.shape[1] == model.context_length
    assert np.isfinite(model.encode_texts(texts)).all()


def test_pixels_of_every_mode_and_shape(saved):
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        model = load_model(f"hf:{saved(family)}")
        for shape in ((64, 64), (31, 200), (300, 90)):
            image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
            pixels = model.preprocess(image)
            assert (pixels["pixel_values"] if pixels.dtype.names else pixels).dtype == np.uint8
    encoded = png(rng.integers(0, 65535, (40, 50), dtype=np.uint16))["bytes"]
    assert decode(encoded).mode == "RGB" and Image.open(io.BytesIO(encoded)).mode.startswith("I")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_flips_next_to_nothing(family, saved, rows, parquet):
    path = parquet(rows[::2])
    cpu, gpu = (
        evaluate(path, [f"hf:{saved(family)}"], device=device, precision="float32").predictions
        for device in ("cpu", "cuda")
    )
    rate = (cpu.predicted_idx != gpu.predicted_idx).mean()
    print(f"{family}: {rate:.3%} of {len(cpu)} answers flip between CPU and GPU")
    assert rate <= 0.01
