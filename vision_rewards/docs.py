"""Writes the reference of the rewards from their own descriptions: `python -m vision_rewards.docs docs/rewards.md`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from vision_rewards.parsers import MODES
from vision_rewards.registry import get_reward, list_rewards, plain_answers, target_of
from vision_rewards.types import Example, RewardSpec

LONGEST = 160  # characters of one cell of an examples table

# Packages -> the rewards that run with them and those above.
_NEEDS = {
    "nothing": "chart classification consistency counting gui_action length majority multiple_choice numeric ordering "
    "point_in_box regression temporal_iou timestamp vqa yes_no",
    "`numpy`": "iou repetition spatiotemporal_iou tracking",
    "`rapidfuzz`": "formula ocr open_ended video_qa",
    "`numpy`, `rapidfuzz`": "chart_to_code",
    "`scipy`": "detection",
    "`lxml`": "table",
    "`pycocotools`": "mask_iou",
    "`jsonschema`": "format",
    "`math-verify[antlr4_9_3]`": "math",
    "`httpx`, `stamina`": "judge rubric",
}

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
- `reward.at(progress)` is the reward at that share of the training, from 0 to 1: itself, unless it tightens, as the
  bands of `combine` do. Without it a reward is as strict as at the end.
- `vision_rewards.combine([("ocr", 0.9, {"metric": "cer"}), ("format", 0.1)])` is a weighted mean.

The parameter `extract` says where the answer stands:

- `auto` (default): the last complete `<answer>…</answer>` if there is any such tag, else all text;
- `answer`: the last complete `<answer>…</answer>`, which is demanded;
- `boxed`: the last `\\boxed{…}`;
- `raw`: the whole completion, tags included;
- `bare`: as `auto`, and nothing but the answer itself stands there;
- a list of these: the first that finds an answer, and no other form, counts.

With `tag` another tag than `<answer>` holds the answer, and with `field` a key of an answer in JSON, so that several
rewards read parts of one completion: `combine([("iou", 1, {"field": "box"}), ("math", 1, {"tag": "rethink"})])`.
The first three read only what follows the last `</think>` (or `</thinking>`, `</thought>`, `[/THINK]`); a `<think>`
that stays open means that there is no answer.

One reader takes off what stands around a short answer and says nothing about it: Markdown, code fences, quotation
marks, `$`, `\\boxed{}` and `\\text{}`, headings, "So the answer is", "Based on the image,", "It is", 答案是, a full
stop, `{"answer": …}`. What is left is the whole answer: hedges, lists of candidates and denials stay what they are, and
score 0. A sentence of reason before or after an option's letter is read over only if it names no other option.
Rewards are strict, since they are optimised against. The measures alone are in `vision_rewards.metrics`.

## As a library, without torch

Nothing here imports torch, and each reward loads what it needs at its first use. A user of the rewards alone installs
`mmrl` without what it depends on, and then what the rewards in use need:

```sh
pip install --no-deps mmrl
pip install numpy rapidfuzz
```

NEEDS_TABLE

The package is typed (`py.typed`).

## In other trainers

`vision_rewards.adapters` gives any reward the signature of another trainer. Plain answers (`"B"`, `"3"`, a box) become
targets as `vision_rewards.target_of` says; a mapping with the reward's keys is the target itself.

```python
from vision_rewards import adapters, combine

# TRL: reward_funcs, called as (prompts, completions, **columns).
trainer = GRPOTrainer(..., reward_funcs=[adapters.for_trl("math", answer="solution")])

# EasyR1: worker.reward.reward_function=rewards.py:compute_score, batch or sequential.
compute_score = adapters.for_easyr1(combine([("math", 0.9), ("format", 0.1, {"pattern": "think_boxed"})]), task="math")

# verl: custom_reward_function.path, (data_source, solution_str, ground_truth, extra_info).
compute_score = adapters.for_verl("multiple_choice")
```

## From the command line

```sh
mmrl rewards list
mmrl rewards try iou --completion "[10, 20, 110, 220]" --target '{"box": [12, 18, 108, 224]}' --draw boxes.png
mmrl rewards try combine --demo
mmrl rewards check configs/quickstart.yaml --limit 100
```

`check` reads a recipe, or a dataset's file, folder or name, and names every row whose target cannot be scored or whose
gold answer does not score 1.0. It exits with 2 if there are any. Functions of your own are called on the first rows.

## In a recipe

```yaml
rewards:
  - name: combine
    params:
      parts: [[route, 0.9], [format, 0.1, {pattern: think_answer}]]
      bands: {route: [[0.5, 0.75], [0.75, 0.9]]}
```

The trainer calls `at` with the share of the stage's steps that are done.

## Limits

Nothing a policy writes takes a score more than a second or 200 MB. Rewards whose work could (`math`, `chart_to_code`, a
schema in `format`) hand it to `vision_rewards.pool`: warm worker processes with a limit on processor time and memory
that are killed when they break it and replaced. A worker that something else kills, such as a kernel short of memory,
is no fault of the answer: it is scored again, and where that happens 7 times in a row, with waits that double in
between, the reward fails with `WorkerKilled` and gives no score. `pool.bounded("module:function", *args, seconds=1.0,
megabytes=200)` is open to other uses. `VISION_REWARDS_WORKERS` is the number of workers of each
process; the default is one per core, at most 4.

`judge` alone reaches out, and only to the endpoint or function that it is given.

This page is written by `python -m vision_rewards.docs docs/rewards.md`.

## All rewards
"""


