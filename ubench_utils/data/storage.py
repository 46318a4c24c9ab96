"""Where rows are stored: files read as they are, one split of a folder, and the pictures that rows name by path.

A path is a path: no character in it is a pattern, an address or a chain of file systems. Files are read each time,
without a library's copy of them, so what is scored is what lies there; nothing is written.
"""

import json
import os
import re
import shlex
import stat
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from ..errors import UserError, first_line
from . import metadata
from .cognition import FURTHER
from .columns import is_text

SUFFIXES = (".parquet", ".arrow")
READ = (
    "a .parquet or .arrow file, a folder of them, a folder written by save_to_disk, or one with a metadata.jsonl of "
    "questions"
)
SPLITS = {  # words of the Hub
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
BATCH = 100  # rows read at a time, so that the pictures of one batch stay below Arrow's 2 GB
NO_CLASS = -1  # a ClassLabel's number for "no label"
SHOWN = 3  # files or splits that a message names


def open_table(name: str, columns: list[str]) -> tuple[pa.Table, Path, list[str]]:
    """Read the rows of a local dataset.

    Parameters
    ----------
    name : str
        Path of a parquet or Arrow file, of a folder of them, of a ``save_to_disk`` folder, or of one with questions in
        a ``metadata.jsonl``.
    columns : list of str
        What is read of it, where it is there.

    Returns
    -------
    table : pyarrow.Table
        Without metadata; numbers of a ClassLabel are replaced by their names. Parquet is held in memory, Arrow files
        are memory-mapped.
    folder : pathlib.Path
        The folder that picture paths are relative to: that of the table, or the one named where files of several
        folders are read.
    notes : list of str
        Which of several splits or files were read.

    Raises
    ------
    UserError
        If there is nothing to read, a file is damaged, or it is not clear which split is meant.
    """
    path = Path(os.path.expanduser(name))
    try:
        files, notes = files_of(path)
        tables = [_read(file, columns, notes) for file in files]
        for file, table in zip(files, tables, strict=True):
            if set(table.column_names) != set(tables[0].column_names):
                differing = sorted(set(table.column_names) ^ set(tables[0].column_names))
                raise UserError(f"{file.name} and {files[0].name} differ in the columns {', '.join(differing)}")
        table = pa.concat_tables([t.select(tables[0].column_names) for t in tables], promote_options="permissive")
    except UserError as error:
        raise UserError(f"cannot read dataset '{name}': {error}") from error
    except Exception as error:  # pyarrow, JSON and the file system each have their own
        raise UserError(f"cannot read dataset '{name}': {first_line(error)}") from error
    folders = {file.absolute().parent for file in files}
    return table, folders.pop() if len(folders) == 1 else path.absolute(), notes


def with_class_names(table: pa.Table, noted: pa.Schema) -> pa.Table:
    """The table without metadata, its ClassLabel columns as text, by the schema in which `datasets` noted the names."""
    for column, classes in _class_names(noted).items():
        numbers = table.column(column) if column in table.column_names else pa.nulls(0)
        if not (pa.types.is_integer(numbers.type) or pa.types.is_floating(numbers.type)):
            continue
        if pa.types.is_floating(numbers.type):  # as a column with gaps becomes in pandas
            numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
        try:
            numbers = numbers.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise UserError(f"column {column}: fractions are no numbers of its class names") from error
        numbers = pc.if_else(pc.equal(numbers, NO_CLASS), None, numbers)
        wrong = pc.or_(pc.less(numbers, 0), pc.greater_equal(numbers, len(classes)))
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            number = numbers[row].as_py()
            raise UserError(f"column {column}, row {row}: {number} is no number of its {len(classes)} class names")
        named = pa.chunked_array([pa.array(classes, pa.string()).take(chunk) for chunk in numbers.chunks], pa.string())
        table = table.set_column(table.column_names.index(column), column, named)
    return table.replace_schema_metadata(None)


def _class_names(schema: pa.Schema) -> dict[str, list]:
    """Names of the classes of every ClassLabel column, as the library `datasets` notes them in a file's schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, ValueError):  # no such note
        return {}
    return {name: names for name, names in found.items() if name in schema.names and isinstance(names, list)}


def picture_paths(table: pa.Table) -> list[str]:
    """Paths that the rows of a table name, as they hold no image of their own."""
    columns = ["image", *({FURTHER} & {*table.column_names})]
    chunks = [chunk for column in columns for chunk in table.column(column).chunks]
    found: list[str] = []
    for chunk in chunks:
        chunk = chunk.flatten() if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type) else chunk
        if pa.types.is_struct(chunk.type):
            names = [field.name for field in chunk.type]
            own = chunk.field("bytes") if "bytes" in names else pa.nulls(len(chunk), pa.binary())
            empty = pc.equal(pc.fill_null(pc.binary_length(own.cast(pa.large_binary())), 0), 0)
            chunk = chunk.field("path").filter(empty) if "path" in names else pa.nulls(0)
        if is_text(chunk.type):
            found += filter(None, chunk.to_pylist())
    return found


def picture_bytes(cell, folder: Path | None) -> bytes:
    """Encoded bytes of an image cell: its own, or those of the file that it names.

    Parameters
    ----------
    cell : dict, bytes, str or None
        ``{"bytes": …, "path": …}``, the bytes alone, or the path alone.
    folder : pathlib.Path or None
        Paths are relative to it, and no file outside of it is opened.

    Raises
    ------
    OSError
        With the reason, if there is neither.
    """
    own, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(own, str):
        own, path = None, own
    if own:
        return own
    if not path:
        raise OSError("the row holds no image")
    if folder is None:
        raise OSError(f"no bytes, and this dataset has no folder for its path: {path[:80]!r}")
    if re.match(r"[A-Za-z][\w+.-]*://|data:", path):
        raise OSError(f"no bytes, and an address is not fetched: {path[:60]!r}")
    try:
        root, target = folder.resolve(), (folder / path).resolve()
        mode = target.stat().st_mode if target.is_relative_to(root) else None
    except (OSError, ValueError, RuntimeError) as error:  # absent; too long or a NUL in it; a loop of links
        # from None, since a failure is told by its deepest cause, which would name this machine's folders
        if not isinstance(error, FileNotFoundError) or re.fullmatch(r"[\w+/=\s-]{100,}", path):
            raise OSError(f"no path, no bytes: the row holds the text {path[:40]!r}") from None
        raise OSError(f"no bytes, and no such file in the folder of the dataset's table: {path[:80]!r}") from None
    if mode is None:
        raise OSError(f"no bytes, and its path leads out of the dataset's folder: {path[:80]!r}")
    if not stat.S_ISREG(mode):
        raise OSError(f"no bytes, and its path is that of a folder, a pipe or a device: {path[:80]!r}")
    return _bytes_of(target)


def _bytes_of(file: Path) -> bytes:
    """Bytes of a regular file; what took its place since it was looked at, say a pipe, is not waited for."""
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(f"{file.name} is no regular file")
        return opened.read()


def _read(file: Path, columns: list[str], notes: list[str]) -> pa.Table:
    try:
        if file.name == metadata.NAME:
            table, more = metadata.read_questions(file, columns)
            notes += more
            return table
        table = _read_parquet(file, columns) if file.suffix.lower() == ".parquet" else _map_arrow(file, columns)
        table.validate(full=True)
        return with_class_names(table, table.schema)
    except UserError as error:
        raise UserError(f"{file.name}, {error}") from error
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise UserError(f"{file.name}: {first_line(error)}") from error


def _read_parquet(file: Path, columns: list[str]) -> pa.Table:
    with pa.OSFile(str(file)) as source, pq.ParquetFile(source, page_checksum_verification=True) as parquet:
        schema = _once(parquet.schema_arrow, columns)
        return pa.Table.from_batches(parquet.iter_batches(BATCH, columns=schema.names), schema)


def _map_arrow(file: Path, columns: list[str]) -> pa.Table:
    mapped = pa.memory_map(str(file))
    try:
        table = pa.ipc.open_stream(mapped).read_all()  # as `datasets` writes it
    except pa.ArrowInvalid:
        table = pa.ipc.open_file(mapped).read_all()
    return table.select(_once(table.schema, columns).names)


def _once(schema: pa.Schema, columns: list[str]) -> pa.Schema:
    """The fields of those columns, each of a name of its own."""
    fields = [field for field in schema if field.name in columns]
    for name, n in Counter(field.name for field in fields).items():
        if n > 1:
            raise UserError(f"column {name}: there are {n} of this name")
    return pa.schema(fields, schema.metadata)


def files_of(path: Path) -> tuple[list[Path], list[str]]:
    """Files of the one split that is read, in order, and notes on the choice; raises UserError where there is none."""
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"it is no regular file; {READ} is read")
        if path.suffix.lower() not in SUFFIXES and path.name != metadata.NAME:
            kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
            raise UserError(f"{kind} is not read, but {READ}; {_how_to_make(path)}")
        shard = SHARD.fullmatch(path.stem)
        of = int(shard[3]) if shard else 1
        return [path], [f"{path.name} is one of {of} parts of a dataset; it alone was read"] if of > 1 else []
    if (path / "dataset_dict.json").is_file():
        split, notes = _chosen(_listed(path / "dataset_dict.json", "splits"))
        return _saved(path / _plain_name(split)), notes
    if (path / "state.json").is_file():
        return _saved(path), []
    if (path / metadata.NAME).is_file():
        return [path / metadata.NAME], []
    groups: dict[str, list[Path]] = {}
    for file in _tables_in(path):
        groups.setdefault(_split_of(file.relative_to(path)), []).append(file)
    split, notes = _chosen(list(groups))
    files, more = _whole(groups[split], path)
    return files, notes + more


def _how_to_make(path: Path) -> str:
    """The command that makes a dataset of a folder of pictures, or of a table beside them."""
    arguments = ["FOLDER", "--out", "mine.parquet"]
    if path.is_dir():
        arguments = [str(path), "--out", f"{path.absolute().name or 'mine'}.parquet"]
    elif path.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl"):
        arguments = [
            str(path.parent),
            "--labels",
            str(path),
            "--out",
            f"{path.absolute().parent.name or 'mine'}.parquet",
        ]
    return f"`{shlex.join(['ubench', 'import', *arguments])}` makes one of pictures and their labels"


def _saved(folder: Path) -> list[Path]:
    """Files of a ``save_to_disk`` folder, as it lists them: others may lie beside them."""
    return [folder / _plain_name(name) for name in _listed(folder / "state.json", "_data_files")]


def _listed(file: Path, key: str) -> list[str]:
    """Names of the splits or files that a list of save_to_disk holds."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = [entry["filename"] if isinstance(entry, dict) else entry for entry in content[key]]
    except (ValueError, KeyError, TypeError, RecursionError):
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"its {file.name} lists nothing under {key}; save the dataset again with save_to_disk")
    if content.get("_indices_data_files"):
        raise UserError("an old version of `datasets` saved it as a selection of rows; save it again with a new one")
    return names


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"it lists {name!r}, which is no name of a file in it")
    return name


