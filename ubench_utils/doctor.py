"""What works on this machine, and what would fail in a long run: said before it starts."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from .engine.device import choose_device
from .engine.store import cache_dir
from .errors import UserError, first_line
from .models.load import open_model
from .models.registry import pairs
from .models.sources import image_size

PACKAGES = ("torch", "open_clip_torch", "transformers", "datasets", "papermill", "jupytext", "jupyter-book")
ROOM = 3  # copies of the weights that loading and encoding take at the most, roughly


def examine(models: Sequence[str] = (), device: str = "auto") -> int:
    """Print what works; with models, load each and encode one image and one text with it.

    Weights that are not here yet are fetched. Returns how many models, or pairs of a base and its fine-tuned model,
    would fail.
    """
    _machine()
    if not models:
        _sample()
        return 0
    device, _ = choose_device(device, "auto")
    works = {model: _passes(_loaded, model, device) for model in dict.fromkeys(models)}
    sound = [model for model in works if works[model]]
    works |= {base: _passes(_loaded, base, device) for base, _ in pairs(sound) if base not in works}
    found = [(base, tuned) for base, tuned in pairs(sound, with_weights=True) if works[base]]
    compared = [_passes(_compared, tuned, device, base) for base, tuned in found]
    return list(works.values()).count(False) + compared.count(False)


def _tell(state: str, text: str) -> None:
    print(f"{state:8} {' '.join(text.split())}")


def _works(works: bool, text: str) -> None:
    _tell("ok" if works else "missing", text)


def _machine() -> None:
    import torch

    _works(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or later)")
    for package in PACKAGES:
        try:
            _works(True, f"{package} {version(package)}")
        except PackageNotFoundError:
            _works(False, f"{package}: pip install -e . in the project's folder")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    _works(bool(gpu), f"GPU: {gpu}" if gpu else f"GPU (not needed): models run on {os.cpu_count()} CPU cores")
    folder = cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    _works(os.access(there, os.W_OK), f"cache {folder}, {shutil.disk_usage(there).free / 1e9:.0f} GB free")
    notebooks = (Path(__file__).parents[1] / "notebooks").is_dir()
    _works(notebooks, "notebooks beside the package (a checkout installed with -e)")


def _sample() -> None:
    from .evaluation.evaluate import evaluate

    try:
        run = evaluate("demo", ["demo-base"], limit=20)
        _works(True, f"built-in sample: demo-base answered {len(run.predictions)} questions")
    except Exception as error:  # whatever is wrong with this machine
        _works(False, f"built-in sample: {error}")


def _passes(check: Callable[..., tuple[str, str]], model: str, *others: str) -> bool:
    """Whether a check of a model passes; tells what it found, or why it fails."""
    try:
        _tell(*check(model, *others))
    except UserError as error:
        _tell("fails", str(error))
        return False
    except Exception as error:  # none is expected; the other models are still looked at
        _tell("fails", f"model '{model}': {first_line(error)}")
        return False
    return True


def _loaded(name: str, device: str) -> tuple[str, str]:
    """Load a model; its state and a description."""
    opened = open_model(name)
    if not opened.has_weights:
        return "ok", f"{name}: no weights to load"
    size = sum(file.stat().st_size for file in opened.files)
    free = _free_memory(device)
    if ROOM * size > free:
        raise UserError(
            f"model '{name}': its weights are {size / 1e9:.1f} GB and it may need {ROOM} times that; "
            f"{free / 1e9:.1f} GB are free on {device}: use another device or machine"
        )
    model = opened.load(device)
    if opened.replies:
        return "ok", f"{name}: {model.parameters:,} weights, a {type(model.network).__name__}, replies in words"
    doubt = f"; check: {model.doubt}" if model.doubt else ""
    return (
        "check" if doubt or model.activation_from.startswith("nothing") else "ok",
        f"{name}: {model.parameters:,} weights, activation {model.activation} (says {model.activation_from}), images "
        f"of {image_size(model.recipe)}, context {model.context_length} tokens{doubt}",
    )


def _free_memory(device: str) -> int:
    """Free bytes of the GPU or of the machine."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


def _compared(tuned: str, device: str, base: str) -> tuple[str, str]:
    """Check that a pair differs in its weights alone, so that it can be compared and mixed."""
    from .models.merging import check_mixable

    check_mixable(*(open_model(model).load(device) for model in (base, tuned)))
    return "ok", f"{base} and {tuned}: one architecture, activation and preprocessing; they can be mixed"
