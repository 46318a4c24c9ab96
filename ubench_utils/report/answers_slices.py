"""Answers of the pages that break results down: by microscope, scale, ground of the specialists and group of images."""

import pandas as pd

from ..evaluation.evaluate import Evaluation
from ..models.registry import find_model
from ..models.sources import image_size
from ..studies.benchmark import amount
from ..studies.groups import FACETS
from ..studies.scale import MEASURES
from ..studies.specialists import ground_name
from .answers import _change, _direction, _range, slices
from .style import LEVELS
from .tables import percent


def informed(verdicts: pd.DataFrame) -> str:
    """What the audit says, for the answer of the page, models of one reading together; see ``knows_or_prefers``."""
    if verdicts.empty:
        return (
            "Nothing to audit: no model but the random baseline answered a question on the modality, or fewer than two "
            "modalities are ever the answer."
        )
    groups = [
        f"{', '.join(f'{row.model} {row.informedness}' for row in rows.itertuples())}: {reading}"
        for reading, rows in verdicts.groupby("reading", sort=False)
    ]
    return f"Informedness on the worst modality (0 as without looking, 100 perfect), {'; '.join(groups)}."


def knows_or_prefers(rates: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Whether each model tells its worst modality from the rest, and whether a preference hides part of it.

    Parameters
    ----------
    rates : pandas.DataFrame
        As from ``preferences.rates``.
    changed : pandas.DataFrame
        As from ``blanks.calibrated_rates``.

    Returns
    -------
    pandas.DataFrame
        Text, a row a model that is no guesser: ``model``, ``worst modality`` (of lowest recall), ``informedness``
        there, its change less each reference image, and ``reading``, which claims what the intervals carry. Empty
        where fewer than two modalities are named.
    """
    rows = []
    for model, row in _worst(rates).items():
        own = changed[(changed.model == model) & (changed.option == row.option)] if len(changed) else changed
        own = own[own.rate == "informedness"] if len(own) else own
        raised = [one.reference for one in own.itertuples() if one.ci_low > 0]
        rows.append(
            {
                "model": model,
                "worst modality": row.option,
                "informedness": _points(row),
                **{f"less the {one.reference}": _points(one, "+") for one in own.itertuples()},
                "reading": _reading(row, len(own), raised),
            }
        )
    return pd.DataFrame(rows).fillna("–")


def _reading(row, n_references: int, raised: list) -> str:
    """Which of knowing and preferring the informedness of an answer and its changes without preference speak for."""
    if row.ci_low > 0:
        known = "told apart"
    else:
        known = "not shown to be told apart" if row.ci_high >= 0 else "said less often where true"
    if not n_references:
        return known
    if not raised:
        return f"{known}, with no sign of a preference that hides some of it"
    only = "" if len(raised) == n_references else f" (by the {' and the '.join(raised)} only)"
    return f"{known}, but a preference hides some of it{only}"


def left_out(models: dict) -> str:
    """Which models were given no blank image, and why; ``models`` is from ``blanks.with_blanks``."""
    parts = [f"{model} was given none: {why}." for model, why in models.items()]
    return " ".join(parts) or "No model of this page is left out."


def _worst(rates: pd.DataFrame) -> dict:
    """Row of the informedness of the option of lowest recall, for each model that is no guesser."""
    worst = {}
    for model, rows in rates.groupby("model", sort=False):
        informedness = rows[rows.rate == "informedness"].set_index("option", drop=False)
        recall = rows[rows.rate == "recall"].set_index("option").estimate.reindex(informedness.index)
        if len(recall) > 1 and find_model(model).category != "chance":
            worst[model] = informedness.loc[recall.idxmin()]
    return worst


def _points(row, sign: str = "") -> str:
    return percent(row.estimate, row.ci_low, row.ci_high, sign)


def scale(scores: pd.DataFrame, changes: pd.DataFrame) -> str:
    """``slices`` by scale, and what the largest factor of ``resolution.changes`` takes from fine-grained answers."""
    first = slices(scores, "scale", "classification", "chance_corrected")
    fine = changes[(changes.by == "all") & (changes.level == "fine")] if len(changes) else changes
    if not len(fine):
        return f"{first} No fine-grained question was asked again about shrunk images."
    most = fine[fine.factor == fine.factor.max()]
    parts = [
        f"{_direction(found)} for {row.model} ({_change(found)})"
        for row in most.itertuples()
        for found in [_as_contrast(row)]
    ]
    return (
        f"{first} The same images shrunk by {fine.factor.max():g}, in points of fine-grained accuracy: "
        f"{', '.join(parts)}."
    )


def _as_contrast(row) -> dict:
    """A row of a comparison as a contrast of ``stats.contrast``."""
    return {"estimate": row.estimate, "ci_low": row.ci_low, "ci_high": row.ci_high, "n_questions": row.n_questions}


def pixel_sizes(sizes: pd.DataFrame, correlations: pd.DataFrame) -> str:
    """For how many images the pixel size is stated, where it is not, and whether the scores rise or fall with it.

    ``sizes`` is from ``resolution.image_sizes``, ``correlations`` from ``resolution.rank_correlations``.
    """
    missing = sizes[sizes.microns_per_pixel.isna()].dataset.value_counts().sort_index()
    text = f"The pixel size is stated for {len(sizes) - missing.sum():,} of {amount(len(sizes), 'image')}"
    text += f"; not for {', '.join(f'{name} ({n:,})' for name, n in missing.items())}." if len(missing) else "."
    unread = sizes.width.isna().sum()
    if len(missing) and missing.sum() == len(sizes):
        return text
    text += f" Images without a readable header: {unread:,}." if unread else ""
    if sizes.width.nunique() == 1:
        text += " All images are equally wide, so pixel size and field of view rank the sub-datasets alike."
    if correlations.empty:
        return f"{text} No fine-grained question is about such an image, or no model but the random baseline was run."
    told = correlations.dropna(subset="ci_low")
    if told.empty:
        n = correlations.n_sets.max()
        return f"{text} Too few sub-datasets to tell whether the fine-grained score goes with either ({n:,})."
    firm = told[(told.ci_low > 0) | (told.ci_high < 0)]
    parts = [
        f"{row.model} with {MEASURES[row.measure].removesuffix(' (µm)')} "
        f"(ρ = {_range(row.rho, row.ci_low, row.ci_high, 'rho')})"
        for row in firm.itertuples()
    ]
    found = f"{len(firm)} leave out zero: {', '.join(parts)}" if parts else "none leaves out zero"
    return f"{text} Of the intervals of {len(told)} rank correlations with the fine-grained score, {found}."


def shrunk_images(run: Evaluation, changes: pd.DataFrame) -> str:
    """Which models looked at shrunk images, what size they take, and which could not look again."""
    sizes = {
        model: image_size(facts["preprocessing"])
        for model, facts in run.record["models"].items()
        if "preprocessing" in facts
    }
    left_out = [model for model in run.record["models"] if model not in sizes]
    tail = f" Left out, for want of weights to look again with: {', '.join(left_out)}." if left_out else ""
    if not len(changes):
        why = "no model of this run has weights" if not sizes else "no factor above 1 was given"
        return f"No image was shrunk: {why}.{tail}"
    takes = ", ".join(f"{model} {size}" for model, size in sizes.items())
    return f"Size that each model's own preprocessing makes of an image, whatever it was: {takes}.{tail}"


def specialists(differences: pd.DataFrame, names: tuple) -> str:
    """In how many comparisons a specialist is better or worse than a generalist, by simultaneous intervals.

    ``differences`` is from ``specialists.differences``; ``names`` are the specialists and the generalists of the run.
    """
    if differences.empty:
        both = zip(("specialist", "generalist"), names, strict=True)
        lacking = " and ".join(f"no {side}" for side, of in both if not of)
        return f"There is nothing to compare: this run has {lacking or 'no question that both sides answered'}."
    sentences = []
    for place, where in (("own ground", "On its own ground"), ("outside", "Outside it")):
        parts = []
        for level in (level for level in LEVELS if level in set(differences.level)):
            rows = differences[(differences.place == place) & (differences.level == level)]
            if len(rows):
                firm = ~rows.small & (rows.p_adjusted < 0.05)
                better, worse = (firm & (rows.joint_low > 0)).sum(), (firm & (rows.joint_high < 0)).sum()
                span = [percent(value, sign="+") for value in (rows.estimate.min(), rows.estimate.max())]
                size = span[0] if span[0] == span[1] else " to ".join(span)
                parts.append(f"in {better} of {len(rows)} {level} comparisons and loses in {worse} ({size} points)")
        won = f"{where}, a specialist beats a generalist {', '.join(parts)}."
        sentences.append(won if parts else f"{where} lies no image.")
    return f"{' '.join(sentences)} Counted where a simultaneous 95 % interval leaves out zero, given images enough."


def ungrouped(models, names: tuple) -> str:
    """Which models are on which side, what each specialist's ground is, and which models are on neither side."""
    specialists, generalists = names
    parts = [f"{model} ({find_model(model).category}; its ground: {ground_name(model)})" for model in specialists]
    rest = [model for model in models if model not in (*specialists, *generalists)]
    text = f"Specialists: {', '.join(parts) or 'none'}. Generalists: {', '.join(generalists) or 'none'}."
    return f"{text} On neither side: {', '.join(rest)}." if rest else text


def published_specialists(table: pd.DataFrame) -> str:
    """The best generalist and the best specialist of the paper's first table, of all models and of one family."""
    parts = []
    for level in ("coarse", "fine"):
        for family, rows in (("any family", table), ("the contrastive family", table[table.family == "contrastive"])):
            rows = rows[(rows.level == level) & (rows.category != "chance")]
            best = [
                side.loc[side.accuracy.idxmax()]
                for side in (rows[rows.category == "generalist"], rows[rows.category != "generalist"])
            ]
            shown = [f"{row.model} {row.accuracy:.2f} ± {row.ci_half_width:.2f} %" for row in best]
            parts.append(f"{level}, {family}: {shown[0]} against {shown[1]}")
    return f"Published, best generalist against best specialist: {'; '.join(parts)}."


def groups(members: pd.DataFrame, gaps: pd.DataFrame) -> str:
    """For each facet, how many models have a gap between groups that its interval carries, and the largest of them.

    ``members`` is from ``groups.members``, ``gaps`` from ``groups.gaps``.
    """
    parts = []
    for facet, name in FACETS.items():
        of, rows = members[members.facet == facet], gaps[gaps.facet == facet]
        if len(of) < 2:
            parts.append(f"{name}: " + (f"one value only ({of.group.iloc[0]})" if len(of) else "not stated"))
            continue
        if rows.empty:
            few = (~of.small).sum() < 2
            why = "fewer than two groups are large enough" if few else "no model but the random baseline answered"
            parts.append(f"{name}: {why}")
            continue
        firm = rows[rows.ci_low.round(2) > 0]  # as printed
        text = f"{name}: a clear gap for {len(firm)} of {len(rows)} models"
        if len(firm):
            most = firm.loc[firm.gap.idxmax()]
            size = _range(most.gap, most.ci_low, most.ci_high, "score")
            text += f", at most {size} ({most.model}, {most.high} over {most.low})"
        parts.append(text)
    caution = "Groups differ in their sub-datasets too, so no gap shows that the group is its cause."
    return f"Fine-grained score (0 is chance, 1 is perfect). {'; '.join(parts)}. {caution}"
