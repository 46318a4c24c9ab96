"""Models: every way of loading, the activation check, interpolation, encoding."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from helpers.opened import forget, identity
from helpers.refusals import refused_model
from helpers.samples import DEMO
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file

from ubench_utils.errors import UserError
from ubench_utils.models.cards import PACKAGE, model_cards
from ubench_utils.models.encoders.features import text_features
from ubench_utils.models.load import load_model
from ubench_utils.models.merging import interpolate, merge_models
from ubench_utils.models.registry import find_model, parse_merge
from ubench_utils.models.sources import resolve

pytestmark = pytest.mark.usefixtures("cache", "forgotten")
SMALL = "ViT-S-32-alt"  # the smallest built-in architecture, 42 M weights
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 64, 64), dtype=np.uint8)
TEXTS = ["a micrograph", "A micrograph stained with H&E.", "none of the above"]


@pytest.fixture(scope="module")
def small_state():
    """Random weights of the small architecture, and what they make of two images and the texts."""
    torch.manual_seed(5)
    network = open_clip.create_model(SMALL).eval()
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features = network.encode_image(images), network.encode_text(open_clip.get_tokenizer(SMALL)(TEXTS))
    return network.state_dict(), images, features


def equal(first, second):
    """Whether two state dictionaries hold the same bits in the same types."""
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and torch.equal(first[k], second[k]) for k in first
    )


# Interpolation


@pytest.mark.parametrize(("alpha", "parent"), [(0, "demo-base"), (1, "demo-pathology")])
def test_the_ends_of_an_interpolation_are_the_parents_bit_for_bit(alpha, parent):
    end = load_model(f"mix:demo-base+demo-pathology@{alpha}")
    alone = load_model(parent)
    merge = parse_merge(f"mix:demo-base+demo-pathology@{alpha}")
    by_hand = merge_models([load_model("demo-base"), load_model("demo-pathology")], merge)
    for model in (end, by_hand):
        assert equal(model.network.state_dict(), alone.network.state_dict())
        assert model.encode_images(PIXELS).tobytes() == alone.encode_images(PIXELS).tobytes()
        assert model.encode_texts(TEXTS).tobytes() == alone.encode_texts(TEXTS).tobytes()


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_an_interpolation_is_the_weighted_mean(alpha):
    base, tuned = (load_model(name).network.state_dict() for name in ("demo-base", "demo-pathology"))
    before = {key: value.clone() for key, value in base.items()}
    mixed = load_model(f"mix:demo-base+demo-pathology@{alpha}").network.state_dict()
    moved = 0
    for key, value in mixed.items():
        if not value.is_floating_point():
            assert torch.equal(value, base[key]) and value.dtype == base[key].dtype
            continue
        first, second = base[key].numpy().astype(np.float64), tuned[key].numpy().astype(np.float64)
        np.testing.assert_allclose(value.numpy(), (1 - alpha) * first + alpha * second, rtol=1e-5, atol=1e-7)
        moved += bool((first != second).any())
    assert moved > 50 and mixed["logit_scale"] != base["logit_scale"]
    assert equal(before, base), "mixing changed a parent"


def test_integer_buffers_are_copied_and_nothing_is_shared():
    base = {"w": torch.tensor([1.0, 2.0]), "position_ids": torch.tensor([0, 1, 2])}
    tuned = {"w": torch.tensor([3.0, 2.0]), "position_ids": torch.tensor([7, 8, 9])}
    mixed = interpolate(base, tuned, 0.5)
    assert torch.equal(mixed["position_ids"], base["position_ids"]) and mixed["position_ids"].dtype == torch.int64
    assert mixed["w"].tolist() == [2.0, 2.0]
    for alpha in (0, 0.5, 1):
        for value in interpolate(base, tuned, alpha).values():
            value += 1
    assert base["w"].tolist() == [1.0, 2.0] and tuned["position_ids"].tolist() == [7, 8, 9]


def test_half_precision_weights_are_mixed_in_float32():
    """At 0.1 between 1 and 1 + 2⁻¹⁰ float16 arithmetic would lose the step."""
    base, tuned = torch.full((4,), 1.0).half(), torch.full((4,), 3.0).half()
    mixed = interpolate({"w": base}, {"w": tuned}, 0.3)["w"]
    assert mixed.dtype == torch.float16
    assert torch.equal(mixed, (base.float() * 0.7 + tuned.float() * 0.3).half())


def test_mixing_two_architectures_is_refused(model_folder, small_state, tmp_path):
    save_file(small_state[0], tmp_path / "small.safetensors")
    refused_model(
        f"mix:demo-base+open_clip:{SMALL}@{tmp_path}/small.safetensors@0.5", "cannot mix", "two architectures"
    )

    def wider(config):
        config["model_cfg"]["vision_cfg"]["width"] = 24

    folder = model_folder("wider", change=wider)
    config = json.loads((folder / "open_clip_config.json").read_text())
    network = open_clip.model.CLIP(**config["model_cfg"])
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    refused_model(f"mix:demo-base+local-dir:{folder}@0.5", "cannot mix", "two architectures", "visual.")


def test_mixing_two_activations_is_refused(model_folder):
    folder = model_folder(change=lambda config: config["model_cfg"].update(quick_gelu=True))
    refused_model(f"mix:demo-base+local-dir:{folder}@0.5", "cannot mix", "activation", "quickgelu")


@pytest.mark.parametrize(("key", "value", "words"), [("heads", 1, "num_heads"), ("pool_type", "first", "pool_type")])
def test_mixing_settings_that_leave_no_trace_in_the_weights_is_refused(model_folder, key, value, words):
    folder = model_folder(change=lambda config: config["model_cfg"]["text_cfg"].update({key: value}))
    refused_model(f"mix:demo-base+local-dir:{folder}@0.5", "cannot mix", "configurations differ", words)


def test_mixing_what_differs_in_training_alone(model_folder):
    folder = model_folder(change=lambda config: config["model_cfg"]["vision_cfg"].update(patch_dropout=0.5))
    assert load_model(f"mix:demo-base+local-dir:{folder}@0.5")


def test_a_key_that_occurs_twice(model_folder):
    file = model_folder() / "open_clip_config.json"
    file.write_text(file.read_text().replace('"preprocess_cfg"', '"preprocess_cfg": {}, "preprocess_cfg"', 1))
    refused_model(f"local-dir:{file.parent}", "a key occurs twice", "preprocess_cfg")


def test_a_preprocessing_that_is_left_out_is_a_doubt(model_folder):
    folder = model_folder(change=lambda config: config["preprocess_cfg"].update(crop_pct=0.9))
    assert "crop_pct" in load_model(f"local-dir:{folder}").doubt


@pytest.mark.parametrize(("key", "value"), [("mean", [0.4, 0.5, 0.5]), ("interpolation", "bilinear")])
def test_mixing_two_preprocessings_is_refused(model_folder, key, value):
    folder = model_folder(change=lambda config: config["preprocess_cfg"].update({key: value}))
    refused_model(f"mix:demo-base+local-dir:{folder}@0.5", "cannot mix", f"preprocessing {key}", str(value))


# Activation


def fake_tag(monkeypatch, file):
    """Let open_clip "download" this file for every pretrained tag."""
    for module in (open_clip, open_clip.factory):
        monkeypatch.setattr(module, "download_pretrained", lambda *args, **kwargs: str(file))


def openai_state(state):
    """Weights as OpenAI released them: in float16 with three extra numbers."""
    extra = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    halves = {key: value.half() for key, value in state.items()}
    return {**halves, **{name: torch.tensor(number) for name, number in extra.items()}}


def test_openai_weights_under_a_gelu_architecture_are_refused(monkeypatch, tmp_path, small_arch):
    """The trap itself: the tag `openai` of ViT-B-32 (made small) loads without an error into the wrong activation."""
    for end in ("", "-quickgelu"):
        small = open_clip.get_model_config(f"small{end}")
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, f"ViT-B-32{end}", small)
    monkeypatch.setattr("ubench_utils.models.sources._arch_config", open_clip.get_model_config)
    network = open_clip.create_model("ViT-B-32")
    file = tmp_path / "open_clip_model.safetensors"
    save_file({key: value.half() for key, value in network.state_dict().items()}, file)
    fake_tag(monkeypatch, file)
    refused_model("open_clip:ViT-B-32/openai", "quickgelu", "use open_clip:ViT-B-32-quickgelu")
    right = load_model("open_clip:ViT-B-32-quickgelu/openai")
    assert right.activation == "quickgelu" and "table" in right.activation_from
    assert any(isinstance(module, QuickGELU) for module in right.network.modules())
    assert find_model("CLIP").spec == "open_clip:ViT-B-32-quickgelu/openai"


@pytest.mark.parametrize("form", ["state", "nested", "wrapped"])
class TestReleaseFile:
    """A local file in the format of OpenAI's release."""

    @pytest.fixture
    def file(self, form, small_state, tmp_path):
        file, state = tmp_path / "ViT-B-32.pt", openai_state(small_state[0])
        wrapped = {f"module.{key}": value for key, value in state.items()}
        torch.save({"state": state, "nested": {"state_dict": state}, "wrapped": wrapped}[form], file)
        return file

    def test_is_refused_under_gelu_for_that_reason(self, file):
        refused_model(f"open_clip:{SMALL}@{file}", "quickgelu", "OpenAI's release format")

    def test_loads_under_quickgelu(self, file, monkeypatch):
        config = {**open_clip.get_model_config(SMALL), "quick_gelu": True}
        monkeypatch.setattr("ubench_utils.models.sources._arch_config", lambda arch: config)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, f"{SMALL}-quickgelu", config)
        assert load_model(f"open_clip:{SMALL}-quickgelu@{file}").activation == "quickgelu"


