"""The cases of the check: a method, what a recipe overrides, and the published loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmarks.methods import companions as c
from benchmarks.methods import mixed as m
from benchmarks.methods import parts as r
from benchmarks.methods import preferences as q
from benchmarks.methods import published as p
from benchmarks.methods.plain import Step

Loss = Callable[[Step], Tensor]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: the method's, and after a colon what is overridden.
        method: in the recipe.
        loss: the published one, to be minimised.
        objective: overrides of the method's objective.
        critic: with a value head.
        step: of the stage, for schedules.
    """

    name: str
    method: str
    loss: Loss
    objective: Mapping[str, Any] = field(default_factory=dict)
    critic: bool = False
    step: int = 0


def _of(method: str, loss: Loss, about: str = "", **further: Any) -> Case:
    return Case(f"{method}: {about}" if about else method, method, loss, **further)


def _rl(**coefficient: Any) -> dict[str, Any]:
    return {"streams": {"rl": {"coefficient": coefficient}}}


def _kl(kind: str, **further: Any) -> dict[str, Any]:
    return {"weight": 0.3, "kind": kind, **further}


def _weights(**weights: Any) -> dict[str, Any]:
    return {"streams": {"rl": {"weights": weights}}}


CASES: tuple[Case, ...] = (
    # Maximum likelihood.
    _of("sft", p.sft),
    _of("dft", p.dft),
    _of("f_alpha", p.f_alpha),
    _of("filtered_bc", p.filtered_bc),
    # Policy gradients.
    _of("grpo", p.grpo),
    _of("dr_grpo", p.dr_grpo),
    _of("dapo", p.dapo, objective={"reward_transforms": {"overlong": {"cache": 3}}}),
    _of("gspo", p.gspo, objective=_rl(low=0.02, high=0.03)),
    _of("reinforce_ada", p.reinforce_ada),
    _of("riskpo", p.riskpo, objective={"advantage": {"bundle": 2}}),
    _of("rloo", p.rloo),
    _of("ppo", p.ppo, critic=True),
    _of("reinforce", p.reinforce),
    _of("opo", p.opo),
    _of("reinforce_pp", p.reinforce_pp),
    _of("reinforce_pp", p.reinforce_pp_with_kl, "k1 in reward", objective={"kl": _kl("k1", place="reward")}),
    _of("reinforce_pp_baseline", p.reinforce_pp_baseline),
    _of("lite_ppo", p.lite_ppo),
    _of("cispo", p.cispo),
    _of("cispo", p.cispo_two_sided, "two-sided", objective=_rl(low=0.2, high=0.2)),
    _of("gmpo", p.gmpo, objective=_rl(log_range=0.1)),
    _of("sapo", p.sapo),
    _of("minpro", p.minpro),
    _of("nft", p.nft),
    _of("scale_rl", p.scale_rl),
    _of("two_sided_grpo", p.two_sided_grpo, objective=_rl(dual=1.25)),
    _of("high_entropy", p.high_entropy),
    _of("degrpo", p.degrpo),
    _of("aepo", p.grpo_by_token),
    _of("aepo", p.positives_alone, "while the entropy is high",
        objective={"advantage_transforms": {"sign_scale": {"negative": 0.0}}}),
    _of("t1", r.t1),
    _of("bapo", p.bapo),
    _of("bapo", p.bapo_moved, "target 3", objective=_rl(target=3.0, low=0.97, low_most=0.99, low_step=0.01, high=1.01,
                                                       high_most=1.05, high_step=0.02)),
    # Between supervised and reinforcement learning.
    *(_of("chord_mu", m.chord_mu(step), f"step {step}", step=step) for step in (0, 60, 300)),
    _of("chord_phi", m.chord_phi),
    _of("co_train", m.co_train),
    _of("ink_grpo", m.ink_grpo),
    _of("offline_mix", m.offline_mix),
    _of("luffy", m.luffy),
    _of("rl_plus", m.rl_plus),
    _of("prefix_rft", m.prefix_rft),
    _of("visurf", m.visurf, objective={"reward_transforms": {"ground_truth": {"without": {"format": 0.2}}}}),
    _of("hpt", m.hpt),
    _of("sasr", p.sft, "a supervised step", objective={"streams": {"rl": {"weight": 0.0}}}),
    _of("sasr", p.grpo, "a step of RL", objective={"streams": {"demo": {"weight": 0.0}}}),
    _of("relift", m.relift, objective={"buffer": {"size": 1}}),
    _of("sft", m.srft_demonstrations, "SRFT's weight",
        objective={"streams": {"demo": {"weights": {"entropy_scale": {}}}}}),
    # Preferences.
    _of("dpo", q.dpo),
    _of("dpo", q.dpo_with(smoothing=0.1), "label smoothing 0.1",
        objective={"streams": {"preferred": {"coefficient": {"smoothing": 0.1}}}}),
    _of("dpo", q.dpo_to_teacher, "held to a companion",
        objective={"streams": {"preferred": {"coefficient": {"to": "teacher"}}}}),
    _of("step_dpo", q.dpo),
    _of("ipo", q.ipo),
    _of("slic", q.slic, objective={"streams": {"preferred": {"coefficient": {"beta": 1.5}}}}),
    _of("dpo_sft", q.dpo_sft),
    _of("mpo", q.mpo),
    _of("online_dpo", q.online_dpo),
    _of("copg", q.copg),
    _of("adpo", q.adpo),
    # Beside other policies.
    _of("asft", c.asft),
    _of("superhf", c.superhf),
    *(_of("dph", c.dph(form), form, objective={"streams": {"demo": {"coefficient": {"form": form}}}})
      for form in ("forward", "js", "alpha")),
    _of("pear", c.pear("suffix")),
    _of("pear", c.pear("sequence", (0.9, 1.05)), "whole answers",
        objective={"streams": {"demo": {"coefficient": {"form": "sequence", "low": 0.9, "high": 1.05}}}}),
    _of("kdrl", c.kdrl),
    _of("rlad", c.rlad),
    *(_of("sft", c.sft_beside(form), f"{form} divergence to a companion",
          objective={"auxiliary_terms": {"divergence": {"to": "teacher", "form": form, "weight": 0.2}}})
      for form in ("forward", "reverse", "js")),
    _of("grpo", c.grpo_beside, "divergence to the reference",
        objective={"auxiliary_terms": {"divergence": {"form": "js", "weight": 0.2}}}),
    *(_of("grpo", c.kl_to_teacher(kind), f"{kind} to a companion in loss", objective={"kl": _kl(kind, to="teacher")})
      for kind in ("k1", "k2", "k3")),
    _of("dr_grpo", c.kl_to_teacher_in_reward, "k1 to a companion in reward",
        objective={"kl": _kl("k1", to="teacher", place="reward")}),
    # Parts for any of them.
    *(
        _of("grpo", r.kl_in_loss(kind, weighted, 0.3), f"{kind}{' x ratio' if weighted else ''} in loss",
            objective={"kl": _kl(kind, ratio_weighted=weighted)})
        for kind in ("k1", "k2", "k3") for weighted in (False, True)
    ),
    _of("rloo", r.kl_in_reward, "k1 in reward", objective={"kl": _kl("k1", place="reward")}),
    _of("grpo", r.entropy_bonus, "entropy bonus", objective={"entropy": 0.05}),
    *(
        _of("grpo", r.importance_sampled(level, form, low, high), f"{form} rho per {level}",
            objective=_weights(behaviour={"level": level, "form": form, "low": low, "high": high}))
        for level, low, high in (("unit", 0.9, 1.1), ("decision", 0.9, 1.1), ("mean", 0.95, 1.05))
        for form in ("truncate", "mask", "drop")
    ),
    _of("grpo", r.importance_sampled("unit", "truncate", 0.0, 1.1), "mismatch truncate",
        objective={"mismatch": {"kind": "truncate", "cap": 1.1}}),
    _of("grpo", r.sequence_masked, "off-policy sequence mask", objective=_weights(sequence_mask={"threshold": 0.02})),
    _of("dr_grpo", r.truncated_masked, "mask_truncated", objective={"mask_truncated": True}),
    _of("grpo", r.difficulty, "difficulty", objective={"advantage_transforms": {"difficulty": {}}}),
    _of("grpo", r.sign_scaled, "half of the negative",
        objective={"advantage_transforms": {"sign_scale": {"negative": 0.5}}}),
    _of("grpo", r.scaled_by_success, "negative scaled by success",
        objective={"advantage_transforms": {"success_scale": {"low": 0.3, "power": 2.0}}}),
    _of("grpo", r.gdpo, "gdpo",
        objective={"advantage": {"kind": "gdpo", "weights": {"accuracy": 1.0, "format": 0.2}}}),
)  # fmt: skip
