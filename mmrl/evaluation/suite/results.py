"""What the answers to a benchmark come to: figures, intervals, counts, and what they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from mmrl.contracts.benchmark import Benchmark, Described, Scored, Weighted
from mmrl.contracts.types import Sample
from mmrl.evaluation.figures import interval
from mmrl.evaluation.suite.draws import by_row, draws_figures, samples_of
from mmrl.evaluation.suite.judging import UNREADABLE, graded, reasoning_graded
from mmrl.evaluation.suite.protocol import digest_of
from mmrl.evaluation.suite.records import Record
from mmrl.tracking.text_table import aligned

# Failures that results.json shows; samples.jsonl has them all.
SHOWN = 20


def scored_of(rows: Sequence[Sample], records: Mapping[int, Record]) -> list[Scored]:
    """The answers in the order of their rows, with targets in the coordinates that they were scored in."""
    return [
        Scored(replace(rows[i], target=record.target), record.answer, record.score, record.failed, record.truncated)
        for i, record in sorted(records.items())
    ]


def results_of(
    benchmark: Benchmark, rows: Sequence[Sample], records: Mapping[int, Record], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """The entry of a benchmark in results.json; it depends on the answers, not on the order in which they came."""
    scored = scored_of(rows, records)
    samples = samples_of(protocol)
    figures = dict(benchmark.aggregate(scored))
    ordered = [record for _, record in sorted(records.items())]
    drawn = by_row(records, samples)
    failures = {row: record for row, each in drawn.items() for record in each[::-1] if record.failed is not None}
    asked = [record for record in ordered if record.failed is None]
    result: dict[str, Any] = {
        "score": figures["score"],
        "figures": figures,
        "intervals": _intervals(benchmark, scored),
        "rows": len(drawn),
        "failures": len(failures),
        "failed": [
            {"row": row, "id": record.id, "reason": record.failed} for row, record in list(failures.items())[:SHOWN]
        ],
        "truncated": sum(record.truncated for record in ordered),
        "tokens": {
            "answer": _spread([record.tokens for record in asked]),
            "prompt": _spread([record.prompt_tokens for record in asked]),
            "frames": _spread([record.frames for record in asked]),
        },
        "protocol": dict(protocol),
        "protocol_digest": digest_of(dict(protocol)),
    }
    if samples > 1:
        result |= {"samples": samples, "draws": draws_figures(records, samples, reasoning_graded(protocol))}
    if "judge" in protocol.get("scoring", {}):
        result["judge"] = _judged(ordered, reasoning_graded(protocol))
    if isinstance(benchmark, Described):
        result["references"] = [
            {"model": r.model, "score": r.score, "source": r.source} for r in benchmark.facts.references
        ]
    return result


def _intervals(benchmark: Benchmark, scored: Sequence[Scored]) -> dict[str, list[float]]:
    """The 95 % interval of every figure that is a weighted mean of the rows' scores."""
    if not isinstance(benchmark, Weighted):
        return {}
    clusters = [benchmark.cluster(answer.sample) for answer in scored]
    scores = [answer.score for answer in scored]
    found = {name: interval(scores, weights, clusters) for name, weights in benchmark.weights(scored).items()}
    return {name: list(ends) for name, ends in found.items() if ends is not None}


def _judged(ordered: Sequence[Record], reasoning: bool) -> dict[str, Any]:
    """How many answers a judge was asked for and how many it gave no grade; `sound`, the share of all answers that are
    right with sound reasoning, where it grades that."""
    replies = [reply for record in ordered for reply in record.judge.values()]
    counts: dict[str, Any] = {"asked": len(replies), "unreadable": replies.count(UNREADABLE)}
    if reasoning:
        counts["sound"] = fmean(record.score * graded(record.judge, "reasoning") for record in ordered)
    return counts


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {"min": min(values), "mean": fmean(values), "max": max(values)} if values else {}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each benchmark: score, interval, rows, failures, answers that the limit cut."""
    lines = [("benchmark", "score", "95 % interval", "rows", "failed", "truncated")]
    for name, result in results.items():
        ends = result["intervals"].get("score")
        sure = f"{ends[0]:.3f} – {ends[1]:.3f}" if ends else "–"
        counts = (str(result[key]) for key in ("rows", "failures", "truncated"))
        lines.append((name, f"{result['score']:.3f}", sure, *counts))
    return "\n".join(aligned(lines))
