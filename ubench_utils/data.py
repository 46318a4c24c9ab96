"""Rows of the benchmark: where they come from, whether they are sound, and what is known of each image.

``load_benchmark`` opens the built-in sample, the Hub dataset at its pinned revision, or a local copy in the same
schema; names the rows that the Hub leaves unnamed; adds the facets that the results are broken down by; and gives
the content a fingerprint that does not depend on the order of the rows.
"""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import UserError, first_line
from .pixels import decode  # noqa: F401  (part of reading a dataset)

HUB_NAME = "jnirschl/uBench"
HUB_REVISION = "3f2c5b590bc7a208d5b60f3527ce4c76a331aa2b"
DATASETS = {
    "demo": "built-in synthetic sample, drawn by code; no network needed",
    HUB_NAME: f"μ-Bench on the Hugging Face Hub, split test, revision {HUB_REVISION[:7]}; 3.6 GB",
}
REQUIRED_COLUMNS = [
    "image_id", "image", "label_name", "dataset", "domain", "subdomain", "modality", "submodality", "stain",
    "captions", "questions",
]  # fmt: skip
FACETS = [
    "modality", "submodality", "scale", "domain", "subdomain", "stain", "organism", "synthetic",
    "microns_per_pixel", "taxonomy",
]  # fmt: skip
NOT_STATED = "not stated"
SMALL_SET = 10  # images; below, resampling within a sub-dataset shows too little of the scatter

# The Hub leaves `dataset` null on the Held et al. (2010) rows; their stain or their class names them.
HELD_BY_STAIN = {"H2B-mCherry": "held_et_al_2010_h2b", "GalT–EGFP": "held_et_al_2010_galt"}
HELD_MT_CLASSES = {"aster", "bipolar_spindle", "midbody"}


@dataclass(frozen=True)
class Benchmark:
    """A validated dataset.

    Attributes
    ----------
    name : str
        What it was loaded from.
    rows : datasets.Dataset
        The rows, image bytes undecoded.
    images : pandas.DataFrame
        One row per image, in the order of ``rows``: ``row`` (its number in the file), ``dataset, image_id,
        label_name, image_hash`` and the facets.
    fingerprint : str
        Hash of all images, captions and questions, independent of row order.
    revision : str or None
        Revision on the Hub.
    notes : list of str
        What the reader has to know about the rows (left out, named, not stated), each with a count.
    changes : tuple
        What is done to every image after it is decoded, say by ``resolution.shrunk``: pairs of a recipe, which enters
        the image's hash by ``digest([hash, *recipe])``, and a function from image to image.
    """

    name: str
    rows: object
    images: pd.DataFrame
    fingerprint: str
    revision: str | None = None
    notes: list = field(default_factory=list)
    changes: tuple = ()

    @property
    def is_synthetic(self) -> bool:
        """Whether every image is synthetic, as in the built-in sample."""
        return bool((self.images.synthetic == "synthetic").all())

    def image_bytes(self, row: int) -> bytes:
        """Encoded bytes of the image in a row; raises OSError where there are none."""
        return _encoded(self.rows[row]["image"])


