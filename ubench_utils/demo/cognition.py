"""Cognition questions of the built-in sample: what is drawn, and a step of reasoning that a biologist would take.

They are self-made, two for each class of nine sub-datasets, and stand in ``cognition.csv``. Wrong options are wrong for
the class at hand.
"""

import csv
from functools import cache
from pathlib import Path

FIRST = 100  # of a sub-dataset, from this image on, one of each class is asked about
NAMES = ["cognition_0", "cognition_1"]


@cache
def _entries():
    """Questions by sub-dataset and class: the text, the right option, the wrong ones."""
    found = {}
    with Path(__file__).with_name("cognition.csv").open(encoding="utf-8", newline="") as file:
        for dataset, kind, *entry in list(csv.reader(file))[1:]:
            found.setdefault((dataset, kind), []).append(entry)
    return found


def ask(dataset, kind, rng):
    """The questions about an image of a class, their options in random order; of a sub-dataset without any, none.

    Returns
    -------
    dict of str to dict
        By the names of ``NAMES``: ``question, options, answer, answer_idx``.
    """
    asked = {}
    for name, (text, answer, *wrong) in zip(NAMES, _entries().get((dataset, kind), []), strict=False):
        options = [[answer, *wrong][i] for i in rng.permutation(1 + len(wrong))]
        asked[name] = {"question": text, "options": options, "answer": answer, "answer_idx": options.index(answer)}
    return asked
