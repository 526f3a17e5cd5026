"""`mmrl gap`: how far an engine's log-probs are from the trainer's, by modality, dtype and engine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from contextlib import closing
from typing import Any

from mmrl.contracts.errors import UserError, unknown

SHOWS = ("text", "image", "video")
TOKENS = 16
DTYPES = ("float32", "bfloat16")


def add_arguments(parser: ArgumentParser) -> None:
    """The checkpoint, and what is compared."""
    parser.add_argument("model", metavar="MODEL", help="folder or hub name of a checkpoint, or a run")
    parser.add_argument("--engine", metavar="NAME", action="append", help="may be repeated; default: hf")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="may be repeated; default: float32")
    parser.add_argument(
        "--shows", metavar="KIND", action="append", help="text, image or video; may be repeated; default: all of them"
    )


def run(args: Namespace) -> int:
    """Prints a line for each engine and dtype; 1 where a gap is above what rounding makes."""
    from mmrl.recipe.engine_settings import ROUNDING
    from mmrl.recipe.engines import engine_model

    shows = args.shows or list(SHOWS)
    for kind in shows:
        if kind not in SHOWS:
            raise UserError(f"--shows: {unknown('modality', kind, SHOWS)}")
    engines = [engine_model(name)(name=name) for name in args.engine or ["hf"]]
    for engine in engines:
        engine.check_installed()
    # Loads torch, which nothing above needs.
    from mmrl.engines.probes import beyond

    print(f"largest |engine log-prob - trainer log-prob| over {TOKENS} sampled tokens, in nats")
    print(f"{'engine':8}{'dtype':10}" + "".join(f"{kind:>10}" for kind in shows))
    within = True
    for dtype in args.dtype or ["float32"]:
        for engine in engines:
            gaps = measure(args.model, engine, dtype, shows)
            above = beyond(gaps, ROUNDING[dtype])
            within = within and not above
            note = f"   above {ROUNDING[dtype]:g}: {', '.join(above)}" if above else ""
            print(f"{engine.name:8}{dtype:10}" + "".join(f"{gap:10.2g}" for gap in gaps.values()) + note, flush=True)
    return 0 if within else 1


def measure(model: str, engine: Any, dtype: str, shows: list[str]) -> dict[str, float]:
    """The gap on a fixed prompt of each kind.

    Args:
        engine: the engine's settings.
    """
    from mmrl.engines import open_engine
    from mmrl.engines.probes import Probes
    from mmrl.evaluation.suite.opening import policy_type
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.engines import ENGINES, check_engine
    from mmrl.recipe.policies.registry import policy_settings

    kind = policy_type(model)
    check_engine(engine, kind)
    if ENGINES.get("hf").samples - engine.samples:
        raise UserError(f"--engine: '{engine.name}' samples no tokens, which are what is compared")
    policy = load_policy(policy_settings(type=kind, path=model, dtype=dtype))
    probes = Probes(policy, shows, TOKENS)
    with closing(open_engine(engine, policy)) as opened:
        return probes.gaps(policy, lambda requests: opened.generate(requests, probes.sampling, 0))
