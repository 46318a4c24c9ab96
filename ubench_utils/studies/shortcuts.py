"""What a dataset hides: ways to a good score without a look at what the pictures show, found before any model is run.

Copies, classes and specimens that cannot be told apart, questions with one answer, options that give the answer away,
and rules that look at what should not matter: size, file, brightness, colour, border.
"""

import re

import numpy as np
import pandas as pd
from PIL import Image

from ..data.benchmark import Benchmark
from ..statistics.held_out import LEVEL, beyond_chance
from ..statistics.intervals import CONFIDENCE, quantile
from ..statistics.resampling import numbered
from . import benchmark as explore
from . import duplicates

FEW = 10  # pictures of a class, or groups of them
LEAST_UNITS = 8  # of a sub-dataset whose halves are to tell anything
WARNINGS = ["kind", "dataset", "rule", "n", "of", "found", "estimate", "reference", "by_chance", "p"]
WARNINGS += ["over", "over_low", "over_high", "n_rules"]
LOOKS = ["brightness", "colour", "border", "extremes"]  # which may be what distinguishes the classes
BORDER = 0.05  # of the shorter side
ALIKE = 0.95  # correlation of thumbnails; compressed or halved copies have more, other cells of one kind at most 0.94
SERIES = re.compile(r"(.*\d.*?)[ _.-]+[^\d_.-]*\d+$")  # a name with a number of its own before the running one
OF_A_VALUE = 10  # pictures, from which on a size is a value by itself, and no measure
LEAST_SERIES, MOST_OTHERS = 3, 0.2


def warnings(benchmark: Benchmark, questions: pd.DataFrame) -> pd.DataFrame:
    """What a reader has to know of a dataset before the first score; opens every picture once.

    Parameters
    ----------
    benchmark : Benchmark
    questions : pandas.DataFrame
        As from ``build_questions``.

    Returns
    -------
    pandas.DataFrame
        A row a warning; none where nothing was found. ``kind`` names the sentence (a heading of
        ``report/templates/sentences/shortcuts.md``), ``dataset`` the sub-dataset, or nothing where it is of all;
        ``n`` of ``of``, and ``found``: what it is about, a list of dicts. Kinds:

        - ``torn``: pictures with two labels; ``copies``: files that are copies; ``apart``: of pictures in two groups;
          ``near``: pictures nearly like one of another group (or of none), which are drawn apart.
        - ``alone``: all pictures are of one group; ``confounded``: every group holds one class; ``series``: names
          suggest groups, and none are stated.
        - ``few``: classes of fewer than ``FEW`` pictures; ``few_groups``: of fewer than ``FEW`` groups.
        - ``constant``: questions that have one right answer; ``leak``: a ``rule`` on the options alone, ``over`` those
          that guess among them (interval for all ``n_rules`` together).
        - ``size, pixel_size, file, looks``: a rule that looks at nothing else names the class of pictures that it has
          not seen: ``estimate`` beside ``reference``, always saying the most frequent class, and ``by_chance``, what
          it reaches at most where classes are shuffled; ``p`` of all ``n_rules`` rules together. ``rule`` of the looks
          is the best of ``LOOKS``, ``found`` the others that tell classes apart.

    Notes
    -----
    Rules are those of ``statistics.held_out``, learned on one half of the groups and asked about the other. Where
    labels are shuffled, 5 % of datasets get a warning of a rule (a test simulates it).
    """
    looked = numbered(duplicates.look(benchmark, _measured))
    parts = list(looked.groupby("dataset", sort=True))
    tables = [_copies(looked), *(_groups(name, images) for name, images in parts), _constant(questions)]
    tables += [_telling(_rules(parts)), _leaking(_leaks(questions))]
    rows = [dict.fromkeys(WARNINGS) | row for table in tables for row in table]
    return pd.DataFrame(rows, columns=WARNINGS, dtype=object)


def _measured(image: Image.Image) -> dict:
    """Mean, border and extremes of an RGB image, each of 0 to 1, and its standardised thumbnail in grey."""
    pixels = np.asarray(image)
    small = np.asarray(image.convert("L").resize((duplicates.SIDE,) * 2, Image.Resampling.BOX), np.float32).ravel()
    small -= small.mean()
    width = max(1, round(BORDER * min(pixels.shape[:2])))
    edges = [pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:]]
    return {
        "mean": pixels.mean(axis=(0, 1)) / 255,
        "border": np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0) / 255,
        "extremes": np.array([(pixels == end).all(axis=2).mean() for end in (0, 255)]),
        "small": small / max(float(np.linalg.norm(small)), 1e-6),
    }


# ------------------------------------------------------------------------------------------------ copies, groups


