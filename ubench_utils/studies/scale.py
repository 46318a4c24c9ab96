"""Pixel size, field of view and detail: accuracy against each, and the same images with their detail taken away.

Pixel size and field of view differ between sub-datasets together with much else, so accuracy against them is a
description. The sweep is an experiment: the same image, the same question, fewer pixels.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from ..data.benchmark import Benchmark
from ..data.pixels import size
from ..data.questions import HEADLINE_WORDING
from ..engine.store import digest
from ..engine.work import is_absent, picture
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.run import Evaluation
from ..models.sources import image_size
from ..statistics.cells import distinct
from ..statistics.scores import compare_pairs, score
from .overview import levels, slices

SMALLEST = 8  # pixels, short side: no image is shrunk below, since nothing would be left to see
ENDS = {"min": "_low", "max": "_high"}  # of a range
REPLIES = 500  # images of which a model that replies is asked again: each factor costs as much as the whole run
MEASURES = {"microns_per_pixel": "pixel size (µm)", "field_of_view": "field of view (µm)"}


def image_sizes(benchmark: Benchmark) -> pd.DataFrame:
    """Size of every image in pixels and, where the pixel size is stated, in micrometres; no pixel is decoded.

    Returns
    -------
    pandas.DataFrame
        In the order of ``benchmark.pictures``: ``dataset, image_id``; ``width, height`` (pixels, from the file's
        header; NaN where there is no readable one); ``microns_per_pixel`` (NaN where not stated or not positive);
        ``field_of_view``: pixel size × width, in micrometres.
    """
    shown = benchmark.pictures
    sizes = [_size(benchmark, row) for row in shown.index]
    table = shown[["dataset", "image_id"]].reset_index(drop=True)
    table[["width", "height"]] = np.array(sizes, dtype=float).reshape(-1, 2)
    stated = shown.microns_per_pixel.reset_index(drop=True)
    table["microns_per_pixel"] = stated.where(stated > 0)
    return table.assign(field_of_view=table.microns_per_pixel * table.width)


def _size(benchmark: Benchmark, row: int) -> tuple:
    try:
        return picture(benchmark, row).size if benchmark.changes else size(benchmark.image_bytes(row))
    except Exception:  # of the file, or of reading it; the models count these images as failed
        return np.nan, np.nan


def by_size(answers: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Fine-grained score of every model in each sub-dataset, with its pixel size or field of view.

    Images of one sub-dataset that differ by more than a factor of two are apart: one row an octave, counted from the
    sub-dataset's smallest value.

    Parameters
    ----------
    answers : pandas.DataFrame
        As from ``scores.join_answers``.
    sizes : pandas.DataFrame
        As from ``image_sizes``; images without a value are left out.

    Returns
    -------
    pandas.DataFrame
        ``model, dataset, measure`` (``microns_per_pixel`` or ``field_of_view``), ``size`` (geometric mean,
        micrometres), ``chance_corrected, low, high`` (95 % interval), ``n_questions``. Empty where no fine-grained
        question is about an image with a stated size.
    """
    return pd.concat([_by_measure(answers, sizes, measure) for measure in MEASURES], ignore_index=True)


def _by_measure(answers: pd.DataFrame, sizes: pd.DataFrame, measure: str) -> pd.DataFrame:
    columns = ["model", "dataset", "measure", "size", "chance_corrected", "low", "high", "n_questions"]
    sizes = sizes.dropna(subset=measure)
    rows = answers[(answers.wording == HEADLINE_WORDING) & (answers.level == "fine")]
    rows = rows.drop(columns=["microns_per_pixel"]).merge(sizes, on=["dataset", "image_id"], validate="many_to_one")
    if rows.empty:
        return pd.DataFrame(columns=columns)
    smallest = rows.dataset.map(sizes.groupby("dataset")[measure].min())
    octave = np.floor(np.log2(rows[measure] / smallest)).astype(int)
    rows = rows.assign(octave=rows.dataset + "/" + octave.astype(str), logarithm=np.log(rows[measure]))
    octaves = rows.groupby("octave").agg(dataset=("dataset", "first"), size=("logarithm", "mean"))
    table = score(rows, by=["octave"])
    table = table[(table.by == "octave") & (table.estimand == "micro") & (table.question == "all")]
    table = table.join(octaves, on="slice")
    low, high = ((table[bound] - table.chance) / (1 - table.chance) for bound in ("ci_low", "ci_high"))
    table = table.assign(measure=measure, size=np.exp(table["size"]), low=low, high=high)
    return table[columns].sort_values(["model", "size"], ignore_index=True)


