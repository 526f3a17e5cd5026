"""Column formats of dataset files by name. Imports no torch, and no format before it is asked for."""

from __future__ import annotations

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
        "vlm_r1": "mmrl.data.formats:VLM_R1",
    },
)
AUTO = "auto"


def check_format(name: str) -> str:
    """The name itself. Raises ValueError where it is neither `auto` nor a format."""
    if name != AUTO and name not in FORMATS:
        raise ValueError(f"{unknown('format', name, [AUTO, *FORMATS.names()])}, or module:name")
    return name
