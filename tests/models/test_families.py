"""Every architecture family: loaded by its public string, it answers as its library's documentation does."""

import io
import json
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import transformers
from helpers.families import FAMILIES, biomedclip, clip, conch, documented
from helpers.opened import forget, identity
from helpers.refusals import refused_model
from helpers.runs import shuffle_options, straightforward
from helpers.samples import png
from PIL import Image
from safetensors.torch import load_file, save_file

from ubench_utils.cli import main
from ubench_utils.data.benchmark import decode
from ubench_utils.engine import work
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.encoders import openclip
from ubench_utils.models.encoders.conch import Conch
from ubench_utils.models.encoders.network import DualEncoder
from ubench_utils.models.folders import CONCH_TOKENIZER
from ubench_utils.models.load import load_model
from ubench_utils.models.registry import find_model, model_cards
from ubench_utils.models.sources import resolve

pytestmark = pytest.mark.usefixtures("cache")
KEY = ["dataset", "image_id", "question", "wording"]
PUBLISHED = Path(__file__).parents[3] / "shared" / "published" / "models.csv"
REAL = Path(__file__).parents[3] / "shared" / "data" / "real_sample.parquet"
TEXTS = ["A Giemsa micrograph of a neutrophil.", "a micrograph", "none of the above"]


@pytest.fixture(autouse=True)
def forget_loaded_models():
    forget()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of a family's model, saved once."""
    folder = tmp_path_factory.mktemp("families")
    made = {}

    def get(family):
        if family not in made:
            made[family] = FAMILIES[family](folder / family)
        return made[family]

    return get


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
    from helpers.families import clip_tokenizer, save

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
    refused_model(f"open_clip:ViT-B-32@hf:{folder}", "quickgelu", "its config.json")
    refused_model(f"mix:open_clip:ViT-B-32-quickgelu+hf:{folder}@0.5", "two architectures", "open_clip:ARCH@hf:")


def test_clip_format_weights_mix_with_open_clips(tmp_path, small_arch):
    folder = clip(tmp_path / "tuned")
    base, tuned = "open_clip:small-quickgelu", f"open_clip:small-quickgelu@hf:{folder}"
    one, other = (load_model(name).network.state_dict() for name in (base, tuned))
    mixed = load_model(f"mix:{base}+{tuned}@0.5").network.state_dict()
    for key, value in mixed.items():
        torch.testing.assert_close(value, (one[key] + other[key]) / 2)
    refused_model(f"mix:open_clip:small+{tuned}@0.5", "activation")


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
    import shutil

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


def test_biomedclips_format(tmp_path, rows, parquet):
    folder = biomedclip(tmp_path / "biomed", tmp_path / "bert")
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    rows = rows[::8]
    table = run_on(parquet(rows), f"local-dir:{folder}").predictions.set_index(KEY[1:])
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
    run = run_on(parquet(rows), f"conch:{folder}")
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
    for question in run.questions.itertuples():
        if question.wording == 0:
            continue
        row = next(row for row in rows if row["image_id"] == question.image_id)
        tokens = tokenizer(
            list(question.options), max_length=127, truncation=True, padding="max_length", return_tensors="pt"
        ).input_ids
        with torch.inference_mode():
            image = network.encode_image(transform(decode(row["image"]["bytes"]))[None])
            texts = network.encode_text(tokens)
        scores = torch.nn.functional.cosine_similarity(image, texts)
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


# What goes wrong, one line each


@pytest.fixture
def broken(tmp_path, saved):
    """Copy a family's folder, free to spoil."""
    import shutil

    def make(family="clip"):
        return Path(shutil.copytree(saved(family), tmp_path / f"broken-{family}"))

    return make


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_missing_tokenizer(broken):
    folder = broken()
    (folder / "tokenizer.json").unlink()
    refused_model(f"hf:{folder}", "holds no tokenizer", "save_pretrained")


def test_a_missing_preprocessing(broken):
    folder = broken()
    (folder / "preprocessor_config.json").unlink()
    refused_model(f"hf:{folder}", "preprocessor_config.json")


def test_weights_that_are_not_finite(broken):
    folder = broken()
    state = load_file(folder / "model.safetensors")
    state["visual_projection.weight"].view(-1)[0] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused_model(f"hf:{folder}", "visual_projection.weight", "not finite")


def test_missing_weights_are_not_made_up(broken):
    folder = broken()
    state = load_file(folder / "model.safetensors")
    state.pop("text_projection.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused_model(f"hf:{folder}", "lacks 1 weight,", "text_projection.weight")


@pytest.mark.parametrize("family", ["clip", "siglip", "blip"])
def test_a_preprocessing_size_that_the_weights_do_not_fit(broken, family):
    folder = broken(family)
    edit(
        folder / "preprocessor_config.json",
        lambda c: c.update(size={"height": 96, "width": 96}, crop_size={"height": 96, "width": 96}),
    )
    refused_model(f"hf:{folder}", "images of 96 px")


def test_a_tokenizer_of_another_model(broken, saved):
    import shutil

    folder = broken("siglip")
    (folder / "spiece.model").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(saved("clip") / name, folder / name)
    refused_model(f"hf:{folder}", "do not take the tokens")


def test_a_wrong_activation(broken, monkeypatch, tmp_path):
    """An entry of one's own vouches for QuickGELU; the folder's configuration computes GELU."""
    folder = broken()
    edit(
        folder / "config.json",
        lambda c: [c[part].update(hidden_act="gelu") for part in ("text_config", "vision_config")],
    )
    assert load_model(f"hf:{folder}").activation == "gelu"
    own = tmp_path / "own.yml"
    own.write_text(f"mine: {{spec: 'hf:{folder}', activation: quickgelu, colour: '#123456', base: demo-base}}")
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    refused_model("mine", "quickgelu", "hidden_act", "models.yml")
    assert find_model("mine").base == "demo-base" and "mine" in model_cards()


def test_models_that_are_no_dual_encoder(broken, saved, tmp_path):
    bert = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, vocab_size=400
        )
    )
    from helpers.families import bert_tokenizer, save

    folder = save(tmp_path / "bert", bert, transformers.CLIPImageProcessor(), bert_tokenizer())
    refused_model(f"hf:{folder}", "BertModel", "no features of images")
    folder = broken("blip")
    edit(folder / "config.json", lambda c: c.update(architectures=["BlipForConditionalGeneration"]))
    refused_model(f"hf:{folder}", "image-text retrieval")
    refused_model(f"open_clip:ViT-B-32@hf:{saved('siglip')}", "of type siglip", "only CLIP")


