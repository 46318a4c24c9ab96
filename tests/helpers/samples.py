"""Small datasets in the Hub's schema, pictures and random answers."""

import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

DEMO = Path(__file__).parents[2] / "ubench_utils" / "demo"


def as_dataset(rows, drop=()):
    """Build a Dataset in the demo's features from rows; `drop` leaves columns out."""
    from datasets import Dataset, Features

    from ubench_utils.demo.sample import sample_features

    features = Features({key: value for key, value in sample_features().items() if key not in drop})
    return Dataset.from_list([{key: row[key] for key in features} for row in rows], features=features)


def png(array):
    """Encode an array as an image cell; uint16 arrays become 16-bit greyscale."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(array)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


SIZES = {"apple": 14, "beech": 6, "cedar": 9, "daisy": 4}  # images of each sub-dataset


TYPES = {"domain": "coarse", "modality": "coarse", "stain": "coarse", "classification": "fine"}


FACETS = ["dataset", "scale", "organism"]


def table_of(model, correct, dataset="apple", question="classification", level="fine", n_options=4):
    """Answers of one model to one question per image; images are numbered."""
    return pd.DataFrame(
        {
            "model": model,
            "dataset": dataset,
            "image_id": [f"{i:03}" for i in range(len(correct))],
            "question": question,
            "wording": 1,
            "level": level,
            "n_options": n_options,
            "correct": np.array(correct, bool),
        }
    )


def random_answers(seed=0, models=("a", "b", "c"), missing=0.1, types=TYPES):
    """Several models, levels, questions, wordings and facets on unequal strata; image ids repeat across strata."""
    rng = np.random.default_rng(seed)
    images = pd.DataFrame(
        [(name, f"{i}") for name, n in SIZES.items() for i in range(n)], columns=["dataset", "image_id"]
    )
    images["scale"] = images.dataset.map({"apple": "tissue", "beech": "cellular", "cedar": "tissue", "daisy": "tissue"})
    images["organism"] = np.where(rng.random(len(images)) < 0.5, "human", "mouse")
    questions = images.merge(pd.DataFrame(types.items(), columns=["question", "level"]), "cross")
    questions = questions[~((questions.question == "stain") & (questions.dataset == "beech"))]
    n_options = {key: int(rng.integers(2, 7)) for key in itertools.product(SIZES, types)}
    questions["n_options"] = [n_options[key] for key in zip(questions.dataset, questions.question, strict=True)]
    answers = questions.merge(pd.DataFrame({"wording": [0, 1]}), "cross")
    answers = answers.merge(pd.DataFrame({"model": models, "skill": np.linspace(0.3, 0.8, len(models))}), "cross")
    answers["correct"] = rng.random(len(answers)) < answers.skill
    return answers[rng.random(len(answers)) >= missing].drop(columns="skill").reset_index(drop=True)


NAMES = ("light microscopy", "fluorescence microscopy", "electron microscopy", "none of the above")
