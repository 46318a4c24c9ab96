"""Which pictures lie in a folder, and what a person says of each: a folder a class, a table, or a COCO file's classes.

Nothing is guessed: a table in which two columns could be the label, a name that is no file, a picture with two labels
are refused, and what is left out is counted in a note.
"""

import difflib
import json
import os
import re
import shlex
import unicodedata
from collections import Counter
from pathlib import Path

import pandas as pd

from ..data.tables import read_csv
from ..errors import UserError, first_line
from ..files import read_text
from . import coco
from .formats import AXES, ELSEWHERE, PICTURES, READ

COCO = "_annotations.coco.json"
TABLES = ("metadata.csv", "metadata.jsonl", "labels.csv", COCO)  # in the folder, the first two as of `imagefolder`
FILE = ("file_name", "file", "filename", "image", "path", "picture")
LABEL = ("label", "class", "label_name", "category", "class_name")
FACTS = ("modality", "submodality", "stain", "domain", "subdomain", "organism", "scale", "microns_per_pixel")
GROUP = "group"
SPECIMENS = {
    "animal",
    "case",
    "donor",
    "embryo",
    "individual",
    "mouse",
    "patient",
    "plate",
    "sample",
    "slide",
    "subject",
}
SPECIMENS |= {"specimen", "well"}  # words in the name of a column that may say which pictures belong together
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}  # folders above those of classes
WORDLESS = re.compile(r"[\d.,+-]+|yes|no|true|false|y|n", re.IGNORECASE)  # labels that say nothing of a picture