def test_a_plain_checkpoint_is_no_openai_release(small_state, tmp_path):
    torch.save(small_state[0], tmp_path / "plain.pt")
    model = load_model(f"open_clip:{SMALL}@{tmp_path / 'plain.pt'}")
    assert model.activation == "gelu" and model.activation_from.startswith("nothing")


def test_models_yml_vouches_for_a_hub_model(monkeypatch, model_folder):
    """QuiltNet's weights need QuickGELU even where its folder's configuration forgets to say so."""
    folder = model_folder(change=lambda config: config["model_cfg"].pop("quick_gelu"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folder))
    model = load_model("QuiltNet")
    assert model.activation == "quickgelu" and model.activation_from == "models.yml"
    assert load_model("hf-hub:wisdomik/QuiltNet-B-32").activation == "quickgelu"
    other = load_model("hf-hub:someone/else")
    assert other.activation == "gelu" and other.activation_from.startswith("nothing")
    assert not np.allclose(other.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_a_listed_gelu_model_with_a_quickgelu_folder_is_refused(monkeypatch, model_folder):
    folder = model_folder(change=lambda config: config["model_cfg"].update(quick_gelu=True))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folder))
    refused_model("BiomedCLIP", "gelu", "models.yml")


# Ways of loading


def test_a_hub_model_is_its_folder(monkeypatch, model_folder):
    calls = []

    def snapshot(repository, **options):
        calls.append((repository, options))
        return str(folder)

    folder = model_folder()
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    model = load_model("hf-hub:someone/tiny")
    assert calls[0][0] == "someone/tiny" and "*.bin" not in calls[0][1]["allow_patterns"]
    assert model.encode_images(PIXELS).tobytes() == load_model("demo-base").encode_images(PIXELS).tobytes()
    assert model.activation_from == "the folder's open_clip_config.json"

    (folder / "open_clip_model.safetensors").unlink()  # a repository of pickles only
    with pytest.raises(UserError, match="holds no weights"):
        resolve(find_model("hf-hub:someone/tiny"))
    assert calls[-1][1]["allow_patterns"] == ["*.bin"]


