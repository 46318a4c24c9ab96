"""Notebooks executed in this process, cell by cell: the code and outputs are those of a kernel, without its start."""

import ast

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.parameterize import parameterize_notebook

from ubench_utils.pages import runner


def executed(section, **parameters):
    """Execute a section's notebook with parameters; returns it with its outputs, not yet tidied.

    An exception in a cell is raised.
    """
    notebook = nbformat.from_dict(runner.source(runner.sections()[section])[0])
    notebook.metadata.papermill = {}
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(history_manager=None)
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                with capture_output() as captured:
                    shell.run_cell(cell.source, silent=True).raise_error()
                cell.outputs = [
                    nbformat.v4.new_output("display_data", data=output.data, metadata=output.metadata or {})
                    for output in captured.outputs
                ]
                if captured.stdout:
                    cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=captured.stdout))
    finally:
        InteractiveShell.clear_instance()
    return notebook


def glued(notebook):
    """The sentences that a page glues in, by name."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    found = {output.get("metadata", {}).get("scrapbook", {}).get("name"): output for output in outputs}
    return {name: ast.literal_eval(next(iter(output.data.values()))) for name, output in found.items() if name}
