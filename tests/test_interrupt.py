"""The program is stopped: at once, in one line, with the code of the signal, and nothing that it started goes on."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

# Started and ready, then deep in work of the main thread: in Python, in a library, waiting for another program.
WORK = {
    "python": "while True: pass",
    "library": "import numpy as np; a = np.ones((1500, 1500)); [a @ a for _ in range(10_000)]",
    "program": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])",
    "pages": "from nbformat import v4; from ubench_utils.pages.execution import executed\n"
    "cell = v4.new_code_cell('import time; time.sleep(600)')\n"
    "about = {'kernelspec': {'name': 'python3', 'language': 'python', 'display_name': 'Python 3'}}\n"
    "list(executed([(v4.new_notebook(cells=[cell], metadata=about), {}, 'x')] * 2))",
    "temporary files": "from ubench_utils.files import scratch\nwith scratch() as folder:\n"
    "    for number in range(10**9): (folder / f'{number % 2000}.png').write_bytes(b'a picture')",
    "handlers of a library": "import asyncio, signal\nasync def run():\n"
    "    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)\n"
    "    await asyncio.sleep(600)\nasyncio.run(run())",
}
READY = "from ubench_utils.__main__ import end_when_told; end_when_told(); print('ready', flush=True)\n"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are not to be had here")
def lasting(pid):
    """Processes that a process has started, without those that a library asks for a word (`uname`)."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() != "uname" and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("work", WORK)
def test_a_signal_ends_everything(work, number, code, tmp_path, request):

    process = subprocess.Popen(
        [sys.executable, "-c", READY + WORK[work]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    request.addfinalizer(process.kill)  # a test that fails leaves nothing at work
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    expected, end = {"program": 1, "pages": 2}.get(work, 0), time.time() + 60  # kernels
    while len(children := lasting(process.pid)) != expected and time.time() < end:
        time.sleep(0.1)
    assert len(children) == expected
    assert bool(list(tmp_path.glob("ubench-*"))) == (work == "temporary files")
    process.send_signal(number)
    _, told = process.communicate(timeout=3)
    assert process.returncode == code
    assert len(told.splitlines()) == 1 and told.startswith("ubench: "), told
    assert not psutil.wait_procs(children, timeout=3)[1]
    assert not list(tmp_path.glob("ubench-*")), "no picture of anybody stays behind"


def test_a_signal_ends_a_program_whose_messages_nobody_reads(request):
    process = subprocess.Popen(
        [sys.executable, "-c", READY + WORK["python"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    request.addfinalizer(process.kill)
    assert process.stdout.readline() == "ready\n"
    process.stderr.close()
    process.terminate()
    assert process.wait(timeout=5) == 143
    process.stdout.close()


def test_the_program_can_be_stopped_while_it_loads(tmp_path):
    """An interrupt in the first second, when the libraries are being imported."""
    command = [sys.executable, "-m", "ubench_utils", "evaluate", "--models", "demo-base", "--out", str(tmp_path / "o")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "UBENCH_CACHE": str(tmp_path / "cache")},
    )
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=3)
    assert (process.returncode, out) == (130, "")
    assert len(told.splitlines()) == 1 and told.startswith("ubench: stopped"), told
