"""Advantages by name, over the scored groups of a whole step. Their code is in `mmrl.objectives.advantages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from mmrl.recipe.parts import Part, PartSettings
from mmrl.recipe.registry import Registry


class AdvantageSettings(PartSettings):
    """The advantage of each trajectory, by the `kind` of an advantage."""

    kind: str = "standard"

    @property
    def group_relative(self) -> bool:
        """Whether a group of one has advantage 0."""
        return True

    @property
    def accuracy(self) -> bool:
        """Whether the task's own figure takes the reward's place."""
        return False


class Standard(AdvantageSettings):
    """Reward minus `baseline`, divided by `scale`.

    Group baselines give each trajectory one advantage. `value` is GAE on the policy's own value head: an advantage for
    each decision, or for each action of its chunk where `policy.value_head.outputs` is the chunk's length.
    """

    baseline: Literal["group_mean", "leave_one_out", "length_mean", "batch_mean", "none", "value"] = Field(
        "group_mean", description="length_mean: the group's mean with each reward weighted by its answer's units (OPO)"
    )
    scale: Literal["group_std", "batch_std", "none"] = "group_std"
    of: Literal["reward", "accuracy"] = Field(
        "reward", description="accuracy: the task's own figure instead of the shaped reward (0 or 1 for episodes)"
    )
    gamma: float = Field(
        0.99,
        gt=0.0,
        le=1.0,
        description="discount from one value of the critic to the next: from decision to decision, a chunk's rewards "
        "adding up undiscounted, or from action to action where policy.value_head.outputs is the chunk's length",
    )
    lam: float = Field(0.95, ge=0.0, le=1.0, description="GAE's lambda, applied as gamma is")
    epsilon: PositiveFloat = 1e-6

    @property
    def group_relative(self) -> bool:
        return self.baseline in ("group_mean", "leave_one_out", "length_mean")

    @property
    def accuracy(self) -> bool:
        return self.of == "accuracy"

    @model_validator(mode="after")
    def _equal_rewards_give_zero(self) -> Standard:
        # A uniform group's std is 0: what the baseline leaves of its rewards would be divided by epsilon.
        centred = {
            "group_std": ("group_mean", "leave_one_out", "length_mean"),
            "batch_std": ("group_mean", "leave_one_out", "length_mean", "batch_mean", "value"),
        }
        if self.scale in centred and self.baseline not in centred[self.scale]:
            raise ValueError(
                f"scale '{self.scale}' does not fit baseline '{self.baseline}': equal rewards would give huge "
                f"advantages; set baseline to {' or '.join(centred[self.scale])}, or scale to none"
            )
        return self


class GDPO(AdvantageSettings):
    """Each reward is standardised within its group by itself; the weighted sum is divided by the batch's deviation."""

    weights: dict[str, float] = Field(
        min_length=1, description="of each reward, by its name in the rollouts' reward parts"
    )
    epsilon: PositiveFloat = 1e-4

    def refusal(self, objective: Any) -> str | None:
        if objective.reward_transforms:
            names = ", ".join(objective.reward_transforms)
            return f"reads the parts of the reward, which reward_transforms ({names}) do not change; leave them out"
        if objective.kl.place == "reward":
            return "reads the parts of the reward, which kl.place: reward does not change; set it to loss"
        return None


class Whitened(AdvantageSettings):
    """Returns at each unit, whitened over all units of the step."""

    baseline: Literal["none", "group_mean"] = "none"
    epsilon: PositiveFloat = 1e-8

    @property
    def group_relative(self) -> bool:
        return self.baseline == "group_mean"


class Signed(AdvantageSettings):
    """A weight of the group with the sign of each answer; 0 where all are right or all wrong."""

    threshold: float = Field(1.0, description="an answer is right when its accuracy reaches this")
    weight: Literal["failure", "odds", "one"] = Field(
        "failure", description="failure: 1 - q; odds: sqrt((1 - q) / q); one: 1, of the share q of right answers"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage(Part):
    """An advantage: `code` is a function of (groups of `Scored`, settings) to an advantage per trajectory.

    Or to float64 [units] of each of its units. A class is made anew in each stage, and its state is in checkpoints
    (`mmrl.objectives.stateful`).
    """


ADVANTAGES: Registry[Advantage] = Registry(
    "advantage",
    {
        "standard": Advantage(
            code="mmrl.objectives.advantages:standard",
            settings=Standard,
            doc="(reward - baseline) / scale, each by choice; or GAE on a value head.",
        ),
        "gdpo": Advantage(
            code="mmrl.objectives.advantages:gdpo",
            settings=GDPO,
            doc="sum_k w_k (r_k - group mean) / (group std) over the rewards k, divided by its std over the batch: "
            "each reward counts by its weight, whatever its spread (GDPO, arXiv 2601.05242; TRL's normalize_then_sum).",
        ),
        "signed": Advantage(
            code="mmrl.objectives.advantages:signed",
            settings=Signed,
            doc="w(q) of right answers and -w(q) of wrong ones, q the group's share of right answers (the question "
            "weights of NFT, arXiv 2505.18116).",
        ),
        "whitened": Advantage(
            code="mmrl.objectives.advantages:whitened",
            settings=Whitened,
            doc="(G_u - mean) / sqrt(var + epsilon) over all units of the step, G_u the reward minus what `kl.place: "
            "reward` takes off from unit u on, and minus the group's mean reward under `baseline: group_mean` "
            "(REINFORCE++, arXiv 2501.03262, as verl has it).",
        ),
    },
)
