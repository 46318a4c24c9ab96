"""Model folders and checkpoints that ask for code, or are broken: nothing runs, nothing waits, one line says why."""

import ast
import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.families import bert_tokenizer, biomedclip, conch, edit
from helpers.opened import forget, identity
from helpers.refusals import refused_model
from helpers.samples import DEMO
from safetensors.torch import load_file, save_file

from ubench_utils.cli import main
from ubench_utils.errors import UserError
from ubench_utils.models.cards import PACKAGE
from ubench_utils.models.encoders import network
from ubench_utils.models.folders import CONCH_TOKENIZER
from ubench_utils.models.load import load_model

pytestmark = pytest.mark.usefixtures("cache", "small_arch", "forgotten")
OPEN_CLIP, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """File that appears where code of a model was run; nobody is asked, and PyTorch compiles and runs nothing."""
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("a library asks whether to run code"))
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: pytest.fail("an archive would run"))
    trace = tmp_path / "was_run"
    yield trace
    assert not trace.exists(), "code of a model was run"


@pytest.fixture
def clip_folder(broken):
    return broken("clip")


def put(*path, **keys):
    """Return a change that sets keys within nested objects."""

    def change(content):
        for part in path:
            content = content.setdefault(part, {})
        content.update(keys)

    return change


def add_code(folder, trace):
    """Classes of every kind beside a model, in a module that leaves a trace when it is imported."""
    names = {"Config": "CLIPConfig", "Model": "CLIPModel", "Words": "CLIPTokenizer", "Pixels": "CLIPImageProcessor"}
    classes = [f"class {name}(transformers.{base}):\n    model_type = 'mine'\n" for name, base in names.items()]
    code = f"from pathlib import Path\nPath({str(trace)!r}).write_text('yes')\nimport transformers\n" + "".join(classes)
    (folder / "own.py").write_text(code)


OWN_MODEL = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
OWN_WORDS = {"AutoTokenizer": ["own.Words", "own.Words"]}
OWN_PIXELS = {"AutoImageProcessor": "own.Pixels"}


# Code beside a model


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", put(model_type="mine", auto_map=OWN_MODEL)),
        ("config.json", put(model_type=["clip"], auto_map=OWN_MODEL)),
        ("config.json", put("text_config", auto_map=OWN_MODEL)),
        ("config.json", put("vision_config", trust_remote_code=True)),
        ("config.json", put(trust_remote_code=True)),
        ("tokenizer_config.json", put(tokenizer_class="Words", auto_map=OWN_WORDS)),
        ("tokenizer_config.json", put(tokenizer_class="Words", auto_map=["own.Words", None])),
        ("tokenizer_config.json", put(tokenizer_class=None, auto_map=OWN_WORDS)),
        ("tokenizer_config.json", put("extra", auto_map=OWN_WORDS)),
        ("preprocessor_config.json", put(image_processor_type="Pixels", auto_map=OWN_PIXELS)),
        ("processor_config.json", put(processor_class="Both", auto_map={"AutoProcessor": "own.Both"})),
        ("processor_config.json", put("image_processor", image_processor_type="Pixels", auto_map=OWN_PIXELS)),
    ],
)
def test_a_folder_of_transformers_that_needs_its_own_code(clip_folder, trace, file, change):
    add_code(clip_folder, trace)
    edit(clip_folder / file, change)
    refused_model(f"hf:{clip_folder}", file, "needs code of its own, which this project does not run")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (put(attn_implementation="someone/kernel"), "someone/kernel"),
        (put(_attn_implementation="flash_attention_2"), "flash_attention_2"),
        (put(attn_implementation={"text_config": "someone/kernel:attention"}), "someone/kernel"),
        (put("text_config", _experts_implementation="someone/kernel"), "someone/kernel"),
        (put(quantization_config={"quant_method": "bitsandbytes"}), "quantised"),
        (put(transformers_weights="../other.safetensors"), "of another file"),
        (put("vision_config", fusion_config={"patch_embeddings": True}), "fused"),
    ],
)
def test_a_configuration_that_would_fetch_or_change_code(clip_folder, change, word):
    edit(clip_folder / "config.json", change)
    refused_model(f"hf:{clip_folder}", "config.json", word)


