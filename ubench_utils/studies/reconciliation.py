"""Where the paper, its code and this book differ: what published numbers decide, as finished tables."""

from dataclasses import replace

import pandas as pd

from ..data.questions import build_questions
from ..evaluation.run import open_benchmark
from ..report.tables import percent
from . import published

PARTIAL = ["eulenberg_et_al_2017_darkfield", "eulenberg_et_al_2017_epifluorescence"]  # left out of some totals


def answer() -> str:
    """How many printed totals the pooled parts reproduce, and which number the parts contradict."""
    table = published.recomputed().dropna(subset="printed")
    counts = []
    for level, rows in table.groupby("level"):
        near = {e: ((rows[e] - rows.printed).abs() <= published.ROUNDING).sum() for e in ("micro", "macro")}
        counts.append(
            f"of {len(rows)} {level} totals, {near['micro']} are within {published.ROUNDING:g} points of the "
            f"average pooled over questions and {near['macro']} of the mean over parts"
        )
    blip = published.two_way_head()
    off = (blip.accuracy - blip.index_read_as_option).abs().mean()
    inside = ((blip.ci_low <= blip.index_read_as_option) & (blip.index_read_as_option <= blip.ci_high)).sum()
    return (
        "Table 1 can be recomputed from its parts (GPT-4o's were not published), and its fine column is not the macro "
        "average of its caption: "
        f"{'; '.join(counts)}. BLIP's published accuracies lie on average {off:.1f} points from what a wrong reading "
        f"of its output predicts without any image, {inside} of {len(blip)} within their interval. The mixing weight "
        "of the interpolation figure cannot be recomputed at all."
    )


def interpolation_average() -> pd.DataFrame:
    """The figure's fine accuracy over all sub-datasets beside the two averages of the published parts."""
    figure = published.read("interpolation_figure").query("level == 'fine' and slice == 'all'")
    table = published.recomputed().query("level == 'fine'").merge(figure, on="model")
    return pd.DataFrame(
        {
            "model": table.model,
            "interpolation figure": table.accuracy.map("{:.1f}".format),
            "macro, recomputed": table.macro.map("{:.1f}".format),
            "micro, recomputed": table.micro.map("{:.1f}".format),
            "Table 1": table.printed.map("{:.1f}".format),
        }
    )


def question_counts() -> pd.DataFrame:
    """Numbers of questions that the printed half-widths stand for, beside those of the benchmark."""
    images = published.datasets().n_images
    coarse, left_out = published.questions().n.sum(), images[PARTIAL].sum()
    of = {
        "coarse": f"{coarse:,}, or {coarse - len(published.questions()) * left_out:,} without two sets",
        "fine": f"{images.sum():,}, or {images.sum() - left_out:,} without two sets",
    }
    table = published.implied_questions()
    return pd.DataFrame(
        {
            "model": table.model,
            "level": table.level,
            "accuracy % ± h": [f"{a:.2f} ± {h:.2f}" for a, h in zip(table.accuracy, table.ci_half_width, strict=True)],
            "stands for n": [f"{low:,.0f} to {high:,.0f}" for low, high in zip(table.n_low, table.n_high, strict=True)],
            "questions there are": table.level.map(of),
        }
    )


def blip() -> pd.DataFrame:
    """BLIP's published accuracy on every question type and sub-dataset, beside the prediction of the wrong reading."""
    table = published.two_way_head()
    return pd.DataFrame(
        {
            "question or sub-dataset": table["name"],
            "n": table.n.map("{:,}".format),
            "chance": table.chance.map("{:.1f}".format),
            "predicted": table.index_read_as_option.map("{:.1f}".format),
            "published [95 %]": [
                percent(row.accuracy / 100, row.ci_low / 100, row.ci_high / 100) for row in table.itertuples()
            ],
            "prediction inside": [
                ("yes" if row.ci_low <= row.index_read_as_option <= row.ci_high else "no") for row in table.itertuples()
            ],
        }
    )


def bases() -> pd.DataFrame:
    """PLIP's published totals minus those of the base its code names and of the one the paper mixes it with."""
    table = published.totals()
    accuracy = table.pivot(index="model", columns="level", values="accuracy")[["coarse", "fine", "cognition"]]
    models = published.read("models").set_index("model").checkpoint
    rows = [
        {
            "base": base,
            "checkpoint": models[base],
            **{
                level: f"{accuracy.loc['PLIP', level] - accuracy.loc[base, level]:+.1f}".replace("-", "−")
                for level in accuracy
            },
        }
        for base in ("CLIP", "OpenCLIP")
    ]
    return pd.DataFrame(rows)


def subdomain_captions() -> pd.DataFrame:
    """Captions of one demo image: those of the domain question, and those built for the subdomain question."""
    benchmark = open_benchmark("demo")
    given = benchmark.rows[0]["captions"]
    one = replace(benchmark, rows={name: [benchmark.rows[0][name]] for name in ("captions", "questions")})
    built = build_questions(one).query("question == 'subdomain' and wording == 1").iloc[0]
    in_data = [name for name in given if name.startswith("subdomain") and given[name] and given[name].get("options")]
    rows = [("captions of the domain question, in the data", sentence) for sentence in given["domain_1"]["options"]]
    rows.append(("captions of the subdomain question, in the data", ", ".join(in_data) or "none"))
    rows += [("captions of the subdomain question, built", sentence) for sentence in built.options]
    return pd.DataFrame(rows, columns=["what", "sentence"])


def counts() -> pd.DataFrame:
    """What a “task” could be, counted."""
    table = published.datasets()
    merged, coarse = table.task.str.replace(r" \[.\]$", "", regex=True).nunique(), len(published.questions())
    rows = [
        ("sub-datasets in the official tables", len(table)),
        ("distinct names of tasks", table.task.nunique()),
        ("the same, versions [a], [b], [c] taken as one", merged),
        ("kinds of tasks (taxonomy)", table.taxonomy.nunique()),
        ("coarse question types", coarse),
        ("tasks with versions taken as one, and coarse question types", merged + coarse),
    ]
    return pd.DataFrame([(what, str(n)) for what, n in rows], columns=["what", "number"])


def overview() -> pd.DataFrame:
    """Every conflict in a line: what this book does, and whether published numbers decide."""
    decided = "decided by recomputing"
    return pd.DataFrame(
        [
            ("micro or macro average", "both, named; micro is the headline", decided),
            ("questions behind GPT-4o's totals", "states n beside every score", "made likely by recomputing"),
            ("BLIP's output", "log-odds of the matching head, an option at a time", "agree roughly; the code decides"),
            ("base of PLIP", "CLIP, as in PLIP's own code", "not decided by numbers"),
            ("mixing weight α", "the whole curve; α chosen on other images", "cannot be decided: not published"),
            ("captions of the subdomain question", "built from the options", "cannot be decided: not published"),
            ("coarse answers follow from the source", "measured on the page on the benchmark", "follows from the data"),
            ("22 or 24 tasks", "counts sub-datasets and question types", "not decided by counting"),
        ],
        columns=["conflict", "this book", "published numbers"],
    )
