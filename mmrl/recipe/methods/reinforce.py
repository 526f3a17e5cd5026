"""Policy gradients with a baseline and no clip, or PPO's clip on advantages that are whitened over the batch."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import PPO, RL

# Z counts trajectories alone: the gradient of each one's whole log-prob, unscaled.
_WHOLE = {"from": "rollouts", "coefficient": {"kind": "one"}, "normalise": "constant", "max_units": 1}

REINFORCE: dict[str, Method] = {
    "reinforce": Method(
        source="REINFORCE (Williams 1992, doi 10.1007/BF00992696)",
        objective={"streams": {"rl": _WHOLE}, "advantage": {"baseline": "none", "scale": "none"}},
        notes="the reward itself, without a baseline; one update per rollout batch is meant: with several there is no "
        "ratio",
    ),
    "opo": Method(
        source="OPO's length-weighted baseline, as verl documents it",
        objective={"streams": {"rl": _WHOLE}, "advantage": {"baseline": "length_mean", "scale": "none"}},
        notes="sum_j l_j r_j / sum_j l_j is the baseline of least variance where the squared gradient of an answer "
        "grows with its length",
    ),
    "reinforce_pp": Method(
        source="REINFORCE++, arXiv 2501.03262, as verl has it",
        objective={
            "streams": {"rl": {**RL, "normalise": "token"}},
            "advantage": {"kind": "whitened", "baseline": "none"},
        },
        notes="with objective.kl: {weight: 0.01, kind: k1, place: reward} the KL of each token comes off the return of "
        "the tokens up to it",
    ),
    "reinforce_pp_baseline": Method(
        source="REINFORCE++ with the group's mean as baseline, arXiv 2501.03262, as verl has it",
        objective={
            "streams": {"rl": {**RL, "normalise": "token"}},
            "advantage": {"kind": "whitened", "baseline": "group_mean"},
        },
        notes="the deviation is that of the centred rewards over all tokens; ms-swift's is over answers",
    ),
    "t1": Method(
        source="the idea of T1, arXiv 2501.11651, from digests: RLOO, an entropy bonus, and a reference that moves",
        objective={
            "streams": {
                "rl": {**RL, "coefficient": {**PPO, "level": "decision"}, "normalise": "constant", "max_units": 1}
            },
            "advantage": {"baseline": "leave_one_out", "scale": "none"},
            "kl": {"weight": 0.01, "kind": "k1", "place": "reward", "decay": 0.99},
            "entropy": 0.001,
        },
        notes="the anchor of the KL follows the policy: 0.99 x itself + 0.01 x the policy after each step. All weights "
        "are choices here. Its oversampling is rollout.pool: {size: 16, keep: extremes}",
    ),
    "lite_ppo": Method(
        source="Lite PPO, arXiv 2508.08221, with TRL's settings of it",
        objective={
            "streams": {"rl": {**RL, "coefficient": PPO, "normalise": "token"}},
            "advantage": {"baseline": "group_mean", "scale": "batch_std"},
        },
        notes="the group's mean, the whole batch's deviation, the mean over all tokens",
    ),
}
