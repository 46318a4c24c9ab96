"""Rows of the benchmark: whether they are sound, and what is known of each image.

``load_benchmark`` opens the built-in sample, the Hub dataset at its pinned revision, or a local copy in the same
schema (see ``storage``); names the rows that the Hub leaves unnamed; adds the facets that the results are broken down
by; and gives the content a fingerprint that does not depend on the order of the rows.
"""

import hashlib
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import UserError, first_line
from . import columns, microvqa
from .cognition import FURTHER, one_a_row
from .contents import digests_of_further, image_hashes
from .storage import open_table, picture_bytes, with_class_names

if TYPE_CHECKING:
    import datasets

HUB_NAME = "jnirschl/uBench"
HUB_REVISION = "3f2c5b590bc7a208d5b60f3527ce4c76a331aa2b"
DATASETS = {
    "demo": "built-in synthetic sample, drawn by code; no network needed",
    HUB_NAME: f"μ-Bench on the Hugging Face Hub, split test, revision {HUB_REVISION[:7]}; 3.6 GB",
}
COARSE = ["domain", "subdomain", "modality", "submodality", "stain"]  # columns, and types of question
REQUIRED_COLUMNS = ["image_id", "image", "label_name", "dataset", *COARSE, "captions", "questions"]
OPTIONAL_COLUMNS = ["microns_per_pixel", "ncbitaxon_name", "synthetic", "scale", "taxonomy", "group", "rendering"]
FACETS = [
    "modality",
    "submodality",
    "scale",
    "domain",
    "subdomain",
    "stain",
    "organism",
    "synthetic",
    "microns_per_pixel",
    "taxonomy",
]
NOT_STATED = "not stated"
SMALL_SET = 5  # images; of fewer, in simulations, 95 % intervals of a mean over sub-datasets cover 80 to 95 %

# The Hub leaves `dataset` null on the Held et al. (2010) rows; their stain or their class names them.
HELD_BY_STAIN = {"H2B-mCherry": "held_et_al_2010_h2b", "GalT–EGFP": "held_et_al_2010_galt"}
HELD_MT_CLASSES = {"aster", "bipolar_spindle", "midbody"}


class Rows:
    """Rows of a dataset that are opened when one of them is first asked for."""

    def __init__(self, opened):
        self._open, self._rows = opened, None

    def __getitem__(self, key):
        return self._opened()[key]

    def select(self, places):
        """Rows at these places, which are opened now."""
        return self._opened().select(places)

    def _opened(self):
        if self._rows is None:
            self._rows = self._open()
        return self._rows


@dataclass(frozen=True)
class Benchmark:
    """A validated dataset.

    Attributes
    ----------
    name : str
        What it was loaded from.
    rows : datasets.Dataset or Rows
        The rows, of plain types: nothing in them is decoded, and no path in them opened, when they are read.
    images : pandas.DataFrame
        One row per image, in the order of ``rows``: ``row`` (its number there), ``dataset, image_id, label_name,
        image_hash``, ``picture`` (the first row that shows the same one: each further cognition question of an image
        has a row of its own), ``further`` (digest of the images beside the first, empty where there is one), the
        facets, ``group`` (the specimen, slide or patient, null where not stated: pictures of one group in a
        sub-dataset are drawn together), and ``rendering`` (how a file's values became this picture,
        where that was not by the rule of ``pixels`` alone).
    fingerprint : str
        Hash of all images, captions and questions, independent of row order.
    revision : str or None
        Revision on the Hub.
    notes : list of str
        What the reader has to know about the rows (left out, named, not stated), each with a count.
    changes : tuple
        What is done to every image after it is decoded, say by ``resolution.shrunk``: pairs of a recipe, which enters
        the image's hash by ``digest([hash, *recipe])``, and a function from image to image.
    folder : pathlib.Path or None
        Where the files lie that rows name by path; None where rows hold their images.
    """

    name: str
    rows: "datasets.Dataset"
    images: pd.DataFrame
    fingerprint: str
    revision: str | None = None
    notes: list = field(default_factory=list)
    changes: tuple = ()
    folder: Path | None = None

    @property
    def pictures(self) -> pd.DataFrame:
        """The rows of ``images`` without those that show a picture again, for a further question."""
        return self.images[~self.images.picture.duplicated()]

    @property
    def is_synthetic(self) -> bool:
        """Whether every image is synthetic, as in the built-in sample."""
        return bool((self.images.synthetic == "synthetic").all())

    def part(self, name: str) -> "Benchmark":
        """The images of one sub-dataset with their rows; notes and fingerprint stay those of the whole."""
        return self._at(np.flatnonzero(self.images.dataset == name))

    def sample(self, limit: int) -> "Benchmark":
        """So many pictures, of each sub-dataset its share, with all their rows; otherwise as ``part``."""
        shown = self.pictures
        if len(shown) <= limit:
            return self
        drawn = shown.picture.iloc[draw(shown.dataset, limit)]
        return self._at(np.flatnonzero(self.images.picture.isin(drawn)))

    def _at(self, places: np.ndarray) -> "Benchmark":
        rows = Rows(lambda: self.rows.select(places))
        return replace(self, rows=rows, images=self.images.iloc[places].reset_index(drop=True))

    def image_bytes(self, row: int) -> bytes:
        """Encoded bytes of the image in a row; raises OSError where there are none."""
        return picture_bytes(self.rows[row]["image"], self.folder)

    def further_bytes(self, row: int) -> list[bytes]:
        """Encoded bytes of the images beside the first that the question of a row is about; raises OSError as above."""
        return [picture_bytes(cell, self.folder) for cell in self.rows[row].get(FURTHER) or []]