def test_a_model_that_transformers_knows_is_loaded_by_its_own_class(saved, clip_folder, trace):
    """Whatever code lies beside it; a user is told."""
    add_code(clip_folder, trace)
    edit(clip_folder / "config.json", put(auto_map=OWN_MODEL))
    edit(clip_folder / "tokenizer_config.json", put(auto_map=OWN_WORDS))
    model, plain = load_model(f"hf:{clip_folder}"), load_model(f"hf:{saved('clip')}")
    assert "code of its own, which is not run" in model.doubt and not plain.doubt
    assert model.encode_texts(["a cell"]).tobytes() == plain.encode_texts(["a cell"]).tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", trust_remote_code=True), ["trust_remote_code", "own"]),
        (put("model_cfg", "vision_cfg", "act_kwargs", trust_remote_code="yes"), ["trust_remote_code", "own"]),
        (put("model_cfg", "text_cfg", auto_map=OWN_WORDS), ["auto_map", "own"]),
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", code_revision="main"), ["code_revision"]),
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", tokenizer_file="x"), ["tokenizer_file", "bpe_path"]),
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", reduction_mask="random"), ["reduction_mask"]),
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", bpe_path="/etc/passwd"), ["/etc/passwd", "no file"]),
        (put("model_cfg", "text_cfg", "tokenizer_kwargs", bpe_path="../copy/bpe_merges.txt.gz"), ["no file"]),
        (put("model_cfg", "text_cfg", tokenizer_kwargs=["bpe_path"]), ["tokenizer_kwargs"]),
        (put("model_cfg", "text_cfg", hf_model_name="/nowhere/at/all"), ["text tower", "/nowhere/at/all"]),
        (put("model_cfg", "text_cfg", hf_model_name=["a"]), ["text tower"]),
        (put("model_cfg", "vision_cfg", timm_model_name="hf-hub:someone/model"), ["hf-hub:someone/model", "timm"]),
        (put("model_cfg", "vision_cfg", timm_model_name="local-dir:/somewhere"), ["timm"]),
        (put("model_cfg", "vision_cfg", timm_model_name=7), ["timm"]),
        (put("model_cfg", unknown_key=1), ["unknown_key"]),
        (put("model_cfg", quick_gelu="false"), ["quick_gelu", "without quotes"]),
    ],
)
def test_a_folder_of_open_clip_that_asks_for_more_than_it_may(model_folder, trace, change, words):
    folder = model_folder(change=change)
    add_code(folder, trace)
    refused_model(f"local-dir:{folder}", *words)


def test_a_tokenizer_with_its_own_code_in_a_folder_of_open_clip(model_folder, trace):
    folder = model_folder(change=put("model_cfg", "text_cfg", hf_tokenizer_name="any", tokenizer_kwargs={}))
    bert_tokenizer().save_pretrained(folder)
    add_code(folder, trace)
    edit(folder / "tokenizer_config.json", put(tokenizer_class="Words", auto_map=OWN_WORDS))
    refused_model(f"local-dir:{folder}", "tokenizer_config.json", "needs code of its own")


def test_a_text_tower_with_its_own_code(tmp_path, trace):
    folder = biomedclip(tmp_path / "biomed", tmp_path / "bert")
    config = tmp_path / "bert" / "config.json"
    add_code(tmp_path / "bert", trace)
    edit(config, put(auto_map={"AutoConfig": "own.Config", "AutoModel": "own.Model"}))
    assert load_model(f"local-dir:{folder}").context_length == 256  # a BERT, whatever lies beside it
    forget()
    edit(config, put(model_type="mine"))
    refused_model(f"local-dir:{folder}", "text tower", "own")


def test_no_call_leaves_the_question_open():
    """Every ``from_pretrained`` says that code is not run; pickles are never read without restriction."""
    for file in PACKAGE.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            given = {argument.arg: ast.unparse(argument.value) for argument in call.keywords}
            if name.endswith("from_pretrained"):
                assert given.get("trust_remote_code") == "False", f"{file.name}: {ast.unparse(call)}"
            if name == "torch.load":
                assert given.get("weights_only") == "True", f"{file.name}: {ast.unparse(call)}"
            assert not name.startswith(("torch.jit.", "pickle.")), f"{file.name}: {ast.unparse(call)}"


