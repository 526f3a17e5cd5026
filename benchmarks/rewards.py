"""Scores per second per core of every reward, and what the pool of killable workers adds to a call.

    python -m benchmarks.rewards [--seconds 0.3] [--only iou ocr …]

Each reward scores its own examples (`mmrl rewards try NAME --demo`), each after about a hundred words of thinking, as a
policy writes them; the seconds are processor time of one thread, the median of five blocks. Rewards that wait for a
worker process are measured by the clock instead, with one caller; their first call, which imports, is not counted.
The judge calls a function that answers at once, without a cache. `value` is the slowest of the light rewards.
The limit: examples are short answers; a page of text or fifty boxes take longer (see `details.long`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import time
from collections.abc import Callable
from statistics import median
from typing import Any

LIGHT = (
    "classification", "counting", "iou", "multiple_choice", "numeric", "ocr", "point_in_box", "temporal_iou", "yes_no",
)  # fmt: skip
BLOCKS = 5
SENTENCE = "The picture shows a street with a red car on the left and two people who wait at the crossing. "
THINKING = f"<think>{SENTENCE * 6}</think>\n"
PAGE = "The annual report lists revenue, costs and staff of each branch in the order of their founding. " * 30


def grade(messages: list[dict[str, str]]) -> str:
    """A judge that takes no time."""
    return '{"reason": "as the reference says", "grade": 1}'


def grade_two(messages: list[dict[str, str]]) -> str:
    """A judge of two criteria that takes no time."""
    return '{"reason": "as asked", "grades": [1, 1]}'


PARAMS = {
    "judge": {"policy": grade, "cache": None},
    "rubric": {"policy": grade_two, "criteria": ["It says EXIT.", "It is short."], "cache": None},
}


def cases(name: str) -> list[tuple[Callable, str, Any]]:
    """(reward, completion, target) of each of a reward's examples that it scores."""
    from vision_rewards import get_reward, list_rewards

    examples = []
    for target, completion, _, params in list_rewards()[name].examples:
        reward = get_reward(name, **{**params, **PARAMS.get(name, {})})
        if reward(THINKING + completion, target).score is not None:
            examples.append((reward, THINKING + completion, target))
    return examples


def cost(case: tuple[Callable, str, Any], seconds: float) -> float:
    """Seconds that one score takes: the median of `BLOCKS` blocks of about so many seconds."""
    clock = time.perf_counter if case[0].waits else time.process_time
    rounds = 1
    while (taken := _time(case, rounds, clock)) < seconds / 4:
        rounds *= 2
    rounds = max(1, round(rounds * seconds / taken))
    return median(_time(case, rounds, clock) for _ in range(BLOCKS)) / rounds


def _time(case: tuple[Callable, str, Any], rounds: int, clock: Callable[[], float]) -> float:
    reward, completion, target = case
    start = clock()
    for _ in range(rounds):
        reward(completion, target)
    return clock() - start


def long_inputs() -> dict[str, tuple[Callable, str, Any]]:
    """Answers much longer than the examples'."""
    from vision_rewards import get_reward

    boxes = [{"bbox_2d": [10 * i, 5 * i, 10 * i + 30, 5 * i + 40], "label": "car"} for i in range(50)]
    target = {"boxes": [{"box": box["bbox_2d"], "label": box["label"]} for box in boxes]}
    return {
        "ocr, a page of 2,880 characters": (get_reward("ocr"), f"{THINKING}{PAGE[:-9]}", {"text": PAGE}),
        "detection, 50 boxes": (get_reward("detection"), f"{THINKING}{json.dumps(boxes)}", target),
    }


def pool_overhead(calls: int = 2000) -> dict[str, float]:
    """Microseconds of a call that does nothing, and milliseconds until the next value after a worker was killed."""
    from vision_rewards import pool

    pool.set_workers(1)
    text = "x" * 1000
    took, back = [], []
    for _ in range(calls):
        start = time.perf_counter()
        pool.bounded(len, text)
        took.append(time.perf_counter() - start)
    for _ in range(BLOCKS):
        os.kill(pool.worker_pids()[-1], signal.SIGKILL)
        start = time.perf_counter()
        pool.bounded(len, text)
        back.append(time.perf_counter() - start)
    pool.set_workers(None)
    return {"call_us": round(median(took) * 1e6, 1), "restart_ms": round(median(back) * 1e3, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each of the five blocks of one reward")
    parser.add_argument("--only", nargs="*", help="rewards to measure; default: all")
    args = parser.parse_args()
    from vision_rewards import list_rewards

    rates: dict[str, float] = {}
    slowest: dict[str, float] = {}
    for name in args.only or list_rewards():
        work = cases(name)
        costs = [cost(case, args.seconds / len(work)) for case in work]
        rates[name] = round(len(costs) / sum(costs))
        slowest[name] = round(max(costs) * 1e6, 1)
        print(f"{name}: {rates[name]} scores per second, the slowest example {slowest[name]} us", flush=True)
    details: dict[str, Any] = {
        "scores_per_second": rates,
        "slowest_example_us": slowest,
        "light": [name for name in LIGHT if name in rates],
    }
    if not args.only:
        details["long"] = {text: round(1 / cost(case, args.seconds)) for text, case in long_inputs().items()}
        details["pool"] = pool_overhead()
    details["python"], details["machine"] = platform.python_version(), platform.machine()
    light = {name: rates[name] for name in details["light"]}
    details["slowest_light"] = min(light, key=light.get) if light else None
    line = {
        "name": "rewards",
        "value": min(light.values()) if light else None,
        "unit": "scores per second per core",
        "higher_is_better": True,
        "details": details,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
