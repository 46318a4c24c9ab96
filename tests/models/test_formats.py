"""Formats of weights: CLIP's of transformers in open_clip's architecture, BiomedCLIP's, CONCH's."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import transformers
from helpers.families import biomedclip, clip, clip_tokenizer, conch, edit, save
from helpers.opened import forget, identity
from helpers.refusals import refused_model
from helpers.runs import straightforward
from safetensors.torch import load_file, save_file

from ubench_utils.data.pixels import decode
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.encoders import openclip
from ubench_utils.models.encoders.conch import Conch
from ubench_utils.models.folders import CONCH_TOKENIZER
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache", "forgotten")
KEY = ["dataset", "image_id", "question", "wording"]
PUBLISHED = Path(__file__).parents[3] / "shared" / "published" / "models.csv"
TEXTS = ["A Giemsa micrograph of a neutrophil.", "a micrograph", "none of the above"]


# CLIP in transformers' format, in open_clip's architecture


def both(folder, arch, pixels):
    """Features of the same weights by transformers and by open_clip."""
    theirs, ours = load_model(f"hf:{folder}"), load_model(f"open_clip:{arch}@hf:{folder}")
    return [(model.encode_images(pixels), model.encode_texts(TEXTS)) for model in (theirs, ours)], ours


@pytest.mark.parametrize(("act", "arch"), [("quick_gelu", "small-quickgelu"), ("gelu", "small")])
def test_transformers_clip_weights_in_open_clips_architecture(tmp_path, small_arch, act, arch):
    folder = clip(tmp_path / act, hidden_act=act)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    (theirs, ours), model = both(folder, arch, pixels)
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert model.activation_from == "its config.json"
    wrong = "small" if arch.endswith("quickgelu") else "small-quickgelu"
    refused_model(f"open_clip:{wrong}@hf:{folder}", "its config.json", "use open_clip:small")


@pytest.mark.slow
def test_the_real_architecture_agrees_between_transformers_and_open_clip(tmp_path):
    """ViT-B/32 in full, as of OpenAI's CLIP and PLIP, with random weights."""
    torch.manual_seed(0)
    folder = save(
        tmp_path / "plip",
        transformers.CLIPModel(transformers.CLIPConfig()),
        transformers.CLIPImageProcessor(),
        clip_tokenizer(),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 224, 224), dtype=np.uint8)
    (theirs, ours), model = both(folder, "ViT-B-32-quickgelu", pixels)
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert model.parameters == 151_277_313


def test_clip_format_weights_mix_with_open_clips(tmp_path, small_arch):
    folder = clip(tmp_path / "tuned")
    base, tuned = "open_clip:small-quickgelu", f"open_clip:small-quickgelu@hf:{folder}"
    one, other = (load_model(name).network.state_dict() for name in (base, tuned))
    mixed = load_model(f"mix:{base}+{tuned}@0.5").network.state_dict()
    for key, value in mixed.items():
        torch.testing.assert_close(value, (one[key] + other[key]) / 2)
    refused_model(f"mix:open_clip:small+{tuned}@0.5", "activation")
    refused_model(f"mix:{base}+hf:{folder}@0.5", "two architectures", "open_clip:ARCH@hf:")


def test_two_transformers_models_of_one_architecture_mix(tmp_path, saved):
    base, tuned = saved("clip"), clip(tmp_path / "plus+in+path")
    state = load_file(tuned / "model.safetensors")
    save_file(
        {key: value * 1.1 if value.is_floating_point() else value for key, value in state.items()},
        tuned / "model.safetensors",
        metadata={"format": "pt"},
    )
    name = f"mix:hf:{base}+hf:{tuned}@1"
    end, alone = load_model(name), load_model(f"hf:{tuned}")
    assert all(torch.equal(value, alone.network.state_dict()[key]) for key, value in end.network.state_dict().items())
    assert load_model(f"mix:hf:{base}+hf:{tuned}@0.5").logit_scale == pytest.approx(
        (load_model(f"hf:{base}").logit_scale * alone.logit_scale) ** 0.5, rel=1e-4
    )


def test_models_that_differ_where_weights_show_nothing_do_not_mix(saved, tmp_path):
    """Heads and tokenizers leave no trace in the shapes of the weights."""
    for name, file, change, words in (
        ("heads", "config.json", lambda c: c["text_config"].update(num_attention_heads=2), "num_attention_heads"),
        ("words", "tokenizer.json", swap_two_words, "tokenizers differ"),
    ):
        folder = Path(shutil.copytree(saved("clip"), tmp_path / name))
        edit(folder / file, change)
        refused_model(f"mix:hf:{saved('clip')}+hf:{folder}@0.5", "cannot mix", words)


def swap_two_words(content):
    vocabulary = content["model"]["vocab"]
    vocabulary["a</w>"], vocabulary["of</w>"] = vocabulary["of</w>"], vocabulary["a</w>"]


