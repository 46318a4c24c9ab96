"""Predictions of many models on one benchmark, with the record of how they came about."""

import time
from collections.abc import Sequence
from functools import partial

import pandas as pd

from ..data.benchmark import Benchmark
from ..data.questions import build_questions, read_templates
from ..engine.device import choose_device
from ..errors import UserError
from ..models.answers import COLUMNS, OF_REPLIES
from ..models.cards import ModelCard
from ..models.load import open_model
from ..models.plan import Plan
from ..models.registry import as_list
from . import record
from .audit import flip_rates
from .run import Evaluation, keep_run, open_benchmark, open_run, run_key, unseen


def evaluate(
    dataset: str | Benchmark = "demo",
    models: str | Sequence[str | ModelCard] = ("demo-base",),
    *,
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
    models : sequence of str or ModelCard
        Names or model strings, or cards of models that are listed nowhere.
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
    opened = {model.name: model for model in map(open_model, as_list(models))}
    if not opened:
        raise UserError("no model given; `ubench list models` names the known ones")
    wordings = read_templates(templates) if templates else None
    device, precision = choose_device(device, precision)
    key = None
    if not isinstance(dataset, Benchmark):
        keyed = partial(run_key, dataset, limit, list(opened.values()), [device, precision, wordings])
        key = keyed()
        found = key and open_run(key, dataset, limit)
        if found and (found.record["audited"] or not audit):
            return found
    benchmark = dataset if isinstance(dataset, Benchmark) else open_benchmark(dataset, limit)
    questions = build_questions(benchmark, wordings)
    settings = {"device": device, "precision": precision}

    tables, failures = [], []
    passports: dict[str, dict] = {}
    files: dict[str, dict] = {}
    for name, model in opened.items():
        given = model.answer(benchmark, questions, **settings)
        tables.append(given.predictions.assign(model=name))
        failures.append(_failures(benchmark, given.failed).assign(model=name))
        files |= given.files
        passports[name] = record.passport(model, given, benchmark, **settings)
        if audit and model.has_weights and not model.replies:
            passports[name] |= flip_rates(model, benchmark, questions, **settings)
    predictions = pd.concat(tables, ignore_index=True)
    predictions = predictions[[*COLUMNS, "tied", *(column for column in OF_REPLIES if column in predictions)]]
    failed = pd.concat(failures, ignore_index=True)[["model", "dataset", "image_id", "reason"]]
    unread = unseen(failed, passports)
    asked = pd.MultiIndex.from_frame(predictions[["dataset", "image_id"]])
    guessers = [name for name, model in opened.items() if model.guesses]
    guessed = predictions.model.isin(guessers).to_numpy() & asked.isin(unread)
    predictions = predictions[~guessed].reset_index(drop=True)  # no model could see these: the baseline skips them too
    notes = benchmark.notes + questions.attrs["notes"] + record.unlike_pairs(opened.values(), passports)
    notes += record.group_notes(benchmark) + record.picture_notes(benchmark, files, failed)
    facts = {
        "dataset": {
            "name": benchmark.name,
            "revision": benchmark.revision,
            "fingerprint": benchmark.fingerprint,
            "images": len(benchmark.pictures),
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
        **record.provenance(),
    }
    run = Evaluation(benchmark, questions, predictions, failed, facts)
    return keep_run(run, key, keyed) if key else run


def plan(
    dataset: str = "demo",
    models: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    templates: str | None = None,
) -> list[Plan]:
    """What ``evaluate`` would ask of the models that reply in words, and what is known of its cost; asks nothing."""
    opened = [open_model(model) for model in as_list(models)]
    device, precision = choose_device(device, precision)
    benchmark = open_benchmark(dataset, limit)
    questions = build_questions(benchmark, read_templates(templates) if templates else None)
    return [model.plan(benchmark, questions, device=device, precision=precision) for model in opened]


def _failures(benchmark: Benchmark, reasons: dict[str, str]) -> pd.DataFrame:
    failed = benchmark.images[benchmark.images.image_hash.isin(reasons)]
    return failed[["dataset", "image_id"]].assign(reason=failed.image_hash.map(reasons))
