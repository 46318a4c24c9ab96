"""Calls that cannot be meant: one line says what was wrong, and what would be right."""

import pytest
from helpers.samples import table_of

from ubench_utils.errors import UserError
from ubench_utils.statistics import scores as stats


def test_a_mistake_of_the_caller_is_one_line():
    answers = table_of("a", [1, 0, 1])
    for call, words in (
        (lambda: stats.score(answers.drop(columns="level")), "no column level"),
        (lambda: stats.score(answers, by="modality"), r"say \['modality'\]"),
        (lambda: stats.score(answers, by=["modalty"]), "no column modalty"),
        (lambda: stats.compare_pairs(answers, [("a", "a")], by=["modalty"]), "no column modalty"),
        (lambda: stats.compare(answers, "a", "b", by=[]), "no answers of b; the models are a"),
        (lambda: stats.contrast(answers, {"a": 1}, "mean"), "one of micro, macro"),
    ):
        with pytest.raises(UserError, match=words):
            call()
