"""Copies among the images: identical files, equal perceptual hashes, and embeddings that nearly coincide.

Every kind ends in the same table, one row an image: how many partners it has within its sub-dataset and across
sub-datasets, and how near the nearest is. All pairs are compared by blocks of a matrix product, and none is kept.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn

from ..data.benchmark import Benchmark
from ..data.pixels import reason
from ..engine.work import picture
from ..evaluation.evaluate import Evaluation

HAMMING = 4  # of 64 bits: most compressed, halved or brightened copies stay within; unrelated hashes differ in 32
COSINE = 0.99
BITS = 64
SIDE = 32  # pixels of the image whose frequencies are hashed
BLOCK = 1024  # rows of the product at a time: 70 MB for 17,000 images
WHERE = ["within", "across"]


def perceptual_hash(image: Image.Image) -> np.ndarray:
    """64 bits that survive another size, another file format and another brightness.

    The image in grey is shrunk to 32 × 32 pixels; of its cosine transform the 8 × 8 lowest frequencies after the
    constant row and column remain; a bit says whether a coefficient is above their median.

    Returns
    -------
    numpy.ndarray, bool, shape (64,)

    References
    ----------
    Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2.1 (the transform
    without its preceding mean filter: shrinking averages already).
    """
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    low = dctn(grey, norm="ortho")[1:9, 1:9].ravel().round(6)  # rounded: a blank image has no sign
    return low > np.median(low)


def look(benchmark: Benchmark, measure: Callable[[Image.Image], Any] = lambda image: None) -> pd.DataFrame:
    """Open every image once.

    Parameters
    ----------
    measure : callable, optional
        What else is wanted of an RGB image.

    Returns
    -------
    pandas.DataFrame
        ``benchmark.pictures`` with ``width, height`` (pixels as shown, 0 where unreadable), ``phash`` (bool, shape
        (64,), None where unreadable), ``found`` (what the file was found to be, as from ``pixels.decode``, None where
        unreadable), ``measured`` (None where unreadable) and ``unreadable`` (the reason, else empty).
    """

    def open_one(row):
        try:
            image = picture(benchmark, row)
        except Exception as error:  # of the file, or of reading it
            return 0, 0, None, None, None, reason(error)
        return *image.size, perceptual_hash(image), image.info["found"], measure(image), ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(open_one, benchmark.pictures.index))
    columns = ["width", "height", "phash", "found", "measured", "unreadable"]
    return benchmark.pictures.assign(**dict(zip(columns, zip(*found, strict=True), strict=True)))


def neighbours(vectors: np.ndarray, groups, least: float, block: int = BLOCK) -> pd.DataFrame:
    """Compare every row with every other by their scalar product.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (n, d)
    groups : array_like, shape (n,)
        Sub-dataset of every row.
    least : float
        Product from which on two rows are partners.

    Returns
    -------
    pandas.DataFrame
        One row per vector: ``pairs_within, pairs_across`` (how many partners it has), ``nearest_within,
        nearest_across`` (largest product with another row, NaN where there is none) and ``partner`` (row of the
        nearest of all, -1 where there is none).
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    groups = pd.factorize(np.asarray(groups, dtype=object))[0]
    parts = []
    for start in range(0, len(vectors), block):
        rows = np.arange(start, min(start + block, len(vectors)))
        product = vectors[rows] @ vectors.T
        product[np.arange(len(rows)), rows] = -np.inf  # not with itself
        same = groups[rows, None] == groups[None]
        close = product >= least
        part = {"partner": np.where(np.isfinite(product.max(axis=1)), product.argmax(axis=1), -1)}
        for where, there in zip(WHERE, (same, ~same), strict=True):
            part[f"pairs_{where}"] = (close & there).sum(axis=1)
            part[f"nearest_{where}"] = np.where(there, product, -np.inf).max(axis=1)
        parts.append(pd.DataFrame(part))
    columns = ["partner", "pairs_within", "nearest_within", "pairs_across", "nearest_across"]
    table = pd.concat([pd.DataFrame(columns=columns), *parts], ignore_index=True).infer_objects()
    return table.replace(-np.inf, np.nan)


def identical(images: pd.DataFrame) -> pd.DataFrame:
    """How many images have the very same file: ``images`` with ``pairs_within`` and ``pairs_across``."""
    of_all = images.groupby("image_hash").image_hash.transform("size")
    within = images.groupby(["image_hash", "dataset"]).image_hash.transform("size") - 1
    return images.assign(pairs_within=within, pairs_across=of_all - 1 - within)


