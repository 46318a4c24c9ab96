"""A small content-addressed store of arrays on disk, safe to share, to kill and to corrupt.

An entry is one ``.npz`` file named by the hash of everything that determines its content, so two models, two
preprocessing recipes or two precisions can never share one. Files appear by an atomic rename: a reader sees all
of an entry or none of it, and two processes that compute the same entry write the same bytes. Every file ends with
the SHA-256 of what precedes it, checked on reading; an entry that fails is deleted, noted and computed again.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import platformdirs

from .errors import UserError

SEAL = hashlib.sha256().digest_size


def cache_dir() -> Path:
    """Folder of the cache: ``$UBENCH_CACHE``, else the platform's cache folder (honours ``XDG_CACHE_HOME``)."""
    return Path(os.environ.get("UBENCH_CACHE") or platformdirs.user_cache_dir("ubench"))


def digest(value) -> str:
    """First 32 hex digits of the SHA-256 of a JSON-able value, independent of dictionary order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path) -> str:
    """SHA-256 (hex) of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entry(kind: str, *keys) -> Path:
    """Path of the entry of ``kind`` (pixels, images, texts) that is determined by ``keys``."""
    *folders, name = (key if isinstance(key, str) else digest(key) for key in keys)
    return cache_dir().joinpath(kind, *folders, f"{name}.npz")


def read(path: Path) -> dict | None:
    """Arrays of an entry, or None where it is missing or damaged (a damaged one is deleted, with a note)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body, seal = content[:-SEAL], content[-SEAL:]
    if hashlib.sha256(body).digest() != seal:
        print(f"ubench: cache entry {path.name} is damaged; computing it again", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
    with np.load(io.BytesIO(body)) as arrays:
        return dict(arrays)


def write(path: Path, **arrays) -> None:
    """Write an entry atomically; arrays must be numeric, boolean or fixed-width text."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body + hashlib.sha256(body).digest())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"cannot write to the cache {cache_dir()} ({error}); set UBENCH_CACHE to another folder"
        ) from error
