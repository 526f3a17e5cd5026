"""The arrows between mmrl's files: which import runs back up, and which files stand in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Rooms from the ground up; a file imports from its own floor and those below. `mmrl` itself holds no code but the names
# that it loads on first use.
FLOORS = (
    ("contracts",),
    ("recipe",),
    ("policies", "objectives", "data"),
    ("rollouts", "evaluation", "engines", "environments", "parallel", "tracking"),
    ("trainer",),
    ("setup",),
    ("run",),
    ("commands", "cli", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its length in lines, decorators and docstring included."""

    place: str
    lines: int


def modules(root: Path, package: str = "mmrl") -> dict[str, Path]:
    """Dotted name -> file of every module of a package under `root`."""
    paths = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, which no one changes."""
    return ast.parse(path.read_text())


def arrows(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules that it imports, at the top, inside functions and for type checking alike."""
    return {name: set(_imported(parsed(path), files)) for name, path in files.items()}


def _imported(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def back_up(imports: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """(importer, imported) of every import from a floor above. Raises KeyError on a room without a floor."""
    return sorted(
        (module, other)
        for module, others in imports.items()
        for other in others
        if "." in module and "." in other and FLOOR[other.split(".")[1]] > FLOOR[module.split(".")[1]]
    )


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that reach each other, in groups of two or more (strongly connected components, Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in imports.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in imports:
        if name not in order:
            visit(name)
    return sorted(groups)


def untyped_policies(files: Mapping[str, Path]) -> list[str]:
    """`module:line` of every parameter or attribute called `policy` whose type is `Any`."""
    places = []
    for name, path in files.items():
        for node in ast.walk(parsed(path)):
            named = node.arg if isinstance(node, ast.arg) else getattr(getattr(node, "target", None), "id", None)
            annotation = getattr(node, "annotation", None)
            if named == "policy" and isinstance(annotation, ast.Name) and annotation.id == "Any":
                places.append(f"{name}:{node.lineno}")
    return sorted(places)


def longest_function(files: Mapping[str, Path]) -> Function:
    """The longest function of the modules; one inside another counts as part of it, and for itself."""
    functions = (
        Function(f"{name}.{node.name}", (node.end_lineno or node.lineno) - _first_line(node) + 1)
        for name, path in files.items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return max(functions, key=lambda function: function.lines)


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
