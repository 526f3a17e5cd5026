"""The stages that opened the policy anew, on a run's page: what they started from, and what trains in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

COLUMNS = ("stage", "from step", "starts from", "LoRA", "frozen")


def render_beginnings(folder: Path) -> str:
    """A table with a row per stage that opened the policy anew, or nothing where none did."""
    states = [(path.parent.name, json.loads(path.read_text())) for path in (folder / "stages").glob("*/state.json")]
    if not states:
        return ""
    states.sort(key=lambda each: each[1]["place"]["stage"])
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(*each)) + "</tr>" for each in states)
    return (
        "<section><h2>Stages that start anew</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _cells(stage: str, state: Mapping[str, Any]) -> list[str]:
    origin, lora = state["from"], state["lora"]
    sources = [name if weight == 1.0 else f"{weight:.3g} × {name}" for name, weight in (origin or {}).items()]
    return [
        stage,
        str(state["step"]),
        " + ".join(sources) or "the stage before",
        f"rank {lora['rank']}, alpha {lora['alpha']:g}" if lora else "–",
        ", ".join(state["freeze"]) or "–",
    ]
