"""The one-line answers of the sections, with the numbers of the run and no claim that its intervals do not carry."""

import pandas as pd

from .evaluate import Evaluation
from .plots import headline
from .registry import find_model
from .tables import percent


def data_line(run: Evaluation) -> str:
    """What the numbers of a page were measured on."""
    n = len(run.benchmark.images)
    sets = run.benchmark.images.dataset.nunique()
    if run.benchmark.name == "demo":
        return (f"Measured on the built-in sample: {n:,} synthetic images of {sets} sub-datasets, drawn by code, and tiny "
                "models trained on such drawings. It shows how the method works, and says nothing of real microscopes.")  # fmt: skip
    kind = "synthetic images" if run.benchmark.is_synthetic else "images"
    return f"Measured on {run.benchmark.name}: {n:,} {kind} of {sets} sub-datasets, fingerprint {run.benchmark.fingerprint}."


def overview(scores: pd.DataFrame) -> str:
    """Best model at each level, and who cannot be told from chance."""
    table = headline(scores)
    parts, at_chance = [], []
    for level, question in (("coarse", "all"), ("fine", "classification")):
        rows = table[(table.level == level) & (table.question == question)]
        rows = rows[[find_model(model).category != "chance" for model in rows.model]]
        if rows.empty:
            continue
        best = rows.loc[rows.accuracy.idxmax()]
        parts.append(f"{best.model} answers {_score(best)} % of the {level} questions (chance {percent(best.chance)} %)")
        at_chance += [f"{row.model} on {level}" for row in rows.itertuples() if row.ci_low <= row.chance]
    tail = f"; not above chance: {', '.join(at_chance)}" if at_chance else "; every model is above chance on both"
    return f"Best of {table.model.nunique()}: " + " and ".join(parts) + tail + "."


def slices(scores: pd.DataFrame, by: str, question: str, value: str = "accuracy") -> str:
    """Best and worst slice of each model for one question, and whether their intervals are apart."""
    table = headline(scores, by=by)
    table = table[(table.question == question) & (table.slice != "not stated")]
    parts = []
    for model, rows in table.groupby("model", sort=False):
        if find_model(model).category == "chance" or rows.slice.nunique() < 2:
            continue
        best, worst = rows.loc[rows[value].idxmax()], rows.loc[rows[value].idxmin()]
        apart = worst.ci_high < best.ci_low if value == "accuracy" else _corrected_high(worst) < _corrected_low(best)
        verb = "falls to" if apart else "(not clearly different)"
        shown = (lambda r: f"{_score(r)} %") if value == "accuracy" else (lambda r: f"{r[value]:+.2f} above chance")
        parts.append(f"{model}: {best.slice} {shown(best)}, {verb} {worst.slice} {shown(worst)}")
    if not parts:
        return f"There is nothing to compare: fewer than two values of {by} are stated in this dataset."
    return f"On {question}, {'; '.join(parts)}."


def forgetting(changes: dict) -> str:
    """What fine-tuning changed; ``changes[(base, tuned)]`` is a pair of contrasts, in-domain and out-of-domain."""
    if not changes:
        return "No model of this run names a base that it was fine-tuned from, so there is no pair to compare."
    return " ".join(
        f"{tuned} against its base {base}: {_change(inside)} points in-domain (fine-grained), {_change(outside)} points "
        f"out-of-domain (all questions): {_verdict(inside, outside)}."
        for (base, tuned), (inside, outside) in changes.items()
    )


def interpolation(results: dict) -> str:
    """What the middle of each curve keeps; ``results[(base, tuned)]`` is from ``finetuning.summary``."""
    if not results:
        return "No model of this run names a base that it was fine-tuned from, so there is nothing to interpolate."
    parts = []
    for (base, tuned), found in results.items():
        bend = found["above_line"]
        claim = "lies above" if bend["ci_low"] > 0 else "lies below" if bend["ci_high"] < 0 else "cannot be told from"
        parts.append(
            f"{base} to {tuned} at α = 0.5: {_change(found['in_middle'])} of {_change(found['in_end'])} points in-domain, "
            f"{_change(found['out_middle'])} of {_change(found['out_end'])} points out-of-domain; over all questions the "
            f"middle {claim} the straight line between the ends ({_change(bend)} points)."
        )
    return " ".join(parts)


def model(scores: pd.DataFrame, name: str) -> str:
    """Coarse and fine score of one model against chance, and its best and worst sub-dataset."""
    table = headline(scores)
    rows = table[table.model == name]
    parts = [
        f"{_score(row)} % on {what} questions (chance {percent(row.chance)} %)"
        for what, question in (("coarse", "all"), ("fine", "classification"))
        for _, row in rows[(rows.question == question) & (rows.level == what)].iterrows()
    ]
    fine = headline(scores, by="dataset")
    fine = fine[(fine.model == name) & (fine.question == "classification")]
    if len(fine) > 1 and find_model(name).category != "chance":
        best, worst = fine.loc[fine.chance_corrected.idxmax()], fine.loc[fine.chance_corrected.idxmin()]
        parts.append(f"fine-grained it is best on {best.slice} ({percent(best.accuracy)} %, chance {percent(best.chance)}) "
                     f"and worst on {worst.slice} ({percent(worst.accuracy)} %, chance {percent(worst.chance)})")  # fmt: skip
    return f"{name}: " + ", ".join(parts) + "."


def _score(row) -> str:
    return percent(row.accuracy, row.ci_low, row.ci_high)


def _corrected_low(row) -> float:
    return (row.ci_low - row.chance) / (1 - row.chance)


def _corrected_high(row) -> float:
    return (row.ci_high - row.chance) / (1 - row.chance)


def _change(contrast: dict) -> str:
    return percent(contrast["estimate"], contrast["ci_low"], contrast["ci_high"], sign="+")


def _verdict(inside: dict, outside: dict) -> str:
    gained, lost = inside["ci_low"] > 0, outside["ci_high"] < 0
    if gained and lost:
        return "it gained and it forgot"
    if lost:
        return "it forgot, and any gain is within noise"
    return "it gained, and any loss is within noise" if gained else "both are within noise"