def load_benchmark(name: str = "demo", limit: int | None = None) -> Benchmark:
    """Load and check a benchmark in the Hub schema.

    Parameters
    ----------
    name : str
        ``demo``, ``jnirschl/uBench``, or the path of a parquet or arrow file, of a folder of them, or of a
        ``save_to_disk`` folder.
    limit : int, optional
        Keep this many images, drawn at random with a fixed seed.

    Raises
    ------
    UserError
        If the name is unknown, the file unreadable or empty, or the schema broken: names the column and the row.
    """
    rows = _open_rows(name)
    if len(rows) == 0:
        raise UserError(f"dataset '{name}' has no rows")
    missing = [column for column in REQUIRED_COLUMNS if column not in rows.column_names]
    if missing:
        raise UserError(
            f"dataset '{name}' lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"a row in the schema of {HUB_NAME} has {', '.join(REQUIRED_COLUMNS)}"
        )
    for column in ("captions", "questions"):
        if not isinstance(rows.features[column], dict):
            raise UserError(
                f"dataset '{name}', column {column}: expected a struct of question types, found {rows.features[column]}"
            )
    of = len(rows)
    numbers = np.arange(of)
    if limit is not None:
        if limit < 1:
            raise UserError(f"limit is {limit}; it must be at least 1")
        numbers = np.sort(np.random.default_rng(0).permutation(of)[:limit])
        rows = rows.select(numbers)
    rows = _without_decoding(rows, name)
    images, notes = _describe(rows, name, numbers)
    if limit is not None:
        notes.append(f"{len(rows):,} of {of:,} rows, drawn at random with a fixed seed")
    official = _known_datasets().official.reindex(images.dataset).to_numpy()
    outside = official == False  # noqa: E712 (unknown names are NaN and stay)
    if outside.any():
        notes.append(f"{outside.sum()} rows of {', '.join(sorted(set(images.dataset[outside])))} left out: "
                     "segmentation only, outside the official tables")  # fmt: skip
        rows, images = rows.select(np.flatnonzero(~outside)), images[~outside].reset_index(drop=True)
        if len(rows) == 0:
            raise UserError(f"dataset '{name}' has only rows outside the official tables")
    sizes = images.dataset.value_counts()
    if (sizes < SMALL_SET).any():
        notes.append(
            f"{(sizes < SMALL_SET).sum()} sub-datasets have fewer than {SMALL_SET} images: "
            "intervals of pooled scores are too short there"
        )
    images["image_hash"] = _image_hashes(rows, images)
    fingerprint = _fingerprint(rows, images)
    return Benchmark(name, rows, images, fingerprint, HUB_REVISION if name == HUB_NAME else None, notes)


def _open_rows(name: str):
    import datasets
    from pyarrow.parquet import read_metadata

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if name == "demo":
        from .demo.sample import draw_sample

        return draw_sample()
    if name == HUB_NAME:
        try:
            return datasets.load_dataset(HUB_NAME, split="test", revision=HUB_REVISION)
        except Exception as error:  # the Hub client raises many kinds: offline, not found, disk full
            raise UserError(f"cannot load {HUB_NAME} from the Hub: {first_line(error)}") from error
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"unknown dataset '{name}': neither {' nor '.join(DATASETS)}, nor an existing file or folder")
    try:
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            loaded = datasets.load_from_disk(str(path))
            if isinstance(loaded, datasets.DatasetDict):
                loaded = loaded["test"] if "test" in loaded else next(iter(loaded.values()))
            return loaded
        files = sorted(map(str, path.rglob("*"))) if path.is_dir() else [str(path)]
        for suffix in ("parquet", "arrow"):
            chosen = [file for file in files if file.endswith(f".{suffix}")]
            if suffix == "parquet" and chosen and not sum(read_metadata(file).num_rows for file in chosen):
                raise UserError(f"dataset '{name}' has no rows")  # datasets itself stumbles over it
            if chosen:
                return datasets.load_dataset(suffix, data_files={"test": chosen}, split="test")
    except UserError:
        raise
    except Exception as error:  # pyarrow, datasets and the file system each have their own
        raise UserError(f"cannot read dataset '{name}': {first_line(error)}") from error
    raise UserError(f"cannot read dataset '{name}': no .parquet or .arrow file and no save_to_disk folder")


def _without_decoding(rows, name: str):
    import datasets

    try:
        return rows.cast_column("image", datasets.Image(decode=False))
    except Exception as error:
        raise UserError(
            f"dataset '{name}', column image: expected image bytes, found {rows.features['image']}"
        ) from error


def _known_datasets() -> pd.DataFrame:
    """What this project knows of a sub-dataset by its name: task, scale, taxonomy, in the official tables."""
    from .demo.sample import SETS

    known = pd.read_csv(Path(__file__).with_name("datasets.csv"))
    demo = pd.DataFrame(SETS)[["dataset", "scale", "taxonomy"]].assign(official=True)
    return pd.concat([known, demo]).set_index("dataset")


