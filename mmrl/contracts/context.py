"""The contract of contexts: what answers are sampled under, where that differs from what they are scored under."""

from __future__ import annotations

from typing import Protocol

from mmrl.contracts.types import Sample


class Context(Protocol):
    """Shows the engine another form of a sample than the trainer scores. Made from its settings."""

    def shown(self, sample: Sample) -> Sample:
        """The sample as the engine sees it: other messages, pictures or system prompt; never another target."""
