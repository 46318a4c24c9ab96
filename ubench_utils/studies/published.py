"""Numbers of the paper, to set beside measured ones: always labelled as published, never mixed with them.

The tables are percent, as printed. What can be recomputed from them is recomputed here: intervals, chance, totals.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..data.benchmark import HUB_NAME
from ..data.questions import COARSE, HEADLINE_WORDING
from ..statistics.intervals import CONFIDENCE, ENDS, columns_of, independent_difference, wilson
from ..statistics.scores import headline

FOLDER = Path(__file__).with_name("published")
ROUNDING = 0.5  # points: the tables by question and by sub-dataset were printed without decimals
INVALID = ["BLIP"]  # its two-way head was read as the number of an option, see ``two_way_head``
READING = {"fine": 0.3, "coarse": 0.5}  # points: how far off a value may be that was read off the interpolation figure
NO_STAIN = "nirschl_unpub_fluorescence"  # its images have no stain question
FINE_OPTIONS, COARSE_OPTIONS, MODALITY_OPTIONS = 5, 6, 4  # fine: so many classes at most, and "none of the above"


@cache
def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv")


def read(name: str) -> pd.DataFrame:
    """One of the tables in ``ubench_utils/published``, by its name without ``.csv``; accuracies in percent."""
    return _table(name).copy()


def sources() -> pd.DataFrame:
    """The files, what they hold and how sure they are, from the README beside them."""
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    return pd.DataFrame(rows[2:], columns=rows[0])


def datasets() -> pd.DataFrame:
    """Sub-datasets of the official tables, indexed by name, with the ``chance`` (percent) of their fine question."""
    table = read("datasets").set_index("dataset").query("in_table1").copy()
    table["chance"] = 100 / (np.minimum(table.n_classes, FINE_OPTIONS) + 1)
    return table


def questions() -> pd.DataFrame:
    """Number of questions ``n`` and ``chance`` (percent) of each coarse question type."""
    images = datasets().n_images
    n = {question: images.sum() - (images[NO_STAIN] if question == "stain" else 0) for question in COARSE}
    chance = {q: 100 / (MODALITY_OPTIONS if q == "modality" else COARSE_OPTIONS) for q in COARSE}
    return pd.DataFrame({"n": n, "chance": chance}).rename_axis("question")


def chance() -> dict[str, float]:
    """Chance in percent of the two pooled totals, ``coarse`` and ``fine``, from the numbers of options."""
    coarse, fine = questions(), datasets()
    return {
        "coarse": float(np.average(coarse.chance, weights=coarse.n)),
        "fine": float(np.average(fine.chance, weights=fine.n_images)),
    }


def totals() -> pd.DataFrame:
    """Table 1: ``model, category, family, level, accuracy, ci_low, ci_high, chance`` in percent.

    The interval is the printed one. Chance of the cognition questions was not published: the paper's random row stands
    in for it.
    """
    table = read("table1").merge(read("models")[["model", "category", "family"]], on="model")
    guess = table[table.model == "Random"].set_index("level").accuracy
    table["chance"] = table.level.map({**guess, **chance()})
    table["ci_low"], table["ci_high"] = table.accuracy - table.ci_half_width, table.accuracy + table.ci_half_width
    return table[table.model != "Random"].reset_index(drop=True)


def by_question(invalid: bool = False) -> pd.DataFrame:
    """Coarse accuracy by question type over all images, with ``category, n, chance`` and an interval.

    The interval is Wilson's from the printed accuracy and the number of images, widened by the rounding. ``invalid``
    keeps the numbers that are no accuracies (``INVALID``).
    """
    table = read("coarse_by_question").query("slice == 'all' and model != 'Random'").drop(columns="slice")
    table = table.merge(questions(), left_on="question", right_index=True)
    table = table[invalid | ~table.model.isin(INVALID)]
    return _with_interval(table.merge(read("models")[["model", "category", "family"]], on="model"))


def by_dataset(wording: int = HEADLINE_WORDING, invalid: bool = False) -> pd.DataFrame:
    """Fine accuracy by sub-dataset in one wording, with ``n, chance, chance_corrected`` and an interval."""
    about = datasets()[["n_images", "chance", "modality", "scale", "in_pathology_slice"]]
    about = about.rename(columns={"n_images": "n"})
    table = read("fine_by_dataset").query(f"caption_template == {wording} and model != 'Random'")
    table = table[invalid | ~table.model.isin(INVALID)]
    table = table.drop(columns="caption_template").merge(about, left_on="dataset", right_index=True)
    table = _with_interval(table.merge(read("models")[["model", "category"]], on="model"))
    table["chance_corrected"] = (table.accuracy - table.chance) / (100 - table.chance)
    return table


def recomputed() -> pd.DataFrame:
    """Totals of every model from its own published parts: pooled over questions, and as a mean over the parts.

    Returns
    -------
    pandas.DataFrame
        ``model, level, printed, micro, macro``: ``micro`` weighs each part (a question type, or a sub-dataset) by its
        questions, ``macro`` is the plain mean over the parts; ``printed`` is NaN where Table 1 has no such row.
    """
    parts = {
        "coarse": read("coarse_by_question")
        .query("slice == 'all'")
        .pivot(index="question", columns="model", values="accuracy"),
        "fine": read("fine_by_dataset")
        .query(f"caption_template == {HEADLINE_WORDING}")
        .pivot(index="dataset", columns="model", values="accuracy"),
    }
    weights = {"coarse": questions().n, "fine": datasets().n_images}
    printed = read("table1").set_index(["model", "level"]).accuracy
    rows = [
        {
            "model": model,
            "level": level,
            "printed": printed.get((model, level), np.nan),
            "micro": np.average(part[model], weights=weights[level].reindex(part.index)),
            "macro": part[model].mean(),
        }
        for level, part in parts.items()
        for model in part
    ]
    return pd.DataFrame(rows)


def implied_questions() -> pd.DataFrame:
    """How many independent questions the printed half-width of each total stands for: ``n = p(1 − p)(z / h)²``.

    ``n_low`` and ``n_high`` allow for a half-width printed with two decimals.
    """
    table = read("table1").query("level != 'cognition'")
    p, z = table.accuracy / 100, norm.ppf((1 + CONFIDENCE) / 2)
    widths = {"implied": 0.0, "n_low": 0.005, "n_high": -0.005}
    found = {name: (p * (1 - p) * (100 * z / (table.ci_half_width + by)) ** 2) for name, by in widths.items()}
    return table.assign(**found)[["model", "level", "accuracy", "ci_half_width", *widths]].reset_index(drop=True)


def two_way_head() -> pd.DataFrame:
    """BLIP's published accuracies beside what an index of 0 or 1 scores when read as the chosen option.

    The right option lies anywhere but in the last place (“none of the above”), so the expected accuracy is
    1 / (number of options − 1), whatever the image shows; ``is_inside`` says whether the interval holds it.
    """
    coarse, fine = (table[table.model == "BLIP"] for table in (by_question(invalid=True), by_dataset(invalid=True)))
    coarse, fine = coarse.assign(level="coarse", name=coarse.question), fine.assign(level="fine", name=fine.dataset)
    table = pd.concat([coarse, fine])
    table["index_read_as_option"] = 100 / (100 / table.chance - 1)
    table["is_inside"] = table.index_read_as_option.between(table.ci_low, table.ci_high)
    columns = ["level", "name", "n", "chance", "index_read_as_option", "accuracy", "ci_low", "ci_high", "is_inside"]
    return table[columns]


def interpolation() -> pd.DataFrame:
    """The interpolation figure: a row a merge, level and parent, with the gain of the merge over that parent.

    Returns
    -------
    pandas.DataFrame
        ``merge, parent, level``, accuracy in percent over the H&E sets and over all (``parent_he, merge_he, parent_all,
        merge_all``), read off a figure.
    """
    table = read("interpolation_figure").pivot(index=["model", "level"], columns="slice", values="accuracy")
    rows = []
    for merge, level in (key for key in table.index if "+" in key[0]):
        for parent in merge.split("+"):
            (he, everywhere), (merged_he, merged_all) = (table.loc[(m, level), ["H&E", "all"]] for m in (parent, merge))
            rows.append(
                {
                    "merge": merge,
                    "parent": parent,
                    "level": level,
                    "parent_he": he,
                    "merge_he": merged_he,
                    "parent_all": everywhere,
                    "merge_all": merged_all,
                }
            )
    return pd.DataFrame(rows)


def forgetting() -> pd.DataFrame:
    """Published accuracy of each fine-tuned model minus that of the base it was fine-tuned from.

    Returns
    -------
    pandas.DataFrame
        ``base, tuned, kind, name, n, base_accuracy, tuned_accuracy, difference, ci_low, ci_high`` in percent and
        points: ``kind`` is ``coarse`` (all images), ``coarse, pathology`` (light microscopy of pathology),
        ``fine, pathology`` or ``fine, elsewhere``; ``name`` is the question type, or the sub-dataset in the headline
        wording. The interval takes the answers of the two models as independent, since how many changed was not
        published, and is widened by the rounding of both; it is too wide where the models agree more often than
        independent ones would. ``n`` and the interval are absent for the pathology slice of coarse questions,
        whose size was not published.
    """
    coarse = read("coarse_by_question").rename(columns={"question": "name"})
    coarse["kind"] = coarse.slice.map({"all": "coarse", "pathology_light_microscopy": "coarse, pathology"})
    fine = read("fine_by_dataset").query(f"caption_template == {HEADLINE_WORDING}").rename(columns={"dataset": "name"})
    pathology = datasets().in_pathology_slice.reindex(fine.name).to_numpy(dtype=bool)
    fine["kind"] = pd.Series(pathology, fine.index).map({True: "fine, pathology", False: "fine, elsewhere"})
    columns = ["model", "kind", "name", "accuracy"]
    accuracy = pd.concat([coarse[columns], fine[columns]]).set_index(["model", "kind", "name"]).accuracy
    tables = []
    for tuned, base in read("models").dropna(subset="base").set_index("model").base.items():
        both = pd.DataFrame({"base_accuracy": accuracy[base], "tuned_accuracy": accuracy[tuned]}).dropna()
        tables.append(both.reset_index().assign(base=base, tuned=tuned))
    table = pd.concat(tables, ignore_index=True)
    table["n"] = table.name.map({**questions().n, **datasets().n_images}).where(table.kind != "coarse, pathology")
    table["difference"] = table.tuned_accuracy - table.base_accuracy
    variance = sum(p * (100 - p) for p in (table.base_accuracy, table.tuned_accuracy)) / table.n
    half = norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance) + 2 * ROUNDING
    table["ci_low"], table["ci_high"] = table.difference - half, table.difference + half
    order = {name: place for place, name in enumerate(COARSE)}
    table = table.sort_values(["tuned", "kind", "name"], key=lambda c: c.map(order) if c.name == "name" else c)
    columns = ["base", "tuned", "kind", "name", "n", "base_accuracy", "tuned_accuracy", "difference", "ci_low"]
    return table[[*columns, "ci_high"]].reset_index(drop=True)


def beside(scores: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Measured scores beside the published ones, for models and questions that have both.

    Parameters
    ----------
    scores : pandas.DataFrame
        From ``scores.score``; rows over all images in the headline wording are used.
    dataset : str
        Name of the dataset that was run; published numbers belong to that of the Hub, so for any other the table is
        empty.

    Returns
    -------
    pandas.DataFrame
        ``model, level, question, n, measured, measured_low, measured_high, published, published_low, published_high,
        difference, ci_low, ci_high`` in percent and points. The interval of the difference is that of
        independent runs. They share their images, so it is too wide rather than too short.
    """
    ours = headline(scores) if dataset == HUB_NAME else scores.head(0)
    whole = totals().assign(question=lambda t: t.level.map({"coarse": "all", "fine": "classification"}))
    theirs = pd.concat([whole.dropna(subset="question"), by_question().assign(level="coarse")])
    theirs = theirs.rename(columns={"accuracy": "estimate"})
    key = ["model", "level", "question"]
    both = ours.merge(theirs[[*key, *ENDS]], on=key, suffixes=("", "_theirs"))
    table = both[[*key, "n_questions"]].rename(columns={"n_questions": "n"})
    for name, of, factor in (("measured", "", 100), ("published", "_theirs", 1)):
        table[columns_of(name)] = factor * both[[f"{end}{of}" for end in ENDS]].to_numpy(float)
    sides = ([table[column] for column in columns_of(name)] for name in ("measured", "published"))
    return table.assign(**dict(zip(("difference", "ci_low", "ci_high"), independent_difference(*sides), strict=True)))