def load_benchmark(name: str = "demo", limit: int | None = None) -> Benchmark:
    """Load and check a benchmark in the Hub schema.

    Parameters
    ----------
    name : str
        ``demo``, ``jnirschl/uBench``, or the path of a parquet or arrow file, of a folder of them, of a
        ``save_to_disk`` folder, or of a folder with a ``metadata.jsonl`` of questions (see ``metadata``); or
        ``microvqa:`` and the path or the Hub name of a dataset in MicroVQA's schema (see ``microvqa``).
    limit : int, optional
        Keep this many images: of each sub-dataset its share, drawn at random with a fixed seed.

    Raises
    ------
    UserError
        If the name is unknown, the file unreadable or empty, or the schema broken: names the column and the row.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UserError(f"limit is {limit}; it must be a whole number, at least 1")
    rows, folder, notes, picture = open_rows(name)
    missing = [column for column in REQUIRED_COLUMNS if column not in rows.column_names]
    if missing:
        raise UserError(
            f"dataset '{name}' lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"a row in the schema of {HUB_NAME} has {', '.join(REQUIRED_COLUMNS)}"
        )
    if len(rows) == 0:
        raise UserError(f"dataset '{name}' has no rows")
    _check_types(rows.data.schema, name)
    images = _describe(rows, name, notes).assign(picture=picture)
    official = _known_datasets().official.reindex(images.dataset).to_numpy()
    outside = official == False  # noqa: E712 (unknown names are NaN and stay)
    if outside.any():
        notes.append(
            f"{outside.sum()} rows of {', '.join(sorted(set(images.dataset[outside])))} left out: "
            "segmentation only, outside the official tables"
        )
    kept = np.flatnonzero(~outside)
    if len(kept) == 0:
        raise UserError(f"dataset '{name}' has only rows outside the official tables")
    if limit is not None:
        shown = kept[~images.picture.iloc[kept].duplicated().to_numpy()]  # with a picture go all questions about it
        drawn = shown[draw(images.dataset.iloc[shown], limit)]
        missed = images.dataset.iloc[shown].nunique() - images.dataset.iloc[drawn].nunique()
        what = "row" if len(shown) == len(kept) else "image"
        if len(drawn) < len(shown):
            notes.append(
                f"{len(drawn):,} of {len(shown):,} {what}s, of each sub-dataset its share, "
                "drawn at random with a fixed seed"
                + (f"; of {missed} sub-dataset{'s' * (missed > 1)} that is no {what}" if missed else "")
            )
        kept = kept[images.picture.iloc[kept].isin(images.picture.iloc[drawn]).to_numpy()]
    if len(kept) < len(rows):
        rows, images = rows.select(kept), images.iloc[kept].reset_index(drop=True)
    sizes = images.dataset[~images.picture.duplicated()].value_counts()
    n = int((sizes < SMALL_SET).sum())
    if n:
        notes.append(
            f"{n} sub-dataset{'s have' if n > 1 else ' has'} fewer than {SMALL_SET} images: "
            "95 % intervals of macro averages cover 80 to 95 % there, and with a single image none is given"
        )
    images["image_hash"] = image_hashes(rows, images, folder)
    images["further"] = digests_of_further(rows[FURTHER] if FURTHER in rows.column_names else [[]] * len(rows), folder)
    several = int((images.further != "").sum())
    if several:
        notes.append(
            f"{several:,} questions are about several images: models that reply see all, others the first alone; "
            "images are counted, and drawn together, by the first"
        )
    revision = HUB_REVISION if name == HUB_NAME else None
    return Benchmark(name, rows, images, _fingerprint(rows, images), revision, notes, folder=folder)


def open_rows(name: str) -> tuple:
    """Rows as a `datasets.Dataset` of plain types, the folder of picture paths, notes on what was read, and the first
    row that shows the picture of each, as from ``one_a_row``.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    columns, folder = [*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, FURTHER], None
    notes: list[str] = []
    if name in DATASETS:
        known = _known_rows(name)
        kept = [column for column in columns if column in known.column_names]
        table = with_class_names(known.data.table.select(kept), known.features.arrow_schema)
    elif name.startswith(microvqa.PREFIX):
        table, folder, notes = microvqa.open_questions(name)
    elif "\0" not in name and os.path.exists(os.path.expanduser(name)):
        table, folder, notes = open_table(name, columns)
    else:
        raise UserError(f"unknown dataset '{name}': neither {' nor '.join(DATASETS)}, nor an existing file or folder")
    try:
        table, picture = one_a_row(table)
        return as_rows(table), folder, notes, picture
    except Exception as error:  # a type that the library does not know
        wanted = "store structs, lists and plain values, as the Hub's dataset does"
        raise UserError(f"cannot read dataset '{name}': {first_line(error)}; {wanted}") from error


