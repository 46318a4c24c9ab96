"""The public names: few, there, documented, and loaded when they are used."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from helpers.site import ROOT

import ubench_utils as ub


def test_names_are_few_and_listed():
    assert set(ub.__all__) == set(ub.PUBLIC) <= set(dir(ub)) and len(ub.PUBLIC) <= 35


@pytest.mark.parametrize("name", ub.__all__)
def test_name_is_there_and_documented(name):
    thing = getattr(ub, name)
    assert inspect.getdoc(thing) and thing.__module__ == f"ubench_utils.{ub.PUBLIC[name]}"


def test_any_other_name_is_none():
    with pytest.raises(AttributeError, match="'ubench_utils' has no attribute 'scores_of'"):
        _ = ub.scores_of


def test_the_page_of_functions_holds_every_name():
    sys.path.insert(0, str(ROOT / "book" / "_ext"))
    try:
        import functions
    finally:
        sys.path.remove(str(ROOT / "book" / "_ext"))
    text, files = functions.markdown(ROOT / "ubench_utils")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == ub.__all__
    assert re.findall(r"^ub\.(\w+)\(", text, re.MULTILINE) == ub.__all__
    assert functions.MARK in (ROOT / "book" / "functions.md").read_text(encoding="utf-8") and all(
        map(Path.exists, files)
    )


@pytest.mark.slow
def test_the_example_of_the_page_runs(cache):
    text = (ROOT / "book" / "functions.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(code, names)
    assert set(names["scores"]["model"]) == {"demo-base", "demo-pathology"}
