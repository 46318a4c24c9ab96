"""Weights in files: found under the keys of training scripts, fitted to the last one, or refused by the real cause."""

import argparse
import json
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import open_clip
import pytest
import torch
from helpers.families import biomedclip, conch
from helpers.opened import forget
from helpers.refusals import refused_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ubench_utils.errors import UserError
from ubench_utils.models.checkpoints import Weights, fit, read
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache", "small_arch", "forgotten")


@pytest.fixture(scope="module")
def state():
    """Random weights of the small architecture."""
    torch.manual_seed(3)
    network = open_clip.model.CLIP(
        embed_dim=32,
        vision_cfg={"image_size": 64, "layers": 2, "width": 48, "head_width": 12, "patch_size": 16, "mlp_ratio": 2},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 4, "layers": 2, "mlp_ratio": 2},
    )
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.fixture
def copied(saved, tmp_path):
    """Copy a folder, its weights changed, and return its model string."""

    def make(change=lambda state: state, family="clip", name="model.safetensors"):
        folder = Path(shutil.copytree(saved(family), tmp_path / family, dirs_exist_ok=True))
        content = change(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").unlink()
        if name.endswith("safetensors"):
            save_file(content, folder / name, metadata={"format": "pt"})
        else:
            torch.save(content, folder / name)
        return f"hf:{folder}"

    return make


@pytest.fixture
def checkpoint(tmp_path):
    """Save a checkpoint of the small architecture and return its model string."""

    def save(content, name="weights.pt"):
        save_file(content, tmp_path / name) if name.endswith("safetensors") else torch.save(content, tmp_path / name)
        return f"open_clip:small@{tmp_path / name}"

    return save


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def shifted(state):
    return {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}


def is_loaded(name, state):
    found = load_model(name).network.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())


# Where training scripts put the weights

