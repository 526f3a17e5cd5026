"""The share of one-line changes of mmrl's own code that its fast tests notice.

    python -m benchmarks.mutants [--count N] [--seed S] [--only FILE …] [--map FILE] [--noticed FILE] [--output FILE]

Draws changes that alter behaviour (`benchmarks.mutants_make`) from modules in which a silent fault spoils results, as
many of each kind as there are, and runs for each the fast tests that run the changed line, quickest first, until one
fails. Files stay as they are: children are forked from a process that has imported everything, and put the changed code
into the module's functions. Which tests run which lines is recorded first, by one run of the tests, and kept in
`--map`: later runs record test files that have changed, or whose modules have, alone.

A change is noticed where a test fails that passes without it, or does not end in time. Of its tests those are tried,
the quickest first, that take `BUDGET` seconds together, and what only another would notice counts as unnoticed. `value`
is the share noticed, without those that `mutants_judged.json` says are equivalent, with the reason; survivors are
listed.

Which test noticed which change is kept in `--noticed`. A later run takes that over where neither the module nor the
test file has changed since, and tries all other changes: so tests written for survivors are tried on these alone.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from benchmarks.mutants_make import Mutation, mutated, mutations
from benchmarks.mutants_touched import ROOT, Finder, Map, digest, module_name
from benchmarks.result import give

MODULES = (
    *("mmrl/objectives/*.py", "mmrl/trainer/*.py", "mmrl/recipe/methods/*.py", "mmrl/recipe/stages.py"),
    *("mmrl/recipe/budgets.py", "mmrl/recipe/changes.py", "mmrl/rollouts/*.py", "mmrl/data/mixture.py"),
    *("mmrl/data/samplers/*.py", "mmrl/data/turns.py", "mmrl/data/unchanged.py", "mmrl/engines/*.py"),
    *("mmrl/parallel/*.py", "mmrl/policies/layout.py", "mmrl/policies/digests.py", "mmrl/policies/alive.py"),
    *("mmrl/evaluation/*.py", "mmrl/evaluation/suite/*.py", "mmrl/tracking/run_lock.py", "mmrl/tracking/claim.py"),
    *("robotics/episodes.py", "vision_rewards/metrics/boxes.py", "vision_rewards/rewards/combine.py"),
)
# Pages and pictures, whose text tests compare as a whole.
LEFT_OUT = ("mmrl/objectives/docs.py", "mmrl/evaluation/filming.py")
TESTS = (
    *("tests/mmrl/objectives", "tests/mmrl/trainer", "tests/mmrl/rollouts", "tests/mmrl/data", "tests/mmrl/engines"),
    *(
        "tests/mmrl/recipe",
        "tests/mmrl/evaluation",
        "tests/mmrl/tracking",
        "tests/mmrl/policies",
        "tests/mmrl/parallel",
    ),
    *("tests/runs", "tests/robotics/test_episodes.py", "tests/rewards/test_metrics_boxes.py"),
    *("tests/rewards/test_combine.py", "tests/rewards/test_iou.py", "tests/rewards/test_detection.py"),
)
JUDGED = Path(__file__).with_name("mutants_judged.json")
# Processor seconds: what the tests of one change may take as recorded, and how much longer than recorded they may run.
BUDGET, PATIENCE, START = 12.0, 5.0, 60.0


def chosen_files(patterns: Sequence[str]) -> list[str]:
    """The files of these patterns, below the checkout."""
    found = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(file for file in found if file not in LEFT_OUT and Path(file).name != "__init__.py")


def test_files() -> list[str]:
    """The test files that may notice something."""
    paths = [path for name in TESTS for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).glob("*.py"))]
    return sorted(str(path.relative_to(ROOT)) for path in paths if path.name.startswith("test_"))


def draw(sources: Mapping[str, str], count: int, seed: int, judged: Mapping[str, str]) -> list[Mutation]:
    """`count` changes, kind after kind in turn, without those that are equivalent.

    Each has its place by a digest of seed, title and which of its title it is. So a change stays drawn, but for a few
    at the end, as long as its line stands, whatever else is written.
    """
    by_kind: dict[str, list[tuple[str, Mutation]]] = defaultdict(list)
    for file, text in sources.items():
        occurrences: Counter[str] = Counter()
        for change in mutations(file, text):
            occurrences[change.title] += 1
            if change.title not in judged:
                key = f"{seed} {occurrences[change.title]} {change.title}"
                by_kind[change.kind].append((hashlib.sha256(key.encode()).hexdigest(), change))
    in_turn = [[change for _, change in sorted(by_kind[kind], key=itemgetter(0))] for kind in sorted(by_kind)]
    drawn = [change for together in zip_longest(*in_turn) for change in together if change is not None]
    return drawn[:count]


def in_child(work: Callable[[], int], seconds: float, log: Path, clock: float | None = None) -> int | None:
    """Runs `work` in a forked process: its exit code; None where it took too long. All that it started ends with it.

    Args:
        work: gives the exit code.
        seconds: of the processor that it may use itself.
        log: the file for what it prints.
        clock: seconds that it may take in all; None: ten times those of the processor, which others use as well.
    """
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 2))
            with log.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = work()
        finally:
            os._exit(code)
    deadline = time.monotonic() + (10 * seconds if clock is None else clock)
    status: int | None = None
    while status is None:
        done, ended = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(ended)
        elif time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        else:
            time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status if status >= 0 else None


def run_tests(tests: Sequence[str], folder: Path, first: bool = True) -> int:
    """pytest's exit code for these tests, by choice up to the first that fails."""
    import pytest

    options = ["-p", "no:cacheprovider", "--tb=line", f"--rootdir={ROOT}", f"--basetemp={folder / 'tests'}"]
    options += ["-x"] if first else []
    return int(pytest.main([*tests, *options]))


