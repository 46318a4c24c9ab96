"""The tiny generator: taught by what it is asked, and a model of transformers that replies."""

import numpy as np
import pytest
import torch
from helpers.samples import DEMO
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ubench_utils.demo import generator
from ubench_utils.demo.sample import SETS, ask_all, draw_sample
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import local
from ubench_utils.models.generators.protocol import prompt

MODELS = ["speaker", "speaker-pathology"]


@pytest.fixture(scope="module")
def parts():
    return generator.processor()


def question(name="stain", seed=0):
    return ask_all(SETS[3], "monocyte", "brightfield microscopy", "1", np.random.default_rng(seed))[0][name]


@pytest.mark.parametrize("name", ["stain", "modality", "classification"])
def test_it_is_taught_by_what_it_is_asked(parts, name):
    """The exercise is the benchmark's prompt in the processor's own chat template, token for token."""
    asked = question(name)
    picture = draw_sample(0, 1)["image"][0]
    content = [
        {"type": "image", "image": picture},
        {"type": "text", "text": prompt(asked["question"], asked["options"])},
    ]
    rendered = parts.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=True, add_generation_prompt=True, return_dict=True
    )
    said, reply = generator.exercise(asked, "letter")
    assert rendered["input_ids"] == [parts.tokenizer(said)["input_ids"]] and len(rendered["input_ids"][0]) < 25
    assert asked["options"]["ABCDEF".index(reply)] == asked["answer"]
    pixels = generator._scaled(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    np.testing.assert_allclose(np.array(rendered["pixel_values"])[0], pixels, atol=1e-5)


def test_the_other_exercises_need_the_image_or_the_options_alone(parts):
    asked = question()
    words, reply = generator.exercise(asked, "words")
    assert asked["options"][0] not in words and reply == asked["answer"]
    lookup, letter = generator.exercise(asked, "lookup")
    assert f"Question:{asked['answer']}\n" in lookup and f"\n{letter}) {asked['answer']}" in lookup
    assert len({len(parts.tokenizer(text)["input_ids"]) for text in (reply, letter)}) == 1  # one token each


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_comes_back_from_its_tokens(parts, text):
    ids = parts.tokenizer(text)["input_ids"]
    assert parts.tokenizer.decode(ids) == parts.tokenizer.backend_tokenizer.normalizer.normalize_str(text)


def test_a_short_recipe_gives_the_same_folders_twice(tmp_path, monkeypatch):
    """Few steps of each part; that they teach anything is seen in the shipped models."""
    for name in ("SEEING", "TUNING"):
        monkeypatch.setattr(generator, name, getattr(generator, name) | {"images_per_set": 4, "steps": 2, "batch": 8})
    monkeypatch.setattr(generator, "LESSONS", [lesson | {"steps": 2} for lesson in generator.LESSONS])
    first, again = (generator.train(tmp_path / name, seed=3) for name in ("first", "again"))
    other = generator.train(tmp_path / "other", seed=4)
    assert list(first) == MODELS
    for name, folder in first.items():
        for file in folder.iterdir():
            assert (again[name] / file.name).read_bytes() == file.read_bytes(), file.name
        weights, others = (load_file(where[name] / "model.safetensors") for where in (first, other))
        assert any((weights[key] != others[key]).any() for key in weights)


@pytest.mark.parametrize("name", MODELS)
def test_shipped_generators_are_small_and_of_the_recipe(parts, name):
    folder = DEMO / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2e6
    weights = load_file(folder / "model.safetensors")
    made = generator.network(parts.tokenizer).state_dict()
    assert weights.keys() == made.keys() - {"lm_head.weight"}  # tied to the embedding
    assert all(value.shape == made[key].shape and np.isfinite(value).all() for key, value in weights.items())
    assert (folder / "tokenizer.json").read_bytes() == saved_tokenizer(parts)


def saved_tokenizer(parts):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        parts.save_pretrained(folder)
        return (Path(folder) / "tokenizer.json").read_bytes()


def test_the_specialist_kept_the_batch_statistics_of_the_base():
    base, tuned = (load_file(DEMO / name / "model.safetensors") for name in MODELS)
    fixed = [key for key in base if "running_" in key or "num_batches" in key]
    assert fixed and all((base[key] == tuned[key]).all() for key in fixed)
    assert any((base[key] != tuned[key]).any() for key in base)


def test_shipped_generators_reply_above_chance_and_one_has_forgotten(tmp_path, cache):
    """Bounds far under the numbers of demo/README.md: they catch broken weights, not a few points."""
    draw_sample(seed=9_000, images_per_set=20).save_to_disk(tmp_path / "sample")
    run = evaluate(str(tmp_path / "sample"), ["demo-speaker", "demo-speaker-pathology"])
    answers = run.answers[run.answers.wording == 1]
    assert answers.reply.isin(list("ABCDEF")).all() and (answers.finish == "stop").all()
    right = answers.groupby(["model", "question"]).correct.mean()["demo-speaker"]
    assert right["modality"] > 0.8 and right["stain"] > 0.8 and right["classification"] > 0.5
    fine = answers[answers.level == "fine"].assign(inside=lambda t: t.domain == "pathology")
    right = fine.groupby(["model", "inside"]).correct.mean()
    assert right["demo-speaker-pathology", True] > 0.5
    assert right["demo-speaker-pathology", False] < right["demo-speaker", False]


@pytest.mark.slow
def test_the_whole_sample_is_answered_in_a_minute_and_then_asked_nothing(cache, monkeypatch, capsys):
    import time

    started, computed = time.monotonic(), time.process_time()
    run = evaluate("demo", ["demo-speaker"])
    seconds, computed = time.monotonic() - started, time.process_time() - computed
    n = run.record["models"]["demo-speaker"]["questions_asked_now"]
    with capsys.disabled():
        print(f"\n{n:,} questions through the tiny generator: {seconds:.0f} s, {computed:.0f} s of computing")
    assert n >= 7_000 and computed < 60  # the clock of a machine that others use says nothing
    monkeypatch.setattr(local.Speaker, "ask", None)
    again = evaluate("demo", ["demo-speaker"])
    assert again.record["models"]["demo-speaker"]["questions_asked_now"] == 0
    assert again.predictions.equals(run.predictions)
