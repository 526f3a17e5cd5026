"""Learning from which of several answers is better: pairs of the data, or the policy's own groups."""

from __future__ import annotations

from typing import Any

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import SFT


def _on_pairs(**coefficient: Any) -> dict[str, Any]:
    pairs = {"from": "pairs", "coefficient": {"kind": "preference", **coefficient}, "normalise": "group"}
    return {"rollouts": False, "demonstrations": True, "pairs": True, "streams": {"preferred": pairs}}


_COST = "needs rows with a rejected answer. It costs a forward pass more per optimizer step, of both answers"

PREFERENCE: dict[str, Method] = {
    "dpo": Method(
        source="DPO, arXiv 2305.18290",
        objective=_on_pairs(loss="sigmoid", beta=0.1),
        notes=f"the reference is the policy at the start of the stage; {_COST}",
    ),
    "step_dpo": Method(
        source="Step-DPO, arXiv 2406.18629: DPO on the first step that differs",
        objective=_on_pairs(loss="sigmoid", beta=0.1),
        notes="write each pair as the shared right steps and then the right or the wrong one: what both answers begin "
        f"with falls out of the margin and out of its gradient. beta is 0.4 to 0.5 in its scripts; {_COST}",
    ),
    "ipo": Method(
        source="IPO, arXiv 2310.12036, with the mean over an answer's tokens as TRL has it",
        objective=_on_pairs(loss="square", beta=0.1, mean=True),
        notes=_COST,
    ),
    "slic": Method(
        source="SLiC-HF's hinge, arXiv 2305.10425, on log-ratios as TRL has it",
        objective=_on_pairs(loss="hinge", beta=0.1),
        notes=_COST,
    ),
    "dpo_sft": Method(
        source="DPO plus the likelihood of the chosen answer, as in iterative reasoning preference optimization, arXiv "
        "2404.19733, whose likelihood is averaged over answers",
        objective={
            **_on_pairs(loss="sigmoid", beta=0.1),
            "streams": {**_on_pairs(loss="sigmoid", beta=0.1)["streams"], "sft": {**SFT, "normalise": "sequence"}},
        },
        notes=_COST,
    ),
    "mpo": Method(
        source="mixed preference optimization with TRL's weights: 0.8 DPO, 0.2 BCO, 1 likelihood of the chosen answer",
        objective={
            **_on_pairs(),
            "streams": {
                "preferred": {**_on_pairs(beta=0.1)["streams"]["preferred"], "weight": 0.8},
                "judged": {
                    "from": "pairs",
                    "coefficient": {"kind": "bco", "beta": 0.1},
                    "weight": 0.2,
                    "normalise": "group",
                },
                "sft": {**SFT, "normalise": "sequence"},
            },
        },
        notes="BCO's threshold is the optimizer step's mean reward, in TRL a running mean; the likelihood is the mean "
        f"over answers of each one's mean over tokens. {_COST}",
    ),
    "online_dpo": Method(
        source="DPO on the policy's own answers: the best of each group against its worst",
        objective={
            "streams": {
                "rl": {
                    "from": "rollouts",
                    "coefficient": {"kind": "preference", "loss": "sigmoid", "beta": 0.1},
                    "normalise": "group",
                }
            },
            "advantage": {"baseline": "group_mean", "scale": "none"},
        },
        notes="groups of equal rewards teach nothing, and count; with rollout.n 2 it is one pair per prompt",
    ),
    "copg": Method(
        source="CoPG, arXiv 2406.19185, from digests of the paper; over all pairs of a group",
        objective={
            "streams": {"rl": {"from": "rollouts", "coefficient": {"kind": "copg", "beta": 0.1}, "normalise": "group"}},
            "advantage": {"baseline": "none", "scale": "none"},
        },
        notes="rewards less beta x the log-ratio to the reference are contrasted, (R_i - R_j)^2 / (2 beta), whoever "
        "sampled the answers: later updates of a rollout batch need no ratio. It costs a forward pass more per "
        "optimizer step",
    ),
    "adpo": Method(
        source="ADPO, as its authors' code has it",
        objective={
            "streams": {"rl": {"from": "rollouts", "coefficient": {"kind": "adpo"}, "normalise": "group"}},
            "advantage": {"baseline": "group_mean", "scale": "group_std"},
        },
        notes="cross-entropy of softmax(A / 0.5) and the softmax of log-ratios to the old policy over each group. A "
        "group of equal rewards still pulls back to the old policy. Set minibatches or epochs of the stage: with one "
        "update per rollout batch the log-ratios are 0",
    ),
}
