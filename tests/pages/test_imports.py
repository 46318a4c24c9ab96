"""What the notebooks take from the package: few names, each of them there."""

import ast
import builtins
import importlib
import re

import pytest
from helpers.site import ROOT

NOTEBOOKS = sorted(ROOT.joinpath("notebooks").rglob("*.md"))


def tree_of(path):
    """The code of a notebook; options of cells and lines of the shell are left out."""
    cells = re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return ast.parse(re.sub(r"^[:%!].*$", "", "\n".join(cells), flags=re.MULTILINE))


def taken(tree):
    """What each name that is imported from the package stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [one for one in node.names if one.name.split(".")[0] == "ubench_utils"]
            found |= {one.asname or one.name: importlib.import_module(one.name) for one in names}
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ubench_utils":
            found |= {one.asname or one.name: reached(node.module, one.name) for one in node.names}
    return found


def reached(module, name):
    try:
        return importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_takes_at_most_three_names_and_they_are_there(path):
    tree = tree_of(path)
    names = taken(tree)
    assert "ub" in names and len(names) <= 3, sorted(names)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(names) <= used, f"not used: {sorted(set(names) - used)}"
    known = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert not [node.id for node in ast.walk(tree) if id(node) in known and node.id in names]  # none is given away
    for node in ast.walk(tree):
        steps, root = [], node
        while isinstance(root, ast.Attribute):
            steps, root = [root.attr, *steps], root.value
        if steps and isinstance(root, ast.Name) and root.id in names:
            thing = names[root.id]
            for step in steps:
                thing = getattr(thing, step)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_name_of_a_notebook_comes_from_somewhere(path):
    tree = tree_of(path)
    made = {"display", "get_ipython", *dir(builtins)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made |= {one.asname or one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.FunctionDef):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert used <= made, sorted(used - made)
