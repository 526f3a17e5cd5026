"""The page of an evaluation: what each benchmark came to, how sure that is, and its answers beside what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mmrl import __version__
from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.draws import by_row
from mmrl.evaluation.suite.folder import Stored, stored_in
from mmrl.evaluation.suite.records import Record
from mmrl.evaluation.suite.runner import RESULTS
from mmrl.evaluation.suite.survey import media_names
from mmrl.recipe.suite import split_arm
from mmrl.tracking.files import write_atomic
from mmrl.tracking.report.answers import LEGEND, Line, Room, fold, render_card
from mmrl.tracking.report.facts import render_facts
from mmrl.tracking.report.images import Gallery, find_boxes
from mmrl.tracking.report.page import wrap
from mmrl.tracking.report.sifting import OUTCOMES, render_sifting
from mmrl.tracking.rollouts import save_image
from vision_rewards.parsers.boxes import parse_boxes

PAGE = "report.html"
MEDIA = "media"
# Characters of inlined pictures on the page, shared by its benchmarks.
IMAGE_BUDGET = 4_000_000
# Rows that are shown per benchmark: those that failed, those that are not all right, those that are.
SHOWN = {"failed": 10, "wrong": 30, "right": 20}
MORE_OUTCOMES = (("failed", "could not be asked"), ("split", "answers disagree"))

Rows = Mapping[str, Sequence[Sample]]


def write_page(output: Path, rows: Rows) -> Path:
    """Writes `report.html` of a folder of results.

    Args:
        rows: of benchmarks whose pictures are shown, by name, as they were asked.
    """
    results = json.loads((output / RESULTS).read_text())
    stored = {name: each for name, each in stored_in(output).items() if name in results["tasks"]}
    bases = [name for name in results["tasks"] if split_arm(name)[1] is None or split_arm(name)[0] not in stored]
    budget = IMAGE_BUDGET // max(1, len(bases))
    sections = [
        _benchmark(name, output, results["tasks"], _variants(name, stored), rows.get(name), budget) for name in bases
    ]
    model = results["model"]
    shard = f" · shard {results['shard']}" if results.get("shard") else ""
    weights = f"at {model['server']}" if "server" in model else f"weights {model.get('digest', '')}"
    lead = f"{len(results['tasks'])} benchmarks{shard} · {weights}"
    head = f'<header><h1>{escape(model["name"])}</h1><p class="lead">{escape(lead)}</p></header>'
    foot = f"<footer>mmrl {escape(__version__)}</footer>"
    return write_atomic(
        output / PAGE, wrap(model["name"], head + _overview(results["tasks"]) + "".join(sections) + foot)
    )


def _variants(name: str, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Arm -> the answers under it; `plain` first."""
    arms = {split_arm(each)[1]: each for each in stored if split_arm(each)[0] == name and each != name}
    return {"plain": stored[name], **{str(arm): stored[each] for arm, each in arms.items()}}


def _overview(results: Mapping[str, Any]) -> str:
    head = ["benchmark", "score", "rows", "failed", "truncated"]
    drawn = list(dict.fromkeys(figure for result in results.values() for figure in result.get("draws", {})))
    body = []
    for name, result in results.items():
        counts = [str(result[key]) for key in ("rows", "failures", "truncated")]
        figures = [f"{result['draws'][key]:.3f}" if key in result.get("draws", {}) else "–" for key in drawn]
        body.append([escape(name), _sure(result, "score"), *counts, *figures])
    return f"<section><h2>Benchmarks</h2>{_table([*head, *drawn], body)}</section>"


def _sure(result: Mapping[str, Any], name: str) -> str:
    """A figure and its 95 % interval."""
    ends = result["intervals"].get(name)
    small = f'<small title="95 % interval">{ends[0]:.2f}–{ends[1]:.2f}</small>' if ends else ""
    return f"{result['figures'][name]:.3f}{small}"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Cells of `body` are HTML; the first of a row names it."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in body
    )
    table = f'<table class="heldout" style="--columns:{len(head) - 1}">'
    return f'<div class="card scroll wide">{table}<thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'