def shrunk(benchmark: Benchmark, factor: float) -> Benchmark:
    """The same benchmark with smaller images: area averages, as a coarser detector of the same field would record.

    Both sides shrink by the factor, or by less where the short side would fall below ``SMALLEST`` pixels. Images are
    shrunk when they are read, so nothing is computed where their features are in the cache; the hash of an image is
    made of the original's and the factor. An image that cannot be read fails as it would in the original.

    Parameters
    ----------
    benchmark : Benchmark
    factor : float
        At least 1; 1 leaves every pixel as it is.
    """
    recipe = ["shrunk, area", float(factor), SMALLEST]
    hashes = benchmark.images.image_hash
    hashes = hashes.where(is_absent(benchmark.images), hashes.map(lambda of: digest([of, *recipe])))
    return replace(
        benchmark,
        images=benchmark.images.assign(image_hash=hashes),
        fingerprint=digest([benchmark.fingerprint, *recipe])[:16],
        notes=[*benchmark.notes, f"all images shrunk by {factor:g}"],
        changes=(*benchmark.changes, (recipe, lambda image: _shrunk(image, factor))),
    )


def shrunk_size(width: float, height: float, factor: float) -> tuple[int, int]:
    """Size in pixels of an image after ``shrunk``: the short side stays at ``SMALLEST`` or more, as far as it was."""
    factor = max(min(factor, min(width, height) / SMALLEST), 1)
    return round(width / factor), round(height / factor)


def _shrunk(image: Image.Image, factor: float) -> Image.Image:
    smaller = image.resize(shrunk_size(*image.size, factor), Image.Resampling.BOX)  # equal sizes: an exact copy
    smaller.info = image.info
    return smaller


def _check_factors(factors) -> None:
    if not isinstance(factors, list | tuple):
        raise UserError(f"shrink is {factors!r}: write a list of numbers of at least 1, say [2, 4, 8]")
    for factor in factors:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < np.inf:
            raise UserError(f"shrink by {factor!r}: a factor is a number of at least 1, say [2, 4, 8]")


def sweep(run: Evaluation, factors) -> pd.DataFrame:
    """Answers of the run's models to the same questions about shrunk images; ``factor`` 1 is the native size.

    Models without weights here (the random baseline, answers made elsewhere) cannot look again and are left out. Those
    that reply in words are asked about a sample of ``REPLIES`` images, of each sub-dataset its share.

    Raises
    ------
    UserError
        If a factor is not a number of at least 1.
    """
    _check_factors(factors)
    models = [model for model, facts in run.record["models"].items() if facts["has_weights"]]
    wordy = [model for model in models if run.record["models"][model]["replies"]]
    whole = [model for model in models if model not in wordy]
    parts = [run.answers[run.answers.model.isin(models)].assign(factor=1.0)]
    for factor in sorted({float(factor) for factor in factors} - {1.0}) if models else []:
        smaller = shrunk(run.benchmark, factor)
        for images, looking in ((smaller, whole), (smaller.sample(REPLIES), wordy)):
            if looking:
                parts.append(evaluate(images, looking, **run.settings).answers.assign(factor=factor))
    swept = pd.concat(parts, ignore_index=True)
    return swept[swept.wording == HEADLINE_WORDING].reset_index(drop=True)


def changes(swept: pd.DataFrame) -> pd.DataFrame:
    """Paired change of micro accuracy from the native size, for every model and factor of a ``sweep``.

    Returns
    -------
    pandas.DataFrame
        ``model, factor`` and the columns of ``scores.compare_pairs`` (the reference is the model at native size),
        over all images and by scale. Empty without a factor beside 1.
    """
    sizes = swept[["model", "factor"]].drop_duplicates()
    names = {(row.model, row.factor): f"{row.model} ÷ {row.factor:g}" for row in sizes.itertuples()}
    smaller = {name: key for key, name in names.items() if key[1] > 1}
    rows = swept.assign(model=[names[key] for key in zip(swept.model, swept.factor, strict=True)])
    table = compare_pairs(rows, [(names[model, 1.0], name) for name, (model, _) in smaller.items()], by=["scale"])
    table = distinct(table[table.estimand == "micro"])
    keys = [smaller[name] for name in table.model]
    return table.assign(model=[model for model, _ in keys], factor=[factor for _, factor in keys])