def test_a_checkpoint_of_an_architecture_with_several_preprocessings(small_arch, tmp_path, monkeypatch):
    torch.save(load_model("open_clip:small").network.state_dict(), tmp_path / "mine.pt")
    spec = f"open_clip:small@{tmp_path / 'mine.pt'}"
    assert load_model(spec).doubt == "" and load_model("open_clip:small").doubt == "its weights are random"
    forget()
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small", {"own": {"mean": (0.5,) * 3, "std": (0.5,) * 3}})
    assert "published with other preprocessing" in load_model(spec).doubt
    own = tmp_path / "own.yml"
    recipe = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    own.write_text(json.dumps({"mine": {"spec": spec, "preprocess": recipe}}))
    before = identity(spec)
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    model = load_model("mine")
    assert model.doubt == "" and model.recipe["mean"] == [0.5] * 3 and model.recipe["resize_mode"] == "squash"
    assert identity("mine") != before


def test_conversion_names_every_weight_of_the_other_format(saved):
    state = load_file(saved("clip") / "model.safetensors")
    converted = openclip.from_clip_format(state)
    assert sum(value.numel() for value in converted.values()) == sum(
        value.numel() for key, value in state.items() if not key.endswith("position_ids")
    )
    assert not [key for key in converted if key.startswith(("text_model", "vision_model"))]


# BiomedCLIP's and CONCH's formats


@pytest.mark.slow
def test_biomedclips_format(tmp_path, rows, parquet):
    folder = biomedclip(tmp_path / "biomed", tmp_path / "bert")
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    rows = rows[::8]
    table = evaluate(parquet(rows), [f"local-dir:{folder}"], device="cpu").predictions.set_index(KEY[1:])
    loop = list(straightforward(rows, network.eval(), transform, tokenizer))
    assert len(loop) == len(table) > 40
    assert not [key for *key, index in loop if table.predicted_idx[tuple(key)] != index]
    assert load_model(f"local-dir:{folder}").context_length == 256
    for file in ("tokenizer.json", "vocab.txt"):
        (folder / file).unlink(missing_ok=True)
    refused_model(f"local-dir:{folder}", "holds no tokenizer")


@pytest.mark.slow
def test_conchs_format(tmp_path, rows, parquet):
    """Its own loop: 127 tokens, shortest side to 448 px, one pooled query."""
    folder = conch(tmp_path / "conch")
    rows = rows[::10]
    run = evaluate(parquet(rows), [f"conch:{folder}"], device="cpu")
    passport = run.record["models"][f"conch:{folder}"]
    assert passport["context_length"] == 127 and passport["preprocessing"]["size"] == 448
    network = Conch(1).eval()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    network.load_state_dict({key: value for key, value in state.items() if key in network.state_dict()})
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / CONCH_TOKENIZER), pad_token="<pad>")
    transform = open_clip.image_transform(
        448, is_train=False, mean=passport["preprocessing"]["mean"], std=passport["preprocessing"]["std"]
    )
    predicted = run.predictions.set_index(KEY)
    with torch.inference_mode():
        pixels = {row["image_id"]: transform(decode(row["image"]["bytes"]))[None] for row in rows}
        images = {image_id: network.encode_image(of) for image_id, of in pixels.items()}
    for question in run.questions[run.questions.wording == 1].itertuples():
        tokens = tokenizer(
            list(question.options), max_length=127, truncation=True, padding="max_length", return_tensors="pt"
        ).input_ids
        with torch.inference_mode():
            texts = network.encode_text(tokens)
        scores = torch.nn.functional.cosine_similarity(images[question.image_id], texts)
        key = (question.dataset, question.image_id, question.question, question.wording)
        assert predicted.predicted_idx[key] == int(scores.argmax())

    (folder / CONCH_TOKENIZER).unlink()
    refused_model(f"conch:{folder}", CONCH_TOKENIZER, "conch:DIR")


def test_conch_reads_padding_as_nothing():
    """The features of a text do not depend on what stands after its end."""
    torch.manual_seed(0)
    network = Conch(1).eval()
    tokens = torch.zeros((1, 127), dtype=torch.long)
    tokens[0, :4] = torch.tensor([1, 5, 9, 2])
    with torch.inference_mode():
        full, short = network.encode_text(tokens), network.encode_text(tokens[:, :4])
    assert full.shape == short.shape == (1, 512) and torch.isfinite(full).all()


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the project's shared data")
def test_the_real_configurations_have_the_published_numbers_of_weights():
    """Built without memory: the architectures that the loaders make are those of the paper's table of models."""
    published = pd.read_csv(PUBLISHED, index_col="model").parameters
    with torch.device("meta"):
        vision = transformers.EfficientNetConfig(
            image_size=289, width_coefficient=2.0, depth_coefficient=3.1, hidden_dim=640, depthwise_padding=[]
        ).to_dict()
        vision.pop("model_type")
        found = {
            "CLIP": transformers.CLIPModel(transformers.CLIPConfig()),
            "ALIGN": transformers.AlignModel(transformers.AlignConfig(vision_config=vision, projection_dim=640)),
            "BLIP": transformers.BlipForImageTextRetrieval(
                transformers.BlipConfig(text_config={"vocab_size": 30524}, vision_config={"image_size": 384})
            ),
        }
    for name, network in found.items():
        assert sum(p.numel() for p in network.parameters()) == published[name], name