def _with_interval(table: pd.DataFrame) -> pd.DataFrame:
    """Add Wilson's interval from a printed accuracy and n, widened by the rounding; percent."""
    ends = np.clip([table.accuracy - ROUNDING, table.accuracy + ROUNDING], 0, 100) / 100 * table.n.to_numpy()
    low, high = (wilson(successes, table.n) for successes in ends)
    return table.assign(ci_low=100 * low[0], ci_high=100 * high[1]).reset_index(drop=True)


def findings() -> dict:
    """The four findings of the paper in numbers, and what qualifies them; accuracies in percent."""
    table, whole = datasets(), totals()
    question = by_question().query("question == 'modality'").sort_values("accuracy", kind="stable")
    share = table.groupby("modality").n_images.sum() / table.n_images.sum()
    sets = table.modality.value_counts()
    fine = whole.query("level == 'fine'").sort_values("accuracy", ascending=False)
    return {
        "n_images": int(table.n_images.sum()),
        "share_simulated": table.n_images[table.synthetic].sum() / table.n_images.sum(),
        "sets_least": int(sets.min()),
        "sets_most": int(sets.max()),
        "commonest": share.idxmax(),
        "share_commonest": share.max(),
        "n_beaten": int((question.accuracy < 100 * share.max()).sum()),
        "modality": question.to_dict("records"),
        "best_at_modality": list(question.model[question.accuracy == question.accuracy.max()]),
        "fine": fine.to_dict("records"),
        "sides": [
            _sides(whole[(whole.level == level) & (whole.family == "contrastive")]) for level in ("coarse", "fine")
        ],
        **_on_pathology(whole),
        "pairs": _forgotten(whole),
        "merges": _merged(),
    }


