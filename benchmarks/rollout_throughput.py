"""Tokens per CPU second of sampling: vLLM through mmrl, vLLM by itself, the `hf` engine, and transformers' `generate`.

    python -m benchmarks.rollout_throughput [--small] [--output FILE]

All four sample at temperature 1 from one small Qwen2.5-VL, one thread, without end tokens, a picture in each prompt,
and are counted from prepared prompts to completions. vLLM by itself is the same `LLM` with the same prompts and
patches, made before the clock starts, with no bans, no comparison and no completions made of its outputs: what mmrl
adds is in the ratio. Both find the prompts of earlier repeats in vLLM's caches.
It needs vllm (`.ci/vllm` shows how an environment with it is made).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decoding import asked, fastest, generating, versions, write_model
from benchmarks.result import give


@dataclass(frozen=True)
class Case:
    """`rows` answers of `tokens` tokens to as many prompts."""

    rows: int
    tokens: int

    @property
    def name(self) -> str:
        """As it stands in the result."""
        return f"{self.rows} rows x {self.tokens} tokens"


CASES = tuple(Case(rows, tokens) for rows in (8, 64, 256) for tokens in (16, 256))
SMALL = (Case(2, 4), Case(8, 16))


def main() -> None:
    """Prints and writes one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model and few tokens: a test of the script")
    parser.add_argument("--edge", type=int, default=112, help="pixels of a picture's sides")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side, of which the fastest counts")
    parser.add_argument("--largest", type=int, help="leave out cases of more tokens in all than this")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args()
    import torch

    from mmrl.recipe.vllm_engine import installed_version

    torch.set_num_threads(1)
    offered = SMALL if args.small else CASES
    cases = [case for case in offered if args.largest is None or case.rows * case.tokens <= args.largest]
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(Path(folder) / "model", args.small)
        results = measure(cases, path, args.edge, args.repeats)
    report = {
        "name": "rollout_throughput",
        "value": min(result["ratio"] for result in results.values()),
        "unit": "vllm through mmrl / vllm by itself, tokens per CPU second, the lowest of the cases",
        "higher_is_better": True,
        "details": {
            "cases": results,
            "left_out": [case.name for case in offered if case not in cases],
            "work": {"edge": args.edge, "repeats": args.repeats},
            "versions": {**versions(), "vllm": installed_version()},
        },
    }
    give(report, args.output)


def measure(cases: Sequence[Case], path: Path, edge: int, repeats: int) -> dict[str, dict[str, float]]:
    """Tokens per CPU second of the four sides in each case, and the ratio of the first two."""
    from mmrl.engines import open_engine
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.engines import HFSettings
    from mmrl.recipe.policies.registry import policy_settings
    from mmrl.recipe.vllm_engine import VLLMSettings

    policy = load_policy(policy_settings(path=str(path), device="cpu", dtype="float32"))
    policy.eos_ids = ()
    rows = max(case.rows for case in cases)
    settings = VLLMSettings(cache_gb=2, max_length=1024, batch_size=rows)
    results = {}
    with closing(open_engine(settings, policy)) as vllm, closing(open_engine(HFSettings(), policy)) as hf:
        for case in cases:
            samples = [asked(i, edge) for i in range(case.rows)]
            prompts = policy.prepare(samples)
            sides = {
                "vllm_through_mmrl": engine_side(vllm, prompts, case),
                "vllm_by_itself": raw_side(vllm, prompts, case),
                "hf": engine_side(hf, prompts, case),
                "generate": generate_side(policy, samples, case),
            }
            for name in ("vllm_through_mmrl", "vllm_by_itself"):
                sides[name]()
            units = case.rows * case.tokens
            rates = {name: round(units / seconds, 1) for name, seconds in fastest(sides, repeats).items()}
            ratio = round(rates["vllm_through_mmrl"] / rates["vllm_by_itself"], 3)
            results[case.name] = {**rates, "ratio": ratio}
            print(case.name, results[case.name], flush=True)
    return results


def engine_side(engine: Any, prompts: Sequence[Any], case: Case) -> Callable[[], float]:
    """CPU seconds of an engine's `generate`."""
    from mmrl.contracts.engine import Request
    from mmrl.recipe.rollout import SamplingConfig

    requests, sampling = [Request(prompt) for prompt in prompts], SamplingConfig(max_new_tokens=case.tokens)

    def run() -> float:
        began = time.process_time()
        completions = engine.generate(requests, sampling, 0)
        seconds = time.process_time() - began
        if any(len(one.tokens) != case.tokens for (one,) in completions):
            raise AssertionError("an answer ended early, so the sides did different work")
        return seconds

    return run


def raw_side(engine: Any, prompts: Sequence[Any], case: Case) -> Callable[[], float]:
    """CPU seconds of vLLM itself on the same prompts."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from mmrl.engines.vllm.inputs import vllm_input
    from mmrl.engines.vllm.prompts import engine_prompt

    core = engine.engine.core
    inputs = [vllm_input(engine_prompt(prompt, core.marks), core.marks) for prompt in prompts]
    llm, count = core._llm.llm_engine, [0]

    def run() -> float:
        began = time.process_time()
        for i, each in enumerate(inputs):
            params = SamplingParams(
                max_tokens=case.tokens,
                seed=i,
                logprobs=0,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            llm.add_request(f"raw {count[0]}", each, params)
            count[0] += 1
        while llm.has_unfinished_requests():
            llm.step()
        return time.process_time() - began

    return run


def generate_side(policy: Any, samples: Sequence[Any], case: Case) -> Callable[[], float]:
    """CPU seconds of `generate`, processed inputs given."""
    import torch

    model, inputs = generating(policy, samples, torch.float32)

    def run() -> float:
        began = time.process_time()
        with torch.no_grad():
            model.eval().generate(**inputs, do_sample=True, top_k=0, max_new_tokens=case.tokens, pad_token_id=0)
        return time.process_time() - began

    return run


if __name__ == "__main__":
    main()
