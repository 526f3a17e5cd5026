"""Policy gradients with a value head."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import RL

CRITIC: dict[str, Method] = {
    "ppo": Method(
        source="PPO, arXiv 1707.06347, with GAE, arXiv 1506.02438; settings of RLinf's embodied PPO",
        objective={
            "streams": {"rl": {**RL, "normalise": "token"}},
            "advantage": {"baseline": "value", "scale": "batch_std", "gamma": 0.99, "lam": 0.95},
            "value": {"weight": 1.0, "clip": 0.2, "huber": 10.0},
        },
        notes="needs policy.value_head; set minibatches and epochs of the stage for several updates per rollout batch",
    ),
}
