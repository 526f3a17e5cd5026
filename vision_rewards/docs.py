"""Writes the reference of the rewards from their own descriptions: `python -m vision_rewards.docs docs/rewards.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from vision_rewards.parsers import EXTRACT_MODES
from vision_rewards.registry import list_rewards
from vision_rewards.types import RewardSpec

_HEADER = """# Rewards

`vision_rewards` scores one completion against one target. It needs no model, no GPU and nothing of `mmrl`.

```python
import vision_rewards

reward = vision_rewards.get_reward("iou", threshold=0.5)
result = reward("<think>on the left</think> [10, 20, 110, 220]", {"box": [12, 18, 108, 224]})
result.score, result.parts, result.parsed, result.reason
```

- `score` is finite and in [0, 1], or `None` where the target lacks the reward's keys or holds nulls there. `parts` are
  further measurements.
- `reward.check(target)` raises `TargetError` for a target that cannot be scored; `reward.gold(target)` writes an answer
  that scores 1.0; `vision_rewards.validate(name, targets)` proves both for a whole dataset.
- `reward.accuracy(result)` is the number for evaluations: the column "accuracy" below names the part it comes from.
- `reward.for_task(task)` is the reward itself, or what `route` has for that task.
- `vision_rewards.combine([("ocr", 0.9, {"metric": "cer"}), ("format", 0.1)])` is a weighted mean.

The parameter `extract` says where the answer stands:

- `auto` (default): the last complete `<answer>…</answer>` if there is any such tag, else all text;
- `answer`: the last complete `<answer>…</answer>`, which is demanded;
- `boxed`: the last `\\boxed{…}`;
- `raw`: the whole completion, tags included.

The first three read only what follows the last `</think>`; a `<think>` that stays open means that there is no answer.
Where the prompt itself opens `<think>`, score the completion with that tag in front of it.
Rewards are strict, since they are optimised against. The measures alone are in `vision_rewards.metrics`.

This page is written by `python -m vision_rewards.docs docs/rewards.md`.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _codes(words) -> str:
    return ", ".join(f"`{word}`" for word in words) or "–"


def _section(spec: RewardSpec) -> str:
    lines = [f"## {spec.name}", "", spec.summary, ""]
    lines += [f"- Formula: {spec.formula}", f"- Source: {spec.source}", "- Exploits closed:"]
    lines += [f"  - {exploit}" for exploit in spec.closes]
    for key, meaning in spec.target_keys.items():
        optional = " (optional)" if key.endswith("?") else ""
        lines.append(f"- Target `{key.rstrip('?')}`{optional}: {meaning}")
    rows = [
        (f"`{name}`", f"`{param.default!r}`", _codes(param.choices or ()), param.help)
        for name, param in spec.params.items()
        if param.choices != EXTRACT_MODES
    ]
    if rows:
        lines += ["", _table(("parameter", "default", "choices", "meaning"), rows)]
    return "\n".join(lines) + "\n"


def render() -> str:
    """The whole page as Markdown."""
    specs = list_rewards()
    rows = [
        (
            f"[`{name}`](#{name})",
            _codes(spec.tasks),
            _codes(spec.target_keys),
            _codes(spec.params),
            _codes(spec.parts),
            f"`{spec.metric_part}`",
        )
        for name, spec in specs.items()
    ]
    overview = _table(("reward", "tasks", "target", "parameters", "parts", "accuracy"), rows)
    note = "A target key with `?` may be absent. Task names are compared without case, and `_`, `-` count as blanks."
    return "\n".join([_HEADER, overview, "", note, "", *map(_section, specs.values())])


def main(arguments: list[str] | None = None) -> None:
    """Print the page, or write it to the path given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")


if __name__ == "__main__":
    main()