def as_rows(table: pa.Table) -> "datasets.Dataset":
    """A table as rows; with a fingerprint given, or the library would hash every image for one."""
    import datasets

    return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint="rows")


def _known_rows(name: str) -> "datasets.Dataset":
    if name == "demo":
        from ..demo.sample import draw_sample

        return draw_sample()
    import datasets

    try:
        return datasets.load_dataset(HUB_NAME, split="test", revision=HUB_REVISION)
    except Exception as error:  # the Hub client raises many kinds: offline, not found, disk full
        raise UserError(f"cannot load {HUB_NAME} from the Hub: {first_line(error)}") from error


def _check_types(schema: pa.Schema, name: str) -> None:
    """Check the columns that no name stands in: captions and questions are structs, images bytes or paths."""
    for column in ("captions", "questions"):
        kind = schema.field(column).type
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not (pa.types.is_null(kind) or pa.types.is_struct(kind.value_type if listed else kind)):
            expected = "a struct of question types, or a list of structs with their `name`"
            raise UserError(f"dataset '{name}', column {column}: expected {expected}, found {str(kind)[:80]}")
    kind = schema.field("image").type
    allowed = {"bytes": (columns.is_bytes, pa.types.is_null), "path": (columns.is_text, pa.types.is_null)}
    if pa.types.is_struct(kind):
        parts = {part.name: part.type for part in kind if part.name in allowed}
        right = bool(parts) and all(any(test(parts[part]) for test in allowed[part]) for part in parts)
    else:
        right = any(test(kind) for tests in allowed.values() for test in tests)
    if not right:
        expected = "image bytes, paths, or a struct of bytes and path"
        raise UserError(f"dataset '{name}', column image: expected {expected}, found {kind}")


def _known_datasets() -> pd.DataFrame:
    """What this project knows of a sub-dataset by its name: task, scale, taxonomy, in the official tables."""
    from ..demo.sample import SETS

    known = pd.read_csv(Path(__file__).with_name("datasets.csv"))
    demo = pd.DataFrame(SETS)[["dataset", "scale", "taxonomy"]].assign(official=True)
    return pd.concat([known, demo]).set_index("dataset")


