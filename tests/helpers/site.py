"""The book of this repository, built once per process, and its pages."""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"  # jupyter_book has no __main__


def copy_repository(target):
    """Copy what git tracks, and what it would track, so that leftovers of earlier builds play no part."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout, to know which files belong to the book")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if name.split("/")[0] not in {".venv", "_build", "shared"} and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


@functools.cache
def build_book():
    """Build the book once per process; the sites under test are shared with test_browser."""
    pytest.importorskip("jupyter_book", reason="jupyter-book is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ubench-book-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_repository(folder)
    run = subprocess.run(
        [sys.executable, "-c", JUPYTER_BOOK, "build", ".", "-W", "-n", "--keep-going"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
    )
    site = folder / "_build" / "html"
    return SimpleNamespace(folder=folder, site=site, rc=run.returncode, log=run.stdout + run.stderr)


@functools.cache
def soup(path):
    from bs4 import BeautifulSoup

    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def html_pages(book):
    pages = sorted(book.site.rglob("*.html"), key=str)
    return [page for page in pages if book.site / "_static" not in page.parents]


def content_pages(book):
    """Pages of the book's own text, without search page, index and redirect."""
    return [page for page in html_pages(book) if "book" in page.relative_to(book.site).parts]


def label(page, book):
    return page.relative_to(book.site).as_posix()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
