"""Two processes against one: the same recipes trained by each, their figures and their weights compared.

    python -m benchmarks.ranks                          # every case
    python -m benchmarks.ranks --cases grpo pi0
    python -m benchmarks.ranks --output benchmarks/results/ranks.json

Processes are forked from one that has imported everything, so a case takes seconds. `metrics` is the largest relative
difference of a figure of any step, figures below 1e-5 left out; `weights` that of the trained weights' largest
difference to their largest change. Float32: sums over two processes round otherwise, and AdamW makes the first steps of
weights with nearly no gradient as large as those of others.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result import give
from mmrl.parallel.launch import free_port

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 4, "reward": "dense"}
EPISODES = {
    "simulators": {"table": TABLE},
    "data": {
        "train": [{"type": "episodes", "simulator": "table", "size": 64}],
        "eval": [{"type": "episodes", "simulator": "table", "first": 1000, "size": 4}],
    },
    "rollout": {"n": 2, "action_chunk": 2},
    "evaluation": {"every": 2},
}
# Text for one process, pictures for the other: rows without a picture stand beside the digits.
TEXTS = {"type": "file", "path": "texts.jsonl", "weight": 1}
CASES: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "demonstrations": 5},
    "grpo": {"method": "grpo", "minibatches": 2, "objective": {"kl": {"weight": 0.05}}},
    "text_beside_pictures": {"method": "grpo", "texts": True},
    "one_prompt": {"method": "grpo", "prompts": 1},
    "filter": {"method": "grpo", "objective": {"filter": {"rounds": 2, "low": 0.3, "high": 0.5, "by": "reward"}}},
    "gate": {"method": "hpt"},
    "co_train_lora": {"method": "co_train", "demonstrations": 3, "policy": {"lora": {"rank": 4}}},
    "ppo_value_head": {"method": "ppo", "minibatches": 2, "epochs": 2, "policy": {"value_head": {}}},
    "openvla": {"method": "ppo", "policy": {"type": "openvla", "path": "openvla", "value_head": {}}, **EPISODES},
    "pi0": {
        "method": "pi_rl_sde",
        "policy": {"type": "pi0", "path": "pi0", "value_head": {}},
        "engine": {"name": "flow"},
        **EPISODES,
    },
}


def letters(text: str, sample: Any) -> float:
    """A graded reward, so that groups of random answers have advantages."""
    return (sum(map(ord, text)) % 7) / 7


def recipe(name: str, output: Path, models: Mapping[str, Path], case: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a case: four steps of a tiny model."""
    case = copy.deepcopy(dict(case))
    policy = {"path": "qwen2_5_vl", "device": "cpu", **case.pop("policy", {})}
    policy["path"] = str(models[policy["path"]])
    digits = {"type": "digits", "tasks": ["classification", "ocr", "counting"], "size": 24}
    train = [digits, {**TEXTS, "path": str(models["texts"])}] if case.pop("texts", False) else [digits]
    rewarded = {} if "simulators" in case else {"rewards": [{"name": "benchmarks.ranks:letters"}]}
    return {
        "name": name,
        "output": str(output),
        "threads": 1,
        "seed": 3,
        "steps": 4,
        "prompts": 4,
        "micro_tokens": 300,
        "policy": policy,
        "engine": {"seeds": "request"},
        "data": {"train": train, "eval": [{**digits, "split": "test", "size": 3}]},
        "rollout": {"n": 4, "max_new_tokens": 6},
        "optim": {"lr": 1e-3, "warmup": 2},
        "evaluation": {"every": 2, "sampling": {"temperature": 0.0, "max_new_tokens": 4}},
        "tracking": {"console": "none", "tensorboard": False},
        **rewarded,
        **case,
    }


def on_ranks(size: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` returns in each of `size` forked processes that a launcher seems to have started.

    None of one that has ended with exit code 0 in the middle of it.

    Raises:
        RuntimeError: one of them failed; its traceback is on stderr.
    """
    port, children = free_port(), []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            child = os.fork()
            if child == 0:
                _be(rank, size, port, work, Path(folder, str(rank)))
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(codes):
            raise RuntimeError(f"exit codes of the processes: {codes}")
        files = [Path(folder, str(rank)) for rank in range(size)]
        return [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


def _be(rank: int, size: int, port: int, work: Callable[[], Any], result: Path) -> None:
    """Does the work as one of the processes, and ends."""
    import traceback

    code = 1
    try:
        facts = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in facts.items()}})
        result.write_bytes(pickle.dumps(work()))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def trained(case: Mapping[str, Any], size: int) -> Path:
    """The folder of a run by `size` processes."""
    from mmrl import train

    return on_ranks(size, lambda: train(case).folder)[0]


def differences(one: Path, other: Path, before: Path) -> dict[str, float]:
    """`metrics` and `weights`, see the module.

    Args:
        before: the model that both began with.
    """
    from mmrl.tracking.metrics import is_wall_clock

    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    if [line.keys() for line in lines[0]] != [line.keys() for line in lines[1]]:
        raise ValueError(f"'{one}' and '{other}' have other figures")
    pairs = [(a[name], b[name]) for a, b in zip(*lines) for name in a if not is_wall_clock(name) and name != "stage"]
    apart = [abs(a - b) / max(abs(a), abs(b)) for a, b in pairs if a != b and max(abs(a), abs(b)) > 1e-5]
    return {"metrics": max(apart, default=0.0), "weights": _weights_apart(one, other, before), "figures": len(pairs)}


def _weights_apart(one: Path, other: Path, before: Path) -> float:
    first, second = (_weights(max((run / "checkpoints").glob("step_*"))) for run in (one, other))
    start = _weights(before)
    moved = max(float((first[k] - start[k]).abs().max()) for k in first if k in start) if start.keys() & first else 1.0
    return max(float((first[k] - second[k]).abs().max()) for k in first) / moved


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for path in (
        *folder.glob("*.safetensors"),
        *folder.glob("model/*.safetensors"),
        *folder.glob("adapter/*.safetensors"),
    ):
        if path.name != "trainer.safetensors":
            tensors |= load_file(path)
    return tensors


def make_models(folder: Path) -> dict[str, Path]:
    """Tiny checkpoints by their names, and rows of text."""
    from mmrl.policies.tiny import write_tiny

    texts = folder / "texts.jsonl"
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {n} and {n + 1}?" * (1 + n % 3)}],
            "task": "ocr",
            "target": {"text": str(2 * n + 1)},
        }
        for n in range(9)
    ]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: write_tiny(name, folder / name) for name in ("qwen2_5_vl", "openvla", "pi0")} | {"texts": texts}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", help="a file for the result")
    args = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder))
        for name in args.cases:
            runs = [trained(recipe(f"{name}_{size}", Path(folder), models, CASES[name]), size) for size in (1, 2)]
            policy = CASES[name].get("policy", {}).get("path", "qwen2_5_vl")
            results[name] = differences(*runs, models[policy])
            print(name, results[name], flush=True)
    result = {
        "name": "ranks",
        "value": max(each["metrics"] for each in results.values()),
        "unit": "largest relative difference of a figure of any step, two processes against one",
        "higher_is_better": False,
        "details": results,
    }
    give(result, args.output)


if __name__ == "__main__":
    main()
