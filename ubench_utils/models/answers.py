"""Predictions: the option of the highest score is chosen, and a model's own probabilities stand beside it.

Questions are answered in blocks of as many options each (``blocks``), so memory follows the options there are: one
question with thousands of them costs what it holds, and not as much again for every other question.
"""

import numpy as np
import pandas as pd

COLUMNS = [
    "model",
    "dataset",
    "image_id",
    "question",
    "wording",
    "answer_idx",
    "predicted_idx",
    "correct",
    "p_answer",
    "p_predicted",
    "n_options",
]
OF_REPLIES = ["reply", "finish", "correct_official", "letter_mass"]  # of models that answer in words
BLOCK = 24_000  # options at a time


def blocks(questions: pd.DataFrame) -> list[np.ndarray]:
    """Positions of the questions, in blocks of equally many options each and of a bounded number in all."""
    n_options = questions.n_options.to_numpy()
    places = []
    for n in np.unique(n_options):
        same = np.flatnonzero(n_options == n)
        size = max(1, BLOCK // int(n))
        places += [same[start : start + size] for start in range(0, len(same), size)]
    return places or [np.arange(0)]


def in_blocks(questions: pd.DataFrame, answer) -> pd.DataFrame:
    """Rows of ``answer(block)`` for every block of the questions, one row a question, in the order of the questions."""
    places = blocks(questions)
    table = pd.concat([answer(questions.iloc[place]) for place in places])
    return table.iloc[np.argsort(np.concatenate(places))]


def option_rows(asked: pd.DataFrame, row_of: dict) -> np.ndarray:
    """Row of every option among the sorted texts, shape (n_questions, most options), −1 where there is none."""
    rows = np.full((len(asked), int(asked.n_options.max()) if len(asked) else 1), -1)
    for row, options in enumerate(asked.options):
        rows[row, : len(options)] = [row_of[option] for option in options]
    return rows


def softmax(similarity: np.ndarray, logit_scale: float) -> np.ndarray:
    """Probabilities of the options, float64 of shape (n_questions, most options)."""
    logits = logit_scale * (similarity - similarity.max(axis=1, keepdims=True)).astype(np.float64)
    probability = np.exp(logits)
    return probability / probability.sum(axis=1, keepdims=True)


def choose(asked: pd.DataFrame, score: np.ndarray, option_row: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Answer each question by its option of the highest score; arrays of shape (n_questions, most options).

    Returns
    -------
    pandas.DataFrame
        The columns of the prediction contract (but ``model``) and ``tied``: whether the highest score was reached by
        more than one option.
    """
    tied = (score == score.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return answer_table(asked, best_options(score, option_row), probability).assign(tied=tied)


def best_options(score: np.ndarray, option_row: np.ndarray) -> np.ndarray:
    """Index of the highest score in each row, shape (n_questions,).

    An exact tie goes to the option of the smallest ``option_row``, the first in the alphabet, so the choice does not
    depend on the order of the options.
    """
    highest = score == score.max(axis=1, keepdims=True)
    return np.where(highest, option_row, np.iinfo(option_row.dtype).max).argmin(axis=1)


def answer_table(asked: pd.DataFrame, predicted: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Prediction contract (but ``model``) of chosen options and the probabilities of all, shape (n, most options)."""
    rows = np.arange(len(asked))
    return asked[["dataset", "image_id", "question", "wording", "answer_idx", "n_options"]].assign(
        predicted_idx=predicted,
        correct=predicted == asked.answer_idx.to_numpy(),
        p_answer=probability[rows, asked.answer_idx.to_numpy()],
        p_predicted=probability[rows, predicted],
    )
