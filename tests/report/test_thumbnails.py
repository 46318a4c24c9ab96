"""Images on the page: the bar is as long as its label says, every image is described, equal runs give equal pages."""

import math
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import thumbnails
from ubench_utils.studies import duplicates

UNITS = {"nm": 1e-3, "µm": 1, "mm": 1e3}


def microns(label):
    number, unit = label.split()
    return float(number) * UNITS[unit]


@pytest.fixture
def shown(monkeypatch):
    """Collect what is displayed, parsed."""
    sent = []
    monkeypatch.setattr(thumbnails, "display", lambda page: sent.append(BeautifulSoup(page.data, "html.parser")))
    return sent


@pytest.fixture
def run(rows, parquet, cache):
    return evaluate(parquet(rows), ["random"])


def test_a_bar_is_round_and_covers_a_seventh_to_a_third():
    for width in np.geomspace(1e-3, 1e5, 400):
        bar = thumbnails.bar_length(width)
        digit = bar / 10 ** math.floor(math.log10(bar) + 1e-9)
        assert round(digit, 6) in (1, 2, 5) and 0.1399 <= bar / width <= 0.3501
    assert [thumbnails.bar_length(width) for width in (100, 14.3, 14.2)] == [20, 5, 2]


def test_lengths_have_fitting_units():
    said = [thumbnails.length_in_words(length) for length in (0.05, 0.5, 1, 200, 1000, 20000)]
    assert said == ["50 nm", "500 nm", "1 µm", "200 µm", "1 mm", "20 mm"]


@pytest.mark.parametrize("size", [(64, 64), (71, 40), (256, 200), (200, 1024), (143, 30)])
@pytest.mark.parametrize("pixel", [0.004, 0.25, 3.0])
def test_the_drawn_bar_is_as_long_as_its_label(size, pixel):
    image, label, pixels = thumbnails.thumbnail(Image.new("RGB", size, (90, 90, 90)), pixel)
    per_pixel = pixel * size[0] / image.width
    assert abs(pixels - microns(label) / per_pixel) <= 0.5
    array = np.asarray(image)
    white = (array == 255).all(axis=2)
    drawn = np.flatnonzero(white.any(axis=0))
    assert len(drawn) == pixels and white.sum() == 3 * pixels and drawn[-1] < image.width - 2
    outline = (array == 0).all(axis=2)
    assert outline[:, drawn[0] - 1].any() and outline[:, drawn[-1] + 1].any()
    assert max(image.size) <= thumbnails.SIDE and max(image.size) > thumbnails.SIDE / 2


@pytest.mark.parametrize("pixel", [math.nan, 0.0, -1.0, math.inf])
def test_without_a_pixel_size_no_bar(pixel):
    image, label, pixels = thumbnails.thumbnail(Image.new("RGB", (64, 64), (90, 90, 90)), pixel)
    assert (label, pixels) == ("", 0) and (np.asarray(image) == 90).all()


def test_images_are_chosen_from_different_classes_whatever_the_order(run):
    images = run.benchmark.images
    chosen = thumbnails.choose(images, per_set=3)
    counts = images.groupby("dataset").label_name.nunique().clip(upper=3)
    assert (chosen.groupby("dataset").label_name.nunique() == counts).all() and len(chosen) == 30
    again = thumbnails.choose(images.sample(frac=1, random_state=1), per_set=3)
    assert set(again.image_id) == set(chosen.image_id)
    assert set(thumbnails.choose(images, 3, seed=1).image_id) != set(chosen.image_id)


def test_the_contact_sheet_describes_every_image(run, shown):
    looked = duplicates.look(run.benchmark)
    looked.loc[looked.dataset == "demo_colon", "microns_per_pixel"] = math.nan
    for _ in range(2):
        thumbnails.contact_sheet(run.benchmark, looked, per_set=2)
    sheet = shown[0]
    assert str(sheet) == str(shown[1])
    heads = [head.get_text() for head in sheet.select("p > strong")]
    assert heads == sorted(set(looked.dataset)) and len(sheet.select("figure img")) == 20
    for name, cards in zip(heads, sheet.select(".contact-sheet"), strict=True):
        for figure in cards.select("figure"):
            alt, caption = figure.img["alt"], figure.figcaption.get_text()
            assert name in alt and re.match(r"An? synthetic \w+ microscopy image", alt) and alt.endswith(".")
            assert ("pixel size not stated" in caption) == (name == "demo_colon") == ("scale bar" not in alt)
    assert len(str(sheet)) < 20 * 12_000  # 92 of these stay below 1.1 MB


def test_an_unreadable_image_is_not_chosen(rows, parquet, cache, shown):
    for row in rows[:3]:
        row["image"] = {"bytes": b"no image", "path": None}
    for row in rows[4:8]:
        row["image"] = None
    run = evaluate(parquet(rows), ["random"])
    looked = duplicates.look(run.benchmark)
    thumbnails.contact_sheet(run.benchmark, looked)
    thumbnails.worked_questions(run, looked)
    assert len(shown[0].select("img")) == 33 and "No image opens." in shown[0].get_text()
    assert len(shown[1].select("img")) == 6


def test_worked_questions_show_every_type_with_its_answer(run, shown):
    thumbnails.worked_questions(run, duplicates.look(run.benchmark))
    types = ["domain", "subdomain", "modality", "submodality", "stain", "classification"]
    cards = shown[0].select("figure")
    assert [card.strong.get_text() for card in cards] == types
    for card, question in zip(cards, types, strict=True):
        plain, *captions = card.select("ol")
        answers = [item for item in plain.select("li") if "(the answer)" in item.get_text()]
        assert len(answers) == 1 and len(captions) == 2
        label = answers[0].get_text().removesuffix(" (the answer)")
        rows = run.questions[(run.questions.question == question) & (run.questions.wording == 1)]
        rows = rows[[labels[i] == label for labels, i in zip(rows.labels, rows.answer_idx, strict=True)]]
        shown_options = tuple(item.get_text() for item in captions[1].select("li"))
        assert shown_options in set(rows.options)
        assert f"chance {100 / len(shown_options):.1f} %" in card.get_text()
    assert len({card.img["alt"].split(" image of ")[1].split(",")[0] for card in cards}) == 6  # sub-datasets


def test_words_of_the_data_are_escaped(rows, parquet, cache, shown):
    rows[0]["label_name"] = '<script>"x"</script>'
    run = evaluate(parquet(rows[:4]), ["random"])
    thumbnails.contact_sheet(run.benchmark, duplicates.look(run.benchmark))
    assert not shown[0].select("script") and '<script>"x"</script>' in shown[0].get_text()
    assert any('<script>"x"</script>' in image["alt"] for image in shown[0].select("img"))


def test_pairs_say_what_they_are(rows, parquet, cache, shown):
    rows[1]["image"] = dict(rows[0]["image"])
    run = evaluate(parquet(rows), ["random"])
    looked = duplicates.look(run.benchmark)
    thumbnails.pairs(run.benchmark, looked, duplicates.closest(duplicates.alike(looked), 2), 4)
    first, second = shown[0].select("figure")
    assert len(first.select("img")) == 2 and "0 of 64 bits differ: the same file" in first.get_text()
    assert "beyond the threshold" in second.get_text()
    thumbnails.pairs(run.benchmark, looked, duplicates.closest(duplicates.alike(looked.head(1))), 4)
    assert "no pair" in shown[1].get_text()
