"""The one-line answers of the sections, with the numbers of the run and no claim that its intervals do not carry."""

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..models.registry import find_model
from ..statistics.scores import headline, overall
from ..studies.benchmark import amount
from .style import LEVELS
from .tables import percent


def data_line(run: Evaluation) -> str:
    """What the numbers of a page were measured on."""
    n = len(run.benchmark.images)
    sets = run.benchmark.images.dataset.nunique()
    if run.benchmark.name == "demo":
        return (
            f"Measured on the built-in sample: {amount(n, 'synthetic image')} of {amount(sets, 'sub-dataset')}, drawn "
            "by code (the demo models learned from such drawings). It shows how the method works and says nothing of "
            "real microscopes."
        )
    kind = "synthetic image" if run.benchmark.is_synthetic else "image"
    return f"Measured on {run.benchmark.name}: {amount(n, kind)} of {amount(sets, 'sub-dataset')}."


def kind_of_images(run: Evaluation) -> str:
    """What stands before a measured number on another page, so that it is not taken for one on other images."""
    return "synthetic images" if run.benchmark.is_synthetic else f"images of {run.benchmark.name}"


def absent(scores: pd.DataFrame, level: str, question: str | None = None) -> str:
    """Why the headline scores have no row of a level, or of one of its question types, as the start of a sentence."""
    name = {"coarse": "coarse question", "fine": "fine-grained question"}.get(level, f"question of {level}")
    name = f"question on the {question}" if question else name
    found = scores.question == question if question else scores.level == level
    if found.any():
        return f"No {name} is asked in wording {HEADLINE_WORDING}, the headline of this book"
    if all(find_model(model).spec.startswith("predictions:") for model in scores.model.unique()):
        return f"No model of this run answered a {name}"  # files of answers may leave out what was asked
    return f"No {name} is in this data set"


def panels(scores: pd.DataFrame) -> str:
    """Which levels the panels of the first figure show, from left to right, for its caption."""
    names = {"coarse": "all coarse questions", "fine": "fine-grained classification", "cognition": "cognition"}
    shown = [name for level, name in names.items() if level in set(headline(scores).level)]
    if len(shown) < 2:
        return "".join(shown)
    places = ["(left)", "(middle)", "(right)"] if len(shown) > 2 else ["(left)", "(right)"]
    *first, last = [f"on {name} {place}" for name, place in zip(shown, places, strict=True)]
    return f"{', '.join(first)} and {last}".removeprefix("on ")


def overview(scores: pd.DataFrame) -> str:
    """Best model at each level, and who cannot be told from chance."""
    table = headline(scores)
    table = table[[find_model(model).category != "chance" for model in table.model]]
    if table.empty:
        return "No model but the random baseline was run."
    parts, at_chance = [], []
    for level in (level for level in LEVELS if level in set(table.level)):
        rows = table[(table.level == level) & (table.question == overall(table, level))]
        best = rows.loc[rows.estimate.idxmax()]
        parts.append(
            f"{best.model} answers {_score(best)} % of the {level} questions right (chance {percent(best.chance)} %)"
        )
        at_chance += [f"{row.model} ({level})" for row in rows.itertuples() if row.ci_low <= row.chance]
    tail = f"Not above chance: {', '.join(at_chance)}." if at_chance else "Every model is above chance."
    return f"At best, {' and '.join(parts)}. {tail}"


def slices(scores: pd.DataFrame, by: str, question: str, value: str = "estimate") -> str:
    """Weakest and strongest slice of each model for one question, and whether their intervals are apart."""
    table = headline(scores, by=by)
    table = table[table.question == question]
    if table.empty:
        return f"{absent(scores, 'fine', None if question == 'classification' else question)}."
    table = table[table.slice != NOT_STATED]
    parts = []
    for model, rows in table.groupby("model", sort=False):
        if find_model(model).category == "chance" or rows.slice.nunique() < 2:
            continue
        low, high, point = (_rescaled(rows, column, value) for column in ("ci_low", "ci_high", "estimate"))
        best, worst = point.idxmax(), point.idxmin()
        if point[best] == point[worst]:
            parts.append(f"{model} {_range(point[best], low[best], high[best], value)} on each")
            continue
        apart = high[worst] < low[best]
        shown = [_range(point[i], low[i], high[i], value) for i in (worst, best)]
        places = [rows.slice[i].removesuffix(" microscopy") for i in (worst, best)]
        parts.append(
            f"{model} from {shown[0]} on {places[0]} to {shown[1]} on {places[1]}"
            + ("" if apart else " (not clearly different)")
        )
    if not parts and len(table) and all(find_model(model).category == "chance" for model in table.model.unique()):
        return "No model but the random baseline was run."
    if not parts:
        return f"There is nothing to compare: the question was asked of fewer than two stated values of {by}."
    what = {"modality": "Naming the modality", "classification": "Fine-grained classification"}.get(question, question)
    unit = " (%)" if value == "estimate" else " (chance-corrected, 0 is chance)"
    return f"{what}{unit}, by {by}: {'; '.join(parts)}."


def forgetting(changes: dict) -> str:
    """What fine-tuning changed; ``changes[(base, tuned)]`` is from ``finetuning.gain_and_loss``."""
    if not changes:
        return "No model of this run names a base that it was fine-tuned from, so there is no pair to compare."
    return " ".join(
        f"{tuned} against its base {base}: {_direction(fine)} in-domain on fine-grained questions"
        f"{_in_brackets(fine, ' points')}, {_direction(coarse)} in-domain on coarse ones{_in_brackets(coarse)}, "
        f"{_direction(outside)} out-of-domain{_in_brackets(outside, ', all questions')}."
        for (base, tuned), (fine, coarse, outside) in changes.items()
    )


