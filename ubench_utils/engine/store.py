"""A small content-addressed store of arrays and facts on disk, safe to share, to kill and to corrupt.

An entry is one file, ``.npz`` of arrays or ``.json`` of facts, named by the hash of everything that determines its
content, so two models, two preprocessing recipes or two precisions can never share one. Files appear by an atomic
rename: a reader sees all of an entry or none of it, and two processes that compute the same entry write the same bytes.
Every file holds a seal, the SHA-256 of its own name and of its content, checked on reading: an entry that is damaged,
or that lies under the name of another, is noted, deleted and computed again. So is whatever stands in the place of an
entry and is no file; a folder is moved aside. Files get the permissions that the umask gives, so that users can share a
cache.
"""

import hashlib
import io
import json
import os
import secrets
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import platformdirs

from ..errors import UserError
from ..files import write_whole

SEAL = hashlib.sha256().digest_size
STORE = 2  # raise it when the form of an entry changes: entries of another form are not looked at
STALE = 24 * 3600  # seconds, after which a temporary file is what a killed run left behind


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


def entry(kind: str, *keys, suffix: str = ".npz") -> Path:
    """Path of the entry of ``kind`` (pixels, images, texts) that is determined by ``keys``."""
    *folders, name = (key if isinstance(key, str) else digest(key) for key in keys)
    return cache_dir().joinpath(kind, *folders, f"{digest([STORE, name])}{suffix}")


def read(path: Path) -> dict | None:
    """Arrays of an entry, or None where it is missing, damaged or another's, which is noted."""
    content = _content(path)
    if content is None:
        return None
    body, seal = content[:-SEAL], content[-SEAL:]
    if seal != _seal(path, body):
        _pass_over(path, "is damaged or belongs under another name")
        return None
    try:
        with np.load(io.BytesIO(body)) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile):  # objects, which are never unpickled, or none
        _pass_over(path, "is damaged: it holds no arrays")
        return None


def write(path: Path, **arrays) -> None:
    """Write an entry atomically; arrays must be numeric, boolean or fixed-width text.

    Raises
    ------
    UserError
        If the folder cannot be written, or the disk is full; nothing of the entry is left then.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    _write(path, body + _seal(path, body))


def read_facts(kind: str, *keys) -> dict | None:
    """Facts that ``write_facts`` kept, or None where they are missing, damaged or another's, which is noted."""
    path = entry(kind, *keys, suffix=".json")
    content = _content(path)
    if content is None:
        return None
    try:
        facts = json.loads(content)["facts"]
        if content == _sealed_facts(path, facts):
            return facts
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # it is damaged, too
    _pass_over(path, "is damaged or belongs under another name")
    return None


def write_facts(kind: str, *keys, facts: dict) -> None:
    """Keep a JSON-able dictionary as JSON; raises UserError as ``write``."""
    path = entry(kind, *keys, suffix=".json")
    _write(path, _sealed_facts(path, facts))


def remembered(kind: str, *keys, compute) -> dict:
    """Facts from the cache, computed where they are not there; none are not kept."""
    facts = read_facts(kind, *keys)
    if facts is None:
        facts = compute()
        if facts:
            write_facts(kind, *keys, facts=facts)
    return facts


def _content(path: Path) -> bytes | None:
    """Bytes of an entry, or None where there is no such file."""
    try:
        if not path.is_file():  # a pipe would be waited for
            if os.path.lexists(path):
                _pass_over(path, "is no file")
            return None
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        print(f"ubench: cache entry {path.name} cannot be read ({error}); computing it again", file=sys.stderr)
        return None


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # it may hold somebody's files
            os.replace(path, path.with_name(f"{path.name}-{secrets.token_hex(4)}.aside"))
        write_whole(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache {cache_dir()} ({error}); set UBENCH_CACHE to another folder"
        ) from error
    for old in path.parent.glob("*.part"):
        with suppress(OSError):  # another run may do the same
            if time.time() - old.stat().st_mtime > STALE:
                old.unlink()


def _sealed_facts(path: Path, facts: dict) -> bytes:
    text = json.dumps(facts, ensure_ascii=False)
    return f'{{"seal": "{_seal(path, text.encode()).hex()}",\n "facts": {text}}}\n'.encode()


def _seal(path: Path, body: bytes) -> bytes:
    """Digest of an entry's name within the cache and of its content."""
    name = Path(os.path.relpath(path, cache_dir())).as_posix()
    return hashlib.sha256(name.encode() + b"\0" + body).digest()


def _pass_over(path: Path, what: str) -> None:
    """Say what is wrong with an entry, and delete it if it is no folder."""
    print(f"ubench: cache entry {path.name} {what}; computing it again", file=sys.stderr)
    with suppress(OSError):
        path.unlink()
