"""What is in a benchmark: its composition, its chance, the length of its texts, and answers that need no image.

Every function takes the images or the questions of a run and returns a table.
"""

import numpy as np
import pandas as pd

from ..data.benchmark import NOT_STATED
from ..data.pixels import DIM, notes
from ..data.questions import HEADLINE_WORDING, LEVELS, NONE_OF_THE_ABOVE, PERCEPTION
from ..evaluation.evaluate import Evaluation
from ..statistics.cells import answered_cells, distinct, draws, estimates, lay_out
from ..statistics.intervals import choose, percentiles, wilson
from ..statistics.resampling import image_weights, numbered
from ..statistics.scores import totals

SHOWN_FACETS = ["modality", "scale", "domain", "stain", "organism"]
LENGTH_RULES = ["longest option", "shortest option", "first option"]
ELIMINATION = "guessing without “none of the above”"
SOURCE_RULES = ["most common answer of the sub-dataset", "most common answer of all images"]


def composition(images: pd.DataFrame) -> pd.DataFrame:
    """Images and sub-datasets of each value of each facet: ``facet, value, images, datasets``, most frequent first."""
    tables = []
    for facet in SHOWN_FACETS:
        table = images.groupby(facet).agg(images=("dataset", "size"), datasets=("dataset", "nunique"))
        table = table.rename_axis("value").reset_index().sort_values(["images", "value"], ascending=[False, True])
        tables.append(table.assign(facet=facet))
    return pd.concat(tables, ignore_index=True)[["facet", "value", "images", "datasets"]]


def crossing(images: pd.DataFrame) -> pd.DataFrame:
    """Images and sub-datasets of every modality at every scale that occur together."""
    table = images.groupby(["modality", "scale"]).agg(images=("dataset", "size"), datasets=("dataset", "nunique"))
    return table.reset_index()


