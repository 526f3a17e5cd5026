"""What goes wrong where processes are killed, disks fill up, files lie and names collide.

    python -m benchmarks.chaos [--minutes N | --trials N] [--seed S] [--only KIND …] [--trial I] [--output FILE]

Trials of every kind in `benchmarks.chaos_trials`, one after another, until the time is up: each draws what it does from
the seed and its number, runs commands of mmrl in child processes (forked from one that holds torch, so that they start
at once) and looks at what is left. A failure is

- a traceback, or an exit code that is not one of those that `mmrl.cli` documents;
- a hang: a command that outlives its bound, twenty times what it takes alone and 60 seconds at least, without using a
  processor, or outlives it five times;
- a run, figure, cache or answer that is lost, or another than without the fault;
- a file or process that a killed one leaves and the next start does not clear.

Each is printed with the command that repeats it. What depends on the moment of a kill may take several tries.
`value` is the number of failures. Full disks need the right to mount a tmpfs (root, Linux) and are left out without.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos_ground import Ground, Skipped
from benchmarks.chaos_trials import TRIALS
from benchmarks.result import give


def main(argv: list[str] | None = None) -> None:
    """Runs the trials and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--trials", type=int, help="stop after so many, whatever the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=sorted(TRIALS), help="these kinds alone")
    parser.add_argument("--trial", type=int, help="this trial alone, and keep its folder")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    began, deadline = time.monotonic(), time.monotonic() + 60 * args.minutes
    top = Path(tempfile.mkdtemp(prefix="mmrl_chaos_"))
    ground = Ground(top / "ground")
    kinds = [kind for kind in TRIALS if not args.only or kind in args.only]
    runs: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    skipped: dict[str, str] = {}
    number = args.trial or 0
    while time.monotonic() < deadline and sum(runs.values()) != args.trials:
        kind = kinds[number % len(kinds)]
        folder = top / f"trial_{number}"
        folder.mkdir()
        try:
            found = list(TRIALS[kind](ground, random.Random(f"{args.seed}/{kind}/{number}"), folder))
        except Skipped as reason:
            found, skipped[kind] = [], str(reason)
        runs[kind] += 1
        failures[kind] += len(found)
        only = f" --only {' '.join(args.only)}" if args.only else ""
        for failure in found:
            print(f"{kind}: {failure}\n    repeat: --seed {args.seed}{only} --trial {number}", flush=True)
        if args.trial is not None:
            print(f"its files: {folder}")
            break
        shutil.rmtree(folder, ignore_errors=True)
        number += 1
    if args.trial is None:
        shutil.rmtree(top)
    result = {
        "name": "chaos",
        "value": failures.total(),
        "unit": f"failures in {runs.total()} trials",
        "higher_is_better": False,
        "details": {
            "trials": dict(runs),
            "failures": {kind: count for kind, count in failures.items() if count},
            "left_out": skipped,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "seed": args.seed,
        },
    }
    sys.stdout.flush()
    give(result, args.output)


if __name__ == "__main__":
    main()
