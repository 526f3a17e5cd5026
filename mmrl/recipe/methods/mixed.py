"""SFT and RL in one run: side by side, prompt by prompt, or one after the other."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import PPO, RL, SFT

MIXED: dict[str, Method] = {
    "co_train": Method(
        source="RLinf-Co: RL plus 0.2 x the policy's supervised loss on demonstrations",
        objective={
            "demonstrations": True,
            "streams": {"rl": {**RL, "normalise": "sequence"}, "demo": {**SFT, "weight": 0.2}},
        },
        notes="with a critic: objective.advantage and objective.value as ppo has them",
    ),
    "chord_mu": Method(
        source="CHORD, arXiv 2508.11408",
        objective={
            "demonstrations": True,
            "streams": {
                "rl": {**RL, "normalise": "token", "complement_of": "demo"},
                "demo": {**SFT, "weight": {"start": 0.9, "peak": 0.9, "valley": 0.05, "warmup": 0, "decay": 200}},
            },
        },
        notes="L = (1 - mu) L_GRPO + mu L_SFT; both streams are global token means, so batch size does not shift mu",
    ),
    "chord_phi": Method(
        source="CHORD with token weights, arXiv 2508.11408",
        objective={
            "demonstrations": True,
            "streams": {
                "rl": {**RL, "normalise": "token", "complement_of": "demo"},
                "demo": {**SFT, "coefficient": {"kind": "chord_phi"}, "weight": 0.1},
            },
        },
        notes="mu is constant, 0.1, and demonstrations weigh by p (1 - p); Trinity-RFT's example has another schedule "
        "(peak 0.5, valley 0.02, warm-up 200, decay 400) and normalises by counts of rows",
    ),
    "luffy": Method(
        source="LUFFY, arXiv 2504.14945, as its code has it",
        objective={
            "inject": {},
            "streams": {
                "rl": {**RL, "coefficient": {"kind": "importance"}, "normalise": "sum"},
                "demo": {
                    "from": "injected",
                    "coefficient": {"kind": "luffy", "gamma": 0.1},
                    "normalise": "sum",
                    "terms": ["entropy"],
                },
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
            "entropy": 0.001,
        },
        notes="one demonstration in each group (of 8 in the paper); its tokens weigh by the gradient of p / (p + 0.1), "
        "the others by r without a clip; the code divides sums by the longest answer alone, and has no deviation",
    ),
    "rl_plus": Method(
        source="RL-PLUS, arXiv 2508.00222, as its code has it",
        objective={
            "inject": {},
            "streams": {
                "rl": {**RL, "coefficient": {"kind": "importance"}, "normalise": "sum"},
                "demo": {"from": "injected", "coefficient": {"kind": "rl_plus", "gamma": 0.5}, "normalise": "sum"},
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
        },
        notes="one demonstration in each group; its ratio is to the mean of the old policy and a uniform one, and rare "
        "tokens count more; the paper's own omega and gamma are not verified",
    ),
    "prefix_rft": Method(
        source="Prefix-RFT, arXiv 2507.01679, as its code means it",
        objective={
            "streams": {"rl": {**RL, "normalise": "constant"}},
            "advantage": {"baseline": "plain_mean", "scale": "none"},
        },
        notes="one answer of each group continues a prefix of the demonstration: set rollout.context: {name: prefix, "
        "share: 0.125} with rollout.n 8. Its advantage, on what it adds and on the fifth of the prefix that the policy "
        "was least sure of, is its reward minus the mean of the other answers; in the code a lone continuation has its "
        "bare reward on what it adds. The least sure are those of each prefix, there of a micro-batch",
    ),
    "visurf": Method(
        source="ViSurf, arXiv 2510.10606, from a digest of the paper",
        objective={
            "inject": {"place": "append"},
            "reward_transforms": {"ground_truth": {}},
            "streams": {"rl": {**RL, "normalise": "sequence"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="the ground truth is one more answer of each group. Its reward controls: write demonstrations as the "
        "policy would (the data's business); `ground_truth.without: {format: weight}` takes off its reward for a form "
        "that it cannot show; where an answer is as good, its reward becomes the answers' mean, and it teaches nothing",
    ),
    "kdrl": Method(
        source="KDRL, arXiv 2506.02208, from digests of the paper",
        objective={
            "streams": {"rl": {**RL, "normalise": "token"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
            "kl": {"to": "teacher", "kind": "k2", "weight": 0.005},
            "controllers": {"anneal": {"key": "kl.weight", "start": 0.005, "end": 0.001, "steps": 200}},
        },
        notes="GRPO by token mean minus 0.005 to 0.001 x KL to a teacher, whose k2 estimate has the reverse KL's "
        "gradient on policy. Needs companions: {teacher: {path: …}}. How many steps the weight falls over is not "
        "verified; nor is leaving out answers that are right, which is not in it",
    ),
    "dph": Method(
        source="DPH-RL, arXiv 2509.07430, as its code has it",
        objective={
            "demonstrations": True,
            "streams": {
                "rl": {**RL, "coefficient": {**PPO, "high": 0.28}, "normalise": "token"},
                "demo": {
                    "from": "demonstrations",
                    "coefficient": {"kind": "rehearsal", "form": "forward"},
                    "weight": 0.01,
                    "normalise": "token",
                },
            },
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="demonstrations are answers of the initial policy to prompts that it solves nearly always: write them by "
        "mmrl generate with the rules pass_rate and right, and leave these prompts out of the groups, as the paper "
        "does. form js and alpha are its other divergences. It costs a forward pass of the reference",
    ),
    "rlad": Method(
        source="the idea of RLAD, arXiv 2602.22495, from its abstract: a likelihood-ratio objective anchored to a "
        "mixture of teacher and old policy",
        objective={
            "streams": {
                "rl": {
                    **RL,
                    "coefficient": {"kind": "anchored_clip", "to": "teacher", "share": 0.5, "low": 0.2, "high": 0.2},
                    "normalise": "token",
                }
            },
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="the ratio is to pi_old^0.5 pi_teacher^0.5: a token that the teacher finds likelier has further to rise "
        "where A > 0, and is left alone where A < 0; one that it finds less likely the other way round. That the "
        "mixture is geometric, its share and the clip are choices here, not the paper's. Needs companions: {teacher: "
        "{path: …}}",
    ),
    "ink_grpo": Method(
        source="InK-GRPO (typhoon-s), as its code has it",
        objective={
            "demonstrations": True,
            "streams": {
                "rl": {**RL, "coefficient": {**PPO, "high": 0.24}, "normalise": "sequence"},
                "demo": {**SFT, "weight": 0.1},
            },
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
            "controllers": {"chance": {"key": "streams.demo.weight", "probability": 0.6}},
        },
        notes="text of the domain is learned beside RL in six of ten steps; the code draws for each mini-batch. Give "
        "the text as demonstrations of a dataset with use: demonstrations; here it follows a prompt, there it has none",
    ),
    "offline_mix": Method(
        source="EasyVideoR1's mixed offline-online groups, with its clip of 0.2 and 0.3, dual clip of 3 and token mean",
        objective={
            "inject": {},
            "streams": {"rl": {**RL, "coefficient": {**PPO, "high": 0.3, "dual": 3.0}, "normalise": "token"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="set objective.inject.below to replace in failing groups only; demonstrations end with their end token",
    ),
    "hpt": Method(
        source="HPT (Unify-Post-Training), arXiv 2509.04419",
        objective={
            "gate": {"solved": 0},
            "streams": {
                "rl": {**RL, "coefficient": {"kind": "importance"}, "normalise": "sum"},
                "demo": {**SFT, "terms": ["entropy"]},
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
            "entropy": 0.001,
        },
        notes="prompts that no rollout solves become supervised; the gate reads accuracy. Weights are those of the "
        "published code where one micro-batch holds the optimizer step (there they change with the micro-batch): the "
        "sum of r A over all units / max_new_tokens, plus streams.demo.weight (1; 0.3 in its 1.5B script) x the token "
        "mean over demonstrations. A demonstration so weighs more than the group it stands for, and RL by how many "
        "groups there are; with `per_prompt: true` in both streams (rl `constant`, demo `sequence`) every prompt "
        "weighs alike. The script clips the gradient's norm at 80, not at 1",
    ),
    "sasr": Method(
        source="the idea of SASR, arXiv 2505.13026: each step is one of SFT or of GRPO, drawn by the norm of SFT's "
        "gradient",
        objective={
            "demonstrations": True,
            "streams": {"rl": {**RL, "normalise": "sequence"}, "demo": SFT},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
            "controllers": {"switch": {"warmup": 100, "gamma": 1.0}},
        },
        notes="100 steps of SFT, then SFT with probability G / (G + gamma G_w), G the gradient's norm in the last step "
        "of SFT and G_w in the last one of the warm-up; its exact expression and gamma are not verified. Rollouts are "
        "sampled in every step; where the warm-up is long, a stage of sft before is cheaper, with controllers.switch."
        "warmup 1",
    ),
    "relift": Method(
        source="ReLIFT, arXiv 2506.07527, as its code has it but for the second optimizer",
        objective={
            "buffer": {"solved": 0, "size": 128},
            "streams": {
                "rl": {**RL, "normalise": "sum", "terms": ["kl", "mismatch"]},
                "demo": {**SFT, "terms": ["entropy"]},
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
            "entropy": 0.001,
        },
        notes="prompts that no rollout solves wait, and once 128 do, the demonstrations of the newest 128 are learned "
        "beside RL, in the same optimizer steps; the code learns them after the RL update, with an AdamW of their own "
        "at the same learning rate. Lower objective.buffer.size with few prompts per step. That RL clips at 0.2 is a "
        "choice here; the script clips the gradient's norm at 0.7",
    ),
    "sft_then_rl": Method(
        source="the honest baseline: SFT, then GRPO (arXiv 2604.23747 argues for it)",
        stages=(("sft", "sft", 0.5), ("rl", "grpo", 0.5)),
    ),
}