def draw(datasets, limit: int) -> np.ndarray:
    """Rows of a sample of so many images, ascending: of each sub-dataset its share, by largest remainder.

    A sample in proportion keeps the weight that each sub-dataset has in a pooled score, and intervals that resample
    within sub-datasets are those of such a sample.
    """
    datasets = pd.Series(np.asarray(datasets))
    rng, rows = np.random.default_rng(0), []
    sizes = datasets.value_counts().sort_index()
    quota = sizes * min(limit, len(datasets)) / len(datasets)
    n = np.floor(quota).astype(int)
    rest = (quota - n).sort_values(ascending=False, kind="stable").index[: min(limit, len(datasets)) - n.sum()]
    n[rest] += 1
    for name, members in datasets.groupby(datasets).indices.items():
        rows.append(rng.permutation(members)[: n[name]])
    return np.sort(np.concatenate(rows))


def _describe(rows, name: str, notes: list[str]) -> pd.DataFrame:
    """Facets of every image; adds notes on what was named or is not stated."""
    there = set(rows.column_names) - {"image", "captions", "questions", FURTHER}
    read = [column for column in REQUIRED_COLUMNS + OPTIONAL_COLUMNS if column in there]
    table = rows.select_columns(read).with_format("arrow")[:]
    images, rewritten = pd.DataFrame(index=range(len(rows))), {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        where = f"dataset '{name}', column {column}"
        if column == "image_id":
            images[column] = columns.keys(values, where)
        elif column == "synthetic":
            images[column] = columns.synthetic(values, where)
        elif column == "microns_per_pixel":
            images[column], unread = columns.pixel_sizes(values, where)
            if unread:
                shown = repr(str(unread[0])[:20])
                notes.append(f"{len(unread):,} pixel sizes are no positive number, such as {shown}: not stated")
        else:
            images[column], rewritten[column] = columns.names(values, where)
    if any(rewritten.values()):
        changed = ", ".join(column for column in rewritten if rewritten[column])
        notes.append(
            f"{sum(rewritten.values()):,} values of {changed} have blanks around them or decomposed accents; "
            "they were read without"
        )

    unnamed = images.dataset.isna()
    if unnamed.any():
        held = images.stain.map(HELD_BY_STAIN)
        held[images.label_name.isin(HELD_MT_CLASSES)] = "held_et_al_2010_mt"
        images.loc[unnamed, "dataset"] = held[unnamed]
        nameless = images.dataset.isna()
        if nameless.any():
            row = int(nameless.to_numpy().argmax())
            raise UserError(
                f"dataset '{name}', column dataset, row {row} (image_id {images.image_id[row]}): null, and "
                f"neither its stain nor its class is of Held et al. 2010 ({nameless.sum()} such rows); name it"
            )
        notes.append(f"{unnamed.sum()} rows without a sub-dataset named as Held et al. 2010 from stain and class")
    twice = images.duplicated(["dataset", "image_id"])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise UserError(
            f"dataset '{name}', row {row}: the key (dataset {images.dataset[row]}, "
            f"image_id {images.image_id[row]}) occurs twice ({twice.sum()} repeated rows); keys must be unique"
        )

    known = _known_datasets().reindex(images.dataset)
    images = images.reindex(columns=images.columns.union(OPTIONAL_COLUMNS, sort=False))
    images["scale"] = images.scale.where(images.scale.notna(), pd.Series(known.scale.to_numpy(), index=images.index))
    taxonomy = pd.Series(known.taxonomy.to_numpy(), index=images.index)
    images["taxonomy"] = images.taxonomy.where(images.taxonomy.notna(), taxonomy)
    images["organism"] = images.ncbitaxon_name
    unscaled = sorted(set(images.dataset[images.scale.isna()]))
    if unscaled:
        notes.append(f"scale not stated for {', '.join(unscaled)}; add a column `scale` to break results down by it")
    text = [column for column in FACETS if column != "microns_per_pixel"]
    images[text] = images[text].astype(object).where(images[text].notna(), NOT_STATED)
    kept = ["row", "dataset", "image_id", "label_name", *FACETS, "group", "rendering"]
    return images.assign(row=np.arange(len(images)))[kept]


def _fingerprint(rows, images: pd.DataFrame) -> str:
    """SHA-256 (16 hex digits) over the sorted hashes of (key, image, captions, questions)."""
    keys = zip(images.dataset, images.image_id, images.image_hash, strict=True)
    texts = zip(rows["captions"], rows["questions"], strict=True)
    content = (repr((key, text)).encode() for key, text in zip(keys, texts, strict=True))
    lines = sorted(hashlib.sha256(line).digest() for line in content)
    return hashlib.sha256(b"".join(lines)).hexdigest()[:16]
