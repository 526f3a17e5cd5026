"""How a step's trajectories are collected: which groups stay, and where demonstrations stand among them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmrl.recipe.base import Settings


class Filter(Settings):
    """Dynamic sampling: groups whose mean accuracy lies outside (low, high) are dropped and drawn anew.

    The accuracy of an episode is 1 where it was in success at any step, so that the mean is the group's success rate.
    """

    by: Literal["accuracy", "reward"] = Field(
        "accuracy", description="reward: the mean reward, for episodes their return, must lie between the bounds"
    )
    low: float = 0.0
    high: float = 1.0
    rounds: PositiveInt = 3

    @model_validator(mode="after")
    def _ordered(self) -> Filter:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}, so no group would be kept")
        return self


class Gate(Settings):
    """HPT: a prompt with at most `solved` correct rollouts gives them up for one demonstration."""

    solved: int = Field(0, ge=0)
    threshold: float = Field(1.0, description="a rollout is correct when its accuracy reaches this")


class Buffer(Settings):
    """ReLIFT: prompts with at most `solved` right rollouts wait, and when `size` do, their demonstrations are learned.

    Their groups stay in the step. A prompt that fails again while it waits, waits once; prompts without a demonstration
    do not wait.
    """

    solved: int = Field(0, ge=0)
    threshold: float = Field(1.0, description="a rollout is right when its accuracy reaches this")
    size: PositiveInt = Field(128, description="how many must wait; the newest as many are then learned in one step")
    most: PositiveInt | None = Field(None, description="how many may wait; the oldest are dropped. null: all")

    @model_validator(mode="after")
    def _reachable(self) -> Buffer:
        if self.most is not None and self.most < self.size:
            raise ValueError(f"most {self.most} is below size {self.size}, which would never wait")
        return self


class Inject(Settings):
    """Mixed offline-online groups: a demonstration stands in a group, in its last rollout's place or as one more.

    The demonstration is rewarded like an answer, stands in the group's advantage, and its behaviour is taken for the
    current policy: its ratio starts at 1.
    """

    below: float | None = Field(
        None, gt=0.0, le=1.0, description="only in groups whose mean accuracy is below it; None: in every group"
    )
    place: Literal["replace", "append"] = Field(
        "replace", description="replace: the last rollout gives its place up; append: the group is one larger (ViSurf)"
    )


class Relabel(Settings):
    """DAgger: demonstrations are the expert's actions in the states that the policy itself comes to.

    With `takeover` the expert also plays, as a human would who takes over (HG-DAgger), where the policy's action
    differs from its own by more than that, and only these states are labelled.
    """

    takeover: PositiveFloat | None = Field(None, description="largest difference in one action dim; None: never")
