"""From YAML text to a checked recipe, and from pydantic's errors to one line that a person can act on."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mmrl.contracts.errors import ConfigError, nearest, shortened
from mmrl.recipe.choosing import Chosen, describe_unread, models_in
from mmrl.recipe.secrets import masked
from mmrl.recipe.unions import join_kinds
from mmrl.recipe.yaml_text import parse_yaml

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES = 20_000_000
MOST_STAGES = 1000


def read_yaml(path: Path) -> dict[str, Any]:
    """A recipe file as a mapping. Raises ConfigError, in one line that names the file."""
    if not os.path.isfile(path):
        options = [p.name for p in path.parent.glob("*.y*ml")] if os.path.isdir(path.parent) else []
        raise ConfigError(f"no recipe at '{shortened(str(path))}'.{nearest(path.name, options)}")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"no recipe: above {MOST_BYTES // 1_000_000} MB")
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, got {type(raw).__name__}")
    return raw


def apply_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Applies `a.b=c` to a copy of `raw`; list items by index (`data.train.0.size=10`), values in YAML."""
    result = copy.deepcopy(dict(raw))
    for item in overrides:
        key, equals, text = item.partition("=")
        item = shortened(item)
        if not equals or not key.strip():
            raise ConfigError(f"override '{item}' is not of the form key.path=value")
        parts, value = key.strip().split("."), parse_yaml(text)
        _assign(result, parts, value, item)
        _check_effect(result, parts, value, item)
    return result


def _check_effect(raw: Mapping[str, Any], parts: list[str], value: Any, item: str) -> None:
    """Refuses an override of a default that every stage sets for itself: it would silently change nothing."""
    stages = [_child_at(raw, place) for place in stage_places(raw.get("stages"))]
    owned = parts[0] in (*STAGE_DEFAULTS, *STAGE_SECTIONS)
    if not owned or isinstance(value, Mapping):
        return
    if stages and all(_hides(stage, parts) for stage in stages):
        key = ".".join(parts)
        raise ConfigError(f"override '{item}' has no effect: every stage sets {key}; give stages.0.{key}=… instead")


def stage_places(stages: Any, at: tuple[Any, ...] = ("stages",)) -> list[tuple[Any, ...]]:
    """Where each stage stands in a recipe as it is written, in the order in which they run; those of rounds repeat."""
    places: list[tuple[Any, ...]] = []
    for i, item in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(item, Mapping) and "rounds" in item:
            count = item["rounds"] if isinstance(item["rounds"], int) else 1
            places += stage_places(item.get("stages"), (*at, i, "stages")) * min(max(count, 1), MOST_STAGES)
        else:
            places.append((*at, i))
    return places


def _child_at(node: Any, place: Sequence[Any]) -> Any:
    for part in place:
        node = _child_of(node, part)
    return node


def _hides(stage: Any, parts: Sequence[str]) -> bool:
    """Whether a stage sets a key, or a list on the way to it, itself."""
    for part in parts:
        if not isinstance(stage, Mapping):
            return isinstance(stage, list)
        if stage.get(part) is None:
            return False
        stage = stage[part]
    return True


def _assign(node: Any, parts: list[str], value: Any, item: str) -> None:
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f"override '{item}': '{part}' is no index of a list of {len(node)}")
            if last:
                node[int(part)] = value
            else:
                node = node[int(part)]
        elif isinstance(node, dict):
            if last:
                node[part] = value
            else:
                if node.get(part) is None:
                    node[part] = {}
                node = node[part]
        else:
            raise ConfigError(f"override '{item}': '{'.'.join(parts[:depth])}' holds a {type(node).__name__}, not keys")


STAGE_DEFAULTS = (
    "method", "steps", "prompts", "demonstrations", "minibatches", "minibatch_by", "epochs", "objective", "optim",
    "rollout",
)  # fmt: skip
# What a stage may have of its own, in place of the recipe's.
STAGE_SECTIONS = ("data", "rewards", "evaluation", "checkpoint", "engine", "policy")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings merge key by key, anything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merge(result[key], value) if both else value
    return result


def validate(
    model: type[Model], raw: Mapping[str, Any], place: str = "", written: Mapping[str, Any] | None = None
) -> Model:
    """Checks `raw` against `model`.

    Args:
        place: put in front of every key that an error names.
        written: the recipe that `raw` was expanded from; keys are named as they stand there.

    Raises:
        ConfigError: every problem, one per line and each once, with the cure.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        items = join_kinds(error.errors(), raw)
        lines = (_describe_error(model, {**item, "root": raw}, place, written) for item in items)
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def to_yaml(recipe: BaseModel) -> str:
    """A checked recipe as YAML, defaults included, and logins of URLs masked."""
    return yaml.safe_dump(masked(recipe.model_dump(mode="json")), sort_keys=False, allow_unicode=True)


def _as_written(location: list[Any], written: Mapping[str, Any] | None) -> list[Any]:
    """Where a stage's key stands in the recipe: at the top, when the stage only inherited it."""
    if written is None or len(location) < 2 or location[0] != "stages":
        return location
    if written.get("stages") is None:
        return location[2:]
    place = [*stage_places(written["stages"])[location[1]]]
    if len(location) == 2:
        return place
    inherited = _has_key(written, location[2:]) and not _has_key(_child_at(written, place), location[2:])
    return location[2:] if inherited else [*place, *location[2:]]


