"""What each command of ``ubench`` does; ``cli`` says what may be typed."""

import argparse
import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from .collection.formats import AXES
from .collection.labels import FACTS, read_labels
from .data.benchmark import DATASETS
from .errors import UserError
from .files import parse_yaml, scratch, write_whole
from .models.cards import FAMILIES, KINDS, ModelCard, model_cards
from .models.registry import SPEC_HELP
from .text import one_line

if TYPE_CHECKING:
    from .evaluation.run import Evaluation

NOT_ASKED = "nothing was asked (--dry-run)"
REPORT, WRONG, AUDIT, ASKINGS = "index.html", "wrong.csv", "audit.csv", "askings.csv"  # beside the tables of a run


def _settings(options: argparse.Namespace) -> dict:
    return {name: getattr(options, name) for name in ("limit", "device", "precision", "templates")}


def _is_dry(options: argparse.Namespace) -> bool:
    """Whether only the plan is wanted, which is printed."""
    from .evaluation.evaluate import plan

    if options.dry_run:
        for line in plan(options.dataset, options.models, **_settings(options)):
            print(one_line(str(line)))
        print(NOT_ASKED)
    return options.dry_run


def run(options: argparse.Namespace) -> None:
    from .pages.runner import run_book

    if _is_dry(options):
        return
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


def build(options: argparse.Namespace) -> None:
    from .pages.site import build_book

    print(f"The book is built. Open {build_book()}")


def evaluate(options: argparse.Namespace) -> None:
    from .evaluation.evaluate import evaluate
    from .evaluation.results import check_folder

    check_folder(options.out, inputs=filter(None, [options.dataset, options.templates]))
    if _is_dry(options):
        return
    run = evaluate(options.dataset, options.models, **_settings(options), audit=True)
    _report(run, _saved(run, options.out))


def audit(options: argparse.Namespace) -> None:
    """Ask a sample again, otherwise, and write what came of it beside the tables of the run."""
    from .data.questions import build_questions
    from .engine.device import choose_device
    from .evaluation.askings import askings, plans
    from .evaluation.evaluate import evaluate
    from .evaluation.results import as_csv, check_folder
    from .evaluation.run import open_benchmark
    from .report.sentences import sentences
    from .studies import audits, replies

    check_folder(options.out, inputs=filter(None, [options.dataset, options.templates]), others=[AUDIT, ASKINGS])
    benchmark = open_benchmark(options.dataset, options.limit)
    device, precision = choose_device(options.device, options.precision)
    settings, n = {"device": device, "precision": precision}, len(benchmark.pictures)
    for line in plans(benchmark, build_questions(benchmark), options.models, settings=settings, limit=n):
        print(one_line(str(line)), flush=True)
    if options.dry_run:
        print(NOT_ASKED)
        return
    run = evaluate(options.dataset, options.models, **_settings(options))
    found = askings(run, options.models, limit=n)
    table = audits.audit(found)
    folder = _saved(run, options.out, {AUDIT: as_csv(table), ASKINGS: as_csv(audits.as_rows(found))})
    _tell_notes(run)
    print("\n".join(sentences("replies", **replies.context(run.answers, table, options.models)).values()))
    print(f"{AUDIT}, {ASKINGS} and the tables of the run are in {folder}")


def report(options: argparse.Namespace) -> None:
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
    if _is_dry(options):
        return
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


def import_pictures(options: argparse.Namespace) -> None:
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


def score(options: argparse.Namespace) -> None:
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


def list_known(options: argparse.Namespace) -> None:
    if options.what == "datasets":
        for name, about in DATASETS.items():
            print(f"{name:16} {about}")
        print(f"{'PATH':16} a .parquet or .arrow file, a folder of them, or a save_to_disk folder, in the Hub's schema")
        return
    for card in model_cards().values():
        lineage = f", fine-tuned from {card.base}" if card.base else ""
        print(f"{card.name:22} {card.category:13} {card.about}{lineage}")
    print("\nor a model string:")
    for form, about in SPEC_HELP.items():
        print(f"{form:28} {about}")


def doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    return 2 if examine(options.models, options.device) else 0


def train(options: argparse.Namespace) -> None:
    from .demo import generator, train

    recipes = {"encoders": train.train, "generators": generator.train}
    for what in [options.only] if options.only else recipes:
        recipes[what](Path(options.out), **({} if options.seed is None else {"seed": options.seed}))
