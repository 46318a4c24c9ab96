"""Questions in the schema of MicroVQA (Burgess et al. 2025): one row a question, with a list of images.

``choices`` are the options and ``correct_index`` the answer. Its tasks (expert visual understanding, hypothesis
generation, experiment proposal) become the facet ``taxonomy``; facets that it has no column for are not stated.
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError, first_line
from .cognition import FURTHER
from .storage import open_table

PREFIX = "microvqa:"
SPLITS = ("test", "train")  # of the Hub, where it has had either name
NEEDED = ["images_list", "question", "choices", "correct_index"]
FACETS = ["modality", "submodality", "domain", "subdomain", "stain", "scale", "microns_per_pixel", "ncbitaxon_name"]
OTHERS = ["key_question", "correct_answer", "task_str", "task"]


def open_questions(name: str) -> tuple[pa.Table, Path | None, list[str]]:
    """Rows of ``microvqa:PATH`` or ``microvqa:ORG/NAME`` in the benchmark's schema, as from ``storage.open_table``."""
    place = name.removeprefix(PREFIX)
    folder, read = None, [*NEEDED, *FACETS, *OTHERS]
    notes: list[str] = []
    if "\0" not in place and os.path.exists(os.path.expanduser(place)):
        table, folder, notes = open_table(place, read)
    else:
        table = _of_hub(place)
    missing = [column for column in NEEDED if column not in table.column_names]
    if missing:
        raise UserError(f"dataset '{name}' lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    try:
        return _rows(table), folder, notes
    except UserError as error:
        raise UserError(f"dataset '{name}', {error}") from error
    except pa.ArrowException as error:
        raise UserError(f"dataset '{name}': {first_line(error)}") from error


def _of_hub(place: str) -> pa.Table:
    import datasets

    try:
        splits = datasets.load_dataset(place)
    except Exception as error:  # the Hub client raises many kinds: offline, not found, disk full
        raise UserError(f"cannot load {place} from the Hub, and there is no such file: {first_line(error)}") from error
    split = next((split for split in SPLITS if split in splits), None)
    if split is None:
        raise UserError(f"{place} has the splits {', '.join(splits)}; none is {' or '.join(SPLITS)}")
    return splits[split].data.table.replace_schema_metadata(None)


def _rows(table: pa.Table) -> pa.Table:
    images = table.column("images_list")
    counts = pc.fill_null(pc.list_value_length(images), 0)
    if pc.any(pc.equal(counts, 0)).as_py():
        raise UserError(f"row {pc.index(pc.equal(counts, 0), True).as_py()}: images_list is empty")
    asked = zip(*(table.column(column).to_pylist() for column in NEEDED[1:]), strict=True)
    entries = [{"question": words, "options": options, "answer_idx": at} for words, options, at in asked]
    if "correct_answer" in table.column_names:
        for row, (entry, right) in enumerate(zip(entries, table.column("correct_answer").to_pylist(), strict=True)):
            at, options = entry["answer_idx"], entry["options"]
            if right is not None and isinstance(at, int) and options and options[at : at + 1] != [right]:
                raise UserError(f"row {row}: correct_index {at} is not correct_answer '{str(right)[:60]}'")
    n = table.num_rows
    keys = table.column("key_question").to_pylist() if "key_question" in table.column_names else [None]
    keys = keys if None not in keys and len({*keys}) == n else range(n)
    task = next((table.column(name) for name in ("task_str", "task") if name in table.column_names), pa.nulls(n))
    return pa.table(
        {
            "image_id": pa.array([str(key) for key in keys]),
            "image": pc.list_element(images, 0),
            FURTHER: pc.list_slice(images, 1),
            "questions": pa.array([{"cognition": entry} for entry in entries]),
            "captions": pa.nulls(n),
            "label_name": pa.nulls(n),
            "dataset": pa.array(["microvqa"] * n),
            "taxonomy": pc.cast(task, pa.string()),
            **{name: table.column(name) if name in table.column_names else pa.nulls(n) for name in FACETS},
        }
    )
