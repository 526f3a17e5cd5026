"""Advantages by name, over the scored groups of a whole step. Their code is in `mmrl.objectives.advantages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

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

    def misfit(self, rollout: Any) -> str | None:
        """Why a stage's rollouts (`RolloutConfig`) do not fit; None where they do."""
        return None


class Standard(AdvantageSettings):
    """Reward minus `baseline`, divided by `scale`.

    Group baselines give each trajectory one advantage. `value` is GAE on the policy's own value head: an advantage for
    each decision, or for each action of its chunk where `policy.value_head.outputs` is the chunk's length.
    """

    baseline: Literal[
        "group_mean", "leave_one_out", "length_mean", "plain_mean", "pool_mean", "batch_mean", "none", "value"
    ] = Field(
        "group_mean",
        description="length_mean: the group's mean with each reward weighted by its answer's units (OPO); plain_mean: "
        "the mean of the group's answers that were sampled without a context (Prefix-RFT); pool_mean: the mean of all "
        "answers that `rollout.pool` chose the group from (Reinforce-Ada)",
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

    def refusal(self, objective: Any) -> str | None:
        if self.baseline == "pool_mean" and objective.reward_transforms:
            names = ", ".join(objective.reward_transforms)
            return (
                f"with baseline pool_mean reads rewards that reward_transforms ({names}) do not change; leave them out"
            )
        if self.baseline == "pool_mean" and objective.kl.place == "reward":
            return "with baseline pool_mean reads rewards that kl.place: reward does not change; set it to loss"
        return None

    def misfit(self, rollout: Any) -> str | None:
        if self.baseline == "pool_mean" and rollout.pool is None:
            return "baseline pool_mean needs rollout.pool, such as {size: 32, round: 8}"
        if self.baseline == "plain_mean" and (rollout.context is None or rollout.context.count(rollout.n) >= rollout.n):
            return (
                "baseline plain_mean is of answers without a context beside some under one; set rollout.context, with "
                "a share that leaves others"
            )
        return None

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


class Risk(AdvantageSettings):
    """How badly bundles of questions go, against quantiles of their scores that are tracked over the stage.

    The k-th answers to the questions of a bundle are a paper, with the sum of their rewards for a score. A bundle that
    the step has too few questions for counts as if its questions were repeated; answers beyond the smallest group of
    their bundle are in no paper, and have advantage 0. So has a bundle whose papers all have one score.
    """

    bundle: PositiveInt = Field(5, description="questions of a bundle")
    low: float = Field(0.2, gt=0.0, lt=1.0, description="the quantile below which papers weigh most")
    high: float = Field(0.8, gt=0.0, lt=1.0, description="the quantile above which they weigh nothing")
    tail: float = Field(1.5, ge=0.0, description="weight of what lies below `low` beside the range up to `high`")
    rate: float = Field(0.1, gt=0.0, description="how far a quantile moves per step")
    scale: Literal["bundle_std", "none"] = "bundle_std"
    credit: Literal["question_std", "alike"] = Field(
        "question_std",
        description="of a paper's advantage each answer has it divided by the deviation of its own group (by 1 where "
        "that is 0), or as it is",
    )
    epsilon: PositiveFloat = 1e-6

    @property
    def group_relative(self) -> bool:
        return False

    @model_validator(mode="after")
    def _ordered(self) -> Risk:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class Best(AdvantageSettings):
    """The size of the group for its answer of highest reward, the first of several, and 0 for the others.

    A mean over the answers of a group is so that of its best one.
    """

    @property
    def group_relative(self) -> bool:
        return False


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
        "risk": Advantage(
            code="mmrl.objectives.risk:Risk",
            settings=Risk,
            doc="((R between q_low and q_high) - q_high) / (high - low) of a paper's score R, and -tail x max(0, "
            "q_low - R) / low beside it, over 1 + tail (the mixed value at risk of RiskPO, as its code has it).",
        ),
        "best": Advantage(
            code="mmrl.objectives.advantages:best",
            settings=Best,
            doc="n for the answer of highest reward in a group of n, 0 for the others (best-of-n fine-tuning).",
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
