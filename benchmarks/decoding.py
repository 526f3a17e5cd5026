"""Tokens per CPU second of the `hf` engine against transformers' own `generate`, on one model in one process.

    python -m benchmarks.decoding [--small] [--output FILE]

Both sample at temperature 1 from a small Qwen2.5-VL, one thread, without end tokens, and are counted from the first
token to the last: prompts and pictures are not in it. The weights of `generate` are in the dtype of the case; those of
the engine are as in full training, float32 with autocast.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.result import give
from benchmarks.step_sides import QUESTION, SIZES, draw


@dataclass(frozen=True)
class Case:
    """One measured regime: `prompts` x `n` rows of `tokens` tokens; `ragged`: prompts of unequal length."""

    prompts: int
    n: int
    tokens: int
    dtype: str = "float32"
    ragged: bool = False

    @property
    def name(self) -> str:
        """As it stands in the result."""
        lengths = " ragged" if self.ragged else ""
        return f"{self.prompts} x {self.n} rows x {self.tokens} tokens {self.dtype}{lengths}"


CASES = (
    Case(8, 8, 128),
    Case(8, 8, 256),
    Case(8, 8, 256, "bfloat16"),
    Case(8, 8, 256, ragged=True),
    Case(1, 8, 256),
    Case(1, 8, 256, "bfloat16"),
    Case(64, 1, 128),
)
SMALL = (Case(2, 2, 4), Case(2, 2, 4, "bfloat16", ragged=True))


def main() -> None:
    """Prints and writes one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model and few tokens: a test of the script")
    parser.add_argument("--edge", type=int, default=224, help="pixels of a picture's sides")
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each side, of which the faster counts")
    parser.add_argument("--output", type=Path, help="also write the result to this file, with date and machine")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_model(Path(folder) / "model", args.small)
        for case in SMALL if args.small else CASES:
            results[case.name] = measure(case, path, args.edge, args.repeats)
            print(case.name, results[case.name], flush=True)
    report = {
        "name": "decoding_vs_generate",
        "value": min(result["ratio"] for result in results.values()),
        "unit": "hf engine / transformers' generate, tokens per CPU second, the lowest of the cases",
        "higher_is_better": True,
        "details": {"cases": results, "work": {"edge": args.edge, "repeats": args.repeats}, "versions": versions()},
    }
    give(report, args.output)


def versions() -> dict[str, str]:
    """Of what is measured."""
    from importlib.metadata import version

    import mmrl

    return {"mmrl": mmrl.__version__, **{name: version(name) for name in ("transformers", "torch")}}


def write_model(folder: Path, small: bool) -> Path:
    """The checkpoint that both sides run."""
    from mmrl.policies.tiny import write_tiny

    return write_tiny("qwen2_5_vl", folder, size=SIZES["small" if small else "full"])


def measure(case: Case, path: Path, edge: int, repeats: int) -> dict[str, float]:
    """Tokens per CPU second of both sides, and their ratio."""
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.policies.registry import policy_settings

    policy = load_policy(policy_settings(path=str(path), device="cpu", dtype=case.dtype))
    policy.eos_ids = ()
    # The first token is what prefill gives.
    units = case.prompts * case.n * (case.tokens - 1)
    samples = [asked(i, edge + 28 * (i % 5) if case.ragged else edge) for i in range(case.prompts)]
    sides = {"engine": engine_side(policy, samples, case), "generate": generate_side(policy, samples, case)}
    rates = {name: units / seconds for name, seconds in fastest(sides, repeats).items()}
    figures = {f"{name}_tokens_per_cpu_s": round(rate, 1) for name, rate in rates.items()}
    return {**figures, "ratio": round(rates["engine"] / rates["generate"], 2)}


def fastest(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The fewest seconds of each side, which run in turns, so that other load on the machine weighs on all."""
    seconds = [{name: run() for name, run in sides.items()} for _ in range(repeats)]
    return {name: min(times[name] for times in seconds) for name in sides}


def asked(index: int, edge: int) -> Any:
    """A sample with a picture and a question."""
    from mmrl.contracts.types import Sample

    messages = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},)
    return Sample(f"prompt {index}", messages, "ocr", {"text": "1"}, images=(draw(index % 5, edge),))


def engine_side(policy: Any, samples: Sequence[Any], case: Case) -> Callable[[], float]:
    """CPU seconds from the end of prefill to the last token."""
    from mmrl.contracts.engine import Request
    from mmrl.engines import open_engine
    from mmrl.recipe.engines import HFSettings
    from mmrl.recipe.rollout import SamplingConfig

    engine, prefill = open_engine(HFSettings(), policy), policy.prefill
    requests = [Request(prompt, case.n) for prompt in policy.prepare(samples)]
    filled = [0.0]

    def noting(*args: Any) -> Any:
        state = prefill(*args)
        filled[0] = time.process_time()
        return state

    policy.prefill = noting

    def run() -> float:
        engine.generate(requests, SamplingConfig(max_new_tokens=case.tokens), 0)
        return time.process_time() - filled[0]

    return run


def generating(policy: Any, samples: Sequence[Any], dtype: Any) -> tuple[Any, Any]:
    """(a copy of the model that ends at no token, processed inputs), for transformers' `generate`."""
    model = copy.deepcopy(policy.module).to(dtype)
    model.generation_config.eos_token_id = None
    processor = policy.processor
    processor.tokenizer.padding_side = "left"
    texts = [processor.apply_chat_template(list(s.messages), add_generation_prompt=True) for s in samples]
    return model, processor(text=texts, images=[s.images[0] for s in samples], padding=True, return_tensors="pt")


def generate_side(policy: Any, samples: Sequence[Any], case: Case) -> Callable[[], float]:
    """CPU seconds from the first token to the last."""
    import torch

    model, inputs = generating(policy, samples, getattr(torch, case.dtype))
    times: list[float] = []

    def noting(ids: Any, scores: Any) -> Any:
        times.append(time.process_time())
        return scores

    def run() -> float:
        times.clear()
        with torch.no_grad():
            model.eval().generate(
                **inputs,
                do_sample=True,
                top_k=0,
                max_new_tokens=case.tokens,
                num_return_sequences=case.n,
                pad_token_id=0,
                logits_processor=[noting],
            )
        return times[-1] - times[0]

    return run


if __name__ == "__main__":
    main()
