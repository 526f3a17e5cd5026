"""Signs that a run has stopped learning: how long they may last."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from mmrl.recipe.base import Settings


class Patience(Settings):
    """Steps in a row that show a sign before it is said, and before it ends the run."""

    warn: PositiveInt | None = Field(None, description="steps in a row before a line says so; None: never")
    stop: PositiveInt | None = Field(None, description="steps in a row that end the run; None: never")

    @model_validator(mode="after")
    def _in_order(self) -> Patience:
        if self.warn is not None and self.stop is not None and self.warn > self.stop:
            raise ValueError(f"warn {self.warn} is above stop {self.stop}, so that nothing is said before the end")
        return self


class GapPatience(Patience):
    """When engine and trainer have drifted apart: `gap/…` figures far above what they were in the first steps."""

    learn: PositiveInt = Field(5, description="first steps, whose largest gap is the floor; 1e-5 nats at least")
    times: float = Field(10.0, gt=1.0, description="a gap above so many floors counts")


class HealthConfig(Settings):
    """What ends a run that learns nothing more. A figure that is not finite ends it at once, whatever stands here."""

    skipped: Patience = Field(
        Patience(warn=3, stop=20), description="every update left out, for its gradient was not finite"
    )
    no_gradient: Patience = Field(
        Patience(warn=20, stop=200), description="a gradient of norm 0, unless all that was sampled is right"
    )
    no_variance: Patience = Field(
        Patience(warn=20, stop=200),
        description="the same reward for everything that was sampled, unless all of it is right",
    )
    one_token: Patience = Field(
        Patience(warn=20, stop=200), description="one and the same token in everything that was sampled"
    )
    sees: PositiveInt | None = Field(
        None,
        description="steps between looks at whether the model, and the engine, see the training data's pictures and "
        "videos, the first before the first step; a run that does not see them ends; None: never",
    )
    gap: GapPatience = Field(
        GapPatience(warn=3), description="log-probs of engine and trainer that drift apart, each `gap/…` by itself"
    )
