"""How a benchmark gives its result: one JSON line, printed last, and a file where one is asked for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def give(result: Mapping[str, Any], output: str | Path | None) -> None:
    """Prints the result, and writes it with date and machine to `output`."""
    if output:
        stamp = {"date": time.strftime("%Y-%m-%d"), "machine": f"{os.cpu_count()} CPU cores"}
        Path(output).write_text(json.dumps({**result, **stamp}, indent=2) + "\n")
    print(json.dumps(result))
