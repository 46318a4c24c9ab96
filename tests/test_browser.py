"""The built book in a real browser, from disk and without a network: math, phone width, dark theme."""

import json
import re
import shutil
import subprocess

import pytest
from test_book import build_book, content_pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files", "--virtual-time-budget=60000",
]  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

# Opens each page in a frame of a phone's width, one after the other, and writes down what it finds.
PROBE = """<!doctype html><meta charset="utf-8"><body><pre id="report">not finished</pre><script>
const pages = PAGES, found = {};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
async function look(page) {
  const frame = document.createElement("iframe");
  frame.style = "width:360px;height:800px;border:0";
  await new Promise((done) => { frame.onload = done; frame.src = page; document.body.append(frame); });
  await wait(600);
  const page_document = frame.contentDocument, root = page_document.documentElement;
  const math = page_document.querySelectorAll("span.math, div.math").length;
  const drawn = page_document.querySelectorAll("mjx-container").length;
  const failed = page_document.querySelectorAll("mjx-merror, [data-mjx-error]").length;
  const width = Math.max(root.scrollWidth, page_document.body.scrollWidth);
  root.dataset.theme = "dark";
  await wait(50);
  const filters = [...page_document.querySelectorAll("article img, article svg.figure")]
    .map((image) => frame.contentWindow.getComputedStyle(image).filter);
  found[page] = { math, drawn, failed, width, dimmed: filters.filter((filter) => filter !== "none").length };
  frame.remove();
}
(async () => {
  for (const page of pages) await look(page);
  document.getElementById("report").textContent = JSON.stringify(found);
})();
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    book = build_book()
    folder = tmp_path_factory.mktemp("browser")
    pages = [page.as_uri() for page in content_pages(book)]
    assert pages, f"no page was built:\n{book.log[-2000:]}"
    probe = folder / "probe.html"
    probe.write_text(PROBE.replace("PAGES", json.dumps(pages)), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", probe.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="report">(\{.*?\})</pre>', run.stdout, re.DOTALL)
    assert found, f"the browser gave no report (exit code {run.returncode}):\n{run.stderr[-2000:]}"
    looked = json.loads(found[1])
    assert len(looked) == len(pages)
    return {page.removeprefix(book.site.as_uri() + "/"): values for page, values in looked.items()}


def test_math_is_drawn_by_the_local_mathjax(report):
    assert report["book/how_to_read.html"]["drawn"] > 0
    wrong = {page: v for page, v in report.items() if v["drawn"] < v["math"] or v["failed"]}
    assert not wrong


def test_no_page_is_wider_than_a_phone(report):
    assert not {page: v["width"] for page, v in report.items() if v["width"] > 360}


def test_figures_keep_their_colours_in_the_dark_theme(report):
    assert not {page: v["dimmed"] for page, v in report.items() if v["dimmed"]}
