"""Predictions of many models on one benchmark, with the record of how they came about."""

import json
import os
import platform
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from .. import __version__
from ..data import pixels
from ..data.benchmark import Benchmark
from ..data.questions import build_questions, read_templates
from ..engine import store
from ..engine.work import UNREADABLE, Features, image_features, match_images, text_features
from ..errors import UserError
from ..models.answers import COLUMNS, predict, predict_matches, predict_randomly
from ..models.registry import DEVICES, PRECISIONS, as_list, find_model, pairs
from ..models.sources import commits, differing, identity
from ..models.submission import read_submission
from .run import Evaluation, keep_run, open_benchmark, open_run, run_key

TIED_SHARE, FEWEST_TIES = 0.05, 3  # of a model's answers: above both a note stands beside the score
GPU_NODES = ["/dev/nvidiactl", "/dev/dxg", "/dev/kfd"]  # NVIDIA, Windows' Linux, AMD


def evaluate(
    dataset: str | Benchmark = "demo",
    models=("demo-base",),
    limit: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    templates: str | None = None,
    audit: bool = False,
) -> Evaluation:
    """Answer every question of a benchmark with every model; embeddings come from the cache where they are there.

    Parameters
    ----------
    dataset : str or Benchmark
        As for ``load_benchmark``.
    models : sequence of str
        Names or model strings.
    limit : int, optional
        Use this many images, drawn at random with a fixed seed.
    device : {"auto", "cpu", "cuda", "mps"}
        ``auto`` takes a GPU where there is one.
    precision : {"auto", "float32", "float16", "bfloat16"}
        Of the encoders; scores are float32 always. ``auto`` is float16 on CUDA and float32 elsewhere.
    templates : str, optional
        A file of further caption wordings, as for ``read_templates``.
    audit : bool
        Add to each passport how often answers flip with precision and batch size (see ``audit.flip_rates``): some
        images are encoded three times more, once.

    Raises
    ------
    UserError
        For any mistake in the arguments or the data, before anything is computed where that can be known.
    """
    started = time.monotonic()
    models = as_list(models)
    if not models:
        raise UserError("no model given; `ubench list models` names the known ones")
    wordings = read_templates(templates) if templates else None
    identities = {model: identity(model) for model in models}
    device, precision = choose_device(device, precision)
    key = None
    if not isinstance(dataset, Benchmark):
        keyed = partial(run_key, dataset, limit, identities, [device, precision, wordings])
        key = keyed()
        found = key and open_run(key, dataset, limit)
        if found and (found.record["audited"] or not audit):
            return found
    benchmark = dataset if isinstance(dataset, Benchmark) else open_benchmark(dataset, limit)
    questions = build_questions(benchmark, wordings)
    notes = benchmark.notes + questions.attrs["notes"]

    tables, failures, passports, files = [], [], {}, {}
    for model in models:
        spec = find_model(model).spec
        if spec == "random":
            tables.append(predict_randomly(questions).assign(model=model))
            passports[model] = {"identity": identities[model]}
        elif spec.startswith("predictions:"):
            answered, found = read_submission(spec.removeprefix("predictions:"), questions)
            tables.append(answered.assign(model=model))
            passports[model] = {"identity": identities[model], "notes": found + _ties(answered.tied)}
        else:
            answered, failed, passports[model], found = _with_model(
                model, identities[model], benchmark, questions, device, precision, audit
            )
            tables.append(answered)
            failures.append(failed)
            files |= found
    notes += _unlike_pairs(passports)
    predictions = pd.concat(tables, ignore_index=True)[[*COLUMNS, "tied"]]
    columns = ["model", "dataset", "image_id", "reason"]
    failures = pd.concat([pd.DataFrame(columns=columns), *failures], ignore_index=True)
    notes += _picture_notes(benchmark, files, failures)
    unread = pd.MultiIndex.from_frame(failures[["dataset", "image_id"]])
    guessers = [model for model in models if find_model(model).spec == "random"]
    asked = pd.MultiIndex.from_frame(predictions[["dataset", "image_id"]])
    guessed = predictions.model.isin(guessers).to_numpy() & asked.isin(unread)
    predictions = predictions[~guessed].reset_index(drop=True)  # no model could see these: the baseline skips them too
    record = {
        "dataset": {
            "name": benchmark.name,
            "revision": benchmark.revision,
            "fingerprint": benchmark.fingerprint,
            "images": len(benchmark.images),
            "questions": len(questions),
            "notes": notes,
            "wordings": questions.attrs["wordings"],
            "templates": wordings,
        },
        "models": passports,
        "device": device,
        "precision": precision,
        "audited": audit,
        "seconds": round(time.monotonic() - started, 3),
        **_provenance(),
    }
    run = Evaluation(benchmark, questions, predictions, failures, record)
    return keep_run(run, key, keyed) if key else run


