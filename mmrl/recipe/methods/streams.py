"""Parts of streams that several methods share."""

from __future__ import annotations

PPO = {"kind": "ppo_clip", "low": 0.2, "high": 0.2}
RL = {"from": "rollouts", "coefficient": PPO}
SFT = {"from": "demonstrations", "coefficient": {"kind": "one"}, "normalise": "token"}
