"""Merges of models that reply in words: the arithmetic of weights, what is refused, and what is asked anew."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.opened import identity
from helpers.refusals import refused_model
from helpers.speakers import SPEAKERS, make
from PIL import Image

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models import merging
from ubench_utils.models.generators import local
from ubench_utils.models.generators.protocol import prompt
from ubench_utils.models.load import load_model
from ubench_utils.models.registry import TIES_DENSITY

FAMILY = "paligemma"  # whose first and last layer share their weights


@pytest.fixture(scope="session")
def speaker(tmp_path_factory):
    """Return the folder of a family's generator with the weights of a seed."""
    made = {}

    def get(family=FAMILY, seed=0):
        if (family, seed) not in made:
            made[family, seed] = make(family, tmp_path_factory.mktemp(f"{family}-{seed}"), seed)
        return made[family, seed]

    return get


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Random models never end by themselves."""
    monkeypatch.setattr(local, "MOST_TOKENS", 6)


def names(*folders):
    return "+".join(f"hf:{folder}" for folder in folders)


def weights_of(speaker):
    """Its weights, each once, in their order."""
    return {key: value.detach().numpy() for key, value in speaker.network.named_parameters()}


def replies(speaker):
    rng = np.random.default_rng(0)
    images = [(Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)),) for _ in range(4)]
    return speaker.ask(images, [prompt(f"Which is it, of {at}?", ["a cell", "a nucleus"]) for at in range(4)])


def test_a_mixture_answers_as_a_network_whose_weights_were_mixed_by_hand(speaker):
    folders = speaker(seed=0), speaker(seed=1)
    base, tuned = (load_model(names(folder)) for folder in folders)
    mixed = load_model(f"mix:{names(*folders)}@0.25")
    expected = {key: 0.75 * value + 0.25 * weights_of(tuned)[key] for key, value in weights_of(base).items()}
    found = weights_of(mixed)
    assert list(found) == list(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6, err_msg=key)
    before = replies(base), replies(tuned)
    by_hand = load_model(names(folders[0]))
    for key, parameter in by_hand.network.named_parameters():
        parameter.data = torch.from_numpy(found[key].copy())
    assert replies(mixed) == replies(by_hand)
    assert (replies(base), replies(tuned)) == before and replies(mixed) not in before  # and the parents are unharmed


def test_tied_weights_stay_tied_and_count_once(speaker):
    folders = speaker(seed=0), speaker(seed=1)
    base, tuned = (load_model(names(folder)) for folder in folders)
    merged = load_model(f"ties:{names(*folders)}@1")
    embedding = merged.network.get_input_embeddings().weight
    assert merged.network.get_output_embeddings().weight is embedding and merged.parameters == base.parameters
    one, other = (dict(model.network.named_parameters()) for model in (base, tuned))
    expected = merging.ties(one, other, weight=1, density=TIES_DENSITY)
    assert all(torch.equal(value, expected[key]) for key, value in merged.network.named_parameters())


@pytest.mark.parametrize("family", sorted(SPEAKERS.keys() - {"florence2"}))
def test_every_family_of_two_towers_is_merged_layer_by_layer(speaker, family):
    folder = speaker(family)
    model = load_model(names(folder))
    depths = merging.layer_depths(model.network.state_dict())
    assert {depth.tower for depth in depths.values()} == {"image", "text"}
    assert all(depth.layers == 2 for depth in depths.values())  # of each tower
    first, last = model.network.get_input_embeddings().weight, model.network.lm_head.weight
    layer = {id(value): depths[key].layer for key, value in model.network.named_parameters()}
    assert layer[id(first)] == 0 and layer.get(id(last)) == (0 if first is last else 1)
    same = load_model(f"mix:{names(folder, folder)}@0..1")  # of a model with itself
    for key, value in weights_of(model).items():
        assert np.array_equal(weights_of(same)[key], value), key


def test_layers_that_are_not_in_a_row_are_not_scaled(speaker):
    folder = speaker("florence2")
    refused_model(f"mix:{names(folder, folder)}@0..1", "layer of weight", "is unknown")
    load_model(f"mix:{names(folder, folder)}@0.5")


def changed(folder, tmp_path, file, change):
    """A copy of a folder with one of its JSON files changed."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    content = json.loads((copy / file).read_text())
    change(content)
    (copy / file).write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("processor_config.json", lambda c: c["image_processor"].update(image_mean=[0.1] * 3), ["image_mean"]),
        ("generation_config.json", lambda c: c.update(eos_token_id=7), ["end tokens ([1] and [1, 7])"]),
        ("config.json", lambda c: c["text_config"].update(rms_norm_eps=1e-2), ["rms_norm_eps (1e-06 and 0.01)"]),
        (
            "tokenizer.json",
            lambda c: c["model"]["vocab"].update({"a": c["model"]["vocab"]["b"], "b": c["model"]["vocab"]["a"]}),
            ["their tokenizers differ"],
        ),
    ],
)
def test_generators_that_differ_in_more_than_weights_are_refused(speaker, tmp_path, file, change, words):
    other = changed(speaker(), tmp_path, file, change)
    refused_model(f"mix:{names(speaker(), other)}@0.5", "cannot mix", *words)


def test_other_chat_templates_are_refused(speaker, tmp_path):
    other = shutil.copytree(speaker("llava"), tmp_path / "changed")
    template = (other / "chat_template.jinja").read_text()
    (other / "chat_template.jinja").write_text(template.replace("assistant", "model"))
    refused_model(f"mix:{names(speaker('llava'), other)}@0.5", "cannot mix", "chat template")


def test_other_architectures_and_encoders_are_refused(speaker):
    refused_model(f"soup:{names(speaker('llava'), speaker('idefics3'))}", "cannot mix", "two architectures")
    refused_model(f"mix:{names(speaker())}+demo-base@0.5", "replies in words", "'demo-base' does not")
    refused_model(f"mix:demo-base+{names(speaker())}@0.5", "replies in words", "'demo-base' does not")


def test_a_mixture_is_asked_by_itself_and_once(speaker, cache, rows, parquet, monkeypatch):
    parents, data = names(speaker(seed=0), speaker(seed=1)), parquet(rows[::10])
    models = [*parents.split("+"), f"mix:{parents}@0.5", f"mix:{parents}@0", f"mix:{parents}@1"]
    run = evaluate(data, models)
    asked = [run.record["models"][model]["questions_asked_now"] for model in models]
    assert asked == [asked[0], asked[0], asked[0], 0, 0] and asked[0] > 0
    assert [identity(model) for model in models[3:]] == [identity(model) for model in models[:2]]
    monkeypatch.setattr(local.Speaker, "ask", None)
    again = evaluate(data, models)
    assert again.predictions.equals(run.predictions)
