"""Sampled rollouts as cards: prompt and image once per group, then every answer with its reward."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmrl.tracking.report.images import Gallery, Picture, draw_boxes, find_boxes, to_pixels
from mmrl.tracking.report.plots import number
from mmrl.tracking.run_files import Run, read_lines

IMAGE_BUDGET = 3_000_000
LAST_STEPS = 3
GROUPS, ANSWERS, IMAGES, PARTS = 4, 8, 4, 12
PROMPT_CHARS, ANSWER_CHARS, FACT_CHARS = 3000, 2500, 400

Line = Mapping[str, Any]


def render_rollouts(run: Run) -> str:
    """The section of sampled rollouts: the first step and the last few, newest first; empty without rollouts."""
    steps = sorted(run.rollouts)
    chosen = sorted({*steps[:1], *steps[-LAST_STEPS:]}, reverse=True)
    gallery = Gallery(run.folder, IMAGE_BUDGET)
    blocks = [_step(run, step, gallery, opened=index == 0) for index, step in enumerate(chosen)]
    if not blocks:
        return ""
    legend = (
        '<p class="legend"><span class="key"><i class="swatch box-true"></i>true box</span>'
        '<span class="key"><i class="swatch box-predicted"></i>predicted box, numbered by answer</span></p>'
    )
    partial = f"First step and last {len(chosen) - 1} of {len(steps)} written"
    note = partial if len(steps) > len(chosen) else "All written steps"
    intro = f'<p class="muted">{note}; all of them are in rollouts/.</p>{legend}'
    return f"<section><h2>Sampled rollouts</h2>{intro}{''.join(blocks)}</section>"


def _step(run: Run, step: int, gallery: Gallery, opened: bool) -> str:
    lines, damaged = read_lines(run.rollouts[step])
    groups: dict[Any, list[Line]] = {}
    for line in lines:
        groups.setdefault(str(line.get("group", line.get("sample"))), []).append(line)
    cards = [_group(answers, gallery) for answers in list(groups.values())[:GROUPS]]
    more = len(groups) - len(cards)
    notes = [f"{more} more group{'s' if more > 1 else ''} in {run.rollouts[step].name}"] if more > 0 else []
    notes += [f"{damaged} damaged line{'s' if damaged > 1 else ''} left out"] if damaged else []
    stage = lines[0].get("stage", "") if lines else "empty"
    foot = f'<p class="muted">{"; ".join(notes)}.</p>' if notes else ""
    return (
        f'<details class="step"{" open" if opened else ""}><summary><h3>Step {step}</h3> '
        f'<span class="muted">{escape(str(stage))}</span></summary>{"".join(cards)}{foot}</details>'
    )


def _group(answers: Sequence[Line], gallery: Gallery) -> str:
    first = answers[0]
    rewards = [a["reward"] for a in answers if isinstance(a.get("reward"), int | float)]
    mean = f" · mean reward {number(sum(rewards) / len(rewards))}" if rewards else ""
    head = f"{first.get('task') or 'no task'} · {first.get('dataset') or 'dataset'} · {first.get('sample', '')}{mean}"
    rows = "".join(_answer(index, answer) for index, answer in enumerate(answers[:ANSWERS], start=1))
    more = len(answers) - ANSWERS
    rows += f'<p class="muted">{more} more answers in the rollouts file.</p>' if more > 0 else ""
    question = (
        f"{_images(answers, gallery)}<h4>Prompt</h4>"
        f'<pre class="text">{escape(cut(first.get("prompt"), PROMPT_CHARS))}</pre>'
        f'<h4>Target</h4><pre class="text">{escape(_compact(first.get("target")))}</pre>'
    )
    return (
        f'<article><p class="group-head">{escape(head)}</p>'
        f'<div class="group"><div class="asked">{question}</div><div class="answers">{rows}</div></div></article>'
    )


def _images(answers: Sequence[Line], gallery: Gallery) -> str:
    first = answers[0]
    paths = first["images"] if isinstance(first.get("images"), list) else []
    videos = first["videos"] if isinstance(first.get("videos"), list) else []
    parts = []
    for index, path in enumerate(paths[:IMAGES]):
        picture = gallery.get(str(path))
        if isinstance(picture, Picture):
            true, predicted = _boxes(answers, picture) if index == 0 else ([], [])
            parts.append(draw_boxes(picture, true, predicted, f"image {index + 1} of the prompt"))
        else:
            parts.append(f'<p class="no-image">Image {escape(picture)}</p>')
    if len(paths) > IMAGES:
        parts.append(f'<p class="muted">{len(paths) - IMAGES} more images.</p>')
    parts += [f'<p class="no-image">Video {escape(str(path))}</p>' for path in videos[:IMAGES]]
    return "".join(parts)


def _boxes(answers: Sequence[Line], picture: Picture) -> tuple[list, list]:
    coordinates = str(answers[0].get("coordinates", "pixel"))

    def pixels(boxes: Sequence[Any]) -> list:
        return [to_pixels(box, coordinates, picture.width, picture.height) for box in boxes]

    true = pixels(find_boxes(answers[0].get("target")))
    # Four numbers alone may be any answer; they are a box where the target is one.
    numbered = list(enumerate(answers[:ANSWERS], start=1))
    predicted = [(i, box) for i, a in numbered for box in pixels(find_boxes(a.get("parsed"), bare=bool(true)))]
    return true, predicted


def _answer(index: int, line: Line) -> str:
    chips = [
        f'<span class="badge">{index}</span>',
        f'<span class="chip source">{escape(str(line.get("source", "")))}</span>',
    ]
    chips.append(f"<span>reward <b>{_score(line.get('reward'))}</b></span>")
    advantage = line.get("advantage")
    if isinstance(advantage, int | float):
        tone = "up" if advantage > 0 else "down" if advantage < 0 else ""
        chips.append(f'<span>advantage <b class="{tone}">{advantage:+.2f}</b></span>'.replace("+0.00", "0.00"))
    chips.append(f'<span class="muted">{_number(line.get("length"))} tokens</span>')
    if line.get("reason") not in (None, "", "ok"):
        chips.append(f'<span class="chip warn">{escape(cut(line["reason"], 80))}</span>')
    if line.get("truncated"):
        chips.append('<span class="chip warn">cut by length limit</span>')
    parts = line.get("parts") if isinstance(line.get("parts"), Mapping) else {}
    names = "".join(
        f"<span>{escape(cut(name, 60))} <b>{_score(value)}</b></span>" for name, value in list(parts.items())[:PARTS]
    )
    return (
        f'<div class="answer" data-answer="{index}"><p class="facts">{"".join(chips)}</p>'
        f'{f"""<p class="facts parts">{names}</p>""" if names else ""}{_text(line)}</div>'
    )


def _text(line: Line) -> str:
    text = str(line.get("completion") or "")
    if text:
        return f'<pre class="text">{escape(cut(text, ANSWER_CHARS))}</pre>'
    info = line.get("info")
    return f'<pre class="text">{escape(_compact(info))}</pre>' if info else '<p class="muted">empty completion</p>'


def _number(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else "–"


def _score(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"


def _compact(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False), FACT_CHARS)


def cut(value: Any, limit: int) -> str:
    """`value` as text of at most `limit` characters, saying how many are left out."""
    text = "" if value is None else str(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
