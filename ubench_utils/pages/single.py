"""One page alone: a notebook executed on somebody's data, and built by Jupyter Book into one file that holds all.

It has the theme of the book and nothing of its other pages, so that it can be moved, sent, and read without a network.
"""

import base64
import mimetypes
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import yaml

from ..errors import UserError
from ..files import SCRATCH, read_yaml, scratch
from . import runner
from .execution import execute
from .site import jupyter_book

PARTS = ("book/_ext", "book/_static")  # of the book, which every page of it is built with
EXTENSIONS = ("pages", "mathml", "icons")
THEME = {  # no way to other pages, to a search over them, or to their source
    "article_header_start": [],
    "article_header_end": ["theme-switcher", "toggle-secondary-sidebar"],
    "footer_content_items": [],
}
LINKS = re.compile(r'<link rel="(?:preload|index|search)"[^>]*>\s*')  # to what is within, and to pages that are not
LOADED = re.compile(r'(\s(?:href|src)=")((?:_static|_images)/[^"?]+)[^"]*"')
IN_STYLE = re.compile(r"""(@import )"([\w./-]+)"|url\(([\w./-]+)\)""")


def single_page(section: str, parameters: dict, *, synthetic: bool) -> str:
    """Execute a notebook and build its page; returns the HTML, and leaves nothing else.

    Parameters
    ----------
    section : str
        One of ``runner.sections``.
    parameters : dict
        Of the notebook.
    synthetic : bool
        Whether all images are; other data go without the striped box.

    Raises
    ------
    UserError
        If there is no checkout, a cell fails, or Jupyter Book fails or warns.
    """
    notebook, _ = runner.source(runner.sections()[section])
    page = execute(notebook, parameters, section)
    runner.adapt(page, None, synthetic)
    for cell in page.cells:  # who reads it came for the answer
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-input"]
    with scratch() as book:
        for part in PARTS:
            shutil.copytree(runner.ROOT / part, book / part)
        nbformat.write(page, book / "index.ipynb")
        (book / "_toc.yml").write_text(yaml.safe_dump({"format": "jb-book", "root": "index"}))
        (book / "_config.yml").write_text(yaml.safe_dump(_settings(), allow_unicode=True), encoding="utf-8")
        return self_contained(_built(book) / "index.html")


def _built(book: Path) -> Path:
    """``jupyter_book`` aside; where it fails, its log stays in the folder of temporary files."""
    log = Path(tempfile.mkstemp(prefix=SCRATCH, suffix=".log")[1])
    failed = False
    try:
        return jupyter_book(book, book / "aside", log)
    except UserError:
        failed = True
        raise
    finally:
        if not failed:
            log.unlink()


def _settings() -> dict:
    """Those of the book, without what needs its other pages."""
    config = read_yaml(runner.ROOT / "_config.yml", "the book's settings")
    for name in ("bibtex_bibfiles", "repository", "launch_buttons"):
        config.pop(name, None)
    sphinx = config["sphinx"]
    sphinx["extra_extensions"] = []
    sphinx["local_extensions"] = dict.fromkeys(EXTENSIONS, "book/_ext")
    sphinx["config"] = {name: value for name, value in sphinx["config"].items() if not name.startswith("bibtex_")}
    sphinx["config"] |= {"html_sidebars": {"**": []}, "html_use_index": False, "smartquotes": False}
    sphinx["config"]["html_theme_options"] |= THEME
    return config


def self_contained(page: Path) -> str:
    """The HTML of a built page with the files that it loads within it, as data addresses."""
    text = LINKS.sub("", page.read_text(encoding="utf-8"))
    return LOADED.sub(lambda found: f'{found[1]}{_data(page.parent / unquote(found[2]))}"', text)


def _data(file: Path) -> str:
    """A file as a data address; a style sheet takes in what it loads itself."""
    content = file.read_bytes()
    if file.suffix == ".css":
        inner = IN_STYLE.sub(
            lambda found: f"{found[1] or ''}url({_data(file.parent / (found[2] or found[3]))})", content.decode()
        )
        content = inner.encode()
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
