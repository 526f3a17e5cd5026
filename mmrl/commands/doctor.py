"""`mmrl doctor`: what is installed, what the machine has, and whether a tiny model works."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.tracking.environment import version_of

CORE = (
    "torch", "torchvision", "transformers", "peft", "accelerate", "safetensors", "qwen-vl-utils", "datasets", "pyarrow",
    "numpy", "pillow", "pydantic",
)  # fmt: skip
# What is imported -> the command that installs it.
OPTIONAL = {
    "mani_skill": "pip install 'mani-skill>=3.0.1,<3.1'",
    "libero.libero": "pip install 'hf-libero==0.1.4'",
    "wandb": "pip install 'wandb>=0.18'",
    "trackio": "pip install 'trackio>=0.5'",
    "decord": "pip install decord",
}
# How a package is imported that is not used by a plain import; what goes wrong then names its own cure.
PROBES = {
    "libero.libero": "from pathlib import Path; from robotics.libero_setup import load_package; "
    "load_package(Path('assets'), 'egl')"
}


def run(args: Namespace) -> int:
    """Prints one line per fact; 1 when the smoke check fails. With `--model` see `see`."""
    if args.model is not None:
        print(see(args.model, args.engine))
        return 0
    from mmrl.policies.compat import ensure_torchvision

    for name, fact in versions():
        print(f"{name:<14}{fact}")
    try:
        ensure_torchvision()
        import transformers
    except (ImportError, OSError, RuntimeError) as error:
        print(f"failed: torch, torchvision or transformers does not import ({' '.join(str(error).split())})")
        print("repair: pip install --force-reinstall torch torchvision transformers")
        return 1
    transformers.utils.logging.disable_progress_bar()
    for name, fact in machine():
        print(f"{name:<14}{fact}")
    print("optional packages")
    for module in OPTIONAL:
        print(f"  {module.partition('.')[0]:<12}{package_state(module)}", flush=True)
    print("smoke check")
    return 0 if smoke_check() else 1


def see(model: str, engine: str) -> str:
    """The figures of what a checkpoint and the engine that samples it see on rows of digits.

    Raises:
        UserError: it does not see its pictures, or the engine sees something else.
    """
    from contextlib import closing

    from mmrl.data.digits import Digits
    from mmrl.engines import open_engine
    from mmrl.evaluation.sees import answers_pictures, check_sight, look
    from mmrl.evaluation.suite.opening import policy_type
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.data import DigitsData
    from mmrl.recipe.engines import check_engine, engine_model
    from mmrl.recipe.policies.registry import policy_settings

    kind, settings = policy_type(model), engine_model(engine)(name=engine)
    check_engine(settings, kind)
    settings.check_installed()
    policy = load_policy(policy_settings(type=kind, path=model))
    if not answers_pictures(policy):
        raise UserError(f"--model: '{model}' is a {kind}, which does not answer questions about pictures")
    with closing(open_engine(settings, policy)) as opened:
        sight = look(policy, opened, Digits(DigitsData(type="digits", size=8)))
    if sight is None:
        raise UserError(f"--model: '{model}' can be shown none of the digits: its prompts are too long for it")
    check_sight(sight, policy.config.dtype, f"'{model}'")
    return f"it sees its pictures: {sight.figures()}"


def versions() -> Iterator[tuple[str, str]]:
    """(name, version or the command that installs it) of mmrl, Python and the packages that mmrl needs."""
    from mmrl import __version__

    yield "mmrl", __version__
    yield "python", platform.python_version()
    for name in CORE:
        yield name, version_of(name) or f"absent; pip install {name}"


def machine() -> Iterator[tuple[str, str]]:
    """(name, fact) of devices, processor cores, memory and disk."""
    import torch

    from mmrl.trainer.memory import available, readable

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i in range(count):
        facts = torch.cuda.get_device_properties(i)
        free = available(torch.device("cuda", i))
        yield f"cuda:{i}", f"{facts.name}, {readable(free)} free of {readable(facts.total_memory)}"
    if not count:
        yield "device", "cpu only (this torch sees no CUDA device)"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "CPU cores", f"{usable} usable of {os.cpu_count()}, torch threads {torch.get_num_threads()}"
    yield "memory", f"{readable(available(torch.device('cpu')))} available"
    yield "disk", f"{readable(shutil.disk_usage(Path.cwd()).free)} free in the working folder"


def package_state(module: str) -> str:
    """`present <version>`, `absent; <install command>` or `broken <version> (<reason>); <repair command>`."""
    package, install = module.partition(".")[0], OPTIONAL[module]
    if util.find_spec(package) is None:
        return f"absent; {install}"
    owners = metadata.packages_distributions().get(package, [])
    version = metadata.version(owners[0]) if owners else "of unknown version"
    reason = import_problem(module)
    if reason is None:
        return "; ".join([f"present {version}", *(libero_problems() if package == "libero" else ())])
    again = install.replace("pip install", "pip install --force-reinstall")
    return f"broken {version} ({reason})" + ("" if module in PROBES else f"; {again}")


def libero_problems() -> Iterator[str]:
    """What LIBERO lacks besides its package: one line for each, with its cure."""
    from robotics.libero_setup import find_assets, mujoco_problem, package_root

    try:
        find_assets(None, package_root())
    except (ValueError, ImportError) as error:
        yield str(error)
    if problem := mujoco_problem(metadata.version("mujoco")):
        yield problem


def import_problem(module: str) -> str | None:
    """Why a package does not import, or None. Another process tries it: a broken one may crash, ask or hang."""
    import subprocess
    import sys

    probe = PROBES.get(module, f"import {module}")
    code = f"from mmrl.policies.compat import ensure_torchvision; ensure_torchvision(); {probe}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return "its import takes more than two minutes"
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")[:200]


def smoke_check() -> bool:
    """Writes, loads, samples and trains a tiny model; prints ok or failed for each and stops at the first failure."""
    state: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        state["folder"] = Path(folder) / "tiny"
        for name, part in SMOKE.items():
            try:
                fact = part(state)
            except Exception as error:
                # The reason is the result here: whatever is broken in this installation may raise anything.
                print(f"  failed  {name}: {type(error).__name__}: {error}")
                return False
            print(f"  ok      {name}: {fact}")
    return True


def _write(state: dict[str, Any]) -> str:
    from mmrl.policies.tiny import write_tiny

    write_tiny("qwen2_5_vl", state["folder"])
    return "tiny qwen2_5_vl"


def _load(state: dict[str, Any]) -> str:
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.policies.registry import policy_settings

    state["policy"] = load_policy(policy_settings(path=str(state["folder"])))
    return f"on {state['policy'].device}"


def _prepare(state: dict[str, Any]) -> str:
    from PIL import Image

    from mmrl.contracts.types import Sample

    content = [{"type": "image"}, {"type": "text", "text": "Which digit is this?"}]
    image = Image.new("RGB", (56, 56), (200, 30, 30))
    sample = Sample("0", ({"role": "user", "content": content},), "classification", {"answer": "7"}, images=(image,))
    (state["prompt"],) = state["policy"].prepare([sample])
    return f"{state['prompt'].length} tokens with an image"


def _sample(state: dict[str, Any]) -> str:
    from contextlib import closing

    from mmrl.contracts.engine import Request
    from mmrl.engines import open_engine
    from mmrl.recipe.engines import HFSettings
    from mmrl.recipe.rollout import SamplingConfig

    with closing(open_engine(HFSettings(batch_size=2), state["policy"])) as engine:
        answers = engine.generate([Request(state["prompt"])], SamplingConfig(max_new_tokens=4), seed=0)
    ((state["completion"],),) = answers
    return f"{len(state['completion'].tokens)} tokens"


def _gradient(state: dict[str, Any]) -> str:
    import torch

    from mmrl.contracts.types import PolicyBatch

    tokens = state["completion"].tokens[None]
    batch = PolicyBatch([state["prompt"]], torch.tensor([0]), tokens, torch.ones_like(tokens, dtype=torch.bool))
    state["policy"].log_probs(batch).log_probs_RU.sum().backward()
    norms = [p.grad.norm() for _, p, _ in state["policy"].trainable() if p.grad is not None]
    norm = float(torch.stack(norms).norm())
    if not 0 < norm < float("inf"):
        raise ArithmeticError(f"gradient norm {norm}")
    return f"norm {norm:.3g}"


SMOKE: dict[str, Callable[[dict[str, Any]], str]] = {
    "write a checkpoint": _write,
    "load it": _load,
    "prepare a prompt": _prepare,
    "sample": _sample,
    "gradient": _gradient,
}
