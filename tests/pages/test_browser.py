"""The built book in a real browser, from disk, without a network: every page, in both themes, on a phone, on paper."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from helpers.site import BROWSERS, CHROMIUM, build_book, content_pages, label

from ubench_utils.report import tables

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed")

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 800}
COLOUR_RULES = ["color-contrast", "link-in-text-block"]  # the others find in the dark what they find in the light
WEIGHT = 1_600_000  # bytes of a page and all that it loads
FONT = 10 * 96 / 72  # pixels: the size of a figure's words where it is shown in its natural width

# Of all figures that are drawings: how large their words are. Formulas: in MathML, with a size, fractions one above.
MEASURE = """() => {
  const box = (node) => node.getBoundingClientRect();
  const figures = [...document.querySelectorAll('article img[src$=".svg"], article svg.figure')].map((image) =>
    [image.getAttribute("src"), box(image).width / (image.naturalWidth || image.width.baseVal.value)]);
  const drawn = (node) => box(node).height > 5 && box(node).width > 3 && node instanceof MathMLElement;
  const stacked = (node) => box(node.children[0]).bottom <= box(node.children[1]).top + 1;
  return {
    figures,
    formulas: document.querySelectorAll("article .math").length,
    drawn: [...document.querySelectorAll("article .math > math")].filter(drawn).length,
    fractions: document.querySelectorAll("mfrac").length,
    stacked: [...document.querySelectorAll("mfrac")].filter(stacked).length,
    width: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth),
  };
}"""
DIMMED = """() => [...document.querySelectorAll("article img, article svg.figure")]
  .filter((image) => getComputedStyle(image).filter !== "none").length"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"],
        )


def complaints(page, **options):
    """What axe-core finds serious or critical, one line a node."""
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False, **options})
    return [
        f"{rule['id']} ({rule['impact']}): {' '.join(map(str, node['target']))} {node['failureSummary']}"
        for rule in found.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.fixture(scope="module")
def report(browser):
    """What one walk through the book finds on each page: on a phone, then on a desk in both themes."""
    book = build_book()
    assert content_pages(book), f"no page was built:\n{book.log[-2000:]}"
    page = browser.new_page(reduced_motion="reduce")
    asked, errors, found = set(), [], {}
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for path in content_pages(book):
        asked.clear(), errors.clear()
        page.set_viewport_size(PHONE)
        page.emulate_media(color_scheme="light")
        page.goto(path.as_uri())
        values = page.evaluate(MEASURE) | {"phone": complaints(page, runOnly=["scrollable-region-focusable"])}
        page.set_viewport_size(DESKTOP)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.locator(f"html[data-theme={theme}]").wait_for(state="attached")
            values[theme] = complaints(page, **({} if theme == "light" else {"runOnly": COLOUR_RULES}))
        values["dimmed"] = page.evaluate(DIMMED)
        found[label(path, book)] = values | {"asked": set(asked), "errors": list(errors)}
    page.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("where", ["light", "dark", "phone"])
def test_axe_finds_nothing_serious(report, where):
    lines = [f"{page}: {line}" for page, values in report.items() for line in values[where]]
    assert not lines, "\n".join(lines)


@pytest.mark.slow
def test_nothing_is_asked_of_the_network_and_nothing_fails(report):
    asked = {(page, url) for page, values in report.items() for url in values["asked"]}
    assert not {(page, url) for page, url in asked if not url.startswith(("file:", "data:"))}
    assert not {page: values["errors"] for page, values in report.items() if values["errors"]}


@pytest.mark.slow
def test_a_page_and_all_it_loads_is_light(report):
    weights = {}
    for page, values in report.items():
        files = {Path(unquote(urlsplit(url).path)) for url in values["asked"] if url.startswith("file:")}
        weights[page] = sum(file.stat().st_size for file in files)
    assert not {page: weight for page, weight in weights.items() if not 100_000 < weight < WEIGHT}


@pytest.mark.slow
def test_formulas_are_drawn(report):
    assert report["book/how_to_read.html"]["fractions"]
    for page, values in report.items():
        assert (values["drawn"], values["stacked"]) == (values["formulas"], values["fractions"]), page


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(report):
    assert not {page: values["width"] for page, values in report.items() if values["width"] > PHONE["width"]}


@pytest.mark.slow
def test_words_in_figures_can_be_read_on_a_phone(report):
    sizes = [(page, name, FONT * scale) for page, values in report.items() for name, scale in values["figures"]]
    assert len(sizes) > 10
    assert not [(page, name, round(size, 1)) for page, name, size in sizes if size < 9]


@pytest.mark.slow
def test_figures_keep_their_colours_in_the_dark_theme(report):
    assert not {page: values["dimmed"] for page, values in report.items() if values["dimmed"]}


@pytest.fixture
def printed(browser):
    page = browser.new_page(color_scheme="dark")
    yield page
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["how_to_read", "results/interpolation", "models/demo-base"])
def test_pages_can_be_printed(printed, name):
    """Nothing is wider than the paper, the colours are light even where the reader's are dark, code stays folded."""
    printed.goto((build_book().site / "book" / f"{name}.html").as_uri())
    printed.set_viewport_size({"width": 680, "height": 960})  # A4 without its margins
    printed.evaluate("addEventListener('beforeprint', () => { window.seen = document.documentElement.dataset.theme; })")
    pdf = printed.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 1
    assert printed.evaluate("[window.seen, document.documentElement.dataset.theme]") == ["light", "dark"]
    printed.emulate_media(media="print")
    assert printed.evaluate("document.documentElement.scrollWidth") <= 680
    cut = "(nodes) => nodes.filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.outerHTML)"
    boxes = "article, article pre, article .output, article .math, .figure-box, .pst-scrollable-table-container"
    assert not printed.locator(boxes).evaluate_all(cut)
    for hidden in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", "details.above-input"):
        assert not any(printed.locator(hidden).evaluate_all("(nodes) => nodes.map((node) => node.offsetHeight)"))


