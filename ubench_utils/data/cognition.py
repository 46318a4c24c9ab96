"""Cognition questions: several of them about one picture, each in a row of its own.

A row of the Hub's schema holds one question of every type, but any number of cognition: ``questions.cognition``, and
``cognition_0``, ``cognition_1``, … beside it. The first stays in its row; each further one gets a row with the same
picture at the end of the table, so that ``(dataset, image_id, question, wording)`` names one question.
"""

import hashlib
import re

import numpy as np
import pyarrow as pa

FURTHER = "further_images"  # a column of lists: the images that a question is about beside the first
ENTRY = re.compile(r"cognition(?:_(\d+))?")


def entries(questions) -> list[str]:
    """Names of the cognition questions that a row holds, in the order of their numbers; one without a number first.

    Parameters
    ----------
    questions : dict, list of dict with ``name``, or None
        As in the column ``questions``.
    """
    if isinstance(questions, list):
        questions = {entry.get("name"): entry for entry in questions if isinstance(entry, dict)}
    named = {name: entry for name, entry in (questions or {}).items() if isinstance(name, str) and entry}
    found = [name for name, entry in named.items() if ENTRY.fullmatch(name) and _is_asked(entry)]
    return sorted(found, key=lambda name: (len(name), name))


def one_a_row(table: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Give each further cognition question of a row a row of its own, at the end.

    Parameters
    ----------
    table : pyarrow.Table
        With ``image_id``, ``image``, ``captions`` and ``questions``.

    Returns
    -------
    table : pyarrow.Table
        A new row's ``image_id`` is that of its picture, a slash and the name of the question.
    picture : numpy.ndarray, int, shape (n_rows,)
        The first row that shows the same picture, for rows that say so: new ones, and those that hold nothing but
        cognition questions and the bytes or the path of an earlier one. Other copies are no business of this function.
    """
    picture = np.arange(table.num_rows)
    if not {"image_id", "image", "captions", "questions"} <= {*table.column_names} or not _holds_cognition(
        table.schema.field("questions").type
    ):
        return table, picture
    asked = table.column("questions").to_pylist()
    named = [entries(questions) for questions in asked]
    first: dict[str, int] = {}
    captions = table.column("captions").to_pylist()
    for row, names in enumerate(named):
        if names and not _others(captions[row]) and not _others(asked[row]):
            cell = table.column("image")[row].as_py()
            picture[row] = first.setdefault(_same(cell), row) if cell else row
    further = [(row, name) for row, names in enumerate(named) for name in names[1:]]
    if not further:
        return table, picture
    rows = [row for row, _ in further]
    new = table.take(rows)
    ids = [str(value) for value in table.column("image_id").to_pylist()]  # a null is refused later
    alone = [_only(asked[row], name) for row, name in further]
    for column, values in {
        "image_id": pa.array([f"{ids[row]}/{name}" for row, name in further]),
        "captions": pa.nulls(len(rows), table.schema.field("captions").type),
        "questions": pa.array(alone, table.schema.field("questions").type),
    }.items():
        new = new.set_column(new.column_names.index(column), column, values)
    if not pa.types.is_string(table.schema.field("image_id").type):
        texts = pa.array([None if v is None else str(v) for v in table.column("image_id").to_pylist()], pa.string())
        table = table.set_column(table.column_names.index("image_id"), "image_id", texts)
    return pa.concat_tables([table, new.cast(table.schema)]), np.concatenate([picture, picture[rows]])


def _holds_cognition(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold cognition questions: of a list of structs their names are values."""
    if pa.types.is_struct(kind):
        return any(ENTRY.fullmatch(field.name) for field in kind)
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_asked(entry) -> bool:
    return not isinstance(entry, dict) or bool(entry.get("options") or entry.get("question"))


def _others(held) -> bool:
    """Whether a row holds a caption, or a question of another type."""
    named = held.items() if isinstance(held, dict) else [(one.get("name"), one) for one in held or [] if one]
    return any(entry and not ENTRY.fullmatch(str(name)) and _is_asked(entry) for name, entry in named)


def _only(questions, name: str):
    if isinstance(questions, list):
        return [entry for entry in questions if entry and entry.get("name") == name]
    return {name: questions[name]}


def _same(cell) -> str:
    """What two cells have in common that hold one picture."""
    own, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    return hashlib.sha256(own).hexdigest() if isinstance(own, bytes) and own else f"path {own or path}"
