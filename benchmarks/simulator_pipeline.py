"""Pipelined against sequential rollouts: episodes per second, policy and simulator together."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import robotics

GROUPS = 2
DECISIONS = 4


def compare_rollouts(args: argparse.Namespace, used: Callable[[], float]) -> dict[str, Any]:
    """The figures of both simulators, or in words why one was skipped.

    Args:
        used: processor seconds of all processes so far.
    """
    table = {"type": "tabletop", "tasks": ["pick_place"], "image_size": 56}
    arm = {"type": "maniskill", "observation": "rgb", "image_size": 64, "backend": "physx_cpu", "num_envs": GROUPS}
    worlds = args.rollout_worlds
    comparisons = {}
    for name, config, episodes in (
        (f"tabletop, {worlds} worlds in this process", table, worlds),
        (f"maniskill rgb, {GROUPS} worker processes", arm, 2 * GROUPS),
    ):
        try:
            comparisons[name] = _compare(args, config, episodes, used)
        except (ImportError, ValueError) as error:
            comparisons[name] = {"skipped": str(error)}
    return comparisons


def _compare(args: argparse.Namespace, config: dict[str, Any], episodes: int, used: Callable[[], float]) -> dict:
    from mmrl.data.episodes import Episodes
    from mmrl.engines import open_engine
    from mmrl.policies.opening import load_policy
    from mmrl.policies.tiny import write_tiny
    from mmrl.recipe.data import EpisodeData
    from mmrl.recipe.engines import FlowSettings
    from mmrl.recipe.policies.registry import policy_settings
    from mmrl.recipe.rollout import SamplingConfig
    from mmrl.rollouts.episodes import play
    from mmrl.rollouts.simulators import Simulators

    # Every episode is as long as every other, so that both sides do the same work.
    config = {**config, "max_steps": DECISIONS * args.chunk, "terminate_on_success": False}
    env = robotics.make({**config, "num_envs": 1})
    dims = {"horizon": args.chunk, "action_dim": env.action_dim, "state_dim": env.state_dim}
    env.close()
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny("pi0", folder, size=dims)
        policy = load_policy(policy_settings(type="pi0", path=str(path), device="cpu"))
    engine = open_engine(FlowSettings(batch_size=episodes), policy)
    starts = list(Episodes(EpisodeData(type="episodes", simulator="one", size=episodes)))
    sides = {"sequential": Simulators({"one": config}), "pipelined": Simulators({"one": config}, GROUPS)}
    wall: dict[str, list[float]] = {side: [] for side in sides}
    cpu = dict.fromkeys(sides, 0.0)
    for block in range(1 + args.rollouts):
        for side, simulators in sides.items():
            begun, before = time.perf_counter(), used()
            play(policy, engine, simulators, starts, SamplingConfig(), 1, args.chunk, seed=block)
            # The first block makes the simulators.
            if block:
                wall[side].append(time.perf_counter() - begun)
                cpu[side] += used() - before
    for simulators in sides.values():
        simulators.close()
    ratios = [sequential / pipelined for sequential, pipelined in zip(wall["sequential"], wall["pipelined"])]
    return {
        "pipelined_over_sequential": round(median(ratios), 3),
        "quartiles": [round(q, 3) for q in quantiles(ratios, n=4)],
        "episodes_per_s": {side: float(f"{episodes / median(values):.4g}") for side, values in wall.items()},
        "cores_busy": {side: round(cpu[side] / sum(values), 2) for side, values in wall.items()},
        "work": f"{episodes} episodes of {DECISIONS} chunks of {args.chunk} steps, tiny pi0",
    }
