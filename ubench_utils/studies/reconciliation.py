"""Where the paper, its code and this book differ: what published numbers decide, in numbers."""

from dataclasses import replace

import pandas as pd

from ..data.questions import build_questions
from ..evaluation.run import open_benchmark
from . import published

PARTIAL = ["eulenberg_et_al_2017_darkfield", "eulenberg_et_al_2017_epifluorescence"]  # left out of some totals


def context() -> dict:
    """How many printed totals the pooled parts reproduce, and how near a wrong reading comes to BLIP's numbers."""
    totals = []
    for level, rows in published.recomputed().dropna(subset="printed").groupby("level"):
        near = {e: int(((rows[e] - rows.printed).abs() <= published.ROUNDING).sum()) for e in ("micro", "macro")}
        totals.append({"level": level, "n": len(rows), "near_micro": near["micro"], "near_macro": near["macro"]})
    blip = published.two_way_head()
    return {
        "totals": totals,
        "rounding": published.ROUNDING,
        "blip_off": (blip.accuracy - blip.index_read_as_option).abs().mean(),
        "blip_inside": int(blip.is_inside.sum()),
        "blip_n": len(blip),
    }


def interpolation_average() -> pd.DataFrame:
    """The figure's fine accuracy over all sub-datasets beside the two averages of the published parts, in percent."""
    figure = published.read("interpolation_figure").query("level == 'fine' and slice == 'all'")
    return published.recomputed().query("level == 'fine'").merge(figure, on="model")


def question_counts() -> pd.DataFrame:
    """``published.implied_questions`` beside the ``n`` of the benchmark, and ``n_partial`` without two sub-datasets."""
    images, questions = published.datasets().n_images, published.questions()
    left_out = images[PARTIAL].sum()
    there = {"coarse": (questions.n.sum(), len(questions) * left_out), "fine": (images.sum(), left_out)}
    table = published.implied_questions()
    n, fewer = (table.level.map({level: found[part] for level, found in there.items()}) for part in (0, 1))
    return table.assign(n=n, n_partial=n - fewer)


def bases() -> pd.DataFrame:
    """PLIP's published totals minus those of the base its code names and of the one the paper mixes it with."""
    accuracy = published.totals().pivot(index="model", columns="level", values="accuracy")
    checkpoints = published.read("models").set_index("model").checkpoint
    rows = [
        {"base": base, "checkpoint": checkpoints[base], **(accuracy.loc["PLIP"] - accuracy.loc[base])}
        for base in ("CLIP", "OpenCLIP")
    ]
    return pd.DataFrame(rows)


def subdomain_captions() -> pd.DataFrame:
    """Captions of one demo image: ``of`` the domain or the subdomain question, and whether they are ``in_data``."""
    benchmark = open_benchmark("demo")
    given = benchmark.rows[0]["captions"]
    one = replace(benchmark, rows={name: [benchmark.rows[0][name]] for name in ("captions", "questions")})
    built = build_questions(one).query("question == 'subdomain' and wording == 1").iloc[0]
    in_data = [name for name in given if name.startswith("subdomain") and given[name] and given[name].get("options")]
    rows = [("domain", True, sentence) for sentence in given["domain_1"]["options"]]
    rows += [("subdomain", True, sentence) for name in in_data for sentence in given[name]["options"]]
    rows += [("subdomain", True, "–")] if not in_data else []
    rows += [("subdomain", False, sentence) for sentence in built.options]
    return pd.DataFrame(rows, columns=["of", "in_data", "sentence"])


def counts() -> dict[str, int]:
    """What a “task” could be, counted in the published table of sub-datasets."""
    table = published.datasets()
    merged, coarse = table.task.str.replace(r" \[.\]$", "", regex=True).nunique(), len(published.questions())
    return {
        "datasets": len(table),
        "names": table.task.nunique(),
        "merged": merged,
        "taxonomy": table.taxonomy.nunique(),
        "coarse": coarse,
        "sum": merged + coarse,
    }
