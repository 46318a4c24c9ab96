"""`ubench report`: one page on somebody's pictures that holds all it needs, whole or not at all."""

import base64
import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from helpers.refusals import fails
from helpers.site import CHROMIUM
from PIL import Image

from ubench_utils.cli import main
from ubench_utils.pages import runner, single
from ubench_utils.statistics import scores as stats

CLASSES = ["<b>bold</b> {{ 7 * 7 }}", "Zellkern – 細胞核 --x $a$", "n" * 90, r"back\slash `code` *star* [link](x)"]
FILES = {"index.html", "wrong.csv", "predictions.parquet", "scores.csv", "failures.csv", "run.json"}


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a cache of its own, and in it `cells.parquet` of 16 TIFFs of four classes with odd names."""
    place = tmp_path_factory.mktemp("mine")
    folder = place / "cells"
    folder.mkdir()
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label"])
        for at in range(16):
            (folder / f"im_{at}.tif").write_bytes(picture(at))
            rows.writerow([f"im_{at}.tif", CLASSES[at % 4]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(place / "cache"))
        patch.chdir(place)
        assert main(["import", str(folder), "--modality", "light", "--out", "cells.parquet"]) == 0
        yield place


def report(*more, out="report", models=("random", "demo-base")):
    return ["report", "--dataset", "cells.parquet", "--models", *models, "--out", out, *more]


@pytest.fixture(scope="module")
def made(place):
    """The folder that the command makes."""
    assert main(report()) == 0
    return place / "report"


@pytest.fixture
def page(made):
    return BeautifulSoup((made / "index.html").read_text(encoding="utf-8"), "html.parser")


def test_the_folder_holds_the_page_and_the_tables(made):
    assert {path.name for path in made.iterdir()} == FILES
    assert (made / "index.html").stat().st_size < 3_000_000
    assert {"index.html", "wrong.csv"} <= set(json.loads((made / "run.json").read_bytes())["files"])


def test_the_page_loads_nothing_and_leads_nowhere(page):
    for element in page.select("[href], [src]"):
        address = element.get("href") or element.get("src")
        within = address.startswith("#") and (address == "#" or page.find(id=address[1:]))
        assert address.startswith("data:") or within, address[:90]
    styles = [
        base64.b64decode(link["href"].split(",", 1)[1]).decode() for link in page.select('link[rel="stylesheet"]')
    ]
    addresses = [found for sheet in styles for found in re.findall(r"""url\(["']?([^"')]{0,40})""", sheet)]
    assert styles and addresses and not [one for one in addresses if not one.startswith("data:")]
    assert not [sheet for sheet in styles if re.search(r"""@import\s+["']""", sheet)]


def test_names_stand_on_the_page_as_they_are_written(page):
    words = " ".join(page.find("article").get_text(" ").split())
    for name in CLASSES:
        assert name in words, name
    assert "49" not in page.find("table").get_text() and not page.find("article").find("b")
    images = page.find("article").find_all("img")
    assert len(images) > 8 and all(len(image["alt"]) > 10 for image in images)


def test_own_pictures_are_not_called_synthetic_and_no_code_stands_between(page):
    assert not page.select(".synthetic") and "synthetic" not in page.find("article").get_text()
    assert not page.select("article .cell_input") and page.select("article .admonition.answer")
    assert "no picture left it" in page.find("article").get_text()


def test_numbers_of_the_page_are_those_of_the_tables(page, made):
    scores = stats.headline(pd.read_csv(made / "scores.csv")).query("model == 'demo-base' and level == 'fine'")
    answer = page.select_one(".admonition.answer").get_text()
    assert f"{100 * scores.estimate.item():.1f} [{100 * scores.ci_low.item():.1f}, " in answer
    predictions = pd.read_parquet(made / "predictions.parquet").query("question == 'classification' and wording == 1")
    own = predictions[(predictions.model == "demo-base") & ~predictions.correct]
    wrong = pd.read_csv(made / "wrong.csv")
    assert sorted(wrong.image_id) == sorted(own.image_id) and set(wrong.models) == {"demo-base"}


@pytest.mark.slow
def test_it_is_made_again_in_place_and_no_file_of_another_is_touched(made, place, capsys):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert main(report()) == 0
    assert (made / "index.html").read_bytes() == before["index.html"], "equal runs give equal pages"
    (place / "other").mkdir()
    (place / "other" / "index.html").write_text("mine")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(("note: ", "warning: ")) and said[-1].endswith("Open report/index.html")
    assert any("of 16 pictures right" in line for line in said)
    fails(capsys, report(out="other"), "index.html", "was not written by ubench")
    assert [path.name for path in (place / "other").iterdir()] == ["index.html"]


@pytest.mark.slow
def test_a_failure_leaves_the_page_before(made, capsys, monkeypatch, tmp_path):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(single, "EXTENSIONS", ("pages", "absent"))
    fails(capsys, report(out="new"), "jupyter-book failed", "absent", "the whole log is", ".log")
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"], "the log, and nothing else"

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(single, "jupyter_book", stopped)
    assert main(report()) == 130 and len(list(tmp_path.iterdir())) == 1
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert not (made.parent / "new").exists()


def test_mistakes_are_one_line(place, capsys, tmp_path):
    fails(capsys, report("--sub-dataset", "cell"), "no sub-dataset 'cell'", "it has cells")
    fails(capsys, report(out="cells.parquet"), "is a file")
    rows = pd.read_parquet(place / "cells.parquet")
    rows["image"] = [{"bytes": b"no picture", "path": None}] * len(rows)
    rows.to_parquet(tmp_path / "broken.parquet")
    arguments = ["report", "--dataset", tmp_path / "broken.parquet", "--models", "demo-base", "--out", tmp_path / "out"]
    fails(capsys, arguments, "none of 16 images could be encoded")
    assert not (tmp_path / "out").exists()


def test_without_a_checkout_nothing_is_computed(place, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr("ubench_utils.evaluation.evaluate.evaluate", None)
    fails(capsys, report(out=str(tmp_path / "out")), "needs a checkout")


@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_opens_in_a_browser_without_a_network(made, width, scheme):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request: None if request.url.startswith("data:") else asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((made / "index.html").as_uri())
        assert asked == [(made / "index.html").as_uri()] and not said
        assert page.evaluate("document.documentElement.dataset.theme") == scheme, "its scripts run"
        mark = "getComputedStyle(document.querySelector('article .headerlink')).visibility"
        assert page.evaluate(mark) == "hidden", "the style sheet that another one takes in is there"
        assert page.locator("th button").count(), "tables can be sorted"
        assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut = "[...document.querySelectorAll('.admonition p')].filter((words) => words.scrollWidth > words.clientWidth)"
        page.evaluate("document.querySelector('.answer p:last-child').append('n'.repeat(200))")
        assert page.evaluate(f"{cut}.length") == 0, "a class may have a name of one long word"
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")]
        browser.close()
