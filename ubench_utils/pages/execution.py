"""Executing notebooks, each in a process of its own and two at a time, with the outputs that a Jupyter kernel gives.

A server process imports the slow libraries once, and every page starts as a fork of it, in the state of a fresh
kernel. Where processes cannot be forked, each imports them itself.
"""

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.parameterize import parameterize_notebook
from traitlets.config import Config

from ..errors import UserError
from .outputs import tidy

AT_A_TIME = 2
SLOW = ["IPython", "matplotlib.pyplot", "pandas", "pyarrow.parquet", "scipy.stats", "seaborn", "myst_nb", "datasets"]
KERNEL = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as Jupyter starts one


def executed(jobs: Iterable[tuple]) -> Iterator[tuple]:
    """Execute notebooks with papermill's parameters, and tidy them.

    They run in the current folder, so that relative paths of data and checkpoints mean what the user meant.

    Parameters
    ----------
    jobs : iterable of (notebook, parameters, slug)
        Each is drawn when its turn has come.

    Yields
    ------
    tuple
        Number of the job and the executed notebook, or the UserError that says which cell failed; as they end.
    """
    forks = "forkserver" in mp.get_all_start_methods()
    context: Any = mp.get_context("forkserver" if forks else "spawn")
    coming = enumerate(jobs)
    running: dict[Any, tuple] = {}
    cores = max(1, (os.cpu_count() or 1) // AT_A_TIME)
    environment = {"OMP_NUM_THREADS": str(cores), **KERNEL, **os.environ}
    try:
        while True:
            for number, job in islice(coming, AT_A_TIME - len(running)):
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_serve, args=(there, environment, os.getcwd(), *job), daemon=True)
                with _set(environment):
                    if forks:
                        context.set_forkserver_preload(SLOW)
                    process.start()
                there.close()
                running[here] = number, process
            if not running:
                return
            ended: Any
            for ended in wait(list(running)):
                number, process = running.pop(ended)
                try:
                    result = ended.recv()
                except EOFError:
                    result = UserError("its process died, most likely for want of memory; try --limit")
                process.join()
                yield number, result
    finally:
        for _, process in running.values():
            process.kill()


def execute(notebook, parameters: dict, slug: str):
    """Execute a notebook in this process and tidy it; returns the executed notebook, writes nothing.

    Raises
    ------
    UserError
        If a cell fails: says which, and the error's name and first line.
    """
    try:
        return tidy(run_cells(notebook, parameters), slug)
    except (Exception, SystemExit) as error:
        first = (str(error).splitlines() or ["no details"])[0][:300]
        where = f"cell {error.cell}" if hasattr(error, "cell") else "the notebook"
        raise UserError(f"{where} failed ({type(error).__name__}: {first})") from error


def run_cells(notebook, parameters: dict):
    """Run the cells of a notebook in this process; returns it with its outputs. What a cell raises is raised.

    The exception has the number of the cell as its attribute ``cell``.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.papermill = {}
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    if parameters:
        notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=Config(HistoryAccessor={"enabled": False}))
    try:
        for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
            last: list = []  # the value of a last line that is an expression
            shell.display_trap.hook = last.append
            with capture_output() as captured:
                done = shell.run_cell(cell.source)
            error = done.error_before_exec or done.error_in_exec
            if error is not None:
                error.cell = count
                raise error
            cell.execution_count = count
            cell.outputs = [
                nbformat.v4.new_output("display_data", data=output.data, metadata=output.metadata or {})
                for output in captured.outputs
            ]
            for value in last:
                if value is not None and not cell.source.rstrip().endswith(";"):
                    data, metadata = shell.display_formatter.format(value)
                    about = {"data": data, "metadata": metadata, "execution_count": count}
                    cell.outputs.append(nbformat.v4.new_output("execute_result", **about))
            if captured.stdout:
                cell.outputs.insert(0, nbformat.v4.new_output("stream", name="stdout", text=captured.stdout))
    finally:
        InteractiveShell.clear_instance()
    return notebook


def _serve(result, environment: dict, folder: str, notebook, parameters: dict, slug: str) -> None:
    """What the process of a page does: send the executed notebook, or why there is none."""
    threading.Thread(target=_end_with_the_program, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        result.send(execute(notebook, parameters, slug))
    except UserError as error:
        result.send(error)


@contextmanager
def _set(environment: dict):
    """Environment variables for a while, for what is started in it; signals that were blocked are blocked after it."""
    before = dict(os.environ)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, []) if hasattr(signal, "pthread_sigmask") else None
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if blocked is not None:  # multiprocessing lets through SIGINT and SIGTERM
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _end_with_the_program() -> None:
    """End this process when the one that asked for it has ended, however it did."""
    wait([mp.parent_process().sentinel])  # type: ignore[union-attr]
    os._exit(1)
