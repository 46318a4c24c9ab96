"""The book's own extensions of Sphinx: formulas, launch links, icons, boxes for figures. On a small book."""

import importlib.util
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml
from fontTools.ttLib import TTFont
from helpers.site import JUPYTER_BOOK, ROOT, copy_repository, soup

pytest.importorskip("jupyter_book", reason="jupyter-book is not installed")


FIGURES = [("wide", 7), ("narrow", 4.5)]  # inches
TRIAL = "# Trial\n\n```{warning}\nWords\n```\n\n" + "".join(
    f":::{{figure}} ../{name}.svg\n:alt: A {name} one\nWords\n:::\n\n" for name, _ in FIGURES
)


def small_book(folder, trial=TRIAL, repository=""):
    """Build a book of the glossary, a notebook and a page `trial`, with its repository's address."""
    copy_repository(folder)
    (folder / "book" / "trial.md").write_text(trial, encoding="utf-8")
    for name, inches in FIGURES:
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="{72 * inches}pt" height="9pt"></svg>'
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    chapters = [{"file": "book/trial"}, {"file": "book/results/modality"}]
    toc = {"format": "jb-book", "root": "book/glossary", "chapters": chapters}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    config = yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == "", "the project has no address of its own"
    config["repository"]["url"] = repository
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", "."]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    return run.returncode, run.stdout + run.stderr, folder / "_build" / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    code, log, site = small_book(tmp_path_factory.mktemp("book"))
    assert code == 0, log
    return site


@pytest.fixture(scope="module")
def mathml():
    spec = importlib.util.spec_from_file_location("mathml", ROOT / "book" / "_ext" / "mathml.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mathml


def parts(formula):
    return [(part.tag.rpartition("}")[2], part.text) for part in ElementTree.fromstring(formula).iter()]


def test_a_formula_becomes_mathml(mathml):
    found = parts(mathml(r"\frac{\text{a < b} - 1}{\hat\theta_{0}} \leq 95\,\%", "block"))
    tags = [tag for tag, _ in found]
    assert tags[0] == "math" and {"mfrac", "mover", "msub"} <= set(tags)
    texts = "".join(text or "" for _, text in found)
    assert "a\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}b−1" in texts and "≤95%" in texts
    assert "mtext" not in tags, "MathML takes text for space, and closes the gaps around signs beside it"


def test_lines_of_a_formula_become_rows(mathml):
    assert [tag for tag, _ in parts(mathml(r"a &= b \\ c &= d"))].count("mtr") == 2


@pytest.mark.parametrize(
    "latex, reason",
    [
        (r"\unheard{x}", r"'\unheard' is not known"),
        ("a & b", "'&' is not known"),
        (r"\frac{1}", "not complete"),
        ("x_", "missing super script"),
        (r"\left( x", "missing right"),
        (r"\begin{aligned}a\\b\end{aligned}", "line break"),
    ],
)
def test_a_formula_that_cannot_be_written_is_refused(mathml, latex, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        mathml(latex)


def test_a_wrong_formula_stops_the_build(tmp_path):
    code, log, _ = small_book(tmp_path, "# Trial\n\nNot known: $\\unheard{x}$.\n")
    assert code and re.search(r"trial\.md:3: the formula '.*unheard.*' cannot be written as MathML", log)


def test_launch_links_lead_to_notebooks_that_exist(tmp_path):
    code, log, site = small_book(tmp_path, repository="https://github.com/YOU/YOUR-COPY.git/")
    assert code == 0, log
    head = soup(site / "book" / "results" / "modality.html").select_one(".bd-header-article")
    links = [a["href"] for a in head.select("a[href]")]
    notebook = "book/results/modality.ipynb"
    assert f"https://mybinder.org/v2/gh/YOU/YOUR-COPY/main?urlpath=lab/tree/{notebook}" in links
    assert f"https://colab.research.google.com/github/YOU/YOUR-COPY/blob/main/{notebook}" in links
    assert (ROOT / notebook).is_file()
    assert head.select("img") and all(image["src"].startswith("../../_static/") for image in head.select("img"))
    assert not soup(site / "book" / "trial.html").find("a", href=re.compile("mybinder|colab"))


def test_without_an_address_there_is_nothing_to_launch(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 3
    for page in pages:
        assert not re.search(r"mybinder\.org|colab\.research|fa-rocket", page.read_text(encoding="utf-8")), page.name


def test_wide_drawings_alone_get_a_box(site):
    trial = soup(site / "book" / "trial.html")
    assert [image["alt"] for image in trial.select("article img")] == ["A wide one", "A narrow one"]
    assert [image["alt"] for image in trial.select("article .figure-box > img")] == ["A wide one"]


def test_the_font_holds_the_icons_in_use(site):
    (font,) = (site / "_static" / "vendor").rglob("*.ttf")
    sheet = (font.parents[1] / "css" / "all.min.css").read_text(encoding="utf-8")
    shown = {int(code, 16) for code in re.findall(r'content:"\\(\w+)"', sheet)}
    assert {0xF0C9, 0xF071, 0xF00C} <= set(TTFont(font).getBestCmap()), "the menu, a warning, the tick of an answer"
    assert len(shown) > 5 and shown <= set(TTFont(font).getBestCmap())
    assert font.stat().st_size < 20_000