def _describe(rows, name: str, numbers: np.ndarray) -> tuple[pd.DataFrame, list]:
    """Facets of every image (``numbers``: its row in the file), and notes on what was named or is not stated."""
    wanted = REQUIRED_COLUMNS[:1] + REQUIRED_COLUMNS[2:-2]
    optional = [c for c in ("microns_per_pixel", "ncbitaxon_name", "synthetic", "scale") if c in rows.column_names]
    images = rows.select_columns(wanted + optional).to_pandas()
    notes = []

    unnamed = images.dataset.isna()
    if unnamed.any():
        held = images.stain.map(HELD_BY_STAIN)
        held[images.label_name.isin(HELD_MT_CLASSES)] = "held_et_al_2010_mt"
        images.loc[unnamed, "dataset"] = held[unnamed]
        nameless = images.dataset.isna()
        if nameless.any():
            row = int(nameless.to_numpy().argmax())
            raise UserError(
                f"dataset '{name}', column dataset, row {numbers[row]} (image_id {images.image_id[row]}): null, and "
                f"neither its stain nor its class is of Held et al. 2010 ({nameless.sum()} such rows); name it"
            )
        notes.append(f"{unnamed.sum()} rows without a sub-dataset named as Held et al. 2010 from stain and class")
    if images.image_id.isna().any():
        raise UserError(f"dataset '{name}', column image_id: null in row {numbers[images.image_id.isna().argmax()]}")
    images["image_id"] = images.image_id.astype(str)
    twice = images.duplicated(["dataset", "image_id"])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise UserError(
            f"dataset '{name}', row {numbers[row]}: the key (dataset {images.dataset[row]}, "
            f"image_id {images.image_id[row]}) occurs twice ({twice.sum()} repeated rows); keys must be unique"
        )

    known = _known_datasets().reindex(images.dataset)
    scale = pd.Series(known.scale.to_numpy(), index=images.index)
    images["scale"] = images.scale.where(images.scale.notna(), scale) if "scale" in images else scale
    images["taxonomy"] = known.taxonomy.to_numpy()
    images["organism"] = images.pop("ncbitaxon_name") if "ncbitaxon_name" in images else None
    if "microns_per_pixel" not in images:
        images["microns_per_pixel"] = np.nan
    images["microns_per_pixel"] = images.microns_per_pixel.astype(float)
    synthetic = images.synthetic if "synthetic" in images else pd.Series(None, index=images.index, dtype=object)
    images["synthetic"] = synthetic.map({True: "synthetic", False: "real"})
    unscaled = sorted(set(images.dataset[images.scale.isna()]))
    if unscaled:
        notes.append(f"scale not stated for {', '.join(unscaled)}; add a column `scale` to break results down by it")
    text = [column for column in FACETS if column != "microns_per_pixel"]
    images[text] = images[text].astype(object).where(images[text].notna(), NOT_STATED)
    return images.assign(row=numbers)[["row", "dataset", "image_id", "label_name", *FACETS]], notes


def _encoded(image: dict | None) -> bytes:
    """Bytes of an image cell; raises OSError where there are none."""
    if image and image.get("bytes"):
        return image["bytes"]
    if image and image.get("path"):
        return Path(image["path"]).read_bytes()
    raise OSError("the row holds no image")


def _image_hashes(rows, images: pd.DataFrame) -> list[str]:
    """SHA-256 of each image's encoded bytes; an absent image gets a name that no content can have."""
    hashes = []
    for image, dataset, image_id in zip(rows["image"], images.dataset, images.image_id, strict=True):
        try:
            hashes.append(hashlib.sha256(_encoded(image)).hexdigest()[:32])
        except OSError:
            hashes.append(f"absent: {dataset}/{image_id}")
    return hashes


def _fingerprint(rows, images: pd.DataFrame) -> str:
    """SHA-256 (16 hex digits) over the sorted hashes of (key, image, captions, questions)."""
    lines = []
    for row, text in enumerate(zip(rows["captions"], rows["questions"], strict=True)):
        key = (images.dataset[row], images.image_id[row], images.image_hash[row])
        lines.append(hashlib.sha256(repr((key, text)).encode()).digest())
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()[:16]