def _needs_table() -> str:
    rows = [f"| {needs} | {', '.join(f'`{name}`' for name in names.split())} |" for needs, names in _NEEDS.items()]
    return "\n".join(["| needs | rewards |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _codes(words) -> str:
    return ", ".join(f"`{word}`" for word in words) or "–"


def _code(value: Any) -> str:
    """A value on one line, in a code span that its own backticks do not end."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", "⏎")
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}…"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _examples(name: str, examples: tuple[Example, ...]) -> str:
    rows = []
    for target, completion, why, params in examples:
        result = get_reward(name, **params)(completion, target)
        score = "none" if result.score is None else f"{result.score:.3g}"
        rows.append((_code(target), _code(completion), score, f"{why}{f' ({_code(dict(params))})' if params else ''}"))
    return _table(("target", "completion", "score", ""), rows)


def _section(spec: RewardSpec) -> str:
    lines = [f"## {spec.name}", "", spec.summary, ""]
    lines += [f"- Formula: {spec.formula}", f"- Source: {spec.source}", "- Exploits closed:"]
    lines += [f"  - {exploit}" for exploit in spec.closes]
    for key, meaning in spec.target_keys.items():
        optional = " (optional)" if key.endswith("?") else ""
        lines.append(f"- Target `{key.rstrip('?')}`{optional}: {meaning}")
    rows = [
        (f"`{name}`", _code(repr(param.default)), _codes(param.choices or ()), param.help)
        for name, param in spec.params.items()
        if param.choices != MODES
    ]
    if rows:
        lines += ["", _table(("parameter", "default", "choices", "meaning"), rows)]
    if spec.examples:
        lines += ["", _examples(spec.name, spec.examples)]
    return "\n".join(lines) + "\n"


_PLAIN = """
## Task names and the plain answers they take

A dataset may hold the target that a reward reads, or a plain answer: `vision_rewards.target_of(task, answer, options)`
makes the target of it, in the shape that the task's reward reads. In a text with `<answer>` tags the last block counts.
An answer of another form is an error that says what is wrong; where a reward reads what no plain answer holds, it names
the keys of the target. A task that no reward declares gets `{"answer": text}`. Boxes are `[x1, y1, x2, y2]`.
`vision_rewards.plain_answers()` is this table.
"""


def _plain_table() -> str:
    """One row for all tasks of a reward that take the same form."""
    groups: dict[tuple, list[str]] = {}
    examples = {}
    for row in plain_answers():
        key = (row.reward, row.form)
        groups.setdefault(key, []).append(row.task)
        examples.setdefault(key, row)
    rows = []
    for (reward, form), tasks in groups.items():
        row, cells = examples[reward, form], ("none: write `target`", "", "")
        if form is not None:
            options = f", options {_code(row.options)}" if row.options else ""
            cells = (form, f"{_code(row.answer)}{options}", _code(target_of(row.task, row.answer, row.options)))
        rows.append((_codes(tasks), f"[`{reward}`](#{reward})", *cells))
    return _table(("task", "reward", "plain answer", "example", "its target"), rows)


def render() -> str:
    """The whole page as Markdown; each example is scored anew."""
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
    return "\n".join(
        [
            _HEADER.replace("NEEDS_TABLE", _needs_table()),
            overview,
            "",
            note,
            _PLAIN,
            _plain_table(),
            "",
            *map(_section, specs.values()),
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the page, or write it to the path given."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")


if __name__ == "__main__":
    main()
