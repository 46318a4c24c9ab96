"""Rows of a collection in the benchmark's schema: a picture, what is known of it, its questions and their captions.

The options of a question are drawn by the benchmark's rules (Lozano et al. 2024, section 3): the right one and wrong
ones of a stated vocabulary in random order, "none of the above" the last and never right; four options for the
modality, six for other coarse questions, and at most six for the class.
"""

import hashlib
import io
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..data import pixels
from ..data.questions import NONE_OF_THE_ABOVE, SLOT
from ..demo.sample import CAPTIONS, QUESTIONS, VALUES, ask
from ..errors import UserError
from ..files import write_whole
from .labels import FACTS
from .pixel_size import pixel_size

QUESTION = "What does this micrograph show?"
SENTENCES = ("A micrograph of {class}.", "A microscopy image showing {class}.")
LONGEST = 6  # options of a question, "none of the above" among them
FEW = 10  # pictures of a class
UNIT = "microns_per_pixel"


def build_rows(
    folder: str,
    labels: pd.DataFrame,
    *,
    facts: dict[str, str],
    name: str,
    question: str = QUESTION,
    sentences: Sequence[str] = SENTENCES,
    seed: int = 0,
) -> tuple[list[dict], list[str]]:
    """Rows of the pictures of a folder, ready to be written as parquet.

    Parameters
    ----------
    labels : pandas.DataFrame
        From ``read_labels``.
    facts : dict of str to str
        What is true of all pictures: any of ``labels.FACTS``.
    name : str
        Name of the sub-dataset.
    question : str
        The question on the class, for people and for models that read.
    sentences : sequence of str
        Two captions with ``{class}``, for models that compare.
    seed : int
        Of the options; those of a picture depend on it, the picture's path and the vocabulary alone.

    Returns
    -------
    rows : list of dict
        In the Hub's schema, the file's own bytes as the image.
    notes : list of str
        What was left out, and what a reader of the scores has to know.

    Raises
    ------
    UserError
        If there are fewer than two classes, no picture can be read, or a fact or sentence cannot be meant.
    """
    stated = _facts(labels, facts)
    for text in (name, question, *sentences, *labels.file, *labels.label, *stated.to_numpy(object).ravel()):
        if isinstance(text, str) and any(unicodedata.category(character) == "Cc" for character in text):
            raise UserError(f"the name {text[:40]!r} holds a control character; take it out")
    for sentence in sentences:
        if SLOT not in sentence:
            raise UserError(f"the sentence '{sentence}' lacks {SLOT}, the place of the class")
    spoken = {label: " ".join(label.replace("_", " ").split()) for label in labels.label.unique()}
    _check_alike("the labels", spoken)
    classes = sorted(spoken.values())
    if len(classes) < 2:
        raise UserError(f"all pictures are of one class ('{classes[0]}'); a question needs two or more")
    if NONE_OF_THE_ABOVE in map(str.casefold, classes):
        raise UserError(f"a class is called '{NONE_OF_THE_ABOVE}', which is the last option of every question")
    values = {kind: [*VALUES[kind], *sorted(set(stated[kind].dropna()) - {*VALUES[kind]})] for kind in VALUES}
    rows: list[dict] = []
    read: dict[str, dict] = {}
    failed: dict[str, str] = {}
    seen: dict[str, list] = {}
    sized = 0
    for at, (file, label) in enumerate(zip(labels.file, labels.label, strict=True)):
        try:
            content = (Path(folder).expanduser() / file).read_bytes()
            read[file] = pixels.decode(content).info["found"]
        except Exception as error:  # each is that picture's own
            failed[file] = pixels.reason(error)
            continue
        of = {fact: stated[fact].iloc[at] if pd.notna(stated[fact].iloc[at]) else None for fact in FACTS}
        if of[UNIT] is None and (size := pixel_size(content)):
            of[UNIT], sized = size, sized + 1
        seen.setdefault(pixels.name(content), []).append((file, label))
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed} {file}".encode()).digest()[:8], "little"))
        questions: dict[str, dict] = {}
        captions: dict[str, dict] = {}
        for kind in VALUES:
            length = len(values[kind]) + 1 if kind == "modality" else LONGEST
            if of[kind]:
                asked = ask(rng, kind, of[kind], values[kind], length, file, QUESTIONS[kind], CAPTIONS.get(kind, []))
                questions[kind], captions = asked[0], captions | {f"{kind}_{k}": one for k, one in enumerate(asked[1])}
        length = min(len(classes), LONGEST - 1) + 1
        asked = ask(rng, "classification", spoken[label], classes, length, file, question, list(sentences))
        questions["classification"] = asked[0]
        captions |= {f"classification_{k}": one for k, one in enumerate(asked[1])}
        rows.append(
            {
                "image_id": file,
                "image": {"bytes": content, "path": None},
                "label_name": label,
                "dataset": name,
                **{fact: of[fact] for fact in FACTS if fact != "organism"},
                "ncbitaxon_name": of["organism"],
                "captions": captions,
                "questions": questions,
            }
        )
    if not rows:
        file, why = next(iter(failed.items()))
        raise UserError(f"none of {len(labels):,} pictures can be read; of the first, '{file}': {why}")
    notes = [*pixels.notes(read, failed), *_notes(rows, seen)]
    if sized:
        notes.append(f"the pixel size of {sized:,} of {len(rows):,} pictures is the one that their files state")
    return rows, notes


