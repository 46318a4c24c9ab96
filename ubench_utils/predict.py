"""Predictions: cosine similarities between the image and its options, argmax, and the model's own probabilities."""

import hashlib

import numpy as np
import pandas as pd

from .encode import Features, Matches

COLUMNS = [
    "model", "dataset", "image_id", "question", "wording", "answer_idx", "predicted_idx", "correct", "p_answer",
    "p_predicted", "n_options",
]  # fmt: skip
BLOCK = 4096  # questions


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
    asked, similarity, option_row = similarities(questions, images, texts)
    return choose(asked, similarity, option_row, softmax(similarity, logit_scale))


def similarities(questions: pd.DataFrame, images: Features, texts: Features) -> tuple:
    """Questions whose image was encoded, the cosine similarity of image and each option, and each option's row.

    Similarities are float32 and rows of ``texts`` int64, both of shape (n_questions, most options); where a question
    has fewer options they are −∞ and −1.
    """
    asked = questions[~questions.image_hash.isin(images.failed)]
    image_row = asked.image_hash.map(images.row_of).to_numpy()
    option_row = option_rows(asked, texts.row_of)
    return asked, cosines(images.vectors, image_row, texts.vectors, option_row), option_row


def cosines(image: np.ndarray, image_row: np.ndarray, text: np.ndarray, option_row: np.ndarray) -> np.ndarray:
    """Products of the features of each question's image and options, float32 (n_questions, most options)."""
    similarity = np.empty(option_row.shape, dtype=np.float32)
    for start in range(0, len(option_row), BLOCK):
        block = slice(start, start + BLOCK)
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
    option_row = option_rows(asked, alphabetical)
    logits = np.full(option_row.shape, -np.inf, dtype=np.float32)
    for row, (image_hash, options) in enumerate(zip(asked.image_hash, asked.options, strict=True)):
        logits[row, : len(options)] = matches.values[[matches.row_of[image_hash, option] for option in options]]
    return choose(asked, logits, option_row, softmax(logits, 1.0))


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
    keys = zip(questions.dataset, questions.image_id, questions.question, questions.wording, strict=True)
    draws = [int.from_bytes(hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()) for key in keys]
    n_options = questions.n_options.to_numpy()
    probability = np.repeat(1 / n_options[:, None], n_options.max(), axis=1)
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
