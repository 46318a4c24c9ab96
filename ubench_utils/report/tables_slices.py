"""Tables, as finished text, of slices of the images: sizes, detail taken away, specialists and groups."""

import pandas as pd

from ..data.benchmark import NOT_STATED
from ..statistics.scores import overall
from ..studies.groups import FACETS
from ..studies.scale import MEASURES, SMALLEST, shrunk_size
from ..studies.specialists import OWN
from .style import LEVELS
from .text import p as _p
from .text import percent
from .text import signed as coefficient


def image_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """Images of each sub-dataset and their sizes, from ``resolution.image_sizes``; smallest pixels first."""
    rows = []
    for dataset, table in sizes.groupby("dataset"):
        stated = table.microns_per_pixel.notna().sum()
        rows.append(
            {
                "sub-dataset": dataset,
                "images": f"{len(table):,}",
                "width × height (px)": f"{_span(table.width)} × {_span(table.height)}",
                "pixel size (µm)": _span(table.microns_per_pixel),
                "field of view (µm)": _span(table.field_of_view),
                "pixel size stated for": f"{stated:,}",
                "order": table.microns_per_pixel.median(),
            }
        )
    return pd.DataFrame(rows).sort_values(["order", "sub-dataset"]).drop(columns="order")


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    if pd.isna(low):
        return NOT_STATED
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of ``resolution.rank_correlations`` as text."""
    return pd.DataFrame(
        {
            "model": table.model,
            "fine-grained score against": table.measure.map(MEASURES),
            "sub-datasets": table.n_sets,
            "Spearman's ρ [95 %]": [coefficient(*row) for row in table[["rho", "ci_low", "ci_high"]].to_numpy(float)],
        }
    )


def sweep(changes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at native size and after shrinking, as text; a row a model, level and factor of ``changes``."""
    rows = []
    table = changes[changes.by == "all"] if len(changes) else changes
    for level in (level for level in LEVELS if len(table) and level in set(table.level)):
        for row in table[(table.level == level) & (table.question == overall(table, level))].itertuples():
            rows.append(
                {
                    "model": row.model,
                    "questions": level,
                    "n": f"{row.n_questions:,}",
                    "shrunk by": f"{row.factor:g}",
                    "native %": percent(row.reference_accuracy),
                    "shrunk %": percent(row.model_accuracy),
                    "difference [95 %]": percent(row.estimate, row.ci_low, row.ci_high, sign="+"),
                }
            )
    return pd.DataFrame(
        rows, columns=["model", "questions", "n", "shrunk by", "native %", "shrunk %", "difference [95 %]"]
    )


def detail_left(sizes: pd.DataFrame, factors) -> pd.DataFrame:
    """Size of the shrunk images, as text: median, and how many were too small to be shrunk by the whole factor."""
    known = sizes.dropna(subset=["width", "height"])
    rows = []
    for factor in sorted({1.0, *map(float, factors)}):
        size = [shrunk_size(*sides, factor) for sides in known[["width", "height"]].to_numpy()]
        short = pd.Series([min(sides) for sides in size], dtype=float)
        held = (known[["width", "height"]].min(axis=1) < factor * SMALLEST).sum() if factor > 1 else 0
        rows.append(
            {
                "shrunk by": f"{factor:g}",
                "images": f"{len(known):,}",
                "short side (px), median": f"{short.median():g}",
                "smallest": f"{short.min():g}",
                "shrunk by less": f"{held:,}",
            }
        )
    return pd.DataFrame(rows)


def specialists(table: pd.DataFrame) -> pd.DataFrame:
    """Paired differences of ``specialists.differences`` as text; a dagger marks too few images to tell."""
    return pd.DataFrame(
        {
            "specialist": table.specialist,
            "minus": table.generalist,
            "where": table.place + table.small.map({True: " †", False: ""}),
            "questions": table.level,
            "n": [f"{n:,}" for n in table.n_questions],
            "specialist %": [percent(value) for value in table.model_accuracy],
            "generalist %": [percent(v) for v in table.reference_accuracy],
            "difference [95 %]": [
                percent(*row, sign="+") for row in table[["estimate", "ci_low", "ci_high"]].to_numpy()
            ],
            "simultaneous": [
                percent(*row, sign="+").partition(" ")[2]
                for row in table[["estimate", "joint_low", "joint_high"]].to_numpy()
            ],
            "p (Holm)": [_p(p) for p in table.p_adjusted],
            "detectable": [percent(value) for value in table.detectable],
        }
    )


def by_ground(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of ``specialists.scores_by_ground`` as text, pooled and as the mean over sub-datasets."""
    rows = []
    keys = ["ground", "slice", "level", "question", "model"]
    ordered = scores.sort_values("slice", key=lambda place: place != OWN, kind="stable")
    for key, both in ordered.sort_values(["ground", "level"], kind="stable").groupby(keys, sort=False):
        name, place, level, question, model = key
        if question != overall(scores[(scores.ground == name) & (scores.slice == place)], level):
            continue
        micro, macro = (both[both.estimand == estimand].iloc[0] for estimand in ("micro", "macro"))
        rows.append(
            {
                "images": name if place == OWN else f"not {name}",
                "questions": level,
                "model": model,
                "n": f"{micro.n_questions:,}",
                "chance %": percent(micro.chance),
                "micro % [95 %]": percent(micro.estimate, micro.ci_low, micro.ci_high),
                "macro % [95 %]": percent(macro.estimate, macro.ci_low, macro.ci_high),
            }
        )
    return pd.DataFrame(rows)


def published_specialists(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's first table, as text, by category; from ``specialists.published_scores``."""
    text = table.assign(text=[f"{row.accuracy:.2f} ± {row.ci_half_width:.2f}" for row in table.itertuples()])
    wide = text.pivot(index=["category", "family", "model"], columns="level", values="text")
    columns = [level for level in LEVELS if level in wide]
    best = table[table.level == "coarse"].set_index("model").accuracy
    wide = (
        wide[columns]
        .reset_index()
        .sort_values(["category", "model"], key=lambda c: c if c.name == "category" else -c.map(best))
    )
    return wide.fillna("–").rename(columns={level: f"{level} %" for level in columns}).rename_axis(columns=None)


def members(table: pd.DataFrame) -> pd.DataFrame:
    """What stands behind each group of ``groups.members``, as text; a dagger marks too few fine-grained questions."""
    return pd.DataFrame(
        {
            "facet": table.facet.map(FACETS),
            "group": table.group + table.small.map({True: " †", False: ""}),
            "images": [f"{n:,}" for n in table.n_images],
            "fine-grained": [f"{n:,}" for n in table.n_fine],
            "sets": table.n_datasets,
            "largest set": [f"{row.largest} ({100 * row.share:.0f} %)" for row in table.itertuples()],
        }
    )


def gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Largest gaps of ``groups.gaps`` as text."""
    return pd.DataFrame(
        {
            "facet": table.facet.map(FACETS),
            "model": table.model,
            "groups": table.n_groups,
            "highest": table.high,
            "lowest": table.low,
            "gap [95 %, simultaneous]": [
                coefficient(*row) for row in table[["gap", "ci_low", "ci_high"]].to_numpy(float)
            ],
            "sub-datasets with both": table.n_shared,
        }
    )
