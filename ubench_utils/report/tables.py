"""Tables and example cards of the pages, as plain HTML that needs no script and no style of its own."""

import numpy as np
import pandas as pd
from IPython.display import HTML, display
from markupsafe import Markup, escape
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype
from PIL import Image

from ..evaluation.evaluate import Evaluation
from ..models.cards import PACKAGE
from ..models.registry import find_model
from ..models.sources import image_size
from ..text import one_line
from .sentences import environment
from .text import called, count, need, percent, points, signed, stated, whole

WIDE_CELL = 40  # letters; a table with a longer cell wraps


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
    if table.empty:
        return pd.DataFrame(columns=list(columns))
    return pd.DataFrame({title: _printed(table, column) for title, column in columns.items()}, dtype=object)


def table(rows: pd.DataFrame, columns: dict, caption: str, *, sortable: list | None = None) -> None:
    """Display a table: what ``columns`` picks of its rows, printed as by ``tables.text``, with a caption."""
    show(text(rows, columns), caption, sortable)


def wide(table: pd.DataFrame, rows: dict, across: str, cell) -> pd.DataFrame:
    """A table as text with a column for each value of ``across``.

    Parameters
    ----------
    rows : dict
        Titles and columns of what names a row, as for ``text``.
    across : str
        The column whose values become titles, in the order in which they occur.
    cell : str or tuple
        What stands in a cell, as for ``text``.
    """
    if table.empty:
        return pd.DataFrame(columns=list(rows))
    titles, names = list(dict.fromkeys(table[across])), text(table, rows)
    cells = names.assign(**{"": _printed(table, cell), " ": list(table[across])})
    found = cells.drop_duplicates([*rows, " "]).set_index([*rows, " "])[""].unstack(" ", sort=False)
    return found.reindex(columns=titles).fillna("–").rename_axis(columns=None).reset_index()


def _printed(table: pd.DataFrame, column) -> list:
    names: list = [column] if isinstance(column, str) else list(column)
    form = names.pop(0) if callable(names[0]) else None
    need(table, *names)
    values = [table[name] for name in names]
    if form is None:
        kind = values[0].dtype
        if is_bool_dtype(kind) or not is_numeric_dtype(kind):
            return list(values[0])
        form = count if is_integer_dtype(kind) else percent
    return [form(*row) for row in zip(*values, strict=True)]


SCORES = {
    "model": "model",
    "question": (called, "question", "level"),
    "wording": "wording",
    "n": "n_questions",
    "chance %": "chance",
    "micro % [95 %]": ("estimate", "ci_low", "ci_high"),
    "macro % [95 %]": ("macro", "macro_low", "macro_high"),
    "balanced % [95 %]": ("balanced", "balanced_low", "balanced_high"),
    "chance-corrected": (signed, "chance_corrected"),
}  # of ``text``, for scores with both averages side by side


RULES = {
    "model": "model",
    "questions": "level",
    "n": "n_questions",
    "strict %": ("strict", "strict_low", "strict_high"),
    "official %": ("official", "official_low", "official_high"),
    "official − strict": (points, "difference", "difference_low", "difference_high"),
    "unreadable %": "unreadable",
    "cut off %": "cut_off",
    "declined %": "declined",
    "on letters %": "letter_mass",
}  # of ``text``, for ``replies.both_rules``


def facts(page: str, **context) -> pd.DataFrame:
    """What a file of ``templates/facts`` says, a row a line: a name, ¦ and a value; a line without a value falls."""
    lines = environment().get_template(f"facts/{page}.md").render(context).splitlines()
    rows = [[one_line(part) for part in line.split(" ¦ ", 1)] for line in lines if " ¦ " in line]
    return pd.DataFrame([row for row in rows if row[1]], columns=["what", "value"])


def of_sub_dataset(about: dict) -> pd.DataFrame:
    """What the pictures of a sub-dataset are, how they were read and what was asked, of ``subdataset.asked_about``."""
    sides = {side: whole(about["files"][f"{side}_low"], about["files"][f"{side}_high"]) for side in ("width", "height")}
    return facts("subdataset", **about | sides | {"pixel": stated(*about["pixel"])})


def passport(run: Evaluation, model: str) -> pd.DataFrame:
    """Everything that decides whether two models were treated alike; one row a fact, the same on every machine."""
    card, found = find_model(model), run.record["models"][model]
    spec = card.spec.replace(str(PACKAGE), PACKAGE.name)
    return facts("passport", card=card, spec=spec, facts=found, **_treatment(found))


def provenance(run: Evaluation, models: list) -> pd.DataFrame:
    """How the numbers of a page came about; wall-clock times and the commit stand in ``run.json``."""
    found = [(model, run.record["models"][model]) for model in models]
    treated = [(model, one | _treatment(one)) for model, one in found if "images_failed" in one]
    about = {"n_images": len(run.benchmark.pictures), "n_questions": len(run.questions)}
    about["n_wordings"] = run.questions.wording.nunique()
    versions = [(name, run.record["versions"][name]) for name in ("torch", "open_clip_torch", "datasets")]
    return facts("provenance", benchmark=run.benchmark, record=run.record, models=treated, versions=versions, **about)


def _treatment(found: dict) -> dict:
    """How a model treats images, in words and numbers, where it makes pixels of them by a recipe."""
    if found.get("image_processor"):
        recipe = found["image_processor"]
        return {
            "recipe": _resizing(recipe),
            "letters": whole(min(found["letter_tokens"]), max(found["letter_tokens"])),
            **_normalisation(recipe.get("image_mean"), recipe.get("image_std"), recipe.get("do_normalize", True)),
        }
    if "preprocessing" not in found:
        return {"recipe": "not stated", "letters": ""}
    recipe = found["preprocessing"]
    return {"size": image_size(recipe), **_normalisation(recipe["mean"], recipe["std"])}


def _normalisation(mean, std, is_done: bool = True) -> dict:
    """Mean and standard deviation as text."""
    if not is_done or mean is None or std is None:
        return {"mean": [], "std": []}
    return {name: [f"{value:.4g}" for value in np.atleast_1d(of)] for name, of in (("mean", mean), ("std", std))}


SIZES = {  # what an image processor of transformers states, and the switch without which it does nothing
    "size": "do_resize",
    "crop_size": "do_center_crop",
    "max_image_size": "do_image_splitting",
    "min_pixels": None,
    "max_pixels": None,
    "patch_size": None,
    "merge_size": None,
    "max_patches": "crop_to_patches",
}


def _resizing(recipe: dict) -> str:
    """What an image processor of transformers says of sizes, by its own names."""
    stated = (
        [f"resampled {Image.Resampling(recipe['resample']).name.lower()}"]
        if recipe.get("do_resize") and "resample" in recipe
        else []
    )
    for name, switch in SIZES.items():
        value = recipe.get(name)
        if isinstance(value, dict):
            value = ", ".join(f"{side} {n:g}" for side, n in value.items() if n is not None)
        if value not in (None, "") and (switch is None or recipe.get(switch)):
            stated.append(f"{name} {value}")
    return "; ".join(stated) or "not stated"
