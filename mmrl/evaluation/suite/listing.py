"""What there is to be asked: every benchmark with its size, metric, licence, source, and where its media go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmrl.contracts.benchmark import Described, Facts
from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.benchmarks import BENCHMARKS

NOT_KNOWN = "?"


def described(names: Iterable[str]) -> list[tuple[str, str, Facts | None]]:
    """(name, about, facts) of benchmarks; facts are None where it gives none."""
    kinds = [(name, BENCHMARKS.get(name)()) for name in names]
    return [(name, kind.about, kind.facts if isinstance(kind, Described) else None) for name, kind in kinds]


def lines(names: Sequence[str] = ()) -> list[str]:
    """A few lines for each benchmark; without names for all. Raises ConfigError on an unknown name."""
    for name in names:
        if name not in BENCHMARKS:
            raise ConfigError(unknown("benchmark", name, BENCHMARKS.names()))
    shown: list[str] = []
    for name, about, facts in described(names or BENCHMARKS.names()):
        shown.append(f"{name}: {about}")
        if facts is None:
            continue
        size = facts.size if facts.size is not None else NOT_KNOWN
        shown += [
            f"    {size} rows, split {facts.split}; {facts.metric}; licence: {facts.licence}",
            f"    from {facts.source}; media: {facts.media}; prompt: {facts.prompt}",
        ]
        shown += [f"    published: {reference}" for reference in facts.references]
    return shown
