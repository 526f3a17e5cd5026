"""From a method's name and what a recipe overrides to one whole objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.advantages import ADVANTAGES, Advantage
from mmrl.recipe.coefficients import COEFFICIENTS, Coefficient
from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.registry import METHODS
from mmrl.recipe.objective import Objective
from mmrl.recipe.parts import Part, part_of
from mmrl.recipe.reading import merge, validate
from mmrl.recipe.registry import Registry


def find_method(name: str) -> Method:
    """The method of a name. Raises ConfigError with the nearest spelling, or where something else stands there."""
    entry = METHODS.get(name, "method" if ":" in name else "")
    if not isinstance(entry, Method):
        raise ConfigError(
            f"method: '{name}' is a {type(entry).__name__}, and a Method of mmrl.recipe.methods is needed"
        )
    return entry


def list_stages(name: Any) -> tuple[tuple[str, str, float], ...]:
    """The stages of a method that is a sequence of methods; empty for any other name."""
    return find_method(name).stages if isinstance(name, str) and name in METHODS else ()


def complete_objective(name: str, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The method's objective with a recipe's overrides, as plain values; one that is written out stays as it is.

    Raises:
        ConfigError: no such method, one that is no objective, or an objective written out for another method.
    """
    written = overrides.get("method")
    if written is not None:
        if written != name:
            raise ConfigError(
                f"method '{name}' has an objective that is written out for method '{written}'; set objective: {{}} to "
                f"take that of '{name}', or restore the method"
            )
        return overrides
    entry = find_method(name)
    if entry.objective is None:
        raise ConfigError(f"method '{name}' is a sequence of stages; use it at the top of a recipe, not inside a stage")
    table = {**_drop_unfitting(entry.objective, overrides), "method": name, "params": entry.params}
    return merge(table, {**overrides, "method": name})


def resolve_objective(name: str, overrides: Mapping[str, Any]) -> Objective:
    """`complete_objective`, checked. Raises ConfigError on unknown names, keys and values."""
    return validate(Objective, complete_objective(name, overrides), place="objective")


def _drop_unfitting(objective: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The method's objective, its parts without the parameters that the kind in the overrides does not have."""
    streams = dict(objective["streams"])
    changed = overrides.get("streams")
    for name, stream in changed.items() if isinstance(changed, Mapping) else ():
        own = streams.get(name, {}).get("coefficient", {})
        if own and isinstance(stream, Mapping):
            place = f"objective.streams.{name}.coefficient.kind"
            fitting = _select_known(own, stream.get("coefficient"), COEFFICIENTS, Coefficient, place)
            streams[name] = {**streams[name], "coefficient": fitting}
    own = {"kind": "standard", **objective.get("advantage", {})}
    advantage = _select_known(own, overrides.get("advantage"), ADVANTAGES, Advantage, "objective.advantage.kind")
    return {**objective, "streams": streams, "advantage": advantage}


def _select_known(own: Mapping[str, Any], given: Any, registry: Registry, expected: type[Part], place: str) -> Any:
    """What stays of a method's `own` parameters beside those `given`, which may be of another kind."""
    kind = given.get("kind", own["kind"]) if isinstance(given, Mapping) else own["kind"]
    if not isinstance(kind, str) or kind == own["kind"] or kind not in registry:
        return own
    known = part_of(registry, kind, expected, place).settings.model_fields
    return {key: value for key, value in own.items() if key in known}
