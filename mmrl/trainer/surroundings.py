"""What a run's figures depend on besides its recipe: written with each checkpoint, and compared when a run resumes."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch

import mmrl
from mmrl.tracking.environment import device_name, package_versions


def surroundings(device: torch.device) -> dict[str, str]:
    """Threads, precision, device and versions, in words.

    Args:
        device: the policy's.
    """
    return {
        "threads": str(torch.get_num_threads()),
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "device": device_name() if device.type == "cuda" else str(device),
        "CPU instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "mmrl": mmrl.__version__,
        **package_versions(),
    }


def differences(before: Mapping[str, str], now: Mapping[str, str], step: int) -> list[str]:
    """A line for each that the steps up to `step` were not taken with."""
    return [
        f"{name}: {before.get(name, 'none')} up to step {step} and {now.get(name, 'none')} from there on; figures may "
        "differ in their last digits from those of a run that was never stopped"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
