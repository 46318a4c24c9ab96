"""Images on the page: the bar is as long as its label says, every image is described, equal runs give equal pages."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.report import cards
from ubench_utils.studies import duplicates

UNITS = {"nm": 1e-3, "µm": 1, "mm": 1e3}


def microns(label):
    number, unit = label.split()
    return float(number) * UNITS[unit]


def parsed(page):
    return BeautifulSoup(page.data, "html.parser")


@pytest.fixture
def run(rows, parquet, cache):
    return evaluate(parquet(rows), ["random"])


def test_a_bar_is_round_and_covers_a_seventh_to_a_third():
    for width in np.geomspace(1e-3, 1e5, 400):
        bar = cards.bar_length(width)
        digit = bar / 10 ** math.floor(math.log10(bar) + 1e-9)
        assert round(digit, 6) in (1, 2, 5) and 0.1399 <= bar / width <= 0.3501
    assert [cards.bar_length(width) for width in (100, 14.3, 14.2)] == [20, 5, 2]


def test_lengths_have_fitting_units():
    said = [cards.length_in_words(length) for length in (0.05, 0.5, 1, 200, 1000, 20000)]
    assert said == ["50 nm", "500 nm", "1 µm", "200 µm", "1 mm", "20 mm"]


@pytest.mark.parametrize("size", [(64, 64), (71, 40), (256, 200), (200, 1024), (143, 30)])
@pytest.mark.parametrize("pixel", [0.004, 0.25, 3.0])
def test_the_drawn_bar_is_as_long_as_its_label(size, pixel):
    image, label = cards.thumbnail(Image.new("RGB", size, (90, 90, 90)), pixel)
    array = np.asarray(image)
    white = (array == 255).all(axis=2)
    drawn = np.flatnonzero(white.any(axis=0))
    per_pixel = pixel * size[0] / image.width
    assert abs(len(drawn) - microns(label) / per_pixel) <= 0.5
    assert white.sum() == 3 * len(drawn) and drawn[-1] < image.width - 2
    outline = (array == 0).all(axis=2)
    assert outline[:, drawn[0] - 1].any() and outline[:, drawn[-1] + 1].any()
    assert max(image.size) <= cards.SIDE and max(image.size) > cards.SIDE / 2


@pytest.mark.parametrize("pixel", [math.nan, 0.0, -1.0, math.inf])
def test_without_a_pixel_size_no_bar(pixel):
    image, label = cards.thumbnail(Image.new("RGB", (64, 64), (90, 90, 90)), pixel)
    assert label == "" and (np.asarray(image) == 90).all()


def test_images_are_chosen_from_different_classes_whatever_the_order(run):
    images = run.benchmark.images
    chosen = cards.choose(images)
    counts = images.groupby("dataset").label_name.nunique().clip(upper=4)
    assert (chosen.groupby("dataset").label_name.nunique() == counts).all() and len(chosen) == 40
    again = cards.choose(images.sample(frac=1, random_state=1))
    assert set(again.image_id) == set(chosen.image_id)


def test_the_contact_sheet_describes_every_image(run):
    looked = duplicates.look(run.benchmark)
    looked.loc[looked.dataset == "demo_colon", "microns_per_pixel"] = math.nan
    sheet, again = (parsed(cards.contact_sheet(run.benchmark, looked)) for _ in range(2))
    assert str(sheet) == str(again)
    heads = [head.get_text() for head in sheet.select("p > strong")]
    assert heads == sorted(set(looked.dataset)) and len(sheet.select("figure img")) == 40
    for name, figures in zip(heads, sheet.select(".contact-sheet"), strict=True):
        for figure in figures.select("figure"):
            alt, caption = figure.img["alt"], figure.figcaption.get_text()
            assert name in alt and re.match(r"An? synthetic \w+ microscopy image", alt) and alt.endswith(".")
            assert ("pixel size not stated" in caption) == (name == "demo_colon") == ("scale bar" not in alt)
    assert len(str(sheet)) < 40 * 12_000  # 92 of these stay below 1.1 MB


def test_an_unreadable_image_is_not_chosen(rows, parquet, cache):
    for row in rows[:3]:
        row["image"] = {"bytes": b"no image", "path": None}
    for row in rows[4:8]:
        row["image"] = None
    run = evaluate(parquet(rows), ["random"])
    looked = duplicates.look(run.benchmark)
    sheet, worked = parsed(cards.contact_sheet(run.benchmark, looked)), parsed(cards.worked_questions(run, looked))
    assert len(sheet.select("img")) == 33 and "No image opens." in sheet.get_text()
    assert len(worked.select("img")) == 6


def test_worked_questions_show_every_type_with_its_answer(run):
    page = parsed(cards.worked_questions(run, duplicates.look(run.benchmark)))
    types = ["domain", "subdomain", "modality", "submodality", "stain", "classification"]
    figures = page.select("figure")
    assert [card.strong.get_text() for card in figures] == types
    for card, question in zip(figures, types, strict=True):
        plain, *captions = card.select("ol")
        answers = [item for item in plain.select("li") if "(the answer)" in item.get_text()]
        assert len(answers) == 1 and len(captions) == 2
        label = answers[0].get_text().removesuffix(" (the answer)")
        rows = run.questions[(run.questions.question == question) & (run.questions.wording == 1)]
        rows = rows[[labels[i] == label for labels, i in zip(rows.labels, rows.answer_idx, strict=True)]]
        shown_options = tuple(item.get_text() for item in captions[1].select("li"))
        assert shown_options in set(rows.options)
        assert f"chance {100 / len(shown_options):.1f} %" in card.get_text()
    assert len({card.img["alt"].split(" image of ")[1].split(",")[0] for card in figures}) == 6  # sub-datasets


def test_words_of_the_data_are_escaped(rows, parquet, cache):
    rows[0]["label_name"] = '<script>"x"</script>'
    run = evaluate(parquet(rows[:4]), ["random"])
    looked = duplicates.look(run.benchmark)
    sheet = parsed(cards.contact_sheet(run.benchmark, looked))
    assert not sheet.select("script") and '<script>"x"</script>' in sheet.get_text()
    assert any('<script>"x"</script>' in image["alt"] for image in sheet.select("img"))


def test_pairs_say_what_they_are(rows, parquet, cache):
    rows[1]["image"] = dict(rows[0]["image"])
    run = evaluate(parquet(rows), ["random"])
    looked = duplicates.look(run.benchmark)
    close = duplicates.closest(duplicates.alike(looked), 2)
    page = parsed(cards.pairs(run.benchmark, looked, close, bits=64, hamming=4))
    first, second = page.select("figure")
    assert len(first.select("img")) == 2 and "0 of 64 bits differ: the same file" in " ".join(first.get_text().split())
    assert "beyond the threshold" in second.get_text()
    none = duplicates.closest(duplicates.alike(looked.head(1)))
    assert "no pair" in parsed(cards.pairs(run.benchmark, looked, none, bits=64, hamming=4)).get_text()


def test_examples_mark_the_answer_and_the_choice(rows, parquet, cache):
    run = evaluate(parquet(rows), ["random", "demo-base"])
    for correct, word in ((True, "Right"), (False, "Wrong")):
        figures = parsed(cards.examples(run, "demo-base", correct)).select("figure")
        assert len(figures) == 4 and {figure.strong.get_text() for figure in figures} == {word}
        for figure in figures:
            marks = [item.get_text(strip=True) for item in figure.select("li > em")]
            assert marks == ["(answer, chosen)"] if correct else set(marks) == {"(answer)", "(chosen)"}
            assert re.search(r"p = \d\.\d\d, demo_", figure.get_text())
            alt = figure.img["alt"]
            kind = r"An? synthetic \w+ microscopy image of demo_\w+"
            assert re.match(kind + r"; the answer is .*, the model chose .*\.$", alt)
            chosen = [item for item in figure.select("li") if "chosen" in item.get_text()][0]
            assert f"the model chose {chosen.contents[0].strip()}" in alt
    missed = parsed(cards.examples(run, "nobody", True)).get_text()
    assert re.sub("<[^>]*>", "", missed).strip() == "No fine-grained question was answered right."


def test_examples_of_change_name_both_models(rows, parquet, cache):
    run = evaluate(parquet(rows), ["demo-base", "demo-pathology"])
    for state in ("forgotten", "learned"):
        page = parsed(cards.examples_of_change(run, "demo-base", "demo-pathology", state))
        for figure in page.select("figure"):
            text = " ".join(figure.get_text().split())
            assert text.startswith(f"{state.capitalize()} by demo-pathology, demo_")
            assert "the base model chose" in figure.img["alt"] and "the fine-tuned model chose" in figure.img["alt"]
            right = "base" if state == "forgotten" else "fine-tuned"
            assert any(f"(answer, {right})" in item.get_text() for item in figure.select("li"))
        assert page.select("figure") or f"was {state}." in page.get_text()


def test_an_article_fits_its_word_and_what_is_not_stated_is_not_said():
    made = cards.environment().get_template("cards/card.html").module
    about = {"synthetic": None, "modality": "electron microscopy", "dataset": "x", "label": None, "bar": ""}
    image = SimpleNamespace(**about, answer=None)
    assert made.alt(image) == "An electron microscopy image of x, no class."
    image.modality, image.bar = None, "2 µm"
    assert made.alt(image) == "A microscopy image of x, no class, scale bar 2 µm."
