"""Checkpoints that appear whole or not at all.

    checkpoints/step_000012/{model/ (hub layout), adapter/ (under LoRA, peft's layout), trainer.safetensors, state.json}

A checkpoint is written into a hidden folder, synced, and renamed; its presence under its final name means it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmrl.contracts.errors import CheckpointError, nearest
from mmrl.contracts.policy import Adapted, Policy
from mmrl.recipe.policy import TrainedConfig
from mmrl.recipe.training import CheckpointConfig
from mmrl.tracking.files import cannot_write

FORMAT = 1


def save(folder: Path, step: int, policy: Policy, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Writes `folder/step_<step>` atomically.

    Raises:
        UserError: disk full or not writable; nothing is left behind and older checkpoints stay.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = folder / f"step_{step:06d}"
    aside = folder / f".{final.name}.tmp"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        policy.save_pretrained(aside / "model")
        if adapted := with_adapters(policy):
            adapted.save_adapter(aside / "adapter")
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, aside / "trainer.safetensors")
        (aside / "state.json").write_text(json.dumps({"format": FORMAT, **state}, indent=1))
        give_modes(aside)
        _sync_tree(aside)
        discard(final)
        os.rename(aside, final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        raise cannot_write(final, error if isinstance(error, OSError) else OSError(str(error))) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def with_adapters(policy: Policy) -> Adapted | None:
    """The policy, where it has LoRA adapters."""
    config = policy.config
    lora = isinstance(config, TrainedConfig) and config.lora is not None
    return policy if lora and isinstance(policy, Adapted) else None


def give_modes(folder: Path) -> None:
    """Gives every file the mode that the umask gives new ones: safetensors writes for the owner alone."""
    sample = folder / ".mode"
    sample.touch()
    mode = sample.stat().st_mode & 0o777
    sample.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def load(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) of a checkpoint. Raises CheckpointError when it is missing, broken or of another format."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((checkpoint / "state.json").read_text())
        tensors = load_file(checkpoint / "trainer.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{checkpoint}' does not load: {error}") from None
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint '{checkpoint}' has format {state.get('format')}; this version reads {FORMAT}"
        )
    return tensors, state


def listed(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.startswith("step_") and (p / "state.json").is_file())


def find(resume: str, folder: Path) -> Path | None:
    """The checkpoint to resume from: the newest for `auto`, none for `never`, else the folder named.

    Raises:
        CheckpointError: the folder named holds no checkpoint.
    """
    if resume == "never":
        return None
    if resume == "auto":
        whole = listed(folder)
        return whole[-1] if whole else None
    folder = Path(resume)
    inside = listed(folder / "checkpoints") or listed(folder)
    if (folder / "state.json").is_file():
        return folder
    if not inside:
        close = nearest(resume, ("auto", "never"))
        raise CheckpointError(f"resume: no checkpoint at '{resume}'; give auto, never, or a folder step_<n>.{close}")
    return inside[-1]


def rotate(folder: Path, config: CheckpointConfig, best: str | None) -> None:
    """Removes all but the newest `keep` checkpoints and the best one, and leftovers of interrupted writes."""
    for old in listed(folder)[: -config.keep]:
        if old.name != best:
            discard(old)
    for leftover in folder.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)


def drop_after(folder: Path, step: int) -> None:
    """Removes checkpoints of later steps: a run resumed from an earlier one takes another course from there."""
    for later in listed(folder):
        if int(later.name.removeprefix("step_")) > step:
            discard(later)


def discard(checkpoint: Path) -> None:
    """Removes a checkpoint; renamed first, so a half-removed one is never taken for a whole one."""
    if checkpoint.exists():
        aside = checkpoint.with_name(f".{checkpoint.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(checkpoint, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
