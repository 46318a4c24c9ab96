"""Questions: one row per image, question type and caption wording, with options, answer and facets.

A contrastive model answers a question by choosing among whole caption sentences (benchmark protocol): ``captions``
on the Hub hold two wordings, 0 and 1, of every type but ``subdomain``, whose captions are built here from the
question's options with the wording of ``domain``. A user's own wordings (``read_templates``) are numbered from 2.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd

from ..errors import UserError, shown
from ..files import read_yaml
from .benchmark import COARSE, FACETS, Benchmark
from .cognition import ENTRY, entries

TYPES = [*COARSE, "classification"]  # whose options are scored as captions
LEVELS = {**dict.fromkeys(COARSE, "coarse"), "classification": "fine", "cognition": "cognition"}
PERCEPTION = ["coarse", "fine"]  # levels; every image of the benchmark is asked these
WORDINGS = [0, 1]
HEADLINE_WORDING = 1  # the wording of the official tables
NONE_OF_THE_ABOVE = "none of the above"
NO_CHOICE = "no option"  # of a reply, made elsewhere, that names none
SLOT = "{class}"  # in a sentence, the place of the option
NO_OPTIONS = "a question and its answer without options"
MISSING = ("nan", "<na>")  # what pandas writes as text where a value is missing


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
    content = read_yaml(file, "templates")
    who = f"templates '{path}'"
    if not isinstance(content, dict) or not content:
        raise UserError(f"{who}: write NAME: {{QUESTION TYPE: sentence with {SLOT}}}")
    wordings = {file.stem: content} if all(isinstance(value, str) for value in content.values()) else content
    for name, sentences in wordings.items():
        where = f"{who}, wording '{shown(name)}'"
        if not isinstance(sentences, dict) or not sentences:
            raise UserError(f"{where}: write {{QUESTION TYPE: sentence with {SLOT}}}")
        for question, sentence in sentences.items():
            if question not in TYPES:
                raise UserError(f"{where}: no question type '{shown(question)}'; the types are {', '.join(TYPES)}")
            if not isinstance(sentence, str):  # it may hold itself
                raise UserError(f"{where}, {question}: write a sentence with {SLOT}, not a {type(sentence).__name__}")
            if SLOT not in sentence:
                start = shown(sentence)
                raise UserError(f"{where}, {question}: the sentence '{start}' lacks {SLOT}, the place of the option")
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
        Columns ``dataset, image_id, image_hash, further, group, question, wording, level, options`` (tuple of str: the
        sentences that are scored), ``labels`` (tuple of str: the same options without the sentence around them, for
        people), ``asked`` (str: the question in words), ``answer_idx`` (int), ``n_options`` (int) and the facets. Null
        questions are left out; ``attrs["notes"]`` counts those that are left out for another reason, and
        ``attrs["wordings"]`` names the wordings by their numbers. Empty options at the end of a list are no options.

    Raises
    ------
    UserError
        If an answer index is no index of the options, or a field holds values of another kind than the schema says;
        names the row and the field.
    """
    records: list[tuple] = []
    left_out: Counter = Counter()
    padded: Counter = Counter()
    disordered: Counter = Counter()
    unasked: Counter = Counter()
    texts = zip(benchmark.rows["captions"], benchmark.rows["questions"], strict=True)
    for row, (captions, questions) in enumerate(texts):
        try:
            captions, questions = _checked(captions, "captions"), _checked(questions, "questions")
            unasked.update(_unasked(captions, questions))
            asked = [*_of_row(captions, questions, left_out), *_of_templates(questions, templates or {})]
            for question, wording, entry, field, sentences in asked:
                own = _without_padding(tuple(entry["options"]))
                options = sentences(own)
                reason, index = _index_or_reason(entry, own, options, field)
                if reason:
                    left_out[field, reason] += 1
                    continue
                padded[field, "empty options at the end of a list are no options"] += len(own) < len(entry["options"])
                plain = entry if question == "cognition" else questions.get(question) or {}
                labels = _without_padding(tuple(plain.get("options") or ()))
                if not _same_order(labels, options):
                    disordered[f"questions.{question}"] += bool(labels)
                    labels = options
                words = plain.get("question")
                records.append((row, question, wording, LEVELS[question], options, labels, words, index, len(own)))
        except UserError as error:
            key = benchmark.images.iloc[row]
            where = f"row {key.row} (dataset {key.dataset}, image_id {key.image_id})"
            raise UserError(f"dataset '{benchmark.name}', {where}, {error}") from error
    if not records:
        reasons = "; ".join(f"{reason} ({fields})" for reason, fields, _ in _by_reason(left_out + unasked))
        reasons = reasons or "every caption and question is null"
        raise UserError(f"dataset '{benchmark.name}' holds no question that can be asked: {reasons}")
    columns = ["row", "question", "wording", "level", "options", "labels", "asked", "answer_idx", "n_options"]
    table = pd.DataFrame(records, columns=columns)
    images = benchmark.images[["dataset", "image_id", "image_hash", "further", "group", *FACETS]]
    table = pd.concat([images.iloc[table.row].reset_index(drop=True), table.drop(columns="row")], axis=1)
    table.attrs["notes"] = [
        *(f"{n} questions left out, {fields}: {reason}" for reason, fields, n in _by_reason(left_out)),
        *(f"{n} questions of {fields}: {reason}" for reason, fields, n in _by_reason(padded)),
        *(
            f"{n} captions have not the options of {field} in their order; whole captions are shown instead"
            for field, n in (+disordered).items()
        ),
        *(f"{n} questions of {fields}: {reason}" for reason, fields, n in _by_reason(unasked)),
    ]
    table.attrs["wordings"] = {number: str(number) for number in WORDINGS} | {
        number: f"{number} ({name})" for number, name in enumerate(templates or {}, start=len(WORDINGS))
    }
    return table


