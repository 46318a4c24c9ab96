"""Groups of images: by organism, by what is normal, real or synthetic, by stain and by kind of task.

Groups are different images, mostly of different sub-datasets, so a gap between them is unpaired and says where a model
is weak; it does not say why.
"""

import re

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..statistics.scores import score
from .overview import learned, missing, slices

FACETS = {
    "organism": "Organism",
    "normality": "Named normal or not",
    "synthetic": "Real or synthetic",
    "stain": "Stain",
    "taxonomy": "Kind of task",
}
FEW = 30  # fine-grained questions; smaller groups are marked
NORMAL, OTHER = "named normal", "other classes"
NORMAL_WORDS, DENIALS = {"normal", "healthy", "control"}, {"ab", "non", "not", "no", "un"}


def names_normal(label: str) -> bool:
    """Whether a class name says normal, healthy or control, as a word of its own that nothing denies.

    ``normal mucosa`` and ``Normal_squamous`` do; ``abnormal``, ``paranormal`` and ``non-normal`` do not.
    """
    words = re.findall(r"[^\W\d_]+", str(label).casefold())
    return any(
        word in NORMAL_WORDS and before not in DENIALS for before, word in zip(["", *words], words, strict=False)
    )


def normality(images: pd.DataFrame) -> pd.Series:
    """Whether each image's class is named normal, in the sub-datasets that have such a class and another one.

    The Hub has no such column: this is a reading of ``label_name``. ``other classes`` are whatever else the same
    sub-dataset holds, diseased or not.

    Parameters
    ----------
    images : pandas.DataFrame
        ``dataset`` and ``label_name``, as in ``Benchmark.images``.

    Returns
    -------
    pandas.Series
        ``named normal``, ``other classes``, or ``not stated`` for images without a class and sub-datasets that do not
        draw the line.
    """
    stated = images.label_name.notna()
    normal = images.label_name.map(names_normal) & stated
    has_normal, has_other = (of.groupby(images.dataset).transform("any") for of in (normal, ~normal & stated))
    return normal.map({True: NORMAL, False: OTHER}).where(has_normal & has_other & stated, NOT_STATED)


def grouped_answers(run: Evaluation) -> pd.DataFrame:
    """Answers in the headline wording with every facet of ``FACETS``."""
    images = run.benchmark.images[["dataset", "image_id", "label_name"]]
    images = images.assign(normality=normality(images)).drop(columns="label_name")
    answers = run.answers[run.answers.wording == HEADLINE_WORDING]
    return answers.merge(images, on=["dataset", "image_id"], how="left", validate="many_to_one")


def members(answers: pd.DataFrame) -> pd.DataFrame:
    """How many images, questions and sub-datasets stand behind each stated group.

    Returns
    -------
    pandas.DataFrame
        ``facet, group, n_images`` (distinct contents), ``n_fine`` (fine-grained questions), ``n_datasets, largest``
        (the sub-dataset with most images), ``share`` (of the group's images that are its), ``small`` (fewer than
        ``FEW`` fine-grained questions); the largest groups first.
    """
    rows: list[dict] = []
    questions = answers.drop_duplicates(["dataset", "image_id", "question"])
    for facet in FACETS:
        own = []
        for group, of in questions[questions[facet] != NOT_STATED].groupby(facet):
            images = of.drop_duplicates(["dataset", "content"]).dataset.value_counts().sort_index()
            n_fine = int((of.level == "fine").sum())
            own.append(
                {
                    "facet": facet,
                    "group": group,
                    "n_images": int(images.sum()),
                    "n_fine": n_fine,
                    "n_datasets": len(images),
                    "largest": images.idxmax(),
                    "share": images.max() / images.sum(),
                    "small": n_fine < FEW,
                }
            )
        rows += sorted(own, key=lambda row: -row["n_images"])
    columns = ["facet", "group", "n_images", "n_fine", "n_datasets", "largest", "share", "small"]
    return pd.DataFrame(rows, columns=columns)


def scores_by_group(answers: pd.DataFrame) -> pd.DataFrame:
    """Scores of every model in every stated group, as from ``scores.score``."""
    table = score(answers, by=list(FACETS))
    return table[(table.by != "all") & (table.slice != NOT_STATED)]


def context(answers: pd.DataFrame, found: pd.DataFrame, scores: pd.DataFrame, asked: dict[str, int]) -> dict:
    """Weakest and strongest group of each facet, by the best model of those that answered all fine-grained questions.

    ``found`` is from ``members``, ``scores`` from ``scores_by_group``, ``asked`` of ``Evaluation``; groups of fewer
    than ``FEW`` questions take no part.
    """
    fine = learned(answers[answers.level == "fine"])
    fine = fine[fine.groupby("model").model.transform("size") == asked.get("fine")]
    if fine.empty:
        asked = (answers.level == "fine").any()
        return {"model": None, "missing": None if asked else missing(scores, "fine"), "facets": []}
    model = fine.groupby("model", sort=False).correct.mean().idxmax()
    facets = []
    for facet, name in FACETS.items():
        of = found[found.facet == facet]
        rows = scores[(scores.model == model) & scores.slice.isin(of.group[~of.small])]
        ends = slices(rows, facet, "classification", corrected=True)["models"]
        facets.append(
            {
                "name": name,
                "n_groups": len(of),
                "only": of.group.iloc[0] if len(of) == 1 else None,
                **(ends[0] if ends else {"best": None}),
            }
        )
    return {"model": model, "missing": None, "facets": facets}
