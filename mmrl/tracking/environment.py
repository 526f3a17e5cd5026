"""What a run ran on, for environment.json."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from mmrl.recipe.secrets import masked

PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "peft", "datasets", "numpy", "pillow", "vllm")


def read_environment() -> dict[str, Any]:
    """Versions, machine, device, git commit of the working folder (None outside a repository) and command line."""
    import torch

    import mmrl

    return {
        "mmrl": mmrl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "git": _git(),
        "command": masked(shlex.join(sys.argv)),
    }


def package_versions() -> dict[str, str]:
    """The versions of `PACKAGES` that are installed."""
    return {name: version for name in PACKAGES if (version := version_of(name))}


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name() -> str:
    """The accelerator's name, or cpu."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"{torch.cuda.get_device_name(0)} (CUDA {torch.version.cuda})" + (f" x {count}" if count > 1 else "")
    return "cpu"


def _git() -> dict[str, Any] | None:
    commit = _run_git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_run_git("status", "--porcelain", "--untracked-files=no"))}


def _run_git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
