"""What it saves that a frozen vision tower sees a prompt once per step.

    python -m benchmarks.features [--small] [--output FILE]

Sampling, old log-probs and two epochs of updates on 4 prompts with a picture of 448 x 448 and 4 answers of 16 tokens
each, by the model of `benchmarks.segment_attention` with vision tower and projector frozen, float32, one thread:
processor seconds with features kept (`features_gb: 1`) and computed anew each time (`features_gb: 0`), after a warm-up
step of either. `value` is the latter over the former; `details` also counts passes of the tower, a prompt each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import give
from benchmarks.step_sides import QUESTION, SIZES, draw
from mmrl.contracts.engine import Request
from mmrl.contracts.types import Sample
from mmrl.contracts.world import ALONE
from mmrl.engines.hf import HFEngine
from mmrl.objectives.rows import Row, collate
from mmrl.policies.opening import load_policy
from mmrl.policies.tiny import write_tiny
from mmrl.recipe.engines import HFSettings
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.trainer.step import accumulate, plan_step

WORK = {
    "full": {"size": "full", "edge": 448, "prompts": 4, "answers": 4, "tokens": 16, "epochs": 2},
    "small": {"size": "small", "edge": 56, "prompts": 2, "answers": 2, "tokens": 4, "epochs": 2},
}


def main(argv: list[str] | None = None) -> None:
    """Measures both and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    work: dict[str, Any] = WORK["small" if args.small else "full"]
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny("qwen2_5_vl", Path(folder) / "model", size=SIZES[work["size"]])
        cells = {name: measure(path, work, gb) for name, gb in (("kept", 1.0), ("anew", 0.0))}
    give(summary(cells), args.output)


def measure(path: Path, work: dict[str, Any], features_gb: float) -> dict[str, float]:
    """Processor seconds and passes of the tower of one step."""
    frozen = {"freeze": ["vision", "projector"], "features_gb": features_gb}
    policy: Any = load_policy(policy_settings(path=str(path), device="cpu", **frozen))
    calls: list[int] = []
    policy.module.model.visual.register_forward_hook(lambda *_: calls.append(1))
    step(policy, work)
    calls.clear()
    began = time.process_time()
    step(policy, work)
    return {"seconds": time.process_time() - began, "passes": len(calls)}


def step(policy: Any, work: dict[str, Any]) -> None:
    """All that a step computes but the optimizer's own work."""
    samples = [
        Sample(
            "picture",
            ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},),
            "ocr",
            {"text": "1"},
            images=(draw(index, work["edge"]),),
        )
        for index in range(work["prompts"])
    ]
    engine = HFEngine(HFSettings(), "right")
    engine.start(policy, ALONE)
    prompts = policy.prepare(samples)
    requests = [Request(prompt, work["answers"], None) for prompt in prompts]
    answers = engine.generate(requests, SamplingConfig(max_new_tokens=work["tokens"]), 0)
    rows = []
    for prompt, completions in zip(prompts, answers):
        for completion in completions:
            decision = completion.decision(prompt)
            rows.append(Row(decision, "rl", (-1.0) ** len(rows), len(rows), len(decision.tokens), work["answers"]))
    with torch.no_grad():
        policy.log_probs(collate(rows))
    objective = resolve_objective("grpo", {})
    for _ in range(work["epochs"]):
        accumulate(rows, plan_step(objective, rows, 0, work["tokens"]), policy, 8192)
        policy.module.zero_grad()


def summary(cells: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The result, from what `measure` gave for each."""
    return {
        "name": "features",
        "value": round(cells["anew"]["seconds"] / cells["kept"]["seconds"], 2),
        "unit": "processor seconds of a step with features computed anew / kept",
        "higher_is_better": True,
        "details": {
            **{f"{name}_seconds": round(cell["seconds"], 2) for name, cell in cells.items()},
            **{f"{name}_passes": cell["passes"] for name, cell in cells.items()},
            "torch": torch.__version__,
            "load_average": [round(x, 1) for x in os.getloadavg()],
        },
    }


if __name__ == "__main__":
    main()