# Code in a checkpoint


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


@pytest.fixture
def state():
    return load_file(DEMO / "base" / WEIGHTS)


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.bin", "a.safetensors", "a"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_pickle_that_would_run_code(tmp_path, trace, state, name, beside):
    torch.save({"state_dict": state, "x": Evil(trace)} if beside else Evil(trace), tmp_path / name)
    words = ["safetensors file"] if name.endswith("safetensors") else ["posix.system", "torch.save(model.state_dict()"]
    refused_model(f"open_clip:small@{tmp_path / name}", name, *words)


def test_pickles_of_other_formats(tmp_path, trace, clip_folder, model_folder):
    """Of pickle itself, of NumPy, in folders of every format; a whole model, and one that holds itself."""
    with open(tmp_path / "old.pt", "wb") as file:
        pickle.dump(Evil(trace), file, protocol=2)
    refused_model(f"open_clip:small@{tmp_path / 'old.pt'}", "posix.system", "save_file")
    with open(tmp_path / "new.pt", "wb") as file:
        pickle.dump(Evil(trace), file)
    refused_model(f"open_clip:small@{tmp_path / 'new.pt'}", "new.pt", "save_file")
    np.savez(tmp_path / "a.npz", a=np.array([Evil(trace)], dtype=object))
    refused_model(f"open_clip:small@{tmp_path / 'a.npz'}", "NumPy's format")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    refused_model(f"open_clip:small@{tmp_path / 'whole.pt'}", "torch.nn", "torch.save(model.state_dict()")
    circle = {"w": torch.ones(2)}
    circle["again"] = circle
    torch.save(circle, tmp_path / "circle.pt")
    refused_model(f"open_clip:small@{tmp_path / 'circle.pt'}", "another architecture")

    (clip_folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Evil(trace)}, clip_folder / "pytorch_model.bin")
    refused_model(f"hf:{clip_folder}", "posix.system", "save_file")
    folder = model_folder()
    (folder / WEIGHTS).unlink()
    torch.save({"state_dict": Evil(trace)}, folder / "open_clip_pytorch_model.bin")
    refused_model(f"local-dir:{folder}", "posix.system", "save_file")
    torch.save(Evil(trace), clip_folder / "pytorch_model.bin")
    (clip_folder / CONCH_TOKENIZER).write_text("{}")
    refused_model(f"conch:{clip_folder}", "posix.system", "save_file")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # TorchScript's
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_archive_of_torchscript_is_not_loaded(tmp_path, trace, clip_folder):
    """Loading one runs code of its own: OpenAI's first release is one too."""
    archive = tmp_path / "ViT-B-32.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(archive))
    refused_model(f"open_clip:small@{archive}", "TorchScript archive", "torch.jit.load('ViT-B-32.pt'", "state_dict()")
    (clip_folder / "model.safetensors").unlink()
    shutil.copyfile(archive, clip_folder / "pytorch_model.bin")
    refused_model(f"hf:{clip_folder}", "TorchScript archive", "state_dict()")


# Broken folders


