"""Scoring with the weights that a policy is held to: the same methods for every policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from mmrl.policies.training import Reference


class Referenced:
    """The part of `mmrl.contracts.policy.Policy` that a KL penalty needs; `_model` is what `log_probs` runs."""

    _model: nn.Module
    _reference: Reference

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, `log_probs` are the reference policy's."""
        current = self._model
        with self._reference.active() as self._model:
            try:
                yield
            finally:
                self._model = current

    def keep_reference(self, base: bool = False) -> None:
        """Makes the current weights the reference; with `base` those below LoRA's adapters."""
        self._reference.keep(base)

    def follow_reference(self, share: float) -> None:
        """Moves the reference a share of the way to the current weights."""
        self._reference.follow(share)

    def reference_state(self) -> dict[str, Tensor] | None:
        """The kept reference's weights, for checkpoints; None where there is none to save."""
        return self._reference.state()

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `reference_state` gave."""
        self._reference.load(state)
