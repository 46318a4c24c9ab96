"""Pages: execute the notebooks with papermill, tidy the result, and build the book.

A page is put in place whole and only after its notebook ran to the end, so a failure never replaces a good page, and
neither does a site that could not be built. Equal runs give equal bytes: no times, no random ids. A page whose source,
parameters, code and data are unchanged is not run again. A notebook that is none of these pages is never touched.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from ..data.questions import HEADLINE_WORDING
from ..engine.store import digest, file_digest
from ..errors import UserError, first_line
from ..evaluation.evaluate import evaluate
from ..files import read_yaml, write_whole
from ..models.registry import pairs
from ..models.sources import identity
from ..text import as_markdown
from .outputs import tidy

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.parent
SECTIONS = [
    "benchmark",
    "overview",
    "leaderboard",
    "modality",
    "scale",
    "specialists",
    "groups",
    "forgetting",
    "interpolation",
]  # of the dataset and the models of a run
MODEL_PAGE = "model"
FIXED = [
    "index",
    "published/results",
    "published/reconciliation",
    "learn/closed_question",
    "learn/intervals",
    "learn/forgetting",
    "learn/interpolation",
    "learn/critical_reading",
]  # the same whatever is run
OPTIONS = {
    "dataset": "dataset",
    "models": "models",
    "model": "models",
    "limit": "limit",
    "device": "device",
    "precision": "precision",
    "templates": "templates",
}
DEFAULT_MODELS = ["random", "demo-base", "demo-pathology", "demo-fluorescence"]
LONGEST_SLUG = 60
MOST_ENTRIES, LONGEST_TEXT = 1000, 4096  # of a notebook parameter
RESERVED = {"index", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"  # it has no __main__


def run_book(dataset: str, models, sections=None, extra: dict | None = None, **settings) -> list[Path]:
    """Evaluate all models once, then execute every page that is not up to date.

    Parameters
    ----------
    dataset, models
        As for ``evaluate``.
    sections : list of str, optional
        Of ``SECTIONS``, ``model`` (the report cards) and ``FIXED``; all by default.
    extra : dict, optional
        Further notebook parameters; each goes to the notebooks that declare it.
    **settings
        ``limit``, ``device``, ``precision`` and ``templates`` of ``evaluate``.

    Returns
    -------
    list of pathlib.Path
        The pages that were executed now.

    Raises
    ------
    UserError
        For a mistake in the arguments; for a notebook that failed, after all others have run.
    """
    known = [*SECTIONS, MODEL_PAGE, *FIXED]
    sections = list(sections or known)
    unknown = sorted(set(sections) - set(known))
    if unknown:
        raise UserError(f"unknown section '{unknown[0]}'; the sections are {', '.join(known)}")
    sources = {section: _source(section) for section in sections}
    declared = {section: _declared(notebook) for section, notebook in sources.items()}
    _check_parameters(extra or {}, declared)
    _check_values(extra or {})
    models = list(dict.fromkeys(models))
    chosen = {"device": "auto", "precision": "auto", **settings}
    run = evaluate(dataset, models, **chosen, audit=MODEL_PAGE in sections)
    _save(run)
    if set(sections) - set(FIXED) and HEADLINE_WORDING not in set(run.predictions.wording):
        raise UserError(
            f"no question of '{dataset}' was answered in wording {HEADLINE_WORDING}, which the pages are about; "
            "`ubench evaluate` scores the others"
        )

    common = {"dataset": dataset, "models": models, **{k: v for k, v in settings.items() if v not in (None, "auto")}}
    involved = [identity(model) for model in [*models, *(base for base, _ in pairs(models))]]
    resolved = [run.record["device"], run.record["precision"], run.record["dataset"]["templates"]]
    pages, executed, failures = _pages(sections, models), [], {}
    state = _read_state()
    for page, section, model in pages:
        given = {**common, **({"model": model} if model else {}), **(extra or {})}
        parameters = {name: value for name, value in given.items() if name in declared[section]}
        of_run = [] if section in FIXED else [run.benchmark.fingerprint, involved, resolved]
        key = digest([sources[section][1], parameters, _code_digest(), *of_run])
        name = str(page.relative_to(ROOT))
        if page.is_file() and state.get(name) == [key, file_digest(page)]:
            continue
        print(f"running {name}", file=sys.stderr, flush=True)
        try:
            if name not in state and _is_made_here(page) is False:
                raise UserError("the notebook there is none of this project's pages; move it away")
            slug = section.replace("/", "-") if section in FIXED else page.stem  # two pages are called forgetting
            notebook = execute(sources[section][0], parameters, slug)
            _adapt(notebook, model, run.benchmark.is_synthetic or section in FIXED)
            state[name] = [key, _write(notebook, page)]
            write_whole(_state_file(), json.dumps(state, indent=1))
        except (UserError, OSError) as error:
            failures[page] = f"{name}: {error}"
            continue
        executed.append(page)
    if MODEL_PAGE in sections and not any(page.parent.name == "models" for page in failures):
        _remove_cards({page for page, _, _ in pages}, state)
    if failures:
        first = next(iter(failures.values()))
        raise UserError(f"{len(failures)} of {len(pages)} pages failed, their earlier versions are kept; {first}")
    return executed


def _save(run) -> None:
    """Write the tables of a run beside its pages."""
    try:
        run.save(ROOT / "_build" / "tables")
    except OSError as error:
        raise UserError(f"cannot write to '{ROOT / '_build' / 'tables'}' ({error.strerror or error})") from error


def _state_file() -> Path:
    return ROOT / "_build" / "pages.json"


def _read_state() -> dict[str, list]:
    """What the pages were made of, by page: digests of its inputs and of itself; nothing where that is not known."""
    try:
        state = json.loads(_state_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        state = None
    if isinstance(state, dict) and all(isinstance(made, list) for made in state.values()):
        return state
    print("note: _build/pages.json is damaged; it is made again, and so is every page", file=sys.stderr)
    return {}


def _write(notebook, page: Path) -> str:
    """Put a page in place; returns the digest of its content."""
    notebook.metadata["ubench"] = str(page.relative_to(ROOT))  # by which it is known as made here
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, nbformat.writes(notebook) + "\n")
    return file_digest(page)


def _is_made_here(page: Path) -> bool | None:
    """Whether a notebook is a page that ``run_book`` wrote there: ``tidy`` numbers the cells, a copy has another name.

    None where that cannot be told, as there is no notebook, or half of one.
    """
    try:
        notebook = json.loads(page.read_text(encoding="utf-8"))
        ids = [cell.get("id") for cell in notebook["cells"]]
        name = notebook["metadata"].get("ubench", str(page.relative_to(ROOT)))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return name == str(page.relative_to(ROOT)) and ids == [f"cell-{number}" for number in range(len(ids))]


def _remove_cards(pages: set, state: dict) -> None:
    """Remove the report cards of models that are no longer in the book, and nothing else."""
    for page in sorted(set((ROOT / "book" / "models").glob("*.ipynb")) - pages):
        name = str(page.relative_to(ROOT))
        if name in state or _is_made_here(page):
            print(f"removing {name}: its model is not in this run", file=sys.stderr)
            page.unlink()
            state.pop(name, None)
    write_whole(_state_file(), json.dumps(state, indent=1))


def _pages(sections, models) -> list[tuple]:
    """(page, section, model) of every page to make; the model is that of a report card, else None."""
    book = ROOT / "book"
    pages: list[tuple] = [
        (book / f"{section if section in FIXED else f'results/{section}'}.ipynb", section, None)
        for section in sections
        if section != MODEL_PAGE
    ]
    if MODEL_PAGE in sections:
        pages += [(book / "models" / f"{slug}.ipynb", MODEL_PAGE, model) for model, slug in slugs(models).items()]
    return pages


def _adapt(notebook, model: str | None, synthetic: bool) -> None:
    """Name a report card after its model; keep the striped box for synthetic images alone."""
    if model:
        title = f"# {as_markdown(model)}"
        notebook.cells[0].source = re.sub("^# .*", lambda _: title, notebook.cells[0].source)
    if not synthetic:
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = cell.source.replace(":class: synthetic", ":class: note")


def execute(notebook, parameters: dict, slug: str):
    """Execute a notebook with papermill and tidy it; returns the executed notebook, writes nothing.

    It runs in the current folder, so that relative paths of data and checkpoints mean what the user meant.
    """
    try:
        done = papermill.execute_notebook(
            nbformat.from_dict(notebook),
            None,
            parameters=parameters,
            cwd=str(Path.cwd()),
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
    except DeadKernelError as error:
        raise UserError("its kernel died, most likely for want of memory; try --limit") from error
    except papermill.PapermillExecutionError as error:
        first = (str(error.evalue).splitlines() or ["no details"])[0][:300]
        raise UserError(f"cell {error.exec_count} failed ({error.ename}: {first})") from error
    return tidy(done, slug)


def build_book() -> Path:
    """Build the site aside and put it in place; returns its first page. Nothing of an earlier site is left.

    Raises
    ------
    UserError
        If ``_config.yml`` cannot be read or the address in it is none of GitHub; if a page is damaged; if Jupyter Book
        fails or warns. The site that was there is there still.
    """
    _check_repository(read_yaml(ROOT / "_config.yml", "the book's settings"))
    _check_pages()
    build = ROOT / "_build"
    log, aside, site = build / "build.log", build / "aside", build / "html"
    build.mkdir(exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        JUPYTER_BOOK,
        "build",
        str(ROOT),
        "--path-output",
        str(aside),
        "--all",
        "-W",
        "-n",
        "--keep-going",
    ]
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    made = aside / "_build" / "html"
    if code or not (made / "index.html").exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))  # colours
        lines = text.splitlines()
        found = next((i for i, line in enumerate(lines) if re.search("WARNING|ERROR|[Ee]rror:", line)), -1)
        first = " ".join(line.strip() for line in lines[found : found + 2] or lines[-1:])
        raise UserError(f"jupyter-book failed (exit {code}): {first[:300]}; the whole log is {log.relative_to(ROOT)}")
    if site.exists():
        site.rename(aside / "before")
    made.rename(site)
    shutil.rmtree(aside, ignore_errors=True)
    return site / "index.html"


def _check_pages() -> None:
    """Refuse a page that is no whole notebook, as a full disk or a kill may leave one."""
    for page in sorted((ROOT / "book").rglob("*.ipynb")):
        try:
            nbformat.validate(nbformat.read(page, as_version=4))
        except (OSError, ValueError, RecursionError, AttributeError, nbformat.ValidationError) as error:
            name, reason = page.relative_to(ROOT), first_line(error, 100)
            raise UserError(f"the page '{name}' is damaged ({reason}); `ubench run` makes it again") from error


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


def slugs(models) -> dict[str, str]:
    """File name of each model's page: small Latin letters, digits and hyphens, at most 60, and no name twice.

    A name that is too long, or of which nothing is left, ends with some letters of its digest, and so does one that
    another model of the list took before, or that a system keeps for itself.
    """
    names: dict[str, str] = {}
    for model in models:
        words = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-").lower()
        slug, length = words, 6
        while not slug or len(slug) > LONGEST_SLUG or slug in RESERVED or slug in names.values():
            slug = f"{words[: LONGEST_SLUG - 1 - length].strip('-') or 'model'}-{digest(model)[:length]}"
            length += 1
        names[model] = slug
    return names


def _source(section: str):
    """A section's notebook and its text."""
    path = ROOT / "notebooks" / f"{section}.md"
    if not path.exists():
        raise UserError(
            f"no notebook '{path}': `ubench run` needs a checkout of the project, installed with pip install -e"
        )
    text = path.read_text(encoding="utf-8")
    return jupytext.reads(text, fmt="md:myst"), text