OPTIMISER = {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
WRAPPED = {
    "plain.pt": lambda s: s,
    "beside_numbers.pt": lambda s: {**s, "epoch": 3, "name": "run"},
    "state_dict.pth": lambda s: {"epoch": 5, "state_dict": prefixed(s, "module."), "optimizer": OPTIMISER},
    "model_state_dict.bin": lambda s: {
        "model_state_dict": s,
        "optimizer_state_dict": OPTIMISER,
        "loss": torch.ones(()),
    },
    "model.pt": lambda s: {"model": s, "scaler": {"scale": 65536.0, "growth_factor": 2.0}},
    "deepspeed.pt": lambda s: {"module": s, "optimizer": None, "lr_scheduler": {"last_epoch": 1}},
    "net.pth": lambda s: {"net": s, "acc": 0.9},
    "lightning.ckpt": lambda s: {"state_dict": prefixed(s, "clipmodel."), "hyper_parameters": {"lr": 0.1}},
    "compiled.pt": lambda s: prefixed(s, "_orig_mod."),
    "compiled_parallel.pt": lambda s: {"state_dict": prefixed(s, "module._orig_mod.")},
    "averaged.pt": lambda s: {**prefixed(s, "module."), "n_averaged": torch.tensor(7)},
    "deep.pt": lambda s: {"checkpoint": {"network": {"weights": prefixed(s, "model.clip.")}}},
    "numpy.pt": lambda s: {"best": np.float64(0.5), "curve": np.ones(3), "n": np.int64(2), "state_dict": s},
    "settings.pt": lambda s: {"args": argparse.Namespace(out=PurePosixPath.__name__, lr=1), "model": s},
    "path.pt": lambda s: {"out": Path("/somewhere"), "model": s},
    "alike.pt": lambda s: {"model": s, "ema": {key: value.clone() for key, value in s.items()}},
    "prefix.safetensors": lambda s: prefixed(s, "module."),
    "buffers.pt": lambda s: {**s, "attn_mask": torch.zeros(77, 77), "text.position_ids": torch.arange(77)},
    "scale.pt": lambda s: {**s, "logit_scale": s["logit_scale"].reshape(1), "logit_bias": torch.tensor(-10.0)},
    "double.pt": lambda s: {key: value.double() for key, value in s.items()},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_weights_are_found_where_training_scripts_put_them(state, checkpoint, name):
    assert is_loaded(checkpoint(WRAPPED[name](state), name), state)


def test_half_precision_is_read(state, checkpoint):
    halves = {key: value.half() for key, value in state.items()}
    assert is_loaded(checkpoint(halves), {key: value.float() for key, value in halves.items()})


NAMES = st.text("abcdefgh_.", min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(prefix=st.just("") | NAMES.map(lambda name: name + "."), keys=st.lists(NAMES, max_size=3), junk=st.booleans())
def test_any_prefix_under_any_keys_is_taken_off(prefix, keys, junk):
    expected = {"visual.proj": torch.zeros(2, 3), "transformer.w": torch.zeros(3), "logit_scale": torch.zeros(())}
    values = {key: torch.rand(value.shape) for key, value in expected.items()}
    content = prefixed(values, prefix)
    for key in keys:
        content = {key: content} | ({"other": {"x": torch.ones(1)}, "epoch": 1} if junk and key != "other" else {})
    found = fit(content, expected, Weights)
    assert found.fits and all(torch.equal(found.values[key], value) for key, value in values.items())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_prefix_in_a_folder_of_transformers_is_taken_off(saved, copied, name):
    plain = load_model(f"hf:{saved('clip')}").network.state_dict()
    assert is_loaded(copied(lambda state: prefixed(state, "module."), name=name), plain)


def test_wrapped_weights_and_old_buffers_in_a_folder_of_transformers(saved, copied):
    plain = load_model(f"hf:{saved('clip')}").network.state_dict()
    old = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    assert is_loaded(copied(lambda state: {"model": {**state, **old}, "epoch": 1}, name="pytorch_model.bin"), plain)


def test_weights_in_parts(saved, copied):
    """Several files and their index: all are read, and none from elsewhere."""
    plain = load_model(f"hf:{saved('clip')}").network.state_dict()
    name = copied()
    folder = Path(name.removeprefix("hf:"))
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {key: f"part-{number % 2}.safetensors" for number, key in enumerate(weights)}
    for part in set(places.values()):
        save_file({key: weights[key] for key in weights if places[key] == part}, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert is_loaded(name, plain)
    forget()
    for wrong in ("../clip/model.safetensors", str(folder / "part-0.safetensors"), "part-9.safetensors"):
        index.write_text(json.dumps({"weight_map": {**places, "logit_scale": wrong}}))
        refused_model(name, "names weights in", "no file of")
    index.write_text(json.dumps({"weight_map": places}))
    stale = {**load_file(folder / "part-1.safetensors"), "logit_scale": weights["logit_scale"] + 1}
    save_file({**stale, next(iter(weights)): next(iter(weights.values())) + 1}, folder / "part-1.safetensors")
    refused_model(name, "another part", "different values")


# What is not certain is refused, by its cause


def lora(state, old=".weight", a=".lora_A", b=".lora_B"):
    places = [key.removesuffix(old) for key in state if key.endswith(("q_proj.weight", "c_fc.weight"))]
    return {f"{place}{which}": torch.ones(4, 4) for place in places for which in (a, b)}


REFUSED = {
    "two sets": (lambda s: {"model": s, "model_ema": shifted(s)}, ["differ", "model", "model_ema", "alone"]),
    "student and teacher": (
        lambda s: {**prefixed(s, "student."), **prefixed(shifted(s), "teacher.")},
        ["student.", "teacher.", "alone"],
    ),
    "with a loss": (lambda s: {**prefixed(s, "clip."), "loss.t": torch.ones(1)}, ["prefix clip.", "loss.t"]),
    "no tensors": (lambda s: {"epoch": 3, "args": {"lr": 1}}, ["holds no weights", "args, epoch"]),
    "arrays": (lambda s: {"model": {key: value.numpy() for key, value in s.items()}}, ["holds no weights", "model"]),
    "an optimiser": (lambda s: {"optimizer": OPTIMISER, "epoch": 3}, ["holds no weights", "optimizer"]),
    "a list": (lambda s: list(s.values()), ["no dictionary", "list", "state_dict()"]),
    "another model": (lambda s: {"fc.weight": torch.ones(3)}, ["another architecture than small"]),
    "one missing": (lambda s: {k: s[k] for k in s if k != "ln_final.bias"}, ["lacks 1 weight,", "ln_final.bias"]),
    "projection": (lambda s: {**s, "visual.proj2": torch.ones(3)}, ["no place for 1 weight,", "visual.proj2"]),
    "lora": (lambda s: {**s, **lora(s)}, ["8 weights", "lora_A", "merge_and_unload"]),
    "peft": (
        lambda s: {f"base_model.{k.replace('c_fc.', 'c_fc.base_layer.')}": v for k, v in {**s, **lora(s)}.items()},
        ["base_layer", "merge_and_unload"],
    ),
    "prompts": (lambda s: {**s, "prompt_learner.ctx": torch.ones(4, 48)}, ["prompt_learner.ctx"]),
    "int8": (lambda s: {k: v.to(torch.int8) for k, v in s.items()}, ["int8", "float16"]),
    "float8": (lambda s: {**s, "ln_final.bias": torch.ones(48).to(torch.float8_e4m3fn)}, ["ln_final.bias", "float8"]),
    "another shape": (lambda s: {**s, "ln_final.bias": torch.ones(47)}, ["ln_final.bias is (47,)", "(48,)"]),
    "names that write": (lambda s: {**s, "a\x1b[1m\nb" * 99: torch.ones(1)}, ["no place for 1 weight,"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_are_not_certain_are_refused_by_their_cause(state, checkpoint, case):
    change, words = REFUSED[case]
    with pytest.raises(UserError) as caught:
        load_model(checkpoint(change(state)))
    assert "\x1b" not in str(caught.value)
    refused_model(checkpoint(change(state)), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {**s, **lora(s)}, ["8 weights", "lora_A", "merge"]),
        (
            lambda s: {k: s[k] for k in s if k != "text_projection.weight"},
            ["lacks 1 weight, such as text_"],
        ),
        (lambda s: {**s, "visual_projection_2.weight": torch.ones(3)}, ["visual_projection_2.weight", "no place"]),
        (lambda s: {key: value.to(torch.int8) for key, value in s.items()}, ["int8"]),
        (lambda s: {**prefixed(s, "a."), **prefixed(shifted(s), "b.")}, ["under the prefix", "alone"]),
        (lambda s: {**s, "logit_scale": torch.tensor(200.0)}, ["factor of inf"]),
        (lambda s: {**s, "logit_scale": torch.tensor(-200.0)}, ["factor of 0"]),
    ],
)
def test_folders_of_transformers_are_held_to_the_same(copied, change, words):
    refused_model(copied(change), *words)


@pytest.mark.parametrize("extra", ["classifier.weight", "image_classifier.bias", "lm_head.weight"])
def test_a_head_for_another_task_is_left_out_with_a_note(state, checkpoint, copied, extra):
    for name in (checkpoint({**state, extra: torch.ones(3)}), copied(lambda s: {**s, extra: torch.ones(3)})):
        assert extra in load_model(name).doubt and "left out" in load_model(name).doubt


@pytest.mark.parametrize("files", [["adapter_config.json"], ["adapter_model.safetensors"], ["adapter_model.bin"]])
def test_an_adapter_alone_or_beside_its_base_is_refused(copied, model_folder, tmp_path, files):
    alone = tmp_path / "alone"
    alone.mkdir()
    places = [Path(copied().removeprefix("hf:")), model_folder(), alone]
    for folder, form in zip(places, ("hf", "local-dir", "hf"), strict=True):
        for file in files:
            (folder / file).write_text(json.dumps({"base_model_name_or_path": "some/base", "peft_type": "LORA"}))
        base = ["some/base"] if files == ["adapter_config.json"] else []
        refused_model(f"{form}:{folder}", "adapter", "merge_and_unload", files[0], *base)


# Positions of another image size or context


def positions(rows, key="visual.positional_embedding", width=48):
    return lambda s: {**s, key: torch.randn(rows, width)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (positions(50), ["7 × 7 patches", "112 px", "4 × 4", "64 px"]),
        (positions(5), ["2 × 2 patches", "32 px", "64 px"]),
        (positions(14), ["14 positions of patches", "17"]),
        (positions(248, "positional_embedding"), ["248 tokens", "takes 77"]),
        (positions(64, "positional_embedding"), ["64 tokens", "takes 77"]),
    ],
)
def test_positions_of_another_size_are_refused_with_both_sizes(state, checkpoint, change, words):
    refused_model(checkpoint(change(state)), *words)
    refused_model(f"mix:open_clip:small+{checkpoint({'model': prefixed(change(state), 'module.')})}@0.5", *words)


@pytest.mark.parametrize(
    ("family", "key", "rows", "words"),
    [
        ("clip", "vision_model.embeddings.position_embedding.weight", 50, ["7 × 7", "112 px", "64 px"]),
        ("clip", "text_model.embeddings.position_embedding.weight", 248, ["248 tokens", "77"]),
        ("siglip", "vision_model.embeddings.position_embedding.weight", 49, ["7 × 7", "112 px", "64 px"]),
    ],
)
def test_positions_of_another_size_in_transformers_format(copied, family, key, rows, words):
    refused_model(copied(positions(rows, key), family), *words)
    if family == "clip":
        refused_model(copied(positions(rows, key)).replace("hf:", "open_clip:small-quickgelu@hf:"), *words)


def test_positions_of_another_size_of_conch(tmp_path):
    folder = conch(tmp_path / "conch")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({**weights, "visual.trunk.pos_embed": torch.zeros(1, 197, 768)}, folder / "pytorch_model.bin")
    refused_model(f"conch:{folder}", "14 × 14", "224 px", "448 px")
    torch.save({"state_dict": {**weights, "visual.extra": torch.ones(1)}}, folder / "pytorch_model.bin")
    refused_model(f"conch:{folder}", "visual.extra", "CONCH")
    torch.save({**weights, "visual.trunk.blocks.99999999.x": torch.ones(1)}, folder / "pytorch_model.bin")
    refused_model(f"conch:{folder}", "more layers")


# Sizes that no file holds


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_cfg", "width", 10**7),
        ("vision_cfg", "width", 10**15),
        ("vision_cfg", "layers", [10**7, 1, 1, 1]),
        ("text_cfg", "layers", 10**8),
        ("text_cfg", "context_length", 10**6),
        ("text_cfg", "vocab_size", 10**12),
    ],
)
def test_sizes_that_no_file_holds_take_no_memory(model_folder, part, key, value):
    refused_model(
        f"local-dir:{model_folder(change=lambda config: config['model_cfg'][part].update({key: value}))}", "model"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 10**7), ("num_hidden_layers", 10**7), ("vocab_size", 10**12)]
)
def test_sizes_that_no_file_holds_take_no_memory_in_transformers(copied, key, value):
    name = copied()
    file = Path(name.removeprefix("hf:")) / "config.json"
    config = json.loads(file.read_text())
    config["text_config"][key] = value
    file.write_text(json.dumps(config))
    refused_model(name, "model")


def test_a_tower_of_transformers_in_a_folder_of_open_clip(tmp_path):
    """Its configuration lies elsewhere, and may declare what it likes."""
    folder = biomedclip(tmp_path / "biomed", tmp_path / "bert")
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    for key, value in (("hidden_size", 4 * 10**6), ("num_hidden_layers", 10**8), ("model_type", "nobody's")):
        (tmp_path / "bert" / "config.json").write_text(json.dumps({**config, key: value}))
        refused_model(f"local-dir:{folder}", "model")


def test_a_file_is_read_once_and_not_looked_at_again(state, checkpoint, monkeypatch):
    """Neither library is handed the file, so neither can resize, drop or run what is in it."""
    for module, name in ((open_clip.factory, "load_checkpoint"), (open_clip.factory, "load_state_dict")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail("open_clip read the file"))
    calls = []
    monkeypatch.setattr("ubench_utils.models.encoders.openclip.read", lambda *args: calls.append(args) or read(*args))
    assert is_loaded(checkpoint(state), state) and len(calls) == 1
