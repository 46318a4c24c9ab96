"""A dataset and a list of models whose every free text carries code: nothing of it runs, nothing becomes markup."""

import copy
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml
from helpers.pages_in_process import executed
from helpers.samples import DEMO, as_dataset
from helpers.site import CHROMIUM, JUPYTER_BOOK, copy_repository, soup

from ubench_utils.pages import runner
from ubench_utils.pages.outputs import tidy

pytest.importorskip("jupyter_book", reason="jupyter-book is not installed")

FACETS = ("dataset", "stain", "label_name", "modality", "submodality", "domain", "subdomain", "ncbitaxon_name")
SECTIONS = ["benchmark", "specialists", "forgetting"]
# Markup that stands in the document as such; a name that only reads like it is text.
LIVE = """() => ({
  ran: window.pwn ?? null,
  elements: document.querySelectorAll('[onerror], [onload], [href^="javascript:" i], .pwn').length,
  scripts: [...document.scripts].filter((script) => /window\\.pwn/.test(script.textContent)).length,
  captions: document.querySelectorAll(".caption-text :is(em, strong, code, a:not(.headerlink), .math)").length,
})"""


COLOUR = "\x1b[31m"  # of a terminal; in the name of an image or a facet it would be refused


def payload(where, trace):
    """Code for every reader that a text may meet on its way into a page: each leaves a trace where it runs."""
    jinja = f"{{{{ lipsum.__globals__['os'].popen('touch {trace}').read() }}}}"
    return (
        f"<script>window.pwn='{where}'</script><img src=x onerror=\"window.pwn='{where}'\" class=pwn> {jinja} "
        "[x](javascript:alert) $\\href{javascript:alert(1)}{x}$ {eval-rst}`x` *em* **strong** `code` \u202e"
    )


def hostile_rows(rows, trace):
    for row in rows:
        for facet in FACETS:
            row[facet] = f"{row[facet]} {payload(facet, trace)}" if row[facet] is not None else None
        row["image_id"] += payload("image_id", trace)
        for kind in ("questions", "captions"):
            for asked in filter(None, row[kind].values()):
                asked["question"] += payload("question", trace) + COLOUR
                asked["options"] = [
                    option + (payload("option", trace) + COLOUR) * (option != "none of the above")
                    for option in asked["options"]
                ]
    return rows


def hostile_models(trace):
    evil = {
        "spec": f"local-dir:{DEMO / 'pathology'}",
        "base": "demo-base",
        "category": payload("category", trace) + COLOUR,
        "licence": payload("licence", trace) + COLOUR,
        "about": payload("about", trace) + COLOUR,
        "in_domain": {"modality": f"light microscopy {payload('modality', trace)}"},
    }
    return {
        f"evil {payload('model', trace)}{COLOUR}": evil,
        "x" * 300: {"spec": f"local-dir:{DEMO / 'second'}"},
        "模型": {"spec": f"local-dir:{DEMO / 'base'}", "category": "generalist"},
        "mo$del_{x}^2$": {"spec": f"local-dir:{DEMO / 'fluorescence'}", "base": "模型"},
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory, demo_rows):
    """The pages of hostile data, executed and built with the book's own settings; and the file of the trace."""
    folder = tmp_path_factory.mktemp("hostile")
    trace = folder / "pwned"
    copy_repository(folder)
    as_dataset(hostile_rows(copy.deepcopy(demo_rows[::4]), trace)).to_parquet(folder / "rows.parquet")
    models = hostile_models(trace)
    (folder / "models.yml").write_text(yaml.safe_dump(models, allow_unicode=True), encoding="utf-8")
    names = ["demo-base", *models]
    shutil.rmtree(folder / "book" / "models")
    (folder / "book" / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UBENCH_CACHE", str(folder / "cache"))
        patch.setenv("UBENCH_MODELS", str(folder / "models.yml"))
        pages = [(f"results/{section}", section, {}) for section in SECTIONS]
        pages += [(f"models/{slug}", "model", {"model": name}) for name, slug in runner.slugs(models).items()]
        for page, section, own in pages:
            notebook = executed(section, dataset=str(folder / "rows.parquet"), models=names, device="cpu", **own)
            notebook = tidy(notebook, page.rpartition("/")[2])
            runner.adapt(notebook, own.get("model"), False)
            nbformat.write(notebook, folder / "book" / f"{page}.ipynb")
    chapters = [{"file": f"book/results/{section}"} for section in SECTIONS]
    toc = {"format": "jb-book", "root": "book/glossary", "chapters": [*chapters, {"glob": "book/models/*"}]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html", trace, names


@pytest.mark.slow
def test_nothing_of_the_data_runs_when_the_book_is_built(site):
    pages, trace, names = site
    assert not trace.exists()
    titles = {soup(page).find("h1").get_text().rstrip("#") for page in (pages / "book" / "models").glob("*.html")}
    assert len(titles) == len(names) - 1 and {"模型", "mo$del_{x}^2$", "x" * 300} <= titles, "titles show the names"
    words = soup(pages / "book" / "results" / "benchmark.html").get_text()
    assert "{{ lipsum" in words and "<script>window.pwn" in words and r"\u202e\x1b[31m" in words, "shown as written"
    for page in pages.rglob("*.html"):
        assert not re.search("[\x1b\u202e]", page.read_text(encoding="utf-8")), page.name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
def test_nothing_of_the_data_runs_in_a_browser(site):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pages, _, _ = site
    index = (pages / "searchindex.js").read_text(encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page, dialogs = browser.new_page(), []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in (pages / "book").rglob("*.html"):
            page.goto(path.as_uri())
            assert page.evaluate(LIVE) == {"ran": None, "elements": 0, "scripts": 0, "captions": 0}, path.name
        page.goto(f"{(pages / 'search.html').as_uri()}?q=evil")
        page.evaluate(index)  # a page from disk may not fetch it
        page.locator("#search-results li a").first.wait_for()
        assert "evil <script>" in page.locator("#search-results").inner_text()
        assert page.evaluate(LIVE)["elements"] == 0 and page.evaluate("window.pwn ?? null") is None and not dialogs
        browser.close()


def test_no_extension_that_evaluates_text_is_switched_on():
    config = yaml.safe_load((runner.ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "substitution" not in config["parse"]["myst_enable_extensions"]
    assert "linkify" not in config["parse"]["myst_enable_extensions"]
