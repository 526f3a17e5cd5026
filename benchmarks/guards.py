"""Whether every guard against attacks and accidents has a test that fails without it.

    python -m benchmarks.guards [--only WORD …] [--output FILE]

`guards.json` lists the guards of what `docs/security.md` promises: the file, a text that stands there once, the text
without the guard, and the tests that guard it. Files stay as they are: children are forked from a process that has
imported everything, and put the changed code in place (see `benchmarks.mutants`). A guard is noticed where one of its
tests fails that passes with it. `value` is the number of guards that are not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants import Subject, falsely_failing, in_child, run_tests
from benchmarks.mutants_touched import ROOT
from benchmarks.result import give

GUARDS = Path(__file__).with_name("guards.json")
# Scripts that run in processes of their own, by the name that says where they lie.
SCRIPTS = {"vision_rewards/plot_sandbox_helper.py": ("vision_rewards.plot_sandbox", "SCRIPT")}
# Processor seconds of one guard's tests, and seconds of the clock: without some guards a test would wait for ever.
SECONDS, CLOCK = 120.0, 300.0


@dataclass(frozen=True)
class Guard:
    """One guard.

    Attributes:
        point: what is promised.
        guard: what guards it.
        file: path below the checkout.
        old: a text that stands once in the file.
        new: what stands there without the guard.
        tests: those that guard it, each a file or `file::test`.
    """

    point: str
    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_guards(words: Sequence[str]) -> list[Guard]:
    """The guards in whose point, name or file one of these words stands; without words all.

    Raises:
        SystemExit: a guard's text does not stand in its file exactly once.
    """
    guards = [Guard(**{**each, "tests": tuple(each["tests"])}) for each in json.loads(GUARDS.read_text("utf-8"))]
    chosen = [
        guard for guard in guards if not words or any(w in f"{guard.point} {guard.guard} {guard.file}" for w in words)
    ]
    for guard in chosen:
        if (count := (ROOT / guard.file).read_text("utf-8").count(guard.old)) != 1:
            raise SystemExit(f"{GUARDS.name}: '{guard.guard}': its text stands {count} times in {guard.file}")
    return chosen


def failed(subject: Subject, guard: Guard, folder: Path) -> list[str]:
    """The first of its tests that fails without a guard; none where all pass."""

    def work() -> int:
        text = subject.sources[guard.file].replace(guard.old, guard.new)
        if guard.file in SCRIPTS:
            module, name = SCRIPTS[guard.file]
            script = folder / Path(guard.file).name
            script.write_text(text, encoding="utf-8")
            setattr(importlib.import_module(module), name, script)
        subject.put(guard.file, compile(text, str(ROOT / guard.file), "exec"))
        return run_tests(guard.tests, folder)

    log = folder / "log"
    code = in_child(work, SECONDS, log, CLOCK)
    shutil.rmtree(folder / "tests", ignore_errors=True)
    if code is None:
        return ["does not end in time"]
    lines = log.read_text(errors="replace").splitlines()
    names = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    if code != 0 and not names:
        raise SystemExit(f"pytest ended with {code}:\n" + "\n".join(lines[-20:]))
    return names


def main(argv: list[str] | None = None) -> None:
    """Takes the guards out one by one and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=(), help="guards in whose point, name or file a word stands")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    os.chdir(ROOT)
    guards = read_guards(args.only)
    tests = sorted({test for guard in guards for test in guard.tests})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = Subject(sorted({guard.file for guard in guards}), sorted({t.split("::")[0] for t in tests}), folder)
        false = falsely_failing(tests, folder)
        print("fail as things stand:", *sorted(false) or ["none"], file=sys.stderr)
        entries: list[dict[str, Any]] = []
        for guard in guards:
            names = [name for name in failed(subject, guard, folder) if name not in false]
            test = names[0] if names else None
            entries.append({"point": guard.point, "guard": guard.guard, "file": guard.file, "test": test})
            print(f"{'noticed' if names else 'UNNOTICED'}  {guard.point}: {guard.guard}: {test}", flush=True)
    unnoticed = sum(entry["test"] is None for entry in entries)
    result = {
        "name": "guards",
        "value": unnoticed,
        "unit": f"of {len(entries)} guards whose absence no test notices",
        "higher_is_better": False,
        "details": {"guards": entries},
    }
    give(result, args.output)


if __name__ == "__main__":
    main()
