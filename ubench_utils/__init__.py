"""Vision-language models on μ-Bench: from rows to questions, answers, scores, and figures and sentences about them.

``import ubench_utils as ub`` gives the names below; each is loaded when it is first used, and importing changes nothing
in the process. The rooms, from the bottom: ``data`` and ``demo``; ``engine`` and ``statistics``; ``models``;
``evaluation``; then ``studies`` (numbers), ``report`` (their form) and ``pages`` (the book), which know nothing of each
other. Notebooks join them.
"""

from importlib import import_module

__version__ = "0.1.0"

PUBLIC = {  # name: the file that holds it
    "load_benchmark": "data.benchmark",
    "build_questions": "data.questions",
    "load_model": "models.load",
    "open_model": "models.load",
    "find_model": "models.registry",
    "as_list": "models.registry",
    "pairs": "models.registry",
    "read_submission": "models.submission",
    "evaluate": "evaluation.evaluate",
    "join_answers": "statistics.scores",
    "score": "statistics.scores",
    "compare": "statistics.scores",
    "compare_pairs": "statistics.scores",
    "compare_wordings": "statistics.scores",
    "compare_cells": "statistics.families",
    "contrast": "statistics.scores",
    "headline": "statistics.scores",
    "totals": "statistics.scores",
    "calibration_error": "statistics.calibration",
    "cross_fit": "statistics.selection",
    "pareto": "statistics.selection",
    "dots": "report.figures.dots",
    "lines": "report.figures.lines",
    "heatmap": "report.figures.heatmap",
    "bars": "report.figures.bars",
    "plane": "report.figures.plane",
    "by_pair": "report.figures.rows",
    "show": "report.style",
    "colours": "report.style",
    "table": "report.tables",
    "percent": "report.text",
    "sentence": "report.sentences",
    "glue": "report.sentences",
    "answer": "report.lessons",
}
FILES = {  # files of report, for what few pages need: ``ub.forms.points``
    "cards": "report.cards",
    "figures": "report.figures",
    "forms": "report.text",
    "style": "report.style",
    "tables": "report.tables",
}

__all__ = [*PUBLIC]


def __getattr__(name: str):
    if name in FILES:
        return import_module(f".{FILES[name]}", __name__)
    if name not in PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC, *FILES})
