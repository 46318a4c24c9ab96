"""Command line: ``ubench run | build | evaluate | list | doctor | demo``."""

import argparse
import logging
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from . import __version__
from .cache import cache_dir
from .data import DATASETS
from .errors import UserError
from .registry import DEVICES, PRECISIONS, SPEC_HELP, model_cards


def main(arguments=None) -> int:
    """Run a command; returns the exit code: 0, or 2 after a user's mistake, told in one line."""
    options = _parser().parse_args(arguments)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs every retry twice
    try:
        options.command(options)
    except UserError as error:
        print(f"ubench: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ubench: stopped; what was encoded is in the cache", file=sys.stderr)
        return 130
    return 0


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
    evaluate.add_argument("--out", required=True, metavar="DIR", help="folder for the tables")
    evaluate.set_defaults(command=_evaluate)

    lists = commands.add_parser("list", help="known models or datasets")
    lists.add_argument("what", choices=["models", "datasets"])
    lists.set_defaults(command=_list)

    doctor = commands.add_parser("doctor", help="what works on this machine")
    doctor.set_defaults(command=_doctor)

    demo = commands.add_parser("demo", help="the built-in sample")
    train = demo.add_subparsers(required=True, metavar="COMMAND").add_parser("train", help="rebuild the tiny models")
    train.add_argument("--out", required=True, metavar="DIR", help="folder for the checkpoints")
    train.add_argument("--seed", type=int, metavar="N", help="training seed (default: that of the shipped models)")
    train.set_defaults(command=_train)
    return parser


def _evaluation_options(parser, default_models: bool = False) -> None:
    parser.add_argument(
        "--dataset", default="demo", metavar="D", help="demo, a Hub name or a local path (default: demo)"
    )
    parser.add_argument("--models", nargs="+", metavar="M", required=not default_models,
                        help="names or model strings, see `ubench list models`")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="use N images, drawn at random with a fixed seed")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the encoders; scores are float32")


def _settings(options) -> dict:
    return {"limit": options.limit, "device": options.device, "precision": options.precision}


def _run(options) -> None:
    from .run import DEFAULT_MODELS, run_book

    extra = {}
    for pair in options.parameter:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"parameter '{pair}': write NAME=VALUE")
        extra[name] = yaml.safe_load(value)
    pages = run_book(options.dataset, options.models or DEFAULT_MODELS, options.sections, extra, **_settings(options))
    others = "pages of other sections still show the run before" if options.sections else "the others were up to date"
    print(f"{len(pages)} pages executed, {others}; tables in _build/tables. Next: ubench build")


def _build(options) -> None:
    from .run import build_book

    print(f"The book is built. Open {build_book()}")


def _evaluate(options) -> None:
    from .evaluate import evaluate

    if Path(options.out).exists() and not Path(options.out).is_dir():  # known before anything is computed
        raise UserError(f"'{options.out}' is a file; --out names a folder")
    run = evaluate(options.dataset, options.models, **_settings(options))
    try:
        folder = run.save(options.out)
    except OSError as error:
        raise UserError(f"cannot write to the folder '{options.out}' ({error})") from error
    for note in run.record["dataset"]["notes"]:
        print(f"note: {note}")
    for model, passport in run.record["models"].items():
        if passport.get("activation_from", "").startswith("nothing"):
            print(f"note: {model}: nothing vouches for its activation, {passport['activation']}; check it")
    for model, n in run.failures.groupby("model").size().items():
        print(f"{model}: {n} images failed and are left out, see failures.csv")
    _print_scores(run)
    print(f"predictions.parquet, scores.csv, failures.csv and run.json are in {folder}")


def _print_scores(run) -> None:
    from . import stats
    from .plots import headline
    from .tables import percent

    table = headline(stats.score(run.answers, by=()))
    for row in table[table.question.isin(["all", "classification", "cognition"])].itertuples():
        print(f"{row.model}: {row.level} {percent(row.accuracy, row.ci_low, row.ci_high)} % of {row.n_questions:,} "
              f"questions, chance {percent(row.chance)} %")  # fmt: skip


def _list(options) -> None:
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
        print(f"{form:24} {about}")


def _doctor(options) -> None:
    """Say what works; never fails itself."""
    import torch

    def tell(works: bool, text: str) -> None:
        print(f"{'ok     ' if works else 'missing'}  {text}")

    tell(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or later)")
    for package in ("torch", "open_clip_torch", "datasets", "papermill", "jupytext", "jupyter-book"):
        try:
            tell(True, f"{package} {version(package)}")
        except PackageNotFoundError:
            tell(False, f"{package}: pip install -e . in the project's folder")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    tell(bool(gpu), f"GPU: {gpu}" if gpu else f"GPU (not needed): models run on {os.cpu_count()} CPU cores")
    folder = cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    tell(os.access(there, os.W_OK), f"cache {folder}, {shutil.disk_usage(there).free / 1e9:.0f} GB free")
    tell(
        (Path(__file__).parents[1] / "notebooks").is_dir(),
        "notebooks beside the package (a checkout installed with -e)",
    )
    from .evaluate import evaluate

    try:
        run = evaluate("demo", ["demo-base"], limit=20)
        tell(True, f"built-in sample: demo-base answered {len(run.predictions)} questions")
    except Exception as error:
        tell(False, f"built-in sample: {error}")


def _train(options) -> None:
    from .demo.train import train

    train(Path(options.out), **({} if options.seed is None else {"seed": options.seed}))


if __name__ == "__main__":
    sys.exit(main())