def _benchmark(
    name: str,
    output: Path,
    results: Mapping[str, Any],
    variants: Mapping[str, Stored],
    rows: Sequence[Sample] | None,
    budget: int,
) -> str:
    result = results[name]
    parts = [[escape(figure), _sure(result, figure)] for figure in result["figures"] if figure != "score"]
    breakdown = f"<h3>By group</h3>{_table(['group', 'score'], parts)}" if parts else ""
    failed = [[escape(f["id"]), escape(f["reason"])] for f in result["failed"]]
    failures = f"<h3>Could not be asked</h3>{_table(['row', 'reason'], failed)}" if failed else ""
    protocol = (
        f'<details class="fold"><summary>Protocol {escape(result["protocol_digest"])}</summary>'
        f"{render_facts(result['protocol'])}</details>"
    )
    return (
        f'<section class="sifted"><h2>{escape(name)}</h2>{breakdown}{failures}{protocol}'
        f"{_browser(output, variants, rows, budget)}</section>"
    )


def _browser(output: Path, variants: Mapping[str, Stored], rows: Sequence[Sample] | None, budget: int) -> str:
    plain = variants["plain"]
    drawn = {arm: by_row(stored.records, stored.samples) for arm, stored in variants.items()}
    chosen = _chosen(drawn["plain"])
    room = Room(Gallery(output, budget))
    cards, tasks = [], []
    for row in chosen:
        sample = rows[row * plain.samples] if rows is not None else None
        answers = {arm: each[row] for arm, each in drawn.items() if row in each}
        lines = _lines(output, plain.name, answers, sample)
        tasks.append(str(lines[0]["task"]))
        cards.append(render_card(f"row {row} · {lines[0]['sample']}", fold(lines), room, _times, templated=False))
    of = f"{len(chosen)} of {len(drawn['plain'])} rows" if len(chosen) < len(drawn["plain"]) else "All rows"
    note = f"{of}; every answer is in {plain.folder.name}/samples.jsonl."
    return (
        f'<details class="step" open><summary><h3>Answers</h3></summary><p class="muted">{escape(note)}</p>{LEGEND}'
        f'{render_sifting(tasks, (*OUTCOMES, *MORE_OUTCOMES))}<div class="cards">{"".join(cards)}</div></details>'
    )


def _chosen(rows: Mapping[int, Sequence[Record]]) -> list[int]:
    """The rows that are shown, in order."""
    kinds: dict[str, list[int]] = {kind: [] for kind in SHOWN}
    for row, records in rows.items():
        right = all(record.score == 1.0 for record in records)
        kinds["failed" if records[0].failed is not None else "right" if right else "wrong"].append(row)
    return sorted(row for kind, found in kinds.items() for row in found[: SHOWN[kind]])


def _lines(output: Path, name: str, answers: Mapping[str, Sequence[Record]], sample: Sample | None) -> list[Line]:
    """The answers to a row as the report's cards have them."""
    scores = {record.score for records in answers.values() for record in records}
    first = answers["plain"][0]
    shown: dict[str, Any] = {"task": name, "images": [], "videos": []}
    if sample is not None:
        pictures = [] if first.failed is not None else _pictures(output, sample)
        videos = [str(video).rpartition("/")[2] for video in media_names(sample)[len(sample.images) :]]
        shown = {"task": sample.task or name, "images": pictures, "videos": videos}
    lines = []
    for arm, records in answers.items():
        for record in records:
            boxes = parse_boxes(record.answer)[0] if find_boxes(dict(record.target)) else []
            lines.append(
                {
                    **shown,
                    "sample": record.id,
                    "prompt": record.question,
                    "target": dict(record.target),
                    "coordinates": record.coordinates or "pixel",
                    "source": arm,
                    "completion": record.answer,
                    "measure": "score",
                    "reward": record.score,
                    "parsed": {"boxes": boxes},
                    "reason": record.failed,
                    "truncated": record.truncated,
                    "length": record.tokens,
                    "failed": record.failed is not None,
                    "split": len(scores) > 1,
                    "info": {"accuracy": record.score, **record.facts},
                }
            )
    return lines


def _pictures(output: Path, sample: Sample) -> list[str]:
    try:
        return [save_image(output, image, sample, MEDIA) for image in sample.images]
    except UserError:
        # Gone since it was asked.
        return [str(name) for name in media_names(sample)[: len(sample.images)]]


def _times(equal: Sequence[Line]) -> str:
    return f"× {len(equal)}" if len(equal) > 1 else ""