def test_a_hub_out_of_reach_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    refused_model("hf-hub:someone/tiny", "someone/tiny", "no route")
    for module in (open_clip, open_clip.factory):
        monkeypatch.setattr(module, "download_pretrained", fail)
    refused_model("open_clip:ViT-B-32/laion2b_s34b_b79k", "cannot fetch", "no route")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_local_checkpoint_is_the_weights_that_were_saved(small_state, tmp_path, suffix):
    state, images, (image_features, text_features_) = small_state
    file = tmp_path / f"weights.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save({"state_dict": state}, file)
    model = load_model(f"open_clip:{SMALL}@{file}")
    assert equal(model.network.state_dict(), state)
    with torch.no_grad():
        assert torch.equal(model.network.encode_image(images), image_features)
    own = torch.nn.functional.normalize(text_features_, dim=-1).numpy()
    np.testing.assert_allclose(model.encode_texts(TEXTS), own, atol=1e-6)


def test_random_weights_are_seeded_and_leave_the_generator_alone():
    torch.manual_seed(1)
    first = load_model(f"open_clip:{SMALL}")
    drawn = torch.rand(3)
    forget()
    torch.manual_seed(1)
    torch.rand(1)
    second = load_model(f"open_clip:{SMALL}")
    assert first.network is not second.network
    assert equal(first.network.state_dict(), second.network.state_dict())
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3)), "loading a model moved the global generator"
    assert first.activation_from == "random weights"


def test_a_checkpoint_of_another_architecture_is_refused(small_state, model_folder, tmp_path):
    save_file(small_state[0], tmp_path / "small.safetensors")
    refused_model(f"open_clip:RN50@{tmp_path}/small.safetensors", "another architecture", "RN50")
    folder = model_folder(weights=lambda state: state.pop("text_projection"))
    refused_model(f"local-dir:{folder}", "another architecture", "text_projection")


def test_a_checkpoint_of_another_width_is_refused_for_that_reason():
    refused_model(f"open_clip:{SMALL}@{DEMO / 'base' / 'open_clip_model.safetensors'}", "another architecture", SMALL)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model_folder, value):
    def spoil(state):
        state["visual.conv1.weight"].view(-1)[:2] = value

    refused_model(f"local-dir:{model_folder(weights=spoil)}", "visual.conv1.weight", "2 values", "not finite")


