"""Sampled rollouts as cards: those of the first step and of the last few."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from mmrl.tracking.report.answers import LEGEND, Line, Room, fold, place_of, render_card, task_of
from mmrl.tracking.report.images import Gallery
from mmrl.tracking.report.plots import number
from mmrl.tracking.report.sifting import render_sifting
from mmrl.tracking.run_files import Run, read_lines

IMAGE_BUDGET = 2_500_000
LAST_STEPS = 3
GROUPS = 8


def render_rollouts(run: Run) -> str:
    """The section of sampled rollouts: the first step and the last few, newest first; empty without rollouts."""
    steps = sorted(run.rollouts)
    chosen = sorted({*steps[:1], *steps[-LAST_STEPS:]}, reverse=True)
    room, tasks = Room(Gallery(run.folder, IMAGE_BUDGET)), set[str]()
    blocks = [_step(run, step, room, tasks, opened=index == 0) for index, step in enumerate(chosen)]
    if not blocks:
        return ""
    partial = f"First step and last {len(chosen) - 1} of {len(steps)} written"
    note = partial if len(steps) > len(chosen) else "All written steps"
    intro = f'<p class="muted">{note}; all of them are in rollouts/.</p>{LEGEND}'
    return f'<section class="sifted"><h2>Sampled rollouts</h2>{intro}{render_sifting(tasks)}{"".join(blocks)}</section>'


def _step(run: Run, step: int, room: Room, tasks: set[str], opened: bool) -> str:
    lines, damaged = read_lines(run.rollouts[step])
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        groups.setdefault(str(line.get("group", line.get("sample"))), []).append(line)
    shown = list(groups.values())[:GROUPS]
    tasks.update(task_of(answers[0]) for answers in shown)
    cards = [render_card(_head(answers), fold(answers), room, _times, templated=False) for answers in shown]
    more = len(groups) - len(cards)
    notes = [f"{more} more group{'s' if more > 1 else ''} in {run.rollouts[step].name}"] if more > 0 else []
    notes += [f"{damaged} damaged line{'s' if damaged > 1 else ''} left out"] if damaged else []
    stage = lines[0].get("stage", "") if lines else "empty"
    foot = f'<p class="muted">{"; ".join(notes)}.</p>' if notes else ""
    return (
        f'<details class="step"{" open" if opened else ""}><summary><h3>Step {step}</h3> '
        f'<span class="muted">{escape(str(stage))}</span></summary><div class="cards">{"".join(cards)}</div>{foot}'
        "</details>"
    )


def _head(answers: Sequence[Line]) -> str:
    rewards = [a["reward"] for a in answers if isinstance(a.get("reward"), int | float)]
    mean = f" · mean reward {number(sum(rewards) / len(rewards))}" if rewards else ""
    return f"{place_of(answers[0])}{mean}"


def _times(equal: Sequence[Line]) -> str:
    return f"× {len(equal)}" if len(equal) > 1 else ""
