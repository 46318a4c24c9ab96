"""The tables of a run in a folder: all of one run, and no file of anybody else's touched.

All files are written aside first, in ``.ubench-unfinished``. Then the old record goes, the tables move into place, and
the new record comes last: a folder with a ``run.json`` holds one run, whatever was killed. The record lists the
SHA-256 of every table, which is how a file is known as this program's own.
"""

import hashlib
import io
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import pandas as pd

from ..engine.store import file_digest
from ..errors import UserError
from ..files import write_whole
from ..statistics import scores as stats

RECORD = "run.json"
TABLES = ["predictions.parquet", "scores.csv", "failures.csv"]
ASIDE = ".ubench-unfinished"
MISSING = re.compile(r"#N/A( N/A)?|#NA|-?1\.#(IND|QNAN)|-?(NaN|nan)|<NA>|N/A|NA|NULL|None|n/a|null")  # to pandas
OWN = "own.json"  # in it: digests of the files that this program put into the folder, or will


def save(run, folder, beside: dict | None = None) -> Path:
    """Write predictions, scores, failures and the record of an ``Evaluation`` into a folder, which may be new.

    Parameters
    ----------
    run : Evaluation
    folder : str or Path
    beside : dict of str to str, optional
        Further files of this run: name and text.

    Raises
    ------
    OSError
        If the folder cannot be written; the files there are those of the run before, then.
    """
    folder = Path(folder)
    content = _content(run) | {name: text.encode() for name, text in (beside or {}).items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    record = json.dumps({**run.record, "files": digests}, indent=2, ensure_ascii=False) + "\n"
    content[RECORD] = record.encode()
    own = sorted(own_digests(folder) | {hashlib.sha256(data).hexdigest() for data in content.values()})
    aside = folder / ASIDE
    aside.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(aside / OWN, json.dumps(own))
        for name, data in content.items():
            write_whole(aside / name, data)
    except BaseException:  # say a full disk: what is there stays
        for name in content:
            (aside / name).unlink(missing_ok=True)
        raise
    (folder / RECORD).unlink(missing_ok=True)
    for name in content:  # the record is the last
        (aside / name).replace(folder / name)
    (aside / OWN).unlink()
    for left in aside.glob(".*.part"):  # by a run that was killed
        left.unlink()
    with suppress(OSError):  # somebody's files are in it
        aside.rmdir()
    return folder


def _content(run) -> dict[str, bytes]:
    buffer = io.BytesIO()
    run.predictions.to_parquet(buffer, index=False)
    tables = (as_csv(table).encode() for table in (stats.score(run.answers), run.failures))
    return dict(zip(TABLES, (buffer.getvalue(), *tables), strict=True))


def as_csv(table: pd.DataFrame) -> str:
    """A table that ``pandas.read_csv`` reads without options and without loss: a name like None, NA or 007 stands in
    quotation marks.
    """

    def quoted(value):
        return f"'{value}'" if isinstance(value, str) and (MISSING.fullmatch(value) or _is_odd_number(value)) else value

    texts = table.select_dtypes(exclude="number")
    return table.assign(**{name: texts[name].map(quoted) for name in texts}).to_csv(index=False, float_format="%.6g")


def _is_odd_number(text: str) -> bool:
    """Whether a text is a number that would be written otherwise when it comes back: 007, 1e3, 2.50."""
    try:
        return text not in (repr(float(text)), f"{float(text):.0f}")
    except ValueError:
        return False


def check_folder(out, inputs=(), others=()) -> None:
    """Whether the tables can go into a folder, before anything is computed; nothing is left of the trial.

    Parameters
    ----------
    out : str
        The folder, which may be new.
    inputs : iterable of str
        Files that the command reads; none of them may be overwritten.
    others : iterable of str
        Names of further files that the command will write there.

    Raises
    ------
    UserError
        If it is a file or cannot be written to, or if a file of somebody else has the name of a result.
    """
    if not str(out).strip():
        raise UserError("--out is empty; it names the folder for the tables")
    folder = Path(out)
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"'{out}' is a file; --out names a folder")
        if (folder / ASIDE).is_symlink():  # through it, files of another folder would be written and removed
            raise UserError(f"'{folder / ASIDE}' is a link; remove it, or name another folder with --out")
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        (folder / ASIDE).mkdir(parents=True, exist_ok=True)
        (folder / ASIDE / "trial").touch()
        (folder / ASIDE / "trial").unlink()
        if not any((folder / ASIDE).iterdir()):
            (folder / ASIDE).rmdir()
        for place in made:
            if place.exists():
                place.rmdir()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"cannot write to the folder '{out}' ({getattr(error, 'strerror', None) or error})") from error
    own = own_digests(folder)
    # realpath, since Path.resolve raises at a loop of links
    read = {os.path.realpath(os.path.expanduser(file)) for file in inputs if "\0" not in file}
    for place in read & {os.path.realpath(place) for place in (folder, *folder.absolute().parents)}:
        if os.path.isdir(place):
            raise UserError(
                f"'{out}' is within '{place}', whose tables are read as the dataset's; name a folder outside with --out"
            )
    for name in (*TABLES, RECORD, *others):
        file = folder / name
        if os.path.realpath(file) in read:
            raise UserError(
                f"'{file}' is read by this command and would be overwritten; name another folder with --out"
            )
        if (file.exists() or file.is_symlink()) and not (file.is_file() and file_digest(file) in own):
            raise UserError(
                f"'{file}' was not written by ubench, or was changed since, and would be overwritten; move "
                "it away, or name another folder with --out"
            )


def own_digests(folder: Path) -> set[str]:
    """SHA-256 of the files of a folder that this program wrote there, as far as its records say."""
    found = set()
    try:
        record = (folder / RECORD).read_bytes()
        facts = json.loads(record)
        listed = facts.get("files") if "ubench_utils" in facts else None
        if isinstance(listed, dict):
            found = {hashlib.sha256(record).hexdigest(), *map(str, listed.values())}
    except (OSError, ValueError, AttributeError, TypeError):
        pass  # no record, or none of ours
    try:
        return found | set(map(str, json.loads((folder / ASIDE / OWN).read_bytes())))
    except (OSError, ValueError, TypeError):
        return found
