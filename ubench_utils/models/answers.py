"""Predictions: cosine similarities between the image and its options, argmax, and the model's own probabilities.

Questions are answered in blocks of as many options each (``blocks``), so memory follows the options there are: one
question with thousands of them costs what it holds, and not as much again for every other question.
"""

import hashlib

import numpy as np
import pandas as pd

from ..engine.work import Features, Matches

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
BLOCK = 24_000  # options at a time


def predict(questions: pd.DataFrame, images: Features, texts: Features, logit_scale: float) -> pd.DataFrame:
    """Answer every question whose image was encoded, by the cosine similarity of image and option.

    The option of the highest similarity is chosen, in float32 whatever the encoder's precision (bf16 scores would
    tie). Probabilities are the softmax over the question's options of ``logit_scale`` × similarity.

    Parameters
    ----------
    questions : pandas.DataFrame
        As from ``build_questions``.
    images, texts : Features
        By image hash and by option text.
    logit_scale : float
        The model's inverse temperature.

    Returns
    -------
    pandas.DataFrame
        The columns of the prediction contract (but ``model``) and ``tied``: whether the highest similarity was
        reached by more than one option. An exact tie goes to the option first in the alphabet, so the choice does not
        depend on the order of the options.
    """

    def answer(block):
        asked, similarity, option_row = similarities(block, images, texts)
        return choose(asked, similarity, option_row, softmax(similarity, logit_scale))

    return in_blocks(questions[~questions.image_hash.isin(images.failed)], answer)


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


def similarities(questions: pd.DataFrame, images: Features, texts: Features) -> tuple:
    """Questions whose image was encoded, the cosine similarity of image and each option, and each option's row.

    Similarities are float32 and rows of ``texts`` int64, both of shape (n_questions, most options); where a question
    has fewer options they are −∞ and −1. Many questions are given by ``blocks``.
    """
    asked = questions[~questions.image_hash.isin(images.failed)]
    image_row = asked.image_hash.map(images.row_of).to_numpy()
    option_row = option_rows(asked, texts.row_of)
    return asked, cosines(images.vectors, image_row, texts.vectors, option_row), option_row


def cosines(image: np.ndarray, image_row: np.ndarray, text: np.ndarray, option_row: np.ndarray) -> np.ndarray:
    """Products of the features of each question's image and options, float32 (n_questions, most options)."""
    similarity = np.empty(option_row.shape, dtype=np.float32)
    size = max(1, BLOCK // option_row.shape[1])
    for start in range(0, len(option_row), size):
        block = slice(start, start + size)
        similarity[block] = np.einsum("qd,qod->qo", image[image_row[block]], text[option_row[block]])
    similarity[option_row < 0] = -np.inf
    return similarity


def predict_matches(questions: pd.DataFrame, matches: Matches) -> pd.DataFrame:
    """Answer every question by a matching head: the option that most likely matches the image is chosen.

    Every option is scored by itself, so the log-odds of one question need not add up to one answer; ``p_answer`` and
    ``p_predicted`` are their softmax over the options. Ties and columns as in ``predict``.
    """
    asked = questions[~questions.image_hash.isin(matches.failed)]
    alphabetical = {text: row for row, text in enumerate(sorted({text for row in asked.options for text in row}))}

    def answer(block):
        option_row = option_rows(block, alphabetical)
        pairs = zip(block.image_hash, block.options, strict=True)
        rows = [[matches.row_of[image_hash, option] for option in options] for image_hash, options in pairs]
        logits = matches.values[np.array(rows, dtype=np.int64).reshape(option_row.shape)]
        return choose(block, logits, option_row, softmax(logits, 1.0))

    return in_blocks(asked, answer)


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

    Ties and columns as in ``predict``; ``option_row`` orders tied options.
    """
    tied = (score == score.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return answer_table(asked, best_options(score, option_row), probability).assign(tied=tied)


def best_options(score: np.ndarray, option_row: np.ndarray) -> np.ndarray:
    """Index of the highest score in each row; of tied options the one of the smallest ``option_row``."""
    highest = score == score.max(axis=1, keepdims=True)
    return np.where(highest, option_row, np.iinfo(option_row.dtype).max).argmin(axis=1)


def predict_randomly(questions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Answer each question by a draw from its options that depends on the question's key and the seed only."""
    keys = list(zip(questions.dataset, questions.image_id, questions.question, questions.wording, strict=True))
    draws = [int.from_bytes(hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()) for key in keys]
    n_options = questions.n_options.to_numpy()
    probability = np.broadcast_to(1 / n_options[:, None], (len(keys), n_options.max()))  # takes no memory
    predicted = (np.array(draws, dtype=np.uint64) % n_options.astype(np.uint64)).astype(np.int64)
    return answer_table(questions, predicted, probability).assign(tied=False)


def answer_table(asked: pd.DataFrame, predicted: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Prediction contract (but ``model``) of chosen options and the probabilities of all, shape (n, most options)."""
    rows = np.arange(len(asked))
    return asked[["dataset", "image_id", "question", "wording", "answer_idx", "n_options"]].assign(
        predicted_idx=predicted,
        correct=predicted == asked.answer_idx.to_numpy(),
        p_answer=probability[rows, asked.answer_idx.to_numpy()],
        p_predicted=probability[rows, predicted],
    )