def write_rows(rows: list[dict], out: str) -> None:
    """Write rows as a parquet file, whole or not at all.

    Raises
    ------
    UserError
        If the file is there already or cannot be written.
    """
    path = Path(out).expanduser()
    buffer = io.BytesIO()
    pd.DataFrame(rows).to_parquet(buffer, index=False)
    try:
        write_whole(path, buffer.getvalue())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write '{out}' ({getattr(error, 'strerror', None) or error})") from error


def check_out(out: str, beside: Path | None = None) -> None:
    """Whether a new parquet file, and one ``beside`` it, can be written there, before anything is read."""
    path = Path(out).expanduser()
    if path.suffix != ".parquet":
        raise UserError(f"--out '{out}': name a file that ends with .parquet")
    for file in filter(None, (path, beside)):
        if file.exists():
            raise UserError(f"'{file}' is there already; remove it, or name another file with --out")
    if not path.absolute().parent.is_dir():
        raise UserError(f"'{path.absolute().parent}' is no folder, so '{out}' cannot be written")


def _facts(labels: pd.DataFrame, facts: dict) -> pd.DataFrame:
    """What is known of each picture: of the table, or of all pictures; said in both places, it is refused."""
    both = [name for name in facts if name in labels]
    if both:
        option = both[0].replace("_", "-")
        raise UserError(f"{both[0]} is a column of the table and an option (--{option}) too; say it in one place")
    table = labels.assign(**facts).reindex(columns=FACTS).astype(object)
    table = table.map(lambda value: value.strip() or None if isinstance(value, str) else value)
    for kind, known in VALUES.items():  # a value of the list is meant however it is written
        of = {value.casefold(): value for value in known}
        table[kind] = [of.get(said.casefold(), said) if isinstance(said, str) else None for said in table[kind]]
        _check_alike(f"the values of {kind},", {said: said for said in table[kind].dropna().unique()})
    table["modality"] = [_modality(value) if isinstance(value, str) else None for value in table.modality]
    sizes = pd.to_numeric(table[UNIT].map(lambda v: v.replace(",", ".") if isinstance(v, str) else v), errors="coerce")
    wrong = table[UNIT].notna() & ~(sizes > 0)
    if wrong.any():
        file, value = labels.file[wrong.idxmax()], table[UNIT][wrong.idxmax()]
        raise UserError(f"'{file}': the pixel size '{value}' is no positive number of micrometres")
    return table.assign(**{UNIT: sizes.astype(float)})


def _check_alike(what: str, names: dict[str, str]) -> None:
    """Refuse names that differ in case, blanks or underscores alone, as both would be options of one question."""
    known: dict[str, str] = {}
    for name, words in names.items():
        other = known.setdefault(words.casefold(), name)
        if other != name:
            raise UserError(f"{what} '{other}' and '{name}' differ only in how they are written; write them alike")


def _modality(said: str) -> str:
    """One of the benchmark's modalities, which may be said in short: ``light``."""
    found = [name for name in VALUES["modality"] if said.lower() in (name, name.removesuffix(" microscopy"))]
    if not found:
        raise UserError(f"modality '{said}': it is one of {', '.join(VALUES['modality'])}; leave it out if it is none")
    return found[0]


def _notes(rows: list[dict], seen: dict) -> list[str]:
    """What a reader has to know of classes and of copies; ``seen`` holds files and labels by picture."""
    notes = []
    few = {label: n for label, n in Counter(row["label_name"] for row in rows).items() if n < FEW}
    if few:
        named = ", ".join(f"{label} ({n})" for label, n in sorted(few.items()))
        notes.append(f"classes of fewer than {FEW} pictures, on which a score says little: {named}")
    copies = [found for found in seen.values() if len(found) > 1]
    if copies:
        files = f"{sum(map(len, copies)):,} files are copies of {len(copies):,} pictures"
        notes.append(f"{files}; copies count as one when intervals are drawn")
    torn = [found for found in copies if len({label for _, label in found}) > 1]
    if torn:
        (one, a), (other, b) = torn[0][0], next(pair for pair in torn[0] if pair[1] != torn[0][0][1])
        pictures = f"{len(torn):,} pictures have two labels"
        notes.append(f"{pictures}, such as {one} ({a}) and {other} ({b}): one of them is wrong")
    return notes
