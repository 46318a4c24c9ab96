"""Answers counted once, by question and model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .resampling import UNIT, numbered, units


@dataclass(frozen=True)
class Tally:
    """Answers counted by question and model.

    Attributes
    ----------
    questions : pandas.DataFrame
        One row per question, sorted: ``dataset, image_id, level, question, wording, n_options``, the facets, and
        ``image``: the number of the image's unit, by stratum and place.
    models : list of str
        Sorted.
    correct, answered : numpy.ndarray, float32, shape (n_questions, n_models)
        How many answers were right, and how many there were: 1, or 0 where a model did not answer.
    """

    questions: pd.DataFrame
    models: list
    correct: np.ndarray
    answered: np.ndarray


def tabulate(answers: pd.DataFrame, by=()) -> Tally:
    """Count answers by question and model; the facets ``by`` are those of the question's image."""
    if "unit" not in answers:
        answers = answers.assign(**units(answers))
    key = ["dataset", "image_id", "level", "question", "wording", "n_options"]
    row = answers.groupby(key, sort=True, observed=True).ngroup().to_numpy()
    first = np.empty(row.max(initial=-1) + 1, dtype=np.int64)
    first[row[::-1]] = np.arange(len(row))[::-1]
    column, models = pd.factorize(answers.model, sort=True)
    shape = (len(first), len(models))
    cell = row * shape[1] + column
    answered = np.bincount(cell, minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
    right = answers.correct.to_numpy(dtype=bool)
    correct = np.bincount(cell[right], minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
    questions = answers[list(dict.fromkeys([*key, *UNIT, *by]))].iloc[first].reset_index(drop=True)
    return Tally(numbered(questions), list(models), correct, answered)


def answered_by_all(tally: Tally, models) -> Tally:
    """The questions that every one of these models answered, and their answers alone, in the order of ``models``.

    Raises
    ------
    ValueError
        If a model answered a question twice, which leaves open what is paired with what.
    """
    correct, answered = _columns(tally, models)
    shared = (answered > 0).all(axis=1)
    questions = numbered(tally.questions[shared].reset_index(drop=True))
    return Tally(questions, list(models), correct[shared], answered[shared])


def paired_states(tally: Tally, pairs) -> tuple[pd.DataFrame, dict]:
    """What became of each question between the models of each pair.

    Parameters
    ----------
    pairs : sequence of (reference, model)
        Names of models.

    Returns
    -------
    questions : pandas.DataFrame
        Those that both models of some pair answered, as in a tally.
    states : dict of str to numpy.ndarray, float32, shape (n_questions, n_pairs)
        ``kept`` (right before and after), ``forgotten``, ``learned`` and ``never``: 1 or 0; all are 0 where one model
        of the pair did not answer.

    Raises
    ------
    ValueError
        If a model answered a question twice.
    """
    ends = zip(*pairs, strict=True) if pairs else ((), ())
    (before, first), (after, second) = (_columns(tally, models) for models in ends)
    both = first * second
    seen = both.any(axis=1)
    before, after, both = before[seen], after[seen], both[seen]
    kept, forgotten = before * after, before * (both - after).clip(0)
    learned = after * (both - before).clip(0)
    states = {"kept": kept, "forgotten": forgotten, "learned": learned, "never": both - kept - forgotten - learned}
    return numbered(tally.questions[seen].reset_index(drop=True)), states


def _columns(tally: Tally, models) -> tuple[np.ndarray, np.ndarray]:
    """Right and given answers of these models; a model that the tally does not know answered nothing."""
    columns = pd.Index(tally.models).get_indexer(list(models))
    correct, answered = (np.pad(counts, ((0, 0), (0, 1)))[:, columns] for counts in (tally.correct, tally.answered))
    if (answered > 1).any():
        raise ValueError("a question was answered twice by one model")
    return correct, answered
