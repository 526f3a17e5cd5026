"""Parts of an objective by name: `{kind: <name>, …its own parameters}` in a recipe.

A part is known before torch loads by its entry in a registry: its settings model, what it needs of a policy, its line
in the docs. Its code is imported when training asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from mmrl.contracts.errors import ConfigError, nearest
from mmrl.recipe.base import Settings
from mmrl.recipe.importing import import_named
from mmrl.recipe.registry import Registry


class PartSettings(Settings):
    """A part's name and its own parameters, which each part adds in a model of its own."""

    kind: str

    def refusal(self, objective: Any) -> str | None:
        """Why the part cannot work in this `Objective`, as the end of a sentence about it; None where it can."""
        return None

    def compared_with(self) -> tuple[str, ...]:
        """Names of the policies whose log-probs it reads: `reference`, or a companion's."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the name of a part stands for.

    Attributes:
        code: the function or class, or `module:name` of it, which is imported by `load`.
        settings: the model of its parameters.
        doc: what it is, with its source, in a line of the docs.
        needs: what it reads of a unit's likelihood: `ratio` (new to old), `probability` (which a density is not),
            `entropy` (of the distribution), `normaliser` (log-sum-exp of the logits), `distribution` (over the whole
            vocabulary, beside another policy's).
    """

    code: Callable[..., Any] | str
    settings: type[PartSettings]
    doc: str
    needs: frozenset[str] = frozenset()

    def load(self) -> Callable[..., Any]:
        """The code itself."""
        return _loaded(self.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPart(Part):
    """A part that gives a factor at each unit: `code` is a function of (`Units`, settings) to [R, U].

    Attributes:
        prepare: what it makes of a whole optimizer step before (`mmrl.objectives.preparing`), or `module:name` of it.
    """

    prepare: Callable[..., Any] | str | None = None

    def load_prepare(self) -> Callable[..., Any] | None:
        """The code of `prepare`; None where the part has none."""
        return None if self.prepare is None else _loaded(self.prepare)


def _loaded(code: Callable[..., Any] | str) -> Callable[..., Any]:
    return import_named(code) if isinstance(code, str) else code


def fill_kinds(raw: Any) -> Any:
    """Parts by names of their own: `kind` is the name where it is left out, and null takes a method's part out."""
    if not isinstance(raw, Mapping):
        return raw
    parts = {name: part for name, part in raw.items() if part is not None}
    return {name: {"kind": name, **part} if isinstance(part, Mapping) else part for name, part in parts.items()}


def make_reader(registry: Registry, expected: type[Part], default: str | None = None) -> Callable[[Any], PartSettings]:
    """A validator that makes a mapping the settings of the part that its `kind` names.

    Args:
        default: the kind of a mapping that names none.
    """

    def read(raw: Any) -> PartSettings:
        if isinstance(raw, PartSettings):
            return raw
        if default is not None and isinstance(raw, Mapping):
            raw = {"kind": default, **raw}
        if not isinstance(raw, Mapping) or not isinstance(raw.get("kind"), str):
            raise ValueError(f"a mapping with `kind` is needed. Allowed: {', '.join(registry.names())}, or module:name")
        return _settings(part_of(registry, raw["kind"], expected), raw)

    def part_of_kind(raw: Any) -> PartSettings:
        try:
            return read(raw)
        except ConfigError as error:
            raise _refusal("kind", str(error), raw["kind"]) from None

    return part_of_kind


def part_of(registry: Registry, kind: str, expected: type[Part], place: str = "") -> Any:
    """The part behind a name.

    Raises:
        ConfigError: there is none, or something else stands there.
    """
    part = registry.get(kind, place)
    if not isinstance(part, expected):
        front = f"{place}: " if place else ""
        needed = f"{expected.__name__} of {expected.__module__}"
        raise ConfigError(f"{front}'{kind}' is a {type(part).__name__}, and a {needed} is needed")
    return part


def _settings(part: Part, raw: Mapping[str, Any]) -> PartSettings:
    try:
        return part.settings.model_validate(raw)
    except ValidationError as error:
        for item in error.errors():
            if item["type"] == "extra_forbidden":
                key, known = item["loc"][-1], list(part.settings.model_fields)
                problem = f"unknown key '{key}' of {raw['kind']}.{nearest(str(key), known)} Allowed: {', '.join(known)}"
                raise _refusal(str(key), problem, item["input"]) from None
        raise


def _refusal(key: str, said: str, value: Any) -> ValidationError:
    """An error at `key` of the part, whose place in the recipe pydantic puts in front."""
    message = PydanticCustomError("value_error", said.replace("{", "{{").replace("}", "}}"))
    return ValidationError.from_exception_data("part", [InitErrorDetails(type=message, loc=(key,), input=value)])
