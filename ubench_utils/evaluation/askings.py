"""The same questions asked again, otherwise: their options in other orders, without an image, and once more.

What a model answers should depend on the image, not on the place of an option or on the hour. On a sample of the images
each question is asked with its options rotated, so that every option visits every place; "none of the above" stays last
where it is last. It is asked about a grey image. And a model behind an address, which may answer otherwise the next
time, is asked the same a second time. All replies are kept like any other, so that an audit that was stopped goes on.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..data.benchmark import Benchmark, draw
from ..data.blank import blank_images
from ..data.questions import HEADLINE_WORDING, NONE_OF_THE_ABOVE
from ..errors import UserError
from ..models.load import open_model
from ..models.model import Model
from ..models.plan import SAMPLE, Plan
from ..models.replies import NO_OPTION, read_reply
from ..statistics.cells import QUESTION
from ..statistics.resampling import UNIT, units
from .run import Evaluation

ORDER, BLANK, AGAIN = "order", "blank image", "again"  # ways of asking
SECOND = 2  # the asking whose replies are kept apart
KEPT = [*QUESTION, "level", "n_options", "labels", "answer_idx", *UNIT]
COLUMNS = ["model", *KEPT, "way", "turn", "n_turns", "picked", "chosen", "letters", "reply", "finish"]


def askings(run: Evaluation, models: Sequence[str], *, limit: int = SAMPLE, only_kept: bool = False) -> pd.DataFrame:
    """Ask a sample of a run's questions again, of the models that reply in words.

    Parameters
    ----------
    run : Evaluation
    models : sequence of str
        Names or model strings; those that do not reply have no rows.
    limit : int
        Images of the sample: of each sub-dataset its share, as ``load_benchmark`` draws it.
    only_kept : bool
        Leave out models without weights here of which something would have to be asked, and paid, now.

    Returns
    -------
    pandas.DataFrame
        A row a reply: the question with its ``labels`` and ``answer_idx`` as stored; ``way``: ``order``, ``blank
        image`` or ``again``; ``turn``: by how many places the options were rotated, of ``n_turns``, 0 as stored;
        ``picked``: the place of the option that the reply names, ``chosen``: its index as stored, both −1 where it
        names none; ``letters``: probabilities of the options in their stored order, none where they are not known;
        ``reply`` and ``finish``.
    """
    tables = []
    for model in _speakers(models):
        ways = _ways(run.benchmark, run.questions, model, limit)
        if only_kept and not model.has_weights and any(_plan(model, way, run.settings).to_ask for way in ways):
            continue
        for way, benchmark, questions, asking in ways:
            found = model.ask(benchmark, questions, **run.settings, asking=asking)
            tables.append(_read(found.asked, found.replies).assign(model=model.name, way=way))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    return table.reindex(columns=COLUMNS)


def plans(
    benchmark: Benchmark, questions: pd.DataFrame, models: Sequence[str], *, settings: dict, limit: int = SAMPLE
) -> list[Plan]:
    """What ``askings`` would ask, of each model and way, with a device and a precision; nothing is asked.

    Raises
    ------
    UserError
        If none of the models replies in words.
    """
    speakers = _speakers(models)
    if not speakers:
        raise UserError("none of these models replies in words, so there is nothing to audit")
    return [_plan(model, way, settings) for model in speakers for way in _ways(benchmark, questions, model, limit)]


def _speakers(models: Sequence[str]) -> list[Any]:
    return [model for model in map(open_model, models) if model.replies]


def _plan(model, of: tuple, settings: dict) -> Plan:
    way, benchmark, questions, asking = of
    return model.plan(benchmark, questions, asking=asking, **settings)._replace(model=f"{model.name}, {way}")


def _ways(benchmark: Benchmark, questions: pd.DataFrame, model: Model, limit: int) -> list[tuple]:
    """The ways of asking: name, images, questions, and the number of the asking."""
    sample, blank = _sample(benchmark, questions, limit), blank_images()
    grey = sample.assign(image_hash=blank.images.image_hash[0], further="")  # one in place of however many
    ways: list[tuple] = [
        (ORDER, benchmark, rotations(sample), 1),
        (BLANK, blank, _as_stored(grey), 1),
    ]
    return ways if model.has_weights else [*ways, (AGAIN, benchmark, _as_stored(sample), SECOND)]


def _sample(benchmark: Benchmark, questions: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Questions about a sample of the images, in the headline wording, with their units among all of the run."""
    images, shown = benchmark.images, benchmark.pictures
    drawn = shown.index[draw(shown.dataset, limit)] if limit < len(shown) else shown.index
    keys = pd.MultiIndex.from_frame(images[images.picture.isin(images.picture[drawn])][["dataset", "image_id"]])
    questions = questions.assign(**units(questions))
    here = pd.MultiIndex.from_frame(questions[["dataset", "image_id"]]).isin(keys)
    return questions[here & (questions.wording == HEADLINE_WORDING)].reset_index(drop=True)


def rotations(questions: pd.DataFrame) -> pd.DataFrame:
    """Every question with its options in each rotation, "none of the above" last where it is last.

    Parameters
    ----------
    questions : pandas.DataFrame
        As from ``build_questions``.

    Returns
    -------
    pandas.DataFrame
        The same columns, ``options, labels, answer_idx`` as asked; ``order``: the stored index of the option at each
        place; ``turn`` and ``n_turns``, the places that take part.
    """
    tables = []
    turning = questions.n_options - [labels[-1] == NONE_OF_THE_ABOVE for labels in questions.labels]
    for turn in range(turning.max() if len(questions) else 0):
        own = questions[turn < turning]
        n = turning[own.index]
        orders = [
            [(place + turn) % turned if place < turned else place for place in range(options)]
            for turned, options in zip(n, own.n_options, strict=True)
        ]
        turned = {name: _in_order(own[name], orders) for name in ("labels", "options")}
        places = [order.index(at) for order, at in zip(orders, own.answer_idx, strict=True)]
        tables.append(own.assign(**turned, answer_idx=places, order=orders, turn=turn, n_turns=n))
    return pd.concat(tables, ignore_index=True)


def _as_stored(questions: pd.DataFrame) -> pd.DataFrame:
    return questions.assign(order=[list(range(n)) for n in questions.n_options], turn=0, n_turns=1)


def _in_order(column: pd.Series, orders: list) -> list[tuple]:
    return [tuple(texts[at] for at in order) for texts, order in zip(column, orders, strict=True)]


def _read(asked: pd.DataFrame, replies: list) -> pd.DataFrame:
    """Replies as rows of ``askings``, turned back into the stored order."""
    rows = []
    for reply, labels, options, order in zip(replies, asked.labels, asked.options, asked.order, strict=True):
        picked = read_reply(reply.text, labels, options).index
        chosen = order[picked] if picked != NO_OPTION else NO_OPTION
        places = np.argsort(order)
        letters = tuple(reply.letters[place] for place in places) if reply.letters else ()
        rows.append((picked, chosen, letters, reply.text, reply.finish))
    found = pd.DataFrame(rows, columns=["picked", "chosen", "letters", "reply", "finish"], index=asked.index)
    back = [np.argsort(order).tolist() for order in asked.order]
    stored = {"labels": _in_order(asked.labels, back)}
    stored["answer_idx"] = [order[at] for order, at in zip(asked.order, asked.answer_idx, strict=True)]
    return asked.assign(**stored).join(found)[[*KEPT, "turn", "n_turns", *found]]
