"""Hand-made answers of a base and its fine-tuned model, and of the mixtures between them."""

import itertools

import pandas as pd

from ubench_utils.models import registry

BASE, TUNED = "demo-base", "demo-pathology"
SETS = {"tissue_a": "pathology", "tissue_b": "pathology", "yeast": "biology"}
N = 8  # images of each sub-dataset


def answers_of(right, column="model"):
    """Answers to a fine and two coarse questions of every image; `right[model][question, dataset]` are counted."""
    records = []
    for model, counts in right.items():
        for (question, dataset), i, wording in itertools.product(counts, range(N), (0, 1)):
            level = "fine" if question == "classification" else "coarse"
            correct = i < counts[question, dataset] if wording == 1 else i % 2 == 0
            records.append((model, dataset, f"{i}", question, wording, level, SETS[dataset], correct))
    columns = [column, "dataset", "image_id", "question", "wording", "level", "domain", "correct"]
    table = pd.DataFrame(records, columns=columns)
    return table.assign(n_options=4, modality="light microscopy", scale="tissue", p_predicted=0.5 + 0.4 * table.correct)


def counts(fine, modality, stain):
    """Right answers out of N of each question on tissue_a, tissue_b and yeast."""
    types = {"classification": fine, "modality": modality, "stain": stain}
    return {(question, name): n for question, row in types.items() for name, n in zip(SETS, row, strict=True)}


RIGHT = {
    BASE: counts((2, 4, 6), (8, 8, 8), (4, 4, 4)),
    TUNED: counts((6, 8, 2), (8, 8, 4), (6, 4, 3)),
    "random": counts((1, 1, 1), (1, 1, 1), (1, 1, 1)),
}


def mixtures():
    """A sweep over α = 0, 0.5 and 1 in which the middle is as good as the better end, as `sweep` returns it."""
    right = {0: RIGHT[BASE], 0.5: counts((6, 8, 6), (8, 8, 8), (6, 4, 4)), 1: RIGHT[TUNED]}
    swept = answers_of(right, "alpha")
    swept = swept[swept.wording == 1]
    return swept.assign(model=swept.alpha.map(lambda alpha: registry.mix_name(BASE, TUNED, alpha)))
