"""Published methods as named settings of the objective. Adding one is one entry here.

Each entry names its source; `docs/methods.md` is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.advantages import ADVANTAGES, Advantage
from mmrl.recipe.coefficients import COEFFICIENTS, Coefficient
from mmrl.recipe.objective import Objective
from mmrl.recipe.parts import Part, part_of
from mmrl.recipe.reading import merge, validate
from mmrl.recipe.registry import Registry


@dataclass(frozen=True)
class Method:
    """A method: its objective (or its stages, each a name, a method and a share of the steps) and its source.

    `params` are the `policy.params` of a flow policy that the method stands for; a recipe with others is refused.
    """

    source: str
    objective: Mapping[str, Any] | None = None
    stages: tuple[tuple[str, str, float], ...] = ()
    notes: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """One line, for `mmrl list`."""
        return self.source


_PPO = {"kind": "ppo_clip", "low": 0.2, "high": 0.2}
_RL = {"from": "rollouts", "coefficient": _PPO}
_SFT = {"from": "demonstrations", "coefficient": {"kind": "one"}, "normalise": "token"}

# The chunk is the unit: its log-probs add up to one ratio, and it has one value.
_PI_RL = {
    "streams": {"rl": {**_RL, "coefficient": {**_PPO, "level": "decision"}, "normalise": "decision"}},
    "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
    "value": {"weight": 1.0, "clip": 0.2, "huber": 10.0},
}

_TABLE: dict[str, Method | str] = {
    "sft": Method(
        source="maximum likelihood on demonstrations, mean over the tokens of the whole optimizer step",
        objective={"rollouts": False, "demonstrations": True, "streams": {"demo": _SFT}},
    ),
    "grpo": Method(
        source="DeepSeekMath, arXiv 2402.03300",
        objective={
            "streams": {"rl": {**_RL, "normalise": "sequence"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="KL off by default; set objective.kl.weight (0.04 in the paper, k3) to add it",
    ),
    "dr_grpo": Method(
        source="Dr. GRPO, arXiv 2503.20783",
        objective={
            "streams": {"rl": {**_RL, "normalise": "constant"}},
            "advantage": {"baseline": "group_mean", "scale": "none"},
        },
        notes="divides by trajectories x max_new_tokens, so length carries no bias",
    ),
    "dapo": Method(
        source="DAPO, arXiv 2503.14476",
        objective={
            "streams": {"rl": {**_RL, "coefficient": {**_PPO, "high": 0.28}, "normalise": "token"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
            "filter": {"low": 0.0, "high": 1.0, "rounds": 3},
            "reward_transforms": {"overlong": {"cache": 16}},
            "mask_truncated": False,
        },
        notes="set objective.reward_transforms.overlong.cache to about a fifth of rollout.max_new_tokens (4096 of "
        "20480 in the paper)",
    ),
    "ppo": Method(
        source="PPO, arXiv 1707.06347, with GAE, arXiv 1506.02438; settings of RLinf's embodied PPO",
        objective={
            "streams": {"rl": {**_RL, "normalise": "token"}},
            "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
            "value": {"weight": 1.0, "clip": 0.2, "huber": 10.0},
        },
        notes="needs policy.value_head; set minibatches and epochs of the stage for several updates per rollout batch",
    ),
    "co_train": Method(
        source="RLinf-Co: RL plus 0.2 x the policy's supervised loss on demonstrations",
        objective={
            "demonstrations": True,
            "streams": {"rl": {**_RL, "normalise": "sequence"}, "demo": {**_SFT, "weight": 0.2}},
        },
        notes="with a critic: objective.advantage and objective.value as ppo has them",
    ),
    "filtered_bc": Method(
        source="filtered behaviour cloning: maximum likelihood on the policy's own successes",
        objective={
            "streams": {"rl": {**_RL, "coefficient": {"kind": "one"}, "normalise": "token"}},
            "advantage": {"baseline": "none", "scale": "none", "of": "accuracy"},
        },
        notes="an answer or episode weighs by its accuracy: 1 for a success, 0 for a failure",
    ),
    "chord_mu": Method(
        source="CHORD, arXiv 2508.11408",
        objective={
            "demonstrations": True,
            "streams": {
                "rl": {**_RL, "normalise": "token", "complement_of": "demo"},
                "demo": {**_SFT, "weight": {"start": 0.9, "peak": 0.9, "valley": 0.05, "warmup": 0, "decay": 200}},
            },
        },
        notes="L = (1 - mu) L_GRPO + mu L_SFT; both streams are global token means, so batch size does not shift mu",
    ),
    "offline_mix": Method(
        source="EasyVideoR1's mixed offline-online groups",
        objective={
            "inject": {},
            "streams": {"rl": {**_RL, "normalise": "sequence"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="set objective.inject.below to replace in failing groups only; demonstrations end with their end token",
    ),
    "pi_rl_sde": Method(
        source="pi_RL, arXiv 2510.25889, Flow-SDE: PPO on one noisy denoising step per decision",
        objective=_PI_RL,
        params={"sampler": "sde", "trained": "one"},
        notes="for flow policies with policy.value_head; policy.params: {sampler: sde, trained: one}",
    ),
    "pi_rl_noise": Method(
        source="pi_RL, arXiv 2510.25889, Flow-Noise: PPO on all denoising steps, with learned noise",
        objective={**_PI_RL, "entropy": 0.005},
        params={"sampler": "noise", "trained": "all"},
        notes="for flow policies with policy.value_head; policy.params: {sampler: noise, trained: all}",
    ),
    "chunked_awr": Method(
        source="advantage-weighted regression, arXiv 1910.00177, on chunks of actions: offline RL in the manner of "
        "CO-RFT, arXiv 2508.02219",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "offline": {"weight": "exp", "temperature": 1.0, "cap": 20.0},
            "streams": {"demo": _SFT},
            "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
            "value": {"weight": 1.0, "clip": None, "huber": 10.0},
        },
        notes="of CO-RFT it has what the loss can express: rewarded demonstrations, no rollouts, temporal "
        "differences over whole chunks, after a stage of `sft`. It is not CO-RFT: the critic is a state value V and "
        "no Q-function, so there is no Q-value of a chunk's prefixes, no Cal-QL term and no TD3 gradient through Q. "
        "The weights keep the policy near the data instead, and it cannot prefer actions that no demonstration "
        "shows. Needs policy.value_head, and demonstrations of type episodes or, recorded, with `draw: episodes`",
    ),
    "dagger": Method(
        source="DAgger, arXiv 1011.0686, by the simulator's expert; with takeover as HG-DAgger, arXiv 1810.02890",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "relabel": {},
            "streams": {"demo": _SFT},
        },
        notes="for episodes of one action per decision",
    ),
    "hpt": Method(
        source="HPT (Unify-Post-Training), arXiv 2509.04419",
        objective={
            "gate": {"solved": 0},
            "streams": {
                "rl": {**_RL, "coefficient": {"kind": "one"}, "normalise": "constant", "per_prompt": True},
                "demo": {**_SFT, "normalise": "sequence", "per_prompt": True},
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
            "entropy": 0.001,
        },
        notes="prompts that no rollout solves become supervised, each weighing as its group; the gate reads accuracy",
    ),
    "sft_then_rl": Method(
        source="the honest baseline: SFT, then GRPO (arXiv 2604.23747 argues for it)",
        stages=(("sft", "sft", 0.5), ("rl", "grpo", 0.5)),
    ),
}


METHODS: Registry[Method] = Registry("method", _TABLE)


def method(name: str) -> Method:
    """The method of a name. Raises ConfigError with the nearest spelling, or where something else stands there."""
    entry = METHODS.get(name, "method" if ":" in name else "")
    if not isinstance(entry, Method):
        raise ConfigError(f"method: '{name}' is a {type(entry).__name__}, and a Method of {__name__} is needed")
    return entry


def staged(name: Any) -> tuple[tuple[str, str, float], ...]:
    """The stages of a method that is a sequence of methods; empty for any other name."""
    return method(name).stages if isinstance(name, str) and name in METHODS else ()


def whole_objective(name: str, overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The method's objective with a recipe's overrides, as plain values; one that is written out stays as it is.

    Raises:
        ConfigError: no such method, one that is no objective, or an objective written out for another method.
    """
    written = overrides.get("method")
    if written is not None:
        if written != name:
            raise ConfigError(
                f"method '{name}' has an objective that is written out for method '{written}'; set objective: {{}} to "
                f"take that of '{name}', or restore the method"
            )
        return overrides
    entry = method(name)
    if entry.objective is None:
        raise ConfigError(f"method '{name}' is a sequence of stages; use it at the top of a recipe, not inside a stage")
    table = {**_fitting(entry.objective, overrides), "method": name, "params": entry.params}
    return merge(table, {**overrides, "method": name})


