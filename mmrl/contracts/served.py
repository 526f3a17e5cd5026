"""The contract of policies that an engine with a copy of their weights can sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Served(Protocol):
    """Gives its weights to whoever else samples from them."""

    def save_settings(self, folder: Path) -> None:
        """Writes what `Policy.save_pretrained` writes but for the model's weights."""

    def model_parts(self) -> tuple[str, ...]:
        """The parts of the model, in a fixed order."""

    def served_parts(self) -> tuple[str, ...]:
        """Those of its parts that train."""

    def served_weights(self, part: str | None = None) -> Iterator[tuple[str, Tensor]]:
        """Every weight by its name in transformers' model, adapters merged; tied ones under each of their names.

        Each is computed when it is asked for, in the dtype that forward passes compute in.

        Args:
            part: of this part of the model alone, whole; None: of all.
        """
