"""`python -m mmrl.evaluation.suite.docs` writes the table of benchmarks into docs/evaluation.md."""

from __future__ import annotations

from pathlib import Path

from mmrl.contracts.benchmark import Facts
from mmrl.evaluation.suite.listing import NOT_KNOWN, described
from mmrl.recipe.benchmarks import BENCHMARKS
from mmrl.tracking.files import write_atomic

PAGE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
HEADING = "## Benchmarks\n"
COLUMNS = (
    *("name", "what it asks", "rows, split", "metric", "source", "media, under the data root", "prompt", "licence"),
    "published",
)


def render(page: str) -> str:
    """The page with the table of today, which is all that follows its heading."""
    text, heading, _ = page.partition(HEADING)
    if not heading:
        raise ValueError(f"no heading '{HEADING.strip()}' to put the table under")
    rows = [_row(name, about, facts) for name, about, facts in described(BENCHMARKS.entries)]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return text + heading + "\n" + "\n".join([*head, *rows]) + "\n"


def _row(name: str, about: str, facts: Facts | None) -> str:
    cells = [f"`{name}`", about]
    if facts is not None:
        size = NOT_KNOWN if facts.size is None else str(facts.size)
        published = "; ".join(map(str, facts.references))
        cells += [
            f"{size}, {facts.split}",
            facts.metric,
            facts.source,
            facts.media,
            facts.prompt,
            facts.licence,
            published,
        ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Writes the page."""
    print(f"wrote {write_atomic(PAGE, render(PAGE.read_text()))}")


if __name__ == "__main__":
    main()
