"""Questions: one row per image, question type and caption wording, with options, answer and facets.

A contrastive model answers a question by choosing among whole caption sentences (benchmark protocol): ``captions``
on the Hub hold two wordings, 0 and 1, of every type but ``subdomain``, whose captions are built here from the
question's options with the wording of ``domain``.
"""

from collections import Counter

import pandas as pd

from .data import FACETS, Benchmark
from .errors import UserError

COARSE = ["domain", "subdomain", "modality", "submodality", "stain"]
LEVELS = {**dict.fromkeys(COARSE, "coarse"), "classification": "fine", "cognition": "cognition"}
WORDINGS = [0, 1]
HEADLINE_WORDING = 1  # the wording of the official tables
NONE_OF_THE_ABOVE = "none of the above"


def build_questions(benchmark: Benchmark) -> pd.DataFrame:
    """Table of all questions that the rows hold.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset, image_id, image_hash, question, wording, level, options`` (tuple of str: the sentences
        that are scored), ``labels`` (tuple of str: the same options without the sentence around them, for people),
        ``asked`` (str: the question in words), ``answer_idx`` (int), ``n_options`` (int) and the facets. Null
        questions are left out; ``attrs["notes"]`` counts those that are left out for another reason.

    Raises
    ------
    UserError
        If an answer index is no index of the options; names the row and the field.
    """
    records, left_out = [], Counter()
    texts = zip(benchmark.rows["captions"], benchmark.rows["questions"], strict=True)
    for row, (captions, questions) in enumerate(texts):
        for question, wording, options, answer_idx, source in _of_row(captions or {}, questions or {}, left_out):
            if len(set(options)) < len(options):
                left_out[f"{source}: its options are not distinct"] += 1
                continue
            index = _answer_index(answer_idx, options)
            if index is None:
                key = benchmark.images.iloc[row]
                raise UserError(
                    f"dataset '{benchmark.name}', row {key.row} (dataset {key.dataset}, image_id {key.image_id}), "
                    f"{source}.answer_idx: {answer_idx!r} is no index of its {len(options)} options"
                )
            plain = (questions or {}).get(question) or {}
            labels = tuple(plain.get("options") or ())
            labels = labels if len(labels) == len(options) else options
            records.append(
                (row, question, wording, LEVELS[question], options, labels, plain.get("question"), index, len(options))
            )
    if not records:
        reasons = "; ".join(left_out) or "every caption and question is null"
        raise UserError(f"dataset '{benchmark.name}' holds no question that can be asked: {reasons}")
    columns = ["row", "question", "wording", "level", "options", "labels", "asked", "answer_idx", "n_options"]
    table = pd.DataFrame(records, columns=columns)
    images = benchmark.images[["dataset", "image_id", "image_hash", *FACETS]]
    table = pd.concat([images.iloc[table.row].reset_index(drop=True), table.drop(columns="row")], axis=1)
    table.attrs["notes"] = [f"{n} questions left out, {reason}" for reason, n in left_out.items()]
    return table


def _of_row(captions: dict, questions: dict, left_out: Counter):
    """Yield (question, wording, options, answer_idx, field) of one row, nulls skipped."""
    for question in [*COARSE, "classification"]:
        for wording in WORDINGS:
            name = f"{question}_{wording}"
            caption = captions.get(name) or {}
            if question == "subdomain" and not caption.get("options"):
                asked = questions.get("subdomain") or {}
                template = (captions.get(f"domain_{wording}") or {}).get("question")
                if asked.get("options") and asked.get("question") and "{class}" not in (template or ""):
                    left_out[
                        f"questions.subdomain: captions.domain_{wording}.question holds no {{class}} to build from"
                    ] += 1
                elif asked.get("options") and asked.get("question"):
                    options = tuple(
                        option if option == NONE_OF_THE_ABOVE else template.replace("{class}", option)
                        for option in asked["options"]
                    )
                    yield question, wording, options, asked.get("answer_idx"), "questions.subdomain"
            elif caption.get("options") and caption.get("question"):
                yield question, wording, tuple(caption["options"]), caption.get("answer_idx"), f"captions.{name}"
            elif caption.get("options"):
                left_out[f"captions.{name}: options without `question`, the sentence with {{class}}"] += 1
    asked = questions.get("cognition") or {}
    if asked.get("options") and asked.get("question"):
        options = tuple(f"{asked['question']} {option}" for option in asked["options"])
        yield "cognition", HEADLINE_WORDING, options, asked.get("answer_idx"), "questions.cognition"


def _answer_index(value, options: tuple) -> int | None:
    """Answer index as an int (the Hub stores it as text in captions), None where it points nowhere."""
    try:
        index = int(value)
    except (TypeError, ValueError):
        return None
    return index if 0 <= index < len(options) and float(value) == index else None
