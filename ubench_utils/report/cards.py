"""Cards: images of a run on a page, with the words about them; plain HTML from ``templates/cards`` without a script.

Every image is a small JPEG inside the page, described by its alt text, with a scale bar where its pixel size is known.
"""

import base64
import io
import math
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pandas as pd
from IPython.display import HTML
from PIL import Image, ImageDraw

from ..data.benchmark import NOT_STATED, Benchmark
from ..data.pixels import Unreadable, decode
from ..data.questions import HEADLINE_WORDING, LEVELS
from ..evaluation.evaluate import Evaluation
from ..models.generators.protocol import LETTERS, prompt
from ..text import one_line
from .sentences import environment, told

PER_SET = 4  # images of a sub-dataset
MOST_CHECKED = 60  # on a sheet for checking
SIDE = 144  # pixels, long side
QUALITY = 78  # of the JPEG: 92 thumbnails stay below 0.8 MB
SHORT_REPLY, LONGEST_REPLY = 120, 4000  # letters: more of a reply has to be opened, or is left out
LONGEST_BAR = 0.35  # of the width


def bar_length(width: float) -> float:
    """Length of a scale bar, 1, 2 or 5 times a power of ten: the longest that covers at most 35 % of a width.

    It covers 14 % at least. ``width`` is in any unit of length, above 0; the result is in the same.
    """
    power = 10.0 ** math.floor(math.log10(LONGEST_BAR * width))
    return max(step * power for step in (1, 2, 5) if step * power <= LONGEST_BAR * width * (1 + 1e-9))


def length_in_words(microns: float) -> str:
    """A length with its unit: ``500 nm``, ``20 µm``, ``1 mm``."""
    factor, unit = next((f, u) for f, u in ((1e-3, "mm"), (1, "µm"), (1e3, "nm")) if microns * f >= 1 or u == "nm")
    return f"{microns * factor:g} {unit}"


def thumbnail(image: Image.Image, microns_per_pixel: float = math.nan) -> tuple[Image.Image, str]:
    """Shrink an image (enlarge a tiny one by whole pixels), with a scale bar where the pixel size is known.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    microns_per_pixel : float
        Of the full image; NaN, 0 or less where it is not stated.

    Returns
    -------
    image : PIL.Image.Image
    label : str
        Length of the bar, empty without one.
    """
    factor = SIDE / max(image.size)
    if factor >= 2:
        small = image.resize([int(factor) * side for side in image.size], Image.Resampling.NEAREST)
    else:
        small = image.resize([max(1, round(factor * side)) for side in image.size], Image.Resampling.LANCZOS)
    microns = microns_per_pixel * image.width / small.width  # per pixel of the thumbnail
    if not (microns > 0 and math.isfinite(microns)):
        return small, ""
    length = bar_length(microns * small.width)
    pixels = max(1, round(length / microns))
    right, bottom = small.width - 6, small.height - 6
    box = [right - pixels + 1, bottom - 2, right, bottom]  # inclusive
    draw = ImageDraw.Draw(small)
    draw.rectangle([box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2], fill=(0, 0, 0))
    draw.rectangle(box, fill=(255, 255, 255))
    return small, length_in_words(length)


def choose(images: pd.DataFrame) -> pd.DataFrame:
    """A few images of every sub-dataset, of different classes while there are enough; the same whatever the order."""
    ordered = images.sort_values(["dataset", "image_id"])
    drawn = ordered.iloc[np.random.default_rng(0).permutation(len(ordered))]
    turn = drawn.groupby(["dataset", drawn.label_name.fillna("")]).cumcount()
    chosen = drawn.assign(turn=turn).sort_values(["dataset", "turn"], kind="stable").groupby("dataset").head(PER_SET)
    return chosen.sort_values(["dataset", "label_name", "image_id"])