def replaced(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def gone(name, then=lambda path: None):
    return lambda folder: ((folder / name).unlink(), then(folder / name))


def header(change):
    def spoil(folder):
        content = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(change(content))

    return spoil


BROKEN = {
    "no configuration": (gone(OPEN_CLIP), ["holds no open_clip_config.json"]),
    "configuration is a folder": (gone(OPEN_CLIP, Path.mkdir), ["open_clip_config.json that is a file"]),
    "configuration is a pipe": (gone(OPEN_CLIP, os.mkfifo), ["open_clip_config.json that is a file"]),
    "configuration is Latin-1": (replaced(OPEN_CLIP, b'{"a": "\xe9"}'), ["no JSON in UTF-8"]),
    "configuration is nested": (replaced(OPEN_CLIP, b"[" * 10**5 + b"]" * 10**5), ["no JSON", "RecursionError"]),
    "configuration is a list": (replaced(OPEN_CLIP, b"[1]"), ["no JSON object"]),
    "configuration is no number": (replaced(OPEN_CLIP, b'{"model_cfg": NaN}'), ["lacks the key model_cfg"]),
    "weights are empty": (replaced(WEIGHTS, b""), [WEIGHTS, "is empty"]),
    "weights are a loop": (gone(WEIGHTS, lambda path: path.symlink_to(WEIGHTS)), [WEIGHTS, "broken link"]),
    "weights are a pipe": (gone(WEIGHTS, os.mkfifo), [WEIGHTS, "pipe"]),
    "weights are a device": (gone(WEIGHTS, lambda path: path.symlink_to("/dev/zero")), [WEIGHTS, "pipe"]),
    "weights are a long name": (gone(WEIGHTS, lambda path: path.symlink_to("x" * 300)), [WEIGHTS, "broken link"]),
    "weights are cut": (header(lambda content: content[: len(content) // 2]), [WEIGHTS, "damaged"]),
    "header is huge": (header(lambda content: struct.pack("<Q", 2**62) + content[8:]), [WEIGHTS, "damaged"]),
    "header is junk": (header(lambda content: content[:8] + b"\xff" * 99 + content[107:]), [WEIGHTS, "damaged"]),
    "several weights": (
        lambda folder: [(folder / WEIGHTS).rename(folder / "a.safetensors"), save_file({}, folder / "b.safetensors")],
        ["a.safetensors, b.safetensors", "nothing says which"],
    ),
    "no merges": (gone("bpe_merges.txt.gz"), ["bpe_merges.txt.gz", "no file"]),
    "merges are a pipe": (gone("bpe_merges.txt.gz", os.mkfifo), ["bpe_merges.txt.gz", "no file"]),
    "merges are no gzip": (replaced("bpe_merges.txt.gz", b"junk"), ["tokenizer", "gzip"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_line(model_folder, case):
    spoil, words = BROKEN[case]
    folder = model_folder()
    spoil(folder)
    refused_model(f"local-dir:{folder}", *words)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (put("model_cfg", text_cfg=[]), "text_cfg"),
        (put("model_cfg", vision_cfg="ViT"), "vision_cfg"),
        (put(preprocess_cfg=[1]), "preprocess_cfg"),
        (put("preprocess_cfg", mean="abc"), "mean abc"),
        (put("preprocess_cfg", mean=[0.5, 0.5]), "mean"),
        (put("preprocess_cfg", std=[0, 0, 0]), "std"),
        (put("preprocess_cfg", std=[0.5, float("nan"), 0.5]), "std"),
        (put("preprocess_cfg", interpolation="random"), "interpolation random"),
        (put("preprocess_cfg", resize_mode="crop"), "resize_mode crop"),
        (put("preprocess_cfg", mode="L"), "mode L"),
        (put("model_cfg", "vision_cfg", image_size=100_000), "model"),
        (put("model_cfg", "vision_cfg", image_size="abc"), "configuration"),
    ],
)
def test_a_setting_that_is_no_setting(model_folder, change, word):
    refused_model(f"local-dir:{model_folder(change=change)}", word)


def test_two_image_sizes_in_one_configuration_are_a_doubt(model_folder):
    model = load_model(f"local-dir:{model_folder(change=put('preprocess_cfg', size=100_000))}")
    assert "100000 px" in model.doubt and "64 px" in model.doubt and model.recipe["size"] == 64
    assert not load_model("demo-base").doubt


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(image_mean="abc"), ["image processor"]),
        (put(image_std=[0, 0, 0]), ["finite", "image_std"]),
        (put(size={"shortest_edge": 100_000}), ["100000 px"]),
        (put(crop_size={"height": 10**6, "width": 10**6}), ["1000000 px"]),
    ],
)
def test_a_preprocessing_of_transformers_that_is_none(clip_folder, change, words):
    edit(clip_folder / "preprocessor_config.json", change)
    refused_model(f"hf:{clip_folder}", *words)


@pytest.mark.parametrize("config", [b"", b"[" * 10**5, b"\xff", b'{"model_type": "clip", "text_config": [1]}', b"{}"])
def test_a_configuration_of_transformers_that_is_none(clip_folder, config):
    (clip_folder / "config.json").write_bytes(config)
    refused_model(f"hf:{clip_folder}", "config")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "merges.txt", "special_tokens_map.json"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_part_of_a_tokenizer_that_is_no_file(clip_folder, name, make):
    """A library would go on without it, with other tokens."""
    (clip_folder / name).unlink(missing_ok=True)
    make(clip_folder / name)
    refused_model(f"hf:{clip_folder}", name, "file" if name == "tokenizer_config.json" else "broken link")


def test_what_is_no_regular_file_is_not_read(model_folder):
    """Pipes, folders, loops and dangling links beside a model: it loads, and its identity is the same."""
    plain = identity(f"local-dir:{model_folder('plain')}")["weights"]
    folder = model_folder("odd")
    os.mkfifo(folder / "pipe.txt")
    (folder / "old.json").mkdir()
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "gone.txt").symlink_to("/nonexistent/x.txt")
    (folder / "zero.json").symlink_to("/dev/zero")
    (folder / "long.json").symlink_to("x" * 300)
    assert identity(f"local-dir:{folder}")["weights"] == plain
    assert load_model(f"local-dir:{folder}").parameters == load_model("demo-base").parameters


def test_files_that_a_user_may_not_read(model_folder, clip_folder, tmp_path):
    folder = model_folder()
    torch.save({}, tmp_path / "closed.pt")
    for file in (
        folder / WEIGHTS,
        clip_folder / "model.safetensors",
        clip_folder / "config.json",
        tmp_path / "closed.pt",
    ):
        file.chmod(0)
    if os.access(tmp_path / "closed.pt", os.R_OK):
        pytest.skip("this user may read everything")
    for name in (f"local-dir:{folder}", f"hf:{clip_folder}", f"open_clip:small@{tmp_path / 'closed.pt'}"):
        refused_model(name, "ermission")
        with pytest.raises(UserError):
            identity(name)


@pytest.mark.parametrize("form", ["local-dir:{}", "hf:{}", "conch:{}", "open_clip:small@{}", "open_clip:small@hf:{}"])
@pytest.mark.parametrize("place", ["/" + "x" * 300, "/" + "x/" * 3000, "~nobody/x", "/dev/zero", "/a\0b"])
def test_a_place_that_is_none(form, place):
    with pytest.raises(UserError) as caught:
        load_model(form.format(place))
    assert "no folder" in str(caught.value) or "no checkpoint file" in str(caught.value)


def test_the_doctor_says_one_line_a_model_and_goes_on(model_folder, clip_folder, tmp_path, trace, capsys, monkeypatch):
    cut = model_folder("cut")
    header(lambda content: content[:1000])(cut)
    edit(clip_folder / "config.json", put(model_type="mine", auto_map=OWN_MODEL))
    add_code(clip_folder, trace)
    torch.save(Evil(trace), tmp_path / "evil.pt")
    odd = model_folder("odd")
    real = network.load
    monkeypatch.setattr(network, "load", lambda model, *args: 1 / 0 if str(odd) in model.name else real(model, *args))
    models = [f"local-dir:{cut}", f"hf:{clip_folder}", f"open_clip:small@{tmp_path / 'evil.pt'}", f"local-dir:{odd}"]
    assert main(["doctor", "--device", "cpu", "--models", *models, "demo-base"]) == 2
    lines = capsys.readouterr().out.splitlines()
    fails = [line for line in lines if line.startswith("fails")]
    for line, name, word in zip(fails, models, ["damaged", "own", "posix.system", "ZeroDivisionError"], strict=True):
        assert name in line and word in line
    assert any(line.startswith("ok") and "demo-base" in line for line in lines)


def test_a_preprocessing_that_would_not_be_used(clip_folder, tmp_path, monkeypatch):
    """An entry of one's own sets it for open_clip's models alone."""
    own = tmp_path / "own.yml"
    own.write_text(json.dumps({"mine": {"spec": f"hf:{clip_folder}", "preprocess": {"mean": [0, 0, 0]}}}))
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    refused_model("mine", "preprocess", "preprocessor_config.json")


def test_conch_with_a_file_that_is_no_tokenizer(tmp_path):
    folder = conch(tmp_path / "conch")
    for content in ("{}", "[", '{"version": "1.0"}'):
        (folder / CONCH_TOKENIZER).write_text(content)
        refused_model(f"conch:{folder}", "tokenizer")
