"""Answers made elsewhere: a table of choices, reply texts or option scores, brought into the prediction contract.

Nothing is guessed: a row that is of no question is named and counted, a reply that names no option counts as wrong,
and what cannot be told apart is refused.
"""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .errors import UserError, first_line
from .predict import answer_table, choose, in_blocks, softmax
from .questions import HEADLINE_WORDING

KEY = ["dataset", "image_id", "question", "wording"]
SHOWN = 3  # rows that a note names
NO_OPTION = -1  # predicted_idx of a reply that names no option
DOUBTFUL = 0.2  # share of replies without an option from which a note doubts the file
TEXT = dict.fromkeys(
    ("dataset", "image_id", "question", "answer"), str
)  # columns that are text whatever they look like
ROUNDED = 0.04  # how far from 1 rounded probabilities of a question may add up


def read_submission(path, questions: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read answers and match them with the questions of a benchmark.

    Parameters
    ----------
    path : str or Path
        CSV or parquet with ``image_id``, ``question`` (the type: modality, …) and ``dataset`` (may be left out where
        ``image_id`` alone is unique), ``wording`` (left out: the headline wording), and one of: ``predicted_idx``
        (index of the chosen option), ``answer`` (text of the reply: an option, its caption, or its letter),
        ``scores`` (a list, in CSV as JSON, or columns ``score_0``, ``score_1``, …: a number for every option).
    questions : pandas.DataFrame
        As from ``build_questions``.

    Returns
    -------
    predictions : pandas.DataFrame
        The prediction contract but ``model``, and ``tied``. Without scores ``p_answer`` and ``p_predicted`` are NaN;
        with them they are the scores where these are probabilities, else their softmax.
    notes : list of str
        What was counted: rows of no question, replies that name no option, questions without an answer.

    Raises
    ------
    UserError
        If the file cannot be read, a column is missing, a key occurs twice or is ambiguous, an index or a list of
        scores does not fit its question, or no row matches.
    """
    table = _read(path)
    asked, notes = _match(table, questions, path)
    if "scores" in asked:
        predictions, note = _from_scores(asked, path)
        notes.append(note)
    elif "predicted_idx" in asked:
        predicted = _indices(asked, path)
        if predicted.min() == 1 and (predicted == asked.n_options - 1).any():
            notes.append("index 0 never occurs and the last option does: were the options counted from 1? Count from 0")
        predictions = _from_choices(asked, predicted)
    else:
        predicted = np.array([_option_of(*row) for row in zip(asked.answer, asked.labels, asked.options, strict=True)])
        lost = predicted == NO_OPTION
        if lost.any():
            replies = asked.answer.fillna("")[lost].astype(str)
            shown = ", ".join(repr(text[:40]) for text in replies.drop_duplicates().head(SHOWN))
            doubt = "; so many that the file may be in a form that is not read" if lost.mean() > DOUBTFUL else ""
            notes.append(
                f"{lost.sum():,} of {len(lost):,} replies name no option and count as wrong, such as {shown}{doubt}"
            )
        predictions = _from_choices(asked, predicted)
    n = int(questions.wording.isin(set(asked.wording)).sum())
    if n > len(predictions):
        notes.append(f"{n - len(predictions):,} of {n:,} questions of the wordings in this file have no answer; they "
                     "are in no score of this model")  # fmt: skip
    return predictions, notes


def _read(path) -> pd.DataFrame:
    """Table of a file with the columns that are needed; scores become lists."""
    file = Path(path).expanduser()
    if file.suffix not in (".csv", ".parquet"):
        raise UserError(f"'{path}': answers are read from .csv or .parquet")
    try:
        if file.suffix == ".csv":  # "None" is a stain and "NA" may be a name: only an empty field is missing
            table = pd.read_csv(file, dtype=TEXT, keep_default_na=False, na_values=[""])
        else:
            table = pd.read_parquet(file)
    except Exception as error:  # pandas, pyarrow and the file system each have their own
        raise UserError(f"cannot read '{path}' ({first_line(error)})") from error
    numbered = sorted((c for c in table if re.fullmatch(r"score_\d+", str(c))), key=lambda c: int(c.split("_")[1]))
    if numbered:
        table["scores"] = [_without_trailing_gaps(row) for row in table[numbered].to_numpy(dtype=object).tolist()]
    elif "scores" in table and file.suffix == ".csv":
        try:
            table["scores"] = [json.loads(text) for text in table.scores]
        except (TypeError, ValueError) as error:
            raise UserError(f"'{path}', column scores: write a JSON list in every row ({error})") from error
    missing = [column for column in ("image_id", "question") if column not in table]
    if missing:
        found = ", ".join(map(str, table.columns[:6]))
        raise UserError(f"'{path}' lacks the column {missing[0]} (found: {found[:80]}); needed are image_id, question, "
                        "and one of predicted_idx, answer, scores (with dataset where image_id repeats), separated by "
                        "commas")  # fmt: skip
    given = [column for column in ("scores", "predicted_idx", "answer") if column in table]
    if not given:
        raise UserError(f"'{path}' says nothing of what was answered; add one of the columns predicted_idx, answer, "
                        "scores or score_0, score_1, …")  # fmt: skip
    if table.empty:
        raise UserError(f"'{path}' has no rows")
    keys = [column for column in KEY if column in table]
    text = {column: table[column].astype(str) for column in keys if column in TEXT}
    return table[[*keys, given[0]]].assign(**text, row=np.arange(len(table)))


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
            raise UserError(f"'{path}', row {unclear.row.iloc[0]}: image_id {unclear.image_id.iloc[0]} is in several "
                            f"sub-datasets ({len(unclear):,} such rows); add the column dataset")  # fmt: skip
    wording = pd.to_numeric(table.wording, errors="coerce").fillna(-1).astype("int64")
    table = table.assign(wording=wording, question=table.question.astype(str))
    twice = table.duplicated(keys)
    if twice.any():
        row = table[twice].iloc[0]
        raise UserError(f"'{path}', row {row.row}: a second answer to {_named(row, keys)} ({twice.sum():,} repeated "
                        "rows); which one counts?")  # fmt: skip
    wanted = questions[[*KEY, "options", "labels", "answer_idx", "n_options"]].reset_index(names="place")
    joined = table.merge(wanted, on=keys, how="left", suffixes=("", "_asked"))
    unknown = joined.place.isna().to_numpy()
    notes = []
    if unknown.any():
        shown = "; ".join(f"row {row.row}: {_named(row, keys)}" for row in joined[unknown].head(SHOWN).itertuples())
        notes.append(f"{unknown.sum():,} of {len(table):,} rows are of no question of this benchmark ({shown})")
    if unknown.all():
        raise UserError(f"'{path}': no row is of a question of this benchmark ({shown}); check dataset, image_id, "
                        f"question ({', '.join(questions.question.unique())}) and wording")  # fmt: skip
    asked = joined[~unknown].astype({"answer_idx": int, "n_options": int}).sort_values("place", ignore_index=True)
    return asked, notes


def _named(row, keys) -> str:
    return ", ".join(f"{key} {getattr(row, key)}" for key in keys)


def _indices(asked: pd.DataFrame, path) -> np.ndarray:
    """Chosen indices as integers; refuses what is no index of its question."""
    index = pd.to_numeric(asked.predicted_idx, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~((index >= 0) & (index < asked.n_options) & (index == np.floor(index))).to_numpy()
    if wrong.any():
        row = asked[wrong].iloc[0]
        raise UserError(f"'{path}', row {row.row}: predicted_idx {row.predicted_idx} is no index of the "
                        f"{row.n_options} options of {_named(row, KEY)} ({wrong.sum():,} such rows); count from 0 and "
                        "leave out rows without an answer")  # fmt: skip
    return index.astype(int)


def _from_choices(asked: pd.DataFrame, predicted: np.ndarray) -> pd.DataFrame:
    """Predictions of choices without probabilities."""
    unknown = np.broadcast_to(np.nan, (len(asked), int(asked.n_options.max())))  # takes no memory
    return answer_table(asked, predicted, unknown).assign(tied=False)


def _from_scores(asked: pd.DataFrame, path) -> tuple[pd.DataFrame, str]:
    """Predictions of option scores, and how these were read: the highest is chosen, of ties the first by alphabet."""
    given = []
    for row in asked.itertuples():
        try:
            values = np.asarray(row.scores, dtype=float)
        except (TypeError, ValueError):
            values = np.array([])
        if values.shape != (row.n_options,) or not np.isfinite(values).all():
            raise UserError(f"'{path}', row {row.row}: {row.n_options} finite scores are needed, one for each "
                            f"option of {_named(row, KEY)}; found {[str(value) for value in row.scores]}")  # fmt: skip
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


def _option_of(reply, labels: tuple, options: tuple) -> int:
    """Index of the option that a reply names: the option itself, its caption, the only one inside it, or its letter.

    A letter beside the text of another option names none, nor does an abbreviation (``E. coli``).
    """
    text = _plain(reply)
    for texts in (labels, options):
        exact = [index for index, option in enumerate(texts) if _plain(option) == text]
        if len(exact) == 1:
            return exact[0]
    inside = _mentioned(text, labels)
    letter = re.match(r"(?:the )?(?:(?:correct |right )?(?:answer|option|choice)(?: is)? )?([a-z])( ?\)|$)", text)
    chosen = {ord(letter[1]) - ord("a")} if letter and ord(letter[1]) - ord("a") < len(labels) else set()
    named = inside | chosen
    return named.pop() if len(named) == 1 else NO_OPTION


def _mentioned(text: str, labels: tuple) -> set:
    """Indices of the options whose words occur in a text, longest first: part of a longer one does not count."""
    found = set()
    for index in sorted(range(len(labels)), key=lambda index: -len(labels[index])):
        words = rf"(?<!\w){re.escape(_plain(labels[index]))}(?!\w)"
        if re.search(words, text):
            found.add(index)
            text = re.sub(words, "|", text)
    return found


def _plain(text) -> str:
    """Text in lower case, without markup, punctuation and hyphens but for closing brackets."""
    if pd.isna(text):
        return ""
    return " ".join(re.sub(r"[^\w)&+/%]|_", " ", str(text).casefold()).split())