def _by_reason(counts: Counter) -> list[tuple]:
    """Reason, fields and count of what is counted by (field, reason)."""
    fields: dict[str, list] = {}
    total: Counter = Counter()
    for (field, reason), n in (+counts).items():
        fields.setdefault(reason, []).append(field)
        total[reason] += n
    return [(reason, ", ".join(named), total[reason]) for reason, named in fields.items()]


def _checked(entries, column: str) -> dict:
    """Questions of a row by their names, nulls left out; each has options and a question of the right kind, or none."""
    if isinstance(entries, list):  # of structs, each with its own name
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
        if None in names or len({*names}) < len(names):
            raise UserError(
                f"{column}: of a list, each entry has a `name` of its own (modality, or modality_0 in captions)"
            )
        entries = dict(zip(names, entries, strict=True))
    entries = {name: entry for name, entry in (entries or {}).items() if entry is not None}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise UserError(f"{column}.{name}: expected a struct with options, found {_shown(entry)}")
        options, sentence = entry.get("options"), entry.get("question")
        if not (options is None or isinstance(options, list) and all(o is None or isinstance(o, str) for o in options)):
            raise UserError(f"{column}.{name}.options: expected a list of texts, found {_shown(options)}")
        if not (sentence is None or isinstance(sentence, str)):
            raise UserError(f"{column}.{name}.question: expected text, found {_shown(sentence)}")
    return entries


def _unasked(captions: dict, questions: dict):
    """Yield (field, reason) of what has options, but no name of this benchmark or no captions to choose among."""
    known = {f"{question}_{wording}" for question in TYPES for wording in WORDINGS}
    reason = f"no type of this benchmark, so not asked; the types are {', '.join(LEVELS)}"
    for column, held, names in (("captions", captions, known), ("questions", questions, LEVELS)):
        other = (name for name in held.keys() - names if column == "captions" or not ENTRY.fullmatch(name))
        yield from ((f"{column}.{name}", reason) for name in other if held[name].get("options"))
    for question in questions.keys() & {*TYPES} - {"subdomain"}:  # whose captions are built
        if questions[question].get("options") and not any(f"{question}_{wording}" in captions for wording in WORDINGS):
            yield f"questions.{question}", "its captions are null, so it is asked in no wording of the benchmark"


def _of_row(captions: dict, questions: dict, left_out: Counter):
    """Yield (question, wording, entry, field, sentences) of one row: ``sentences`` turns options into captions."""
    for question in TYPES:
        for wording in WORDINGS:
            name = f"{question}_{wording}"
            caption = captions.get(name) or {}
            if question == "subdomain" and not caption.get("options"):
                entry = questions.get("subdomain") or {}
                template = (captions.get(f"domain_{wording}") or {}).get("question") or ""
                if entry.get("options") and entry.get("question") and SLOT not in template:
                    reason = f"captions.domain_{wording}.question holds no {SLOT} to build from"
                    left_out["questions.subdomain", reason] += 1
                elif entry.get("options") and entry.get("question"):
                    yield question, wording, entry, "questions.subdomain", partial(_fill, template)
                elif _lacks_options(entry):
                    left_out["questions.subdomain", NO_OPTIONS] += 1
            elif caption.get("options") and caption.get("question"):
                yield question, wording, caption, f"captions.{name}", tuple
            elif caption.get("options"):
                left_out[f"captions.{name}", f"options without `question`, the sentence with {SLOT}"] += 1
            elif _lacks_options(caption):
                left_out[f"captions.{name}", NO_OPTIONS] += 1
    for name in entries(questions)[:1]:  # further ones have rows of their own
        entry = questions[name]
        if entry.get("options") and entry.get("question"):
            yield "cognition", HEADLINE_WORDING, entry, f"questions.{name}", partial(_append, entry["question"])
        elif entry.get("options"):
            left_out[f"questions.{name}", "options without `question`"] += 1
        elif _lacks_options(entry):
            left_out[f"questions.{name}", NO_OPTIONS] += 1


