"""What packing a group costs as its answers grow in number and length: rows, the dense mask, and segments.

    python -m benchmarks.segment_attention [--small] [--output FILE]

One forward and backward pass of the log-probs of n answers of L tokens to a prompt with one picture of 448 x 448, by a
random Qwen2.5-VL of 12.8 M parameters, float32, one thread. Three sides compute the same log-probs:

- `row`: each answer in a row of its own, behind a copy of the prompt (`packing: row`);
- `dense`: the prompt once with all answers behind it, and a mask of tokens x tokens, as this project had it before;
- `segments`: the same row without a mask (`packing: group`).

Each cell runs in a process of its own, forked from one that holds the model, after a small warm-up pass: processor
seconds, and how far the peak of its memory lies above what it began with. `value` is how seconds per 1,000 tokens of
`segments` grow from the fewest to the most of the longest answers: 1 and less is linear in the number of answers.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from benchmarks.result import give
from benchmarks.step_sides import QUESTION, SIZES, draw
from mmrl.contracts.types import PolicyBatch, Sample
from mmrl.policies import layout
from mmrl.policies.attention.plan import SegmentPlan
from mmrl.policies.opening import load_policy
from mmrl.policies.tiny import write_tiny
from mmrl.recipe.policies.registry import policy_settings

WORK = {
    "full": {"size": "full", "edge": 448, "answers": (2, 4, 8, 16, 32), "lengths": (64, 512)},
    "small": {"size": "small", "edge": 56, "answers": (2, 3), "lengths": (4, 6)},
}


def dense_mask(plan: SegmentPlan) -> Tensor:
    """bool [1, 1, T, T], true where a query may look."""
    owner_T = torch.empty(plan.length, dtype=torch.long)
    seen_TT = torch.zeros(plan.length, plan.length, dtype=torch.bool)
    for index, segment in enumerate(plan.segments):
        owner_T[segment.start : segment.end] = index
        seen_TT[segment.end : segment.reach, segment.start : segment.end] = True
    same = owner_T[:, None] == owner_T
    return (seen_TT | same & torch.ones_like(same).tril())[None, None]


def dense(policy: Any, batch: PolicyBatch) -> Tensor:
    """Log-probs [R, U] through the mask of the whole row."""
    rows = layout.build(
        [p.input_ids for p in batch.prompts],
        [p.positions for p in batch.prompts],
        batch.prompt_index_R.tolist(),
        batch.tokens_RU,
        batch.mask_RU.sum(1).tolist(),
        "group",
    )
    hidden_1TH = policy._hidden(rows.input_ids_BT, rows.position_ids_3BT, dense_mask(rows.plan), batch.prompts)
    return policy._likelihood(hidden_1TH[0].index_select(0, rows.gather_N), batch, "none", {}).log_probs_RU


def packed(packing: str) -> Callable[[Any, PolicyBatch], Tensor]:
    """Log-probs [R, U] as the policy gives them."""

    def log_probs(policy: Any, batch: PolicyBatch) -> Tensor:
        policy.config = policy.config.model_copy(update={"packing": packing})
        return policy.log_probs(batch).log_probs_RU

    return log_probs


SIDES = {"row": packed("row"), "dense": dense, "segments": packed("group")}


def subject(size: str, edge: int) -> tuple[Any, Any]:
    """The policy and its prepared prompt with one square picture of `edge` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        write_tiny("qwen2_5_vl", Path(folder) / "model", size=SIZES[size])
        policy = load_policy(policy_settings(path=f"{folder}/model", device="cpu"))
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    (prompt,) = policy.prepare([Sample("picture", (message,), "ocr", {"text": "1"}, images=(draw(0, edge),))])
    return policy, prompt


def answers(prompt: Any, count: int, length: int) -> PolicyBatch:
    """Random answers to one prompt."""
    g = torch.Generator().manual_seed(count * length)
    tokens_RU = torch.randint(10, 200, (count, length), generator=g)
    return PolicyBatch([prompt], torch.zeros(count, dtype=torch.long), tokens_RU, torch.ones_like(tokens_RU) > 0)