def firm_changes(cells: dict) -> str:
    """How many cells stand after Holm's correction; ``cells[(base, tuned)]`` is from ``finetuning.forgetting``."""
    parts = []
    for (_, tuned), table in cells.items():
        firm = table[table.p_adjusted < 0.05]
        small = f"; {table.small.sum()} hold too few images to tell" if table.small.any() else ""
        fell, rose = (firm.estimate < 0).sum(), (firm.estimate > 0).sum()
        parts.append(
            f"{tuned}: of {len(table)} cells, {fell} fell and {rose} rose by more than chance explains (Holm, "
            f"5 %){small}."
        )
    return " ".join(parts)


def interpolation_choice(tables: dict) -> str:
    """What a chosen α is worth on images that did not choose it; ``tables`` is from ``choice_of_alpha``, by pair."""
    parts = []
    for (_, tuned), table in tables.items():
        if table.empty:
            parts.append(f"{tuned}: there are too few images to choose α on some and to score it on others.")
            continue
        row = table.iloc[-1]  # the balanced target where there is one
        over = {"estimate": row.over_base, "ci_low": row.over_base_low, "ci_high": row.over_base_high, "n_questions": 1}
        alone = {
            "estimate": row.over_tuned,
            "ci_low": row.over_tuned_low,
            "ci_high": row.over_tuned_high,
            "n_questions": 1,
        }
        parts.append(
            f"{tuned}, target “{row.target}”: α* = {row.alpha:g} (95 % of resamples: {row.alpha_low:g} to "
            f"{row.alpha_high:g}); on images that did not choose it, {_direction(over)} over the base "
            f"({_change(over)} points) and {_direction(alone)} over the fine-tuned model ({_change(alone)}); choosing "
            f"and scoring on the same images would have added {percent(row.optimism, sign='+')} points of optimism."
        )
    return " ".join(parts) or "There is no pair whose weights could be mixed."


def interpolation(results: dict) -> str:
    """What the middle of each curve keeps; ``results[(base, tuned)]`` is from ``finetuning.summary``."""
    if not results:
        return (
            "This run has no pair of a base and a model that names it as its base, both with weights, so there is "
            "nothing to interpolate."
        )
    parts = []
    for (base, tuned), found in results.items():
        bend = found["above_line"]
        claim = "lies above" if bend["ci_low"] > 0 else "lies below" if bend["ci_high"] < 0 else "cannot be told from"
        kept, of, lost, instead = (
            percent(found[key]["estimate"], sign="+") for key in ("in_middle", "in_end", "out_middle", "out_end")
        )
        inside, outside = f"{kept} points in-domain (fine-tuned alone {of})", f"{lost} out-of-domain (alone {instead})"
        if not found["in_middle"]["n_questions"]:
            inside, outside = "no fine-grained question in-domain", outside.replace(" out", " points out", 1)
        if not found["out_middle"]["n_questions"]:
            outside = "no question out-of-domain"
        parts.append(
            f"{tuned} mixed half and half with {base}: {inside}, {outside}; over all questions it {claim} the straight "
            f"line between the two ({_change(bend)} points)."
        )
    return " ".join(parts)


def model(scores: pd.DataFrame, name: str) -> str:
    """Score of one model at each level against chance, and its strongest and weakest sub-dataset."""
    table = headline(scores)
    rows = table[table.model == name]
    parts = [
        f"{_score(row)} % on {level} questions (chance {percent(row.chance)} %)"
        for level in LEVELS
        if level in set(rows.level)
        for _, row in rows[(rows.level == level) & (rows.question == overall(rows, level))].iterrows()
    ]
    fine = headline(scores, by="dataset")
    fine = fine[(fine.model == name) & (fine.question == "classification")]
    if len(fine) > 1 and find_model(name).category != "chance":
        best, worst = fine.loc[fine.chance_corrected.idxmax()], fine.loc[fine.chance_corrected.idxmin()]
        parts += [
            f"{what} on {row.slice} ({_score(row)} %, chance {percent(row.chance)} %)"
            for what, row in (("strongest", best), ("weakest", worst))
        ]
    return f"{name}: " + ", ".join(parts) + "."


def _score(row) -> str:
    return percent(row.estimate, row.ci_low, row.ci_high)


def _rescaled(rows: pd.DataFrame, column: str, value: str) -> pd.Series:
    """A column of scores as it is, or chance-corrected."""
    return rows[column] if value == "estimate" else (rows[column] - rows.chance) / (1 - rows.chance)


def _range(point: float, low: float, high: float, value: str) -> str:
    if value == "estimate":
        return percent(point, low, high)
    return f"{point:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _change(contrast: dict) -> str:
    return percent(contrast["estimate"], contrast["ci_low"], contrast["ci_high"], sign="+")


def _in_brackets(contrast: dict, tail: str = "") -> str:
    return f" ({_change(contrast)}{tail})" if contrast["n_questions"] else ""


def _direction(contrast: dict) -> str:
    if contrast["n_questions"] == 0:
        return "no question"
    if contrast["ci_low"] > 0:
        return "a gain"
    return "a loss" if contrast["ci_high"] < 0 else "no clear change"
