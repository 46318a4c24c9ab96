"""Sentences of the pages: templates a reader can correct (``templates/sentences``), filled with the numbers of a run.

A file holds the sentences of one page, each under a heading that is its name. Values are printed as they are: what they
hold is never read as a template, and a page shows the finished sentence as plain text.
"""

import re
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..evaluation.evaluate import Evaluation
from ..statistics.resampling import groups_of
from ..text import one_line
from . import text

TEMPLATES = Path(__file__).with_name("templates")
FORMS = ["amount", "article", "count", "fixed", "half_width", "listed", "percent", "points"]  # filters, from ``text``
FORMS_OF_ROWS = {"score": text.percent, "change": text.points, "value": text.coefficient}
HEADING = re.compile(r"^## (\w+)\n", re.MULTILINE)


def sentence(page: str, name: str, **context) -> str:
    """One sentence, or a few, of a page: plain text on one line.

    Parameters
    ----------
    page : str
        A file of ``templates/sentences``.
    name : str
        A heading in it.
    **context
        What the sentence is about; each name that it uses must be there.
    """
    return one_line(_sentences(page)[name].render(context))


def sentences(page: str, **context) -> dict[str, str]:
    """Every sentence of a page, by its name."""
    return {name: sentence(page, name, **context) for name in _sentences(page)}


def told(page: str, table: pd.DataFrame) -> list[str]:
    """A sentence for each row of a table: that of its ``kind``, on what the row holds."""
    return [sentence(page, row["kind"], **row) for row in table.to_dict("records")]


def about(run: Evaluation) -> dict:
    """What a sentence may say of the images of any run."""
    benchmark = run.benchmark
    return {
        "benchmark": benchmark.name,
        "is_synthetic": benchmark.is_synthetic,
        "n_images": len(benchmark.pictures),
        "n_sets": benchmark.images.dataset.nunique(),
        **groups_of(benchmark.pictures),
    }


def data_line(run: Evaluation) -> str:
    """What the numbers of a page were measured on."""
    return sentence("run", "data", **about(run))


def glue(run: Evaluation | None, page: str | None = None, context: dict | None = None) -> None:
    """Give a notebook the sentences of its page, and ``data``, what they were measured on, where there is a run."""
    from myst_nb import glue as glued  # imports Sphinx

    told = sentences(page, **((about(run) if run else {}) | (context or {}))) if page else {}
    for name, words in (told | ({"data": data_line(run)} if run else {})).items():
        glued(name, words, display=False)


def environment() -> ImmutableSandboxedEnvironment:
    """Templates that can call nothing but filters and macros; those with a name in ``.html`` escape their values."""
    found = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=_on_one_line,
        autoescape=lambda name: (name or "").endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {name: getattr(text, name) for name in FORMS}
    found.filters |= {name: _of_row(form) for name, form in FORMS_OF_ROWS.items()}
    return found


def _on_one_line(value):
    """A value of a template, none of which may begin a line of its own."""
    return value.replace("\n", " ") if type(value) is str else value


def _of_row(form):
    """A form of the estimate of a row, with its interval."""
    return lambda row: form(row["estimate"], row["ci_low"], row["ci_high"])


@cache
def _sentences(page: str) -> dict:
    made = environment()
    made.globals["say"] = made.get_template("sentences/shared.md").module
    _, *parts = HEADING.split((TEMPLATES / "sentences" / f"{page}.md").read_text("utf-8"))
    return {name: made.from_string(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
