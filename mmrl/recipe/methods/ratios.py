"""Policy gradients whose own is what they make of the ratio of new to old probabilities."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import PPO, RL

_STANDARD = {"baseline": "group_mean", "scale": "group_std"}

RATIOS: dict[str, Method] = {
    "cispo": Method(
        source="CISPO (MiniMax-M1), arXiv 2506.13585, with TRL's cap of 5",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "cispo", "low": 1.0, "high": 4.0}, "normalise": "token"}},
            "advantage": _STANDARD,
        },
        notes="min(r, 5): no token loses its gradient; verl and EasyVideoR1 clip on both sides, low and high 0.2",
    ),
    "gmpo": Method(
        source="GMPO, arXiv 2507.20673",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "gmpo", "log_range": 0.4}, "normalise": "sequence"}},
            "advantage": _STANDARD,
        },
        notes="the geometric mean of an answer's ratios, each bounded to e^0.4 where its advantage pushes to",
    ),
    "sapo": Method(
        source="SAPO, arXiv 2511.20347",
        objective={
            "streams": {
                "rl": {
                    **RL,
                    "coefficient": {"kind": "sapo", "positive": 1.0, "negative": 1.05},
                    "normalise": "sequence",
                }
            },
            "advantage": _STANDARD,
        },
    ),
    "minpro": Method(
        source="MinPRO, from a digest of the paper: the surrogate, not its bounds, which are PPO's here",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "minpro", "low": 0.2, "high": 0.2}, "normalise": "token"}},
            "advantage": _STANDARD,
        },
        notes="each ratio times the least ratio of the prefix before it, clipped and not differentiated",
    ),
    "nft": Method(
        source="NFT, arXiv 2505.18116, as its code has it but for the divisor",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "nft"}, "normalise": "constant"}},
            "advantage": {"kind": "signed", "weight": "failure"},
        },
        notes="likelihood of right answers, and of wrong ones under an implicit negative policy; for rewards of right "
        "or wrong, read from accuracy. Groups whose answers are all right or all wrong teach nothing. The code "
        "divides sums of tokens by 1000, here by max_new_tokens; streams.rl.coefficient.negative 0 is "
        "rejection-sampled fine-tuning",
    ),
    "scale_rl": Method(
        source="the loss of ScaleRL, arXiv 2510.13786, from summaries of the paper and TRL's settings of it",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "cispo", "low": 1.0, "high": 4.0}, "normalise": "prompt"}},
            "advantage": {"baseline": "group_mean", "scale": "batch_std"},
            "filter": {"low": 0.0, "high": 1.0, "rounds": 1},
        },
        notes="truncated importance sampling, each prompt's mean over its tokens, batch deviation, groups of one "
        "accuracy left out. Not in it: asynchronous rollouts, interruptions, leaving out prompts that are solved for "
        "good; r is to the trainer's old log-probs, in the paper to the generator's",
    ),
    "bapo": Method(
        source="BAPO, arXiv 2510.18927, as its code has it",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "bapo"}, "normalise": "token"}},
            "advantage": _STANDARD,
        },
        notes="ranges of the bounds and the target 0.5 are its README's, steps of 0.05 its script's. A digest of the "
        "paper has target 0.4 of positive over all contributions, each times the sampling probability, and moves "
        "c_high first. It costs a forward pass more per optimizer step",
    ),
    "two_sided_grpo": Method(
        source="INTELLECT-2's two-sided clip, arXiv 2505.07291, as TRL has it",
        objective={
            "streams": {"rl": {**RL, "coefficient": {**PPO, "dual": 4.0}, "normalise": "sequence"}},
            "advantage": _STANDARD,
        },
        notes="ratios above 4 have no gradient where the advantage is negative either; the paper adds a KL of 0.001",
    ),
    "degrpo": Method(
        source="DeGRPO (Thinkless), arXiv 2505.13379",
        objective={
            "streams": {"rl": {**RL, "weights": {"first_unit": {"weight": 1e-3}}, "normalise": "sequence"}},
            "advantage": _STANDARD,
        },
        notes="an answer is 0.001 x its first token, which says whether it thinks, plus the mean of the others; its "
        "code means over the tokens of a micro-batch. Its rewards are 1 for a short right answer, 0.5 for a long one, "
        "-1 for a wrong one: the recipe's business, as is an SFT stage that teaches the two control tokens",
    ),
    "aepo": Method(
        source="the idea of AEPO (QwenLong-L1.5), from an abstract: negatives under the entropy's control",
        objective={
            "streams": {"rl": {**RL, "normalise": "token"}},
            "advantage": _STANDARD,
            "advantage_transforms": {"sign_scale": {"negative": 1.0}},
            "controllers": {
                "entropy_gate": {"key": "advantage_transforms.sign_scale.negative", "high": 1.0, "low": 0.5}
            },
        },
        notes="negative advantages are left out while the policy's entropy is above 1 nat, until it is below 0.5; the "
        "paper's bounds are not verified: set them by policy/entropy of a run of grpo",
    ),
    "high_entropy": Method(
        source="the 80/20 rule, arXiv 2506.01939: the policy gradient of the least sure fifth of the tokens",
        objective={
            "streams": {
                "rl": {
                    **RL,
                    "coefficient": {**PPO, "high": 0.28},
                    "weights": {"top_entropy": {"share": 0.2}},
                    "normalise": "token",
                }
            },
            "advantage": _STANDARD,
        },
        notes="the mean stays over all tokens, as in TRL; the share is of the whole optimizer step's tokens, in TRL of "
        "a micro-batch's. It costs a forward pass more per optimizer step. The paper runs it on dapo",
    ),
}
