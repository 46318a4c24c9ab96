"""Evaluations: predictions against a straightforward loop, and what interruptions and sharing do to them."""

import io
import multiprocessing
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.opened import forget
from helpers.runs import KEY, evaluate, predictions, same, shuffle_options, straightforward
from helpers.samples import DEMO, as_dataset
from helpers.victims import work
from PIL import Image

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.engine import work as encode
from ubench_utils.evaluation import evaluate as evaluate_module
from ubench_utils.models.encoders.encoder import Encoder
from ubench_utils.models.encoders.network import DualEncoder
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache")
REAL = Path(__file__).parents[3] / "shared" / "data" / "real_sample.parquet"


# The reference: one image, one question, everything encoded again


def check_against_loop(path, rows, name, network, transform, tokenizer, at_least):
    table = evaluate(path, [name]).predictions.set_index(KEY[1:])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # single images are too small to share out
    loop = list(straightforward(rows, network.eval(), transform, tokenizer))
    torch.set_num_threads(threads)
    assert len(loop) == len(table) >= at_least
    different = [key for *key, index in loop if table.predicted_idx[tuple(key)] != index]
    assert not different
    assert table.correct.nunique() == 2  # neither side can be constant


@pytest.mark.parametrize("which", ["base", "pathology"])
def test_predictions_equal_a_straightforward_loop(demo_rows, parquet, which):
    import open_clip

    chosen = demo_rows[:: 2 if which == "base" else 8]
    folder = DEMO / which
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe_merges.txt.gz"))
    enough = 200 if which == "base" else 50
    check_against_loop(parquet(chosen), chosen, f"demo-{which}", network, transform, tokenizer, enough)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the project's shared data")
def test_predictions_equal_a_straightforward_loop_on_real_images(tmp_path):
    """ViT-B/32 with random weights; images of all sizes and modes."""
    import datasets
    import open_clip

    real = datasets.load_dataset("parquet", data_files={"test": str(REAL)}, split="test")
    real = real.cast_column("image", datasets.Image(decode=False)).select(range(0, 306, 76))
    real.to_parquet(tmp_path / "real.parquet")
    torch.manual_seed(0)
    network, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    path = str(tmp_path / "real.parquet")
    check_against_loop(path, list(real), "open_clip:ViT-B-32", network, transform, tokenizer, 40)


# What predictions must not depend on


def chosen_options(path):
    """Text of the chosen option of each question."""
    run = evaluate(path)
    table = run.predictions.merge(run.questions[[*KEY, "options"]], on=KEY)
    chosen = [options[i] for options, i in zip(table.options, table.predicted_idx, strict=True)]
    return dict(zip(map(tuple, table[KEY].to_numpy()), chosen, strict=True)), table


def test_predictions_do_not_depend_on_the_order_of_options(rows, parquet):
    before, _ = chosen_options(parquet(rows, "before.parquet"))
    rng = np.random.default_rng(0)
    for row in rows:
        shuffle_options(row, rng)
    after, table = chosen_options(parquet(rows, "after.parquet"))
    assert before == after and len(table) > 400


def test_exact_ties_do_not_depend_on_the_order_of_options(rows, parquet, monkeypatch):
    """A text tower that cannot tell two options apart."""
    real = DualEncoder.encode_texts
    monkeypatch.setattr(
        DualEncoder, "encode_texts", lambda self, texts: real(self, ["same"]).repeat(len(texts), axis=0)
    )
    before, table = chosen_options(parquet(rows, "before.parquet"))
    assert evaluate(parquet(rows, "before.parquet")).record["models"]["demo-base"]["questions_tied"] == len(table)
    rng = np.random.default_rng(0)
    for row in rows:
        shuffle_options(row, rng)
    assert chosen_options(parquet(rows, "after.parquet"))[0] == before


def test_predictions_do_not_depend_on_the_order_of_rows(rows, parquet):
    same(predictions(parquet(rows, "a.parquet")), predictions(parquet(rows[::-1], "b.parquet")))


@pytest.mark.parametrize("chunk", [1, 7])
def test_batch_size_flips_nothing(rows, parquet, monkeypatch, record_property, chunk):
    path = parquet(rows)
    large = predictions(path)
    monkeypatch.setattr(encode, "CHUNK", chunk)
    small = predictions(path)
    rate = float((large.predicted_idx != small.predicted_idx).mean())
    record_property("flip_rate", rate)
    print(f"flip rate of batches of {chunk} against 128: {rate:.4%} of {len(large)} questions")
    assert rate <= 0.002  # one question here; its two best options would have to be closer than rounding
    np.testing.assert_allclose(large.p_answer, small.p_answer, atol=2e-5)


def test_predictions_of_one_model_do_not_depend_on_the_others(rows, parquet):
    path = parquet(rows[:10])
    alone = predictions(path, ["demo-pathology"])
    among = predictions(path, ["random", "demo-base", "demo-pathology", "demo-base"])
    assert len(among) == 3 * len(alone)  # a model named twice answers once
    same(alone, among[among.model == "demo-pathology"].reset_index(drop=True))


