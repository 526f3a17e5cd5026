"""Pure reward functions for vision-language answers: a completion and a target in, a score in [0, 1] out.

>>> import vision_rewards
>>> reward = vision_rewards.get_reward("counting")
>>> reward("<think>two and one</think> 3", {"count": 3}).score
1.0
"""

from vision_rewards.plain import Plain
from vision_rewards.registry import PlainAnswer, combine, get_reward, list_rewards, plain_answers, target_of, validate
from vision_rewards.types import Example, NeedsTarget, ParamSpec, Reward, RewardResult, RewardSpec, TargetError

__all__ = [
    "Example",
    "NeedsTarget",
    "ParamSpec",
    "Plain",
    "PlainAnswer",
    "Reward",
    "RewardResult",
    "RewardSpec",
    "TargetError",
    "combine",
    "get_reward",
    "list_rewards",
    "plain_answers",
    "target_of",
    "validate",
]
