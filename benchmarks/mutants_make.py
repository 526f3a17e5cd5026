"""One-line changes of a module that alter what it does, as syntax trees.

Operators, comparisons, numbers, truth values, the order of two arguments, `not`, conditions, whole statements and
`detach`. Left out is what a test need not guard: what is raised and said, texts, annotations, decorators, and keywords
such as `exist_ok`, whose change alters nothing that a run gives. -1 becomes 0 and not 1: it mostly names the last axis
or item, of which 0 is the first, and 1 is the last axis of a matrix as well.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

QUIET_KEYWORDS = {
    *("strict", "frozen", "kw_only", "slots", "flush", "exist_ok", "ignore_errors", "missing_ok", "description"),
    *("non_blocking", "encoding", "repr", "parents", "stacklevel", "compare", "daemon", "indent", "sort_keys"),
}
# Calls and functions that only say something.
TALK = {"say", "_say", "print", "warn", "warning", "info", "debug", "log", "add_note", "shortened", "cast", "named"}
TALKERS = {"explain", "named", "describe", "__repr__", "__str__", "_described"}
# Their arguments may stand in any order, or fail at once in the other.
UNSWAPPED = {"max", "min", "zip", "isinstance", "getattr", "hasattr", "open", "range", "setattr", "map", "filter"}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


@dataclass(frozen=True)
class Mutation:
    """One change.

    Attributes:
        file: path below the checkout.
        line: of the statement that holds the change, from 1.
        number: the change's place among all of its file.
        kind: what sort of change.
        before, after: the changed piece as Python text.
        text: the line of source in which it begins.
    """

    file: str
    line: int
    number: int
    kind: str
    before: str
    after: str
    text: str = ""

    @property
    def title(self) -> str:
        """The change in one line; it names the change for good, as long as the code around it stands."""
        return f"{self.file}: {self.text}: {self.kind}: {self.before} -> {self.after}"


Change = Callable[[], ast.AST]


def mutations(file: str, source: str) -> list[Mutation]:
    """All changes of a module, in the order of its text."""
    return [change for change, _ in _walk(file, source, None)]


def mutated(file: str, source: str, number: int) -> ast.Module:
    """The module's tree with change `number`."""
    return next(tree for change, tree in _walk(file, source, number) if change.number == number)


def _walk(file: str, source: str, wanted: int | None) -> Iterator[tuple[Mutation, ast.Module]]:
    tree, lines = ast.parse(source), source.splitlines()
    number = 0
    for holder, name, index, line in _places(tree, 0):
        node = getattr(holder, name) if index is None else getattr(holder, name)[index]
        for kind, other in _changes(node, holder):
            text = lines[getattr(node, "lineno", line) - 1].strip()
            change = Mutation(file, line, number, kind, _text(node), _text(other), text)
            if wanted == number:
                ast.copy_location(other, node)
                if index is None:
                    setattr(holder, name, other)
                else:
                    getattr(holder, name)[index] = other
                ast.fix_missing_locations(tree)
            yield change, tree
            number += 1


def _text(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 100 else f"{text[:70]} … {text[-25:]}"


def _places(node: ast.AST, line: int) -> Iterator[tuple[ast.AST, str, int | None, int]]:
    """(parent, field, index in the field, line of the innermost statement) of every node that may change."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "op", "ops", "ctx"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _said(child):
                continue
            here = child.lineno if isinstance(child, ast.stmt) else line
            yield node, name, index, here
            yield from _places(child, here)


def _said(node: ast.AST) -> bool:
    """Whether a node only says something, or is no code."""
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)):
        return True
    if isinstance(node, ast.FunctionDef) and node.name in TALKERS:
        return True
    if isinstance(node, ast.keyword) and node.arg in QUIET_KEYWORDS:
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    call = node.value if isinstance(node, ast.Expr) else node
    if isinstance(call, ast.Constant) and isinstance(call.value, str):
        return True
    if isinstance(call, ast.Call):
        callee = call.func
        called = callee.attr if isinstance(callee, ast.Attribute) else callee.id if isinstance(callee, ast.Name) else ""
        return called in TALK or called.endswith(("Error", "Refused"))
    return False


def _changes(node: ast.AST, parent: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = copy.deepcopy(node)
        other.ops = [COMPARISONS[type(node.ops[0])]()]
        yield "comparison", other
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
        other = copy.deepcopy(node)
        other.op = OPERATORS[type(node.op)]()
        yield "operator", other
    elif isinstance(node, ast.BoolOp):
        other = copy.deepcopy(node)
        other.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and, or", other
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        last = isinstance(node.operand, ast.Constant) and type(node.operand.value) is int
        other = ast.Constant(node.operand.value - 1) if last else copy.deepcopy(node.operand)
        yield "not" if isinstance(node.op, ast.Not) else "sign", other
    elif isinstance(node, ast.Constant) and not isinstance(parent, ast.Expr):
        yield from _constants(node, parent)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    if isinstance(node, ast.expr) and isinstance(parent, (ast.If, ast.IfExp)) and node is parent.test and _plain(node):
        yield "condition", ast.UnaryOp(ast.Not(), copy.deepcopy(node))
    if isinstance(node, ast.stmt) and _removable(node):
        yield "statement", ast.Pass()


def _constants(node: ast.Constant, parent: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    value = node.value
    if isinstance(value, bool):
        yield "truth", ast.Constant(not value)
    elif isinstance(value, int):
        yield "number", ast.Constant(value + 1)
    elif isinstance(value, float):
        yield "number", ast.Constant(value * 2 if value else 1.0)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.func, ast.Attribute) and node.func.attr == "detach":
        yield "detach", copy.deepcopy(node.func.value)
    called = node.func.id if isinstance(node.func, ast.Name) else ""
    if len(node.args) < 2 or called in UNSWAPPED or any(isinstance(each, ast.Starred) for each in node.args[:2]):
        return
    if ast.dump(node.args[0]) != ast.dump(node.args[1]):
        other = copy.deepcopy(node)
        other.args[0], other.args[1] = other.args[1], other.args[0]
        yield "arguments", other


def _plain(node: ast.expr) -> bool:
    """Whether a condition is none that another kind of change negates."""
    is_negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    return not isinstance(node, (ast.Compare, ast.BoolOp)) and not is_negated


def _is_text(node: ast.BinOp) -> bool:
    """Whether an operand is a text, which is joined or filled in; or a type, which `|` joins."""
    sides = (node.left, node.right)
    return any(isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str) for side in sides) or (
        isinstance(node.op, ast.BitOr) and any(isinstance(side, ast.Constant) and side.value is None for side in sides)
    )


def _removable(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign):
        return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return isinstance(node, (ast.AugAssign, ast.Continue, ast.Break, ast.Delete))