def _merged() -> list[dict]:
    """The merges of the interpolation figure: at each level against its parents, and over all sets against a model.

    That model is the base from which the paper's forgetting is counted. ``against`` it a merge is 1 (above), −1 (below)
    or 0, where the difference is less than the reading errors of both points and the interval of a difference, of which
    Table 1's half-width of the base gives an idea. On H&E slides, whose intervals nobody printed, above the parents is
    by more than the reading errors.
    """
    (base,) = read("models").base.dropna().unique()
    figure = read("interpolation_figure").query("slice == 'all' and model == @base").set_index("level").accuracy
    half = read("table1").query("model == @base").set_index("level").ci_half_width
    merges = []
    for merge, table in interpolation().groupby("merge", sort=False):
        levels = {}
        for level, rows in table.groupby("level", sort=False):
            reading, over = 2 * READING[level], rows.merge_all.iloc[0] - figure[level]
            error = reading + np.sqrt(2) * half[level]
            levels[level] = {
                "level": level,
                "he": rows.merge_he.iloc[0],
                "all": rows.merge_all.iloc[0],
                "parents": rows.to_dict("records"),
                "base": figure[level],
                "against": int(np.sign(over)) if abs(over) > error else 0,
                "over_parents": bool((rows.merge_all - rows.parent_all > error).all()),
                "over_parents_he": bool((rows.merge_he - rows.parent_he > reading).all()),
            }
        merges.append({"merge": merge, "base": base, **levels})
    return merges