def measure(pipe: Connection, policy: Any, prompt: Any, side: str, count: int, length: int, trim: bool) -> None:
    """One cell, in a process of its own."""
    SIDES[side](policy, answers(prompt, 2, 4)).sum().backward()
    policy.module.zero_grad()
    if trim and sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    batch = answers(prompt, count, length)
    before, start = psutil.Process().memory_info().rss, time.process_time()
    log_probs_RU = SIDES[side](policy, batch)
    log_probs_RU.sum().backward()
    seconds = time.process_time() - start
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    slope = torch.cat([p.grad.flatten() for p in policy.module.parameters() if p.grad is not None]).double()
    pipe.send({
        "seconds": seconds,
        "peak_gb": peak / 1e9,
        "log_probs": float(log_probs_RU.detach().double().sum()),
        "gradient": float(slope.norm()),
    })  # fmt: skip


def cell(policy: Any, prompt: Any, side: str, count: int, length: int, trim: bool = False) -> dict[str, float]:
    """What one side takes, from a forked process.

    Args:
        trim: give back what the warm-up pass freed before memory is read (Linux); without it, as much of the peak as
            that pass had goes unseen.
    """
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=measure, args=(there, policy, prompt, side, count, length, trim))
    process.start()
    there.close()
    try:
        figures = here.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{side}, {count} answers of {length}: the process ended with {process.exitcode}") from None
    process.join()
    tokens = prompt.length + count * (length - 1)
    figures["seconds_per_1000_tokens"] = 1000 * figures["seconds"] / tokens
    print(
        f"{side:>8}, {count:2} answers of {length}: {tokens} tokens in a group, {figures['seconds']:.2f} s, "
        f"{figures['seconds_per_1000_tokens']:.2f} s per 1,000 tokens, peak +{figures['peak_gb']:.2f} GB",
        flush=True,
    )
    return figures


def main(argv: list[str] | None = None) -> None:
    """Measures every cell and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    work: dict[str, Any] = WORK["small" if args.small else "full"]
    torch.set_num_threads(1)
    policy, prompt = subject(work["size"], work["edge"])
    cells = {
        f"{length} tokens": {
            f"{count} answers": {side: cell(policy, prompt, side, count, length) for side in SIDES}
            for count in work["answers"]
        }
        for length in work["lengths"]
    }
    result = summary(cells, prompt.length)
    give(result, args.output)


def summary(cells: dict[str, dict[str, dict[str, dict[str, float]]]], prompt_tokens: int) -> dict[str, Any]:
    """The result: growth of `segments`, and every cell beside what the other sides take of it."""
    growth, apart = {}, 0.0
    for length, by_count in cells.items():
        shares = [sides["segments"]["seconds_per_1000_tokens"] for sides in by_count.values()]
        growth[length] = round(shares[-1] / shares[0], 3)
        for sides in by_count.values():
            mine = sides["segments"]
            for other in sides.values():
                for name in ("log_probs", "gradient"):
                    apart = max(apart, abs(other[name] / mine[name] - 1))
    longest = list(cells)[-1]
    most = list(cells[longest].values())[-1]
    return {
        "name": "segment_attention_growth",
        "value": growth[longest],
        "unit": "seconds per 1,000 tokens at the most answers / at the fewest, of the longest",
        "higher_is_better": False,
        "details": {
            "growth": growth,
            "others_over_segments": {
                side: {what: round(most[side][what] / most["segments"][what], 2) for what in ("seconds", "peak_gb")}
                for side in SIDES
                if side != "segments" and most["segments"]["peak_gb"] > 0
            },
            "largest_relative_difference": apart,
            "prompt_tokens": prompt_tokens,
            "cells": {
                length: {
                    count: {side: {k: round(v, 3) for k, v in figures.items()} for side, figures in sides.items()}
                    for count, sides in by_count.items()
                }
                for length, by_count in cells.items()
            },
            "torch": torch.__version__,
            "load_average": [round(x, 1) for x in os.getloadavg()],
        },
    }


if __name__ == "__main__":
    main()
