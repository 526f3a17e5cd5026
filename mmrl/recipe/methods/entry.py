"""What a method is: an objective under a name, or a sequence of such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A method: its objective (or its stages, each a name, a method and a share of the steps) and its source.

    `params` are the `policy.params` of a flow policy that the method stands for; a recipe with others is refused.
    """

    source: str
    objective: Mapping[str, Any] | None = None
    stages: tuple[tuple[str, str, float], ...] = ()
    notes: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """One line, for `mmrl list`."""
        return self.source