def _tables_in(path: Path) -> list[Path]:
    """Tables in a folder and the folders in it, without hidden ones and the copies that `datasets` leaves."""

    def stop(error):
        raise error

    found = []
    for folder, folders, names in os.walk(path, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    found = [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]
    found = [file for file in found if not re.fullmatch(r"cache-\w+\.arrow", file.name)]
    kinds = {file.suffix.lower() for file in found}
    if not kinds:
        raise UserError(f"no .parquet or .arrow file and no save_to_disk folder; {_how_to_make(path)}")
    if len(kinds) > 1:
        raise UserError("the folder holds both .parquet and .arrow files; name the file that is meant")
    return found


def _split_of(file: Path) -> str:
    """Split that a file belongs to by its name or its folders', as on the Hub; empty where they name none."""
    shard = SHARD.fullmatch(file.stem)
    stem = shard[1] if shard else file.stem
    if stem.lower() in SPLITS:
        return SPLITS[stem.lower()]
    for text in [*([] if shard else [stem]), *reversed(file.parent.parts)]:
        named = {SPLITS[word] for word in re.split(r"[-._ 0-9]+", text.lower()) if word in SPLITS}
        if len(named) == 1:
            return named.pop()
    return stem if shard else ""


def _chosen(splits: list[str]) -> tuple[str, list[str]]:
    """The split that is read: ``test``, or the only one."""
    if len(splits) == 1:
        told = splits[0] in SPLITS and splits[0] != "test"
        return splits[0], [f"the dataset holds one split only, {splits[0]}; it was read"] if told else []
    named = ", ".join(sorted(split or "files that name none" for split in splits))
    if "test" not in splits or "" in splits:
        raise UserError(f"it holds several splits ({named}); name one file, or a folder that holds one split only")
    return "test", [f"of the splits {named} only test was read"]


def _whole(files: list[Path], path: Path) -> tuple[list[Path], list[str]]:
    """Files of one split in order, complete where they are numbered."""
    names = ", ".join(str(file.relative_to(path)) for file in files[:SHOWN])
    names += f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    shards = [SHARD.fullmatch(file.stem) for file in files]
    if not any(shards):
        return files, [f"{len(files)} files were read as one dataset: {names}"] if len(files) > 1 else []
    sets = {(file.parent, shard and shard[1], shard and shard[3]) for file, shard in zip(files, shards, strict=True)}
    if len(sets) > 1:
        raise UserError(f"it holds several datasets of one name ({names}); name one file or folder")
    numbers = [(int(shard[2]), int(shard[3])) for shard in shards if shard]
    there, of = {number for number, _ in numbers}, numbers[0][1]
    missing = sorted(set(range(of)) - there)
    if missing:
        raise UserError(
            f"of its {of} parts {len(there)} are there; the first that is missing is number {missing[0]:05}"
        )
    if len(there) > of:
        raise UserError(f"it has more than its {of} parts ({names})")
    return files, []
