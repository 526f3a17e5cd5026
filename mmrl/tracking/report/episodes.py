"""Films of held-out episodes: those of the newest evaluation and of the first, as files beside the page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmrl.tracking.report.text import cut
from mmrl.tracking.run_files import Run, read_lines

FILMS = 48
INSTRUCTION_CHARS = 200
# Below this many pixels, single pixels are meant to be seen.
SMALL = 256

Line = Mapping[str, Any]


def render_episodes(run: Run, beside: Path) -> str:
    """The section of filmed episodes; empty without any.

    Args:
        beside: the folder that the page is written to, which the links start from.
    """
    steps = sorted(run.videos)
    blocks = [_evaluation(run, step, beside) for step in sorted({*steps[:1], *steps[-1:]}, reverse=True)]
    if not blocks:
        return ""
    which = "last and the first" if len(blocks) > 1 else "only"
    more = f" Those of all {len(steps)} evaluations are in videos/." if len(steps) > len(blocks) else ""
    note = f"The same first episodes of each held-out set, filmed at the {which} evaluation.{more}"
    return f'<section><h2>Held-out episodes</h2><p class="muted">{note}</p>{"".join(blocks)}</section>'


def _evaluation(run: Run, step: int, beside: Path) -> str:
    lines, damaged = read_lines(run.videos[step])
    groups: dict[str, list[Line]] = {}
    for line in lines[:FILMS]:
        groups.setdefault(f"{line.get('dataset')}/{line.get('task')}", []).append(line)
    folder, root = run.videos[step].parent, run.folder.resolve()
    parts = []
    for name, films in groups.items():
        head = f'<h4>{escape(name)} <span class="count">{_succeeded(films)}</span></h4>' if len(groups) > 1 else ""
        parts.append(f'{head}<div class="films">{"".join(_film(film, folder, root, beside) for film in films)}</div>')
    notes = [f"{len(lines) - FILMS} more in {folder.name}/"] if len(lines) > FILMS else []
    notes += [f"{damaged} damaged line{'s' if damaged > 1 else ''} left out"] if damaged else []
    foot = f'<p class="muted">{"; ".join(notes)}.</p>' if notes else ""
    return (
        f'<details class="step" open><summary><h3>Step {step}</h3> <span class="muted">{_succeeded(lines)}</span>'
        f"</summary>{''.join(parts)}{foot}</details>"
    )


def _succeeded(films: Sequence[Line]) -> str:
    return f"{sum(film.get('success') is True for film in films)} of {len(films)} succeeded"


def _film(line: Line, folder: Path, root: Path, beside: Path) -> str:
    width, height = (line.get(side) if isinstance(line.get(side), int) else 1 for side in ("width", "height"))
    kinds = ("film", *(["wide"] if width > 1.5 * height else []), *(["small"] if min(width, height) < SMALL else []))
    success = line.get("success") is True
    outcome = f'<b class="{"up" if success else "down"}">{"success" if success else "failure"}</b>'
    length = f'<span class="muted">{line["length"]:g} steps</span>' if _is_number(line.get("length")) else ""
    earned = f"<span>return <b>{line['return']:z.2f}</b></span>" if _is_number(line.get("return")) else ""
    instruction = cut(line.get("instruction") or line.get("task") or "", INSTRUCTION_CHARS)
    return (
        f'<figure class="{" ".join(kinds)}">{_video(line, (width, height), folder, root, beside)}'
        f'<figcaption><h3>{escape(instruction)}</h3><p class="facts">{outcome}{earned}{length}'
        f'<span class="muted">episode {escape(cut(line.get("episode"), 40))}</span></p></figcaption></figure>'
    )


def _video(line: Line, size: tuple[int, int], folder: Path, root: Path, beside: Path) -> str:
    name = str(line.get("file", ""))
    file = (folder / name).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        where = "missing" if file.is_relative_to(root) else "outside the run's folder"
        return f'<p class="no-image">Video {where}: {escape(cut(name, INSTRUCTION_CHARS))}</p>'
    link = quote(Path(os.path.relpath(file, beside.resolve())).as_posix())
    return (
        f'<div class="screen"><video src="{link}" width="{size[0]}" height="{size[1]}" aria-label="{escape(name)}" '
        'controls muted loop playsinline preload="metadata"></video></div>'
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
