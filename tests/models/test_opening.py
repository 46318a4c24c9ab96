"""A model string is parsed, resolved and hashed once a process, and opening or loading changes nothing in it."""

import logging
import os
import subprocess
import sys

import pytest
from helpers.opened import forget
from helpers.runs import evaluate
from helpers.samples import DEMO

from ubench_utils.models import cards, sources
from ubench_utils.models.cards import FAMILIES, ModelCard
from ubench_utils.models.load import open_model
from ubench_utils.models.registry import find_model, mix_name

BASE, TUNED = "demo-base", "demo-pathology"

SWEEP = """
import sys
from collections import Counter
from ubench_utils import files
from ubench_utils.models import load, model, registry, sources

calls = Counter()

def counted(name, function):
    def call(*args, **how):
        calls[name] += 1
        return function(*args, **how)
    return call

patched = {"find_model": counted("find_model", registry.find_model), "resolve": counted("resolve", sources.resolve),
           "read_text": counted("read_text", files.read_text)}
sources.file_digest = counted("file_digest", sources.file_digest)
for name, module in list(sys.modules.items()):
    if name.startswith("ubench_utils"):
        for attribute, function in patched.items():
            if hasattr(module, attribute):
                setattr(module, attribute, function)
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.registry import mix_name
names = [mix_name("demo-base", "demo-pathology", alpha / 10) for alpha in range(11)]
evaluate(sys.argv[1], names, device="cpu", precision="float32")
evaluate(sys.argv[1], names, device="cpu", precision="float32")
print(dict(calls))
files_of_both = sum(len(load.open_model(name).files) for name in ("demo-base", "demo-pathology"))
assert calls["find_model"] <= 3, calls
assert calls["resolve"] == 2, calls
assert calls["file_digest"] <= 2 * files_of_both, calls  # once for the identity, once more where they are loaded
assert calls["read_text"] == 1, calls
"""


