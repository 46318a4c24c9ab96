"""Which device computes, and in what precision."""

import os
import sys

from ..errors import UserError

DEVICES = ["auto", "cpu", "cuda", "mps"]
PRECISIONS = ["auto", "float32", "float16", "bfloat16"]  # of the encoders
GPU_NODES = ["/dev/nvidiactl", "/dev/dxg", "/dev/kfd"]  # NVIDIA, Windows' Linux, AMD


def choose_device(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto`` of device and precision; torch is imported only where there may be an accelerator.

    Raises
    ------
    UserError
        If one of them is unknown, or the device is not there.
    """
    for value, allowed, what in ((device, DEVICES, "device"), (precision, PRECISIONS, "precision")):
        if value not in allowed:
            raise UserError(f"{what} '{value}' is not one of {', '.join(allowed)}")
    if device == "auto" and sys.platform == "linux" and not any(map(os.path.exists, GPU_NODES)):
        device = "cpu"
    if device != "cpu":
        import torch

        works = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if device == "auto":
            device = next((name for name, there in works.items() if there), "cpu")
        elif not works[device]:
            raise UserError(f"device '{device}' is not there on this machine; use --device auto or cpu")
    if precision == "auto":
        precision = "float16" if device == "cuda" else "float32"
    return device, precision