def _copies(looked: pd.DataFrame) -> list[dict]:
    """Copies, and pictures that are nearly copies of one that is drawn apart from them."""
    rows = []
    for kind, column in (("torn", "label_name"), ("apart", "group")):
        one = ["dataset", "content"]
        several = looked[looked.groupby(one, observed=True)[column].transform("nunique") > 1]
        if len(several):
            pair = several[(several[one] == several[one].iloc[0]).all(axis=1)].drop_duplicates(column)[:2]
            rows.append({"kind": kind, "n": len(several.drop_duplicates(one)), "found": _named(pair)})
    again = looked[looked.duplicated("content", keep=False)]
    if len(again):
        rows.append({"kind": "copies", "n": len(again), "of": again.content.nunique(), "found": _named(again[:2])})
    once = looked[looked.unreadable == ""].drop_duplicates("content")
    close, near = _near(once)
    if near.any():
        first = near.any(axis=1).argmax()
        pair = close.iloc[[first, near[first].argmax()]]
        rows.append({"kind": "near", "n": int(near.any(axis=1).sum()), "of": len(once), "found": _named(pair)})
    return rows


def _near(images: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Pictures, and which of them look alike by thumbnail and by hash and are drawn apart: boolean, shape (n, n).

    Thumbnails alone would call two empty fields alike that were lit unevenly, hashes alone two cells of one shape.
    """
    small = np.stack([np.zeros(duplicates.SIDE**2, np.float32), *(of["small"] for of in images.measured)])[1:]
    at = np.flatnonzero(duplicates.neighbours(small, images.image, ALIKE).pairs_across > 0)
    signs = 2.0 * np.stack([np.zeros(duplicates.BITS, bool), *images.phash.iloc[at]])[1:] - 1
    units = images.image.to_numpy()[at]
    equal = signs @ signs.T >= duplicates.BITS - 2 * duplicates.HAMMING
    return images.iloc[at], equal & (small[at] @ small[at].T >= ALIKE) & (units[:, None] != units)


def _named(images: pd.DataFrame) -> list[dict]:
    columns = {"image_id": "name", "label_name": "label", "group": "group"}
    return images[list(columns)].rename(columns=columns).to_dict("records")


def _groups(name: str, images: pd.DataFrame) -> list[dict]:
    """What of classes and groups a score of a sub-dataset hangs on."""
    rows = []
    classes = images.groupby("label_name").agg(n=("image", "size"), units=("image", "nunique"))
    few = classes[classes.n < FEW]
    if len(few):
        found = [{"name": label, "n": int(n)} for label, n in few.n.items()]
        rows.append({"kind": "few", "dataset": name, "n": len(few), "of": FEW, "found": found})
    stated = images[images.group.notna()]
    groups = stated.groupby("group").label_name.agg(["size", "nunique"])
    if groups["size"].max() > 1 if len(groups) else False:
        few = classes[(classes.units < FEW) & (classes.n >= FEW)]
        found = [{"name": label, "n": int(n)} for label, n in few.units.items()]
        if images.image.nunique() == 1:
            rows.append({"kind": "alone", "dataset": name, "n": len(images)})
        elif len(few):
            rows.append({"kind": "few_groups", "dataset": name, "n": len(few), "of": FEW, "found": found})
        if (groups["nunique"] == 1).all() and len(classes) > 1:
            found = [{"name": label, "n": int(n)} for label, n in stated.groupby("label_name").group.nunique().items()]
            rows.append({"kind": "confounded", "dataset": name, "n": len(groups), "of": len(stated), "found": found})
    elif not len(stated):
        rows += _series(name, images)
    return rows


def _series(name: str, images: pd.DataFrame) -> list[dict]:
    """Whether file names count pictures within numbered series, as those of one specimen, day or field often are."""
    stems = images.image_id.str.replace(r"\.\w{1,5}$", "", regex=True)
    series = stems.str.extract(SERIES)[0]
    counts = series.value_counts()
    known = series.notna().mean() >= 1 - MOST_OTHERS
    if known and len(counts) >= LEAST_SERIES and counts.median() > 1 and len(counts) > images.label_name.nunique():
        found = [{"name": prefix, "n": int(n)} for prefix, n in counts.sort_index()[:2].items()]
        return [{"kind": "series", "dataset": name, "n": len(counts), "of": int(counts.sum()), "found": found}]
    return []


# --------------------------------------------------------------------------------------------- questions, options


def _constant(questions: pd.DataFrame) -> list[dict]:
    """Types of question whose right answer is the same for all of several pictures."""
    asked = explore.once(questions)
    asked = asked.assign(right=[labels[at] for labels, at in zip(asked.labels, asked.answer_idx, strict=True)])
    answers = asked.groupby("question", sort=False).right.agg(["first", "size", "nunique"])
    same = answers[(answers["nunique"] == 1) & (answers["size"] > 1)]
    found = [{"name": question, "label": answer} for question, answer in same["first"].items()]
    return [{"kind": "constant", "n": len(same), "of": len(answers), "found": found}] if found else []


def _leaks(questions: pd.DataFrame) -> pd.DataFrame:
    """Rules on the options alone, by level (see ``explore.shortcuts``), and always giving the most ``common`` answer.

    Of questions with one answer any rule may be right, and that they have one is said elsewhere.
    """
    alike = [one["name"] for row in _constant(questions) for one in row["found"]]
    questions = questions[~questions.question.isin(alike)]
    if questions.empty:
        return pd.DataFrame(columns=WARNINGS)
    rows, common = (explore.totals(rules(questions)) for rules in (explore.shortcuts, explore.source_shortcuts))
    common = common[common.rule == explore.SOURCE_RULES[1]].set_index("level").estimate
    return rows[rows.rule != explore.ELIMINATION].assign(common=lambda rows: rows.level.map(common))


def _leaking(rules: pd.DataFrame) -> list[dict]:
    """Those that beat guessing among the options, and the most common answer; intervals hold for all rules together."""
    if rules.empty:
        return []
    widened = quantile(1 - (1 - CONFIDENCE) / len(rules)) / quantile()
    low, high = (rules.over + (rules[f"over_{end}"] - rules.over) * widened for end in ("low", "high"))
    rules = rules.assign(kind="leak", over_low=low, over_high=high, reference=rules.estimate - rules.over)
    rules = rules.assign(of=rules.level, n=rules.n_questions, n_rules=len(rules))
    found = rules[(low > 0) & (rules.estimate > rules.common)]
    return found[found.columns.intersection(WARNINGS)].to_dict("records")


# ------------------------------------------------------------------------------------------------- pictures


def _rules(parts: list) -> pd.DataFrame:
    """Each rule on each sub-dataset, as from ``beyond_chance``; ``p`` is of the rules of all sub-datasets."""
    told = [(name, images[(images.unreadable == "") & images.label_name.notna()]) for name, images in parts]
    told = [(name, of) for name, of in told if of.label_name.nunique() > 1 and of.image.nunique() >= LEAST_UNITS]
    tables = [pd.DataFrame(columns=WARNINGS)]
    for name, images in told:
        looks = {rule: of for rule, of in _looks(images).items() if len(np.unique(of, axis=0)) > 1}
        tables.append(beyond_chance(looks, images.label_name, images.image, n_sets=len(told)).assign(dataset=name))
    rules = pd.concat(tables[1:] or tables, ignore_index=True)
    return rules.assign(n_rules=len(rules))


def _telling(rules: pd.DataFrame) -> list[dict]:
    """Warnings of rules that tell classes apart; those on ``LOOKS`` are one warning a sub-dataset, by the best."""
    found = rules[(rules.p <= LEVEL) & (rules.estimate > rules.reference)]
    rows = found[~found.rule.isin(LOOKS)].assign(kind=lambda rows: rows.rule).to_dict("records")
    for _, own in found[found.rule.isin(LOOKS)].groupby("dataset"):
        best, *others = own.sort_values("estimate", ascending=False, kind="stable").to_dict("records")
        named = [{"name": row["rule"], "estimate": row["estimate"]} for row in others]
        rows.append(best | {"kind": "looks", "found": named})
    return rows


def _looks(images: pd.DataFrame) -> dict[str, np.ndarray]:
    """What each rule looks at, as ``beyond_chance`` takes it."""
    measured = pd.DataFrame(list(images.measured))
    mean, border, extremes = (np.stack(list(measured[of])) for of in ("mean", "border", "extremes"))
    grey = mean.mean(axis=1, keepdims=True)
    facts = pd.DataFrame(list(images.found))[["format", "mode", "bits", "transparent", "orientation"]]
    sizes = images[["width", "height"]].astype(float)
    return {
        "size": _values(np.log(sizes).to_numpy()),
        "pixel_size": _values(np.log(images[["microns_per_pixel"]].astype(float)).fillna(0).to_numpy()),
        "file": _numbers(facts.assign(rendering=images.rendering.fillna("").to_numpy())),
        "brightness": grey,
        "colour": mean[:, ::2] - grey,
        "border": border,
        "extremes": extremes,
    }


def _values(measures: np.ndarray) -> np.ndarray:
    """Measures as numbers of their values where these are few, else as they are."""
    numbers = _numbers(pd.DataFrame(measures))
    return numbers if (numbers.max() + 1) * OF_A_VALUE <= len(numbers) else measures


def _numbers(table: pd.DataFrame) -> np.ndarray:
    return table.groupby(list(table.columns), sort=True, dropna=False).ngroup().to_numpy()
