"""The book against itself: one contrast has one interval, whichever page, figure or table it stands in.

A contrast is what it is made of: the difference of each question that it is about, and the estimand. What the functions
of comparison return while the pages run is collected under that, and so is what the pages print.
"""

import hashlib
import html
import importlib
import pkgutil
import re

import numpy as np
import pytest
from helpers.pages_in_process import executed, glued
from helpers.samples import as_dataset, random_answers

from ubench_utils.demo.sample import draw_sample
from ubench_utils.pages.runner import sections
from ubench_utils.report import text
from ubench_utils.statistics import families, scores

MODELS = ["random", "demo-base", "demo-pathology", "demo-fluorescence"]
PAGES = {
    "overview": {},
    "leaderboard": {},
    "specialists": {},
    "forgetting": {},
    "interpolation": {"alphas": [0, 0.5, 1]},
    "scale": {"shrink": [4]},
    "modality": {},
    "groups": {},
    "benchmark": {},
    "subdataset": {},
    "replies": {},
    "cognition": {},
}
QUESTION = ["dataset", "image_id", "question", "wording"]
PRINTED = re.compile(r"(?<![\d.])[+−]?\d+\.\d \[[+−]?\d+\.\d, [+−]?\d+\.\d\]")
FINDS_OTHERS = {  # functions whose differences are no contrast of accuracies, by the names of their estimates
    "cross_fit": ("over_base", "over_tuned"),
    "score_rules": ("over",),
    "warnings": ("over",),
    "rate_changes": ("estimate",),
}


class Found:
    """What the functions of comparison said: intervals by contrast, and how each is printed."""

    def __init__(self):
        self.intervals, self.printed = {}, set()

    def note(self, key, where, estimate, low, high):
        self.printed.add(text.points(estimate, low, high))
        kind, values, asked = key
        if values.any() and values[np.flatnonzero(values)[0]] < 0:  # a − b and b − a are one contrast
            values, estimate, low, high = -values, -estimate, -high, -low
        digest = hashlib.sha256(asked + (np.round(values, 6) + 0.0).tobytes()).hexdigest()  # no −0
        self.intervals.setdefault((kind, digest), []).append((where, np.array([estimate, low, high])))

    def disagreements(self):
        """Contrasts with two intervals, each with the places where they stand."""
        return [
            [(where, ends.round(4).tolist()) for where, ends in said]
            for said in self.intervals.values()
            if not all(np.allclose(ends, said[0][1], atol=1e-6, equal_nan=True) for _, ends in said)
        ]


def key_of(answers, weights, estimand):
    """What a contrast is made of; ``answers`` holds the questions that it is about."""
    wide = answers.pivot(index=QUESTION, columns="model", values="correct").reindex(columns=list(weights)).dropna()
    wide = wide.sort_index()
    asked = repr(wide.index.tolist()).encode()
    kind = (estimand, tuple(sorted(np.abs(list(weights.values())))))
    return kind, wide.to_numpy(float) @ np.array(list(weights.values()), float), asked


def of_row(answers, row):
    rows = answers[answers.model.isin([row.reference, row.model]) & (answers.level == row.level)]
    rows = rows[rows.wording == row.wording]
    rows = rows if row.question == "all" else rows[rows.question == row.question]
    return rows if row.by == "all" else rows[rows[row.by] == row.slice]


def recording(found, page):
    """The functions that compare, as they are but for telling ``found``."""

    def table_of(function):
        def compare(answers, pairs, *args, **named):
            table = function(answers, pairs, *args, **named)
            for row in table.itertuples():
                estimand = getattr(row, "estimand", "micro")
                key = key_of(of_row(answers, row), {row.reference: -1, row.model: 1}, estimand)
                where = (page[-1], function.__name__, row.reference, row.model, row.level, row.question, row.slice)
                found.note(key, where, row.estimate, row.ci_low, row.ci_high)
            return table

        return compare

    def contrast(answers, weights, estimand="micro"):
        row = scores_contrast(answers, weights, estimand)
        if row["n_questions"]:
            where = (page[-1], "contrast", *weights)
            found.note(key_of(answers, weights, estimand), where, row["estimate"], row["ci_low"], row["ci_high"])
        return row

    scores_contrast = scores.contrast
    return {
        "compare_pairs": table_of(scores.compare_pairs),
        "compare_cells": table_of(families.compare_cells),
        "contrast": contrast,
    }


