"""Embeddings: every image decoded once per preprocessing recipe and encoded once per model, every text once.

Work is cut into chunks of the sorted content hashes (images) or strings (texts), so a chunk, and with it every
feature, is the same whatever the order of the dataset. A finished chunk is on disk before the next begins: a run
that is killed loses at most the chunk in flight.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from tqdm import tqdm

from . import cache
from .data import Benchmark, decode
from .errors import UserError

CHUNK = 128  # images or texts


@dataclass(frozen=True)
class Features:
    """Features of a model: ``vectors`` float32 of shape (n, d), one row per key (image hash or text).

    ``failed`` maps the keys that could not be encoded to the reason; ``truncated`` lists the texts that were cut;
    ``encoded`` counts what this call computed, the rest came from the cache.
    """

    row_of: dict
    vectors: np.ndarray
    failed: dict
    truncated: list
    encoded: int


def image_features(benchmark: Benchmark, key: str, load) -> Features:
    """Encode the images of a benchmark with one model.

    Parameters
    ----------
    benchmark : Benchmark
    key : str
        Digest of the model's identity and precision: its folder in the cache.
    load : callable
        Returns the ``Model``; called only if something is not cached.
    """
    hashes = benchmark.images.image_hash
    row_of_hash = {image_hash: row for row, image_hash in reversed(list(enumerate(hashes)))}
    chunks = _chunks(row_of_hash)
    found = {number: cache.read(cache.entry("images", key, chunk)) for number, chunk in enumerate(chunks)}
    missing = [number for number, entry in found.items() if entry is None]
    if missing:
        model = load()
        total = sum(len(chunks[number]) for number in missing)
        with (
            ThreadPoolExecutor(os.cpu_count()) as threads,
            ThreadPoolExecutor(1) as ahead,
            tqdm(total=total, unit="image", desc=model.name, disable=None) as progress,
        ):
            fetch = partial(_pixels, benchmark, row_of_hash, model, threads)
            coming = ahead.submit(fetch, chunks[missing[0]])
            for number, following in zip(missing, [*missing[1:], None], strict=True):
                pixels, reasons = coming.result()
                if following is not None:  # decode the next chunk while the model encodes this one
                    coming = ahead.submit(fetch, chunks[following])
                vectors = encode_batched(model.encode_images, pixels)
                ok = np.isfinite(vectors).all(axis=1)
                reasons = [
                    r or ("" if fine else "its features are not finite") for r, fine in zip(reasons, ok, strict=True)
                ]
                vectors[[bool(reason) for reason in reasons]] = 0
                found[number] = {"vectors": vectors, "reasons": np.array(reasons, dtype=str)}
                cache.write(cache.entry("images", key, chunks[number]), **found[number])
                progress.update(len(chunks[number]))
    keys = [image_hash for chunk in chunks for image_hash in chunk]
    reasons = np.concatenate([found[number]["reasons"] for number in range(len(chunks))])
    return Features(
        row_of={image_hash: row for row, image_hash in enumerate(keys)},
        vectors=np.concatenate([found[number]["vectors"] for number in range(len(chunks))]),
        failed={image_hash: str(reason) for image_hash, reason in zip(keys, reasons, strict=True) if reason},
        truncated=[],
        encoded=sum(len(chunks[number]) for number in missing),
    )


def text_features(texts, key: str, load) -> Features:
    """Encode distinct texts with one model; parameters as for ``image_features``."""
    chunks = _chunks(texts)
    parts, encoded = [], 0
    for chunk in chunks:
        part = cache.read(cache.entry("texts", key, chunk))
        if part is None:
            model = load()
            part = {"vectors": encode_batched(model.encode_texts, chunk), "truncated": model.truncated(chunk)}
            if not np.isfinite(part["vectors"]).all():
                raise UserError(f"model '{model.name}': text features are not finite in {model.precision}")
            cache.write(cache.entry("texts", key, chunk), **part)
            encoded += len(chunk)
        parts.append(part)
    keys = [text for chunk in chunks for text in chunk]
    truncated = np.concatenate([part["truncated"] for part in parts])
    return Features(
        row_of={text: row for row, text in enumerate(keys)},
        vectors=np.concatenate([part["vectors"] for part in parts]),
        failed={},
        truncated=[text for text, cut in zip(keys, truncated, strict=True) if cut],
        encoded=encoded,
    )


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


def _pixels(benchmark: Benchmark, row_of_hash: dict, model, threads, hashes: list) -> tuple[np.ndarray, list]:
    """Decoded and resized images of a chunk, uint8 (n, 3, size, size), and why some are blank; cached by recipe."""
    recipe = {key: value for key, value in model.recipe.items() if key not in ("mean", "std")}
    path = cache.entry("pixels", cache.digest(recipe), hashes)
    found = cache.read(path)
    if found is None:
        images, reasons = zip(*threads.map(partial(_decode, benchmark, row_of_hash, model), hashes), strict=True)
        found = {"pixels": np.stack(images), "reasons": np.array(reasons, dtype=str)}
        cache.write(path, **found)
    return found["pixels"], found["reasons"].tolist()


def _decode(benchmark: Benchmark, row_of_hash: dict, model, image_hash: str) -> tuple[np.ndarray, str]:
    """Pixels of one image and no reason, or a blank and the reason why it cannot be read."""
    try:
        return model.preprocess(decode(benchmark.image_bytes(row_of_hash[image_hash]))), ""
    except Exception as error:  # Pillow raises many kinds on damaged files; each is that image's own
        text = re.sub(r" *<_io[^>]*>", "", str(error))[:120]  # an address in memory differs from run to run
        reason = f"unreadable image ({type(error).__name__}: {text})"
        return model.preprocess(Image.new("RGB", (64, 64))), reason


def _chunks(keys) -> list[list]:
    ordered = sorted(set(keys))
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