def contact_sheet(benchmark: Benchmark, looked: pd.DataFrame) -> HTML:
    """Some images of every sub-dataset with class and scale bar; ``looked`` is from ``duplicates.look``."""
    chosen = choose(looked[looked.unreadable == ""])
    sets = []
    for name, images in looked.groupby("dataset"):
        stated = [", ".join(sorted(set(images[facet]) - {NOT_STATED})) for facet in ("modality", "stain", "organism")]
        pictures = [picture(benchmark, looked.loc[place], place) for place in chosen.index[chosen.dataset == name]]
        sets.append({"name": name, "stated": [words for words in stated if words], "images": pictures})
    return _page("contact_sheet", sets=sets)


def pairs(benchmark: Benchmark, looked: pd.DataFrame, closest: pd.DataFrame, *, bits: int, hamming: int) -> HTML:
    """The pairs of ``duplicates.closest``; they count as copies where at most ``hamming`` of the ``bits`` differ."""
    found = []
    for pair in closest.itertuples():
        both = [pair.first, pair.second]
        found.append(
            {
                "differ": bits - int(pair.nearest),
                "same_file": looked.image_hash[both].nunique() == 1,
                "images": [picture(benchmark, looked.loc[place], place) for place in both],
            }
        )
    return _page("pairs", pairs=found, bits=bits, hamming=hamming)


def check_sheet(benchmark: Benchmark, questions: pd.DataFrame) -> str:
    """A whole HTML page of pictures, some of every class, each with its questions in words and the right options.

    ``questions`` is from ``build_questions``; pictures that cannot be read are left out.
    """
    images = benchmark.pictures
    turn = images.groupby(["dataset", images.label_name.fillna("")]).cumcount()
    asked = questions[questions.wording == HEADLINE_WORDING].set_index(["dataset", "image_id"]).sort_index()
    shown: list[dict] = []
    for place in turn.sort_values(kind="stable").index:
        row = images.loc[place]
        if len(shown) == MOST_CHECKED or (row.dataset, row.image_id) not in asked.index:
            continue
        with suppress(Unreadable):
            own = asked.loc[[(row.dataset, row.image_id)]].itertuples()
            told = [{"asked": of.asked or of.question, "labels": of.labels, "answer": of.answer_idx} for of in own]
            rendering = None if pd.isna(row.rendering) else row.rendering
            card = {"image": picture(benchmark, row, place), "file": row.image_id, "rendering": rendering}
            shown.append(card | {"questions": told})
    shown.sort(key=lambda one: (one["image"]["dataset"], one["image"]["label"] or "", one["file"]))
    template = environment().get_template("cards/check.html")
    return template.render(name=", ".join(images.dataset.unique()), shown=shown, n_images=len(images))


def worked_questions(run: Evaluation, looked: pd.DataFrame, *, types: Iterable[str] = LEVELS) -> HTML:
    """A question of each of the ``types``: image, question, options in every wording, answer and chance.

    The images, of ``looked`` alone, are drawn with a fixed seed, each from another sub-dataset while there are enough.
    """
    places = {(row.dataset, row.image_id): row.Index for row in looked.itertuples() if row.unreadable == ""}
    rng, found = np.random.default_rng(0), []
    used: set[str] = set()
    names = run.record["dataset"]["wordings"]
    for question in types:
        rows = run.questions[run.questions.question == question]
        of_set: dict[str, list] = {}
        for key in sorted(places.keys() & set(zip(rows.dataset, rows.image_id, strict=True))):
            of_set.setdefault(key[0], []).append(key)
        if not of_set:
            continue
        name = rng.choice(sorted(of_set.keys() - used) or sorted(of_set))
        used.add(name)
        key = of_set[name][rng.integers(len(of_set[name]))]
        same = rows[(rows.dataset == key[0]) & (rows.image_id == key[1])].sort_values("wording")
        first = next(same.sort_values("wording", key=lambda wording: wording != HEADLINE_WORDING).itertuples())
        found.append(
            {
                "image": picture(run.benchmark, looked.loc[places[key]], places[key]),
                "question": question,
                "level": first.level,
                "asked": first.asked,
                "labels": first.labels,
                "answer": first.answer_idx,
                "captions": [(names[row.wording], row.options) for row in same.itertuples()],
            }
        )
    return _page("worked", questions=found)


