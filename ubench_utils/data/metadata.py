"""A folder of pictures with questions about them: ``metadata.jsonl``, a line a question.

This is the form that the library `datasets` calls an image folder. The file is read here line by line, so that a
mistake is told by its line; pictures are read later, by the rule of ``pixels``.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from ..errors import UserError, shown
from .cognition import FURTHER

NAME = "metadata.jsonl"
FILES = ("file_name", "file_names")  # alone, or at the end of a longer name, as in `images_file_names`
ASKED = ("question", "options", "answer", "answer_idx")


def read_questions(file: Path, columns: list[str]) -> tuple[pa.Table, list[str]]:
    """Read the questions of a ``metadata.jsonl``.

    Parameters
    ----------
    file : pathlib.Path
        Its folder holds the pictures. A line holds ``file_name``, or ``file_names`` of several pictures in their order,
        ``question``, ``options`` and ``answer_idx`` (the first option is 0) or ``answer`` (an option in its words).
    columns : list of str
        Further fields that are read: facets, ``dataset``, ``image_id`` and the like. What is not there is not stated.

    Returns
    -------
    table : pyarrow.Table
        A row a question, in the benchmark's schema. Without ``dataset`` it is the name of the folder, without
        ``image_id`` that of the first file; of a further question about it with the number of the question.
    notes : list of str
        Fields that were not read, and lines that ask what an earlier one asks.

    Raises
    ------
    UserError
        Names the line: no JSON, a field that is missing or of the wrong kind, options that are alike, an answer that is
        none of them, no such file, or one outside the folder; two lines with one question and two answers.
    """
    kept = [column for column in columns if column not in ("image", "captions", "questions", FURTHER)]
    folder, rows = file.absolute().parent, []
    seen: Counter = Counter()
    unread: Counter = Counter()
    first: dict[tuple, tuple[int, str]] = {}  # line and right option of a question about its files
    alike = []
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError("it is not in UTF-8; save as UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = _object(line)
            paths, key = _paths(fields, folder)
            entry = _question(fields)
            right = entry["options"][entry["answer_idx"]]
            asked = (*paths, entry["question"], *sorted(entry["options"]))
            before, said = first.setdefault(asked, (number, right))
            if said != right:
                raise UserError(f"it asks what line {before} asks, and has another answer")
            alike += [number] if before != number else []
        except UserError as error:
            raise UserError(f"line {number}: {error}") from error
        unread.update(fields.keys() - {*ASKED, *kept, key})
        seen[paths[0]] += 1
        again = f"/{seen[paths[0]] - 1}" if seen[paths[0]] > 1 else ""
        of_file = {"dataset": folder.name, "image_id": paths[0] + again}
        further = {FURTHER: [{"bytes": None, "path": path} for path in paths[1:]]}
        row = {"image": {"bytes": None, "path": paths[0]}, **further, "questions": {"cognition": entry}}
        rows.append(row | of_file | {column: fields[column] for column in kept if fields.get(column) is not None})
    if not rows:
        raise UserError("it holds no line")
    found = [column for column in kept if any(column in row for row in rows)]
    table = {column: _column(column, [row.get(column) for row in rows]) for column in found}
    table |= {column: pa.nulls(len(rows)) for column in kept if column not in found}
    cell = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table["image"] = pa.array([row["image"] for row in rows], cell)
    table[FURTHER] = pa.array([row[FURTHER] for row in rows], pa.list_(cell))
    table["questions"] = pa.array([row["questions"] for row in rows])
    table["captions"] = pa.nulls(len(rows))
    ignored = ", ".join(f"{name} ({n:,})" for name, n in sorted(unread.items()))
    notes = [f"fields of {NAME} that are not read: {ignored}"] if ignored else []
    if alike:
        n = f"{len(alike):,} of {len(rows):,} lines of {NAME} ask"
        notes.append(f"{n} again what an earlier one asks, and count again (the first is line {alike[0]})")
    return pa.table(table), notes


def _object(line: str) -> dict:
    try:
        fields = json.loads(line, object_pairs_hook=_once)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"no JSON ({error})") from error
    if not isinstance(fields, dict):
        raise UserError('no JSON object; write {"file_name": …, "question": …, "options": […], "answer_idx": …}')
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict:
    """A JSON object, whose library would take the last of several fields of one name."""
    twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    if twice:
        raise UserError(f"it has two fields `{shown(twice[0])}`")
    return dict(pairs)


def _paths(fields: dict, folder: Path) -> tuple[list[str], str]:
    """Paths of the pictures of a line, and the field that named them."""
    keys = [key for key in fields if key in FILES or key.endswith(("_file_name", "_file_names"))]
    if len(keys) != 1:
        raise UserError(f"several fields name its files ({', '.join(keys)})" if keys else "it lacks `file_name`")
    key, value = keys[0], fields[keys[0]]
    paths = value if key.endswith("s") else [value]
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise UserError(f"`{key}` is no {'list of paths' if key.endswith('s') else 'path'}")
    for path in paths:
        try:
            place = (folder / path).resolve()
            inside, there = place.is_relative_to(folder.resolve()), place.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, a loop of links
            inside, there = True, False
        if not inside:
            raise UserError(f"'{path[:80]}' leads out of the folder")
        if not there:
            raise UserError(f"there is no file '{path[:80]}' in the folder")
    return paths, key


def _question(fields: dict) -> dict:
    """Question, options and answer index of a line."""
    for name in ("question", "options"):
        if fields.get(name) is None:
            hint = "" if "question" in fields else "; of pictures with labels alone `ubench import` makes a dataset"
            raise UserError(f"it lacks `{name}`{hint}")
    words, options = fields["question"], fields["options"]
    if not isinstance(words, str) or not words.strip():
        raise UserError("`question` is no text")
    if not isinstance(options, list) or not all(isinstance(option, str) and option.strip() for option in options):
        raise UserError("`options` is no list of texts")
    if len(options) < 2:
        raise UserError("`options` are fewer than two")
    alike = [option for option, n in Counter(" ".join(one.split()).casefold() for one in options).items() if n > 1]
    if alike:
        raise UserError(f"two of its options are alike: '{alike[0][:60]}'")
    return {"question": words, "options": options, "answer_idx": _answer(fields, options)}


def _answer(fields: dict, options: list[str]) -> int:
    at: Any = fields.get("answer_idx")
    words: Any = fields.get("answer")
    if at is None and words is None:
        raise UserError("it lacks `answer_idx`, the place of the right option (the first is 0), or `answer`, its words")
    if at is not None and (isinstance(at, bool) or not isinstance(at, int) or at not in range(len(options))):
        raise UserError(
            f"`answer_idx` is {shown(json.dumps(at))}, no place of one of {len(options)} options (the first is 0)"
        )
    if words is not None and words not in options:
        raise UserError(f"`answer` is {shown(words)!r}, none of its options; write it as the option is written")
    if words is None:
        return cast(int, at)
    if at is not None and options[at] != words:
        raise UserError(f"`answer_idx` {at} and `answer` {shown(words)!r} are not one option")
    return options.index(words)


def _column(name: str, values: list) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"field `{name}`: its values are of several kinds") from error