def features(
    benchmark: Benchmark, questions: pd.DataFrame, model: str, device: str, precision: str
) -> tuple[Features, Features, dict]:
    """Features of the images and of the options of a benchmark, and facts of the model, from the cache if there.

    Parameters
    ----------
    benchmark : Benchmark
    questions : pandas.DataFrame
        As from ``build_questions``. Texts are cached together: the same questions find the same entries.
    model : str
        Name or model string.
    device, precision : str
        As resolved by ``choose_device``, or as in the record of an evaluation.

    Raises
    ------
    UserError
        If the model cannot be loaded, or compares options by a matching head and not by features.
    """
    key, load, facts = _opened(model, identity(model), device, precision)
    if facts["matching_head"]:
        raise UserError(f"model '{model}': it compares options by a matching head, not by features of image and text")
    return image_features(benchmark, key, load), text_features(_texts(questions), key, load), facts


def _texts(questions: pd.DataFrame) -> set:
    return {option for options in questions.options for option in options}


def _opened(model: str, identity_: dict, device: str, precision: str) -> tuple:
    """Folder of a model in the cache, a function that loads it once, and its facts."""
    key = store.digest({"identity": identity_, "precision": precision})
    loaded = []

    def load():
        if not loaded:
            from ..models.load import load_model

            loaded.append(load_model(model, device, precision))
            if identity(model) != identity_:  # what it computes would be stored under the name of the other weights
                loaded.clear()
                raise UserError(f"model '{model}': its files changed during the run; run it again when they are whole")
        return loaded[0]

    return key, load, _remembered("passports", [key], lambda: _facts(load(), device))


def _with_model(model, identity_, benchmark, questions, device, precision, audit):
    """Predictions, failures and passport of one model, and what the image files were found to be.

    The model is loaded only if something is not cached.
    """
    key, load, passport = _opened(model, identity_, device, precision)
    texts = _texts(questions)
    started = time.monotonic()
    if passport["matching_head"]:
        image = text = match_images(benchmark, questions, key, load)
    else:
        text = text_features(texts, key, load)
        image = image_features(benchmark, key, load)
    failed = benchmark.images[benchmark.images.image_hash.isin(image.failed)]
    failed = failed[["dataset", "image_id"]].assign(model=model, reason=failed.image_hash.map(image.failed))
    if len(failed) == len(benchmark.images):
        raise UserError(f"model '{model}': none of {len(failed)} images could be encoded ({failed.reason.iloc[0]})")
    if passport["matching_head"]:
        answered = predict_matches(questions, image).assign(model=model)
    else:
        answered = predict(questions, image, text, passport["logit_scale"]).assign(model=model)
    seconds = time.monotonic() - started
    passport = {
        **passport,
        "device": device,
        "identity": identity_,
        "commits": commits(model),
        "texts": len(texts),
        "texts_truncated": len(text.truncated),
        "images": len(benchmark.images.image_hash.unique()),
        "images_failed": len(image.failed),
        "images_encoded_now": image.encoded,
        "seconds": round(seconds, 3),
        "images_per_second": round(image.encoded / seconds, 1) if image.encoded else None,
        "questions_tied": int(answered.tied.sum()),
        "notes": _ties(answered.tied),
        "speed": _speed([key, benchmark.fingerprint], image.encoded, seconds, device),
    }
    if audit:
        low = precision if precision != "float32" else "float16" if device == "cuda" else "bfloat16"
        texts_asked = sorted({text for options in questions.options for text in options})
        keys = [key, benchmark.fingerprint, [device, low, len(questions), *texts_asked]]
        passport |= _remembered("audits", keys, lambda: _flip_rates(load(), benchmark, questions, low))
    return answered, failed, passport, image.found


def _picture_notes(benchmark: Benchmark, files: dict, failures: pd.DataFrame) -> list[str]:
    """Notes on what the image files were found to be, by hash, and on those that no model could read."""
    keys = benchmark.images.dataset + "/" + benchmark.images.image_id
    found = {key: files[of] for key, of in zip(keys, benchmark.images.image_hash, strict=True) if of in files}
    unread = failures[failures.reason.astype(str).str.startswith(UNREADABLE)]
    inner = unread.reason.astype(str).str.removeprefix(f"{UNREADABLE} (").str.removesuffix(")")
    reasons = dict(zip(unread.dataset + "/" + unread.image_id, inner, strict=True))
    return pixels.notes(found, {key: reason for key, reason in reasons.items() if key not in found})


def _ties(tied: pd.Series) -> list[str]:
    """A note where so many answers were exact ties that the score is partly the alphabet's."""
    n, of = int(tied.sum()), len(tied)
    if n < FEWEST_TIES or n <= TIED_SHARE * of:
        return []
    share = f"{n:,} of {of:,} questions ({100 * n / of:.1f} %)"
    return [f"{share} are exact ties, decided by the alphabet: these answers say nothing of what the model sees"]


def _unlike_pairs(passports: dict) -> list[str]:
    """Notes on fine-tuned models that are prepared otherwise than their base, so that more than the weights differs."""
    notes = []
    for base, tuned in pairs(passports):
        one, other = (passports.get(model, {}).get("preprocessing") for model in (base, tuned))
        key = differing(one, other) if one and other else None
        if key:
            notes.append(
                f"{tuned} and its base {base} are preprocessed differently ({key}: {other.get(key)} and "
                f"{one.get(key)}); part of their difference may come from that"
            )
    return notes


def _flip_rates(model, benchmark, questions, low: str) -> dict:
    from .audit import flip_rates  # imports torch

    return flip_rates(model, benchmark, questions, low)


def _facts(model, device: str) -> dict:
    """Facts of a model that its weights determine, kept beside its embeddings."""
    return {
        "parameters": model.parameters,
        "activation": model.activation,
        "activation_from": model.activation_from,
        "preprocessing": model.recipe,
        "context_length": model.context_length,
        "logit_scale": model.logit_scale,
        "matching_head": model.matching_head is not None,
        "doubt": model.doubt,
        "precision": model.precision,
        "device": device,
    }


def _speed(keys: list, encoded: int, seconds: float, device: str) -> dict | None:
    """Seconds and images per second of the last run that encoded images of this benchmark with this model."""
    path = store.entry("speeds", *keys)
    if encoded:
        facts = {
            "images": encoded,
            "seconds": round(seconds, 2),
            "images_per_second": round(encoded / seconds, 1),
            "device": device,
            "cores": os.cpu_count(),
        }
        store.write(path, json=np.array(json.dumps(facts)))
        return facts
    found = store.read(path)
    return found and json.loads(str(found["json"]))


def _remembered(kind: str, keys: list, compute) -> dict:
    """A dictionary from the cache, computed where it is not there; an empty one is not kept."""
    path = store.entry(kind, *keys)
    found = store.read(path)
    if found is None:
        facts = compute()
        if facts:
            store.write(path, json=np.array(json.dumps(facts)))
        return facts
    return json.loads(str(found["json"]))


def choose_device(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto`` of device and precision; torch is imported only where there may be an accelerator."""
    for value, allowed, what in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in allowed:
            raise UserError(f"{what} '{value}' is not one of {', '.join(allowed)}")
    if device != "cpu" and not (
        device == "auto" and sys.platform == "linux" and not any(map(os.path.exists, GPU_NODES))
    ):
        import torch

        works = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if device == "auto":
            device = next((name for name, there in works.items() if there), "cpu")
        elif not works[device]:
            raise UserError(f"device '{device}' is not there on this machine; use --device auto or cpu")
    elif device == "auto":
        device = "cpu"
    if precision == "auto":
        precision = "float16" if device == "cuda" else "float32"
    return device, precision


def _provenance() -> dict:
    """Versions, commit and whether the working tree was changed."""
    packages = ["torch", "open_clip_torch", "transformers", "datasets", "pandas", "numpy", "pillow", "scipy"]
    facts = {
        "ubench_utils": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": None,
        "dirty": None,
    }
    try:
        git = ["git", "-C", str(Path(__file__).parent)]
        run = {"capture_output": True, "text": True, "check": True, "timeout": 20}
        facts["commit"] = subprocess.run([*git, "rev-parse", "HEAD"], **run).stdout.strip()
        facts["dirty"] = bool(subprocess.run([*git, "status", "--porcelain"], **run).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        pass  # not a checkout, or no git: the record says null
    return facts
