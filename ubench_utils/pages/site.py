"""The site: the book built of its executed pages, aside, and put in place whole."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import distributions
from pathlib import Path

import nbformat

from ..engine.store import digest, file_digest
from ..errors import UserError, first_line
from ..files import read_yaml, write_whole
from . import runner

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"  # it has no __main__
MADE_OF = ("_config.yml", "_toc.yml", "CITATION.cff", "README.md", "LICENSE")  # beside book/ and the package


def build_book() -> Path:
    """Build the site aside and put it in place; returns its first page. Nothing of an earlier site is left.

    A site that is as it was built, of what it would be built of now, is left as it is.

    Raises
    ------
    UserError
        If ``_config.yml`` cannot be read or the address in it is none of GitHub; if a page is damaged; if Jupyter Book
        fails or warns. The site that was there is there still.
    """
    _check_repository(read_yaml(runner.ROOT / "_config.yml", "the book's settings"))
    _check_pages(read_yaml(runner.ROOT / "_toc.yml", "the table of contents"))
    build = runner.ROOT / "_build"
    made_of = _made_of()
    if _last_build() == [made_of, _listing(build / "html")]:
        return build / "html" / "index.html"
    log, aside, site = build / "build.log", build / "aside", build / "html"
    build.mkdir(exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    made = jupyter_book(runner.ROOT, aside, log)
    if site.exists():
        site.rename(aside / "before")
    made.rename(site)
    shutil.rmtree(aside, ignore_errors=True)
    write_whole(build / "site.json", json.dumps([made_of, _listing(site)]))
    return site / "index.html"


def jupyter_book(source: Path, aside: Path, log: Path) -> Path:
    """Build the book in a folder; returns the folder of its pages, within ``aside``.

    Raises
    ------
    UserError
        If Jupyter Book fails or warns; names the first warning and the log.
    """
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(source), "--path-output", str(aside)]
    command += ["--all", "-W", "-n", "--keep-going"]
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=source).returncode
    made = aside / "_build" / "html"
    if code or not (made / "index.html").exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))  # colours
        lines = text.splitlines()
        found = next((i for i, line in enumerate(lines) if re.search("WARNING|ERROR|[Ee]rror:", line)), -1)
        first = " ".join(line.strip() for line in lines[found : found + 2] or lines[-1:])
        place = log.relative_to(source) if log.is_relative_to(source) else log
        raise UserError(f"jupyter-book failed (exit {code}): {first[:300]}; the whole log is {place}")
    return made


def _made_of() -> str:
    """Digest of what a site is built of: the book, its settings, the package that it describes, and every library."""
    folders = [runner.ROOT / "book", runner.PACKAGE]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if "__pycache__" not in file.parts]
    files = [file for file in [*files, *(runner.ROOT / name for name in MADE_OF)] if file.is_file()]
    libraries = sorted(f"{found.name} {found.version}" for found in distributions())
    return digest([libraries, sys.version, [[str(file), file_digest(file)] for file in files]])


def _last_build() -> list | None:
    try:
        return json.loads((runner.ROOT / "_build" / "site.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _listing(site: Path) -> str:
    """Digest of the names, sizes and times of all files of a site."""
    files = [file for file in sorted(site.rglob("*")) if file.is_file()]
    return digest([[str(file.relative_to(site)), file.stat().st_size, file.stat().st_mtime_ns] for file in files])


def _check_pages(contents) -> None:
    """Refuse a page that is no whole notebook, as a kill may leave one; name those that no reader would find."""
    listed = list(_listed(contents))
    for page in sorted((runner.ROOT / "book").rglob("*.ipynb")):
        try:
            nbformat.validate(nbformat.read(page, as_version=4))
        except (OSError, ValueError, RecursionError, AttributeError, nbformat.ValidationError) as error:
            name, reason = page.relative_to(runner.ROOT), first_line(error, 100)
            raise UserError(f"the page '{name}' is damaged ({reason}); `ubench run` makes it again") from error
        place = page.relative_to(runner.ROOT).with_suffix("").as_posix()
        if not any(fnmatch(place, name) for name in listed):
            print(f"note: {place} is not in _toc.yml, so the site does not hold it", file=sys.stderr)


def _listed(contents) -> Iterator[str]:
    """Places, and patterns of places, that a table of contents names."""
    if isinstance(contents, dict):
        yield from (str(contents[key]) for key in ("root", "file", "glob") if key in contents)
    for value in contents.values() if isinstance(contents, dict) else contents if isinstance(contents, list) else ():
        yield from _listed(value)


def _check_repository(config) -> None:
    """Whether launch links can be made of the address in ``_config.yml``."""
    repository = (config.get("repository") or {}) if isinstance(config, dict) else None
    if not isinstance(repository, dict):
        raise UserError("_config.yml is no mapping with repository: {url: …}; restore the file of the checkout")
    url = repository.get("url") or ""
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/?", str(url)):
        raise UserError(
            f"_config.yml: repository: url is '{url}'; write https://github.com/YOU/YOUR-COPY, or leave it empty"
        )