@pytest.fixture
def leaderboard(monkeypatch, tmp_path):
    """A page of its own with a table as `tables.show` writes it; the last number is missing."""
    table = pd.DataFrame(
        {
            "model": ["b", "a", "d", "c"],
            "source": ["ours", "paper", "paper", "ours"],
            "score": ["−3.1 [−4.0, −2.2]", "10.5", "1,200", "–"],
        }
    )
    shown = []
    monkeypatch.setattr(tables, "display", shown.append)
    tables.show(table, "All scores", sortable=["source"])
    script = (ROOT / "book" / "_static" / "sortable.js").as_uri()
    path = tmp_path / "leaderboard.html"
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Scores</title><main><h1>Scores</h1>'
        f'{shown[0].data}</main><script src="{script}"></script></html>',
        encoding="utf-8",
    )
    return path.as_uri()


def rows(page):
    return "".join(page.locator("tbody tr:visible td:first-child").all_inner_texts())


def test_a_table_sorts_by_keyboard(browser, leaderboard):
    page = browser.new_page()
    page.goto(leaderboard)
    assert rows(page) == "badc"
    header = page.locator("th", has_text="score")
    header.get_by_role("button").focus()
    for order, expected in (("ascending", "badc"), ("descending", "dabc"), ("ascending", "badc")):
        page.keyboard.press("Enter")
        assert (header.get_attribute("aria-sort"), rows(page)) == (order, expected), "a missing number comes last"
    page.get_by_role("button", name="model").press("Space")
    assert rows(page) == "abcd" and header.get_attribute("aria-sort") is None
    assert not complaints(page)
    page.close()


def test_a_table_filters(browser, leaderboard):
    page = browser.new_page()
    page.goto(leaderboard)
    assert page.get_by_label("source").locator("option").all_inner_texts() == ["all", "ours", "paper"]
    page.get_by_label("source").select_option("paper")
    assert rows(page) == "ad" and page.get_by_role("status").inner_text() == "2 of 4 rows"
    page.get_by_label("Filter").fill("1,2")
    assert rows(page) == "d" and page.get_by_role("status").inner_text() == "1 of 4 rows"
    page.get_by_label("Filter").fill("")
    page.get_by_label("source").select_option("all")
    assert rows(page) == "badc"
    page.close()


def test_a_table_is_a_table_without_script(browser, leaderboard):
    page = browser.new_page(java_script_enabled=False)
    page.goto(leaderboard)
    assert rows(page) == "badc"
    assert page.locator("th").all_inner_texts() == ["model", "source", "score"]
    assert page.locator("caption").inner_text() == "All scores" and not page.get_by_role("button").count()
    page.close()
