"""Checkpoints that appear whole or not at all, and are taken as they were written or not at all.

    checkpoints/step_000012/{model/ (hub layout), or under LoRA adapter/ (peft's), trainer.safetensors, state.json}

A checkpoint is written into a hidden folder, synced, and renamed; its presence under its final name means that it was
written whole. `mmrl.policies.digests` tells whether it still is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmrl.contracts.errors import CheckpointError, first_line, nearest
from mmrl.contracts.policy import Adapted, Policy
from mmrl.policies.adapter import exact_parameters
from mmrl.policies.digests import STATE, digests_of, listed, newest_whole, signed, verify, verify_or_name
from mmrl.policies.tensor_file import plain, write_tensors
from mmrl.recipe.policy import TrainedConfig
from mmrl.recipe.training import CheckpointConfig
from mmrl.tracking.files import cannot_write

# Of the names of exact trained parameters among a checkpoint's tensors.
PARAMETER = "parameter/"


def step_name(step: int) -> str:
    """What the folder of a checkpoint is called."""
    return f"step_{step:06d}"


def save(
    folder: Path,
    step: int,
    policy: Policy,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    merged: bool = False,
) -> Path:
    """Writes `folder/step_<step>` atomically.

    Args:
        merged: under LoRA, the whole model too, with the adapters merged.

    Raises:
        UserError: disk full or not writable; nothing is left behind and older checkpoints stay.
    """

    def write(aside: Path) -> None:
        adapted = with_adapters(policy)
        if adapted is not None:
            adapted.save_adapter(aside / "adapter")
        if adapted is None or merged:
            policy.save_pretrained(aside / "model")
        write_tensors(aside / "trainer.safetensors", plain(tensors))

    return save_whole(folder / step_name(step), write, state)


def save_whole(final: Path, write: Callable[[Path], None], state: Mapping[str, Any]) -> Path:
    """Writes a folder with its state.json atomically, in place of what is there.

    Args:
        write: writes all but state.json into the folder it is given.

    Raises:
        UserError: disk full or not writable; nothing is left behind.
    """
    from safetensors import SafetensorError

    aside = final.with_name(f".{final.name}.tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write(aside)
        _sign(aside, state)
        discard(final)
        os.rename(aside, final)
        _sync(final.parent)
    except (OSError, SafetensorError) as error:
        raise cannot_write(final, error if isinstance(error, OSError) else OSError(str(error))) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def _sign(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes state.json, with digests that are made while the files go to disk; then everything is there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(1) as beside:
        synced = beside.submit(_sync_all, files)
        digests = digests_of(folder)
        synced.result()
    (folder / STATE).write_text(signed({**state, "files": digests}))
    give_modes(folder)
    _sync_tree(folder)


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


@dataclass(frozen=True)
class Resumed:
    """What a run goes on from.

    Attributes:
        source: the checkpoint; None: nothing, the run begins.
        state: what its state.json holds.
        passed_over: of each newer checkpoint that is damaged, what is wrong with it.
    """

    source: Path | None = None
    state: Mapping[str, Any] | None = None
    passed_over: tuple[str, ...] = ()


def load(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) of a checkpoint. Raises CheckpointError when it is missing, damaged or of another format."""
    state = verify_or_name(checkpoint)
    return tensors_of(checkpoint), state


def tensors_of(checkpoint: Path) -> dict[str, Tensor]:
    """The trainer's tensors of a checkpoint that is verified; under LoRA the exact parameters are those of adapter/."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(checkpoint / "trainer.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{checkpoint}' does not load: {first_line(error)}") from None
    if (checkpoint / "adapter").is_dir():
        exact = exact_parameters(checkpoint / "adapter")
        tensors |= {f"{PARAMETER}{name}": value for name, value in exact.items()}
    return tensors


def resume_from(resume: str, folder: Path, on_damaged: str) -> Resumed:
    """The checkpoint to resume from, verified: the newest for `auto`, none for `never`, else that of the folder named.

    Args:
        folder: where the run's own checkpoints lie.
        on_damaged: see `CheckpointConfig`.

    Raises:
        CheckpointError: the folder named holds no checkpoint; or the one to go on from is damaged, and the line names
            the newest whole one.
    """
    source = _find(resume, folder)
    if source is None:
        return Resumed()
    try:
        return Resumed(source, verify(source))
    except CheckpointError as error:
        whole = newest_whole(source)
        if whole is None:
            raise CheckpointError(f"{error}; no other one there is whole: start anew under another `name`") from None
        if resume != "auto" or on_damaged == "stop":
            raise CheckpointError(
                f"{error}; the newest whole one is '{whole}': go on from it with resume={whole}, or, with resume=auto, "
                "by checkpoint.on_damaged=older"
            ) from None
        return Resumed(whole, verify(whole), (str(error),))


def _find(resume: str, folder: Path) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        own = listed(folder)
        return own[-1] if own else None
    folder = Path(resume)
    inside = listed(folder / "checkpoints") or listed(folder)
    if (folder / STATE).is_file():
        return folder
    if not inside:
        close = nearest(resume, ("auto", "never"))
        raise CheckpointError(f"resume: no checkpoint at '{resume}'; give auto, never, or a folder step_<n>.{close}")
    return inside[-1]


def rotate(folder: Path, config: CheckpointConfig, kept: Collection[str | None]) -> None:
    """Removes all but the newest `keep` checkpoints and those named, and leftovers of interrupted writes."""
    for old in listed(folder)[: -config.keep]:
        if old.name not in kept:
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
    _sync_all([*sorted(folder.rglob("*")), folder])


def _sync_all(paths: Sequence[Path]) -> None:
    for path in paths:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
