"""Images on a page: thumbnails with a scale bar, a contact sheet, pairs of near copies, and worked questions.

Plain HTML without script; every image is a small JPEG inside the page, described by its alt text.
"""

import base64
import html
import io
import math
import re

import numpy as np
import pandas as pd
from IPython.display import HTML, display
from PIL import Image, ImageDraw

from ..data.benchmark import NOT_STATED, Benchmark, decode
from ..data.questions import HEADLINE_WORDING
from ..evaluation.evaluate import Evaluation
from ..studies.benchmark import by_question
from ..studies.duplicates import BITS
from .tables import percent

SIDE = 144  # pixels, long side
QUALITY = 78  # of the JPEG: 92 thumbnails stay below 0.8 MB
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


def thumbnail(image: Image.Image, microns_per_pixel: float = math.nan) -> tuple[Image.Image, str, int]:
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
    pixels : int
        Length of the bar in pixels of the thumbnail, 0 without one.
    """
    factor = SIDE / max(image.size)
    if factor >= 2:
        small = image.resize([int(factor) * side for side in image.size], Image.Resampling.NEAREST)
    else:
        small = image.resize([max(1, round(factor * side)) for side in image.size], Image.Resampling.LANCZOS)
    microns = microns_per_pixel * image.width / small.width  # per pixel of the thumbnail
    if not (microns > 0 and math.isfinite(microns)):
        return small, "", 0
    length = bar_length(microns * small.width)
    pixels = max(1, round(length / microns))
    right, bottom = small.width - 6, small.height - 6
    box = [right - pixels + 1, bottom - 2, right, bottom]  # inclusive
    draw = ImageDraw.Draw(small)
    draw.rectangle([box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2], fill=(0, 0, 0))
    draw.rectangle(box, fill=(255, 255, 255))
    return small, length_in_words(length), pixels


def choose(images: pd.DataFrame, per_set: int = 4, seed: int = 0) -> pd.DataFrame:
    """A few images of every sub-dataset, of different classes while there are enough; the same whatever the order."""
    ordered = images.sort_values(["dataset", "image_id"])
    drawn = ordered.iloc[np.random.default_rng(seed).permutation(len(ordered))]
    turn = drawn.groupby(["dataset", drawn.label_name.fillna("")]).cumcount()
    chosen = drawn.assign(turn=turn).sort_values(["dataset", "turn"], kind="stable").groupby("dataset").head(per_set)
    return chosen.sort_values(["dataset", "label_name", "image_id"])


def contact_sheet(benchmark: Benchmark, looked: pd.DataFrame, per_set: int = 4, seed: int = 0) -> None:
    """Display some images of every sub-dataset with class and scale bar; ``looked`` is from ``duplicates.look``."""
    chosen = choose(looked[looked.unreadable == ""], per_set, seed)
    parts = []
    for name, images in looked.groupby("dataset"):
        stated = [", ".join(sorted(set(images[facet]) - {NOT_STATED})) for facet in ("modality", "stain", "organism")]
        figures = []
        for place in chosen.index[chosen.dataset == name]:
            tag, bar = _image(benchmark, looked, place)
            words = f"{_breaking(_class_of(looked.loc[place]))}<br>{bar or 'pixel size not stated'}"
            figures.append(_figure([tag], words))
        parts.append(f"<p><strong>{html.escape(name)}</strong>: {html.escape('; '.join(filter(None, stated)))}</p>")
        parts.append(f'<div class="example-cards contact-sheet">{"".join(figures) or "No image opens."}</div>')
    display(HTML("".join(parts)))


def pairs(benchmark: Benchmark, looked: pd.DataFrame, closest: pd.DataFrame, hamming: int) -> None:
    """Display the pairs of ``duplicates.closest``, and whether they count as copies at ``hamming`` bits."""
    figures = []
    for pair in closest.itertuples():
        one, other = looked.loc[pair.first], looked.loc[pair.second]
        bits = BITS - int(pair.nearest)
        verdict = "counts as a near-duplicate" if bits <= hamming else "beyond the threshold"
        verdict = "the same file" if one.image_hash == other.image_hash else verdict
        words = [f"<strong>{bits} of {BITS} bits differ</strong>: {verdict}"]
        words += [_breaking(f"{row.dataset}, {_class_of(row)}") for row in (one, other)]
        tags = [_image(benchmark, looked, place)[0] for place in (pair.first, pair.second)]
        figures.append(_figure(tags, "<br>".join(words), "pair"))
    display(HTML(f'<div class="example-cards">{"".join(figures)}</div>' if figures else "<p>There is no pair.</p>"))


def worked_questions(run: Evaluation, looked: pd.DataFrame, seed: int = 0) -> None:
    """Display a question of each type: image, question, options in every wording, answer and chance.

    The images are drawn with a fixed seed, each from another sub-dataset while there are enough.
    """
    places = {(row.dataset, row.image_id): row.Index for row in looked.itertuples() if row.unreadable == ""}
    rng, used, figures = np.random.default_rng(seed), set(), []
    for _, rows in by_question(run.questions):
        of_set = {}
        for key in sorted(places.keys() & set(zip(rows.dataset, rows.image_id, strict=True))):
            of_set.setdefault(key[0], []).append(key)
        if not of_set:
            continue
        name = rng.choice(sorted(of_set.keys() - used) or sorted(of_set))
        used.add(name)
        key = of_set[name][rng.integers(len(of_set[name]))]
        same = rows[(rows.dataset == key[0]) & (rows.image_id == key[1])].sort_values("wording")
        words = _question_in_words(same, run.record["dataset"]["wordings"])
        figures.append(_figure([_image(run.benchmark, looked, places[key])[0]], words, "worked"))
    display(HTML(f'<div class="example-cards worked">{"".join(figures)}</div>'))


def _question_in_words(wordings: pd.DataFrame, names: dict) -> str:
    """One question of one image as HTML; ``wordings`` has a row a wording."""
    row = next(wordings.sort_values("wording", key=lambda wording: wording != HEADLINE_WORDING).itertuples())
    items = [
        f"<li>{html.escape(label)}{' <strong>(the answer)</strong>' if at == row.answer_idx else ''}</li>"
        for at, label in enumerate(row.labels)
    ]
    captions = [
        f"<p>Captions, wording {html.escape(names[other.wording])}:</p><ol>"
        + "".join(f"<li>{html.escape(option)}</li>" for option in other.options)
        + "</ol>"
        for other in wordings.itertuples()
    ]
    return (
        f"<strong>{html.escape(row.question)}</strong> ({html.escape(row.level)}), {html.escape(row.dataset)}, chance "
        f"{percent(1 / row.n_options)} %<br>{html.escape(row.asked or 'The question in words is not stated.')}"
        f"<ol>{''.join(items)}</ol><details><summary>What a contrastive model compares the image with</summary>"
        f"{''.join(captions)}</details>"
    )


def _image(benchmark: Benchmark, looked: pd.DataFrame, place: int) -> tuple[str, str]:
    """An image as an ``<img>``, and what its scale bar shows: empty without one."""
    row = looked.loc[place]
    small, label, _ = thumbnail(decode(benchmark.image_bytes(place)), row.microns_per_pixel)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    bar = f"bar {label}" if label else ""
    kind = "" if row.synthetic == NOT_STATED else f"{row.synthetic} "
    modality = "microscopy" if row.modality == NOT_STATED else row.modality
    alt = f"A {kind}{modality} image of {row.dataset}, {_class_of(row)}{f', scale {bar}' if bar else ''}."
    alt = re.sub("^A (?=[aeiou])", "An ", alt)
    uri = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{uri}" alt="{html.escape(alt, quote=True)}">', bar


def _class_of(row) -> str:
    return "no class" if pd.isna(row.label_name) else str(row.label_name)


def _breaking(words: str) -> str:
    """Words as HTML; a long name may break after an underscore."""
    return html.escape(words).replace("_", "_<wbr>")


def _figure(tags: list, words: str, kind: str = "") -> str:
    """A card of images and of words that are HTML already."""
    return f'<figure class="example-card {kind}">{"".join(tags)}<figcaption>{words}</figcaption></figure>'
