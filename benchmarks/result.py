"""How a benchmark gives its result: one JSON line, printed last, and a file where one is asked for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation (n - 1) to four places; None of a single value, which has none."""
    return round(stdev(values), 4) if len(values) > 1 else None


def give(result: Mapping[str, Any], output: str | Path | None) -> None:
    """Prints the result, and writes it with date and machine to `output`."""
    if output:
        stamp = {"date": time.strftime("%Y-%m-%d"), "machine": f"{os.cpu_count()} CPU cores"}
        Path(output).write_text(json.dumps({**result, **stamp}, indent=2) + "\n")
    print(json.dumps(result))