def noting(function, names, found):
    """A function that tells ``found`` how its estimates are printed."""

    def told(*args, **named):
        result = function(*args, **named)
        for row in [result] if isinstance(result, dict) else result.to_dict("records"):
            for name in names:
                low, high = ("ci_low", "ci_high") if name == "estimate" else (f"{name}_low", f"{name}_high")
                found.printed.add(text.points(row[name], row[low], row[high]))
        return result

    return told


def replace_everywhere(monkeypatch, replacements):
    """Put functions in the place of those of their names in every file of the package that knows them."""
    for module in list(modules()):  # all are there before the first is changed
        for attribute, function in replacements.items():
            if callable(vars(module).get(attribute)):
                monkeypatch.setattr(module, attribute, function)


def functions_of_studies():
    """The functions of ``FINDS_OTHERS``, wherever they live."""
    return {
        name: next(vars(module)[name] for module in modules() if callable(vars(module).get(name)))
        for name in FINDS_OTHERS
    }


def modules():
    for package in ("statistics", "studies"):
        home = importlib.import_module(f"ubench_utils.{package}")
        for module in pkgutil.iter_modules(home.__path__, f"{home.__name__}."):
            yield importlib.import_module(module.name)


def words(page):
    """All that a page prints: sentences, tables, and the alt texts of figures."""
    outputs = [output for cell in page.cells for output in cell.get("outputs", [])]
    tables = [re.sub("<[^>]*>", " | ", output.get("data", {}).get("text/html", "")) for output in outputs]
    told = [word for output in outputs for word in output.get("metadata", {}).get("ubench", {}).values()]
    return html.unescape(" | ".join([*glued(page).values(), *tables, *told]))


@pytest.fixture
def dataset(tmp_path, cache):
    """A small demo, in which a picture lies in two sub-datasets."""
    from datasets import Image

    rows = list(draw_sample(images_per_set=8).cast_column("image", Image(decode=False)))
    rows.append(rows[0] | {"dataset": rows[-1]["dataset"], "image_id": "copy"})
    as_dataset(rows).to_parquet(tmp_path / "small.parquet")
    return str(tmp_path / "small.parquet")


def test_all_pages_of_a_run_take_part():
    of_run = {place for place in sections().values() if place.startswith("results/")}
    assert {f"results/{section}" for section in PAGES} == of_run


@pytest.mark.slow
def test_a_contrast_has_one_interval_in_the_whole_book(dataset, monkeypatch):
    found, page, unknown, n_printed = Found(), [], {}, 0
    others = {name: noting(function, FINDS_OTHERS[name], found) for name, function in functions_of_studies().items()}
    replace_everywhere(monkeypatch, recording(found, page) | others)
    for section, own in PAGES.items():
        page.append(section)
        found.printed.clear()
        shown = PRINTED.findall(words(executed(section, dataset=dataset, models=MODELS, device="cpu", **own)))
        shown = {one for one in shown if re.search("[+−]", one)}  # a score has no sign
        n_printed += len(shown)
        if strange := shown - found.printed:
            unknown[section] = sorted(strange)
    several = [said for said in found.intervals.values() if len({where[:2] for where, _ in said}) > 1]
    print(f"{n_printed} differences printed, {len(several)} contrasts stand in several places")
    assert n_printed > 100 and len(several) > 20
    assert found.disagreements() == []
    assert unknown == {}, "printed, but no function of comparison found it"


@pytest.mark.slow
def test_ways_to_one_contrast_agree_and_another_interval_is_found():
    """What the pages are held to holds without pages, and the collection sees where it does not."""
    found, answers = Found(), random_answers(seed=3)
    compare = recording(found, ["here"])
    tissue = answers[(answers.scale == "tissue") & (answers.wording == 1) & (answers.level == "fine")]
    compare["compare_pairs"](answers, [("a", "b")], ["scale", "organism"])
    compare["compare_pairs"](answers, [("c", "a"), ("b", "a")], ["organism", "scale"])
    compare["compare_cells"](answers[answers.wording == 1], [("a", "b"), ("a", "c")], ["scale"])
    compare["contrast"](tissue, {"b": 1, "a": -1})
    compare["contrast"](tissue, {"b": 1, "a": -1}, "macro")
    assert found.disagreements() == []
    assert max(len({where[1] for where, _ in said}) for said in found.intervals.values()) == 3
    key = key_of(tissue, {"a": 1, "b": -1}, "micro")
    (_, first), *_ = next(s for s in found.intervals.values() if any(where[1] == "contrast" for where, _ in s))
    found.note(key, ("elsewhere", "by hand"), *(-first[[0, 2, 1]] - [0, 0.01, 0]))
    assert len(found.disagreements()) == 1
