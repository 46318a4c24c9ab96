"""Files of a user's settings, read without a guess, and files that are there whole or not at all."""

import os
import re
import secrets
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import yaml

from .errors import UserError

SCRATCH = f"ubench-{secrets.token_hex(8)}-"  # how temporary files of this process begin, but for those that stay
MERGED = 1000  # entries of a mapping that takes in others; with more it was made to fill the memory


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which of two equal keys would keep the last in silence."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = [key for key, n in keys.items() if n > 1]
        if twice:
            raise yaml.MarkedYAMLError(problem=f"the key {twice[0][:80]!r} occurs twice", problem_mark=node.start_mark)
        return node

    def compose_scalar_node(self, anchor):
        node = super().compose_scalar_node(anchor)
        if re.search("[\0\ud800-\udfff]", node.value):
            problem = "a text holds half a character, or none (\\0)"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node

    def flatten_mapping(self, node):
        super().flatten_mapping(node)
        if len(node.value) > MERGED:
            raise yaml.MarkedYAMLError(problem="a mapping takes in too many others", problem_mark=node.start_mark)


def parse_yaml(text: str, what: str):
    """Plain values that a YAML text holds; they may hold themselves.

    Raises
    ------
    UserError
        If it is no YAML, or a key occurs twice; starts with what the text is.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date that does not exist
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        why = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{what} is no YAML{where} ({why[:160]})") from error


def read_yaml(path, what: str):
    """Plain values that a YAML file holds; raises UserError as ``read_text`` and ``parse_yaml``."""
    return parse_yaml(read_text(path, what), f"{what} '{path}'")


def read_text(path, what: str) -> str:
    """Text of a user's file in UTF-8; a pipe or a device is not waited for.

    Raises
    ------
    UserError
        If it is no file, cannot be read, or is not in UTF-8; starts with what the file is.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{what} '{path}' is no file")
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{what} '{path}' is not in UTF-8; save it as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in its name
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {what} '{path}' ({reason})") from error


@contextmanager
def whole_file(path) -> Iterator[BinaryIO]:
    """A file that is written aside and put in place at the end: a reader, a kill or a full disk never meets half of it.

    Parameters
    ----------
    path : str or Path
        Its folder exists.
    """
    path = Path(path)
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(aside, "xb") as file:
            yield file
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def write_whole(path, content: bytes | str) -> None:
    """Write a file as ``whole_file`` does; text as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, which a stopped process takes with it: it may hold somebody's pictures."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as folder:
        yield Path(folder)


def clear_after_end() -> None:
    """Have the temporary files of this process removed when it has ended, as until then a thread may write to them.

    There is a shell wherever signals are blocked.
    """
    left = list(map(str, Path(tempfile.gettempdir()).glob(f"{SCRATCH}*")))
    if left:  # the pipe closes with this process
        command = 'cat > /dev/null; exec rm -rf -- "$@"'
        subprocess.Popen(["/bin/sh", "-c", command, "sh", *left], stdin=subprocess.PIPE)


def file_state(path: str | Path) -> tuple | None:
    """What differs after anything was written to a file or put in its place (size, times, inode); None without one.

    The time of change alone says nothing of the content, as it can be set.
    """
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev
