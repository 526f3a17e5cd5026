"""A question as a card: prompt and images once, then every answer with its reward, equal ones folded into one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from mmrl.tracking.report.images import Gallery, Picture, draw_boxes, find_boxes, to_pixels
from mmrl.tracking.report.plots import number
from mmrl.tracking.report.text import compact, count_of, cut, score

ANSWERS, IMAGES, PARTS = 12, 4, 12
PROMPT_CHARS, ANSWER_CHARS = 3000, 2500
# Tokens of an answer whose log-probs the page holds, and characters of all of them in a section.
TOKENS, TOKEN_CHARS = 1000, 500_000

LEGEND = (
    '<p class="legend"><span class="key"><i class="swatch box-true"></i>true box</span>'
    '<span class="key"><i class="swatch box-predicted"></i>predicted box, numbered by answer</span></p>'
)

Line = Mapping[str, Any]


@dataclass(slots=True)
class Room:
    """What a section of cards may still spend.

    Attributes:
        gallery: inlines pictures.
        token_chars: characters left for log-probs.
    """

    gallery: Gallery
    token_chars: int = field(default=TOKEN_CHARS)

    def take(self, text: str) -> bool:
        """Whether there is room for the log-probs of one more answer, which it then takes."""
        fits = len(text) <= self.token_chars
        self.token_chars -= len(text) if fits else 0
        return fits


def fold(answers: Sequence[Line]) -> list[list[Line]]:
    """Answers that say the same for the same reward, together, in the order of the first of each."""
    equal: dict[str, list[Line]] = {}
    for line in answers:
        text = str(line.get("completion") or "")
        # Of an episode, which has no text, all that is known of it.
        told = text or [line.get("info"), line.get("length")]
        key = [told, line.get("source"), line.get("reward"), line.get("truncated"), accuracy_of(line)]
        equal.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(line)
    return list(equal.values())


def accuracy_of(line: Line) -> float | None:
    """How right an answer is, in [0, 1]; None where nothing has measured it."""
    info = line.get("info")
    value = info.get("accuracy") if isinstance(info, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def render_card(
    head: str, folded: Sequence[Sequence[Line]], room: Room, label: Callable[[Sequence[Line]], str], templated: bool
) -> str:
    """One card.

    Args:
        head: its first line, as text.
        folded: answers to one question; see `fold`.
        label: what stands beside the number of an answer, as text, for those that are equal to it.
        templated: the prompt is shown as the model saw it, and not folded away below what was asked.
    """
    first, shown = folded[0][0], folded[:ANSWERS]
    rows = "".join(_answer(i, equal, label(equal), room) for i, equal in enumerate(shown, start=1))
    more = len(folded) - ANSWERS
    rows += f'<p class="muted">{more} more different answers in the file.</p>' if more > 0 else ""
    question = (
        f"{_images([equal[0] for equal in shown], room.gallery)}{_prompt(folded, templated)}"
        f'<h4>Target</h4><pre class="text">{escape(compact(first.get("target")))}</pre>'
    )
    return (
        f'<article data-task="{escape(task_of(first))}"><p class="group-head">{escape(head)}</p>'
        f'<div class="group"><div class="asked">{question}</div><div class="answers">{rows}</div></div></article>'
    )


def task_of(line: Line) -> str:
    """The task, as cards and their filter name it."""
    return cut(line.get("task") or "no task", 80)


def place_of(line: Line) -> str:
    """Where the question comes from."""
    return f"{task_of(line)} · {line.get('dataset') or 'dataset'} · {line.get('sample', '')}"


def _prompt(folded: Sequence[Sequence[Line]], templated: bool) -> str:
    asked = f'<pre class="text">{escape(cut(folded[0][0].get("prompt"), PROMPT_CHARS))}</pre>'
    seen = next((line["model_prompt"] for equal in folded for line in equal if line.get("model_prompt")), None)
    if seen is None:
        return f"<h4>Prompt</h4>{asked}"
    text = f'<pre class="text">{escape(cut(seen, PROMPT_CHARS))}</pre>'
    if templated:
        return f"<h4>Prompt as the model saw it</h4>{text}"
    return f'<h4>Prompt</h4>{asked}<details class="model-prompt"><summary>As the model saw it</summary>{text}</details>'


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
    numbered = list(enumerate(answers, start=1))
    predicted = [(i, box) for i, a in numbered for box in pixels(find_boxes(a.get("parsed"), bare=bool(true)))]
    return true, predicted


def _answer(index: int, equal: Sequence[Line], label: str, room: Room) -> str:
    line = equal[0]
    chips = [f'<span class="badge">{index}</span>']
    chips += [f'<span class="chip times">{escape(label)}</span>'] if label else []
    chips.append(f'<span class="chip source">{escape(str(line.get("source", "")))}</span>')
    chips += _outcome(line)
    chips.append(f"<span>{escape(str(line.get('measure', 'reward')))} <b>{score(line.get('reward'))}</b></span>")
    advantage = line.get("advantage")
    if isinstance(advantage, int | float):
        tone = "up" if advantage > 0 else "down" if advantage < 0 else ""
        chips.append(f'<span>advantage <b class="{tone}">{advantage:+.2f}</b></span>'.replace("+0.00", "0.00"))
    chips.append(f'<span class="muted">{count_of(line.get("length"))} tokens</span>')
    if line.get("reason") not in (None, "", "ok"):
        chips.append(f'<span class="chip warn">{escape(cut(line["reason"], 80))}</span>')
    if line.get("truncated"):
        chips.append('<span class="chip warn">cut by length limit</span>')
    parts = line.get("parts") if isinstance(line.get("parts"), Mapping) else {}
    names = "".join(
        f"<span>{escape(cut(name, 60))} <b>{score(value)}</b></span>" for name, value in list(parts.items())[:PARTS]
    )
    return (
        f'<div class="answer" data-answer="{index}" {_sifted(line, len(equal))}><p class="facts">{"".join(chips)}</p>'
        f'{f"""<p class="facts parts">{names}</p>""" if names else ""}{_text(line)}{_tokens(line, room)}</div>'
    )


def _outcome(line: Line) -> list[str]:
    accuracy = accuracy_of(line)
    if accuracy is None:
        return []
    words = ("success", "failure") if "episode_len" in line["info"] else ("correct", "wrong")
    if accuracy in (0.0, 1.0):
        right = accuracy == 1.0
        return [f'<span class="chip {"right" if right else "wrong"}">{words[0] if right else words[1]}</span>']
    return [f"<span>accuracy <b>{number(accuracy)}</b></span>"]


def _sifted(line: Line, count: int) -> str:
    """What the page filters and sorts by, as attributes."""
    reward, accuracy = line.get("reward"), accuracy_of(line)
    facts = {
        "count": count,
        "reward": reward if isinstance(reward, int | float) else "",
        "accuracy": "" if accuracy is None else accuracy,
        "cut": "yes" if line.get("truncated") else "",
    }
    facts |= {name: "yes" for name in ("failed", "split") if line.get(name)}
    return " ".join(f'data-{name}="{value}"' for name, value in facts.items())


def _text(line: Line) -> str:
    text = str(line.get("completion") or "")
    if text:
        return f'<pre class="text">{escape(cut(text, ANSWER_CHARS))}</pre>'
    info = line.get("info")
    facts = {key: value for key, value in info.items() if key != "accuracy"} if isinstance(info, Mapping) else info
    return f'<pre class="text">{escape(compact(facts))}</pre>' if facts else '<p class="muted">empty answer</p>'


def _tokens(line: Line, room: Room) -> str:
    """A button that shows each token's log-prob, and what it shows; nothing where they are not recorded."""
    tokens, log_probs = line.get("tokens"), line.get("log_probs")
    if not isinstance(tokens, list) or not isinstance(log_probs, list) or len(tokens) != len(log_probs):
        return ""
    known = [value if isinstance(value, int | float) else None for value in log_probs[:TOKENS]]
    data = {"tokens": [str(token) for token in tokens[:TOKENS]], "log_probs": known, "more": len(tokens[TOKENS:])}
    text = escape(json.dumps(data, ensure_ascii=False, separators=(",", ":")), quote=False)
    if not room.take(text):
        return '<p class="muted">token log-probs left out to keep this page small</p>'
    return f'<button type="button" class="spell">token log-probs</button><span hidden class="spelled">{text}</span>'