def _joined(images: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """``neighbours`` beside its images; ``partner`` becomes a label of their index."""
    labels = np.append(images.index, -1)  # so that -1 stays -1
    return images.join(found.assign(partner=labels[found.partner.to_numpy(int)]).set_axis(images.index))


def alike(looked: pd.DataFrame) -> pd.DataFrame:
    """Readable images of ``look`` with the columns of ``neighbours``, nearness being the number of equal bits."""
    readable = looked[looked.unreadable == ""]
    bits = np.stack([np.zeros(BITS, bool), *readable.phash])[1:]
    found = neighbours(2.0 * bits - 1, readable.dataset, BITS - 2 * HAMMING)
    for column in ("nearest_within", "nearest_across"):
        found[column] = (BITS + found[column]) / 2  # the product is equal bits minus unequal ones
    return _joined(readable, found)


def first_encoder(run: Evaluation) -> str | None:
    """First model of a run that gives an image a vector of its own."""
    facts = run.record["models"].items()
    return next((model for model, passport in facts if passport["has_embeddings"]), None)


def close_in_embedding(run: Evaluation, cosine: float = COSINE) -> pd.DataFrame | None:
    """Images with the columns of ``neighbours``, nearness being the cosine in the first model; None without one."""
    model = first_encoder(run)
    if model is None:
        return None
    encoded, _, _ = run.features(model)
    images = run.benchmark.pictures
    images = images[~images.image_hash.isin(encoded.failed)]
    vectors = encoded.vectors[[encoded.row_of[image_hash] for image_hash in images.image_hash]]
    return _joined(images, neighbours(vectors, images.dataset, cosine))


def counts(kinds: dict) -> pd.DataFrame:
    """Pairs and images involved of each kind of duplicate, within the same sub-dataset and across sub-datasets.

    Parameters
    ----------
    kinds : dict
        A table of images with ``pairs_within`` and ``pairs_across`` for each name of a kind; None is skipped.

    Returns
    -------
    pandas.DataFrame
        ``kind, where, pairs, images, n, share``.
    """
    rows = [
        {
            "kind": kind,
            "where": where,
            "pairs": int(table[f"pairs_{where}"].sum()) // 2,
            "images": int((table[f"pairs_{where}"] > 0).sum()),
            "n": len(table),
            "share": (table[f"pairs_{where}"] > 0).mean() if len(table) else 0.0,
        }
        for kind, table in kinds.items()
        if table is not None
        for where in WHERE
    ]
    return pd.DataFrame(rows, columns=["kind", "where", "pairs", "images", "n", "share"])


def closest(table: pd.DataFrame, n: int = 4) -> pd.DataFrame:
    """The nearest pairs of ``alike``, an image in one pair: ``first, second`` (labels of its index), ``nearest``."""
    nearest = table[["nearest_within", "nearest_across"]].max(axis=1)
    order = table.assign(nearest=nearest).sort_values(["nearest", "dataset", "image_id"], ascending=[False, True, True])
    seen: set = set()
    pairs: list[tuple] = []
    for row in order[order.partner >= 0].itertuples():
        if len(pairs) < n and not {row.Index, row.partner} & seen:
            seen |= {row.Index, row.partner}
            pairs.append((row.Index, row.partner, row.nearest))
    return pd.DataFrame(pairs, columns=["first", "second", "nearest"])


def totals(found: pd.DataFrame) -> list[dict]:
    """Pairs of each kind of ``counts``: ``kind, pairs, across, n``, both places together."""
    return [
        {
            "kind": kind,
            "pairs": int(rows.pairs.sum()),
            "across": int(rows.pairs[rows["where"] == "across"].sum()),
            "n": int(rows.n.iloc[0]),
        }
        for kind, rows in found.groupby("kind", sort=False)
    ]


def context(run: Evaluation, copies: pd.DataFrame, near: pd.DataFrame) -> dict:
    """What the page on the benchmark says of copies; ``copies`` and, of embeddings, ``near`` are from ``counts``."""
    return {"copies": totals(copies), "near": totals(near), "encoder": first_encoder(run), "cosine": COSINE}


def nearness(run: Evaluation, hashed: pd.DataFrame, embedded: pd.DataFrame | None) -> dict:
    """Tables for ``histograms``, each with its threshold, by the label of its axis."""
    kinds = {f"equal bits of {BITS}": (hashed, BITS - HAMMING)}
    return kinds if embedded is None else kinds | {f"cosine, {first_encoder(run)}": (embedded, COSINE)}


def histograms(kinds: dict) -> pd.DataFrame:
    """How many images have a nearest other image at each distance, within and across sub-datasets.

    Parameters
    ----------
    kinds : dict
        ``(table, threshold)`` by name: the table is from ``alike`` or ``close_in_embedding``.

    Returns
    -------
    pandas.DataFrame
        ``kind, where, at`` (the middle of a bin), ``estimate`` (share of the images), ``threshold``, ``median``,
        ``beyond`` (share at the threshold or over) and ``n_images``.
    """
    parts = []
    for kind, (table, threshold) in kinds.items():
        values = np.append(table[["nearest_within", "nearest_across"]].to_numpy(float), threshold)
        values = values[np.isfinite(values)]
        bins = np.histogram_bin_edges(values, 30)
        if (values == values.round()).all():  # equal bits: hashes with as many ones as zeros differ in an even number
            bins = np.arange(values.min() - 1, values.max() + 2, 2)
        for where in WHERE:
            found = table[f"nearest_{where}"].dropna().astype(float)
            if len(found):
                counts, _ = np.histogram(found, bins)
                part = pd.DataFrame({"at": (bins[:-1] + bins[1:]) / 2, "estimate": counts / len(found)})
                facts = {"median": found.median(), "beyond": (found >= threshold).mean(), "n_images": len(found)}
                parts.append(part.assign(kind=kind, where=where, threshold=threshold, **facts))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
