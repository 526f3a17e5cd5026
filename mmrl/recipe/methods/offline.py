"""Learning from rewarded demonstrations, without rollouts."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import SFT

OFFLINE: dict[str, Method] = {
    "chunked_awr": Method(
        source="advantage-weighted regression, arXiv 1910.00177, on chunks of actions: offline RL in the manner of "
        "CO-RFT, arXiv 2508.02219",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "offline": {"weight": "exp", "temperature": 1.0, "cap": 20.0},
            "streams": {"demo": SFT},
            "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
            "value": {"weight": 1.0, "clip": None, "huber": 10.0},
        },
        notes="of CO-RFT it has what the loss can express: rewarded demonstrations, no rollouts, temporal "
        "differences over whole chunks, after a stage of `sft`. It is not CO-RFT: the critic is a state value V and "
        "no Q-function, so there is no Q-value of a chunk's prefixes, no Cal-QL term and no TD3 gradient through Q. "
        "The weights keep the policy near the data instead, and it cannot prefer actions that no demonstration "
        "shows. Needs policy.value_head, and demonstrations of type episodes or, recorded, with `draw: episodes`",
    ),
}
