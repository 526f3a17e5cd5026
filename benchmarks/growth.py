"""What log-probs and their backward pass cost as the answers to a prompt grow in number.

    python -m benchmarks.growth [--small] [--output FILE]

The log-probs and gradients of G answers of 512 tokens to a prompt with one picture of 448 x 448 under `packing: group`,
by the model of `benchmarks.segment_attention`, measured as there: float32, one thread, each figure in a process of its
own, processor seconds and how far the peak of memory lies above what was held before, the heap trimmed (Linux).

`value` is seconds per 1,000 tokens at the most answers over those at one: 1 and less is linear in the number of
answers. `details` has the same of the peak.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import torch

from benchmarks.result import give
from benchmarks.segment_attention import cell, subject

WORK = {
    "full": {"size": "full", "edge": 448, "answers": (1, 2, 4, 8, 16), "length": 512},
    "small": {"size": "small", "edge": 56, "answers": (1, 2), "length": 6},
}


def main(argv: list[str] | None = None) -> None:
    """Measures every number of answers and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    work: dict[str, Any] = WORK["small" if args.small else "full"]
    torch.set_num_threads(1)
    policy, prompt = subject(work["size"], work["edge"])
    cells = {count: cell(policy, prompt, "segments", count, work["length"], trim=True) for count in work["answers"]}
    result = summary(cells, prompt.length, work["length"])
    give(result, args.output)


def summary(cells: dict[int, dict[str, float]], prompt_tokens: int, length: int) -> dict[str, Any]:
    """The result, from what `cell` gave for each number of answers."""
    per_1000 = {
        count: {
            "seconds": figures["seconds_per_1000_tokens"],
            "peak_gb": 1000 * figures["peak_gb"] / (prompt_tokens + count * (length - 1)),
        }
        for count, figures in cells.items()
    }
    fewest, most = per_1000[min(cells)], per_1000[max(cells)]
    return {
        "name": "growth",
        "value": round(most["seconds"] / fewest["seconds"], 3),
        "unit": f"seconds per 1,000 tokens at {max(cells)} answers / at {min(cells)}",
        "higher_is_better": False,
        "details": {
            "peak_growth": round(most["peak_gb"] / fewest["peak_gb"], 3) if fewest["peak_gb"] > 0 else None,
            "prompt_tokens": prompt_tokens,
            "answer_tokens": length,
            "answers": {
                str(count): {
                    "seconds": round(figures["seconds"], 3),
                    "peak_gb": round(figures["peak_gb"], 3),
                    "seconds_per_1000_tokens": round(per_1000[count]["seconds"], 3),
                    "peak_gb_per_1000_tokens": round(per_1000[count]["peak_gb"], 3),
                }
                for count, figures in cells.items()
            },
            "torch": torch.__version__,
            "load_average": [round(x, 1) for x in os.getloadavg()],
        },
    }


if __name__ == "__main__":
    main()
