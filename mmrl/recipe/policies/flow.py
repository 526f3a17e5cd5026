"""Settings of flow policies: `pi0` and `pi05`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mmrl.recipe.base import Settings
from mmrl.recipe.policy import TrainedConfig


class FlowParams(Settings):
    """How a flow policy acts, and which of its denoising steps are decisions."""

    statistics: str | None = Field(None, description="dataset whose statistics actions follow; None: the only one")
    cameras: list[str] | None = Field(None, description="the simulator's cameras that the policy sees, in its order")
    tokenizer: str | None = Field(
        None, description="folder or hub name; null: the checkpoint's own (lerobot's have none)"
    )
    delta_actions: list[int] | None = Field(
        None,
        description="action dimensions that the policy predicts as differences from the state of the same number, as "
        "openpi's DeltaActions does; null: as its checkpoint says",
    )
    steps: PositiveInt | None = Field(None, description="denoising steps K; None: the checkpoint's")
    sampler: Literal["sde", "noise", "cps"] = Field(
        "sde", description="noise while exploring: Flow-SDE, Flow-Noise's learned deviation, or Flow-CPS"
    )
    trained: Literal["one", "all"] | list[int] = Field(
        "one",
        description="steps that are noisy and scored, all others follow the ODE: one drawn anew each decision, all, or "
        "the steps listed (0 is the first)",
    )
    mean_over: Literal["steps", "chain"] = Field(
        "steps",
        description="what a log-prob is the mean of: the densities of the K trained steps, or with trained: all those "
        "and the density of the noise that the chain starts from, K + 1 terms (RLinf's joint_logprob)",
    )
    eta: PositiveFloat = Field(0.5, description="noise of sde (any) and cps (below 1)")
    noise_low: PositiveFloat = Field(0.08, description="least deviation of sampler noise, in normalised actions")
    noise_high: PositiveFloat = Field(0.16, description="largest deviation of sampler noise")

    @model_validator(mode="after")
    def _consistent(self) -> FlowParams:
        if self.noise_low >= self.noise_high:
            raise ValueError(f"noise_low {self.noise_low} is not below noise_high {self.noise_high}")
        if self.sampler == "cps" and self.eta >= 1:
            raise ValueError(f"eta {self.eta} is above what sampler cps allows; set it below 1")
        # Compared by value, not by what was set: a resolved recipe carries every default.
        noise = self.sampler == "noise"
        for name, reader in (("eta", "sde and cps"), ("noise_low", "noise"), ("noise_high", "noise")):
            value = getattr(self, name)
            if noise == (name == "eta") and value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} {value} is read by sampler {reader} alone; leave it out beside sampler {self.sampler}"
                )
        delta = self.delta_actions or []
        if len(set(delta)) < len(delta) or min(delta, default=0) < 0:
            raise ValueError(f"delta_actions {delta} must name different dimensions, counted from 0")
        listed = self.trained if isinstance(self.trained, list) else [0]
        if not listed or len(set(listed)) < len(listed) or min(listed) < 0:
            raise ValueError(f"trained {self.trained} must name different steps, counted from 0")
        if self.mean_over == "chain" and self.trained != "all":
            raise ValueError(f"mean_over chain is the density of every step; set trained to all, not {self.trained}")
        return self

    def noisy_steps(self, steps: int) -> list[int]:
        """The steps that can be trained, of a sampler of `steps`. Raises ValueError where `trained` has others."""
        # The last step of Flow-CPS ends on the data itself, without noise.
        count = steps - (self.sampler == "cps")
        if isinstance(self.trained, list):
            if max(self.trained) >= count:
                raise ValueError(
                    f"policy.params.trained: {self.trained} has steps that sampler '{self.sampler}' of {steps} steps "
                    f"does not have or draws no noise in; they are 0 to {count - 1}"
                )
            return sorted(self.trained)
        if count < 1:
            raise ValueError(f"policy.params.steps: sampler cps needs 2 steps or more, not {steps}")
        return list(range(count))


class Pi0Settings(TrainedConfig):
    """π0 and π0.5: no rows of tokens to pack, pictures of the checkpoint's size, and an expert that reads a cache."""

    params: FlowParams = FlowParams()
