"""Embeddings: every image decoded once per preprocessing recipe and encoded once per model, every text once.

Work is cut into chunks of the sorted content hashes (images) or strings (texts), so a chunk, and with it every
feature, is the same whatever the order of the dataset. A finished chunk is on disk before the next begins: a run
that is killed loses at most the chunk in flight.

Nothing is stored under a name that it may not deserve: an image whose bytes have another hash than the dataset had when
it was loaded fails, and so does one that cannot be read for a reason outside of it (a missing file, too little memory).
Such failures hold for this run; the chunk is not stored, so the next run tries again.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.benchmark import Benchmark
from ..data.pixels import Unreadable, decode, decoder, name, reason
from ..errors import UserError
from ..models import sources
from . import store

CHUNK = 128  # images or texts
UNREADABLE = "unreadable image"  # begins the reason of a failure that is no model's


@dataclass(frozen=True)
class Matches:
    """Log-odds of a matching head: ``values[row_of[image hash, text]]``; the rest as in ``Features``."""

    row_of: dict
    values: np.ndarray
    failed: dict
    truncated: list
    encoded: int
    found: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Features:
    """Features of a model: ``vectors`` float32 of shape (n, d), one row per key (image hash or text).

    ``failed`` maps the keys that could not be encoded to the reason; ``truncated`` lists the texts that were cut;
    ``encoded`` counts what this call computed, the rest came from the cache; ``found`` says what each image file was
    found to be (``pixels.decode``).
    """

    row_of: dict
    vectors: np.ndarray
    failed: dict
    truncated: list
    encoded: int
    found: dict = field(default_factory=dict)


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
    chunks = _chunks(benchmark.images.image_hash[~is_absent(benchmark.images)])

    def encode(model, chunk, pixels, reasons):
        vectors = encode_batched(model.encode_images, pixels)
        ok = np.isfinite(vectors).all(axis=1)
        reasons = [r or ("" if fine else "its features are not finite") for r, fine in zip(reasons, ok, strict=True)]
        vectors[[bool(reason) for reason in reasons]] = 0
        return {"vectors": vectors, "reasons": np.array(reasons, dtype=str)}

    found, encoded = _over_chunks(benchmark, chunks, "images", key, chunks, load, encode)
    hashes = [image_hash for chunk in chunks for image_hash in chunk]
    return Features(
        row_of={image_hash: row for row, image_hash in enumerate(hashes)},
        vectors=np.concatenate([entry["vectors"] for entry in found]) if found else np.zeros((0, 1), np.float32),
        failed=_failed(benchmark, chunks, found),
        truncated=[],
        encoded=encoded,
        found=_found(chunks, found),
    )


def match_images(benchmark: Benchmark, questions, key: str, load) -> Matches:
    """Match every image with the options of its own questions, through a model's matching head.

    Each image is encoded once and then compared with each of its distinct options; parameters as for
    ``image_features``, with ``questions`` as from ``build_questions``.
    """
    absent = set(benchmark.images.image_hash[is_absent(benchmark.images)])
    options = {
        image_hash: sorted({text for row in rows for text in row})
        for image_hash, rows in questions.groupby("image_hash", sort=False).options
        if image_hash not in absent
    }
    chunks = _chunks(options)
    keys = [[[image_hash, *options[image_hash]] for image_hash in chunk] for chunk in chunks]

    def encode(model, chunk, pixels, reasons):
        def match(rows):
            parts = [
                np.zeros(len(options[chunk[row]])) if reasons[row] else model.match(pixels[row], options[chunk[row]])
                for row in rows
            ]
            return np.concatenate(parts).astype(np.float32)

        values = encode_batched(match, range(len(chunk)))
        ends = np.cumsum([len(options[image_hash]) for image_hash in chunk])[:-1]
        fine = [np.isfinite(part).all() for part in np.split(values, ends)]
        reasons = [r or ("" if ok else "its logits are not finite") for r, ok in zip(reasons, fine, strict=True)]
        return {"values": values, "reasons": np.array(reasons, dtype=str)}

    found, encoded = _over_chunks(benchmark, chunks, "matches", key, keys, load, encode)
    pairs = [(image_hash, text) for chunk in chunks for image_hash in chunk for text in options[image_hash]]
    texts = sorted({text for row in options.values() for text in row})
    path = store.entry("truncated", key, texts)
    cut = store.read(path)
    if cut is None:
        cut = {"truncated": load().truncated(texts)}
        store.write(path, **cut)
    return Matches(
        row_of={pair: row for row, pair in enumerate(pairs)},
        values=np.concatenate([entry["values"] for entry in found]) if found else np.zeros(0, np.float32),
        failed=_failed(benchmark, chunks, found),
        truncated=[text for text, is_cut in zip(texts, cut["truncated"], strict=True) if is_cut],
        encoded=encoded,
        found=_found(chunks, found),
    )


def _over_chunks(benchmark: Benchmark, chunks, kind: str, key: str, keys, load, encode) -> tuple[list, int]:
    """Entry of each chunk, from the cache or by ``encode(model, chunk, pixels, reasons)``, and the images encoded now.

    The next chunk is decoded while the model works on this one.
    """
    row_of_hash = {image_hash: row for row, image_hash in reversed(list(enumerate(benchmark.images.image_hash)))}
    facts = _pixel_facts()
    paths = [store.entry(kind, key, [facts, of]) for of in keys]
    found = [store.read(path) for path in paths]
    missing = [number for number, entry in enumerate(found) if entry is None]
    total = sum(len(chunks[number]) for number in missing)
    if missing:
        model = load()
        with (
            ThreadPoolExecutor(os.cpu_count()) as threads,
            ThreadPoolExecutor(1) as ahead,
            tqdm(total=total, unit="image", desc=model.name, disable=None) as progress,
        ):
            fetch = partial(_pixels, benchmark, row_of_hash, model, threads)
            coming = ahead.submit(fetch, chunks[missing[0]])
            for number, following in zip(missing, [*missing[1:], None], strict=True):
                decoded, lasting = coming.result()
                if following is not None:
                    coming = ahead.submit(fetch, chunks[following])
                found[number] = encode(model, chunks[number], decoded["pixels"], decoded["reasons"].tolist())
                found[number]["found"] = decoded["found"]
                if lasting:
                    store.write(paths[number], **found[number])
                progress.update(len(chunks[number]))
    return found, total


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
    image = decode(encoded)
    for _, change in benchmark.changes:
        image = change(image)
    return image


def _failed(benchmark: Benchmark, chunks, found) -> dict:
    """Image hash to the reason why it could not be encoded."""
    failed = {}
    for row in np.flatnonzero(is_absent(benchmark.images)):
        try:
            picture(benchmark, row)
        except Exception as error:  # there was nothing to read, or it came too late to have a hash
            failed[benchmark.images.image_hash.iloc[row]] = _unreadable(error)
    for chunk, entry in zip(chunks, found, strict=True):
        reasons = zip(chunk, entry["reasons"], strict=True)
        failed |= {image_hash: str(reason_) for image_hash, reason_ in reasons if reason_}
    return failed


def _found(chunks, found) -> dict:
    """Image hash to what its file was found to be, of all that could be read."""
    hashes = [image_hash for chunk in chunks for image_hash in chunk]
    facts = [json.loads(text) for entry in found for text in entry["found"].tolist()]
    return {image_hash: of for image_hash, of in zip(hashes, facts, strict=True) if of}


def text_features(texts, key: str, load) -> Features:
    """Encode distinct texts with one model; parameters as for ``image_features``."""
    chunks = _chunks(texts)
    parts, encoded = [], 0
    for chunk in chunks:
        part = store.read(store.entry("texts", key, chunk))
        if part is None:
            model = load()
            part = {"vectors": encode_batched(model.encode_texts, chunk), "truncated": model.truncated(chunk)}
            if not np.isfinite(part["vectors"]).all():
                raise UserError(f"model '{model.name}': text features are not finite in {model.precision}")
            store.write(store.entry("texts", key, chunk), **part)
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


def _pixel_facts() -> dict:
    """What determines pixels beside the files and a model's recipe: this project's rules and the libraries at work."""
    libraries = ("torchvision", "open_clip_torch", "transformers", "numpy")
    return {"engine": sources.ENGINE, **decoder(), **{library: version(library) for library in libraries}}


def _pixels(benchmark: Benchmark, row_of_hash: dict, model, threads, hashes: list) -> tuple[dict, bool]:
    """Decoded and resized images of a chunk, cached by recipe, and whether that is what any run would find.

    The arrays are ``pixels``, uint8 (n, 3, size, size); ``reasons`` why some are blank; ``found``, what each file was
    found to be, as JSON.
    """
    recipe = {key: value for key, value in model.recipe.items() if key not in ("mean", "std")}
    path = store.entry("pixels", store.digest(recipe), [_pixel_facts(), hashes])
    found = store.read(path)
    if found is not None:
        return found, True
    images, reasons, facts, lasting = zip(
        *threads.map(partial(_decode, benchmark, row_of_hash, model), hashes), strict=True
    )
    found = {"pixels": np.stack(images), "reasons": np.array(reasons, dtype=str), "found": np.array(facts, dtype=str)}
    if all(lasting):
        store.write(path, **found)
    return found, all(lasting)


def _decode(benchmark: Benchmark, row_of_hash: dict, model, image_hash: str) -> tuple:
    """Pixels of one image, why they are blank, what its file was found to be, and whether a later run would agree."""
    try:
        image = picture(benchmark, row_of_hash[image_hash])
        return model.preprocess(image), "", json.dumps(image.info.get("found", {})), True
    except Exception as error:  # each is that image's own
        blank = model.preprocess(Image.new("RGB", (64, 64)))
        return blank, _unreadable(error), "{}", isinstance(error, Unreadable)


def _unreadable(error: Exception) -> str:
    return f"{UNREADABLE} ({reason(error)})"


def _chunks(keys) -> list[list]:
    ordered = sorted(set(keys))
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
