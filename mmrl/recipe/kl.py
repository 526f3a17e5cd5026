"""KL to another policy, as a setting of the objective."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, model_validator

from mmrl.recipe.base import Settings
from mmrl.recipe.companions import REFERENCE


class KL(Settings):
    """KL to the reference policy or to a companion, estimated from the sampled units with d = log pi - log ref.

    `k1` is d, `k2` d^2 / 2, `k3` exp(-d) - 1 + d (GRPO). Their gradients in log pi are 1, d and 1 - exp(-d): on policy,
    that of k2 is the reverse KL's, that of k3 is close to it where d is small, and that of k1 is 0 in the mean, so that
    k1 is for `place: reward` or `ratio_weighted`.
    """

    weight: NonNegativeFloat = 0.0
    kind: Literal["k1", "k2", "k3"] = "k3"
    ratio_weighted: bool = Field(
        False,
        description="multiplied by r = pi / pi_old of the unit, whose gradient counts: unbiased in every update, and "
        "r d for k3 (DeepSeek-V3.2, arXiv 2512.02556; TRL's default)",
    )
    place: Literal["loss", "reward"] = Field(
        "loss",
        description="reward: weight x the sum over a trajectory's units comes off its reward, after the reward "
        "transforms and before the advantage, and under a critic off that of each step (PPO, RLOO); d is that before "
        "the first update",
    )

    to: str = Field(REFERENCE, description="reference, or the name of a companion, such as teacher")

    reference: Literal["start", "base"] = Field(
        "start",
        description="start: the policy as it is when the stage starts, LoRA's adapters too; base: the model below the "
        "adapters, also in a stage after SFT (of no more memory)",
    )

    decay: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="the reference follows the policy: after each step it is decay x itself + (1 - decay) x the "
        "policy; null: it stays",
    )

    @property
    def in_loss(self) -> bool:
        """Whether it is a term of the loss."""
        return self.weight > 0 and self.place == "loss"

    @property
    def in_reward(self) -> bool:
        """Whether it comes off the reward."""
        return self.weight > 0 and self.place == "reward"

    @model_validator(mode="after")
    def _weighted_in_the_loss(self) -> KL:
        if self.ratio_weighted and self.place == "reward":
            raise ValueError("ratio_weighted is for place loss: before the first update the ratio is 1; leave it out")
        if self.to != REFERENCE and (self.decay is not None or self.reference == "base"):
            raise ValueError(f"to: {self.to} stays as it is; leave out decay and reference, which act on the reference")
        if self.decay is not None and self.reference == "base":
            raise ValueError("decay moves a copy of the policy, and base is the model itself; set reference to start")
        return self
