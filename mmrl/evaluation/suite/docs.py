"""`python -m mmrl.evaluation.suite.docs` writes the tables of benchmarks and suites into docs/evaluation.md."""

from __future__ import annotations

from pathlib import Path

from mmrl.contracts.benchmark import Facts
from mmrl.evaluation.suite.differences import difference
from mmrl.evaluation.suite.listing import NOT_KNOWN, described
from mmrl.evaluation.suite.named import WORDS
from mmrl.evaluation.suite.scorers import SCORERS
from mmrl.recipe.benchmarks import BENCHMARKS
from mmrl.tracking.files import write_atomic

PAGE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
HEADING = "## Benchmarks\n"
SUITES_HEADING = "## Other suites' words and scores\n"
COLUMNS = (
    *("name", "what it asks", "rows, split", "metric", "source", "media, under the data root", "prompt", "licence"),
    "published",
)


def render(page: str) -> str:
    """The page with the tables of today, which are all that follows the first's heading."""
    text, heading, _ = page.partition(HEADING)
    if not heading:
        raise ValueError(f"no heading '{HEADING.strip()}' to put the table under")
    rows = [_row(name, about, facts) for name, about, facts in described(BENCHMARKS.entries)]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return text + heading + "\n" + "\n".join([*head, *rows]) + "\n\n" + SUITES_HEADING + _suites()


def _suites() -> str:
    """What each suite words and scores, and how its scores differ from ours."""
    lines = ["| set | suite | prompt | its scores differ from ours |", "|---|---|---|---|"]
    for name in BENCHMARKS.entries:
        for suite, words in WORDS.items():
            scored = name in SCORERS.get(suite, {})
            if name not in words and not scored:
                continue
            prompt = "–" if name not in words else "as ours" if words[name].template is None else "its own"
            lines.append(
                f"| `{name}` | {suite} | {prompt} | {difference(suite, name) if scored else 'scored as ours'} |"
            )
    return "\n" + "\n".join(lines) + "\n"


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
