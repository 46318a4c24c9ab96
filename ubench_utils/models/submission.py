"""Answers made elsewhere: a table of choices, reply texts or option scores, brought into the prediction contract.

Nothing is guessed: a row that is of no question is named and counted, a reply that names no option (see ``replies``)
counts as wrong, and what cannot be told apart is refused.
"""

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.benchmark import Benchmark
from ..data.questions import HEADLINE_WORDING
from ..data.tables import read_csv
from ..errors import UserError, first_line
from .answers import answer_table, choose, in_blocks, softmax
from .generators.protocol import LETTERS, is_right
from .model import Answers, Model
from .replies import NO_OPTION, read_reply

KEY = ["dataset", "image_id", "question", "wording"]
SHOWN = 3  # rows that a note names
DOUBTFUL = 0.2  # share of replies without an option from which a note doubts the file
TEXT = ("dataset", "image_id", "question")  # columns that are text whatever they look like
ROUNDED = 0.04  # how far from 1 rounded probabilities of a question may add up


class Submission(Model):
    """A file of answers made elsewhere."""

    family = "file of answers"
    without_weights = "model '{}' is a file of answers; it has no weights"

    def answer(self, benchmark: Benchmark, questions: pd.DataFrame, *, device: str, precision: str) -> Answers:
        """Look the answers up; those to other questions are noted."""
        predictions, notes = read_submission(self.card.spec.partition(":")[2], questions)
        return Answers(predictions, passport={"notes": notes})