def read_labels(folder: str, table: str | None = None, group: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Pictures of a folder with their labels.

    Parameters
    ----------
    folder : str
        Pictures lie in it, or below it.
    table : str, optional
        CSV or JSON lines with a column of file names, relative to the folder, one of labels, and any of ``FACTS``,
        ``AXES`` and ``group``; or a COCO file (.json), whose classes are the labels. By default one of ``TABLES`` in
        the folder; without one, a picture's label is the name of its folder.
    group : str, optional
        The table's column that says which pictures are of one specimen, slide or patient, if it is not called so.

    Returns
    -------
    labels : pandas.DataFrame of str
        ``file`` (relative to the folder, in POSIX form, sorted), ``label``, the facts that the table states, ``group``,
        and which of its planes, times, channels or scenes is meant (``AXES``).
    notes : list of str
        What was assumed or left out.

    Raises
    ------
    UserError
        If there is no picture, or it is not clear which label one has; names the file and the row.
    """
    root, table = Path(os.path.expanduser(folder)), table and os.path.expanduser(table)
    if not root.is_dir():
        raise UserError(f"'{folder}' is no folder; name the one that holds the pictures")
    files = [
        path
        for path in root.rglob("*")
        if (path.is_file() or path.suffix == ".zarr")  # the latter is a folder
        and not any(part.startswith(".") for part in path.relative_to(root).parts)  # thumbnails, checkpoints, …
    ]
    there = sorted(path.relative_to(root).as_posix() for path in files if path.suffix.lower() in READ)
    others = _others(files)
    if not there:
        why = f"; {others[0]}" if others else f" ({', '.join(PICTURES)}, or a microscope's)"
        raise UserError(f"'{folder}' holds no picture{why}")
    found = [name for name in TABLES if (root / name).is_file()]
    if table is None and len(found) > 1:
        raise UserError(f"'{folder}' holds {' and '.join(found)}; say which one counts with --labels")
    if table is None and not found:
        if group:
            raise UserError(f"--group {group}: there is no table with such a column; name it with --labels")
        labels, notes = _by_folder(folder, there)
    else:
        labels, notes = _by_table(folder, root, table or str(root / found[0]), there, group)
    wordless = [label for label in sorted(labels.label.unique()) if WORDLESS.fullmatch(label)]
    if wordless:
        notes.append(
            f"a model that compares a picture with words learns nothing from the labels {', '.join(wordless[:8])}"
            f"{', …' if len(wordless) > 8 else ''}; call the classes by what is seen"
        )
    return labels, notes + others


def _others(files: list[Path]) -> list[str]:
    """A note on files of microscopes that are not read here, with what reads them."""
    counts = Counter(path.suffix.lower() for path in files if path.suffix.lower() in ELSEWHERE)
    told = ", ".join(f"{n:,} {suffix} ({ELSEWHERE[suffix]} reads it)" for suffix, n in sorted(counts.items()))
    return [f"files that are not read here, to be saved as OME-TIFF: {told}"] if told else []


def _by_folder(folder: str, there: list[str]) -> tuple[pd.DataFrame, list[str]]:
    parts = [name.split("/") for name in there]
    bare = [name for name, steps in zip(there, parts, strict=True) if len(steps) == 1]
    if bare:
        raise UserError(
            f"{len(bare):,} of {len(there):,} pictures lie in no folder of a class, such as '{bare[0]}'; sort them "
            "into one folder a class, or name a table of file names and labels with --labels"
        )
    folders = [steps[:-1] for steps in parts]
    while len({steps[0] for steps in folders}) == 1 and all(len(steps) > 1 for steps in folders):
        folders = [steps[1:] for steps in folders]  # all lie in one
    notes = ["the label of a picture is the name of its folder"]
    tops = sorted({steps[0] for steps in folders})
    if PARTS.issuperset(map(str.lower, tops)) and all(len(steps) == 2 for steps in folders):
        notes.append(f"the pictures of the folders {', '.join(tops)} are taken together")
        folders = [steps[1:] for steps in folders]
    deep = [name for name, steps in zip(there, folders, strict=True) if len(steps) > 1]
    if deep:
        raise UserError(
            f"'{folder}' holds folders in folders, such as that of '{deep[0]}', and either may be the class: name a "
            "folder that holds one folder a class and no others, or a table with --labels"
        )
    return pd.DataFrame({"file": there, "label": [steps[0] for steps in folders]}), notes


def _by_table(
    folder: str, root: Path, table: str, there: list[str], group: str | None
) -> tuple[pd.DataFrame, list[str]]:
    rows, notes = _rows(table)
    if rows.empty:
        raise UserError(f"'{table}' has no rows")
    file, label = _column(rows, FILE, table, "file names"), _column(rows, LABEL, table, "labels")
    if group and list(rows).count(group) != 1:
        there_are = _named(rows)
        has = "two such columns" if group in rows else "no such column"
        raise UserError(f"--group {group}: '{table}' has {has} (found: {there_are})")
    facts = {group: GROUP} if group else {}
    for name in rows.columns.drop([file, label, *facts]):
        fact = re.sub(r"[\W_]+", "_", str(name).strip().lower())
        if fact in {*FACTS, *AXES} or (fact == GROUP and not group):
            if fact in facts.values():
                raise UserError(f"'{table}': two columns could be {fact}; rename one of them")
            facts[name] = fact
    unused = [str(name) for name in rows if name not in (file, label, *facts) and str(name).strip()]
    labels = rows[[file, label, *facts]].set_axis(["file", "label", *facts.values()], axis=1)
    for row, cells in enumerate(labels.to_dict("records"), start=1):
        _check_row(cells, f"'{table}', row {row}")
    labels["label"] = labels.label.str.strip()
    known, forms = set(there), Counter(map(_composed, there))
    alike = {_composed(name): name for name in there if forms[_composed(name)] == 1}
    named = [_inside(root, name.strip()) for name in labels.file]
    labels["file"] = [name if name in known else alike.get(_composed(name), name) for name in named]
    absent = labels[~labels.file.isin(known)]
    if len(absent) and (suffix := Path(absent.file.iloc[0]).suffix.lower()) in ELSEWHERE:
        raise UserError(
            f"'{table}', row {absent.index[0] + 1}: '{rows[file][absent.index[0]]}' is not read here, but by "
            f"{ELSEWHERE[suffix]}; save such files as OME-TIFF"
        )
    if len(absent):
        near = difflib.get_close_matches(absent.file.iloc[0], there, 1)
        raise UserError(
            f"'{table}', row {absent.index[0] + 1}: '{rows[file][absent.index[0]]}' is no picture in '{folder}' "
            f"({len(absent):,} such rows); paths are relative to that folder" + (f", as '{near[0]}' is" if near else "")
        )
    axes = [axis for axis in AXES if axis in labels]
    twice = labels[labels.duplicated(["file", *axes])]
    if len(twice):
        same = f", with the same {' and '.join(axes)}" if axes else ""
        raise UserError(f"'{table}', row {twice.index[0] + 1}: '{twice.file.iloc[0]}' is listed twice{same}")
    notes = notes or [f"labels are the column {label} of {table}"]
    if facts:
        notes.append(f"of the table, {', '.join(facts)} {'is' if len(facts) == 1 else 'are'} used too")
    left = len(known) - labels.file.nunique()
    if left:
        notes.append(f"{left:,} of {len(known):,} pictures have no row in {Path(table).name} and are left out")
    if unused:
        notes.append(f"columns that are not used: {', '.join(unused)}")
    alone = int(labels[GROUP].isna().sum()) if GROUP in labels else 0
    if alone:
        notes.append(
            f"{alone:,} of {len(labels):,} pictures have an empty cell as their group, and count as independent of all "
            "others; fill in each row, also where a spreadsheet shows one cell for several"
        )
    of_specimens = [name for name in unused if {*re.split(r"[\W_]+", name.lower())} & SPECIMENS]
    if of_specimens and GROUP not in labels:
        notes.append(
            f"pictures count as independent of each other; if those of one {of_specimens[0]} belong together, say "
            f"--group {shlex.quote(of_specimens[0])}"
        )
    return labels.sort_values("file", kind="stable", ignore_index=True), notes


def _check_row(cells: dict, where: str) -> None:
    """Refuse a row that names no file, has no label, or holds what is neither a text nor a number."""
    for name, cell in cells.items():
        if isinstance(cell, list | dict):
            raise UserError(f"{where}: its {name} is a list or an object; write a text or a number")
        if isinstance(cell, str) and "\n" in cell.strip():
            raise UserError(f"{where}: its {name} holds a line break; is a quotation mark left open?")
    if pd.isna(cells["file"]) or not cells["file"].strip():
        raise UserError(f"{where}: names no file")
    if pd.isna(cells["label"]) or not cells["label"].strip():
        raise UserError(f"{where} ('{cells['file']}'): has no label")


def _rows(table: str) -> tuple[pd.DataFrame, list[str]]:
    """Rows of a table of labels, every cell a text or None, and notes on what they were taken from."""
    suffix = Path(table).suffix.lower()
    if suffix == ".json":
        return coco.read_classes(table)
    if suffix == ".jsonl":
        lines = enumerate(read_text(table, "the table of labels").splitlines(), start=1)
        objects = [_object(line, f"'{table}', line {number}") for number, line in lines if line.strip()]
        return pd.DataFrame(objects), []
    if suffix not in (".csv", ".tsv", ".txt"):
        raise UserError(
            f"'{table}': a table of labels is CSV, JSON lines or a COCO file (.csv, .tsv, .txt, .jsonl, .json); a "
            "spreadsheet saves as CSV"
        )
    if not os.path.isfile(table):
        raise UserError(f"there is no table '{table}'")
    try:
        return read_csv(Path(table).read_bytes(), table, known=(*FILE, *LABEL, *FACTS, *AXES, GROUP)), []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{table}' ({first_line(error)})") from error


def _object(line: str, where: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no JSON ({first_line(error, 80)})") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: write an object with file_name and label")
    return {key: value if value is None or isinstance(value, list | dict) else str(value) for key, value in row.items()}


def _column(rows: pd.DataFrame, names: tuple, table: str, what: str) -> str:
    found = [name for name in rows if str(name).strip().lower() in names]
    if len(found) != 1:
        there = _named(rows)
        said = f"both {' and '.join(map(str, found))} could be" if found else "no column is"
        raise UserError(f"'{table}': {said} the {what} (found: {there}); name one of them {names[0]}")
    return found[0]


def _composed(name: str) -> str:
    """A name with its accents in one form: a file system may keep another than a table, and both look alike."""
    return unicodedata.normalize("NFC", name)


def _named(rows: pd.DataFrame) -> str:
    """The first names of columns, for a message."""
    return ", ".join([str(name) for name in rows if str(name).strip()][:8])


def _inside(root: Path, name: str) -> str:
    """A path as the table writes it, relative to the folder."""
    path = Path(name.replace("\\", "/"))
    path = path.relative_to(root.absolute()) if path.is_absolute() and path.is_relative_to(root.absolute()) else path
    return os.path.normpath(path).replace(os.sep, "/")
