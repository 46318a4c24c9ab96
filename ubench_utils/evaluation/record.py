"""The record of a run: what each model is and how its answers came about, how fast, and what a reader has to know."""

import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from .. import __version__
from ..data import pixels
from ..data.benchmark import Benchmark
from ..engine import store
from ..engine.work import UNREADABLE
from ..models.model import Answers, Model
from ..models.sources import differing
from ..statistics.resampling import groups_of

TIED_SHARE, FEWEST_TIES = 0.05, 3  # of a model's answers: above both a note stands beside the score


def passport(model: Model, answers: Answers, benchmark: Benchmark, *, device: str, precision: str) -> dict:
    """Everything of a model that decides whether it was treated like the others, and how firm its answers are."""
    facts = {
        "card": {key: value for key, value in asdict(model.card).items() if value is not None},
        "guesses": model.guesses,
        "has_weights": model.has_weights,
        "has_embeddings": model.has_embeddings,
        "family": model.family,
        "replies": "reply" in answers.predictions,
        "identity": model.identity,
        **answers.passport,
    }
    tied = answers.predictions.tied
    facts["questions_tied"] = int(tied.sum())
    facts["notes"] = facts.get("notes", []) + ties(tied, replies=facts["replies"])
    if model.has_weights:
        facts["speed"] = _speed(model, benchmark, facts, device=device, precision=precision)
    return facts


def ties(tied: pd.Series, *, replies: bool = False) -> list[str]:
    """A note where so many answers were exact ties that the score is partly the alphabet's, or that of rounding."""
    n, of = int(tied.sum()), len(tied)
    if n < FEWEST_TIES or n <= TIED_SHARE * of:
        return []
    share = f"{n:,} of {of:,} questions ({100 * n / of:.1f} %)"
    if replies:  # the words were chosen, whatever the alphabet
        return [f"{share} have two likeliest letters of the same probability: other rounding may give another reply"]
    return [f"{share} are exact ties, decided by the alphabet: these answers say nothing of what the model sees"]


def unlike_pairs(models: Iterable[Model], passports: dict) -> list[str]:
    """Notes on fine-tuned models that are prepared otherwise than their base, so that more than the weights differs."""
    notes = []
    for tuned, base in ((model.name, model.card.base) for model in models if model.card.base):
        one, other = (passports.get(model, {}).get("preprocessing") for model in (base, tuned))
        key = differing(one, other) if one and other else None
        if key:
            notes.append(
                f"{tuned} and its base {base} are preprocessed differently ({key}: {other.get(key)} and "
                f"{one.get(key)}); part of their difference may come from that"
            )
    return notes


def picture_notes(benchmark: Benchmark, files: dict, failures: pd.DataFrame) -> list[str]:
    """Notes on what the image files were found to be, by hash, and on those that no model could read."""
    shown = benchmark.pictures
    keys = shown.dataset + "/" + shown.image_id
    found = {key: files[of] for key, of in zip(keys, shown.image_hash, strict=True) if of in files}
    unread = failures[failures.reason.astype(str).str.startswith(UNREADABLE)]
    inner = unread.reason.astype(str).str.removeprefix(f"{UNREADABLE} (").str.removesuffix(")")
    reasons = dict(zip(unread.dataset + "/" + unread.image_id, inner, strict=True))
    made = pixels.rendered([None if pd.isna(rule) else rule for rule in shown.rendering])
    return made + pixels.notes(found, {key: reason for key, reason in reasons.items() if key in {*keys} - found.keys()})


def group_notes(benchmark: Benchmark) -> list[str]:
    """A note where images are drawn together, as intervals rest on fewer units than there are images then."""
    n = groups_of(benchmark.pictures)
    if not n["n_groups"]:
        return []
    of, units = (f"{n[key]:,} {word}{'s' * (n[key] > 1)}" for key, word in (("n_groups", "group"), ("n_units", "unit")))
    note = f"{n['n_grouped']:,} of {len(benchmark.pictures):,} images are of {of} (specimens, slides or patients); "
    note += f"images of one group are drawn together, so intervals rest on {units}"
    alone = f"no interval is given of {n['n_alone']:,} sub-dataset{'s' * (n['n_alone'] > 1)} of a single group"
    return [f"{note}; {alone}" if n["n_alone"] else note]


def provenance() -> dict:
    """Versions, commit and whether the working tree was changed."""
    packages = ["torch", "open_clip_torch", "transformers", "datasets", "pandas", "numpy", "pillow", "scipy"]
    facts: dict = {
        "ubench_utils": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": None,
        "dirty": None,
    }
    try:
        git = ["git", "-C", str(Path(__file__).parent)]
        run: dict = {"capture_output": True, "text": True, "check": True, "timeout": 20}
        facts["commit"] = subprocess.run([*git, "rev-parse", "HEAD"], **run).stdout.strip()
        facts["dirty"] = bool(subprocess.run([*git, "status", "--porcelain"], **run).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        pass  # not a checkout, or no git: the record says null
    return facts


def _speed(model: Model, benchmark: Benchmark, facts: dict, *, device: str, precision: str) -> dict | None:
    """Seconds and images per second of the last run that encoded images of this benchmark with this model."""
    keys = [{"identity": model.identity, "precision": precision}, benchmark.fingerprint]
    encoded = facts["images_encoded_now"]
    if not encoded:
        return store.read_facts("speeds", *keys)
    speed = {
        "images": encoded,
        "seconds": round(facts["seconds"], 2),
        "images_per_second": facts["images_per_second"],
        "device": device,
        "cores": os.cpu_count(),
    }
    store.write_facts("speeds", *keys, facts=speed)
    return speed
