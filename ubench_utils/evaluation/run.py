"""A run is its tables, written once: whoever wants it again opens it, and nothing is hashed or answered twice.

Entries of the store hold them as files: ``benchmarks`` the images of a dataset with their facets and hashes, ``runs``
the questions, predictions, failures and the record of an evaluation. A key holds all that determines the content: the
dataset (its revision, or the state of its files), the code that reads and answers, the versions of the libraries, the
identities of the models and the settings. What may be otherwise the next time is not kept: a run in which an image
failed, a dataset whose files were written just now.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..data import microvqa
from ..data.benchmark import HUB_NAME, HUB_REVISION, Benchmark, Rows, as_rows, load_benchmark, open_rows
from ..data.questions import HEADLINE_WORDING
from ..data.storage import files_of, picture_paths
from ..engine import store
from ..engine.work import is_absent
from ..errors import UserError
from ..files import file_state
from ..models.load import open_model
from ..models.model import Model
from ..statistics import scores as stats
from .results import save

PACKAGE = Path(__file__).parents[1]
ROOMS = ("demo", "data", "engine", "models", "evaluation")  # whose code decides what is in a run
LIBRARIES = ("torch", "torchvision", "open_clip_torch", "transformers", "datasets", "pandas", "numpy", "pillow")
RUN_TABLES = ("questions", "predictions", "failures")
SETTLED = 2  # seconds; a file that was written later may be written again within one tick of its clock
KEPT = 20  # entries of each kind, those used last


@dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` returns.

    Attributes
    ----------
    benchmark : Benchmark
        Its rows are opened when they are needed.
    questions : pandas.DataFrame
        As from ``build_questions``.
    predictions : pandas.DataFrame
        One row per question, wording and model that answered it (the prediction contract, and ``tied``).
    failures : pandas.DataFrame
        ``model, dataset, image_id, reason``: images that a model could not encode; no prediction holds them.
    record : dict
        What ``run.json`` holds: dataset, models, precision, device, versions, seconds.
    """

    benchmark: Benchmark
    questions: pd.DataFrame
    predictions: pd.DataFrame
    failures: pd.DataFrame
    record: dict

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Predictions joined with the facets of their questions: what ``stats`` reads."""
        return stats.join_answers(self.predictions, self.questions)

    @cached_property
    def asked(self) -> dict[str, int]:
        """Number of questions of each level in the headline wording, but those on images that no model could read."""
        unread = unseen(self.failures, self.record["models"])
        rows = self.questions[self.questions.wording == HEADLINE_WORDING]
        seen = ~pd.MultiIndex.from_frame(rows[["dataset", "image_id"]]).isin(unread)
        return rows.level[seen].value_counts().to_dict()

    @property
    def families(self) -> dict[str, str]:
        """The word for the kind of each model: dual encoder, generator, …"""
        return {model: facts["family"] for model, facts in self.record["models"].items()}

    @property
    def settings(self) -> dict[str, Any]:
        """Device and precision, for another evaluation like this one."""
        return {name: self.record[name] for name in ("device", "precision")}

    def features(self, model: str, benchmark: Benchmark | None = None, questions: pd.DataFrame | None = None) -> tuple:
        """Features of images and options, and facts of a model (see ``Encoder.features``), computed as in this run.

        Parameters
        ----------
        model : str
            Name or model string, of this run or another.
        benchmark, questions : optional
            Instead of those of the run.
        """
        benchmark = self.benchmark if benchmark is None else benchmark
        questions = self.questions if questions is None else questions
        return open_model(model).features(benchmark, questions, **self.settings)

    def save(self, folder, beside: dict | None = None) -> Path:
        """Write the tables and the record into a folder: see ``results.save``."""
        return save(self, folder, beside)


def unseen(failures: pd.DataFrame, passports: dict[str, dict]) -> pd.MultiIndex:
    """Keys ``(dataset, image_id)`` of the images on which every model failed that looks at any."""
    times = failures.groupby(["dataset", "image_id"]).size()
    return times.index[times == sum("images_failed" in facts for facts in passports.values())]


def open_benchmark(name: str = "demo", limit: int | None = None) -> Benchmark:
    """A dataset as from ``load_benchmark``, whose images are hashed only if they or the code changed since.

    The rows of one that was known are opened when they are first asked for; an image is checked to be the one that
    its hash names when it is decoded (``work.picture``).
    """
    key = _dataset_key(name, limit)
    if key is None:
        return load_benchmark(name, limit)
    entry = store.entry("benchmarks", key)
    found = _read(entry)
    if found:
        facts = json.loads(found["benchmark.json"])
        if _states(facts["pictures"]) == list(facts["pictures"].values()):
            images = _table(found["images.parquet"])
            rows = Rows(partial(_rows, name, limit, key, images.row.to_numpy(), found.get("rows.arrow")))
            about = {name: facts[name] for name in ("fingerprint", "revision", "notes")}
            return Benchmark(name, rows, images, **about, folder=facts["folder"] and Path(facts["folder"]))
    benchmark = load_benchmark(name, limit)
    if key == _dataset_key(name, limit) and not is_absent(benchmark.images).any():
        _keep_benchmark(entry, benchmark)
    return benchmark


def run_key(dataset: str, limit: int | None, models: list[Model], settings: list) -> str | None:
    """Key of a run: of the dataset, of the models' cards and identities, and of settings; None where it has none."""
    place = _dataset_key(dataset, limit)
    cards = [[asdict(model.card), model.identity] for model in models]
    return place and store.digest([place, cards, settings])