def with_native(changes: pd.DataFrame) -> pd.DataFrame:
    """``changes`` with a row of no change for the native size of every line, whose factor is 1."""
    start = changes.drop_duplicates(["model", "level", "question", "by", "slice"])
    start = start.assign(factor=1.0, estimate=0.0, ci_low=np.nan, ci_high=np.nan)
    return pd.concat([start, changes], ignore_index=True)


def context(run: Evaluation, scores: pd.DataFrame, sizes: pd.DataFrame, changed: pd.DataFrame) -> dict:
    """What the page on scale says; ``sizes`` is from ``image_sizes``, ``changed`` from ``changes``."""
    named = slices(scores, "scale", "classification", corrected=True)
    return {"slices": named, **stated_sizes(sizes), **shrinking(run, changed)}


def by_dataset(sizes: pd.DataFrame) -> pd.DataFrame:
    """Smallest and largest size of the images of each sub-dataset, smallest pixels first; from ``image_sizes``."""
    measures = ["width", "height", *MEASURES]
    groups = sizes.groupby("dataset")
    ends = pd.concat([groups[measures].agg(end).add_suffix(name) for end, name in ENDS.items()], axis=1)
    ends = ends.assign(images=groups.size(), n_stated=groups.microns_per_pixel.count())
    order = groups.microns_per_pixel.median().rename("order")
    return ends.join(order).reset_index().sort_values(["order", "dataset"], ignore_index=True)


def of_levels(changed: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``changes`` for whole levels over all images."""
    return levels(changed[changed.by == "all"])


def detail_left(sizes: pd.DataFrame, factors) -> pd.DataFrame:
    """Short side of the shrunk images: ``factor, images, median, smallest``, and ``n_less``, shrunk by less than it."""
    known = sizes.dropna(subset=["width", "height"])[["width", "height"]]
    rows = []
    for factor in sorted({1.0, *map(float, factors)}):
        short = pd.Series([min(shrunk_size(width, height, factor)) for width, height in known.to_numpy()], dtype=float)
        less = (known.min(axis=1) < factor * SMALLEST).sum() if factor > 1 else 0
        rows.append((factor, len(known), short.median(), short.min(), int(less)))
    return pd.DataFrame(rows, columns=["factor", "images", "median", "smallest", "n_less"])


def stated_sizes(sizes: pd.DataFrame) -> dict:
    """For how many images of ``image_sizes`` the pixel size is stated, and where it is not."""
    unstated = sizes[sizes.microns_per_pixel.isna()].dataset.value_counts().sort_index()
    return {
        "n_images": len(sizes),
        "n_stated": int(sizes.microns_per_pixel.notna().sum()),
        "not_stated": list(unstated.items()),
        "n_unread": int(sizes.width.isna().sum()),
        "equally_wide": sizes.width.nunique() == 1,
    }


def shrinking(run: Evaluation, changed: pd.DataFrame) -> dict:
    """What the largest factor of ``changes`` takes from fine-grained answers, and which models looked again."""
    fine = changed[(changed.by == "all") & (changed.level == "fine")]
    facts, n_images = run.record["models"].items(), len(run.benchmark.pictures)
    return {
        "shrunk": fine[fine.factor == fine.factor.max()].to_dict("records"),
        "was_shrunk": len(changed) > 0,
        "sampled": [name for name, of in facts if of["has_weights"] and of["replies"]] if n_images > REPLIES else [],
        "n_sampled": REPLIES,
        "n_all": n_images,
        "takes": [(name, size) for name, passport in facts if (size := _taken(passport))],
        "cannot_look": [name for name, passport in facts if not passport["has_weights"]],
    }


def _taken(passport: dict) -> str:
    """Size at which a model sees images: of its own preprocessing, or of the smallest and largest image of the run."""
    if "preprocessing" in passport:
        return image_size(passport["preprocessing"])
    found = [f"{one['seen_width']} × {one['seen_height']} px" for one in passport.get("sights", []) if one["tiles"]]
    return " to ".join(dict.fromkeys(found))
