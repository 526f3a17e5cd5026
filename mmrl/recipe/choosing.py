"""Settings that belong to who reads them: a mapping names its owner, and the owner's model says which keys exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from mmrl.contracts.errors import ConfigError, nearest
from mmrl.recipe.base import Settings
from mmrl.recipe.foreign import hint


@dataclass(frozen=True)
class Chosen:
    """Stands in an annotation beside the base of some settings: `Annotated[PolicyConfig, Chosen(...)]`.

    A mapping becomes the model that its own `key` names; settings that are made already are taken as they are. A key of
    another owner is as if it were not there where it is null.

    Attributes:
        key: the key that names the owner.
        model_of: the model of an owner; raises ConfigError for one that is unknown, which may start with "<title>: ".
        names: every owner that a table or an installed package has.
        default: the owner where the key is left out; None: it must be given.
        title: how messages call an owner, e.g. "policy.type".
    """

    key: str
    model_of: Callable[[str], type[Settings]]
    names: Callable[[], Sequence[str]]
    title: str
    default: str | None = None

    def read(self, raw: Any) -> Settings:
        """The checked settings. Raises ValidationError."""
        if isinstance(raw, Settings):
            return raw
        if not isinstance(raw, Mapping):
            raise PydanticCustomError("mapping", "a mapping of keys is needed")
        name = raw.get(self.key, self.default)
        try:
            model = self.choose(raw)
        except ConfigError as error:
            message = str(error).removeprefix(f"{self.title}: ")
            raise _error_at(self.key, name, PydanticCustomError("owner", "{message}", {"message": message})) from None
        set_values = {key: value for key, value in raw.items() if value is not None or not self._unset(model, key)}
        return model.model_validate({self.key: name, **set_values})

    def _unset(self, model: type[Settings], key: str) -> bool:
        """Whether null takes a key back that another owner reads, as an override does where it changes the owner."""
        return key != self.key and key not in model.model_fields and bool(self.readers([key]))

    def choose(self, raw: Mapping[str, Any]) -> type[Settings]:
        """The model that a mapping names. Raises ConfigError."""
        name = raw.get(self.key, self.default)
        if not isinstance(name, str):
            problem = "this key is required" if name is None else f"a name is needed, not {name!r}"
            raise ConfigError(f"{self.title}: {problem}. Allowed: {', '.join(self.names())}")
        return self.model_of(name)

    def readers(self, path: Sequence[str]) -> list[str]:
        """The owners that read a key, given as the names on the way to it."""
        return [name for name in self.names() if has_key(self.model_of(name), path)]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        branches = []
        for name in self.names():
            condition: dict[str, Any] = {"properties": {self.key: {"const": name}}}
            if name != self.default:
                condition["required"] = [self.key]
            owned = handler(self.model_of(name).__pydantic_core_schema__)
            branches.append({"if": condition, "then": owned})
        return {"type": "object", "allOf": branches}


def has_key(model: Any, path: Sequence[str]) -> bool:
    """Whether a model has a key, or one of its models has the rest of the way."""
    head, *rest = path
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or head not in model.model_fields:
        return False
    return not rest or any(has_key(inner, rest) for inner in models_in(model.model_fields[head].annotation))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model class inside an annotation (lists, unions, Annotated)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def describe_unread(key: str, known: Sequence[str], title: str = "", readers: Sequence[str] = ()) -> str:
    """What is wrong with a key that its owner does not read: who does, its name here or its spelling, and what exists.

    Args:
        key: the whole key, as it stands in the recipe.
    """
    *others, last = readers or [""]
    both = f"{', '.join(others)} and {last} read" if others else f"{last} reads"
    name = key.rpartition(".")[2]
    cure = f" {title} {both} it." if readers else hint(key, known) or nearest(name, known)
    return f"unknown key '{name}'.{cure} Allowed: {', '.join(known)}"


def _error_at(key: str, value: Any, error: PydanticCustomError) -> ValidationError:
    return ValidationError.from_exception_data("settings", [InitErrorDetails(type=error, loc=(key,), input=value)])
