"""Which fast tests run which lines of the chosen modules: recorded by one run of the tests, and kept in a file.

The modules are imported with a note before each statement; their files stay as they are. What child processes run is
not recorded, nor are the children's tests a fast way to notice a change.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTE = "__mutants_note__"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports some modules from code that is given, instead of from their files.

    Args:
        codes: the code by module name.
    """

    def __init__(self, codes: Mapping[str, CodeType]):
        self.codes = codes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, with this loader."""
        if name not in self.codes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = self
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Runs the given code."""
        exec(self.codes[module.__name__], module.__dict__)


def module_name(file: str) -> str:
    """`mmrl/trainer/step.py` -> `mmrl.trainer.step`."""
    return ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")


class Notes(ast.NodeTransformer):
    """Puts a note before every statement of every body."""

    def __init__(self, file: str):
        self.file = file

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                setattr(node, name, self._noted(body))
        return node

    def _noted(self, body: list[ast.stmt]) -> list[ast.stmt]:
        noted: list[ast.stmt] = []
        for statement in body:
            fixed = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
            text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not fixed and not text:
                call = ast.Call(
                    ast.Name(NOTE, ast.Load()), [ast.Constant(self.file), ast.Constant(statement.lineno)], []
                )
                noted.append(ast.copy_location(ast.Expr(call), statement))
            noted.append(statement)
        return noted


class Recorder:
    """A pytest plugin that takes the notes of each test, and its seconds."""

    def __init__(self) -> None:
        self.test = ""
        self.tests: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def note(self, file: str, line: int) -> None:
        """A statement is about to run."""
        self.tests[f"{file}:{line}"].add(self.test)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Names the test that runs."""
        self.test, began = item.nodeid, time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = round(time.process_time() - began, 3)
            self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the tests that fail as things stand: they notice nothing."""
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)


class Map:
    """What is known of the tests, by test file: its digest, those of the modules that it ran, lines and seconds.

    Args:
        path: the file that keeps it; it need not be there.
        modules: the chosen modules' files.
    """

    def __init__(self, path: Path, modules: Sequence[str]):
        self.path, self.modules = path, modules
        self.known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._places: dict[str, set[tuple[float, str]]] | None = None

    def stale(self, files: Sequence[str]) -> list[str]:
        """The test files that must be run again: new, changed, or of a module that has changed since."""
        now = {file: digest(file) for file in (*self.modules, *files)}
        return [
            file
            for file in files
            if (known := self.known.get(file)) is None
            or known["digest"] != now[file]
            or any(now.get(module) != there for module, there in known["modules"].items())
        ]

    def record(self, files: Sequence[str]) -> None:
        """Runs the fast tests of these files and keeps what they touch."""
        recorder = Recorder()
        setattr(builtins, NOTE, recorder.note)
        codes = {}
        for file in self.modules:
            tree = ast.fix_missing_locations(Notes(file).visit(ast.parse((ROOT / file).read_text(encoding="utf-8"))))
            codes[module_name(file)] = compile(tree, str(ROOT / file), "exec")
        sys.meta_path.insert(0, Finder(codes))
        pytest.main([*files, "-m", "fast", "-p", "no:cacheprovider", f"--rootdir={ROOT}"], plugins=[recorder])
        touched: dict[str, list[str]] = defaultdict(list)
        for key, tests in sorted(recorder.tests.items()):
            for test in tests:
                touched[test].append(key)
        for file in files:
            tests = {
                test: {"seconds": seconds, "lines": touched[test]}
                for test, seconds in recorder.seconds.items()
                if test.partition("::")[0] == file and test not in recorder.failed
            }
            modules = {line.rpartition(":")[0] for known in tests.values() for line in known["lines"]}
            self.known[file] = {
                "digest": digest(file),
                "modules": {module: digest(module) for module in sorted(modules)},
                "tests": tests,
            }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.known), encoding="utf-8")

    def tests_of(self, file: str, line: int) -> list[tuple[float, str]]:
        """(seconds, test) of the tests that run a line, quickest first.

        Lines outside of functions run once, when whichever test is first imports the module. So where none runs the
        line, those that run the file; and where none does, for it holds no functions, its folder.
        """
        if self._places is None:
            self._places = defaultdict(set)
            for of_file in self.known.values():
                for test, known in of_file["tests"].items():
                    files = {key.rpartition(":")[0] for key in known["lines"]}
                    for place in (*known["lines"], *files, *(str(Path(each).parent) for each in files)):
                        self._places[place].add((known["seconds"], test))
        places = (f"{file}:{line}", file, str(Path(file).parent))
        return sorted(next((self._places[place] for place in places if place in self._places), ()))


def digest(file: str) -> str:
    """Of a file below the checkout."""
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]
