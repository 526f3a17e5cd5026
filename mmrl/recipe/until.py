"""What ends a stage before its last step, and rounds before their last one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pydantic import Field, PositiveInt, model_validator

from mmrl.recipe.base import Settings


class Until(Settings):
    """A figure of metrics.jsonl that ends a stage; `steps` end it at the latest."""

    figure: str = Field(description="a name in metrics.jsonl, such as accuracy/mean, policy/entropy or eval/mean")
    window: PositiveInt = Field(10, description="newest values that a mean is taken over; of eval/…, evaluations")
    below: float | None = Field(None, description="the mean is below it")
    above: float | None = Field(None, description="the mean is above it")
    plateau: float | None = Field(
        None, ge=0.0, description="the mean is not more than this above the mean of the window before it"
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Until:
        given = [key for key in ("below", "above", "plateau") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of below, above and plateau, not {' and '.join(given) or 'none'}")
        return self

    @property
    def held_out(self) -> bool:
        """Whether it is a figure of evaluations."""
        return self.figure.startswith("eval/")

    @property
    def kept(self) -> int:
        """Newest values that it needs."""
        return self.window * (2 if self.plateau is not None else 1)

    def reached(self, values: Sequence[float]) -> bool:
        """Whether the figure's values so far, oldest first, end the stage."""
        if len(values) < self.kept:
            return False
        mean = fmean(values[-self.window :])
        if self.below is not None:
            return mean < self.below
        if self.above is not None:
            return mean > self.above
        return mean - fmean(values[-2 * self.window : -self.window]) <= (self.plateau or 0.0)


class RoundsUntil(Until):
    """A figure that ends rounds; `rounds` is the last one at the latest.

    Its value in a round is the mean over the round's steps that have it; of eval/…, that of the round's last
    evaluation.
    """

    window: PositiveInt = Field(1, description="newest rounds that a mean is taken over")

    def value(self, measured: Sequence[float]) -> float:
        """The figure in a round in which it was measured so often, at least once."""
        return measured[-1] if self.held_out else fmean(measured)


class Loop(Settings):
    """Rounds that a figure may end, as each of their stages records them."""

    name: str = Field(description="where they stand in the recipe")
    round: PositiveInt = Field(description="which of them the stage is in")
    rounds: PositiveInt
    until: RoundsUntil
