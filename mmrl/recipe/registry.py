"""Tables of named parts, open to `module:name` and to installed packages (entry points `mmrl.<kind>`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.recipe.importing import import_named

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of `mmrl list`.

    Attributes:
        name: what a recipe writes.
        source: `module:attribute`, where it is defined.
        package: the installed package that brings it; `mmrl` for the table's own.
    """

    name: str
    source: str
    package: str


class Registry(Generic[Part]):
    """What a recipe's names of one kind stand for.

    Args:
        kind: in error messages with spaces for underscores; the entry points' group is `mmrl.<kind>`.
        entries: name -> the part, or `module:attribute`, imported when it is first asked for.
    """

    def __init__(self, kind: str, entries: Mapping[str, Part | str]):
        self.kind = kind
        self.entries = dict(entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (":" in name or name in self.entries or name in self._installed())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> list[str]:
        """The table's names in its order, then those of installed packages in alphabetical order."""
        return [*self.entries, *sorted(self._installed().keys() - self.entries.keys())]

    def get(self, name: str, place: str = "") -> Part:
        """The part behind a name.

        Args:
            place: the recipe's key, put in front of what is wrong.

        Raises:
            ConfigError: an unknown name, or `module:name` of nothing.
        """
        if name in self.entries:
            part = self.entries[name]
            return _load_attribute(part) if isinstance(part, str) else part
        if ":" in name:
            return import_named(name, place)
        return self._entry_point(name, place).load()

    def listed(self) -> list[Listed]:
        """Every part that has a name, in alphabetical order."""
        shipped = [Listed(name, _source_of(part), "mmrl") for name, part in self.entries.items()]
        foreign = [
            Listed(name, point.value, point.dist.name if point.dist else "")
            for name, points in self._installed().items()
            if name not in self.entries
            for point in points
        ]
        return sorted([*shipped, *foreign], key=lambda line: line.name)

    def _entry_point(self, name: str, place: str) -> EntryPoint:
        front = f"{place}: " if place else ""
        points = self._installed().get(name, ())
        if not points:
            raise ConfigError(f"{front}{unknown(self.kind.replace('_', ' '), name, self.names())}, or module:name")
        if len(points) > 1:
            packages = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
            raise ConfigError(
                f"{front}{self.kind.replace('_', ' ')} '{name}' is brought by several packages ({packages}); "
                f"write module:name, such as {points[0].value}"
            )
        return points[0]

    def _installed(self) -> dict[str, tuple[EntryPoint, ...]]:
        return installed_parts(f"mmrl.{self.kind}")


@cache
def installed_parts(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Name -> the entry points of that name which installed packages declare in a group; more than one is a clash."""
    points_of: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=group):
        # A package on two paths, as an editable install is, declares one part twice.
        points_of.setdefault(point.name, {})[point.value] = point
    return {name: tuple(points.values()) for name, points in points_of.items()}


def _load_attribute(source: str) -> Any:
    module, _, name = source.partition(":")
    return getattr(import_module(module), name)


def _source_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    return f"{getattr(part, '__module__', type(part).__module__)}:{getattr(part, '__qualname__', type(part).__name__)}"
