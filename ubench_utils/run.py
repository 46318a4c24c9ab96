"""Pages: execute the notebooks with papermill, tidy the result, and build the book.

A page is written only after its notebook ran to the end, so a failure never replaces a good page. Equal runs give
equal bytes: no times, no random ids. A page whose source, parameters, code and data are unchanged is not run again.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError

from .cache import digest, file_digest
from .data import load_benchmark
from .errors import UserError
from .evaluate import evaluate
from .registry import pairs
from .sources import identity
from .text import as_markdown, one_line, visible

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent
SECTIONS = ["benchmark", "overview", "leaderboard", "modality", "scale", "specialists", "groups", "forgetting",
            "interpolation"]  # of the dataset and the models of a run  # fmt: skip
MODEL_PAGE = "model"
FIXED = ["index", "published/results", "published/reconciliation", "learn/closed_question", "learn/intervals",
         "learn/forgetting", "learn/interpolation", "learn/critical_reading"]  # the same whatever is run  # fmt: skip
OPTIONS = {"dataset": "dataset", "models": "models", "model": "models", "limit": "limit", "device": "device",
           "precision": "precision", "templates": "templates"}  # fmt: skip
DEFAULT_MODELS = ["random", "demo-base", "demo-pathology", "demo-fluorescence"]
LONGEST_SLUG = 60
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
    models = list(dict.fromkeys(models))
    benchmark = load_benchmark(dataset, settings.get("limit"))
    chosen = {name: settings.get(name, "auto") for name in ("device", "precision")}
    run = evaluate(benchmark, models, **chosen, templates=settings.get("templates"), audit=MODEL_PAGE in sections)
    run.save(ROOT / "_build" / "tables")

    common = {"dataset": dataset, "models": models, **{k: v for k, v in settings.items() if v not in (None, "auto")}}
    involved = [identity(model) for model in [*models, *(base for base, _ in pairs(models))]]
    resolved = [run.record["device"], run.record["precision"], run.record["dataset"]["templates"]]
    state_file = ROOT / "_build" / "pages.json"
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    pages, executed, failures = _pages(sections, models), [], []
    for page, section, model in pages:
        given = {**common, **({"model": model} if model else {}), **(extra or {})}
        parameters = {name: value for name, value in given.items() if name in declared[section]}
        of_run = [] if section in FIXED else [benchmark.fingerprint, involved, resolved]
        key = digest([sources[section][1], parameters, _code_digest(), *of_run])
        name = str(page.relative_to(ROOT))
        if page.exists() and state.get(name) == [key, file_digest(page)]:
            continue
        print(f"running {name}", file=sys.stderr, flush=True)
        try:
            slug = section.replace("/", "-") if section in FIXED else page.stem  # two pages are called forgetting
            notebook = execute(sources[section][0], parameters, slug)
        except UserError as error:
            failures.append(f"{name}: {error}")
            continue
        _adapt(notebook, model, benchmark.is_synthetic or section in FIXED)
        page.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, page)
        executed.append(page)
        state[name] = [key, file_digest(page)]
        state_file.write_text(json.dumps(state, indent=1), encoding="utf-8")
    if MODEL_PAGE in sections:
        for page in set((ROOT / "book" / "models").glob("*.ipynb")) - {page for page, _, _ in pages}:
            print(f"removing {page.relative_to(ROOT)}: its model is not in this run", file=sys.stderr)
            page.unlink()  # the report card of a model that is no longer in the book
    if failures:
        raise UserError(f"{len(failures)} of {len(pages)} pages failed, their earlier versions are kept; {failures[0]}")
    return executed


def _pages(sections, models) -> list[tuple]:
    """(page, section, model) of every page to make; the model is that of a report card, else None."""
    book = ROOT / "book"
    pages = [(book / f"{section if section in FIXED else f'results/{section}'}.ipynb", section, None)
             for section in sections if section != MODEL_PAGE]  # fmt: skip
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
            nbformat.from_dict(notebook), None, parameters=parameters, cwd=str(Path.cwd()), kernel_name="python3",
            progress_bar=False, log_output=False, extra_arguments=["--IPKernelApp.log_level=50"],
        )  # fmt: skip
    except DeadKernelError as error:
        raise UserError("its kernel died, most likely for want of memory; try --limit") from error
    except papermill.PapermillExecutionError as error:
        first = (str(error.evalue).splitlines() or ["no details"])[0][:300]
        raise UserError(f"cell {error.exec_count} failed ({error.ename}: {first})") from error
    return tidy(done, slug)


def tidy(notebook, slug: str):
    """Give an executed notebook fixed ids and drop what differs between equal runs; place captions and alt texts.

    ``plots.show`` leaves caption and alt text in the output's metadata; MyST-NB wants them in the cell's, and reads a
    caption as Markdown. Here, and nowhere else, words that may come from a dataset become part of a page, so captions
    are plain text, and characters that could turn the words around them are written out everywhere.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    figures = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        for noise in ("papermill", "execution", "lines_to_next_cell"):
            cell.metadata.pop(noise, None)
        cell.outputs = _joined([output for output in cell.get("outputs", []) if output.get("name") != "stderr"])
        if cell.cell_type != "code":
            del cell["outputs"]
            continue
        for output in cell.outputs:
            about = output.get("metadata", {}).pop("ubench", None)
            if about:
                figures += 1
                output.data.pop("text/plain", None)
                cell.metadata["mystnb"] = {
                    "image": {"alt": one_line(about["alt"])},
                    "figure": {"caption": as_markdown(about["caption"]), "name": f"fig-{slug}-{figures}"},
                }
            _show_all(output)
    return notebook


