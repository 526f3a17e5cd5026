"""Small random checkpoints in the hub's layout, for tests, laptops and the quickstart.

`write_tiny("qwen2_5_vl", folder)` gives a folder that plain `from_pretrained` loads. What families there are, and which
module writes them, stands in the entries of `mmrl.recipe.policies.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, unknown
from mmrl.recipe.policies.registry import POLICIES, entry_of

# Text that the byte-level BPE is trained on: the words of the digits and tabletop tasks, so that prompts stay short.
CORPUS = (
    "Which digit is this? What digit do you see? Answer with the digit. Name the digit.",
    "Read the digits from left to right. Read the row of digits. Write the digits.",
    "Locate the digit 7. Answer with its box [x1, y1, x2, y2]. Find the digit and give its box.",
    "How many times does 3 appear? Count the digit. How often does the digit appear in the picture?",
    "Which digit is the largest? Which digit is the smallest? What is the sum of the first two digits?",
    "Answer with the letter. A. B. C. D. (A) (B) (C) (D) Options: List the digits. List all digits with boxes.",
    "<think> </think> <answer> </answer> The digits are then so the answer is first second third user assistant system",
    "reach push pick place sort move the red green blue yellow block object to its target zone by colour robot action",
    "yes no true false none left right above below between and or in on of a an is are it was not",
)


def write_tiny(family: str, folder: str | Path, seed: int = 0, size: Mapping[str, Any] | None = None) -> Path:
    """Writes a small random checkpoint (model, tokenizer, processor).

    Args:
        family: one of `families()`.
        folder: created if needed; refused when it holds files already.
        seed: of the random weights.
        size: overrides of `sizes_of(family)`.

    Raises:
        UserError: unknown family, sizes that it lacks or that make no model, or a folder that is not empty.
    """
    _check_sizes(family, size or {})
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty; choose a new folder")
    return _writer(family).write(family, folder, seed, size or {})


def families() -> list[str]:
    """Every family that some policy's checkpoints can be made of."""
    return list(_writers())


def _writers() -> dict[str, str]:
    entries = map(entry_of, POLICIES)
    return {family: entry.writer for entry in entries if entry.writer is not None for family in entry.tiny}


def _writer(family: str) -> Any:
    writers = _writers()
    if family not in writers:
        raise UserError(unknown("family", family, writers))
    return import_module(writers[family])


# What is a multiple of what, where a family has both.
MULTIPLES = (("heads", "kv_heads"), ("vision_hidden", "vision_heads"), ("image", "patch"))


def sizes_of(family: str) -> dict[str, Any]:
    """The sizes of a family, with their defaults. Raises UserError for an unknown family."""
    return dict(_writer(family).SIZES[family])


def _check_sizes(family: str, size: Mapping[str, Any]) -> None:
    known = sizes_of(family)
    for name in size:
        if name not in known:
            raise UserError(unknown(f"size of {family}", name, known))
    sizes = {**known, **size}
    for name, divisor in (*MULTIPLES, *([] if "head_dim" in known else [("hidden", "heads")])):
        if name in sizes and sizes[name] % sizes[divisor]:
            raise UserError(
                f"{name} {sizes[name]} of {family} is no multiple of {divisor} {sizes[divisor]}; change one"
            )
    head = sizes.get("head_dim", sizes["hidden"] // sizes["heads"])
    if head % 2:
        raise UserError(f"{family}'s attention heads have {head} dimensions; rotary positions need an even number")
