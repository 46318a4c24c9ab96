"""The four findings of the paper, each in a sentence or two with its published numbers."""

import numpy as np
import pandas as pd

from ..studies import published
from .tables import percent


def modality() -> str:
    """Finding (i): models struggle, even with the modality."""
    question, fine = _of_question("modality"), _of_level("fine")
    low, high = question.loc[question.accuracy.idxmin()], question.loc[question.accuracy.idxmax()]
    shared = question.model[question.accuracy == high.accuracy]
    first, second = fine.sort_values("accuracy", ascending=False).head(2).itertuples()
    return (
        f"Asked only which kind of microscope made the image (chance {low.chance:.0f} %), the {len(question)} models "
        f"are right in {low.accuracy:.0f} % ({low.model}) to {high.accuracy:.0f} % ({' and '.join(shared)}) of "
        f"{low.n:,} images. On fine questions (chance {first.chance:.1f} %), the best model, {first.model}, reaches "
        f"{_with(first)} % (probably over fewer questions) and the next, {second.model}, {_with(second)} %."
    )


def always_the_same() -> str:
    """From how few sub-datasets the images of a modality come, and what one and the same answer would score."""
    table, scores = published.datasets(), _of_question("modality").accuracy
    share, sets = table.groupby("modality").n_images.sum() / table.n_images.sum(), table.modality.value_counts()
    return (
        f"the images of a modality come from {sets.min()} to {sets.max()} sub-datasets, and always answering "
        f"“{share.idxmax()}” would score {100 * share.max():.0f} %, more than {(scores < 100 * share.max()).sum()} of "
        f"the {len(scores)} models"
    )


def simulated() -> str:
    """Share of the benchmark's images that are themselves simulated."""
    table = published.datasets()
    return f"{100 * table.n_images[table.synthetic].sum() / table.n_images.sum():.0f} %"


def specialists() -> str:
    """Finding (ii): specialists often lose to generalists, against the generalists of their own kind."""
    parts = []
    for level in ("coarse", "fine"):
        table = _of_level(level).query("family == 'contrastive'")
        groups = {name: rows.sort_values("accuracy") for name, rows in table.groupby("category")}
        own, others = groups["pathology"], groups["generalist"]
        wins = sum((own.ci_low.iloc[i] > others.ci_high).sum() for i in range(len(own)))
        losses = sum((own.ci_high.iloc[i] < others.ci_low).sum() for i in range(len(own)))
        bio = groups["biomedical"].iloc[0]
        parts.append(
            f"On {level} questions the pathology models score {_list(own)} %, the contrastive generalists "
            f"{_list(others)} %: of {len(own) * len(others)} pairs the generalist is ahead in {losses} and the "
            f"specialist in {wins} by more than their intervals. {bio.model}, biomedical of all kinds, scores "
            f"{bio.accuracy:.1f} %."
        )
    own = published.by_dataset().query("in_pathology_slice")
    own = own[own.model.isin(published.totals().query("family == 'contrastive'").model)]
    pooled = own.groupby("model").apply(lambda rows: np.average(rows.accuracy, weights=rows.n), include_groups=False)
    scores = pooled.sort_values(ascending=False).rename("accuracy").reset_index()
    parts.append(
        f"On the fine questions of the {own.dataset.nunique()} pathology sub-datasets alone, pooled, the "
        f"order is {_list(scores)} %."
    )
    return " ".join(parts)


def forgetting() -> str:
    """Finding (iii): fine-tuning in one domain makes a model forget."""
    table, totals = published.forgetting(), published.totals().set_index(["model", "level"]).accuracy
    parts = []
    for (base, tuned), rows in table.groupby(["base", "tuned"], sort=False):
        worst = rows[rows.kind == "coarse"].sort_values("difference").iloc[0]
        cells = rows[rows.kind.isin(["fine, pathology", "fine, elsewhere"])]
        fell, rose = (cells[cells.ci_high < 0], cells[cells.ci_low > 0])
        coarse, fine = (f"{totals[base, level]:.1f} to {totals[tuned, level]:.1f} %" for level in ("coarse", "fine"))
        parts.append(
            f"From {base} to {tuned}, accuracy goes from {coarse} on coarse and from {fine} on fine questions. Of "
            f"the coarse ones, {worst['name']} falls most ({_points(worst.difference)} points). Of {len(cells)} "
            f"sub-datasets, {len(fell)} fall ({(fell.kind == 'fine, elsewhere').sum()} outside pathology) and "
            f"{len(rose)} rise ({(rose.kind == 'fine, pathology').sum()} in pathology) by more than their interval."
        )
    return " ".join(parts)


def interpolation() -> str:
    """Finding (iv): a mixture of base and fine-tuned weights brings much of it back."""
    table = published.interpolation().query("level == 'fine'")
    parts = []
    for merge, rows in table.groupby("merge", sort=False):
        merged = rows.iloc[0]
        he, everywhere = (
            " and ".join(f"{row[f'parent_{where}']:.1f} ({row.parent})" for _, row in rows.iterrows())
            for where in ("he", "all")
        )
        parts.append(
            f"{merge} reaches {merged.merge_he:.1f} % on fine questions of H&E slides, its parents {he}; over all "
            f"sub-datasets {merged.merge_all:.1f} %, its parents {everywhere}."
        )
    return " ".join(parts)


def _of_question(question: str) -> pd.DataFrame:
    return published.by_question().query(f"question == '{question}'")


def _of_level(level: str) -> pd.DataFrame:
    return published.totals().query(f"level == '{level}'")


def _with(row) -> str:
    return percent(row.accuracy / 100, row.ci_low / 100, row.ci_high / 100)


def _list(rows: pd.DataFrame) -> str:
    words = [f"{row.accuracy:.1f} ({row.model})" for row in rows.itertuples()]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _points(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")