def _of_templates(questions: dict, templates: dict):
    """Yield the same of the user's wordings: their sentences around the plain options of ``questions``."""
    for wording, sentences in enumerate(templates.values(), start=len(WORDINGS)):
        for question, sentence in sentences.items():
            entry = questions.get(question) or {}
            if entry.get("options") and entry.get("question"):
                yield question, wording, entry, f"questions.{question}", partial(_fill, sentence)


def _fill(sentence: str, options) -> tuple:
    """The sentence with each option in its slot; "none of the above" stands alone, as in the benchmark's captions."""
    return tuple(option if option == NONE_OF_THE_ABOVE else sentence.replace(SLOT, option) for option in options)


def _lacks_options(entry: dict) -> bool:
    """Whether an entry is meant as a question, since it has its words and an answer, but has no options."""
    return bool(entry.get("question")) and entry.get("answer_idx") is not None and not entry.get("options")


def _append(question: str, options) -> tuple:
    """A question of cognition with each of its options."""
    return tuple(f"{question} {option}" for option in options)


@lru_cache(2**16)
def _without_padding(options: tuple) -> tuple:
    """Options without the empty ones at their end, by which lists of a table get one length; others empty are ``""``.

    In the middle they stay, since the letters of the options after them would change.
    """
    texts = [option if option and _reading(option) else "" for option in options]
    while texts and (not texts[-1] or _reading(texts[-1]) in MISSING):
        texts.pop()
    return tuple(texts)


def _index_or_reason(entry: dict, own: tuple, options: tuple, field: str) -> tuple[str, int | None]:
    """Why a question cannot be asked, else nothing and its answer index; ``options`` are the captions of ``own``."""
    if len(own) < 2:
        return "fewer than two options", None
    value = entry.get("answer_idx")
    index = _answer_index(value, entry["options"])
    if index is not None and (index >= len(own) or not own[index]):
        return "its right option is empty", None
    if "" in own:
        return "one of its options is empty, and not at the end", None
    if _are_alike(own) or _are_alike(options):
        return "its options are not distinct", None
    if index is None:
        raise UserError(f"{field}.answer_idx: {_shown(value)} is no index of its {len(own)} options")
    return "", index


@lru_cache(2**16)
def _are_alike(texts: tuple) -> bool:
    return len({_reading(text).rstrip(". ") for text in texts}) < len(texts)


@lru_cache(2**16)
def _reading(text: str) -> str:
    """What a model can tell apart: without case, blanks at the ends and doubled, and characters that do not show."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    shown = "".join(c for c in " ".join(folded.split()) if unicodedata.category(c) not in ("Cc", "Cf"))
    return " ".join(shown.split())


def _same_order(labels: tuple, captions: tuple) -> bool:
    """Whether plain options can stand for captions: none has its words in another caption and not in its own."""
    if len(labels) != len(captions) or "" in labels:
        return False
    words, sentences = [[text.casefold() for text in texts] for texts in (labels, captions)]
    asked = [sentence for sentence in sentences if sentence != NONE_OF_THE_ABOVE]  # "None" is a stain of its own
    return not any(
        word not in sentences[place] and any(word in sentence for sentence in asked) for place, word in enumerate(words)
    )


def _answer_index(value, options) -> int | None:
    """Answer index as an int (the Hub stores it as text in captions), None where it points nowhere.

    Whole numbers and text of plain digits, say ``2.0`` and ``"2"``; what other programs would read as a number, say
    ``"2_0"``, ``"1e0"`` or ``True``, is none.
    """
    if isinstance(value, str):
        digits = re.fullmatch(r"(\d{1,9})(\.0+)?", value.strip(), re.ASCII)
        value = int(digits[1]) if digits else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in range(len(options)):
        return None
    return int(value)


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