def _show_all(output) -> None:
    """Write out what is unseen in an output: printed text, tables, figures, and the sentences that a page glues in."""
    if output.output_type == "stream":
        output.text = visible(output.text)
    glued = "scrapbook" in output.get("metadata", {})
    for kind, words in output.get("data", {}).items():
        if glued and isinstance(words, str):
            output.data[kind] = _visible_literal(words)
        elif kind.startswith("text/") or kind == "image/svg+xml":
            output.data[kind] = visible(words)


def _visible_literal(text: str) -> str:
    """``repr`` of a text, whose escapes the page would turn into characters again, as that of a visible one."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return repr(visible(value)) if isinstance(value, str) else text


def _joined(outputs: list) -> list:
    """Outputs with what was printed in a row as one: where a kernel cuts the stream is a matter of timing."""
    joined = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def build_book() -> Path:
    """Build the site; returns its first page.

    Raises
    ------
    UserError
        If ``_config.yml`` cannot be read or the address in it is none of GitHub; if Jupyter Book fails or warns.
    """
    try:
        config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read '{ROOT / '_config.yml'}' ({error})") from error
    _check_repository(config)
    log = ROOT / "_build" / "build.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(ROOT), "--all", "-W", "-n", "--keep-going"]
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    index = ROOT / "_build" / "html" / "index.html"
    if code or not index.exists():
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))  # colours
        lines = text.splitlines()
        found = next((i for i, line in enumerate(lines) if re.search("WARNING|ERROR|[Ee]rror:", line)), -1)
        first = " ".join(line.strip() for line in lines[found : found + 2] or lines[-1:])
        raise UserError(f"jupyter-book failed (exit {code}): {first[:300]}; the whole log is {log.relative_to(ROOT)}")
    return index


def _check_repository(config: dict) -> None:
    """Whether launch links can be made of the address in ``_config.yml``."""
    url = (config.get("repository") or {}).get("url") or ""
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/?", str(url)):
        raise UserError(
            f"_config.yml: repository: url is '{url}'; write https://github.com/YOU/YOUR-COPY, or leave it empty"
        )


def slugs(models) -> dict[str, str]:
    """File name of each model's page: small Latin letters, digits and hyphens, at most 60, and no name twice.

    A name that is too long, or of which nothing is left, ends with some letters of its digest, and so does one that
    another model of the list took before, or that a system keeps for itself.
    """
    names = {}
    for model in models:
        words = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-").lower()
        slug, length = words, 6
        while not slug or len(slug) > LONGEST_SLUG or slug in RESERVED or slug in names.values():
            slug = f"{words[: LONGEST_SLUG - 1 - length] or 'model'}-{digest(model)[:length]}"
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


def _code_digest() -> str:
    patterns = ("*.py", "*.yml", "*.csv", "demo/*.py", "published/*")
    files = [file for pattern in patterns for file in sorted(PACKAGE.glob(pattern))]
    return digest([file_digest(file) for file in files])
