"""Policy gradients whose baseline is the group."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import PPO, RL

GROUP: dict[str, Method] = {
    "grpo": Method(
        source="DeepSeekMath, arXiv 2402.03300",
        objective={
            "streams": {"rl": {**RL, "normalise": "sequence"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="KL off by default; set objective.kl.weight (0.04 in the paper, k3) to add it",
    ),
    "dr_grpo": Method(
        source="Dr. GRPO, arXiv 2503.20783",
        objective={
            "streams": {"rl": {**RL, "normalise": "constant"}},
            "advantage": {"baseline": "group_mean", "scale": "none"},
        },
        notes="divides by trajectories x max_new_tokens, so length carries no bias",
    ),
    "dapo": Method(
        source="DAPO, arXiv 2503.14476",
        objective={
            "streams": {"rl": {**RL, "coefficient": {**PPO, "high": 0.28}, "normalise": "token"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
            "filter": {"low": 0.0, "high": 1.0, "rounds": 3},
            "reward_transforms": {"overlong": {"cache": 16}},
            "mask_truncated": False,
        },
        notes="set objective.reward_transforms.overlong.cache to about a fifth of rollout.max_new_tokens (4096 of "
        "20480 in the paper)",
    ),
    "gspo": Method(
        source="GSPO, arXiv 2507.18071",
        objective={
            "streams": {
                "rl": {
                    **RL,
                    "coefficient": {**PPO, "level": "mean", "low": 3e-4, "high": 4e-4},
                    "normalise": "sequence",
                }
            },
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="one ratio per answer, the geometric mean of its tokens', clipped in the paper's range; set minibatches "
        "of the stage (4 in the paper): with one update per rollout batch every ratio is 1",
    ),
    "reinforce_ada": Method(
        source="Reinforce-Ada, arXiv 2510.04996, as its code has it",
        objective={
            "streams": {"rl": {**RL, "coefficient": {**PPO, "high": 0.28}, "normalise": "token"}},
            "advantage": {"baseline": "pool_mean", "scale": "none"},
        },
        notes="the baseline is the mean of all answers that were sampled for a prompt, of which rollout.n are learned "
        "from. Set rollout: {n: 4, pool: {size: 32, round: 8, right: 2, wrong: 2}} for its balanced form, with right 1 "
        "and wrong 0 for its positive one; right is accuracy 1 here, a reward above 0.7 there",
    ),
    "riskpo": Method(
        source="RiskPO, as its code has it",
        objective={"streams": {"rl": {**RL, "normalise": "token"}}, "advantage": {"kind": "risk"}},
        notes="stage.prompts should be a multiple of objective.advantage.bundle. Quantiles, weights and credit are "
        "those of most of its scripts (high is 0.9 in one; another shares a paper's advantage out by what each answer "
        "earned above its group's mean); the paper's own score of a paper is not verified. No advantage is above 0: "
        "papers above the high quantile teach nothing",
    ),
    "rloo": Method(
        source="RLOO, arXiv 2402.14740",
        objective={
            # Z counts trajectories alone: the gradient of each one's whole log-prob, unscaled.
            "streams": {
                "rl": {
                    **RL,
                    "coefficient": {**PPO, "level": "decision"},
                    "normalise": "constant",
                    "max_units": 1,
                }
            },
            "advantage": {"baseline": "leave_one_out", "scale": "none"},
        },
        notes="REINFORCE with the mean reward of the group's other trajectories as baseline; the log-probs of a "
        "trajectory add up and are divided by nothing. Later updates of a rollout batch clip the ratio of the whole "
        "answer at 0.2, as TRL's RLOOTrainer does",
    ),
}
