"""The public names: few, there, documented, and loaded when they are used."""

import inspect

import pytest

import ubench_utils as ub


def test_names_are_few_and_listed():
    assert set(ub.__all__) == set(ub.PUBLIC) <= set(dir(ub)) and len(ub.PUBLIC) <= 30


@pytest.mark.parametrize("name", ub.__all__)
def test_name_is_there_and_documented(name):
    thing = getattr(ub, name)
    assert inspect.getdoc(thing) and thing.__module__ == f"ubench_utils.{ub.PUBLIC[name]}"


def test_any_other_name_is_none():
    with pytest.raises(AttributeError, match="'ubench_utils' has no attribute 'scores_of'"):
        _ = ub.scores_of