# Each image and text once, and never again


def test_each_image_and_each_text_is_encoded_once(rows, parquet, counted):
    rows[1]["image"] = rows[0]["image"]  # the same picture under two names
    path = parquet(rows)
    first = predictions(path)
    asked = build_questions(load_benchmark(path))
    texts = {option for options in asked.options for option in options}
    assert len(counted["images"]) == len(set(counted["images"])) == 39
    assert sorted(counted["texts"]) == sorted(texts)
    counted["images"].clear(), counted["texts"].clear()
    again = evaluate(path)
    assert counted == {"images": [], "texts": []}
    assert again.record["models"]["demo-base"]["images_encoded_now"] == 0
    assert again.predictions.sort_values(["model", *KEY]).reset_index(drop=True).equals(first)


def test_a_cached_run_does_not_import_torch(rows, parquet):
    path = parquet(rows[:5])
    predictions(path, ["demo-base", "mix:demo-base+demo-pathology@0.5"])
    program = """
import sys
from ubench_utils.evaluation.evaluate import evaluate
run = evaluate(sys.argv[1], ["random", "demo-base", "mix:demo-base+demo-pathology@0.5"], device="cpu",
               precision="float32")
assert len(run.predictions) and not {"torch", "open_clip"} & set(sys.modules), "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_models_precisions_and_interpolations_never_share_features(rows, parquet, counted):
    path = parquet(rows[:5])
    names = ["demo-base", "demo-pathology", "mix:demo-base+demo-pathology@0.5"]
    features = [predictions(path, [name]).p_answer.to_numpy() for name in names]
    low = evaluate_module.evaluate(path, ["demo-base"], device="cpu", precision="bfloat16")
    assert len(counted["images"]) == 5 * 4
    features.append(low.predictions.sort_values(["model", *KEY]).p_answer.to_numpy())
    assert all(not np.array_equal(a, b) for i, a in enumerate(features) for b in features[:i])
    predictions(path, ["mix:demo-base+demo-pathology@1"])  # an end is its parent
    assert len(counted["images"]) == 5 * 4


def swap_weights(folder, of="pathology"):
    shutil.copyfile(DEMO / of / "open_clip_model.safetensors", folder / "open_clip_model.safetensors")


def other_weights(rows, parquet, model_folder, anew):
    """Predictions under one path before and after its weights were swapped, and those expected."""
    path, folder = parquet(rows[:10]), model_folder()
    name = f"local-dir:{folder}"
    base, tuned = (predictions(path, [f"demo-{which}"]) for which in ("base", "pathology"))
    assert not np.allclose(base.p_answer, tuned.p_answer)
    same(predictions(path, [name]).assign(model="x"), base.assign(model="x"))
    swap_weights(folder)
    if anew:
        forget()
    same(predictions(path, [name]).assign(model="x"), tuned.assign(model="x"))


def test_other_weights_under_the_same_path_are_another_model(rows, parquet, model_folder):
    """In a new process, as it were."""
    other_weights(rows, parquet, model_folder, anew=True)


def test_other_weights_under_the_same_path_are_another_model_within_a_session(rows, parquet, model_folder):
    """In a notebook: train, evaluate, train on, evaluate again."""
    other_weights(rows, parquet, model_folder, anew=False)


# Interruptions, sharing, damage


@pytest.fixture(scope="module")
def processes():
    """Start processes that have the imports behind them."""
    context = multiprocessing.get_context("forkserver")
    libraries = ["ubench_utils.models.encoders.openclip", "ubench_utils.evaluation.evaluate", "datasets"]
    context.set_forkserver_preload(libraries)
    return context


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.slow
def test_killed_and_started_again(rows, parquet, cache, tmp_path, monkeypatch, counted, processes, chunks):
    path = parquet(rows)
    victim = processes.Process(target=work, args=(str(cache), path, str(tmp_path / "never"), chunks))
    victim.start()
    victim.join(120)
    assert victim.exitcode == -signal.SIGKILL and not (tmp_path / "never").exists()
    monkeypatch.setattr(encode, "CHUNK", 8)
    resumed = predictions(path)
    assert len(counted["images"]) == 40 - 8 * chunks  # nothing twice but the chunk in flight
    assert not counted["texts"]
    assert not resumed.duplicated(["model", *KEY]).any()
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    uninterrupted = predictions(path)
    pd.testing.assert_frame_equal(resumed, uninterrupted)
    assert len(resumed) == len(build_questions(load_benchmark(path)))


@pytest.mark.slow
def test_two_processes_at_once_on_one_cache(rows, parquet, cache, tmp_path, monkeypatch, processes):
    path = parquet(rows)
    outs, barrier = [tmp_path / "a.parquet", tmp_path / "b.parquet"], processes.Barrier(2)
    pair = [processes.Process(target=work, args=(str(cache), path, str(out), None, barrier)) for out in outs]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
    assert [process.exitcode for process in pair] == [0, 0]
    first, second = map(pd.read_parquet, outs)
    pd.testing.assert_frame_equal(first, second)
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    same(first, predictions(path))
    assert not list(cache.rglob("*.part"))


# Faults


def test_out_of_memory_gives_the_same_predictions(rows, parquet, tmp_path, monkeypatch):
    path = parquet(rows[:20])
    plenty = predictions(path)
    encode_images = DualEncoder.encode_images

    def small_device(self, pixels):
        if len(pixels) > 6:
            raise torch.OutOfMemoryError("out of memory")
        return encode_images(self, pixels)

    monkeypatch.setattr(DualEncoder, "encode_images", small_device)
    monkeypatch.setenv("UBENCH_CACHE", str(tmp_path / "another"))
    same(plenty, predictions(path))


def test_features_that_are_not_finite_are_failures(rows, parquet, monkeypatch):
    encode_images = DualEncoder.encode_images

    def overflow(self, pixels):
        features = encode_images(self, pixels).copy()
        features[2, 0] = np.nan
        return features

    monkeypatch.setattr(DualEncoder, "encode_images", overflow)
    run = evaluate(parquet(rows), ["demo-base", "random"])
    assert len(run.failures) == 1 and "not finite" in run.failures.reason[0]
    assert run.failures.image_id[0] not in set(run.predictions.image_id)  # which nobody saw
    assert np.isfinite(run.predictions.p_answer[run.predictions.model == "demo-base"]).all()
    assert run.asked == (run.answers.query("model == 'random' and wording == 1").level.value_counts().to_dict())


def test_the_baseline_answers_what_any_model_saw(rows, parquet, monkeypatch):
    answer = Encoder.answer

    def short_sighted(self, benchmark, questions, **settings):
        given = answer(self, benchmark, questions, **settings)
        if self.name != "demo-base":
            return given
        first = benchmark.images.iloc[0]
        seen = (given.predictions.dataset != first.dataset) | (given.predictions.image_id != first.image_id)
        return replace(given, predictions=given.predictions[seen], failed={first.image_hash: "not finite"})

    monkeypatch.setattr(Encoder, "answer", short_sighted)
    run = evaluate(parquet(rows), ["demo-base", "demo-pathology", "random"])
    n = run.predictions.groupby("model").size()
    assert n["random"] == n["demo-pathology"] == len(run.questions) > n["demo-base"] and len(run.failures) == 1
    assert sum(run.asked.values()) == (run.questions.wording == 1).sum()


# Probabilities and the baseline


def test_probabilities_are_the_softmax_of_the_models_own_temperature(rows, parquet):
    run = evaluate(parquet(rows[:10]))
    model = load_model("demo-base")
    for answer, question in zip(run.predictions.itertuples(), run.questions.itertuples(), strict=True):
        if answer.Index % 9:
            continue
        row = next(row for row in rows if row["image_id"] == answer.image_id)
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        vector = model.encode_images(model.preprocess(image)[None])[0].astype(float)
        logits = model.logit_scale * (model.encode_texts(list(question.options)).astype(float) @ vector)
        probability = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(answer.p_answer, probability[answer.answer_idx], rtol=1e-3)
        np.testing.assert_allclose(answer.p_predicted, probability.max(), rtol=1e-3)
        assert answer.predicted_idx == probability.argmax()


def test_the_random_baseline_depends_on_key_and_seed_only(tmp_path):
    from ubench_utils.demo.sample import draw_sample
    from ubench_utils.models.baseline import predict_randomly

    draw_sample(images_per_set=20).save_to_disk(tmp_path / "sample")
    questions = build_questions(load_benchmark(str(tmp_path / "sample")))
    whole = predict_randomly(questions)
    part = questions.sample(frac=0.3, random_state=1)
    assert predict_randomly(part).predicted_idx.equals(whole.predicted_idx.loc[part.index])
    assert predict_randomly(part.assign(image_hash="other")).predicted_idx.equals(whole.predicted_idx.loc[part.index])
    other = predict_randomly(questions, seed=1)
    assert 0.1 < (other.predicted_idx == whole.predicted_idx).mean() < 0.3
    assert ((whole.predicted_idx >= 0) & (whole.predicted_idx < whole.n_options)).all()
    assert np.allclose(whole.p_answer, 1 / whole.n_options)
    for n, group in whole.groupby("n_options"):  # five standard errors
        assert abs(group.correct.mean() - 1 / n) < 5 * np.sqrt((1 / n) * (1 - 1 / n) / len(group))
        shares = group.predicted_idx.value_counts(normalize=True)
        assert len(shares) == n and (abs(shares - 1 / n) < 5 * np.sqrt(1 / n / len(group))).all()


def test_every_question_has_a_prediction(rows, parquet):
    run = evaluate(parquet(rows), ["random", "demo-base"])
    keys = run.questions[KEY].sort_values(KEY).reset_index(drop=True)
    for _, own in run.predictions.groupby("model"):
        pd.testing.assert_frame_equal(own[KEY].sort_values(KEY).reset_index(drop=True), keys)
    assert (run.predictions.correct == (run.predictions.predicted_idx == run.predictions.answer_idx)).all()
    assert len(as_dataset(rows)) == len(run.benchmark.images)
