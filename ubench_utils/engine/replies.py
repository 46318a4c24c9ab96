"""Replies that were given, one sealed row each: what was asked once is not asked again, whoever was killed meanwhile.

A row is found by its key, the digest of everything that determines the reply (image, prompt, decoding, weights or
address and model). It holds a seal over key and content, so that a damaged row, or one under the key of another, is
asked again. Rows are written one by one as replies come.
"""

import hashlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import UserError
from . import store

PATIENCE = 60.0  # seconds that another process may write
AT_ONCE = 500  # keys of one query
TABLE = "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, seal BLOB NOT NULL, content TEXT NOT NULL) STRICT"


class Replies:
    """An open file of replies."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def known(self, keys: list[str]) -> dict[str, dict]:
        """Those of these keys that were answered, by key; a damaged row is none, and is noted."""
        found: dict[str, dict] = {}
        damaged = 0
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT key, seal, content FROM replies WHERE key IN ({marks})", part)
            for key, seal, content in rows:
                if seal == _seal(key, content):
                    found[key] = json.loads(content)
                else:
                    damaged += 1
        if damaged:
            print(f"ubench: {damaged:,} kept replies are damaged; asking again", file=sys.stderr)
        return found

    def keep(self, replies: dict[str, dict]) -> None:
        """Keep replies by their keys, at once: all of them, or none where the process is killed meanwhile."""
        rows = []
        for key, reply in replies.items():
            content = json.dumps(reply, ensure_ascii=False)
            rows.append((key, _seal(key, content), content))
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise UserError(
                f"cannot write to the cache {store.cache_dir()} ({error}); set UBENCH_CACHE to another folder"
            ) from error


@contextmanager
def open_replies(of: str) -> Iterator[Replies]:
    """The replies of one model, which ``of``, a digest, names; a file that is no database is moved aside.

    Raises
    ------
    UserError
        If the cache cannot be written.
    """
    path = store.cache_dir() / "replies" / f"{of}.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = _opened(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, or no place to write
                raise
            _move_aside(path)
            connection = _opened(path)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"cannot write to the cache {store.cache_dir()} ({error}); set UBENCH_CACHE to another folder"
        ) from error
    with closing(connection):
        yield Replies(connection)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(TABLE)
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except BaseException:
        connection.close()
        raise
    return connection


def _move_aside(path: Path) -> None:
    print(f"ubench: the kept replies {path.name} are damaged and moved aside; asking again", file=sys.stderr)
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(file.with_name(f"{file.name}.{int(time.time())}.aside"))


def _seal(key: str, content: str) -> bytes:
    return hashlib.sha256(f"{key}\0{content}".encode()).digest()
