"""How many recorded answers are not scored as they should be.

    python -m benchmarks.cases [FOLDER] [--only math iou …] [--show]

Reads `rewards.json` of a folder of cases (an argument, or the environment variable `CASES`), a list of objects with
`name` and `params` of a reward, `completion`, `target`, `right` (the score that is right), `why` and `severity`, and
the answers that the tests carry (`tests/rewards/data/*.json`, the same layout). `value` is the number of rows that are
not right; rows of severity `low`, which are arguable, are counted and listed apart. A row whose `right` is null is a
group of answers, given as JSON, whose majority must agree with its third one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from vision_rewards import get_reward
from vision_rewards.rewards.majority import majority_answer

TOLERANCE = 1e-9
CARRIED = Path(__file__).resolve().parents[1] / "tests" / "rewards" / "data"


def score(row: dict[str, Any]) -> float | None:
    """What the library gives for a row; for a group of answers, whether its majority is what its third answer says."""
    if row["right"] is None:
        answers = json.loads(row["completion"])
        winner = majority_answer(answers)
        return None if winner is None else get_reward("majority")(answers[2], {"majority": winner}).score
    return get_reward(row["name"], **row["params"])(row["completion"], row["target"]).score


def is_right(row: dict[str, Any], value: float | None) -> bool:
    """Whether a score is the row's."""
    right = 1.0 if row["right"] is None else row["right"]
    return value is not None and abs(value - right) <= TOLERANCE


def rows_of(folder: Path | None) -> list[dict[str, Any]]:
    """The rows of a folder's `rewards.json`, and those that the tests carry."""
    files = sorted(CARRIED.glob("*.json")) + ([folder / "rewards.json"] if folder else [])
    return [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=os.environ.get("CASES"))
    parser.add_argument("--only", nargs="*", help="rewards to run; all without it")
    parser.add_argument("--show", action="store_true", help="print every row that is not right")
    options = parser.parse_args(argv)
    folder = Path(options.folder) if options.folder else None
    if folder is not None and not (folder / "rewards.json").is_file():
        parser.error(f"{folder} has no rewards.json")
    rows = [row for row in rows_of(folder) if not options.only or row["name"] in options.only]
    wrong = [(row, value) for row in rows if not is_right(row, value := score(row))]
    missed = [row for row, _ in wrong if row["severity"] != "low"]
    for row, value in wrong:
        if options.show or row["severity"] == "low":
            print(
                f"{row['severity']:6} {row['name']} {row['params'] or ''} {row['completion'][:100]!r} for "
                f"{json.dumps(row['target'], ensure_ascii=False)[:80]}: {value}, not {row['right']} ({row['why'][:80]})"
            )
    details = {
        "rows": len(rows),
        "low_not_right": len(wrong) - len(missed),
        "not_right_by_reward": dict(sorted(Counter(row["name"] for row in missed).items())),
    }
    print(
        json.dumps(
            {"name": "cases", "value": len(missed), "unit": "rows", "higher_is_better": False, "details": details}
        )
    )


if __name__ == "__main__":
    main()
