"""Held-out questions as cards: what was answered at the first evaluation and at the last few."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.tracking.report.answers import LEGEND, Line, Room, fold, place_of, render_card, task_of
from mmrl.tracking.report.images import Gallery
from mmrl.tracking.report.sifting import render_sifting
from mmrl.tracking.run_files import Run, read_lines

IMAGE_BUDGET = 1_000_000
LAST_EVALUATIONS = 3
CARDS = 40


def render_heldout(run: Run) -> str:
    """The section of held-out answers; empty where none are recorded."""
    steps = sorted(run.heldout)
    chosen = sorted({*steps[:1], *steps[-LAST_EVALUATIONS:]})
    questions: dict[tuple[str, str], list[Line]] = {}
    damaged = 0
    for step in chosen:
        lines, broken = read_lines(run.heldout[step])
        damaged += broken
        for line in lines:
            place = (str(line.get("dataset")), str(line.get("sample")))
            questions.setdefault(place, []).append({**line, "step": step})
    if not questions:
        return ""
    tasks: dict[str, list[list[Line]]] = {}
    for answers in questions.values():
        tasks.setdefault(task_of(answers[0]), []).append(answers)
    each, room = max(1, CARDS // len(tasks)), Room(Gallery(run.folder, IMAGE_BUDGET))
    shown = [answers for of_task in tasks.values() for answers in of_task[:each]][:CARDS]
    cards = [render_card(place_of(answers[0]), fold(answers), room, _steps, templated=True) for answers in shown]
    which = f"first and last {len(chosen) - 1} of {len(steps)}" if len(steps) > len(chosen) else f"{len(steps)}"
    note = f"The first rows of each task, at the {which} evaluation{'s' if len(steps) > 1 else ''}; all of them are in "
    note += f"heldout/. {damaged} damaged line{'s' if damaged > 1 else ''} left out." if damaged else "heldout/."
    return (
        f'<section class="sifted pairs"><details class="step" open><summary><h2>Held-out answers</h2></summary>'
        f'<p class="muted">{note}</p>{LEGEND}{render_sifting(map(task_of, (answers[0] for answers in shown)))}'
        f'<div class="cards">{"".join(cards)}</div></details></section>'
    )


def _steps(equal: Sequence[Line]) -> str:
    steps = [str(line["step"]) for line in equal]
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(steps)}"
