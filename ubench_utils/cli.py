"""Command line: ``ubench run | build | evaluate | report | import | score | list | doctor | demo``."""

import argparse
import logging
import os
import shlex
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from . import __version__
from .collection.formats import AXES, PAGES
from .collection.labels import FACTS, read_labels
from .data.benchmark import DATASETS
from .engine.device import DEVICES, PRECISIONS
from .errors import UserError
from .files import parse_yaml, scratch, write_whole
from .models.cards import FAMILIES, KINDS, ModelCard, model_cards
from .models.registry import SPEC_HELP
from .text import one_line

if TYPE_CHECKING:
    from .evaluation.run import Evaluation

MEANT = {  # by a fact that is one of few, or a number
    "modality": "modality (light, fluorescence, electron)",
    "scale": "scale (subcellular, cellular, tissue)",
    "microns_per_pixel": "size of a pixel in micrometres,",
}
REPORT, WRONG = "index.html", "wrong.csv"  # beside the tables of a run
LONGEST_LINE = 2000  # characters of a message; a name in it may have many more


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0; 2 after a user's mistake, told in one line; 1 where something failed that should have been told so, in one line
    that names the file with the traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may know no μ
    options = _parser().parse_args(arguments)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry twice
    try:
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"ubench: {_one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output, say `head`, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ubench: stopped; what was encoded is in the cache", file=sys.stderr)
        return 130
    except MemoryError:
        print("ubench: out of memory; use --limit, a smaller model or another machine", file=sys.stderr)
        return 1
    except Exception as error:
        told = f"{type(error).__name__}: {_one_line(error)[:200]}"
        print(f"ubench: this should not have happened ({told}); {_kept_traceback()}", file=sys.stderr)
        return 1


def _one_line(error: BaseException) -> str:
    """Message of an exception; a name in it may be long."""
    text = one_line(str(error))
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE // 2]} … {text[-LONGEST_LINE // 2 :]}"