def examples(run: Evaluation, model: str, correct: bool) -> HTML:
    """Four fine-grained questions that a model got right, or wrong, with most confidence.

    At most one per sub-dataset while there are enough; each card shows the image, the options, the answer and the
    model's choice with its probability.
    """
    rows = _fine(run)
    rows = rows[(rows.model == model) & (rows.correct == correct)]
    found = [
        _example(run, row, {"chosen": row.predicted_idx}, None if pd.isna(row.sure) else row.sure)
        for row in _surest(rows.assign(sure=rows.p_predicted), 4).itertuples()
    ]
    return _page("examples", examples=found, state="right" if correct else "wrong", tuned=None)


def examples_of_change(run: Evaluation, base: str, tuned: str, state: str) -> HTML:
    """Two fine-grained questions that fine-tuning made ``forgotten`` or ``learned``.

    At most one per sub-dataset while there are enough; first those on which the two models were most certain.
    """
    answers, key = _fine(run), ["dataset", "image_id", "question", "wording"]
    before, after = answers[answers.model == base], answers[answers.model == tuned]
    before = before[[*key, "predicted_idx", "correct", "p_predicted"]]
    both = after.merge(before, on=key, suffixes=("", "_base"))
    was_right = state == "forgotten"
    rows = both[(both.correct_base == was_right) & (both.correct != was_right)]
    found = [
        _example(run, row, {"base": row.predicted_idx_base, "fine-tuned": row.predicted_idx}, None)
        for row in _surest(rows.assign(sure=rows.p_predicted * rows.p_predicted_base), 2).itertuples()
    ]
    return _page("examples", examples=found, state=state, tuned=tuned)


def replies(run: Evaluation, rows: pd.DataFrame) -> HTML:
    """What a model replied, ``rows`` of ``replies.examples``: picture, prompt and reply, and what was made of it.

    A long reply is cut, and opens; the prompt of answers made elsewhere is not known.
    """
    images, passports, found = run.benchmark.images, run.record["models"], []
    for row in rows.itertuples():
        place = images.index[(images.dataset == row.dataset) & (images.image_id == row.image_id)][0]
        chosen = row.labels[row.predicted_idx] if row.predicted_idx >= 0 else None
        asked_here = "prompt_digest" in passports[row.model]
        with suppress(Unreadable, OSError):
            shown = picture(run.benchmark, images.loc[place], place) | {"answer": row.right, "choices": [("", chosen)]}
            found.append(
                {
                    "image": shown,
                    "more": _further(run, row, shown),
                    "state": row.state,
                    "question": row.question,
                    "reply": one_line(row.reply)[:LONGEST_REPLY],
                    "right": f"{LETTERS[row.answer_idx]}) {row.right}",
                    "official": bool(row.correct_official),
                    "strict": bool(row.correct),
                    "prompt": prompt(row.asked, row.labels).split("\n") if asked_here else None,
                }
            )
    return _page("replies", replies=found, longest=SHORT_REPLY)


def warnings(found: pd.DataFrame) -> HTML:
    """A list of what a dataset hides, a sentence for each row of ``shortcuts.warnings``."""
    return _page("warnings", sentences=told("shortcuts", found))


