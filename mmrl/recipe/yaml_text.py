"""YAML text to plain values, whatever the text: values, or one line that says where it is wrong."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from mmrl.contracts.errors import ConfigError, first_line, shortened

MOST_LEVELS = 50
# With everything that aliases stand for written out.
MOST_VALUES = 1_000_000
MERGE = "tag:yaml.org,2002:merge"
# What PyYAML raises at text that it takes for a date, a number or a key, besides its own errors.
_FAILURES = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: `1e-4` is a number, not a string. Repeated keys are refused, and so is what never ends."""

    def __init__(self, text: str):
        super().__init__(text)
        self._level = 0
        self._values: dict[int, int] = {}
        self._compared: set[int] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._level == MOST_LEVELS:
            _refuse(self.peek_event(), f"nested more than {MOST_LEVELS} levels deep")  # type: ignore[no-untyped-call]
        self._level += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        if root is not None:
            self._count(root, MOST_LEVELS)
        return root

    def _count(self, node: yaml.Node, levels: int) -> int:
        """The values inside a node, aliases written out; refuses too many, cycles and what is no text."""
        if id(node) in self._values:
            return self._values[id(node)]
        if levels == 0:
            _refuse(node, f"nested more than {MOST_LEVELS} levels deep, or an alias inside of what it stands for")
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= letter <= "\udfff" for letter in node.value):
            _refuse(node, "half of a surrogate pair, which is no text")
        total = 1 + sum(self._count(inner, levels - 1) for inner in _inside(node))
        if total > MOST_VALUES:
            _refuse(node, f"more than {MOST_VALUES:,} values, aliases written out")
        self._values[id(node)] = total
        return total

    def refuse_repeats(self, node: yaml.MappingNode) -> None:
        """Compares the keys of a mapping as they are written, before those that it merges are put among them."""
        if id(node) in self._compared:
            return
        self._compared.add(id(node))
        keys = set()
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                for merged in (value_node, *_inside(value_node)):
                    if isinstance(merged, yaml.MappingNode) and merged is not node:
                        self.refuse_repeats(merged)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                _refuse(key_node, "a key is a word or a number, not a list or a mapping")
            key = self.construct_object(key_node)  # type: ignore[no-untyped-call]
            if key in keys:
                _refuse(key_node, f"key '{shortened(str(key))}' is given twice")
            keys.add(key)


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair


def _refuse(place: yaml.Node | yaml.Event, problem: str) -> NoReturn:
    line = f"line {place.start_mark.line + 1}: " if place.start_mark else ""
    raise ConfigError(f"{line}{problem}")


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.refuse_repeats(node)
    return yaml.SafeLoader.construct_mapping(loader, node)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# What no setting takes, and no JSON writes.
_Loader.yaml_constructors = {
    tag: build
    for tag, build in _Loader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] not in ("binary", "omap", "pairs", "set")
}
_Loader.yaml_implicit_resolvers = copy.deepcopy(yaml.SafeLoader.yaml_implicit_resolvers)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str) -> Any:
    """YAML text to plain values: mappings, lists, texts, numbers, dates.

    Raises:
        ConfigError: one line, with the place where it is known: bad syntax, a value that is none, a key given twice,
            more than 50 levels or 1,000,000 values, an alias inside of what it stands for.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{place}not valid YAML: {shortened(' '.join(str(error.problem).split()))}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {shortened(' '.join(str(error).split()))}") from None
    except _FAILURES as error:
        raise ConfigError(f"not valid YAML: {shortened(first_line(error))}") from None