def read_submission(path, questions: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read answers and match them with the questions of a benchmark.

    Parameters
    ----------
    path : str or Path
        CSV (in UTF-8, separated by commas, semicolons or tabs) or parquet with ``image_id``, ``question`` (the type:
        modality, …) and ``dataset`` (may be left out where ``image_id`` alone is unique), ``wording`` (left out: the
        headline wording), and one of: ``predicted_idx``
        (index of the chosen option), ``answer`` (text of the reply: an option, its caption, or its letter),
        ``scores`` (a list, in CSV as JSON, or columns ``score_0``, ``score_1``, …: a number for every option).
    questions : pandas.DataFrame
        As from ``build_questions``.

    Returns
    -------
    predictions : pandas.DataFrame
        The prediction contract but ``model``, and ``tied``. Without scores ``p_answer`` and ``p_predicted`` are NaN;
        with them they are the scores where these are probabilities, else their softmax. Of replies also ``reply`` and
        ``correct_official``, whether the benchmark's own rule finds the reply right.
    notes : list of str
        What was counted: rows of no question, how replies were read, questions without an answer.

    Raises
    ------
    UserError
        If the file cannot be read, a column is missing, a key occurs twice or is ambiguous, an index or a list of
        scores does not fit its question, or no row matches.
    """
    table, unused = _read(path)
    asked, notes = _match(table, questions, path)
    notes += unused
    column = next(column for column in READ if column in asked)
    predictions, note = READ[column](asked, path)
    notes += [note] if note else []
    n = int(questions.wording.isin(set(asked.wording)).sum())
    if n > len(predictions):
        notes.append(
            f"{n - len(predictions):,} of {n:,} questions of the wordings in this file have no answer; they "
            "are in no score of this model"
        )
    return predictions, notes


def _read(path) -> tuple[pd.DataFrame, list[str]]:
    """Table of a file with the columns that are needed, scores as lists, and a note on answers that are not read."""
    file = Path(path).expanduser()
    kind = file.suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet"):
        raise UserError(f"'{path}': answers are read from .csv, .tsv or .parquet; save the table as CSV in UTF-8")
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise UserError(f"'{path}' is no file")
        table = pd.read_parquet(file) if kind == ".parquet" else read_csv(file.read_bytes(), path, known=(*KEY, *READ))
    except UserError:
        raise
    except Exception as error:  # pandas, pyarrow and the file system each have their own
        raise UserError(f"cannot read '{path}' ({first_line(error)})") from error
    table.columns = [str(name).strip() for name in table.columns]
    numbered = sorted((c for c in table if re.fullmatch(r"score_\d{1,6}", c)), key=lambda c: int(c.split("_")[1]))
    needed = [*KEY, *READ, *numbered]
    twice = [name for name, n in Counter(table.columns).items() if n > 1 and name in needed]
    if twice:
        raise UserError(f"'{path}' has two columns named {twice[0]}")
    if numbered:
        table["scores"] = [_without_trailing_gaps(row) for row in table[numbered].to_numpy(dtype=object).tolist()]
    elif "scores" in table and kind != ".parquet":
        try:
            table["scores"] = [json.loads(text) for text in table.scores]
        except (TypeError, ValueError, RecursionError) as error:
            why = first_line(error, 80)
            raise UserError(f"'{path}', column scores: write a JSON list in every row ({why})") from error
    missing = [column for column in ("image_id", "question") if column not in table]
    if missing:
        found = ", ".join(table.columns[:6])
        raise UserError(
            f"'{path}' lacks the column {missing[0]} (found: {found[:80]}); needed are image_id, question, and one of "
            "predicted_idx, answer, scores (with dataset where image_id repeats), separated by commas"
        )
    given = [column for column in READ if column in table]
    if not given:
        raise UserError(
            f"'{path}' says nothing of what was answered; add one of the columns predicted_idx, answer, "
            "scores or score_0, score_1, …"
        )
    if table.empty:
        raise UserError(f"'{path}' has no rows")
    columns = [*(column for column in KEY if column in table), given[0]]
    for column in columns:
        _check_cells(table[column], path)
    text = {column: _as_text(table[column]) for column in columns if column in TEXT}
    if "dataset" in text:  # read as the dataset's own names are
        text["dataset"] = text["dataset"].map(lambda name: unicodedata.normalize("NFC", name.strip()))
    others = ", ".join(given[1:])
    unused = [f"the column {given[0]} is read, and not {others}, which is in the file too"] if others else []
    return table[columns].assign(**text, row=np.arange(len(table))), unused


def _check_cells(column: pd.Series, path) -> None:
    """Refuse cells that are no text and no number, where these are needed."""
    nested = (list, tuple, dict, set, bytes, np.ndarray)
    refused = {"scores": (), "predicted_idx": (*nested, bool, np.bool_)}.get(str(column.name), nested)
    for row, cell in enumerate(column):
        if isinstance(cell, refused):
            kind = "list" if isinstance(cell, np.ndarray) else type(cell).__name__
            raise UserError(f"'{path}', column {column.name}, row {row}: a {kind}, where a text or a number is needed")


def _as_text(column: pd.Series) -> pd.Series:
    """Cells as text: whole numbers without a decimal point, which a gap in the column gives them."""
    return column.astype(object).map(
        lambda cell: str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    )


def _without_trailing_gaps(row: list) -> list:
    """Scores of one question: columns beyond its options are empty, but none between may be."""
    while row and pd.isna(row[-1]):
        row = row[:-1]
    return row


def _match(table: pd.DataFrame, questions: pd.DataFrame, path) -> tuple[pd.DataFrame, list[str]]:
    """Rows joined with their questions, in the order of the questions, and notes on rows of no question."""
    if "wording" not in table:
        table = table.assign(wording=HEADLINE_WORDING)
    keys = [column for column in KEY if column in table]
    if "dataset" not in table:
        places = questions[["dataset", "image_id"]].drop_duplicates()
        shared = places.image_id[places.image_id.duplicated()]
        unclear = table[table.image_id.isin(shared)]
        if len(unclear):
            raise UserError(
                f"'{path}', row {unclear.row.iloc[0]}: image_id {unclear.image_id.iloc[0]} is in several "
                f"sub-datasets ({len(unclear):,} such rows); add the column dataset"
            )
    wording = pd.to_numeric(table.wording, errors="coerce").astype(float)
    whole = (wording == wording.round()) & (wording.abs() < 1e9)  # infinity is no wording of a question
    table = table.assign(wording=wording.where(whole, -1).astype("int64"), question=table.question.str.strip())
    twice = table.duplicated(keys)
    if twice.any():
        row = table[twice].iloc[0]
        raise UserError(
            f"'{path}', row {row.row}: a second answer to {_named(row, keys)} ({twice.sum():,} repeated "
            "rows); which one counts?"
        )
    wanted = questions[[*KEY, "options", "labels", "answer_idx", "n_options"]].reset_index(names="place")
    joined = table.merge(wanted, on=keys, how="left", suffixes=("", "_asked"))
    unknown = joined.place.isna().to_numpy()
    notes = []
    if unknown.any():
        shown = "; ".join(f"row {row.row}: {_named(row, keys)}" for row in joined[unknown].head(SHOWN).itertuples())
        hint = _spoilt(joined[unknown].image_id, questions.image_id)
        notes.append(f"{unknown.sum():,} of {len(table):,} rows are of no question of this benchmark ({shown}){hint}")
    if unknown.all():
        raise UserError(
            f"'{path}': no row is of a question of this benchmark ({shown}){hint}; check dataset, "
            f"image_id, question ({', '.join(questions.question.unique())}) and wording"
        )
    asked = joined[~unknown].astype({"answer_idx": int, "n_options": int}).sort_values("place", ignore_index=True)
    return asked, notes


def _spoilt(given: pd.Series, known: pd.Series) -> str:
    """What a spreadsheet may have done to names of images that look like numbers."""
    if given.str.fullmatch(r"\d+([.,]\d+)?E[+-]?\d+", case=False).any():
        return "; some names of images look like numbers that a spreadsheet rounded: format that column as text"
    bare = set(known.str.lstrip("0")) - set(known)
    if given.isin(bare).any():
        return "; some names of images have lost their leading zeros: format that column as text"
    return ""


def _named(row, keys) -> str:
    return ", ".join(f"{key} {getattr(row, key)}" for key in keys)


def _from_indices(asked: pd.DataFrame, path) -> tuple[pd.DataFrame, str]:
    """Predictions of chosen indices, and a doubt; refuses what is no index of its question."""
    index = pd.to_numeric(asked.predicted_idx.astype(object), errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~((index >= 0) & (index < asked.n_options) & (index == np.floor(index))).to_numpy()
    if wrong.any():
        row = asked[wrong].iloc[0]
        raise UserError(
            f"'{path}', row {row.row}: predicted_idx {str(row.predicted_idx)[:40]} is no index of the "
            f"{row.n_options} options of {_named(row, KEY)} ({wrong.sum():,} such rows); count from 0 and "
            "leave out rows without an answer"
        )
    from_one = index.min() == 1 and (index == asked.n_options - 1).any()
    doubt = "index 0 never occurs and the last option does: were the options counted from 1? Count from 0"
    return _from_choices(asked, index.astype(int)), doubt if from_one else ""


def _from_choices(asked: pd.DataFrame, predicted: np.ndarray) -> pd.DataFrame:
    """Predictions of choices without probabilities."""
    unknown = np.broadcast_to(np.nan, (len(asked), int(asked.n_options.max())))  # takes no memory
    return answer_table(asked, predicted, unknown).assign(tied=False)


def _from_scores(asked: pd.DataFrame, path) -> tuple[pd.DataFrame, str]:
    """Predictions of option scores, and how these were read: the highest is chosen, of ties the first by alphabet."""
    given = []
    for row in asked.itertuples():
        values = _numbers(row.scores)
        if values.shape != (row.n_options,) or not np.isfinite(values).all():
            raise UserError(
                f"'{path}', row {row.row}: {row.n_options} finite scores are needed, one for each "
                f"option of {_named(row, KEY)}; found {str(row.scores)[:80]}"
            )
        given.append(values)
    sound = all((values >= 0).all() and abs(values.sum() - 1) <= ROUNDED for values in given)
    note = (
        "the scores add up to 1 and were read as probabilities"
        if sound
        else "the scores are no probabilities; their softmax is taken for them"
    )

    def answer(block):
        values = np.array([given[place] for place in block.index])
        alphabetical = np.array([np.argsort(np.argsort(options)) for options in block.options])
        probability = values / values.sum(axis=1, keepdims=True) if sound else softmax(values, 1.0)
        return choose(block, values, alphabetical, probability)

    return in_blocks(asked, answer), note


def _numbers(cell) -> np.ndarray:
    """Scores of one question as float64 of shape (n,); empty where the cell is no list of numbers."""
    cell = cell.tolist() if isinstance(cell, np.ndarray) else cell if isinstance(cell, list | tuple) else None
    try:
        numbers = [float(value) for value in cell if isinstance(value, int | float | str)]
        sound = len(numbers) == len(cell) and not any(isinstance(value, bool) or "_" in str(value) for value in cell)
    except (TypeError, ValueError, OverflowError):
        sound = False
    return np.array(numbers, dtype=float) if sound else np.array([])


def _from_replies(asked: pd.DataFrame, path) -> tuple[pd.DataFrame, str]:
    """Predictions of replies in words, and how these were read."""
    replies = zip(asked.answer, asked.labels, asked.options, strict=True)
    read = [read_reply(*reply) for reply in replies]
    index, n = np.array([option for option, _ in read]), Counter(how for _, how in read)
    note = (
        f"{len(index):,} replies: {n['letter']:,} read by their letter, {n['text']:,} by the words of an option, "
        f"{n['none']:,} name no option"
    )
    if n["none"]:
        texts = asked.answer.fillna("").astype(str)[index == NO_OPTION]
        shown = ", ".join(repr(text[:40]) for text in texts.drop_duplicates().head(SHOWN))
        note += f" and count as wrong, such as {shown}"
        if n["none"] / len(index) > DOUBTFUL:
            note += "; so many that the file may be in a form that is not read"
    texts = ["" if reply is None or reply != reply else str(reply) for reply in asked.answer]
    cases = zip(texts, asked.answer_idx, asked.labels, strict=True)
    official = [is_right(text, at, labels) if at < len(LETTERS) else None for text, at, labels in cases]
    return _from_choices(asked, index).assign(reply=texts, correct_official=pd.array(official, "boolean")), note


# What may be answered with, the most telling first, and how it is read.
READ = {"scores": _from_scores, "predicted_idx": _from_indices, "answer": _from_replies}
