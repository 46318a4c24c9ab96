"""Rows of a collection in the benchmark's schema: a picture, what is known of it, its questions and their captions.

The options of a question are drawn by the benchmark's rules (Lozano et al. 2024, section 3): the right one and wrong
ones of a stated vocabulary in random order, "none of the above" the last and never right; four options for the
modality, six for other coarse questions, and at most six for the class.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..data import pixels
from ..data.benchmark import COARSE
from ..data.questions import NONE_OF_THE_ABOVE, SLOT
from ..demo.sample import CAPTIONS, QUESTIONS, ask
from ..errors import UserError
from ..files import whole_file
from .facts import CLASS, UNIT, check_alike, read_vocabulary, spoken, stated_facts
from .labels import FACTS, GROUP
from .pictures import Waiting, image_ids, read_pictures
from .rendering import Span

QUESTION = "What does this micrograph show?"
SENTENCES = ("A micrograph of {class}.", "A microscopy image showing {class}.")
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COARSEST = 50.0  # µm, the side of a pixel that a microscope may have
BATCH = 20  # pictures written at a time
LONGEST = 6  # options of a question, "none of the above" among them


def build_rows(
    folder: str,
    labels: pd.DataFrame,
    *,
    facts: dict[str, str],
    name: str,
    question: str = QUESTION,
    sentences: Sequence[str] = SENTENCES,
    vocabulary: dict[str, list[str]] | None = None,
    seed: int = 0,
    choices: dict[str, str] | None = None,
    span: Span = None,
    pages: str | None = None,
    aside: Path | None = None,
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
    vocabulary : dict of str to list of str, optional
        Values that options are drawn from, as from ``read_vocabulary``.
    seed : int
        Of the options; those of a picture depend on it, the picture's path and the vocabulary alone.
    choices, span, pages, aside
        What of each file is shown, and where it waits, as for ``read_pictures``.

    Returns
    -------
    rows : list of dict
        In the Hub's schema. The image is the file's own bytes, or a rendering of them, whose rule ``rendering`` states.
    notes : list of str
        What was left out, and what a reader of the scores has to know.

    Raises
    ------
    UserError
        If there are fewer than two classes, no picture can be read, or a fact or sentence cannot be meant.
    """
    vocabulary = read_vocabulary() if vocabulary is None else vocabulary
    stated = stated_facts(labels, facts, vocabulary)
    for text in (name, question, *sentences, *labels.file, *labels.label, *stated.to_numpy(object).ravel()):
        if isinstance(text, str) and any(unicodedata.category(character) == "Cc" for character in text):
            raise UserError(f"the name {text[:40]!r} holds a control character; take it out")
    for sentence in sentences:
        if SLOT not in sentence:
            raise UserError(f"the sentence '{sentence}' lacks {SLOT}, the place of the class")
    check_alike("the labels", labels.label.unique())
    classes = sorted(set(labels.label.map(spoken)))
    further = [name for name in vocabulary[CLASS] if name not in classes]
    check_alike("of the labels and the vocabulary,", [*classes, *further])
    if len(classes) < 2:
        raise UserError(f"all pictures are of one class ('{classes[0]}'); a question needs two or more")
    if NONE_OF_THE_ABOVE in map(str.casefold, classes + further):
        raise UserError(f"a class is called '{NONE_OF_THE_ABOVE}', which is the last option of every question")
    values = {kind: sorted({*vocabulary[kind], *stated[kind].dropna()}) for kind in COARSE} | {CLASS: classes + further}
    rows: list[dict] = []
    pictures, failed, notes = read_pictures(folder, labels, choices=choices, span=span, pages=pages, aside=aside)
    sized = 0
    for at, (key, label) in enumerate(zip(image_ids(labels), labels.label, strict=True)):
        if key not in pictures:
            continue
        picture = pictures[key]
        of = {fact: None if pd.isna(value) else value for fact, value in stated.iloc[at].items()}
        if of[UNIT] is None and not pd.isna(picture.microns_per_pixel):
            of[UNIT], sized = picture.microns_per_pixel, sized + 1
        questions, captions = _asked(key, of, spoken(label), values, question, list(sentences), seed)
        rows.append(
            {
                "image_id": key,
                "image": {"bytes": picture.content, "path": None},
                "label_name": label,
                "dataset": name,
                **{fact: of[fact] for fact in (*FACTS, GROUP) if fact != "organism"},
                "ncbitaxon_name": of["organism"],
                "rendering": picture.rendering,
                "captions": captions,
                "questions": questions,
            }
        )
    if not rows:
        file, why = next(iter(failed.items()))
        raise UserError(f"none of {len(labels):,} pictures can be read; of the first, '{file}': {why}")
    shown = {row["label_name"] for row in rows}
    if len(shown) < 2:
        lost = sorted(set(labels.label) - shown)[0]
        file = next(key for key, label in zip(image_ids(labels), labels.label, strict=True) if label == lost)
        raise UserError(
            f"no picture of '{lost}' can be read, so one class is left; of the first, '{file}': {failed[file]}"
        )
    facts_of = {key: picture.found for key, picture in pictures.items()}
    notes += pixels.notes(facts_of, failed)
    if sized:
        notes.append(f"the pixel size of {sized:,} of {len(rows):,} pictures is the one that their files state")
    coarse = [row for row in rows if row[UNIT] and row[UNIT] > COARSEST]
    if coarse:
        size, n = f"{coarse[0][UNIT]:g} µm", f"{len(coarse):,} of {len(rows):,} pictures"
        notes.append(
            f"pixels of {n} are larger than {COARSEST:g} µm, such as {size} ({coarse[0]['image_id']}): nanometres?"
        )
    return rows, notes


def write_rows(rows: list[dict], out: str) -> None:
    """Write rows as a parquet file, whole or not at all, some pictures at a time.

    Raises
    ------
    UserError
        If the file cannot be written, or a picture that waits in a file is another one now.
    """
    texts = pa.Table.from_pylist([{name: value for name, value in row.items() if name != "image"} for row in rows])
    schema = texts.schema.append(pa.field("image", IMAGE))
    try:
        with whole_file(Path(out).expanduser()) as file, pq.ParquetWriter(file, schema) as writer:
            for start in range(0, len(rows), BATCH):
                images = [row["image"]["bytes"] for row in rows[start : start + BATCH]]
                images = [image.read() if isinstance(image, Waiting) else image for image in images]
                column = pa.array([{"bytes": image, "path": None} for image in images], IMAGE)
                writer.write_table(texts.slice(start, BATCH).append_column("image", column))
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


def _asked(file: str, of: dict, label: str, values: dict, question: str, sentences: list[str], seed: int) -> tuple:
    """Questions and captions of a picture, their options drawn from ``values``."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed} {file}".encode()).digest()[:8], "little"))
    questions: dict[str, dict] = {}
    captions: dict[str, dict] = {}
    for kind in (*COARSE, CLASS):
        right = label if kind == CLASS else of[kind]
        if not right:
            continue
        asked, templates = (question, sentences) if kind == CLASS else (QUESTIONS[kind], CAPTIONS.get(kind, []))
        length = min(len(values[kind]) + 1, LONGEST)
        questions[kind], sentences_of = ask(rng, kind, right, values[kind], length, file, asked, templates)
        captions |= {f"{kind}_{k}": one for k, one in enumerate(sentences_of)}
    return questions, captions