@pytest.mark.parametrize("content", [b"", b"junk", bytes(1000)])
@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"junk.{suffix}"
    file.write_bytes(content)
    refused_model(f"open_clip:{SMALL}@{file}", "junk")


def test_unknown_names_are_refused(tmp_path):
    for name in ("nonsense", "open_clip:", "local-dir:", "gpt:x"):
        refused_model(name, f"unknown model '{name}'", "demo-base")
    refused_model("open_clip:ViT-B-33", "no architecture 'ViT-B-33'", "ViT-B-32")
    refused_model("open_clip:ViT-B-32/nonsense", "no tag 'nonsense'", "openai")
    refused_model(f"open_clip:{SMALL}@{tmp_path}/missing.pt", "no checkpoint file")
    refused_model(f"local-dir:{tmp_path}", "no open_clip_config.json")
    refused_model("random", "no weights")


def test_every_entry_of_models_yml_is_sound():
    cards = model_cards()
    for name, card in cards.items():
        assert card.base is None or card.base in cards
        assert (card.base is None) == (card.in_domain is None)
        assert find_model(card.spec).name == name
        own = not card.has_weights or card.spec.startswith("hf:")  # transformers reads it of the configuration
        assert card.activation in ("gelu", "quickgelu") or own
        fetched = card.spec.startswith(("hf:", "hf-hub:", "conch:")) and str(PACKAGE) not in card.spec
        assert card.revision or not fetched, name
    assert str(PACKAGE) in cards["demo-base"].spec


# Identity


def test_the_identity_follows_the_weights_not_the_name(model_folder, tmp_path):
    first = model_folder("first")
    second = Path(shutil.copytree(first, tmp_path / "second"))
    assert identity(f"local-dir:{first}")["weights"] == identity(f"local-dir:{second}")["weights"]
    before = identity(f"local-dir:{first}")
    state = load_file(first / "open_clip_model.safetensors")
    state["logit_scale"] += 0.01
    save_file(state, first / "open_clip_model.safetensors")
    assert identity(f"local-dir:{first}") != before


def test_the_identity_of_an_interpolation_holds_its_parents():
    first, second = (identity(f"mix:demo-base+demo-pathology@{alpha}") for alpha in (0.3, 0.7))
    assert first != second and first["base"] == identity("demo-base") == second["base"]
    assert identity("mix:demo-base+demo-pathology@0") == identity("demo-base")
    assert identity("mix:demo-base+demo-pathology@1") == identity("demo-pathology")


def test_the_identity_holds_the_preprocessing_of_a_tag(monkeypatch, small_state, tmp_path):
    """A tag may bring its own mean and resizing; the same file without the tag gives other features."""
    file = tmp_path / "open_clip_model.safetensors"
    save_file(small_state[0], file)
    fake_tag(monkeypatch, file)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, SMALL, {"own": {"mean": (0, 0, 0), "std": (1, 1, 1)}})
    tagged, plain = f"open_clip:{SMALL}/own", f"open_clip:{SMALL}@{file}"
    assert load_model(tagged).recipe != load_model(plain).recipe
    assert identity(tagged) != identity(plain)


# Encoding


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_features_are_float32_of_length_one(precision):
    model = load_model("demo-base", precision=precision)
    for features, n in ((model.encode_images(PIXELS), 5), (model.encode_texts(TEXTS), 3)):
        assert features.dtype == np.float32 and features.shape[0] == n
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_preprocessing_is_open_clips_own():
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{DEMO / 'base'}")
    model = load_model("demo-base")
    rng = np.random.default_rng(1)
    for shape in ((64, 64), (100, 80), (31, 90)):
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        pixels = model.preprocess(image)
        assert pixels.dtype == np.uint8 and pixels.shape == (3, 64, 64)
        with torch.no_grad():
            own = torch.nn.functional.normalize(network.eval().encode_image(transform(image)[None]), dim=-1)
        np.testing.assert_allclose(model.encode_images(pixels[None]), own.numpy(), atol=1e-6)


def test_texts_that_are_too_long_are_cut_and_counted():
    model = load_model("demo-base")
    exact = next(n for n in range(1, 40) if model.truncated([" ".join(["cell"] * n)])[0]) - 1
    tokens = model.tokenize([" ".join(["cell"] * exact)])
    assert (tokens != 0).all() and model.context_length == tokens.shape[1]  # it fills the context
    texts = ["cell", " ".join(["cell"] * exact), " ".join(["cell"] * (exact + 1)), " ".join(["cell"] * 500)]
    assert model.truncated(texts).tolist() == [False, False, True, True]
    assert text_features(texts, "key", lambda: model).truncated == sorted(texts[2:])
    assert np.isfinite(model.encode_texts(texts)).all()
