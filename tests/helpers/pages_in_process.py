"""Notebooks executed in this process, cell by cell: the code and outputs are those of a kernel, without its start."""

import ast

from ubench_utils.pages import execution, runner


def executed(section, **parameters):
    """Execute a section's notebook with parameters; returns it with its outputs, not yet tidied.

    An exception in a cell is raised.
    """
    return execution.run_cells(runner._source(runner.sections()[section])[0], parameters)


def glued(notebook):
    """The sentences that a page glues in, by name."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = {output.get("metadata", {}).get("scrapbook", {}).get("name"): output for output in outputs}
    return {name: ast.literal_eval(next(iter(output.data.values()))) for name, output in found.items() if name}
