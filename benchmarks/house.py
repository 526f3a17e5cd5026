"""How far the structure falls short of what docs/architecture.md says of it.

    python -m benchmarks.house

`value` is the sum of what falls short: imports that run back up, circles of files, policies typed `Any` beyond the five
that have a reason, functions of more than 60 lines, keys of a schema that nothing reads, and task names whose plain
`answer` rows are refused although a shape for them exists. `details` names each.
The limit: arrows and functions are read from the source; of a key it is known that something reads it, not that it is
read rightly.
"""

from __future__ import annotations

import json

from benchmarks.house_imports import arrows, back_up, circles, longest_function, modules, untyped_policies
from benchmarks.house_settings import unread_keys
from benchmarks.house_tasks import refused_tasks
from benchmarks.quickstart_arms import ROOT

UNTYPED = 5
LINES = 60


def main() -> None:
    """Prints the JSON line."""
    files = modules(ROOT)
    imports = arrows(files)
    longest = longest_function(files)
    details = {
        "imports_back_up": back_up(imports),
        "circles": circles(imports),
        "untyped_policies": untyped_policies(files),
        "longest_function": {"place": longest.place, "lines": longest.lines},
        "unread_keys": unread_keys(),
        "refused_tasks": [f"{task}: {why}" for task, why in refused_tasks().items()],
    }
    counts = {key: len(found) for key, found in details.items() if isinstance(found, list)}
    counts["untyped_policies"] = max(0, counts["untyped_policies"] - UNTYPED)
    counts["longest_function"] = int(longest.lines > LINES)
    print(json.dumps({"benchmark": "house", "value": sum(counts.values()), "short": counts, "details": details}))


if __name__ == "__main__":
    main()
