"""Work on the images and texts of a benchmark, cut into chunks that are done once.

A chunk is of the sorted content hashes (images) or strings (texts), so it, and with it every result, is the same
whatever the order of the dataset. A finished chunk is on disk before the next begins: a run that is killed loses at
most the chunk in flight. Nothing here knows what a model is; who works on a chunk is handed in.

Nothing is stored under a name that it may not deserve: an image whose bytes have another hash than the dataset had when
it was loaded fails, and so does one that cannot be read for a reason outside of it (a missing file, too little memory).
Such failures hold for this run; the chunk is not stored, so the next run tries again.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.benchmark import Benchmark
from ..data.contents import further_digest
from ..data.pixels import Unreadable, decode, decoder, name
from ..data.pixels import reason as reason_of
from ..errors import UserError
from . import store

ENGINE = 3  # raise it when results change though files and libraries do not: a new rule of a loader, say
CHUNK = 128  # images or texts
UNREADABLE = "unreadable image"  # begins the reason of a failure that is no worker's


class Worker(Protocol):
    """What works on the pixels of images: its ``recipe`` determines what ``preprocess`` makes of one."""

    name: str
    recipe: dict

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """Pixels of an RGB image, of one shape and type for all."""


@dataclass(frozen=True)
class Done:
    """Work done on the images of a benchmark.

    Attributes
    ----------
    entries : list of dict
        Arrays of every chunk.
    computed : int
        Images that this call worked on; the rest came from the cache.
    failed : dict of str to str
        Image hash to the reason why nothing came of it.
    files : dict of str to dict
        Image hash to what its file was found to be (``pixels.decode``).
    """

    entries: list[dict]
    computed: int
    failed: dict[str, str]
    files: dict[str, dict]


def chunked(keys) -> list[list]:
    """Distinct keys in order, in chunks."""
    ordered = sorted(set(keys))
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


def over_images(
    benchmark: Benchmark,
    chunks: list[list],
    kind: str,
    key: str,
    *,
    keys: list,
    load: Callable[[], Any],
    work: Callable[[Any, list, np.ndarray, list], dict],
) -> Done:
    """Work on the images of every chunk that is not in the cache; the next is decoded meanwhile.

    Parameters
    ----------
    benchmark : Benchmark
    chunks : list of list of str
        Image hashes.
    kind, key : str
        Folder of the entries in the cache, and in it the folder of the worker.
    keys : list
        What determines the entry of each chunk, beside the pixels.
    load : callable
        Returns the ``Worker``; called only if something is not cached.
    work : callable
        Worker, hashes, pixels of shape (n, …) and reasons why some are blank, to the arrays of the entry; ``reasons``
        among them.
    """
    row_of_hash = _row_of_hash(benchmark)
    facts = _pixel_facts()
    paths = [store.entry(kind, key, [facts, of]) for of in keys]
    found = [store.read(path) for path in paths]
    missing = [number for number, entry in enumerate(found) if entry is None]
    total = sum(len(chunks[number]) for number in missing)
    if missing:
        worker = load()
        with (
            ThreadPoolExecutor(os.cpu_count()) as threads,
            ThreadPoolExecutor(1) as ahead,
            tqdm(total=total, unit="image", desc=worker.name, disable=None) as progress,
        ):
            fetch = partial(_pixels, benchmark, row_of_hash, worker, threads)
            coming = ahead.submit(fetch, chunks[missing[0]])
            for number, following in zip(missing, [*missing[1:], None], strict=True):
                decoded, lasting = coming.result()
                if following is not None:
                    coming = ahead.submit(fetch, chunks[following])
                entry = work(worker, chunks[number], decoded["pixels"], decoded["reasons"].tolist())
                entry["found"] = decoded["found"]
                found[number] = entry
                if lasting:
                    store.write(paths[number], **entry)
                progress.update(len(chunks[number]))
    entries = [entry for entry in found if entry is not None]
    return Done(entries, total, _failed(benchmark, chunks, entries), _files(chunks, entries))


def all_pixels(benchmark: Benchmark, worker: Worker) -> tuple[list[str], np.ndarray]:
    """Content hashes of the images of a benchmark, sorted, and what a worker makes of them, from the cache if there.

    Raises
    ------
    UserError
        If an image cannot be read.
    """
    row_of_hash = _row_of_hash(benchmark)
    chunks = chunked(row_of_hash)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = [_pixels(benchmark, row_of_hash, worker, threads, chunk)[0] for chunk in chunks]
    reasons = [reason_ for entry in found for reason_ in entry["reasons"].tolist() if reason_]
    if reasons:
        raise UserError(f"{len(reasons)} of {len(row_of_hash)} images cannot be read; of the first: {reasons[0]}")
    return [image_hash for chunk in chunks for image_hash in chunk], np.concatenate([one["pixels"] for one in found])


def is_absent(images) -> np.ndarray:
    """Which images had no bytes when the dataset was loaded, so that no hash names them; boolean of shape (n,)."""
    return ~images.image_hash.str.fullmatch("[0-9a-f]{32}").to_numpy(bool)


def picture(benchmark: Benchmark, row: int) -> Image.Image:
    """Decode the image of a row, checked to be the one that its hash names.

    Raises
    ------
    Unreadable
        As ``decode``: a fact of the file.
    Exception
        Whatever reading it raises; OSError if the file changed since the dataset was loaded. These may pass.
    """
    encoded = benchmark.image_bytes(row)
    found = name(encoded)
    for recipe, _ in benchmark.changes:
        found = store.digest([found, *recipe])
    if found != benchmark.images.image_hash.iloc[row]:
        raise OSError("the image changed during the run, after its hash was taken; run it again")
    return _changed(benchmark, decode(encoded))


def further_pictures(benchmark: Benchmark, row: int) -> list[Image.Image]:
    """Decode the images beside the first that the question of a row is about, in their order; raises as ``picture``."""
    encoded = benchmark.further_bytes(row)
    if further_digest(encoded) != benchmark.images.further.iloc[row]:
        raise OSError("a further image changed during the run, after its hash was taken; run it again")
    return [_changed(benchmark, decode(one)) for one in encoded]


def _changed(benchmark: Benchmark, image: Image.Image) -> Image.Image:
    for _, change in benchmark.changes:
        image = change(image)
    return image


def _failed(benchmark: Benchmark, chunks, found) -> dict:
    """Image hash to the reason why it could not be encoded."""
    failed = {}
    for row in np.flatnonzero(is_absent(benchmark.images)).tolist():
        try:
            picture(benchmark, row)
        except Exception as error:  # there was nothing to read, or it came too late to have a hash
            failed[benchmark.images.image_hash.iloc[row]] = _unreadable(error)
    for chunk, entry in zip(chunks, found, strict=True):
        reasons = zip(chunk, entry["reasons"], strict=True)
        failed |= {image_hash: str(reason_) for image_hash, reason_ in reasons if reason_}
    return failed


def _files(chunks, found) -> dict:
    """Image hash to what its file was found to be, of all that could be read."""
    hashes = [image_hash for chunk in chunks for image_hash in chunk]
    facts = [json.loads(text) for entry in found for text in entry["found"].tolist()]
    return {image_hash: of for image_hash, of in zip(hashes, facts, strict=True) if of}


def encode_batched(encode, items) -> np.ndarray:
    """Encode ``items`` in one batch, or in ever smaller ones where memory runs out.

    Parameters
    ----------
    encode : callable
        Maps a slice of ``items`` to float32 features of shape (n, d).
    items : array or list

    Raises
    ------
    UserError
        If a single item does not fit into memory.
    """
    size, parts, start = len(items), [], 0
    while start < len(items):
        try:
            parts.append(encode(items[start : start + size]))
            start += size
        except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
            if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
                raise
            if size == 1:
                raise UserError("out of memory with a batch of one: use a smaller model or another device") from error
        else:
            continue
        size = (size + 1) // 2  # outside the handler, so that the failed batch's memory is free again
        _free_device_memory()
    return np.concatenate(parts)


def _row_of_hash(benchmark: Benchmark) -> dict[str, int]:
    return {image_hash: row for row, image_hash in reversed(list(enumerate(benchmark.images.image_hash)))}


def _pixel_facts() -> dict:
    """What determines pixels beside the files and a worker's recipe: this project's rules and the libraries at work."""
    libraries = ("torchvision", "open_clip_torch", "transformers", "numpy")
    return {"engine": ENGINE, **decoder(), **{library: version(library) for library in libraries}}


def _pixels(benchmark: Benchmark, row_of_hash: dict, worker: Worker, threads, hashes: list) -> tuple[dict, bool]:
    """Decoded and resized images of a chunk, cached by recipe, and whether that is what any run would find.

    The arrays are ``pixels``, uint8 (n, 3, size, size); ``reasons`` why some are blank; ``found``, what each file was
    found to be, as JSON.
    """
    recipe = {key: value for key, value in worker.recipe.items() if key not in ("mean", "std")}
    path = store.entry("pixels", store.digest(recipe), [_pixel_facts(), hashes])
    found = store.read(path)
    if found is not None:
        return found, True
    images, reasons, facts, lasting = zip(
        *threads.map(partial(_decode, benchmark, row_of_hash, worker), hashes), strict=True
    )
    found = {"pixels": np.stack(images), "reasons": np.array(reasons, dtype=str), "found": np.array(facts, dtype=str)}
    if all(lasting):
        store.write(path, **found)
    return found, all(lasting)


def _decode(benchmark: Benchmark, row_of_hash: dict, worker: Worker, image_hash: str) -> tuple:
    """Pixels of one image, why they are blank, what its file was found to be, and whether a later run would agree."""
    try:
        image = picture(benchmark, row_of_hash[image_hash])
        return worker.preprocess(image), "", json.dumps(image.info.get("found", {})), True
    except Exception as error:  # each is that image's own
        blank = worker.preprocess(Image.new("RGB", (64, 64)))
        return blank, _unreadable(error), "{}", isinstance(error, Unreadable)


def _unreadable(error: Exception) -> str:
    return f"{UNREADABLE} ({reason_of(error)})"


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