def _kept_traceback() -> str:
    """Write the traceback of the exception at hand into a file; says where it is."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="ubench-", suffix=".txt", delete=False, encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return f"please report it with the traceback in {file.name}"
    except OSError:
        return f"please report it; the traceback could not be kept: {_one_line(RuntimeError(traceback.format_exc()))}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ubench", description="The μ-Bench notebooks: evaluate models, run and build the book."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute the notebooks; then `ubench build` shows them")
    _evaluation_options(run, default_models=True)
    run.add_argument("--sections", nargs="+", metavar="S", help="only these pages (overview, …, model)")
    run.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a notebook parameter"
    )
    run.set_defaults(command=_run)

    build = commands.add_parser("build", help="build the book from its executed pages")
    build.set_defaults(command=_build)

    evaluate = commands.add_parser("evaluate", help="predictions, scores and the run's record, without notebooks")
    _evaluation_options(evaluate)
    evaluate.add_argument("--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the tables")
    evaluate.set_defaults(command=_evaluate)

    report = commands.add_parser(
        "report", help="a page on your own pictures: which model can be used, and how good it is"
    )
    _evaluation_options(report)
    report.add_argument(
        "--sub-dataset", metavar="NAME", help="the one that the page is about (default: the first by name)"
    )
    report.add_argument(
        "--out",
        required=True,
        type=os.path.expanduser,
        metavar="DIR",
        help="folder for the page, index.html, and the tables",
    )
    report.set_defaults(command=_report_page)

    imports = commands.add_parser("import", help="a dataset from your own pictures and labels")
    imports.add_argument("folder", metavar="FOLDER", help="the pictures: one folder a class, or with a table of labels")
    imports.add_argument("--labels", metavar="FILE", help="CSV or JSON lines: file_name, label, facts; or a COCO file")
    imports.add_argument("--group", metavar="COLUMN", help="the column that says which pictures are of one specimen")
    imports.add_argument("--out", required=True, metavar="FILE", help="the dataset, FILE.parquet")
    imports.add_argument("--name", metavar="NAME", help="name of the sub-dataset; by default the folder's")
    for fact in FACTS:
        imports.add_argument(
            f"--{fact.replace('_', '-')}", dest=fact, metavar="X", help=f"{MEANT.get(fact, fact)} of all pictures"
        )
    imports.add_argument("--question", metavar="TEXT", help="the question on the class, in words")
    imports.add_argument(
        "--sentence", action="append", metavar="TEXT", help="a caption with {class} in it; give two, one a wording"
    )
    imports.add_argument("--vocabulary", metavar="FILE", help="YAML of values that options are drawn from, by type")
    imports.add_argument("--seed", type=int, default=0, metavar="N", help="of the options' order (default 0)")
    planes = imports.add_argument_group(
        "files of several planes", "z, t, channel and scene may be columns of the table too; all count from 1"
    )
    planes.add_argument("--z", metavar="N|middle|maximum|mean", help="a plane of each stack, or a projection of it")
    planes.add_argument("--t", metavar="N", help="a time of each series")
    planes.add_argument("--channel", metavar="N|NAME", help="one channel, in grey (default: all, added in colour)")
    planes.add_argument("--scene", metavar="N|NAME", help="a scene of each file of several")
    planes.add_argument("--pages", choices=PAGES, help="what the pages of a TIFF are that does not say so")
    planes.add_argument(
        "--range",
        metavar="type|percentiles|LOW:HIGH",
        help="the values that become black and white (default: what the files state)",
    )
    imports.add_argument("--check", action="store_true", help="also a page of pictures with their questions, FILE.html")
    imports.set_defaults(command=_import)

    score = commands.add_parser(
        "score",
        help="the same statistics for answers made elsewhere",
        formatter_class=argparse.RawTextHelpFormatter,
        epilog="FILE holds one row an answer: dataset, image_id, question, wording (default 1), and one of\n"
        "predicted_idx (counted from 0), answer (an option, its caption, its letter or a sentence with one\n"
        "option), scores; say\n\n  dataset,image_id,question,answer\n  demo_colon,0a1b,stain,H&E",
    )
    score.add_argument(
        "file",
        metavar="FILE",
        help="CSV or parquet: dataset, image_id, question, [wording], and predicted_idx, answer or scores",
    )
    score.add_argument("--dataset", required=True, metavar="D", help="demo, a Hub name or a local path")
    score.add_argument("--model", required=True, metavar="NAME", help="name of the model in tables and pages")
    score.add_argument("--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the tables")
    score.add_argument("--templates", metavar="FILE", help="the caption wordings that were asked, see `evaluate`")
    pages = "also execute the notebooks with this model alone; they replace the pages there are"
    score.add_argument("--pages", action="store_true", help=pages)
    score.set_defaults(command=_score)

    lists = commands.add_parser("list", help="known models or datasets")
    lists.add_argument("what", choices=["models", "datasets"])
    lists.set_defaults(command=_list)

    doctor = commands.add_parser("doctor", help="what works on this machine, and which models would fail")
    doctor.add_argument(
        "--models",
        nargs="+",
        metavar="M",
        default=[],
        help="load each of these (weights that are not here are fetched)",
    )
    doctor.add_argument("--device", choices=DEVICES, default="auto")
    doctor.set_defaults(command=_doctor)

    demo = commands.add_parser("demo", help="the built-in sample")
    train = demo.add_subparsers(required=True, metavar="COMMAND").add_parser("train", help="rebuild the tiny models")
    train.add_argument(
        "--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the checkpoints"
    )
    train.add_argument("--seed", type=int, metavar="N", help="training seed (default: that of the shipped models)")
    train.set_defaults(command=_train)
    return parser


def _evaluation_options(parser: argparse.ArgumentParser, default_models: bool = False) -> None:
    parser.add_argument(
        "--dataset", default="demo", metavar="D", help="demo, a Hub name or a local path (default: demo)"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="M",
        required=not default_models,
        help="names or model strings, see `ubench list models`",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use N images, drawn at random with a fixed seed")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the encoders; scores are float32")
    parser.add_argument(
        "--templates",
        metavar="FILE",
        help="YAML of further caption wordings to score: NAME: {QUESTION TYPE: sentence with {class}}",
    )


def _settings(options: argparse.Namespace) -> dict:
    return {name: getattr(options, name) for name in ("limit", "device", "precision", "templates")}


def _run(options: argparse.Namespace) -> None:
    from .pages.runner import run_book

    extra = {}
    for pair in options.parameter:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"parameter '{pair[:80]}': write NAME=VALUE")
        extra[name] = parse_yaml(value, f"parameter '{pair[:80]}': {value[:80]!r}")
    pages = run_book(options.dataset, options.models, options.sections, extra, **_settings(options))
    others = "pages of other sections still show the run before" if options.sections else "the others were up to date"
    print(f"{_executed(pages)}, {others}; tables in _build/tables. Next: ubench build")


def _executed(pages: list) -> str:
    return f"{len(pages)} page{'s' * (len(pages) != 1)} executed"


def _build(options: argparse.Namespace) -> None:
    from .pages.site import build_book

    print(f"The book is built. Open {build_book()}")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation.evaluate import evaluate
    from .evaluation.results import check_folder

    check_folder(options.out, inputs=filter(None, [options.dataset, options.templates]))
    run = evaluate(options.dataset, options.models, **_settings(options), audit=True)
    _report(run, _saved(run, options.out))


def _report_page(options: argparse.Namespace) -> None:
    """Write a page on one sub-dataset beside the tables of its run: all of them, or nothing."""
    from .evaluation.evaluate import evaluate
    from .evaluation.results import as_csv, check_folder
    from .evaluation.run import open_benchmark
    from .pages.runner import sections
    from .pages.single import single_page
    from .report.sentences import sentence, told
    from .statistics.scores import score
    from .studies import shortcuts, subdataset

    inputs = filter(None, [options.dataset, options.templates])
    sections()  # without a checkout there are none, which is said before anything is computed
    check_folder(options.out, inputs=inputs, others=[REPORT, WRONG])
    name = subdataset.chosen(open_benchmark(options.dataset, options.limit), options.sub_dataset)
    settings = _settings(options)
    run = evaluate(options.dataset, options.models, **settings)
    own = subdataset.part(run, name)
    answers = subdataset.answers(own)
    subdataset.check_answered(own, answers)
    given = {"dataset": options.dataset, "sub_dataset": name, "models": options.models, **settings}
    page = single_page("subdataset", given, synthetic=own.benchmark.is_synthetic)
    folder = _saved(run, options.out, {REPORT: page, WRONG: as_csv(subdataset.wrong(answers))})
    _tell_notes(run)
    sets = sorted(set(run.benchmark.images.dataset))
    for warning in told("shortcuts", shortcuts.warnings(own.benchmark, own.questions)):
        print(f"warning: {warning}")
    scores, compared = score(answers, by=()), subdataset.comparisons(answers)
    found = subdataset.context(own, answers, scores, compared) | {"sub_dataset": name, "sets": sets}
    for about in ("which", "answer", "balanced", "others"):
        if words := sentence("subdataset", about, **found):
            print(words)
    print(f"Wrong answers are in {folder / WRONG}, tables beside it. Open {folder / REPORT}")


def _import(options: argparse.Namespace) -> None:
    """Make a dataset of a folder of pictures, and say what was assumed."""
    from .collection.facts import read_vocabulary
    from .collection.rendering import read_range
    from .collection.rows import QUESTION, SENTENCES, build_rows, check_out, write_rows
    from .data.benchmark import load_benchmark
    from .data.questions import build_questions
    from .report.sentences import sentence, told
    from .studies.shortcuts import warnings

    sheet = Path(options.out).expanduser().with_suffix(".html") if options.check else None
    check_out(options.out, beside=sheet)
    sentences = options.sentence or list(SENTENCES)
    if len(sentences) != len(SENTENCES):
        raise UserError(f"--sentence is given {len(sentences)} times; give two, one a wording")
    span = read_range(options.range)
    choices = {axis: getattr(options, axis) for axis in AXES if getattr(options, axis) is not None}
    vocabulary = read_vocabulary(options.vocabulary)
    labels, notes = read_labels(options.folder, options.labels, options.group)
    facts = {fact: getattr(options, fact) for fact in FACTS if getattr(options, fact) is not None}
    name = options.name or Path(options.folder).expanduser().absolute().name
    question = options.question or QUESTION
    with scratch() as aside:
        rows, found = build_rows(
            options.folder,
            labels,
            facts=facts,
            name=name,
            question=question,
            sentences=sentences,
            vocabulary=vocabulary,
            seed=options.seed,
            choices=choices,
            span=span,
            pages=options.pages,
            aside=aside,
        )
        write_rows(rows, options.out)
    classes = sorted(Counter(row["label_name"] for row in rows).items())
    asked = Counter(kind for row in rows for kind in row["questions"])
    columns = {fact: "ncbitaxon_name" if fact == "organism" else fact for fact in FACTS}
    absent = [fact for fact, column in columns.items() if not any(row[column] for row in rows)]
    assumed = [
        f"{len(rows):,} pictures of {len(classes)} classes: {', '.join(f'{label} ({n:,})' for label, n in classes)}",
        f"asked: {', '.join(f'{kind} ({n:,})' for kind, n in asked.items())}",
        f"the question on the class: {question} Its captions: {' / '.join(sentences)}",
        *([f"not stated, so nothing is asked or broken down by it: {', '.join(absent)}"] if absent else []),
        *(f"note: {note}" for note in [*notes, *found]),
    ]
    print("\n".join(map(one_line, assumed)))
    print(f"{options.out} is written")
    benchmark = load_benchmark(options.out)
    questions = build_questions(benchmark)
    hidden = told("shortcuts", warnings(benchmark, questions))
    print("\n".join(f"warning: {words}" for words in hidden) or sentence("shortcuts", "nothing"))
    if sheet:
        from .report.cards import check_sheet

        try:
            write_whole(sheet, check_sheet(benchmark, questions))
        except OSError as error:
            raise UserError(f"cannot write '{sheet}' ({error.strerror or error}); {options.out} is whole") from error
        print(f"pictures beside their questions: open {sheet}")
    page = f"report-{Path(options.out).stem}"  # of another dataset it would take the place of that one's
    again = [_program(), "report", "--dataset", options.out, "--models", "random", "demo-base", "--out", page]
    print(f"Next: {shlex.join(again)}")


def _program() -> str:
    """How to call this program here: by its name where the shell finds it, else as it was called."""
    called = sys.argv[0]
    return "ubench" if shutil.which("ubench") or Path(called).name != "ubench" else called


def _score(options: argparse.Namespace) -> None:
    """Score a file of answers, and write a models file that gives it its name, for every page and command."""
    from .evaluation.evaluate import evaluate
    from .evaluation.results import check_folder

    if options.model.partition(":")[0] in (*KINDS, *FAMILIES) or not options.model.strip():
        raise UserError(f"--model '{options.model}' is a model string; give the answers a name, say my-model")
    check_folder(options.out, inputs=filter(None, [options.file, options.templates]), others=["models.yml"])
    card = model_cards().get(options.model)
    if card:
        print(
            f"note: {card.name} is a listed model; its category, base and colour are kept, its answers are the file's"
        )
    known = {key: value for key, value in asdict(card).items() if value and key != "name"} if card else {}
    entry = {**known, "spec": f"predictions:{Path(options.file).resolve()}"}
    text = yaml.safe_dump({options.model: entry}, allow_unicode=True, sort_keys=False)
    run = evaluate(options.dataset, [ModelCard(options.model, **entry)], templates=options.templates)
    folder = _saved(run, options.out, {"models.yml": text})
    models = str((folder / "models.yml").resolve())
    _report(run, folder)
    if options.pages:
        from .pages.runner import run_book

        with _models_file(models):
            pages = run_book(options.dataset, [options.model], templates=options.templates)
        print(f"{_executed(pages)}. Next: ubench build")
    again = [_program(), "run", "--dataset", options.dataset, "--models", options.model]
    print(f"To set it beside other models: UBENCH_MODELS={shlex.quote(models)} {shlex.join(again)} …")


@contextmanager
def _models_file(file: str) -> Iterator[None]:
    """Let ``$UBENCH_MODELS`` name one more file for a while, to the kernels of the notebooks too."""
    before = os.environ.get("UBENCH_MODELS")
    os.environ["UBENCH_MODELS"] = os.pathsep.join(filter(None, (before, file)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["UBENCH_MODELS"]
        else:
            os.environ["UBENCH_MODELS"] = before


def _saved(run: "Evaluation", out: str, beside: dict | None = None) -> Path:
    try:
        return run.save(out, beside)
    except OSError as error:
        raise UserError(
            f"cannot write to the folder '{out}' ({error.strerror or error}); what was encoded is in the cache"
        ) from error


def _report(run: "Evaluation", folder: Path) -> None:
    """Print what a user has to know, the scores, and where the tables are."""
    _tell_notes(run)
    _print_scores(run)
    print(f"predictions.parquet, scores.csv, failures.csv and run.json are in {folder}")


def _tell_notes(run: "Evaluation") -> None:
    """Print what a user has to know of the data and the models."""
    for note in run.record["dataset"]["notes"]:
        print(f"note: {one_line(note)}")  # it may hold names of the dataset
    for model, passport in run.record["models"].items():
        for note in passport.get("notes", []):
            print(f"note: {one_line(f'{model}: {note}')}")
        if passport.get("activation_from", "").startswith("nothing"):
            print(f"note: {model}: nothing vouches for its activation, {passport['activation']}; check it")
        if passport.get("doubt"):
            print(f"note: {model}: {passport['doubt']}")
    for model, n in run.failures.groupby("model").size().items():
        print(f"{model}: {n} images failed and are left out, see failures.csv")


def _print_scores(run: "Evaluation") -> None:
    from .report.text import percent, points
    from .statistics.scores import compare_wordings, headline, score, totals

    for row in totals(headline(score(run.answers, by=()))).itertuples():
        share = percent(row.estimate, row.ci_low, row.ci_high)
        asked = f"{row.n_questions:,} questions, chance {percent(row.chance)} %"
        print(f"{row.model}: {row.level} {share} % of {asked}")
    names = run.record["dataset"]["wordings"]
    guessers = [model for model, passport in run.record["models"].items() if passport["guesses"]]
    for row in compare_wordings(run.answers[~run.answers.model.isin(guessers)]).itertuples():
        if row.estimand == "micro" and row.question == "all":
            print(
                f"{row.model}: {row.level} in wording {names[row.wording]} {percent(row.model_accuracy)} %, "
                f"{points(row.estimate, row.ci_low, row.ci_high)} points from the headline"
            )


def _list(options: argparse.Namespace) -> None:
    if options.what == "datasets":
        for name, about in DATASETS.items():
            print(f"{name:16} {about}")
        print(f"{'PATH':16} a .parquet or .arrow file, a folder of them, or a save_to_disk folder, in the Hub's schema")
        return
    for card in model_cards().values():
        lineage = f", fine-tuned from {card.base}" if card.base else ""
        print(f"{card.name:18} {card.category:13} {card.about}{lineage}")
    print("\nor a model string:")
    for form, about in SPEC_HELP.items():
        print(f"{form:28} {about}")


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    return 2 if examine(options.models, options.device) else 0


def _train(options: argparse.Namespace) -> None:
    from .demo.train import train

    train(Path(options.out), **({} if options.seed is None else {"seed": options.seed}))
