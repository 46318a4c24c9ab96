"""Command line: ``ubench run | build | evaluate | audit | report | import | score | list | doctor | demo``."""

import argparse
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from . import __version__, commands
from .collection.formats import PAGES
from .collection.labels import FACTS
from .engine.device import DEVICES, PRECISIONS
from .errors import UserError
from .models.plan import SAMPLE
from .text import one_line

MEANT = {  # by a fact that is one of few, or a number
    "modality": "modality (light, fluorescence, electron)",
    "scale": "scale (subcellular, cellular, tissue)",
    "microns_per_pixel": "size of a pixel in micrometres,",
}
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
    known = parser.add_subparsers(required=True, metavar="COMMAND")

    run = known.add_parser("run", help="execute the notebooks; then `ubench build` shows them")
    _evaluation_options(run, default_models=True)
    run.add_argument("--sections", nargs="+", metavar="S", help="only these pages (overview, …, model)")
    run.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a notebook parameter"
    )
    run.set_defaults(command=commands.run)

    build = known.add_parser("build", help="build the book from its executed pages")
    build.set_defaults(command=commands.build)

    evaluate = known.add_parser("evaluate", help="predictions, scores and the run's record, without notebooks")
    _evaluation_options(evaluate)
    evaluate.add_argument("--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the tables")
    evaluate.set_defaults(command=commands.evaluate)

    report = known.add_parser("report", help="a page on your own pictures: which model can be used, and how good it is")
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
    report.set_defaults(command=commands.report)

    audit = known.add_parser(
        "audit",
        help="does what a model replies depend on the options' order, or on the image at all?",
        description="Ask a sample again: options in other orders, a grey image, and addresses twice. What that will "
        "ask is printed first.",
    )
    _evaluation_options(audit)
    audit.add_argument("--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the tables")
    audit.set_defaults(command=commands.audit, limit=SAMPLE)

    imports = known.add_parser("import", help="a dataset from your own pictures and labels")
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
    imports.set_defaults(command=commands.import_pictures)

    score = known.add_parser(
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
    score.add_argument("--dataset", required=True, metavar="D", help="demo, a Hub name, a local path, or microvqa:PATH")
    score.add_argument("--model", required=True, metavar="NAME", help="name of the model in tables and pages")
    score.add_argument("--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the tables")
    score.add_argument("--templates", metavar="FILE", help="the caption wordings that were asked, see `evaluate`")
    pages = "also execute the notebooks with this model alone; they replace the pages there are"
    score.add_argument("--pages", action="store_true", help=pages)
    score.set_defaults(command=commands.score)

    lists = known.add_parser("list", help="known models or datasets")
    lists.add_argument("what", choices=["models", "datasets"])
    lists.set_defaults(command=commands.list_known)

    doctor = known.add_parser("doctor", help="what works on this machine, and which models would fail")
    doctor.add_argument(
        "--models",
        nargs="+",
        metavar="M",
        default=[],
        help="load each of these (weights that are not here are fetched)",
    )
    doctor.add_argument("--device", choices=DEVICES, default="auto")
    doctor.set_defaults(command=commands.doctor)

    demo = known.add_parser("demo", help="the built-in sample")
    train = demo.add_subparsers(required=True, metavar="COMMAND").add_parser("train", help="rebuild the tiny models")
    train.add_argument(
        "--out", required=True, type=os.path.expanduser, metavar="DIR", help="folder for the checkpoints"
    )
    train.add_argument("--seed", type=int, metavar="N", help="training seed (default: that of the shipped models)")
    train.add_argument("--only", choices=("encoders", "generators"), help="one half (default: both)")
    train.set_defaults(command=commands.train)
    return parser


def _evaluation_options(parser: argparse.ArgumentParser, default_models: bool = False) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="say what models that reply in words would be asked, and stop there"
    )
    parser.add_argument(
        "--dataset",
        default="demo",
        metavar="D",
        help="demo, a Hub name, a local path, or microvqa:PATH (default: demo)",
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
