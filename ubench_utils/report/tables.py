"""Tables and example cards of the pages, as plain HTML that needs no script and no style of its own."""

import numpy as np
import pandas as pd
from IPython.display import HTML, display
from markupsafe import Markup, escape
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from ..evaluation.evaluate import Evaluation
from ..models.registry import PACKAGE, find_model
from ..models.sources import image_size
from .sentences import environment
from .text import count, percent
from .text import p as _p

WIDE_CELL = 40  # letters; a table with a longer cell wraps
NO_CHOICE = "no option"  # of a reply, made elsewhere, that names none


def show(table: pd.DataFrame, caption: str, sortable: list | None = None) -> None:
    """Display a table of finished text (or ``link``) with a caption; one of sentences wraps, one of numbers scrolls.

    In the place of a table without rows stands a line that says so.

    Parameters
    ----------
    sortable : list of str, optional
        Let the reader sort and search the table, and choose among the values of these columns (``sortable.js``).
    """
    missing = [column for column in sortable or [] if column not in table]
    if missing and len(table):
        raise KeyError(missing[0])
    longest = max((len(Markup(escape(cell)).striptags()) for cell in table.to_numpy().ravel()), default=0)
    page = environment().get_template("cards/table.html")
    display(
        HTML(page.render(table=table.to_dict("split"), caption=caption, sortable=sortable, is_wide=longest > WIDE_CELL))
    )


def link(text: str, address: str) -> Markup:
    """A cell that leads to an address; both are escaped."""
    return Markup(environment().get_template("cards/link.html").render(text=text, address=address))


def text(table: pd.DataFrame, columns: dict) -> pd.DataFrame:
    """A table as text, for ``show``.

    Parameters
    ----------
    columns : dict
        What stands under each title: a column, or an estimate with the ends of its interval as a tuple of columns; a
        function of ``report.text`` in front says how they are printed. Without one, whole numbers have their thousands
        apart, other numbers are proportions in percent, and what is text already stays.
    """
    return pd.DataFrame({title: _printed(table, column) for title, column in columns.items()}, dtype=object)


