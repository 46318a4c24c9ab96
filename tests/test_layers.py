"""The house keeps its rules: arrows go down, private names stay at home, importing changes nothing."""

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.site import ROOT

import ubench_utils

BELOW_STUDIES = {"errors", "files", "text", "demo", "data", "statistics", "engine", "models", "evaluation"}
DRAWING = ["matplotlib", "seaborn", "IPython", "papermill", "jupytext", "nbformat", "nbclient"]
PRIVATE_ABROAD: set[str] = set()  # faults of today; none is left
# One process loads all: first the rooms that draw nothing, then what draws. The libraries come before the rooms that
# use them, so that a change which a library makes is not taken for one of ours.
PROCESS = """
import importlib, json, logging, os, signal, sys, warnings

def load(names):
    for name in names:
        importlib.import_module(name)

def state():
    import torch

    known = logging.root.manager.loggerDict.items()
    loggers = {"": logging.root, **{name: one for name, one in known if isinstance(one, logging.Logger)}}
    matplotlib = sys.modules.get("matplotlib")
    return {
        "rcParams": {name: str(value) for name, value in dict.items(matplotlib.rcParams)} if matplotlib else {},
        "loggers": {name: [one.level, len(one.handlers), one.propagate] for name, one in loggers.items()},
        "environment": dict(os.environ),
        "warnings": [str(one) for one in warnings.filters],
        "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM)],
        "torch": [
            torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark,
        ],
    }

load(["datasets.features", "torchvision", "transformers.modeling_utils", "open_clip", "scipy.stats"])
states = [state()]
load(below)
states.append(state())
drawn = [name for name in drawing if name in sys.modules]
load([*drawing, "matplotlib.pyplot", "IPython.display"])
states.append(state())
load(rest)
print(json.dumps({"drawn": drawn, "states": [*states, state()]}))
"""


def modules(rooms=None):
    found = [one.name for one in pkgutil.walk_packages(ubench_utils.__path__, "ubench_utils.")]
    return [name for name in found if not rooms or name.split(".")[1] in rooms]


def told(code, **values):
    """What a fresh process prints as JSON after running the code, with the values as its globals."""
    code = "\n".join([*(f"{name} = {value!r}" for name, value in values.items()), code])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_contract_is_kept():
    lint = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([lint, "--no-logo", "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-3000:]


def private(name):
    return name.startswith("_") and not name.startswith("__")


def test_no_private_name_is_used_by_another_file():
    found = set()
    for path in sorted((ROOT / "ubench_utils").rglob("*.py")):
        file = path.relative_to(ROOT / "ubench_utils").as_posix()
        tree, home = ast.parse(path.read_text(encoding="utf-8")), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("ubench_utils")):
                home |= {name.asname or name.name for name in node.names}
                found |= {f"{file}: {node.module}" for name in node.names if private(name.name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in home:
                found |= {f"{file}: {node.value.id}.{node.attr}"} if private(node.attr) else set()
    assert found <= PRIVATE_ABROAD, "\n".join(sorted(found - PRIVATE_ABROAD))


def test_importing_the_package_loads_nothing():
    code = "import json, sys; before = set(sys.modules); import ubench_utils; after = set(sys.modules)"
    loaded = told(f"{code}; print(json.dumps(sorted(after - before)))")
    assert [name for name in loaded if not name.startswith("ubench_utils")] == []


@pytest.fixture(scope="module")
def process():
    below = modules(BELOW_STUDIES)
    rest = [name for name in modules() if name not in below and not name.endswith("__main__")]
    return told(PROCESS, below=below, rest=rest, drawing=DRAWING)


def test_rooms_below_studies_load_nothing_that_draws(process):
    assert process["drawn"] == []


@pytest.mark.parametrize("what", ["rcParams", "loggers", "environment", "warnings", "signals", "torch"])
def test_importing_changes_nothing(process, what):
    for before, after in zip(process["states"][::2], process["states"][1::2], strict=True):
        before, after = before[what], after[what]
        if what == "loggers":  # one that a library makes later is its own
            after = {name: one for name, one in after.items() if name in before}
        assert after == before
