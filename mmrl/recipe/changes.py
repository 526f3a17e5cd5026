"""What differs between the recipes of two starts of a run. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mmrl.recipe.schema import Recipe
from mmrl.recipe.secrets import masked

# They say where a run is and how it is begun, not what it does.
PLACE = ("name", "output", "resume")
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs: its key in a recipe, and its values as YAML has them."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key} {_as_yaml(self.old)} -> {_as_yaml(self.new)}"


def changes(old: Recipe, new: Recipe) -> list[Change]:
    """The settings that differ, as `differences` has them."""
    before, after = (masked(recipe.model_dump(mode="json")) for recipe in (old, new))
    return differences(before, after)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The settings in which two resolved recipes (`config.yaml`) differ, in the order of a recipe.

    Stages are compared by name. A setting of a stage is named as it stands at the top of a recipe where there is but
    one stage or where it changed alike in all, and as `stages.<name>.<key>` elsewhere.
    """
    before, after = ({key: value for key, value in recipe.items() if key not in PLACE} for recipe in (old, new))
    stages = [{stage["name"]: stage for stage in recipe.pop("stages", [])} for recipe in (before, after)]
    changed = list(_differences("", before, after))
    common = [name for name in stages[1] if name in stages[0]]
    of_stages = {name: list(_differences("", stages[0][name], stages[1][name])) for name in common}
    alike = [change for change in next(iter(of_stages.values()), []) if all(change in c for c in of_stages.values())]
    apart = [
        Change(f"stages.{name}.{change.key}", change.old, change.new)
        for name, its_changes in of_stages.items()
        for change in its_changes
        if change not in alike
    ]
    return [*changed, *alike, *apart]


def nested_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The values in which two mappings of mappings differ, by their dotted keys."""
    return list(_differences("", old, new))


def _differences(key: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in {**old, **new}:
            yield from _differences(f"{key}.{part}" if key else part, old.get(part), new.get(part))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _records(old) and _records(new):
        for i, pair in enumerate(zip(old, new)):
            yield from _differences(f"{key}.{i}", *pair)
    else:
        yield Change(key, old, new)


def _records(items: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in items)


def _as_yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
