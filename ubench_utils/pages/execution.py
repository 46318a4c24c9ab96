"""Executing notebooks with papermill, two at a time, each in a kernel of its own."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from ..errors import UserError
from .outputs import tidy

AT_A_TIME = 2


def executed(jobs: Iterable[tuple]) -> Iterator[tuple]:
    """Execute notebooks and tidy them.

    Parameters
    ----------
    jobs : iterable of (notebook, parameters, slug)
        Each is drawn when its turn has come.

    Yields
    ------
    tuple
        Number of the job and the executed notebook, or the UserError that says which cell failed; as they end.
    """
    coming = enumerate(jobs)
    running: dict[Future, int] = {}
    with ThreadPoolExecutor(AT_A_TIME) as threads, _shared_cores():
        while True:
            for number, job in islice(coming, AT_A_TIME - len(running)):
                running[threads.submit(execute, *job)] = number
            if not running:
                return
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                error = ended.exception()
                if error is not None and not isinstance(error, UserError):
                    raise error
                yield running.pop(ended), error or ended.result()


def execute(notebook, parameters: dict, slug: str):
    """Execute a notebook with papermill and tidy it; returns the executed notebook, writes nothing.

    It runs in the current folder, so that relative paths of data and checkpoints mean what the user meant.

    Raises
    ------
    UserError
        If a cell fails: says which, and the error's name and first line.
    """
    try:
        done = papermill.execute_notebook(
            nbformat.from_dict(notebook),
            None,
            parameters=parameters,
            cwd=str(Path.cwd()),
            kernel_name="python3",
            progress_bar=False,
            log_output=False,
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
    except DeadKernelError as error:
        raise UserError("its kernel died, most likely for want of memory; try --limit") from error
    except papermill.PapermillExecutionError as error:
        first = (str(error.evalue).splitlines() or ["no details"])[0][:300]
        raise UserError(f"cell {error.exec_count} failed ({error.ename}: {first})") from error
    return tidy(done, slug)


@contextmanager
def _shared_cores():
    """Kernels that are started in it take their share of the cores each, unless the user says another number."""
    said = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // AT_A_TIME)))
    try:
        yield
    finally:
        if not said:
            del os.environ["OMP_NUM_THREADS"]