class Subject:
    """This project and its tests, imported once; children change one module of it."""

    def __init__(self, files: Sequence[str], tests: Sequence[str], folder: Path):
        import pytest

        # As they are imported, whatever is done to the files meanwhile.
        self.sources = {file: (ROOT / file).read_text(encoding="utf-8") for file in files}
        sys.path.insert(0, str(ROOT))
        with (folder / "collected").open("w") as log, redirect_stdout(log):
            pytest.main([*tests, "--collect-only", "-p", "no:cacheprovider", f"--rootdir={ROOT}"])
        self.functions: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for item in gc.get_objects():
            if isinstance(item, FunctionType) and item.__code__.co_filename.startswith(str(ROOT)):
                self.functions[_place(item.__code__)].append(item)
        gc.collect()
        gc.freeze()

    def change(self, change: Mutation) -> None:
        """Makes the change."""
        tree = mutated(change.file, self.sources[change.file], change.number)
        self.put(change.file, compile(tree, str(ROOT / change.file), "exec"))

    def put(self, file: str, code: CodeType) -> None:
        """Puts the code of a changed module into its functions; or, where none differs, has the module imported anew.

        What runs on import, such as the fields of a class, is no function's.
        """
        changed = False
        for inner in _codes(code):
            for function in self.functions.get(_place(inner), ()):
                alike = len(function.__code__.co_freevars) == len(inner.co_freevars)
                if alike and function.__code__ != inner:
                    function.__code__, changed = inner, True
        if not changed:
            own = ("mmrl", "vision_rewards", "robotics", "video", "tests")
            for name in [name for name in sys.modules if name.split(".")[0] in own]:
                del sys.modules[name]
            sys.meta_path.insert(0, Finder({module_name(file): code}))


def _place(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def notice(change: Mutation, known: Map, subject: Subject, folder: Path) -> tuple[str, str]:
    """Runs the tests of one change: (`noticed`, `survived` or `untouched`; the test that failed or why none did)."""
    tests, seconds = [], 0.0
    for cost, test in known.tests_of(change.file, change.line):
        if tests and seconds + cost > BUDGET:
            break
        tests.append(test)
        seconds += cost
    if not tests:
        return "untouched", "no fast test runs the line"

    def work() -> int:
        subject.change(change)
        return run_tests(tests, folder)

    log = folder / "log"
    code = in_child(work, START + PATIENCE * seconds, log)
    shutil.rmtree(folder / "tests", ignore_errors=True)
    if code is None:
        return "noticed", "does not end in time"
    lines = log.read_text(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    # 4: a test file does not even import.
    if code in (1, 2, 4) and failed:
        return "noticed", failed[0].split(" - ")[0].split(" ", 1)[1]
    if code == 0:
        return "survived", f"{len(tests)} tests pass"
    if code == 70 or not lines:
        return "noticed", "nothing is imported"
    raise SystemExit(f"{change.title}: pytest ended with {code}:\n" + "\n".join(lines[-20:]))


def falsely_failing(tests: Sequence[str], folder: Path) -> set[str]:
    """Those of these tests that fail without any change, together and on their own."""
    log = folder / "log"
    in_child(lambda: run_tests(tests, folder, first=False), 10 * START + 10 * len(tests), log)
    shutil.rmtree(folder / "tests", ignore_errors=True)
    lines = log.read_text(errors="replace").splitlines()
    together = {line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))}
    wrong = set()
    for test in sorted(together):
        if in_child(lambda test=test: run_tests([test], folder), 10 * START, folder / "log") != 0:
            wrong.add(test)
        shutil.rmtree(folder / "tests", ignore_errors=True)
    return wrong