def resolve_objective(name: str, overrides: Mapping[str, Any]) -> Objective:
    """`whole_objective`, checked. Raises ConfigError on unknown names, keys and values."""
    return validate(Objective, whole_objective(name, overrides), place="objective")


def _fitting(objective: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The method's objective, its parts without the parameters that the kind in the overrides does not have."""
    streams = dict(objective["streams"])
    changed = overrides.get("streams")
    for name, stream in changed.items() if isinstance(changed, Mapping) else ():
        own = streams.get(name, {}).get("coefficient", {})
        if own and isinstance(stream, Mapping):
            place = f"objective.streams.{name}.coefficient.kind"
            fitting = _of_kind(own, stream.get("coefficient"), COEFFICIENTS, Coefficient, place)
            streams[name] = {**streams[name], "coefficient": fitting}
    own = {"kind": "standard", **objective.get("advantage", {})}
    advantage = _of_kind(own, overrides.get("advantage"), ADVANTAGES, Advantage, "objective.advantage.kind")
    return {**objective, "streams": streams, "advantage": advantage}


def _of_kind(own: Mapping[str, Any], given: Any, registry: Registry, expected: type[Part], place: str) -> Any:
    """What stays of a method's `own` parameters beside those `given`, which may be of another kind."""
    kind = given.get("kind", own["kind"]) if isinstance(given, Mapping) else own["kind"]
    if not isinstance(kind, str) or kind == own["kind"] or kind not in registry:
        return own
    known = part_of(registry, kind, expected, place).settings.model_fields
    return {key: value for key, value in own.items() if key in known}
