"""Where models come from, and what goes wrong with their parts: one line each, also the doctor's."""

import shutil

import pytest
import torch
import transformers
from helpers.families import bert_tokenizer, edit, save
from helpers.opened import identity
from helpers.refusals import refused_model

from ubench_utils.cli import main
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.cards import model_cards
from ubench_utils.models.folders import CONCH_TOKENIZER
from ubench_utils.models.load import load_model
from ubench_utils.models.registry import find_model
from ubench_utils.models.sources import resolve

pytestmark = pytest.mark.usefixtures("cache", "forgotten")


def test_a_missing_tokenizer(broken):
    folder = broken()
    (folder / "tokenizer.json").unlink()
    refused_model(f"hf:{folder}", "holds no tokenizer", "save_pretrained")


def test_a_missing_preprocessing(broken):
    folder = broken()
    (folder / "preprocessor_config.json").unlink()
    refused_model(f"hf:{folder}", "preprocessor_config.json")


@pytest.mark.parametrize("family", ["clip", "siglip", "blip"])
def test_a_preprocessing_size_that_the_weights_do_not_fit(broken, family):
    folder = broken(family)
    edit(
        folder / "preprocessor_config.json",
        lambda c: c.update(size={"height": 96, "width": 96}, crop_size={"height": 96, "width": 96}),
    )
    refused_model(f"hf:{folder}", "images of 96 px")


def test_a_tokenizer_of_another_model(broken, saved):
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
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = shutil.copytree(saved("clip"), tmp_path / commit)  # the Hub's client names snapshots by their commit
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(folder))
    record = evaluate(parquet(rows[:3]), ["hf:someone/clip"], device="cpu").record
    assert record["models"]["hf:someone/clip"]["commits"] == {"hf:someone/clip": commit}
    assert evaluate(parquet(rows[:3]), ["demo-base"], device="cpu").record["models"]["demo-base"]["commits"] == {}


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
