"""Environment steps per second: simulators through the contract of `robotics` against their own bare loops.

    python -m benchmarks.simulators [--small] [--chunk 8] [--only NAME ...] [--assets LIBERO_ASSETS] [--output FILE]

`value` is the lowest ratio over the real simulators. Both sides do the same work in one loop each: random actions, a
step of the simulator for each, and the policy's cameras rendered once per chunk. The bare loop calls the simulator's
own environment in the measuring process; the contract's side has its world in a worker process and adds masks, records,
checks and the pipe. Blocks of both alternate, and a ratio is the median over pairs of neighbouring blocks, so that
other load on the machine weighs on both; by processor seconds of all processes it is steadier. `own_loop` is the
simulator used as it comes, observing and rendering at every step: what chunks save. Resets are measured apart.

The tabletop has no other loop than the contract's, so it has throughput but no ratio. `pipeline` plays whole episodes
with a tiny policy, one after the other (the policy infers, then all worlds step) and in two groups of worlds that take
turns (`rollout.pipeline: 2`), in alternating blocks. On two cores, which the policy and the simulators share, turns can
gain at most what one after the other leaves idle; where both are busy already there is nothing to gain.

`maniskill_training` is RL itself, a tiny and a larger policy at each number of parallel worlds: seconds of resets,
rollouts and updates. Without a GPU it takes a few worker processes, which says little but that the path works. What
needs a GPU, a package or assets that are not there is skipped in words.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import psutil
import torch

import robotics
from benchmarks.result import give
from benchmarks.simulator_pipeline import compare_rollouts
from benchmarks.simulator_training import measure_training

# block: seconds that each side runs before the other takes over.
WORK = {
    "full": {
        "pairs": 30,
        "block": 0.4,
        "worlds": [1, 4, 16, 64, 256, 1024, 4096],
        "gpu_worlds": [64, 256, 1024],
        "rollout_worlds": 256,
        "rollouts": 12,
        "train_steps": 4,
    },
    "small": {
        "pairs": 2,
        "block": 0.1,
        "worlds": [1, 8],
        "gpu_worlds": [2],
        "rollout_worlds": 4,
        "rollouts": 2,
        "train_steps": 2,
    },
}
# The simulator's own loop, far the slowest with pictures, runs beside one pair in so many.
OWN_EVERY = 5
Step = Callable[[torch.Tensor], Any]
MANY_STEPS = 1_000_000
PICTURE = 128


def main(argv: list[str] | None = None) -> None:
    """Measures every part in a process of its own and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--assets", help="LIBERO's assets; default: where its package downloads them to")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.part:
        print(json.dumps(measure(args)))
        return
    parts = {name: spawn(name, sys.argv[1:] if argv is None else argv) for name in args.only}
    result = combine(args, parts)
    give(result, args.output)


