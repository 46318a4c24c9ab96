"""The questions without an image: what a model answers to a blank one, and what is left when that is subtracted.

A dual encoder scores the options of a question even for a blank image; these scores are what it prefers. Taking them
from the scores of the real image is contextual calibration in log space: the temperature scales both alike, so the
difference of the cosine similarities orders the options as the ratio of the probabilities does.
"""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image

from ..data.benchmark import Benchmark
from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..models.answers import best_options, in_blocks
from ..models.encoders.features import Features, similarities
from ..statistics.resampling import QUESTION, distinct
from ..statistics.scores import score
from .preferences import changes, rate_changes

SIDE = 224  # pixels of a blank image
GREY, LEVEL = "grey", 128  # as good as black, white or noise, which a microscopist may take for an image
MEAN = "mean image"  # not blank: what the model prefers over all images of the run
REFERENCES = [GREY, MEAN]


def blank_images() -> Benchmark:
    """An image without content, mid-grey, as a benchmark without questions."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (LEVEL,) * 3).save(file, "PNG")
    image_hash = hashlib.sha256(file.getvalue()).hexdigest()[:32]
    images = pd.DataFrame({"dataset": ["blank"], "image_id": GREY, "image_hash": image_hash})
    return Benchmark("blank images", [{"image": {"bytes": file.getvalue()}}], images, fingerprint="")


def with_blanks(run: Evaluation, models: list) -> tuple[pd.DataFrame, dict]:
    """What each model answers without an image, and with one after the scores without are subtracted.

    The blank images go through the model's own preprocessing and encoder; their features are cached as all others.

    Returns
    -------
    choices : pandas.DataFrame
        The rows of ``run.answers`` in the headline wording, of the models that have an image encoder of their
        own, and for each of ``REFERENCES`` two indices of options: ``only REFERENCE``, chosen by that image alone, and
        ``less REFERENCE``, chosen by the real image after that one's scores are subtracted; all in float32. The mean
        image is the mean of the features of the run's images.
    left_out : dict of str to str
        Models without such an encoder, and why.
    """
    choices = run.answers[run.answers.wording == HEADLINE_WORDING]
    blanks = blank_images()
    tables, left_out = [], {}
    for model in models:
        facts = run.record["models"][model]
        if not facts["has_weights"]:
            how = "drawn at random" if facts["guesses"] else "made elsewhere"
            left_out[model] = f"its answers were {how}"
        elif not facts["has_embeddings"]:
            left_out[model] = "it reads image and text together"
        elif (empty := run.features(model, blanks)[0]).failed:
            left_out[model] = f"of a blank image, {next(iter(empty.failed.values()))}"
        else:
            images, texts, _ = run.features(model)
            chosen = _choose(run.questions, images, texts, empty)
            tables.append(choices[choices.model == model].merge(chosen, on=QUESTION, validate="one_to_one"))
    return pd.concat(tables, ignore_index=True) if tables else choices.iloc[:0], left_out


def _choose(questions: pd.DataFrame, images: Features, texts: Features, empty: Features) -> pd.DataFrame:
    """Options that one model chooses for each question: ``QUESTION`` and the columns that ``with_blanks`` adds."""
    rows = [row for image_hash, row in images.row_of.items() if image_hash not in images.failed]
    mean = images.vectors[rows].mean(axis=0, dtype=np.float64)
    keys = [*blank_images().images.image_hash, MEAN]
    vectors = np.vstack([empty.vectors[[empty.row_of[key] for key in keys[:-1]]], mean]).astype(np.float32)
    references = replace(empty, vectors=vectors, row_of={key: row for row, key in enumerate(keys)})

    def choose(block):
        asked, score, option_row = similarities(block, images, texts)
        chosen = {}
        for name, key in zip(REFERENCES, keys, strict=True):
            _, alone, _ = similarities(asked.assign(image_hash=key), references, texts)
            chosen[f"only {name}"] = best_options(alone, option_row)
            chosen[f"less {name}"] = best_options(subtracted(score, alone), option_row)
        return asked[QUESTION].assign(**chosen)

    asked = (questions.wording == HEADLINE_WORDING) & ~questions.image_hash.isin(images.failed)
    return in_blocks(questions[asked], choose)


def subtracted(score: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Scores less those of the blank image, float32 (n_questions, most options); absent options stay −∞.

    References
    ----------
    Zhao et al. 2021, ICML, arXiv 2102.09690 (contextual calibration, by inputs without content). Zhou et al. 2024,
    ICLR, arXiv 2309.17249 (batch calibration, by the mean over the inputs).
    """
    return np.subtract(score, blank, out=np.full_like(score, -np.inf), where=np.isfinite(score))


def without_image(choices: pd.DataFrame, reference: str = "grey") -> pd.DataFrame:
    """How far the answers to a blank image go: how often they are right, and the same as with the real image.

    Parameters
    ----------
    choices : pandas.DataFrame
        As from ``with_blanks``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``stats.score`` and ``what``: ``right`` or ``same``; micro.
    """
    if choices.empty:
        return pd.DataFrame()
    blank = choices[f"only {reference}"]
    tables = {
        what: score(choices.assign(correct=blank == choices[column]), by=[])
        for what, column in (("right", "answer_idx"), ("same", "predicted_idx"))
    }
    table = pd.concat([table.assign(what=what) for what, table in tables.items()], ignore_index=True)
    return distinct(table[table.estimand == "micro"])


def calibrated(choices: pd.DataFrame, references=REFERENCES) -> pd.DataFrame:
    """Paired change in accuracy after the scores of each reference image are subtracted: ``changes``, ``reference``."""
    if choices.empty:
        return pd.DataFrame()
    tables = [
        changes(choices, choices[f"less {name}"] == choices.answer_idx).assign(reference=name) for name in references
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table.estimand == "micro"]


def calibrated_rates(choices: pd.DataFrame, question: str = "modality", references=REFERENCES) -> pd.DataFrame:
    """Paired change of recall, false alarms and informedness: ``rate_changes``, ``reference``."""
    if choices.empty:
        return pd.DataFrame()
    rows = choices[choices.question == question]
    return pd.concat(
        [
            rate_changes(rows.assign(after=_labels(rows, f"less {name}")), "after", question).assign(reference=name)
            for name in references
        ],
        ignore_index=True,
    )


def _labels(choices: pd.DataFrame, column: str) -> list:
    return [labels[index] for labels, index in zip(choices.labels, choices[column], strict=True)]
