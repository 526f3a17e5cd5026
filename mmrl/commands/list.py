"""`mmrl list`: the names that a recipe may use, and what stands behind them."""

from __future__ import annotations

import ast
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmrl.recipe.registries import REGISTRIES, registry_of
from mmrl.recipe.registry import Listed, Registry


def run(args: Namespace) -> int:
    """Prints the kinds, or every part of one kind: name, package, place, and what it is."""
    if args.kind is None:
        for kind in sorted(REGISTRIES):
            print(f"{kind:18}{len(registry_of(kind)):4} names   entry points: mmrl.{kind}")
        return 0
    registry = registry_of(args.kind)
    lines = registry.listed()
    wide = max((len(line.name) for line in lines), default=0) + 2
    for line in lines:
        package = "" if line.package == "mmrl" else f"  [{line.package}]"
        print(f"{line.name:{wide}}{_about(registry, line) or line.source}{package}")
    print(f"A recipe takes these names, module:name, and entry points of installed packages (group mmrl.{args.kind}).")
    return 0


def _about(registry: Registry[Any], line: Listed) -> str:
    """One sentence on a part; nothing is imported for it."""
    part = registry.entries.get(line.name, line.source)
    if isinstance(part, str):
        return _first_sentence(_docstring(part))
    return (
        getattr(part, "about", None)
        or getattr(part, "doc", None)
        or _first_sentence(getattr(part, "__doc__", None) or "")
    )


def _docstring(source: str) -> str:
    """The docstring of `module:name`, read from the module's file; that of the function which a constant is made of."""
    module, _, name = source.partition(":")
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    body = ast.parse(Path(spec.origin).read_text()).body
    defined = {node.name: node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    constants = (node for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call))
    for node in constants:
        arguments = [argument.id for argument in node.value.args[:1] if isinstance(argument, ast.Name)]
        if arguments and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            name = arguments[0]
    return (ast.get_docstring(defined[name]) if name in defined else None) or ""


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())
