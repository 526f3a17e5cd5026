"""The scripts of `benchmarks/`, run as a user runs them."""

import json
import subprocess
import sys

from tests.support.paths import ROOT


def result_of(module: str, *argv: str, timeout: int = 1200) -> dict:
    """What `python -m benchmarks.<module>` prints last: its result, whose keys are those of every benchmark."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"name", "value", "unit", "higher_is_better", "details"}
    return result
