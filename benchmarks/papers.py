"""docs/papers.md from configs/papers/systems.yml: every published system with its recipe, or what one needs.

python -m benchmarks.papers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "papers"
PAGE = ROOT / "docs" / "papers.md"
INTRODUCTION = """# Papers

Published post-training systems, what each does (figures are the abstracts' claims), and what there is of it here.
Generated from `configs/papers/systems.yml` by `python -m benchmarks.papers`. A recipe has the shape of the system, on
data that ship with mmrl; `tests/runs/test_papers.py` runs each for a few steps. No result of a paper was
reproduced with one.

- **recipe**: a file in [configs/papers/](../configs/papers/); *without* says what of the system it leaves out.
- **settings**: no recipe is checked in, and these settings make one.
- **needs**: no recipe is checked in, and this is what one needs; some of it may be there.
"""


def systems() -> dict[str, list[Mapping[str, Any]]]:
    """Section -> its systems, as the file has them."""
    return yaml.safe_load((FOLDER / "systems.yml").read_text())


def recipes() -> list[Path]:
    """The recipes of the folder."""
    return sorted(FOLDER.glob("*.yaml"))


def render() -> str:
    """The page."""
    table = systems()
    every = [row for rows in table.values() for row in rows]
    counts = {key: sum(key in row for row in every) for key in ("recipe", "settings", "needs")}
    summary = (
        f"{len(every)} systems: {counts['recipe']} with a recipe, {counts['settings']} by settings, {counts['needs']} "
        "not yet.\n"
    )
    return "\n".join([INTRODUCTION, summary, *(_section(title, rows) for title, rows in table.items())])


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"| {_cell(row['system'])} | {_cell(row['does'])} | {_state(row)} |" for row in rows]
    return "\n".join([f"## {title}", "", "| system | what it does | here |", "|---|---|---|", *lines, ""])


def _state(row: Mapping[str, Any]) -> str:
    if "recipe" in row:
        link = f"**recipe** [{row['recipe']}.yaml](../configs/papers/{row['recipe']}.yaml)"
        return f"{link}, without {_cell(row['without'])}" if "without" in row else link
    key = "settings" if "settings" in row else "needs"
    return f"**{key}** {_cell(row[key])}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render())
    print(PAGE)
