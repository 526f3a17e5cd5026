"""Where training stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Place:
    """Where training stands; what a checkpoint's state.json holds besides the data's place.

    Attributes:
        updates: optimizer steps of all stages so far: the version of the weights.
    """

    step: int = 0
    updates: int = 0
    stage: int = 0
    stage_step: int = 0
    evaluations: dict[str, dict[str, float]] = field(default_factory=dict)
    best: dict[str, Any] | None = None