def _printed(table: pd.DataFrame, column) -> list:
    form, names = None, [column] if isinstance(column, str) else list(column)
    if callable(names[0]):
        form, *names = names
    values = [table[name] for name in names]
    if form is None:
        kind = values[0].dtype
        if is_bool_dtype(kind) or not is_numeric_dtype(kind):
            return list(values[0])
        form = count if is_integer_dtype(kind) else percent
    return [form(*row) for row in zip(*values, strict=True)]


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Scores as text, one row a model, question and wording, both estimands side by side, with n and chance."""
    keys = ["model", "level", "question", "wording"]
    micro, macro = (table[table.estimand == estimand].set_index(keys) for estimand in ("micro", "macro"))
    rows = [
        {
            "model": key[0],
            "question": key[2] if key[2] != "all" else f"all {key[1]}",
            "wording": key[3],
            "n": f"{row.n_questions:,}",
            "chance %": percent(row.chance),
            "micro % [95 %]": percent(row.estimate, row.ci_low, row.ci_high),
            "macro % [95 %]": percent(*macro.loc[key, ["estimate", "ci_low", "ci_high"]]),
            "chance-corrected": f"{row.chance_corrected:+.2f}".replace("-", "−"),
        }
        for key, row in micro.iterrows()
    ]
    text = pd.DataFrame(rows)
    return text.drop(columns="model") if text.model.nunique() == 1 else text


def wordings(table: pd.DataFrame, by_dataset: pd.DataFrame, models: list, names: dict) -> pd.DataFrame:
    """Paired differences between wordings as text, a row a model, level and wording.

    ``table`` and ``by_dataset`` are from ``stats.compare_wordings``: over all images, and by sub-dataset, of which the
    one that moves most is named.
    """
    rows = []
    overall = table[(table.estimand == "micro") & ((table.question == "all") | (table.level != "coarse"))]
    for row in sorted(overall.itertuples(), key=lambda row: (models.index(row.model), row.level, row.wording)):
        sets = by_dataset[(by_dataset.by == "dataset") & (by_dataset.estimand == "micro")]
        for column in ("model", "wording", "level", "question"):
            sets = sets[sets[column] == getattr(row, column)]
        most = sets.loc[sets.estimate.abs().idxmax()]
        rows.append(
            {
                "model": row.model,
                "level": row.level,
                "wording": names[row.wording],
                "n": f"{row.n_questions:,}",
                "difference [95 %]": percent(row.estimate, row.ci_low, row.ci_high, sign="+"),
                "moves most": most.slice,
                "by": percent(most.estimate, sign="+"),
            }
        )
    return pd.DataFrame(rows)


def passport(run: Evaluation, model: str) -> pd.DataFrame:
    """Everything that decides whether two models were treated alike; one row a fact, the same on every machine."""
    facts = run.record["models"][model]
    card = find_model(model)
    rows = [
        ("model string", card.spec.replace(str(PACKAGE), "ubench_utils")),
        ("category", card.category),
        ("fine-tuned from", card.base or "–"),
        ("licence of the weights", card.licence or "not stated"),
    ]
    if "parameters" not in facts:
        kind = "answers made elsewhere" if "notes" in facts else "answers drawn at random"
        return pd.DataFrame(
            [*rows, ("weights", f"none: {kind}"), *(("note", note) for note in facts.get("notes", []))],
            columns=["what", "value"],
        )
    recipe = facts["preprocessing"]
    mean, std = (", ".join(f"{v:.4g}" for v in np.atleast_1d(recipe[key])) for key in ("mean", "std"))
    rows += [
        ("weights", f"{facts['parameters']:,}"),
        ("activation", f"{facts['activation']} (says {facts['activation_from']})"),
        ("images", f"{image_size(recipe)}, resized by {recipe['resize_mode']}, {recipe['interpolation']}"),
        ("normalisation", f"mean {mean}; standard deviation {std}"),
        ("context", f"{facts['context_length']} tokens; {facts['texts_truncated']} of {facts['texts']:,} texts cut"),
        (
            "options compared by",
            "matching head, log-odds"
            if facts["matching_head"]
            else f"cosine similarity, × {facts['logit_scale']:.1f} before the softmax",
        ),
        ("precision, device", f"{facts['precision']}, {facts['device']}; scores in float32"),
        ("exact ties", f"{facts['questions_tied']:,} questions"),
        ("failed images", f"{facts['images_failed']:,} of {facts['images']:,}"),
    ]
    if facts["doubt"]:
        rows.append(("to check", facts["doubt"]))
    rows += [("to check", note) for note in facts["notes"]]
    return pd.DataFrame(rows, columns=["what", "value"])


def forgetting(cells: pd.DataFrame) -> pd.DataFrame:
    """Every cell of ``finetuning.forgetting`` as text; a dagger marks cells with too few images, none is left out."""
    names = cells.question.where(cells.question != "all", "all " + cells.level)
    marks = cells.small.map({True: " †", False: ""})
    return pd.DataFrame(
        {
            "slice": cells.slice.where(cells.by != "all", "all images") + marks,
            "question": names,
            "n": [f"{n:,}" for n in cells.n_questions],
            "base %": [percent(value) for value in cells.reference_accuracy],
            "difference [95 %]": [
                percent(*row, sign="+") for row in cells[["estimate", "ci_low", "ci_high"]].to_numpy()
            ],
            "simultaneous": [
                percent(*row, sign="+").partition(" ")[2]
                for row in cells[["estimate", "joint_low", "joint_high"]].to_numpy()
            ],
            "forgotten": cells.forgotten,
            "learned": cells.learned,
            "p (Holm)": [_p(p) for p in cells.p_adjusted],
            "test": cells.test,
            "detectable": [percent(value) for value in cells.detectable],
        }
    )


def choices(tables: dict) -> pd.DataFrame:
    """What choosing α by cross-fitting gives, as text; ``tables[(base, tuned)]`` is from ``choice_of_alpha``."""
    rows = [
        {
            "fine-tuned": tuned,
            "target": row.target,
            "α* [95 %]": f"{row.alpha:g} [{row.alpha_low:g}, {row.alpha_high:g}]",
            "naive %": percent(row.naive),
            "cross-fitted % [95 %]": percent(row.cross_fitted, row.ci_low, row.ci_high),
            "optimism": percent(row.optimism, sign="+"),
            "over base": percent(row.over_base, row.over_base_low, row.over_base_high, sign="+"),
            "over fine-tuned": percent(row.over_tuned, row.over_tuned_low, row.over_tuned_high, sign="+"),
        }
        for (_, tuned), table in tables.items()
        for row in table.itertuples()
    ]
    return pd.DataFrame(rows)


def ways(tables: dict) -> pd.DataFrame:
    """Other ways to combine models, as text; ``tables[(base, tuned)]`` is from ``grids.other_ways``."""
    return pd.DataFrame(
        [
            {
                "fine-tuned": tuned,
                "way": row.way,
                "gain [95 %]": percent(row.gain, row.gain_low, row.gain_high, sign="+"),
                "kept [95 %]": percent(row.kept, row.kept_low, row.kept_high, sign="+"),
            }
            for (_, tuned), table in tables.items()
            for row in table.itertuples()
        ]
    )


def contrasts(results: dict) -> pd.DataFrame:
    """Contrasts of ``finetuning.summary`` as text, a row a pair and contrast."""
    names = {
        "in_middle": "fine-grained in-domain: α = 0.5 − base",
        "in_end": "fine-grained in-domain: fine-tuned − base",
        "in_coarse_middle": "coarse in-domain: α = 0.5 − base",
        "in_coarse_end": "coarse in-domain: fine-tuned − base",
        "out_middle": "all questions out-of-domain: α = 0.5 − base",
        "out_end": "all questions out-of-domain: fine-tuned − base",
        "above_line": "all questions: α = 0.5 − straight line",
        "fine_above_line": "fine-grained, mean over sub-datasets: α = 0.5 − straight line",
    }
    rows = [
        {
            "pair": f"{base} to {tuned}",
            "contrast": name,
            "n": f"{found[key]['n_questions']:,}",
            "difference [95 %]": percent(*(found[key][k] for k in ("estimate", "ci_low", "ci_high")), sign="+"),
        }
        for (base, tuned), found in results.items()
        for key, name in names.items()
    ]
    return pd.DataFrame(rows, columns=["pair", "contrast", "n", "difference [95 %]"])


def provenance(run: Evaluation, models: list) -> pd.DataFrame:
    """How the numbers of a page came about; wall-clock times and the commit stand in ``run.json``."""
    rows = [("dataset", run.benchmark.name)]
    if run.benchmark.revision:
        rows.append(("revision", run.benchmark.revision))
    rows += [
        ("content fingerprint", run.benchmark.fingerprint),
        (
            "images, questions",
            f"{len(run.benchmark.images):,}, {len(run.questions):,} ({run.questions.wording.nunique()} wordings)",
        ),
    ]
    rows += [("note", note) for note in run.record["dataset"]["notes"]]
    rows += [
        ("device, precision of the encoders", f"{run.record['device']}, {run.record['precision']}; scores in float32")
    ]
    for model in models:
        passport = run.record["models"][model]
        if "parameters" in passport:
            rows.append((model, passport_line(passport)))
    versions = run.record["versions"]
    rows.append(
        ("versions", ", ".join(f"{name} {versions[name]}" for name in ("torch", "open_clip_torch", "datasets")))
    )
    return pd.DataFrame(rows, columns=["what", "value"])


def passport_line(passport: dict) -> str:
    """The facts that decide whether two models were treated alike."""
    recipe = passport["preprocessing"]
    facts = [
        f"{passport['parameters']:,} weights",
        f"activation {passport['activation']} (says {passport['activation_from']})",
        f"images {image_size(recipe)}, {recipe['resize_mode']}, {recipe['interpolation']}",
        f"context {passport['context_length']} tokens, {passport['texts_truncated']} of {passport['texts']} texts cut",
        f"{passport['images_failed']} images failed, {passport['questions_tied']} ties",
    ]
    return "; ".join(facts)


def with_choices(run: Evaluation) -> pd.DataFrame:
    """Answers with the labels of the options, of the ``chosen`` one and of the ``right`` one."""
    key = ["dataset", "image_id", "question", "wording"]
    answers = run.answers.merge(run.questions[[*key, "labels", "asked"]], on=key, validate="many_to_one")
    return answers.assign(
        chosen=[
            labels[i] if i >= 0 else NO_CHOICE for labels, i in zip(answers.labels, answers.predicted_idx, strict=True)
        ],
        right=[labels[i] for labels, i in zip(answers.labels, answers.answer_idx, strict=True)],
    )
