"""Column formats of dataset files by name. Imports no torch, and no format before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.contracts.errors import unknown
from mmrl.recipe.registry import Registry

# What stands behind a name is a `mmrl.data.formats.Format`.
FORMATS: Registry[Any] = Registry(
    "format",
    {
        "mmrl": "mmrl.data.formats:MMRL",
        "easyr1": "mmrl.data.formats:EASYR1",
        "easyvideor1": "mmrl.data.formats:EASYVIDEOR1",
        "vlm_r1": "mmrl.data.formats:CONVERSATIONS",
        "sharegpt": "mmrl.data.formats:CONVERSATIONS",
        "alpaca": "mmrl.data.formats:ALPACA",
        "verl": "mmrl.data.formats:VERL",
        "rollouts": "mmrl.data.rollout_files:ROLLOUTS",
        "right_rollouts": "mmrl.data.rollout_files:RIGHT_ROLLOUTS",
        "actions": "mmrl.data.played:PLAYED",
    },
)
# What the format `mmrl` reads, and so what `columns` of a dataset may give it.
OWN_COLUMNS = (
    *("prompt", "messages", "images", "image", "videos", "video", "task", "target", "answer", "solution"),
    *("options", "demonstration", "completion", "chosen", "rejected", "coordinates", "id"),
)
AUTO = "auto"
# Rows are steps of episodes, with the actions that were played.
ACTIONS = "actions"


def check_format(name: str) -> str:
    """The name itself. Raises ValueError where it is neither `auto` nor a format."""
    if name != AUTO and name not in FORMATS:
        raise ValueError(f"{unknown('format', name, [AUTO, *FORMATS.names()])}, or module:name")
    return name


def check_columns(format_name: str, columns: Mapping[str, Any]) -> None:
    """Each column that a dataset maps is one that mmrl's own format reads, where that is what reads its rows.

    Raises:
        ValueError: another one, or a list of columns for what is no list.
    """
    for column, source in columns.items():
        if format_name in (AUTO, "mmrl") and column not in OWN_COLUMNS:
            raise ValueError(unknown("column in columns:", column, OWN_COLUMNS))
        if isinstance(source, list) and (not source or not column.startswith(("image", "video"))):
            raise ValueError(f"columns: '{column}' takes one column, not {source}; images and videos take several")
