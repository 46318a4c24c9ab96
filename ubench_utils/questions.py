"""Questions: one row per image, question type and caption wording, with options, answer and facets.

A contrastive model answers a question by choosing among whole caption sentences (benchmark protocol): ``captions``
on the Hub hold two wordings, 0 and 1, of every type but ``subdomain``, whose captions are built here from the
question's options with the wording of ``domain``. A user's own wordings (``read_templates``) are numbered from 2.
"""

from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

from .data import FACETS, Benchmark
from .errors import UserError

COARSE = ["domain", "subdomain", "modality", "submodality", "stain"]
LEVELS = {**dict.fromkeys(COARSE, "coarse"), "classification": "fine", "cognition": "cognition"}
WORDINGS = [0, 1]
HEADLINE_WORDING = 1  # the wording of the official tables
NONE_OF_THE_ABOVE = "none of the above"
SLOT = "{class}"  # in a sentence, the place of the option


def read_templates(path: str) -> dict[str, dict[str, str]]:
    """Read a user's caption wordings: a YAML file of ``NAME: {QUESTION TYPE: sentence with {class}}``.

    A file of ``QUESTION TYPE: sentence`` alone is one wording, named after the file. Types that a wording leaves out
    are not asked in it.

    Raises
    ------
    UserError
        If the file cannot be read, names a type that does not exist, or a sentence lacks ``{class}``.
    """
    file = Path(path).expanduser()
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"templates '{path}': cannot be read as YAML ({' '.join(str(error).split())[:160]})") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"templates '{path}': write NAME: {{QUESTION TYPE: sentence with {SLOT}}}")
    wordings = {file.stem: content} if all(isinstance(value, str) for value in content.values()) else content
    types = [*COARSE, "classification"]
    for name, sentences in wordings.items():
        if not isinstance(sentences, dict) or not sentences:
            raise UserError(f"templates '{path}', wording '{name}': write {{QUESTION TYPE: sentence with {SLOT}}}")
        for question, sentence in sentences.items():
            if question not in types:
                raise UserError(f"templates '{path}', wording '{name}': no question type '{question}'; the types are "
                                f"{', '.join(types)}")  # fmt: skip
            if not isinstance(sentence, str) or SLOT not in sentence:
                raise UserError(f"templates '{path}', wording '{name}', {question}: the sentence {sentence!r} lacks "
                                f"{SLOT}, the place of the option")  # fmt: skip
    return {str(name): sentences for name, sentences in wordings.items()}


def build_questions(benchmark: Benchmark, templates: dict | None = None) -> pd.DataFrame:
    """Table of all questions that the rows hold.

    Parameters
    ----------
    benchmark : Benchmark
    templates : dict, optional
        Further wordings, as from ``read_templates``.

    Returns
    -------
    pandas.DataFrame
        Columns ``dataset, image_id, image_hash, question, wording, level, options`` (tuple of str: the sentences
        that are scored), ``labels`` (tuple of str: the same options without the sentence around them, for people),
        ``asked`` (str: the question in words), ``answer_idx`` (int), ``n_options`` (int) and the facets. Null
        questions are left out; ``attrs["notes"]`` counts those that are left out for another reason, and
        ``attrs["wordings"]`` names the wordings by their numbers.

    Raises
    ------
    UserError
        If an answer index is no index of the options; names the row and the field.
    """
    records, left_out, disordered = [], Counter(), Counter()
    texts = zip(benchmark.rows["captions"], benchmark.rows["questions"], strict=True)
    for row, (captions, questions) in enumerate(texts):
        asked = [*_of_row(captions or {}, questions or {}, left_out), *_of_templates(questions or {}, templates or {})]
        for question, wording, options, answer_idx, source in asked:
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
            if labels and not _same_order(labels, options):
                disordered[f"questions.{question}"] += 1
            labels = labels if _same_order(labels, options) else options
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
    table.attrs["notes"] = [f"{n} questions left out, {reason}" for reason, n in left_out.items()] + [
        f"{n} captions have not the options of {field} in their order; whole captions are shown instead"
        for field, n in disordered.items()
    ]
    table.attrs["wordings"] = {number: str(number) for number in WORDINGS} | {
        number: f"{number} ({name})" for number, name in enumerate(templates or {}, start=len(WORDINGS))
    }
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
                if asked.get("options") and asked.get("question") and SLOT not in (template or ""):
                    left_out[
                        f"questions.subdomain: captions.domain_{wording}.question holds no {{class}} to build from"
                    ] += 1
                elif asked.get("options") and asked.get("question"):
                    options = _fill(template, asked["options"])
                    yield question, wording, options, asked.get("answer_idx"), "questions.subdomain"
            elif caption.get("options") and caption.get("question"):
                yield question, wording, tuple(caption["options"]), caption.get("answer_idx"), f"captions.{name}"
            elif caption.get("options"):
                left_out[f"captions.{name}: options without `question`, the sentence with {{class}}"] += 1
    asked = questions.get("cognition") or {}
    if asked.get("options") and asked.get("question"):
        options = tuple(f"{asked['question']} {option}" for option in asked["options"])
        yield "cognition", HEADLINE_WORDING, options, asked.get("answer_idx"), "questions.cognition"


def _of_templates(questions: dict, templates: dict):
    """Yield the same of the user's wordings: their sentences around the plain options of ``questions``."""
    for wording, sentences in enumerate(templates.values(), start=len(WORDINGS)):
        for question, sentence in sentences.items():
            asked = questions.get(question) or {}
            if asked.get("options") and asked.get("question"):
                yield (
                    question,
                    wording,
                    _fill(sentence, asked["options"]),
                    asked.get("answer_idx"),
                    f"questions.{question}",
                )


def _fill(sentence: str, options) -> tuple:
    """The sentence with each option in its slot; "none of the above" stands alone, as in the benchmark's captions."""
    return tuple(option if option == NONE_OF_THE_ABOVE else sentence.replace(SLOT, option) for option in options)


def _same_order(labels: tuple, captions: tuple) -> bool:
    """Whether plain options can stand for captions: none has its words in another caption and not in its own."""
    if len(labels) != len(captions):
        return False
    words, sentences = [[text.casefold() for text in texts] for texts in (labels, captions)]
    asked = [sentence for sentence in sentences if sentence != NONE_OF_THE_ABOVE]  # "None" is a stain of its own
    return not any(
        word not in sentences[place] and any(word in sentence for sentence in asked) for place, word in enumerate(words)
    )


def _answer_index(value, options: tuple) -> int | None:
    """Answer index as an int (the Hub stores it as text in captions), None where it points nowhere."""
    try:
        index = int(value)
    except (TypeError, ValueError):
        return None
    return index if 0 <= index < len(options) and float(value) == index else None
