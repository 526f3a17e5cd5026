"""ManiSkill from resets to updates: what a step of RL takes, by the number of worlds and the policy's size."""

from __future__ import annotations

import json
import math
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

import robotics

# Overrides of `mmrl tiny pi0`: 0.3 and 113 million parameters; the smoke run has the first alone.
POLICIES: dict[str, dict[str, dict[str, int]]] = {
    "full": {
        "tiny": {},
        "larger": {
            "hidden": 512, "layers": 12, "heads": 8, "head_dim": 64, "mlp": 2048, "expert_hidden": 512,
            "expert_mlp": 2048, "vision_hidden": 384, "vision_layers": 12, "vision_heads": 6, "vision_mlp": 1536,
            "image": 112, "patch": 14,
        },
    },
    "small": {"tiny": {}},
}  # fmt: skip
GROUP = 8
DECISIONS = 4
ARM = {"type": "maniskill", "task": "PickCube-v1", "observation": "rgb", "image_size": 128}
# What is rewarded differs from episode to episode, so that no group's advantages are all zero.
EPISODES = {"reward": "normalized_dense", "terminate_on_success": False}


def measure_training(args: Namespace, backend: str, numbers: Sequence[int]) -> dict[str, Any]:
    """Figures of each number of worlds: `reset_s`, and of each policy what a step of RL takes.

    Args:
        backend: `physx_cuda` or `physx_cpu`.
        numbers: even ones; groups are of 8 episodes, or of as many as go into the worlds.
    """
    config = {**ARM, **EPISODES, "backend": backend}
    return {f"{worlds} worlds": _with_worlds(args, config, worlds) for worlds in numbers}


def _with_worlds(args: Namespace, config: dict[str, Any], worlds: int) -> dict[str, Any]:
    config = {**config, "num_envs": worlds, "max_steps": DECISIONS * args.chunk}
    env = robotics.make(config)
    resets = reset_seconds(env, worlds)
    dims = {"horizon": args.chunk, "action_dim": env.action_dim, "state_dim": env.state_dim}
    env.close()
    figures: dict[str, Any] = {"reset_s": resets}
    for name, size in POLICIES["small" if args.small else "full"].items():
        figures[name] = steps_of_rl(args, config, worlds, {**size, **dims})
    return figures


def reset_seconds(env: Any, worlds: int) -> dict[str, float]:
    """Seconds until all worlds stand at a start: new ones, for a group of worlds or a world each, and known ones."""
    group = math.gcd(GROUP, worlds)
    env.reset([0] * worlds)
    ids = {
        f"new starts, {group} worlds each": [1 + world // group for world in range(worlds)],
        "new starts, a world each": range(10_000, 10_000 + worlds),
        "the same again": range(10_000, 10_000 + worlds),
    }
    return {name: _seconds(env, list(chosen)) for name, chosen in ids.items()}


def _seconds(env: Any, ids: list[int]) -> float:
    begun = time.perf_counter()
    env.reset(ids).state.sum().item()
    return float(f"{time.perf_counter() - begun:.3g}")


def steps_of_rl(args: Namespace, config: dict[str, Any], worlds: int, size: dict[str, int]) -> dict[str, Any]:
    """Medians over steps of GRPO in which each world plays one episode; the first step, which warms up, is left out.

    `rollout_s` is starts, inference and simulation, `update_s` forward, backward and the optimizer;
    `env_steps_per_s` counts the simulator's steps over both.
    """
    import mmrl
    from mmrl.policies.tiny import write_tiny

    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny("pi0", Path(folder) / "model", size=size)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        mmrl.train(_recipe(args, config, worlds, path, folder))
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "time/update" in line][1:]
    rollout, update = (median(line[f"time/{part}"] for line in steps) for part in ("rollout", "update"))
    memory = {"gpu_memory_gb": torch.cuda.max_memory_allocated() / 1e9} if torch.cuda.is_available() else {}
    figures = {"rollout_s": rollout, "update_s": update, **memory}
    figures["env_steps_per_s"] = worlds * DECISIONS * args.chunk / (rollout + update)
    figures["gradient_norm"] = median(line["optim/grad_norm"] for line in steps)
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


def _recipe(args: Namespace, config: dict[str, Any], worlds: int, path: Path, folder: str) -> dict[str, Any]:
    group = math.gcd(GROUP, worlds)
    return {
        "name": "run",
        "output": folder,
        "micro_tokens": 65536,
        "policy": {"type": "pi0", "path": str(path)},
        "simulators": {"arm": config},
        "data": {"train": [{"type": "episodes", "simulator": "arm", "size": 1 << 20}]},
        "method": "grpo",
        # The ratio of a flow policy is of a whole decision.
        "objective": {"streams": {"rl": {"coefficient": {"kind": "ppo_clip", "level": "decision"}}}},
        "steps": args.train_steps,
        "prompts": worlds // group,
        "rollout": {"n": group, "action_chunk": args.chunk},
        "tracking": {"console": "none", "tensorboard": False, "rollouts_groups": 0},
    }
