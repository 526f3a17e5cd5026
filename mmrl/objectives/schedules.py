"""Stream weights over the steps of a stage."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mmrl.recipe.streams import Schedule, Stream


def value(schedule: float | Schedule, step: int) -> float:
    """The weight at `step` (0-based): linear warm-up from start to peak, cosine to valley, then constant."""
    if not isinstance(schedule, Schedule):
        return float(schedule)
    if step < schedule.warmup:
        return schedule.start + (schedule.peak - schedule.start) * step / schedule.warmup
    if step >= schedule.warmup + schedule.decay:
        return schedule.valley
    progress = (step - schedule.warmup) / schedule.decay
    return schedule.valley + (schedule.peak - schedule.valley) * 0.5 * (1 + math.cos(math.pi * progress))


def stream_weights(streams: Mapping[str, Stream], step: int) -> dict[str, float]:
    """Every stream's weight at `step`; a stream with `complement_of` gets 1 minus that stream's."""
    weights = {name: value(stream.weight, step) for name, stream in streams.items()}
    return {
        name: 1.0 - weights[stream.complement_of] if stream.complement_of else weights[name]
        for name, stream in streams.items()
    }