def _sides(table: pd.DataFrame) -> dict:
    """Pathology models against generalists of the same kind, pair by pair; a win is by more than the intervals."""
    groups = {name: rows.sort_values("accuracy") for name, rows in table.groupby("category")}
    own, others = groups["pathology"], groups["generalist"]
    return {
        "level": table.level.iloc[0],
        "pathology": own.to_dict("records"),
        "generalists": others.to_dict("records"),
        "biomedical": groups["biomedical"].iloc[0].to_dict(),
        "n_pairs": len(own) * len(others),
        "n_wins": int(sum((low > others.ci_high).sum() for low in own.ci_low)),
        "n_losses": int(sum((high < others.ci_low).sum() for high in own.ci_high)),
    }


def _on_pathology(whole: pd.DataFrame) -> dict:
    """Fine accuracy of the contrastive models on the pathology sub-datasets, pooled over images, the best first."""
    own = by_dataset().query("in_pathology_slice")
    own = own[own.model.isin(whole.query("family == 'contrastive'").model)]
    pooled = own.groupby("model").apply(lambda rows: np.average(rows.accuracy, weights=rows.n), include_groups=False)
    scores = pooled.sort_values(ascending=False).rename("accuracy").reset_index()
    return {"n_pathology_sets": own.dataset.nunique(), "on_pathology": scores.to_dict("records")}


def _forgotten(whole: pd.DataFrame) -> list[dict]:
    accuracy, pairs = whole.set_index(["model", "level"]).accuracy, []
    for (base, tuned), rows in forgetting().groupby(["base", "tuned"], sort=False):
        cells = rows[rows.kind.isin(["fine, pathology", "fine, elsewhere"])]
        fell, rose = cells[cells.ci_high < 0], cells[cells.ci_low > 0]
        pairs.append(
            {
                "base": base,
                "tuned": tuned,
                **{level: [accuracy[model, level] for model in (base, tuned)] for level in ("coarse", "fine")},
                "worst": rows[rows.kind == "coarse"].sort_values("difference").iloc[0].to_dict(),
                "n_sets": len(cells),
                "n_fell": len(fell),
                "n_fell_elsewhere": int((fell.kind == "fine, elsewhere").sum()),
                "n_rose": len(rose),
                "n_rose_pathology": int((rose.kind == "fine, pathology").sum()),
            }
        )
    return pairs
