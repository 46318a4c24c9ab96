"""LoRA adapters: merged as the paper's formula says, to the last tensor, or refused by the real cause."""

import json
import shutil
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from helpers.refusals import refused_model
from PIL import Image
from safetensors.torch import load_file, save_file

from ubench_utils.models import folders
from ubench_utils.models.load import load_model, open_model

pytestmark = pytest.mark.usefixtures("cache", "forgotten")
RANK, ALPHA = 4, 6


@pytest.fixture
def adapter(saved, tmp_path):
    """Return a function that saves an adapter of the small CLIP, by peft itself, and returns its folder."""

    def make(name="adapter", **how):
        base = saved("clip")
        torch.manual_seed(5)
        network = transformers.CLIPModel.from_pretrained(base)
        how = {"r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj", "fc1"]} | how
        adapted = peft.get_peft_model(network, peft.LoraConfig(**how))
        for key, value in adapted.named_parameters():
            if "lora_B" in key or "modules_to_save" in key:
                torch.nn.init.normal_(value, std=0.3)
        adapted.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


def by_hand(base, folder, scale):
    """The weights of a base with scale · B · A added, computed without peft."""
    weights, parts = load_file(Path(base) / "model.safetensors"), load_file(folder / "adapter_model.safetensors")
    for key, a in parts.items():
        place = key.removeprefix("base_model.model.")
        if "lora_A" in key:
            b = parts[key.replace("lora_A", "lora_B")]
            weights[place.replace("lora_A.weight", "weight")] += scale * b @ a
        elif "lora_B" not in key:
            weights[place] = a
    return weights


@pytest.mark.parametrize(
    ("how", "scale"),
    [
        ({}, ALPHA / RANK),
        ({"use_rslora": True}, ALPHA / RANK**0.5),
        ({"modules_to_save": ["visual_projection"], "task_type": "FEATURE_EXTRACTION"}, ALPHA / RANK),
    ],
)
def test_a_merged_adapter_is_the_base_with_its_change(saved, adapter, tmp_path, how, scale):
    folder, base = adapter(**how), saved("clip")
    expected = Path(shutil.copytree(base, tmp_path / "merged"))
    save_file(by_hand(base, folder, scale), expected / "model.safetensors", metadata={"format": "pt"})
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    features = {}
    for name in (base, expected, folder):
        model = load_model(f"hf:{name}")
        features[name] = model.encode_images(np.stack([model.preprocess(image)])), model.encode_texts(["a cell"])
    for own, other, before in zip(features[folder], features[expected], features[base], strict=True):
        assert np.allclose(own, other, atol=1e-5) and not np.allclose(own, before, atol=1e-2)
    assert "rank 4 is merged" in model.doubt
    assert open_model(f"hf:{folder}").identity != open_model(f"hf:{base}").identity


def test_an_adapter_may_lie_beside_its_base(saved, adapter, tmp_path):
    alone, both = adapter(), Path(shutil.copytree(saved("clip"), tmp_path / "both"))
    for file in folders.LORA:
        shutil.copy(alone / file, both)
    states = [load_model(f"hf:{folder}").network.state_dict() for folder in (alone, both)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_an_adapter_that_does_not_fit_is_refused(adapter, saved):
    folder = adapter()
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors, said = load_file(weights), json.loads(settings.read_text())
    first = sorted(tensors)[0]

    def refused(words, content=tensors, **how):
        save_file(content, weights)
        settings.write_text(json.dumps(said | how))
        refused_model(f"hf:{folder}", *words)

    refused(["lacks 1 tensors", first], {key: value for key, value in tensors.items() if key != first})
    refused(["has no place for 1 tensors", "elsewhere"], tensors | {"elsewhere.lora_A.weight": torch.ones(1)})
    refused(["does not fit its base"], tensors | {first: torch.ones(2, 3)})
    refused(["holds", first, "finite"], tensors | {first: tensors[first] * float("nan")})
    refused(["holds", first, "real numbers"], tensors | {first: torch.ones(2, dtype=torch.int8)})
    refused(["does not fit its base"], target_modules=["nowhere"])
    refused(["megatron_config", "more than LoRA"], megatron_config={"x": 1}, megatron_core="os")
    refused(["init_lora_weights: pissa"], init_lora_weights="pissa")
    refused(
        ["no folder", "adapter_config.json", "write there where it lies"], base_model_name_or_path="/nowhere/at/all"
    )
    refused(["names no base"], base_model_name_or_path=None)
    refused(["merge_and_unload"], peft_type="IA3")


def test_without_peft_an_adapter_is_refused_with_the_way_out(adapter, monkeypatch):
    folder = adapter()
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    refused_model(f"hf:{folder}", "holds an adapter", "merge_and_unload", "where the package peft is installed")
