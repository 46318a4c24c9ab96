"""Pages: execute the notebooks that are not up to date, and put each in place.

The tree says which pages there are: ``notebooks/`` mirrors ``book/``, a notebook that declares ``dataset`` shows the
run, and ``models/card`` is made for each model. A page is put in place whole and only after its notebook ran to the
end, so a failure never replaces a good page. Equal runs give equal bytes: no times, no random ids. A page whose source,
parameters, code and data are unchanged is not run again. A notebook that is none of these pages is never touched.
"""

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jupytext
import nbformat
import papermill

from ..data.questions import HEADLINE_WORDING
from ..engine.store import digest, file_digest
from ..errors import UserError
from ..evaluation.evaluate import evaluate
from ..evaluation.results import RECORD, TABLES
from ..files import write_whole
from ..models.load import open_model
from ..models.registry import DEFAULT_MODELS, pairs
from ..text import as_markdown
from .execution import executed

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE.parent
RESULTS, CARD, CARDS = "results/", "models/card", "model"  # the sections of a run go by their last name
OPTIONS = {
    "dataset": "dataset",
    "models": "models",
    "model": "models",
    "limit": "limit",
    "device": "device",
    "precision": "precision",
    "templates": "templates",
}
OF_A_RUN = {"dataset", "limit", "device", "precision", "templates"}  # and the models: what a page of results declares
LONGEST_SLUG = 60
MOST_ENTRIES, LONGEST_TEXT = 1000, 4096  # of a notebook parameter
RESERVED = {"index", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def sections() -> dict[str, str]:
    """Names of the sections, and where their notebooks lie in ``notebooks/``, as their pages in ``book/``."""
    tree = ROOT / "notebooks"
    files = sorted(path.relative_to(tree) for path in tree.rglob("*.md"))
    places = [file.with_suffix("").as_posix() for file in files if not any(part.startswith(".") for part in file.parts)]
    if not places:
        raise UserError(
            f"no notebook in '{tree}': making pages needs a checkout of the project, installed with pip install -e"
        )
    return {CARDS if place == CARD else place.removeprefix(RESULTS): place for place in places}


def run_book(dataset: str, models=None, names=None, extra: dict | None = None, **settings) -> list[Path]:
    """Evaluate all models once, then execute every page that is not up to date, two at a time.

    Parameters
    ----------
    dataset, models
        As for ``evaluate``; the models of the demo by default.
    names : list of str, optional
        Of ``sections``; all by default.
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
    known = sections()
    names = list(dict.fromkeys(names or known))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UserError(f"unknown section '{unknown[0]}'; the sections are {', '.join(known)}")
    sources = {name: source(known[name]) for name in names}
    declared = {name: list(papermill.inspect_notebook(nbformat.from_dict(sources[name][0]))) for name in names}
    _check_declared(known, declared)
    _check_parameters(extra or {}, declared)
    _check_values(extra or {})
    models = list(dict.fromkeys(DEFAULT_MODELS if models is None else models))
    chosen = {"device": "auto", "precision": "auto", **settings}
    run = evaluate(dataset, models, **chosen, audit=CARDS in names)
    if any("dataset" in declared[name] for name in names) and HEADLINE_WORDING not in set(run.predictions.wording):
        _save(run, [], {})
        raise UserError(
            f"no question of '{dataset}' was answered in wording {HEADLINE_WORDING}, which the pages are about; "
            "`ubench evaluate` scores the others"
        )

    common = {"dataset": dataset, "models": models, **{k: v for k, v in settings.items() if v not in (None, "auto")}}
    involved = [open_model(model).identity for model in [*models, *(base for base, _ in pairs(models))]]
    resolved = [run.record["device"], run.record["precision"], run.record["dataset"]["templates"]]
    of_run = [run.benchmark.fingerprint, involved, resolved]
    state = _read_state()
    _save(run, [models, *of_run], state)
    pages = _pages(names, known, models)
    stale, jobs, failures = [], [], {}
    for page, section, model in pages:
        given = {**common, **({"model": model} if model else {}), **(extra or {})}
        parameters = {name: value for name, value in given.items() if name in declared[section]}
        shows_run = "dataset" in declared[section]
        key = digest([sources[section][1], parameters, _code_digest(), *(of_run if shows_run else [])])
        name = str(page.relative_to(ROOT))
        if page.is_file() and state.get(name) == [key, file_digest(page)]:
            continue
        if name not in state and _is_made_here(page) is False:
            failures[page] = f"{name}: the notebook there is none of this project's pages; move it away"
            continue
        synthetic = run.benchmark.is_synthetic or not shows_run
        stale.append((page, key, model, synthetic))
        # two pages are called forgetting
        jobs.append((sources[section][0], parameters, page.stem if model else section.replace("/", "-")))
    for number, notebook in executed(_told(stale, jobs)):
        page, key, model, synthetic = stale[number]
        name = str(page.relative_to(ROOT))
        try:
            if isinstance(notebook, UserError):
                raise notebook
            adapt(notebook, model, synthetic)
            state[name] = [key, _write(notebook, page)]
            _write_state(state)
        except (UserError, OSError) as error:
            failures[page] = f"{name}: {error}"
    if CARDS in names and not any(page.parent.name == "models" for page in failures):
        _remove_cards({page for page, _, _ in pages}, state)
    if not failures:
        _write_state(state)
    else:
        first = next(failures[page] for page, _, _ in pages if page in failures)
        raise UserError(f"{len(failures)} of {len(pages)} pages failed, their earlier versions are kept; {first}")
    return [page for page, *_ in stale]


def _told(stale: list, jobs: list) -> Iterator[tuple]:
    """Jobs, each told of when it is drawn."""
    for (page, *_), job in zip(stale, jobs, strict=True):
        print(f"running {page.relative_to(ROOT)}", file=sys.stderr, flush=True)
        yield job


def _save(run, made_of: list, state: dict) -> None:
    """Write the tables of a run beside its pages, where they are not there already."""
    folder = ROOT / "_build" / "tables"
    key = digest([made_of, _code_digest()])
    name = str(folder.relative_to(ROOT))
    try:
        if state.get(name) != [key, _digests(folder)]:
            run.save(folder)
            state[name] = [key, _digests(folder)]
    except OSError as error:
        raise UserError(f"cannot write to '{folder}' ({error.strerror or error})") from error


def _digests(folder: Path) -> list:
    files = [folder / name for name in (*TABLES, RECORD)]
    return [file_digest(file) if file.is_file() else None for file in files]


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


def _write_state(state: dict) -> None:
    _state_file().parent.mkdir(exist_ok=True)
    write_whole(_state_file(), json.dumps(state, indent=1, sort_keys=True))


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
    _write_state(state)


def _pages(names, known: dict, models) -> list[tuple]:
    """(page, section, model) of every page to make; the model is that of a report card, else None."""
    book = ROOT / "book"
    pages: list[tuple] = [(book / f"{known[name]}.ipynb", name, None) for name in names if name != CARDS]
    cards = slugs(models).items() if CARDS in names else ()
    return pages + [(book / "models" / f"{slug}.ipynb", CARDS, model) for model, slug in cards]


def adapt(notebook, model: str | None, synthetic: bool) -> None:
    """Name a report card after its model; keep the striped box for synthetic images alone."""
    if model:
        title = f"# {as_markdown(model)}"
        notebook.cells[0].source = re.sub("^# .*", lambda _: title, notebook.cells[0].source)
    if not synthetic:
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = cell.source.replace(":class: synthetic", ":class: note")


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


def source(place: str):
    """A section's notebook and its text."""
    text = (ROOT / "notebooks" / f"{place}.md").read_text(encoding="utf-8")
    return jupytext.reads(text, fmt="md:myst"), text


def _check_declared(known: dict, declared: dict) -> None:
    """Whether the pages that show the run take all that it depends on, or they would show another."""
    for name, names in declared.items():
        if known[name].startswith(RESULTS) or name == CARDS:
            lacking = sorted((OF_A_RUN | {"model" if name == CARDS else "models"}) - set(names))
            if lacking:
                raise UserError(
                    f"notebooks/{known[name]}.md declares no {', '.join(lacking)}; its cell tagged `parameters` must "
                    "hold all that a run depends on, as that of notebooks/results/overview.md does"
                )


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


@cache
def _code_digest() -> str:
    """Digest of the package as text: code, tables and templates."""
    files = sorted(file for file in PACKAGE.rglob("*") if file.suffix in (".py", ".yml", ".csv", ".md", ".html"))
    return digest([file_digest(file) for file in files])
