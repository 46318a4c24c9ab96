"""The built book: it builds without a warning, stands on its own offline, and says what it must say."""

import functools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from helpers.site import ROOT, build_book, content_pages, html_pages, label, soup

SECTIONS = sorted(path.stem for path in (ROOT / "notebooks" / "results").glob("*.md"))
OUTSIDE = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
CSS_ADDRESS = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])([^"')]+)""", re.IGNORECASE)
LOADED = {
    "script": ["src"],
    "link": ["href"],
    "img": ["src", "srcset"],
    "iframe": ["src"],
    "audio": ["src"],
    "source": ["src", "srcset"],
    "video": ["src", "poster"],
    "object": ["data"],
    "embed": ["src"],
    "image": ["href", "xlink:href"],
}


@pytest.fixture(scope="session")
def book():
    built = build_book()
    if not (built.site / "book" / "index.html").is_file():
        pytest.fail(f"the book was not built (exit code {built.rc}):\n{built.log[-4000:]}")
    return built


def notebooks(book):
    return sorted((book.folder / "book").rglob("*.ipynb"), key=str)


def article(page):
    return soup(page).find("article")


def test_build_succeeds_without_warnings(book):
    found = [line for line in book.log.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    assert book.rc == 0 and not found, f"exit code {book.rc}\n" + "\n".join(found)


def test_front_page_has_the_title(book):
    config = yaml.safe_load((book.folder / "_config.yml").read_text(encoding="utf-8"))
    front = soup(book.site / "book" / "index.html")
    assert "μ-Bench notebooks" in front.find("h1").get_text()
    assert config["title"] in front.title.get_text()
    assert "book/index.html" in (book.site / "index.html").read_text(encoding="utf-8")


def test_pages_are_those_of_the_book(book):
    sources = [path for pattern in ("*.md", "*.ipynb") for path in (book.folder / "book").rglob(pattern)]
    expected = {path.relative_to(book.folder).with_suffix("").as_posix() for path in sources}
    expected |= {"index", "genindex", "search"}
    assert {label(page, book).removesuffix(".html") for page in html_pages(book)} == expected
    assert {f"book/results/{name}" for name in SECTIONS} <= expected
    assert any(name.startswith("book/models/") for name in expected), "no report card"


def test_no_page_holds_an_error(book):
    tracebacks = [label(page, book) for page in content_pages(book) if soup(page).select(".traceback")]
    assert not tracebacks
    for path in notebooks(book):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        kinds = [output["output_type"] for cell in cells for output in cell.get("outputs", [])]
        assert "error" not in kinds, path.name


def loaded_addresses(page):
    """Every address that a browser fetches for this page by itself."""
    for tag, attributes in LOADED.items():
        for element in soup(page).find_all(tag):
            yield from (element.get(attribute) or "" for attribute in attributes)
    for style in soup(page).find_all("style"):
        yield from CSS_ADDRESS.findall(style.get_text())
    for element in soup(page).select("[style]"):
        yield from CSS_ADDRESS.findall(element["style"])
    for script in soup(page).find_all("script", src=False):
        yield from re.findall(r"https?://[^\s\"']+", script.get_text())


def test_nothing_is_loaded_from_outside(book):
    found = [(label(page, book), a) for page in html_pages(book) for a in loaded_addresses(page) if OUTSIDE.match(a)]
    for sheet in book.site.rglob("*.css"):
        addresses = CSS_ADDRESS.findall(sheet.read_text(encoding="utf-8", errors="replace"))
        found += [(label(sheet, book), address) for address in addresses if OUTSIDE.match(address)]
    assert not found


def test_formulas_need_no_script(book):
    assert soup(book.site / "book" / "how_to_read.html").select("div.math > math mfrac")
    for page in content_pages(book):
        formulas = article(page).select(".math")
        assert all(formula.find("math", alttext=True) for formula in formulas), label(page, book)
    assert not [path.name for path in book.site.rglob("*.js") if path.stat().st_size > 300_000]


def test_images_are_described(book):
    poor = []
    for page in content_pages(book):
        for image in article(page).find_all("img"):
            alt = (image.get("alt") or "").strip()
            if len(alt) < 10 or " " not in alt or re.search(r"[0-9a-f]{16}|\.(png|svg|jpe?g|gif|webp)$", alt):
                poor.append((label(page, book), alt))
    assert not poor


def test_internal_links_resolve(book):
    broken = []
    for page in html_pages(book):
        links = [(e, e.get("href") or e.get("src") or "") for e in soup(page).select("[href], [src]")]
        for element, link in links:
            if re.match(r"^([a-z][a-z0-9+.-]*:|//)", link, re.IGNORECASE):
                continue
            address, anchor = urldefrag(link)
            target = (page.parent / unquote(address.split("?")[0])).resolve() if address else page.resolve()
            exists = target.is_file()
            if exists and anchor and target.suffix == ".html" and element.name == "a":
                exists = unquote(anchor) in identifiers(target)
            if not exists:
                broken.append((label(page, book), link))
    assert not broken


@functools.cache
def identifiers(page):
    return {e["id"] for e in soup(page).select("[id]")} | {e["name"] for e in soup(page).select("a[name]")}


def test_ids_are_unique_on_a_page(book):
    for page in content_pages(book):
        ids = [e["id"] for e in article(page).select("[id]")]
        assert len(ids) == len(set(ids)), (label(page, book), sorted({i for i in ids if ids.count(i) > 1}))


def test_pages_are_small(book):
    sizes = {label(page, book): page.stat().st_size for page in html_pages(book)}
    assert not {name: size for name, size in sizes.items() if size > 1_500_000}


def prose(page):
    """The text of an article, piece by piece, without code."""
    return [text for text in article(page).find_all(string=True) if not text.find_parents(["pre", "code", "script"])]


def dataset_of(path):
    """The dataset a page was run on: the last parameters cell decides, and the default is the demo."""
    name = "demo"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", [])):
            source = "".join(cell["source"])
            found = re.findall(r"""^dataset\b[^=\n]*=\s*["']([^"']+)["']""", source, re.MULTILINE)
            name = found[-1] if found else name
    return name


def test_pages_on_the_demo_say_synthetic(book):
    silent = []
    for path in notebooks(book):
        if dataset_of(path) == "demo":
            page = book.site / path.relative_to(book.folder).with_suffix(".html")
            word = "published" if path.parent.name == "published" else "synthetic"  # those hold no image of the demo
            if word not in " ".join(prose(page)).lower():
                silent.append(label(page, book))
    assert not silent


def glued(path, key):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == key:
                return "".join(next(iter(output["data"].values())))
    return None


def test_front_page_tells_four_findings_in_four_figures(book):
    """Each finding has a published figure, what was published, how sure it is, and this book's answer as it is."""

    def plain(text):
        return re.sub(r"\W+", "", text.encode().decode("unicode_escape") if "\\" in text else text)

    page = article(book.site / "book" / "index.html")
    findings = [part for part in page.select("section section") if re.match(r"\d\. ", part.find("h2").get_text())]
    sections = ["modality", "specialists", "forgetting", "interpolation"]
    assert len(findings) == len(page.find_all("img")) == len(sections)
    for finding, section in zip(findings, sections, strict=True):
        words = [p.get_text().strip() for p in finding.find_all("p", recursive=False)]
        starts = [re.split("[.,]", text)[0] for text in words]
        assert starts == ["Published", "How sure", "Here"], (section, starts)
        assert finding.select_one("figcaption .caption-text").get_text().startswith("Published")
        answer = glued(book.folder / "book" / "results" / f"{section}.ipynb", "answer")
        assert answer and plain(answer) in plain(words[-1]), section
        assert words[-1].startswith("Here, on synthetic images. ") and words[-1].split(". ")[1][0] not in "'\"‘’“”"
        assert finding.find_all("a", href=re.compile(f"^results/{section}"))
    data = glued(book.folder / "book" / "results" / "overview.ipynb", "data")
    assert plain(data) in plain(page.get_text())


def test_every_results_page_answers_its_question(book):
    for name in SECTIONS:
        text = article(book.site / "book" / "results" / f"{name}.html").get_text()
        assert "Question." in text and len(glued(book.folder / "book" / "results" / f"{name}.ipynb", "answer")) > 20


def test_no_page_shows_unresolved_markup(book):
    """A role or directive that Sphinx did not understand stays in the text as it was written."""
    left = []
    for page in content_pages(book):
        found = [text[:80] for text in prose(page) if re.search(r"\{[a-z:]+\}`|```|:::|\$\\", text)]
        left += [(label(page, book), text) for text in found]
    assert not left


def test_pages_show_no_local_path(book):
    paths = {str(ROOT), str(book.folder), str(Path.home())} - {"/"}
    for page in [*html_pages(book), *notebooks(book)]:
        text = page.read_text(encoding="utf-8")
        assert not [path for path in paths if f"{path}/" in text], page.name


def test_glossary_is_sorted_and_has_no_term_twice(book):
    source = (book.folder / "book" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^([^\s`#].*)\n  \S", source.split("```{glossary}")[1].lower(), re.MULTILINE)
    assert len(terms) >= 25
    assert terms == sorted(set(terms), key=lambda term: term.replace("&", "").replace("-", " "))


def test_citation_file_is_complete():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    assert any("2407.01791" in str(reference) for reference in citation["references"])