def test_folders_and_files_that_are_not_there(tmp_path, broken):
    for wrong in ("open_clip:ViT-B-32@", "open_clip:ViT-B-32/", "open_clip:ViT-B-32/openai@x.pt"):
        refused_model(wrong, "open_clip:ARCH/TAG or open_clip:ARCH@FILE")
    refused_model(f"hf:{tmp_path}/nowhere", "no folder")
    refused_model("hf:nowhere", "no folder")
    refused_model(f"hf:{tmp_path}", "holds no config.json")
    folder = broken()
    (folder / "model.safetensors").write_bytes(b"junk")
    refused_model(f"hf:{folder}", "model.safetensors", "damaged")
    (folder / "model.safetensors").unlink()
    refused_model(f"hf:{folder}", "holds no weights")
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    refused_model(f"conch:{folder}", CONCH_TOKENIZER)
    (folder / CONCH_TOKENIZER).write_text("{}")
    refused_model(f"conch:{folder}", "not loaded as a PyTorch checkpoint")
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    refused_model(f"conch:{folder}", "another architecture than CONCH")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("GatedRepoError", ["gated", "hf auth login"]),
        ("RepositoryNotFoundError", ["there is no"]),
        ("RevisionNotFoundError", ["no revision"]),
        ("LocalEntryNotFoundError", ["cannot fetch"]),
    ],
)
def test_a_hub_that_says_no(monkeypatch, error, words):
    import huggingface_hub.errors as errors
    from huggingface_hub.errors import HfHubHTTPError

    kind = getattr(errors, error)

    def fail(*args, **kwargs):
        exception = kind.__new__(kind)
        Exception.__init__(exception, "403 Client Error\nmore lines")
        raise exception

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    assert issubclass(kind, (HfHubHTTPError, OSError, ValueError))
    for name in ("CONCH", "BLIP", "PLIP", "BiomedCLIP"):
        refused_model(name, name, *words)


def test_hub_models_come_from_their_pinned_revision(monkeypatch, saved, tmp_path):
    calls = []

    def snapshot(repository, **options):
        calls.append((repository, options["revision"]))
        return str(saved("blip"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    source = resolve(find_model("BLIP"))
    assert calls == [("Salesforce/blip-itm-base-coco", find_model("BLIP").revision)] and len(calls[0][1]) == 40
    assert source.kind == "transformers" and load_model("BLIP").matching_head
    assert {file.name for file in source.files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert identity("BLIP")["weights"] == identity(f"hf:{saved('blip')}")["weights"]


def test_the_commit_that_was_fetched_is_in_the_record(monkeypatch, saved, rows, parquet, tmp_path):
    import shutil

    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = shutil.copytree(saved("clip"), tmp_path / commit)  # the Hub's client names snapshots by their commit
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folder))
    record = run_on(parquet(rows[:3]), "hf:someone/clip").record
    assert record["models"]["hf:someone/clip"]["commits"] == {"hf:someone/clip": commit}
    assert run_on(parquet(rows[:3]), "demo-base").record["models"]["demo-base"]["commits"] == {}


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


# The doctor


def test_the_doctor_says_what_would_fail(capsys, saved, broken, monkeypatch, tmp_path):
    folder = broken("siglip")
    edit(folder / "preprocessor_config.json", lambda c: c.update(size={"height": 96, "width": 96}))
    assert main(["doctor", "--device", "cpu", "--models", "demo-pathology", f"hf:{saved('clip')}"]) == 0
    said = capsys.readouterr().out
    assert f"ok       hf:{saved('clip')}: 2,492,209 weights, activation quickgelu" in said
    assert "demo-base and demo-pathology: one architecture" in said
    own = tmp_path / "own.yml"
    own.write_text(f"tuned: {{spec: 'hf:{saved('clip')}', base: demo-base}}")
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    models = [f"hf:{folder}", "tuned", "clip", "hf:nobody/nothing"]
    assert main(["doctor", "--device", "cpu", "--models", *models]) == 2
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fails")]
    for line, word in zip(
        failures, ["images of 96 px", "near it: CLIP", "nobody/nothing", "two architectures"], strict=True
    ):
        assert word in line
    monkeypatch.setattr("ubench_utils.doctor._free_memory", lambda device: 1e6)
    assert main(["doctor", "--device", "cpu", "--models", "demo-base"]) == 2
    assert "GB are free" in capsys.readouterr().out