def test_a_sweep_opens_its_two_parents_once(rows, parquet):
    done = subprocess.run([sys.executable, "-c", SWEEP, parquet(rows[:3])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_same_object_as_long_as_nothing_changed(model_folder, tmp_path, monkeypatch):
    name = f"local-dir:{model_folder()}"
    first = open_model(name)
    assert open_model(name) is first
    file = tmp_path / "copy" / "open_clip_model.safetensors"
    os.utime(file)
    again = open_model(name)
    assert again is first  # touched, and the same
    other = (DEMO / "pathology" / file.name).read_bytes()
    file.write_bytes(other)
    assert open_model(name) is not first and open_model(name).identity != first.identity
    before = open_model(BASE)
    own = tmp_path / "own.yml"
    own.write_text("demo-base: {spec: 'random'}\n")
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    assert open_model(BASE).guesses and not before.guesses


def test_a_new_file_of_a_folder_is_another_model(model_folder):
    folder = model_folder()
    name = f"local-dir:{folder}"
    before = open_model(name).identity
    (folder / "vocab.txt").write_text("one\n")
    assert open_model(name).identity != before


def test_models_yml_is_read_once_for_each_of_its_states(tmp_path, monkeypatch):
    own, read = tmp_path / "own.yml", []
    own.write_text("mine: {spec: demo}\n")
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    real = cards.read_text
    monkeypatch.setattr(cards, "read_text", lambda path, what: read.append(path) or real(path, what))
    for _ in range(5):
        assert find_model("mine").spec == "demo"
    assert read.count(own) == 1
    own.write_text("mine: {spec: other}\n")
    assert find_model("mine").spec == "other" and read.count(own) == 2


def test_an_end_of_a_mixture_is_its_parent_under_another_name():
    base, end = open_model(BASE), open_model(mix_name(BASE, TUNED, 0))
    assert end.name == f"mix:{BASE}+{TUNED}@0" and end.identity is base.identity and end.source is base.source
    assert open_model(mix_name(BASE, TUNED, 1)).identity is open_model(TUNED).identity


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_every_family_is_a_row_that_opens(kind):
    card = ModelCard("mine", f"{kind}:x" if kind != "random" else kind)
    assert card.family is FAMILIES[kind] and card.guesses <= (not card.has_weights)


def test_capabilities_need_no_loading(rows, parquet, tmp_path):
    run = evaluate(parquet(rows[:4]), ["random", BASE])
    file = tmp_path / "answers.csv"
    table = run.predictions[(run.predictions.model == BASE) & (run.predictions.wording == 1)]
    table[["dataset", "image_id", "question", "predicted_idx"]].to_csv(file, index=False)
    names = ["random", f"predictions:{file}", BASE, mix_name(BASE, TUNED, 0.5)]
    found = [(m.guesses, m.has_weights, m.has_embeddings) for m in map(open_model, names)]
    assert found == [(True, False, False), (False, False, False), (False, True, True), (False, True, True)]
    passports = evaluate(run.benchmark, names[:3]).record["models"]
    keys = ("guesses", "has_weights", "has_embeddings")
    assert [tuple(passports[name][key] for key in keys) for name in names[:3]] == found[:3]
    assert ModelCard(**passports[BASE]["card"]) == find_model(BASE)


def test_a_card_of_ones_own_is_evaluated_without_a_file(rows, parquet):
    card = ModelCard("mine", find_model(BASE).spec, category="pathology", base=TUNED, activation="gelu")
    run = evaluate(parquet(rows[:4]), [card, BASE])
    one, other = (run.predictions[run.predictions.model == name] for name in ("mine", BASE))
    assert (one.p_answer.to_numpy() == other.p_answer.to_numpy()).all() and len(one)
    assert run.record["models"]["mine"]["card"]["base"] == TUNED


def process():
    """What a library must leave as it is."""
    import torch
    import transformers
    from huggingface_hub.utils import are_progress_bars_disabled

    loggers = [logging.getLogger(name) for name in ("", "transformers", "open_clip")]
    return {
        "loggers": [(logger.level, list(logger.handlers)) for logger in loggers],
        "bars": (transformers.logging.is_progress_bar_enabled(), are_progress_bars_disabled()),
        "tf32": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "threads": torch.get_num_threads(),
        "environment": dict(os.environ),
    }


def test_loading_and_encoding_leave_the_process_as_it_was(rows, parquet, tmp_path):
    from helpers.families import clip as clip_folder

    before = process()
    path, clip = parquet(rows[:3]), clip_folder(tmp_path / "clip")
    evaluate(path, [BASE, f"hf:{clip}"], audit=True)
    forget()
    after = process()
    after["environment"].pop("PYTEST_CURRENT_TEST"), before["environment"].pop("PYTEST_CURRENT_TEST")
    assert after == before


def test_float32_takes_no_tf32_while_it_computes_and_leaves_the_setting(monkeypatch):
    import torch

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    seen, model = {}, open_model(BASE)
    for precision in ("float32", "bfloat16"):
        loaded = model.load("cpu", precision)
        tower = loaded.text_tower

        def looking(network, batch, precision=precision, tower=tower):
            seen[precision] = torch.backends.cudnn.allow_tf32
            return tower(network, batch)

        loaded.text_tower = looking
        loaded.encode_texts(["a micrograph"])
        assert torch.backends.cudnn.allow_tf32 is True
    assert seen == {"float32": False, "bfloat16": True}


def test_sources_without_files_stay_as_they_are():
    model = open_model("open_clip:ViT-B-32")
    assert model.is_unchanged() and sources.states(model.source) == ()


def test_a_model_goes_by_the_name_that_was_given():
    """A name and the model string behind it are two columns of a run, with the same facts."""
    spec = find_model("demo-base").spec
    one, other = open_model("demo-base"), open_model(spec)
    assert (one.name, other.name) == ("demo-base", spec) and one.identity == other.identity
    assert other.card.category == one.card.category