def wrong_answers(run: Evaluation, rows: pd.DataFrame) -> HTML:
    """Pictures with wrong answers, of ``subdataset.mistakes``: what was said, the label, and the name of the file."""
    images = run.benchmark.images.reset_index().set_index(["dataset", "image_id"])
    found = []
    for row in rows.itertuples():
        place = images.loc[(row.dataset, row.image_id), "index"]
        with suppress(Unreadable, OSError):
            shown = picture(run.benchmark, run.benchmark.images.loc[place], place)
            found.append(
                {
                    "image": shown | {"answer": row.label, "choices": [("", row.answer)]},
                    "file": row.image_id,
                    "label": row.label,
                    "answer": row.answer,
                    "probability": None if pd.isna(row.p) else row.p,
                    "n_models": row.n_models,
                    "of_models": row.of_models,
                }
            )
    return _page("wrong", wrong=found)


def answered(run: Evaluation, questions: pd.DataFrame, by: str) -> HTML:
    """Questions with their pictures and options, and who chose which; ``by`` is the facet that heads a card.

    ``questions`` are some of ``run.questions``. Pictures that cannot be read are left out, and so is their question.
    """
    found = []
    for row in questions.itertuples():
        given = run.predictions
        given = given[
            (given.dataset == row.dataset) & (given.image_id == row.image_id) & (given.question == row.question)
        ]
        given = given[given.wording == row.wording]
        with suppress(Unreadable, OSError):
            one = _example(run, row, dict(zip(given.model, given.predicted_idx, strict=True)), None)
            more = _further(run, row, one["image"])
            unread = list(given.model[given.predicted_idx < 0])
            found.append(one | {"field": getattr(row, by), "unread": unread, "more": more})
    return _page("answered", questions=found)


def _further(run: Evaluation, row, first: dict) -> list[dict]:
    """The images of a question after its ``first``, as ``picture`` gives them, without bars."""
    at = run.benchmark.images.image_id.eq(row.image_id) & run.benchmark.images.dataset.eq(row.dataset)
    beside = run.benchmark.further_bytes(int(at.to_numpy().argmax()))
    return [first | {"uri": _uri(thumbnail(decode(encoded))[0]), "bar": None} for encoded in beside]


def _fine(run: Evaluation) -> pd.DataFrame:
    """The answers to fine-grained questions in the headline wording."""
    return run.answers[(run.answers.level == "fine") & (run.answers.wording == HEADLINE_WORDING)]


def _surest(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """The first rows by ``sure``, of different sub-datasets while there are enough."""
    rows = rows.sort_values(["sure", "image_id"], ascending=[False, True])
    return rows.assign(turn=rows.groupby("dataset").cumcount()).sort_values("turn", kind="stable").head(n)


def _example(run: Evaluation, row, choices: dict, probability: float | None) -> dict:
    """What a card says of one answered question; ``choices`` holds the place of each model's option, -1 for none."""
    images = run.benchmark.images
    place = images.index[(images.dataset == row.dataset) & (images.image_id == row.image_id)][0]
    shown = picture(run.benchmark, images.loc[place], place)
    marks = {"answer": row.answer_idx} | choices
    chosen = [("" if who == "chosen" else who, row.labels[at] if at >= 0 else None) for who, at in choices.items()]
    return {
        "image": shown | {"answer": row.labels[row.answer_idx], "choices": chosen},
        "asked": row.asked or "",
        "probability": probability,
        "unnamed": choices.get("chosen", 0) < 0,
        "options": [
            (label, [mark for mark, at in marks.items() if at == index]) for index, label in enumerate(row.labels)
        ],
    }


def picture(benchmark: Benchmark, row, place: int) -> dict:
    """An image as a data URI, with what its alt text is made of; None stands for what is not stated."""
    small, bar = thumbnail(decode(benchmark.image_bytes(place)), row.microns_per_pixel)
    facets = {facet: None if row[facet] == NOT_STATED else row[facet] for facet in ("synthetic", "modality")}
    return {
        "uri": _uri(small),
        "bar": bar,
        "dataset": row.dataset,
        "label": None if pd.isna(row.label_name) else str(row.label_name),
        **facets,
    }


def _uri(small: Image.Image) -> str:
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _page(name: str, **context) -> HTML:
    return HTML(environment().get_template(f"cards/{name}.html").render(context))