def open_run(key: str, dataset: str, limit: int | None) -> Evaluation | None:
    """The run of a key, or None where it is not there."""
    started = time.monotonic()
    found = _read(store.entry("runs", key))
    if not found:
        return None
    questions, predictions, failures = (_table(found[f"{name}.parquet"]) for name in RUN_TABLES)
    for column in ("options", "labels"):
        questions[column] = questions[column].map(tuple)
    record = json.loads(found["run.json"])
    about = record["dataset"]
    about["wordings"] = {int(number): name for number, name in about["wordings"].items()}
    for passport in record["models"].values():
        if "images_encoded_now" in passport:
            passport |= {"images_encoded_now": 0, "images_per_second": None}
        if "questions_asked_now" in passport:
            passport["questions_asked_now"] = 0
    benchmark = open_benchmark(dataset, limit)
    if benchmark.fingerprint != about["fingerprint"]:  # the pictures that its rows name are others now
        return None
    record["seconds"] = round(time.monotonic() - started, 3)
    return Evaluation(benchmark, questions, predictions, failures, record)


def keep_run(run: Evaluation, key: str, again: Callable[[], str | None]) -> Evaluation:
    """Write a run under its key, and return it; ``again`` gives the key as it would be now."""
    lasting = run.failures.empty and not is_absent(run.benchmark.images).any()
    lasting &= not any(passport.get("questions_failed") for passport in run.record["models"].values())
    if lasting and key == again():
        tables = {f"{name}.parquet": _parquet(getattr(run, name)) for name in RUN_TABLES}
        _keep(store.entry("runs", key), {**tables, "run.json": json.dumps(run.record).encode()})
    return run


def _dataset_key(name: str, limit: int | None) -> str | None:
    """Digest of what determines the images of a dataset; None where it has to be opened to be known."""
    if name in ("demo", HUB_NAME):
        return store.digest([name, HUB_REVISION, repr(limit), _code(), _versions()])
    path = Path(os.path.expanduser(name.removeprefix(microvqa.PREFIX)))
    try:
        files, _ = files_of(path)
        states = _states(files)
    except (UserError, OSError, ValueError):  # the opening says what is wrong
        return None
    if not _settled(states):
        return None
    return store.digest([name, str(path.absolute()), states, repr(limit), _code(), _versions()])


def _states(files) -> list:
    """State of each file, as JSON gives it back; None of one that is not there."""
    return [state and list(state) for state in map(file_state, files)]


def _settled(states: list) -> bool:
    latest = max((max(state[1:3]) for state in states if state), default=0)
    return latest / 1e9 < time.time() - SETTLED


@cache
def _code() -> str:
    files = [file for room in ROOMS for file in sorted((PACKAGE / room).rglob("*")) if file.suffix in (".py", ".csv")]
    return store.digest([store.file_digest(file) for file in [*files, PACKAGE / "files.py", PACKAGE / "text.py"]])


@cache
def _versions() -> dict:
    return {name: version(name) for name in LIBRARIES} | {"python": sys.version}


def _keep_benchmark(entry: Path, benchmark: Benchmark) -> None:
    pictures = {}
    if benchmark.folder:
        files = [str(benchmark.folder / path) for path in picture_paths(benchmark.rows.with_format("arrow")[:])]
        pictures = dict(zip(files, _states(files), strict=True))
        if not _settled(list(pictures.values())):
            return
    facts = {
        "fingerprint": benchmark.fingerprint,
        "revision": benchmark.revision,
        "notes": benchmark.notes,
        "folder": benchmark.folder and str(benchmark.folder),
        "pictures": pictures,
    }
    content = {"images.parquet": _parquet(benchmark.images), "benchmark.json": json.dumps(facts).encode()}
    if benchmark.name == "demo":  # what lies in no file
        table, buffer = benchmark.rows.with_format("arrow")[:], io.BytesIO()
        with pa.ipc.new_stream(buffer, table.schema) as stream:
            stream.write_table(table)
        content["rows.arrow"] = buffer.getvalue()
    _keep(entry, content)


def _rows(name: str, limit: int | None, key: str, numbers: np.ndarray, drawn: bytes | None):
    """The rows of a known dataset, which lie in its files, or were drawn."""
    if drawn is not None:
        return as_rows(pa.ipc.open_stream(drawn).read_all())
    rows = open_rows(name)[0].select(numbers)
    if _dataset_key(name, limit) != key:
        raise UserError(f"dataset '{name}' changed during the run; run it again")
    return rows


def _parquet(table: pd.DataFrame) -> bytes:
    """A table as a file that knows which columns held objects, text for one; lists are read back as arrays."""
    table = table.copy(deep=False)
    table.attrs = {**table.attrs, "objects": [name for name, kind in table.dtypes.items() if kind == "object"]}
    return table.to_parquet(index=False)


def _table(content: bytes) -> pd.DataFrame:
    table = pd.read_parquet(io.BytesIO(content))
    for name in table.attrs.pop("objects"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    return table


def _read(path: Path) -> dict[str, bytes] | None:
    """Files of an entry by name, or None where it is missing or damaged."""
    found = store.read(path)
    if found is None:
        return None
    with suppress(OSError):  # a cache of somebody else
        os.utime(path)  # it was used now
    return {name: content.tobytes() for name, content in found.items()}


def _keep(path: Path, files: dict[str, bytes]) -> None:
    """Write an entry, and remove those that were not used for longest.

    A cache that cannot be written to costs the time of the next run, nothing else.
    """
    with suppress(UserError, OSError):
        store.write(path, **{name: np.frombuffer(content, np.uint8) for name, content in files.items()})
        for old in sorted(path.parent.glob("*.npz"), key=lambda entry: entry.stat().st_mtime)[:-KEPT]:
            old.unlink()