def _has_key(node: Any, location: Sequence[Any]) -> bool:
    for part in location:
        inside = isinstance(part, int) and isinstance(node, list) and part < len(node)
        if not inside and (not isinstance(node, Mapping) or part not in node):
            return False
        node = node[part]
    return True


def _describe_error(
    model: type[BaseModel], item: Mapping[str, Any], place: str, written: Mapping[str, Any] | None
) -> str:
    owner, clean = _find_owner(model, item["loc"], item["root"])
    key = shortened(".".join([*([place] if place else []), *map(str, _as_written(clean, written))]))
    value = item.get("input")
    if item["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in owner.model.model_fields.items()] if owner.model else []
        if owner.model is model and place == "":
            known += [k for k in STAGE_DEFAULTS if k not in known]
        readers = owner.chosen.readers(owner.path) if owner.chosen else []
        return f"{key}: {describe_unread(key, known, owner.chosen.title if owner.chosen else '', readers)}"
    if item["type"] == "missing":
        return f"{key}: this key is required" + ("; or give `method` and `steps`" if key == "stages" else "")
    if item["type"] == "literal_error":
        allowed = item["ctx"]["expected"]
        choices = allowed.replace("'", "").replace(" or ", ", ").split(", ")
        return f"{key}: '{shortened(str(value))}' is not allowed.{nearest(str(value), choices)} Allowed: {allowed}"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        allowed = str(item["ctx"].get("expected_tags", "")).replace("'", "")
        tag = str(item["ctx"].get("tag", ""))
        problem = "the key 'type' is missing."
        if tag:
            problem = f"type '{shortened(tag)}' is not allowed.{nearest(tag, allowed.split(', '))}"
        return f"{key}: {problem} Allowed: {allowed or 'digits, file, python, episodes'}"
    message = item["msg"].removeprefix("Value error, ")
    complete = isinstance(value, Mapping | BaseModel | list) or item["type"] in ("value_error", "owner")
    suffix = "" if complete else f" (got {shortened(repr(value))})"
    return f"{key}: {message}{suffix}" if key else f"{message}{suffix}"


@dataclass(frozen=True)
class _Owner:
    """The model that owns a key, and where a mapping chose that model itself, who did and the keys since then."""

    model: type[BaseModel] | None
    chosen: Chosen | None = None
    path: tuple[str, ...] = ()


def _find_owner(model: type[BaseModel], location: Sequence[Any], root: Any) -> tuple[_Owner, list[Any]]:
    """The owner of the last key, and the location without discriminator tags; `root` is what was read."""
    owner, node = _Owner(model), root
    candidates: dict[str, type[BaseModel]] = {}
    awaited: Chosen | None = None
    # The next part is a key of the user's own, as in `streams.rl`.
    in_mapping = False
    clean: list[Any] = []
    for index, part in enumerate(location):
        if isinstance(part, str) and part in candidates:
            owner, candidates = replace(owner, model=candidates[part]), {}
            continue
        clean.append(part)
        node = _child_of(node, part)
        owner = replace(owner, path=(*owner.path, str(part)))
        if index == len(location) - 1 or isinstance(part, int):
            continue
        if in_mapping:
            in_mapping = False
            if awaited is not None:
                owner, awaited = _chosen_owner(awaited, node), None
            continue
        field = owner.model.model_fields.get(part) if owner.model else None
        chosen = _chosen_in(field) if field else None
        if field and chosen is not None and chosen in field.metadata:
            owner = _chosen_owner(chosen, node)
            continue
        in_mapping, awaited = field is not None and get_origin(field.annotation) is dict, chosen
        models = list(models_in(field.annotation)) if field else []
        candidates = {
            get_args(m.model_fields["type"].annotation)[0]: m
            for m in models
            if "type" in m.model_fields and get_args(m.model_fields["type"].annotation)
        }
        if not candidates:
            owner = replace(owner, model=models[0] if models else None)
    return owner, clean


def _child_of(node: Any, part: Any) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    if isinstance(node, Sequence) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _chosen_in(field: FieldInfo) -> Chosen | None:
    """What chooses the model of a field's value, or of the values in its mapping."""
    inner = [meta for argument in get_args(field.annotation) for meta in getattr(argument, "__metadata__", ())]
    return next((meta for meta in (*field.metadata, *inner) if isinstance(meta, Chosen)), None)


def _chosen_owner(chosen: Chosen, node: Any) -> _Owner:
    try:
        return _Owner(chosen.choose(node) if isinstance(node, Mapping) else None, chosen)
    except ConfigError:
        # The line that names the owner says what is wrong with it.
        return _Owner(None, chosen)