def _declared(source) -> list[str]:
    """Names of the parameters that a notebook declares."""
    return list(papermill.inspect_notebook(nbformat.from_dict(source[0])))


def _check_parameters(extra: dict, declared: dict) -> None:
    known = sorted({name for names in declared.values() for name in names})
    for name in extra:
        if name in OPTIONS:
            raise UserError(f"notebook parameter '{name}' has an option of its own: --{OPTIONS[name]}")
        if name not in known:
            raise UserError(f"unknown notebook parameter '{name}'; the notebooks declare {', '.join(known)}")


def _check_values(extra: dict) -> None:
    """Refuse what no parameter can be: it would end deep in papermill, or on a page."""
    for name, value in extra.items():
        entries = value if isinstance(value, list) else [value]
        if len(entries) > MOST_ENTRIES or not all(map(_is_plain, entries)):
            raise UserError(
                f"notebook parameter '{name}': write a number, a text, true, false or null, or a list of these with at "
                f"most {MOST_ENTRIES} entries"
            )


def _is_plain(value) -> bool:
    """Whether a value is a text, a number or nothing, and no longer than any parameter has to be."""
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    return value is None or isinstance(value, bool | int | float) and abs(value) < 2**63


def _code_digest() -> str:
    patterns = ("**/*.py", "**/*.yml", "**/*.csv")
    files = [file for pattern in patterns for file in sorted(PACKAGE.glob(pattern))]
    return digest([file_digest(file) for file in files])
