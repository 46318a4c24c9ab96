"""The recipe of the sample's tiny CLIP models: a base trained on all sub-datasets, specialists tuned from it.

open_clip's own classes, loss, tokenizer and folder format, on the CPU, in about two minutes.
"""

import copy
import gzip
import json
import shutil
import sys
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from .sample import CAPTIONS, NONE, QUESTIONS, SETS, TRAIN_SEED, VALUES, draw_set

MERGES = "bpe_merges.txt.gz"
WEIGHTS = "open_clip_model.safetensors"
PREPROCESS = {
    "size": 64,
    "mode": "RGB",
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
MODEL = {
    "embed_dim": 96,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
    "text_cfg": {
        "context_length": 32,
        "vocab_size": None,
        "width": 96,
        "heads": 3,
        "layers": 2,
        "tokenizer_kwargs": {"bpe_path": MERGES},
    },
}
# `named`: share of captions that name the class; `acquisition`: do captions say how the image was taken?
BASE = {"images_per_set": 400, "steps": 450, "batch": 96, "lr": 1e-3, "named": 0.45, "acquisition": True}
TUNING = {"images_per_set": 400, "steps": 80, "batch": 64, "lr": 1e-4, "named": 1.0, "acquisition": False}
SPECIALISTS = {
    "pathology": [s for s in SETS if s["domain"] == "pathology"],
    "fluorescence": [s for s in SETS if s["modality"] == "fluorescence microscopy"],
}


# ------------------------------------------------------------------------------------------------------ text


def vocabulary():
    """Every sentence the models may have to read, as a list of str."""
    texts = [NONE, *QUESTIONS.values(), "a micrograph of", "an image of", "abcdefghijklmnopqrstuvwxyz"]
    for templates in CAPTIONS.values():
        texts += templates
    for values in VALUES.values():
        texts += values
    for s in SETS:
        texts += [*s["classes"], *s["captions"], s["question"]]
    return texts


def write_merges(path):
    """Write those of open_clip's byte-pair merges that its segmentation of `vocabulary()` uses, in order."""
    full = open_clip.SimpleTokenizer()
    used = set()
    for word in {w for text in vocabulary() for w in full.pat.findall(full.clean_fn(text))}:
        pieces = [full.byte_encoder[b] for b in word.encode()]
        pieces[-1] += "</w>"
        while len(pieces) > 1:
            rank, at = min((full.bpe_ranks.get(pair, np.inf), i) for i, pair in enumerate(pairwise(pieces)))
            if rank == np.inf:
                break
            used.add(rank)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    merges = [pair for pair, rank in full.bpe_ranks.items() if rank in used]
    lines = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    Path(path).write_bytes(gzip.compress(lines.encode(), mtime=0))


def describe(spec, kind, submodality, rng, named, acquisition):
    """A training caption: the class, if it is named, and up to two other facts, in varied wording."""
    facts = []
    if acquisition:
        facts.append(
            ("acquired through {}", "obtained through {}")[rng.integers(2)].format(
                (spec["modality"], submodality)[rng.integers(2)]
            )
        )
    facts.append(
        ("typically studied in {}", "frequently studied in {}")[rng.integers(2)].format(
            (spec["domain"], spec["subdomain"])[rng.integers(2)]
        )
    )
    if spec["stain"]:
        facts.append(f"stained with {spec['stain']}")
    some = [facts[i] for i in rng.permutation(len(facts))[: rng.integers(0 if rng.random() < named else 1, 3)]]
    if rng.random() < named or not some:
        start = [*spec["captions"], "A micrograph of {class}.", "An image of {class}."][rng.integers(4)]
        start = start.replace("{class}", kind).rstrip(".")
    else:
        start = ("A micrograph", "A microscopy image")[rng.integers(2)]
    return ", ".join([start, *some]) + "."


# -------------------------------------------------------------------------------------------------- training


def draw_training(specs, seed, images_per_set):
    """Images (n, 3, 64, 64) uint8 and their (spec, kind, submodality), n = sets x `images_per_set`."""
    images, facts = [], []
    for spec in specs:
        pixels, kinds, submodalities = draw_set(spec, seed, images_per_set)
        images.append(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        facts += [(spec, *pair) for pair in zip(kinds, submodalities, strict=True)]
    return torch.cat(images), facts


def fit(model, tokenizer, specs, seed, settings, freeze_statistics=False):
    """Train `model` in place with open_clip's contrastive loss and return it in evaluation mode."""
    rng = np.random.default_rng([seed, 7])
    images, facts = draw_training(specs, seed, settings["images_per_set"])
    mean, std = (torch.tensor(PREPROCESS[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0}],
        lr=settings["lr"],
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings["lr"], settings["steps"], pct_start=0.1, cycle_momentum=False
    )
    loss_of = open_clip.ClipLoss()
    model.train()
    model.visual.to(memory_format=torch.channels_last)  # a quarter quicker on the CPU
    if freeze_statistics:  # the specialist differs from its base in learned weights alone
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
    order = np.empty(0, int)
    for step in range(settings["steps"]):
        if len(order) < settings["batch"]:
            order = rng.permutation(len(facts))
        chosen, order = order[: settings["batch"]], order[settings["batch"] :]
        batch = images[chosen].float().div(255).sub(mean).div(std)
        batch = torch.rot90(batch, int(rng.integers(4)), (2, 3))  # micrographs have no upright
        batch = batch.contiguous(memory_format=torch.channels_last)
        texts = [describe(*facts[i], rng, settings["named"], settings["acquisition"]) for i in chosen]
        loss = loss_of(*model(batch, tokenizer(texts)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        if (step + 1) % 50 == 0 or step + 1 == settings["steps"]:
            print(f"  step {step + 1}/{settings['steps']}  loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return model.eval()


@contextmanager
def whole_folder(folder):
    """Give a new folder to write to, which takes the place of an older one when all is written."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)


def save(model, folder, merges, config):
    """Write a folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` reads, all at once."""
    with whole_folder(folder) as new:
        shutil.copyfile(merges, new / MERGES)
        text = json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}, indent=1)
        (new / "open_clip_config.json").write_text(text + "\n", encoding="utf-8")
        weights = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in model.state_dict().items()}
        save_file(weights, new / WEIGHTS, metadata={"format": "pt"})
        (new / WEIGHTS).chmod(0o644)  # save_file leaves it readable to its owner alone


def train(out_dir, seed=TRAIN_SEED):
    """Train the base and its specialists and save each as a folder that open_clip loads.

    Parameters
    ----------
    out_dir : path
        Receives `base/` and one folder a specialist.
    seed : int
        Of the training images, the captions and the initial weights. The test sample has another seed.

    Returns
    -------
    dict of str to pathlib.Path
        The folders written, by model name.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    folders = {}
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(seed)
        merges = Path(scratch) / MERGES
        write_merges(merges)
        config = copy.deepcopy(MODEL)
        tokenizer = open_clip.SimpleTokenizer(str(merges), context_length=config["text_cfg"]["context_length"])
        config["text_cfg"]["vocab_size"] = tokenizer.vocab_size
        print("base", file=sys.stderr)
        base = fit(open_clip.CLIP(**copy.deepcopy(config)), tokenizer, SETS, seed, BASE)
        folders["base"] = out_dir / "base"
        save(base, folders["base"], merges, config)
        for name, specs in SPECIALISTS.items():
            print(name, file=sys.stderr)
            tuned = fit(copy.deepcopy(base), tokenizer, specs, seed + 1, TUNING, freeze_statistics=True)
            folders[name] = out_dir / name
            save(tuned, folders[name], merges, config)
    return folders