def spawn(name: str, argv: list[str]) -> dict[str, Any]:
    """Runs one part in a fresh process, with one thread for torch and numpy, and reads its result."""
    command = [sys.executable, "-m", "benchmarks.simulators", *argv, "--part", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the part {name} failed:\n{done.stderr[-4000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {json.dumps(result)}", flush=True)
    return result


def combine(args: argparse.Namespace, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The headline and its details."""
    ratios = {name: part["ratio"] for name, part in parts.items() if "ratio" in part}
    return {
        "name": "simulator_contract_overhead",
        "value": min(ratios.values()) if ratios else None,
        "unit": "env steps per second through the contract / in the simulator's bare loop, lowest",
        "higher_is_better": True,
        "details": {**parts, "chunk": args.chunk, "load_average": [round(x, 1) for x in os.getloadavg()]},
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One part's figures, or why it was skipped."""
    for name, value in WORK["small" if args.small else "full"].items():
        setattr(args, name, value)
    try:
        return PARTS[args.part](args)
    except (ImportError, ValueError) as error:
        return {"skipped": str(error)}


def compare(args: argparse.Namespace, config: dict[str, Any], bare: Step, loop: Step) -> dict[str, Any]:
    """A simulator of one world through the contract against two loops that take a chunk's actions [C, A]."""
    facts, env = _made({**config, "num_envs": 1})
    sides = {"contract": lambda chunk: env.chunk_step(chunk[None]), "bare_loop": bare, "own_loop": loop}
    actions = torch.rand(args.chunk, env.action_dim, generator=torch.Generator().manual_seed(0)) - 0.5
    chunks = {}
    for name, step in sides.items():
        _timed(step, actions, 2)
        chunks[name] = max(1, round(args.block / _timed(step, actions, 2)[0]))
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for pair in range(args.pairs):
        for name, step in sides.items():
            if name == "own_loop" and pair % OWN_EVERY:
                continue
            seconds, processor = _timed(step, actions, chunks[name])
            wall[name].append(seconds)
            cpu[name].append(processor)
    env.close()
    ratios, by_cpu = ([a / b for a, b in zip(took["bare_loop"], took["contract"])] for took in (wall, cpu))
    return {
        "ratio": round(median(ratios), 3),
        "ratio_quartiles": [round(q, 3) for q in quantiles(ratios, n=4)],
        "ratio_by_cpu_seconds": round(median(by_cpu), 3),
        "ratio_by_cpu_seconds_quartiles": [round(q, 3) for q in quantiles(by_cpu, n=4)],
        "ratio_to_own_loop": round(median(wall["own_loop"]) / median(wall["contract"]), 2),
        "steps_per_s": {name: round(args.chunk / median(values), 1) for name, values in wall.items()},
        "steps_per_cpu_s": {name: round(args.chunk / median(values), 1) for name, values in cpu.items()},
        **_together(args, config, actions, chunks["contract"]),
        **facts,
    }


def _together(args: argparse.Namespace, config: dict[str, Any], actions: torch.Tensor, chunks: int) -> dict[str, float]:
    """Steps per second of all worlds, with a worker for each core."""
    many = os.cpu_count() or 1
    _, env = _made({**config, "num_envs": many})
    actions_BCA = actions.expand(many, -1, -1)
    _timed(env.chunk_step, actions_BCA, 2)
    seconds, _ = _timed(env.chunk_step, actions_BCA, chunks)
    env.close()
    return {f"steps_per_s_of_{many}_workers": round(many * args.chunk / seconds, 1)}


def _made(config: dict[str, Any]) -> tuple[dict[str, float], Any]:
    """A simulator that was reset, and what starting and resetting took."""
    begun = time.perf_counter()
    env = robotics.make(config)
    opened = time.perf_counter()
    env.reset([0] * env.num_envs)
    env.reset([1] * env.num_envs)
    return {"start_s": round(opened - begun, 1), "reset_s": round((time.perf_counter() - opened) / 2, 3)}, env


def _timed(step: Step, actions: torch.Tensor, chunks: int) -> tuple[float, float]:
    """Seconds, and processor seconds of all processes, that a chunk takes."""
    begun, used = time.perf_counter(), _processor_seconds()
    for _ in range(chunks):
        step(actions)
    return (time.perf_counter() - begun) / chunks, (_processor_seconds() - used) / chunks


def _processor_seconds() -> float:
    # The id of another process's clock, as clock_getcpuclockid(3) makes it: /proc counts in ticks of 10 ms.
    children = [(~child.pid << 3) | 2 for child in psutil.Process().children()]
    return time.process_time() + sum(map(time.clock_gettime, children))


def maniskill_cpu(observation: str) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """PickCube in one worker, `observation` state or rgb."""

    def part(args: argparse.Namespace) -> dict[str, Any]:
        config = {"type": "maniskill", "observation": observation, "image_size": PICTURE, "reward": "normalized_dense"}
        config |= {"max_steps": MANY_STEPS, "terminate_on_success": False, "backend": "physx_cpu"}
        import gymnasium
        import mani_skill.envs  # noqa: F401  registers the tasks

        base = gymnasium.make(
            "PickCube-v1",
            num_envs=1,
            obs_mode=observation,
            reward_mode="normalized_dense",
            sim_backend="physx_cpu",
            render_backend="cpu",
            sensor_configs={"width": PICTURE, "height": PICTURE},
        ).unwrapped
        base.reset(seed=0)

        def own(chunk: torch.Tensor) -> None:
            for action in chunk:
                base.step(action)

        def bare(chunk: torch.Tensor) -> None:
            base._obs_mode = "state_dict"
            own(chunk)
            base._obs_mode = observation
            if observation == "rgb":
                base.get_obs()

        return compare(args, config, bare, own)

    return part


def libero(args: argparse.Namespace) -> dict[str, Any]:
    """The first task of LIBERO-Spatial in one worker, two cameras."""
    config = {"type": "libero", "image_size": PICTURE, "tasks": [0], "max_steps": MANY_STEPS}
    config |= {"terminate_on_success": False, "assets": args.assets}
    from robotics.libero_setup import find_assets, init_states, load_package, package_root, task_names

    make = load_package(find_assets(args.assets, package_root()), "egl")
    name = task_names("libero_spatial")[0]
    path = str(package_root() / "bddl_files" / "libero_spatial" / f"{name}.bddl")
    state = init_states("libero_spatial", name)[0]
    plain = make(bddl_file_name=path, use_camera_obs=False, ignore_done=True)
    drawing = make(bddl_file_name=path, ignore_done=True, camera_heights=PICTURE, camera_widths=PICTURE)
    for env in (plain, drawing):
        env.env.reset()
        env.set_init_state(state)

    def loop(env: Any, chunk: torch.Tensor) -> None:
        for action in chunk.double().numpy():
            env.step(action)

    def bare(chunk: torch.Tensor) -> None:
        loop(plain, chunk)
        for camera in ("agentview", "robot0_eye_in_hand"):
            plain.sim.render(PICTURE, PICTURE, camera_name=camera)

    return compare(args, config, bare, lambda chunk: loop(drawing, chunk))


def tabletop(args: argparse.Namespace) -> dict[str, Any]:
    """The embedded simulator at several numbers of worlds, on the CPU and, where there is one, a GPU."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rates = {}
    for device in devices:
        for cameras in (["top"], []):
            setting = f"{device}, {'one 56 x 56 picture per chunk' if cameras else 'no picture'}"
            rates[setting] = {worlds: _tabletop_rate(args, worlds, device, cameras) for worlds in args.worlds}
    return {"steps_per_s": rates}


def _tabletop_rate(args: argparse.Namespace, worlds: int, device: str, cameras: list[str]) -> float:
    config = {"type": "tabletop", "tasks": ["pick_place"], "num_envs": worlds, "device": device, "cameras": cameras}
    env = robotics.make({**config, "max_steps": MANY_STEPS, "terminate_on_success": False})
    env.reset(range(worlds))
    actions = torch.rand(worlds, args.chunk, 3, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    env.chunk_step(actions)
    rates = []
    for _ in range(args.pairs):
        start = time.perf_counter()
        result = env.chunk_step(actions)
        result.reward.sum().item()
        rates.append(worlds * args.chunk / (time.perf_counter() - start))
    return float(f"{median(rates):.3g}")


def maniskill_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """PickCube with all worlds on one GPU, state and pictures."""
    if not torch.cuda.is_available():
        return {"skipped": "no CUDA GPU: ManiSkill's parallel worlds (physx_cuda) were not measured"}
    import gymnasium
    import mani_skill.envs  # noqa: F401  registers the tasks

    speeds, ratios = {}, []
    for observation in ("state", "rgb"):
        for worlds in args.gpu_worlds:
            config = {"type": "maniskill", "observation": observation, "image_size": PICTURE, "num_envs": worlds}
            config |= {"reward": "normalized_dense", "max_steps": MANY_STEPS, "terminate_on_success": False}
            env = robotics.make({**config, "backend": "physx_cuda"})
            env.reset([0] * worlds)
            actions = torch.rand(args.pairs, worlds, args.chunk, env.action_dim, device="cuda") * 2 - 1
            ours = [_gpu_rate(env.chunk_step, chunk) for chunk in actions]
            env.close()
            base = gymnasium.make(
                "PickCube-v1",
                num_envs=worlds,
                obs_mode=observation,
                reward_mode="normalized_dense",
                sim_backend="physx_cuda",
                sensor_configs={"width": PICTURE, "height": PICTURE},
            ).unwrapped
            base.reset(seed=0)

            def bare(chunk: torch.Tensor, base: Any = base, observation: str = observation) -> None:
                base._obs_mode = "state_dict"
                for step in range(chunk.shape[1]):
                    base.step(chunk[:, step])
                base._obs_mode = observation
                base.get_obs()

            theirs = [_gpu_rate(bare, chunk) for chunk in actions]
            base.close()
            ratios.append(median(ours) / median(theirs))
            speeds[f"{observation}, {worlds} worlds"] = {
                "contract": round(median(ours)),
                "bare_loop": round(median(theirs)),
                "ratio": round(ratios[-1], 3),
            }
    return {"ratio": round(min(ratios), 3), "steps_per_s": speeds, "device": torch.cuda.get_device_name()}


def maniskill_training(args: argparse.Namespace) -> dict[str, Any]:
    """PickCube from resets to updates: on a GPU at each number of worlds, else with about a worker for each core."""
    if torch.cuda.is_available():
        return {**measure_training(args, "physx_cuda", args.gpu_worlds), "device": torch.cuda.get_device_name()}
    numbers = ", ".join(map(str, args.gpu_worlds))
    workers = 2 * max(1, (os.cpu_count() or 1) // 2)
    return {
        "skipped": f"no CUDA GPU: resets, rollouts and updates at {numbers} worlds (physx_cuda) were not measured",
        "physx_cpu": measure_training(args, "physx_cpu", [workers]),
    }


def pipeline(args: argparse.Namespace) -> dict[str, Any]:
    """Whole episodes, pipelined against sequential."""
    return compare_rollouts(args, _processor_seconds)


def _gpu_rate(step: Callable[[torch.Tensor], Any], chunk: torch.Tensor) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    step(chunk)
    torch.cuda.synchronize()
    return chunk.shape[0] * chunk.shape[1] / (time.perf_counter() - start)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "tabletop": tabletop,
    "maniskill_state": maniskill_cpu("state"),
    "maniskill_rgb": maniskill_cpu("rgb"),
    "libero": libero,
    "maniskill_gpu": maniskill_gpu,
    "maniskill_training": maniskill_training,
    "pipeline": pipeline,
}


if __name__ == "__main__":
    main()
