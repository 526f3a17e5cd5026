"""Engines as a run has them: made from settings, started on a policy."""

from mmrl.contracts.engine import Request
from mmrl.contracts.world import ALONE
from mmrl.engines import open_engine
from mmrl.engines.hf import HFEngine
from mmrl.recipe.engines import FlowSettings, FrameSettings, HFSettings
from mmrl.recipe.policies.registry import entry_of


def hf(policy, batch_size: int = 256, side: str = "right", **settings) -> HFEngine:
    """The `hf` engine of a policy."""
    engine = HFEngine(HFSettings(batch_size=batch_size, **settings), side)
    engine.start(policy, ALONE)
    return engine


def flow(policy, batch_size: int = 256):
    """The `flow` engine of a flow policy."""
    return open_engine(FlowSettings(batch_size=batch_size), policy)


def frames(policy, batch_size: int = 256):
    """The `frames` engine of a frame selector."""
    return open_engine(FrameSettings(batch_size=batch_size), policy)


def own(policy, batch_size: int = 256):
    """The engine that a recipe with this policy gets."""
    name = entry_of(policy.config.type).engine or "hf"
    return {"hf": hf, "flow": flow, "frames": frames}[name](policy, batch_size)


def generate(engine, prompts, sampling, n: int = 1, seed: int = 0, restrict: str | None = None):
    """n completions of each prompt."""
    return engine.generate([Request(prompt, n, restrict) for prompt in prompts], sampling, seed)