class Noticed:
    """Which test noticed which change, with digests of the module and of the test file; kept in a file.

    Args:
        path: it need not be there.
    """

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, Any] = json.loads((path.read_text(encoding="utf-8") if path.is_file() else "") or "{}")

    def of(self, change: Mutation) -> str | None:
        """The test that noticed a change, where neither it nor the module has changed since."""
        entry = self.known.get(f"{change.title} #{change.number}")
        return entry["test"] if entry is not None and entry["digests"] == self._digests(change, entry["test"]) else None

    def keep(self, change: Mutation, test: str) -> None:
        """Notes that a test noticed a change."""
        self._write(change, {"test": test, "digests": self._digests(change, test)})

    def drop(self, change: Mutation) -> None:
        """Takes back that a test noticed a change."""
        self._write(change, None)

    def _write(self, change: Mutation, entry: dict[str, Any] | None) -> None:
        # Next to what other processes noted meanwhile.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            self.known = json.loads(file.read() or "{}")
            self.known.pop(f"{change.title} #{change.number}", None)
            if entry is not None:
                self.known[f"{change.title} #{change.number}"] = entry
            file.truncate(0)
            file.write(json.dumps(self.known))

    def _digests(self, change: Mutation, test: str) -> list[str]:
        file = test.split("::")[0]
        return [digest(change.file), digest(file) if (ROOT / file).is_file() else ""]


def main(argv: list[str] | None = None) -> None:
    """Draws, runs and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="changes of these files or patterns alone")
    parser.add_argument("--map", type=Path, default=ROOT / "build" / "mutants_map.json")
    parser.add_argument("--noticed", type=Path, default=ROOT / "build" / "mutants_noticed.json")
    parser.add_argument("--part", default="1/1", help="i/n: every n-th change from the i-th on, for several processes")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    os.chdir(ROOT)
    known = Map(args.map, chosen_files(MODULES))
    if stale := known.stale(test_files()):
        print(f"recording what {len(stale)} test files run …", file=sys.stderr)
        log = args.map.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        if in_child(lambda: known.record(stale) or 0, 7200, log) != 0:
            raise SystemExit(f"recording failed; see {log}")
        known = Map(args.map, chosen_files(MODULES))
    judged = json.loads(JUDGED.read_text(encoding="utf-8"))
    part, parts = map(int, args.part.split("/"))
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(chosen_files(args.only or MODULES), test_files(), Path(folder))
        changes = draw(subject.sources, args.count, args.seed, judged)
        outcomes, before, tried = {}, Noticed(args.noticed), []
        for change in changes[part - 1 :: parts]:
            test = before.of(change)
            if test is None:
                tried.append(change)
            outcomes[change] = notice(change, known, subject, Path(folder)) if test is None else ("noticed", test)
            state, why = outcomes[change]
            if test is None and state == "noticed":
                before.keep(change, why)
            print(f"{state:9} {change.file}:{change.line}: {change.kind}: {change.before} -> {change.after}: {why}")
            sys.stdout.flush()
        killers = sorted({outcomes[c][1] for c in tried if outcomes[c][0] == "noticed" and "::" in outcomes[c][1]})
        wrong = falsely_failing(killers, Path(folder))
    for change, (state, why) in outcomes.items():
        if state == "noticed" and why in wrong:
            outcomes[change] = ("survived", f"{why} fails without the change too")
            before.drop(change)
    give(summary(outcomes, args.seed, len(judged)), args.output)


def summary(outcomes: dict[Mutation, tuple[str, str]], seed: int, judged: int) -> dict[str, Any]:
    """The result of all changes."""
    noticed = sum(state == "noticed" for state, _ in outcomes.values())
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for change, (state, _) in outcomes.items():
        kinds[change.kind][state] += 1
    return {
        "name": "mutants",
        "value": round(noticed / max(1, len(outcomes)), 4),
        "unit": f"share of {len(outcomes)} changes noticed",
        "higher_is_better": True,
        "details": {
            "noticed": noticed,
            "changes": len(outcomes),
            "judged_equivalent": judged,
            "kinds": {kind: dict(count) for kind, count in sorted(kinds.items())},
            "survivors": [
                f"{change.title} (line {change.line}): {why}"
                for change, (state, why) in outcomes.items()
                if state != "noticed"
            ],
            "seed": seed,
        },
    }


if __name__ == "__main__":
    main()
