"""Sources of experience by kind, and batches of samples of several kinds. Adding one is a module and a line here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmrl.contracts.errors import BadSample
from mmrl.contracts.source import Means, Ready, Source, Terms
from mmrl.contracts.types import Group
from mmrl.recipe.importing import import_named
from mmrl.recipe.registry import Registry
from mmrl.recipe.rollout import RolloutConfig

# A batch holds demonstrations of several kinds in this order.
SOURCES: Registry[type[Source]] = Registry(
    "source",
    {"episodes": "mmrl.rollouts.episode_source:EpisodeSource", "answers": "mmrl.rollouts.answers:AnswerSource"},
)


def terms_of(rollout: RolloutConfig) -> Terms:
    """The terms of a stage's groups, with the context that its answers are sampled under, if it has one."""
    terms, context = Terms(rollout, rollout.n, pool=rollout.pool), rollout.context
    if context is None:
        return terms
    shown = context.count(rollout.n)
    first, *further = (import_named(level.adapter)(level) for level in context.levels())
    corrected = bool(getattr(context, "corrected", False))
    return replace(
        terms, context=first, further=tuple(further), shown=shown, on_fail=context.on_fail, corrected=corrected
    )


def sample_each(means: Means, ready: Sequence[Ready], terms: Terms) -> list[Group]:
    """A scored group of each sample, in order, whatever their kinds."""
    groups: dict[int, Group] = {}
    for kind, indices in by_kind(ready):
        groups.update(zip(indices, SOURCES.get(kind)(means).plan([ready[i] for i in indices], terms), strict=True))
    return [groups[i] for i in range(len(ready))]


def demonstrate_each(
    means: Means, ready: Sequence[Ready], terms: Terms, scored: bool = False
) -> dict[int, Group | BadSample]:
    """Index of each sample -> its demonstration, or why it cannot be used; kind by kind. See `Source.demonstrate`."""
    demonstrations: dict[int, Group | BadSample] = {}
    for kind, indices in by_kind(ready):
        source = SOURCES.get(kind)(means)
        demonstrations.update(zip(indices, source.demonstrate([ready[i] for i in indices], terms, scored), strict=True))
    return demonstrations


def by_kind(ready: Sequence[Ready]) -> Iterator[tuple[str, list[int]]]:
    """The samples' indices by their kind, kinds in the table's order and others as they first appear."""
    indices: dict[str, list[int]] = {kind: [] for kind in SOURCES.entries}
    for i, item in enumerate(ready):
        indices.setdefault(item.sample.kind, []).append(i)
    return ((kind, members) for kind, members in indices.items() if members)