def subdatasets(looked: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """A row a sub-dataset, of ``duplicates.look``: ``images, classes``, facets, pixel, field, chance.

    Returns
    -------
    pandas.DataFrame
        A facet holds its values in a row, or their number where they are more than two; ``pixel_low, pixel_high,
        field_low, field_high`` are in micrometres and NaN where no pixel size is stated; ``chance_LEVEL`` is the mean
        chance of the questions of a level.
    """
    asked = once(questions).assign(chance=lambda table: 1 / table.n_options)
    chance = asked.pivot_table(index="dataset", columns="level", values="chance").add_prefix("chance_")
    rows = []
    for name, images in looked.groupby("dataset"):
        pixel = images.microns_per_pixel.where(images.microns_per_pixel > 0)
        field = (pixel * images.width).where(images.width > 0)
        rows.append(
            {
                "dataset": name,
                "images": len(images),
                "classes": images.label_name.nunique() if images.label_name.notna().any() else np.nan,
                **{facet: _several(images[facet]) for facet in SHOWN_FACETS},
                **_ends("pixel", pixel),
                **_ends("field", field),
            }
        )
    return pd.DataFrame(rows).join(chance, on="dataset")


def pictures(looked: pd.DataFrame) -> pd.DataFrame:
    """How the image files of each sub-dataset are stored, and what of it a score can hang on; of ``duplicates.look``.

    Returns
    -------
    pandas.DataFrame
        A row a sub-dataset: ``images``; ``format`` and ``bits`` per sample, with counts; ``brightest_low,
        brightest_high``: the largest value of an image in percent of its range, over the images; counts of images that
        use less than ``DIM`` of their range (``dim``), are ``transparent`` somewhere, ``turned`` by a tag, beside
        ``copies`` of themselves, or ``unreadable``; ``width_low`` to ``height_high``. NaN where no image opens.
    """
    rows = []
    for name, images in looked.groupby("dataset"):
        row = {"dataset": name, "images": len(images), "unreadable": int((images.unreadable != "").sum())}
        facts = pd.DataFrame([found for found in images.found if found])
        if len(facts):
            row |= {
                "format": _counted(facts.format),
                "bits": _counted(facts.bits),
                "dim": int((facts.high - facts.low < DIM * facts.top).sum()),
                "turned": int((facts.orientation > 1).sum()),
                "transparent": int(facts.transparent.sum()),
                "copies": int((facts.pages > 1).sum()),
                **_ends("brightest", 100 * facts.high / facts.top),
                **_ends("width", facts.width),
                **_ends("height", facts.height),
            }
        rows.append(row)
    columns = ["dataset", "images", "format", "bits", "brightest_low", "brightest_high", "dim", "transparent", "turned"]
    columns += ["copies", "width_low", "width_high", "height_low", "height_high", "unreadable"]
    table = pd.DataFrame(rows, columns=columns)
    return table.fillna({"format": "–", "bits": "–"})


def _ends(name: str, values: pd.Series) -> dict:
    return {f"{name}_low": values.min(), f"{name}_high": values.max()}


def _counted(values: pd.Series) -> str:
    """The values that occur, most frequent first, with their counts where there are several."""
    counts = values.value_counts()
    return str(counts.index[0]) if len(counts) == 1 else ", ".join(f"{value} ({n:,})" for value, n in counts.items())


def _several(values: pd.Series) -> str:
    """The values that occur, or how many they are where they are more than two."""
    found = sorted(set(values))
    return ", ".join(found).replace(" microscopy", "") if len(found) <= 2 else f"{len(found)} values"


def chance(questions: pd.DataFrame) -> pd.DataFrame:
    """Options and chance of each question type, and how often “none of the above” is ``offered`` and ``right``."""
    asked, rows = once(questions), []
    for question in [name for name in LEVELS if name in set(asked.question)]:
        table = asked[asked.question == question]
        offered = np.array([NONE_OF_THE_ABOVE in labels for labels in table.labels])
        right = np.array([labels[at] == NONE_OF_THE_ABOVE for labels, at in _answers(table)])
        rows.append(
            {
                "question": question,
                "level": table.level.iloc[0],
                "images": len(table),
                **_ends("options", table.n_options),
                "chance": (1 / table.n_options).mean(),
                "offered": offered.mean(),
                "right": right.mean(),
            }
        )
    return pd.DataFrame(rows)


def once(questions: pd.DataFrame) -> pd.DataFrame:
    """Each question once: in the headline wording, or in another where it is not asked in that."""
    headline_first = questions.sort_values("wording", key=lambda number: number != HEADLINE_WORDING, kind="stable")
    unique = headline_first.drop_duplicates(["dataset", "image_id", "question"])
    return unique.sort_index().reset_index(drop=True)


def _answers(questions: pd.DataFrame):
    return zip(questions.labels, questions.answer_idx, strict=True)


def shortcuts(questions: pd.DataFrame) -> pd.DataFrame:
    """Scores of rules that look at the options alone, from ``score_rules``, in the headline wording.

    The longest and the shortest option are counted in characters of the text that is scored; "none of the above" is
    left out, as it stands outside the sentence and is easily recognised. Where options tie, each is as likely.
    ``ELIMINATION`` guesses among all options but "none of the above": the rule that the others are to be compared with.
    """
    asked = once(questions)
    hits = []
    for options, labels, at in zip(asked.options, asked.labels, asked.answer_idx, strict=True):
        open_ = [i for i, label in enumerate(labels) if label != NONE_OF_THE_ABOVE] or list(range(len(labels)))
        length = [len(options[i]) for i in open_]
        chosen = [
            [i for i, n in zip(open_, length, strict=True) if n == max(length)],
            [i for i, n in zip(open_, length, strict=True) if n == min(length)],
            open_[:1],
            open_,
        ]
        hits.append([(at in places) / len(places) for places in chosen])
    hits = pd.DataFrame(hits, columns=[*LENGTH_RULES, ELIMINATION])
    return score_rules(asked, hits, hits[ELIMINATION])


def source_shortcuts(questions: pd.DataFrame) -> pd.DataFrame:
    """Scores of giving each image the most common answer of its sub-dataset, or of all images, from ``score_rules``.

    No image is scored by a rule that it set: the images are parted at random, with a fixed seed, into two halves, and
    each half is given the most common answer of the other. Where there is no other half, as for the only image of a
    sub-dataset, nothing is answered, which counts as wrong. Questions of cognition have options of their own, of which
    none is common, so they count only where there are no others.
    """
    questions = once(questions)
    coarse_and_fine = questions.level.isin(PERCEPTION)
    asked = numbered(questions[coarse_and_fine].reset_index(drop=True) if coarse_and_fine.any() else questions)
    order = pd.Series(np.random.default_rng([0, 2]).permutation(asked.image.nunique())[asked.image])
    right = pd.Series([labels[at] for labels, at in _answers(asked)], name="right")
    keys = {SOURCE_RULES[0]: [asked.question, asked.dataset], SOURCE_RULES[1]: [asked.question]}
    hits = {rule: right == _most_common_of_the_other_half(right, order, key) for rule, key in keys.items()}
    scores = score_rules(asked, pd.DataFrame(hits).astype(float), 1 / asked.n_options)
    scores.attrs["alone"] = asked.groupby("dataset").image.nunique().max() < 2
    return scores


def _most_common_of_the_other_half(right: pd.Series, order: pd.Series, key: list) -> np.ndarray:
    """The answer that a row's group has most often in the half without that row; every other in ``order`` is a half."""
    half = order.groupby(key).rank(method="dense") % 2
    common = right.groupby([*key, half]).agg(lambda answers: answers.mode().iloc[0])
    return common.reindex(pd.MultiIndex.from_arrays([*key, 1 - half])).to_numpy()


def score_rules(questions: pd.DataFrame, hits: pd.DataFrame, reference) -> pd.DataFrame:
    """Accuracy of rules, pooled over questions, with 95 % intervals from resampling images (or groups of them).

    Parameters
    ----------
    questions : pandas.DataFrame
        One wording.
    hits : pandas.DataFrame, shape (n_questions, n_rules)
        Probability, 0 to 1, that a rule answers the question right.
    reference : array_like, shape (n_questions,)
        The same of what the rules are compared with, question by question.

    Returns
    -------
    pandas.DataFrame
        ``rule, level, question`` (``all`` where the types of a level are pooled), ``estimate, ci_low, ci_high,
        interval, over, over_low, over_high`` (paired difference from the reference), ``chance, n_questions, n_images``.
    """
    asked = numbered(questions)
    layout, ones = lay_out(asked), np.ones((len(asked), 1), dtype=np.float32)
    values = np.column_stack([hits, hits.to_numpy() - np.asarray(reference)[:, None]]).astype(np.float32)
    point = estimates(layout, values, ones)["micro"]
    guessed = estimates(layout, ones / asked.n_options.to_numpy(np.float32)[:, None], ones)["micro"][:, 0]
    cells, _ = answered_cells(layout, ones)
    drawn = draws(layout, values, ones, image_weights(asked))["micro"]
    low, high = percentiles(drawn, cells.df.to_numpy()[:, None])
    tables = []
    for own, rule in enumerate(hits.columns):
        over = own + hits.shape[1]
        closed = ("wilson", *wilson(point[:, own] * cells.n_even, cells.n_even, df=cells.df))
        difference = choose(low[:, over], high[:, over], n_units=cells.n_even, withheld=cells.alone)
        tables.append(
            cells[["level", "question", "n_questions", "n_images"]].assign(
                rule=rule,
                estimate=point[:, own],
                **choose(low[:, own], high[:, own], closed=closed, withheld=cells.alone),
                over=point[:, over],
                over_low=difference["ci_low"],
                over_high=difference["ci_high"],
                chance=guessed,
            )
        )
    return distinct(pd.concat(tables, ignore_index=True))


def context(run: Evaluation, looked: pd.DataFrame, source: pd.DataFrame, options: pd.DataFrame) -> dict:
    """What the page on the benchmark says of its images and questions.

    ``looked`` is from ``duplicates.look``, ``source`` from ``source_shortcuts``, ``options`` from ``shortcuts``.
    """
    return {**numbers(run), **opened(looked), "by_source": of_source(source), **leaks(options)}


def numbers(run: Evaluation) -> dict:
    """How many questions there are, in how many wordings, and the range of their chance."""
    questions = once(run.questions)
    return {
        "n_modalities": len(set(run.benchmark.images.modality) - {NOT_STATED}),
        "n_questions": len(questions),
        "n_wordings": run.questions.wording.nunique(),
        "chance_low": 1 / questions.n_options.max(),
        "chance_high": 1 / questions.n_options.min(),
    }


def opened(looked: pd.DataFrame) -> dict:
    """Which images could not be opened, and what of the others a reader has to know."""
    names = looked.dataset + "/" + looked.image_id
    return {
        "unread": looked[looked.unreadable != ""].to_dict("records"),
        "picture_notes": notes({name: facts for name, facts in zip(names, looked.found, strict=True) if facts}, {}),
        "n_images": len(looked),
    }


def of_source(source: pd.DataFrame) -> list[dict]:
    """How far the sub-dataset determines the answers, a row a level; none where no sub-dataset has two images."""
    rows = totals(source)
    return [] if source.attrs.get("alone") else rows[rows.rule == SOURCE_RULES[0]].to_dict("records")


def leaks(options: pd.DataFrame) -> dict:
    """Whether the options give the answer away: rules whose difference from ``ELIMINATION`` has an interval above 0."""
    rows = totals(options)
    free, rules = rows[rows.rule == ELIMINATION], rows[rows.rule != ELIMINATION]
    return {
        "lifted": free[free.estimate > free.chance].to_dict("records"),
        "n_rules": len(rules),
        "leaks": rules[rules.over_low > 0].to_dict("records"),
    }


def with_elimination(scores: pd.DataFrame) -> pd.DataFrame:
    """``score_rules`` without the rule ``ELIMINATION``, whose accuracy is a column of that name beside the others."""
    rows = scores[scores.rule != ELIMINATION]
    known = scores[scores.rule == ELIMINATION].set_index(["level", "question"]).estimate.rename(ELIMINATION)
    return rows.join(known, on=["level", "question"]) if len(known) else rows
