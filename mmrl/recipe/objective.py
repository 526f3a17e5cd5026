"""The objective of a stage as typed settings: builder, advantage, streams, KL, entropy, masks.

A method (`mmrl.recipe.methods`) is a named value of `Objective`; a recipe may override any field of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    model_validator,
)

from mmrl.recipe.base import Settings
from mmrl.recipe.coefficients import COEFFICIENTS, Coefficient, CoefficientSettings
from mmrl.recipe.parts import reader


class Schedule(Settings):
    """A weight over the steps of a stage: linear from `start` to `peak` over `warmup` steps, then cosine to `valley`.

    `decay` is the number of steps from peak to valley; afterwards the weight stays at `valley`.
    Source: CHORD, arXiv 2508.11408 (mu schedule).
    """

    start: float = 0.0
    peak: float
    valley: float
    warmup: int = Field(0, ge=0)
    decay: int = Field(0, ge=0)


AnyCoefficient = Annotated[SerializeAsAny[CoefficientSettings], BeforeValidator(reader(COEFFICIENTS, Coefficient))]


# What acts on a stream unless it says otherwise.
TERMS = {"rollouts": ["kl", "entropy", "mismatch"], "injected": ["kl", "entropy"], "demonstrations": []}


class Stream(Settings):
    """One stream: where its trajectories come from, its coefficient, weight and normaliser. Its name is free.

    `from`: `rollouts` are the policy's own, `demonstrations` those that are drawn or that a gate puts in a prompt's
    place, `injected` those that `inject` puts into groups, which stay in the stream of the rollouts where no stream
    takes them. Streams from the same origin each get all of it. The advantage of a demonstration is 1, of an injected
    one that of its place in the group.

    `normalise`: `token` divides by the units of the stream, `sequence` averages each trajectory over its units and
    then over trajectories, `constant` divides by trajectories x `max_units` (Dr. GRPO), `decision` by decisions.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    origin: Literal["rollouts", "injected", "demonstrations"] = Field(alias="from", description="what fills it")
    terms: list[Literal["kl", "entropy", "mismatch"]] = Field(
        description="which of the objective's kl, entropy and mismatch act on it; default: all for rollouts, none for "
        "demonstrations, and all but mismatch for injected ones, which no engine sampled"
    )
    coefficient: AnyCoefficient = CoefficientSettings()
    weight: float | Schedule = 1.0
    complement_of: str | None = Field(None, description="weight is 1 - w of that stream, as CHORD's (1-mu) and mu")
    normalise: Literal["token", "sequence", "constant", "decision"] = "token"
    max_units: PositiveInt | None = Field(None, description="L_max of `constant`; default rollout.max_new_tokens")
    per_prompt: bool = Field(False, description="trajectories weigh 1 / group size, over the prompts of all streams")

    @model_validator(mode="before")
    @classmethod
    def _terms_of_its_origin(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and "terms" not in raw and raw.get("from") in TERMS:
            return {**raw, "terms": TERMS[raw["from"]]}
        return raw

    @model_validator(mode="after")
    def _sampled_by_an_engine(self) -> Stream:
        if "mismatch" in self.terms and self.origin != "rollouts":
            raise ValueError(f"terms: mismatch compares with the engine that sampled, and none sampled {self.origin}")
        return self

    @property
    def sampled(self) -> bool:
        """Whether its trajectories stand in groups of rollouts."""
        return self.origin in ("rollouts", "injected")


class Advantage(Settings):
    """Reward minus `baseline`, divided by `scale`.

    Group baselines give each trajectory one advantage. `value` is GAE on the policy's own value head: an advantage for
    each decision, or for each action of its chunk where `policy.value_head.outputs` is the chunk's length.
    """

    baseline: Literal["group_mean", "leave_one_out", "batch_mean", "none", "value"] = "group_mean"
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
    lam: float = Field(0.95, ge=0.0, le=1.0, description="GAE's lambda, from one value to the next, as gamma")
    epsilon: PositiveFloat = 1e-6

    @model_validator(mode="after")
    def _equal_rewards_give_zero(self) -> Advantage:
        # A uniform group's std is 0: what the baseline leaves of its rewards would be divided by epsilon.
        centred = {
            "group_std": ("group_mean", "leave_one_out"),
            "batch_std": ("group_mean", "leave_one_out", "batch_mean", "value"),
        }
        if self.scale in centred and self.baseline not in centred[self.scale]:
            raise ValueError(
                f"scale '{self.scale}' does not fit baseline '{self.baseline}': equal rewards would give huge "
                f"advantages; set baseline to {' or '.join(centred[self.scale])}, or scale to none"
            )
        return self


class ValueLoss(Settings):
    """Regression of the value head to GAE's targets: X = mean of huber(V - target), clipped around the old values."""

    weight: PositiveFloat = 0.5
    clip: PositiveFloat | None = Field(
        0.2, description="V moves at most this far from its old value per step; None: free"
    )
    huber: PositiveFloat = Field(10.0, description="where the square turns linear")


class KL(Settings):
    """KL to the reference policy inside the loss: `k2` (reverse-KL gradient) or `k3` (GRPO)."""

    weight: NonNegativeFloat = 0.0
    kind: Literal["k2", "k3"] = "k3"


class Mismatch(Settings):
    """Correction of the gap between the engine's and the trainer's log-probs (always measured, corrected by choice)."""

    kind: Literal["none", "truncate", "mask"] = "none"
    cap: float = Field(2.0, gt=1.0)


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


class Overlong(Settings):
    """DAPO's soft overlong punishment: 0 up to L - cache units, then linearly down to -1 at L = max_new_tokens."""

    cache: PositiveInt
    weight: float = 1.0


class Gate(Settings):
    """HPT: a prompt with at most `solved` correct rollouts gives them up for one demonstration."""

    solved: int = Field(0, ge=0)
    threshold: float = Field(1.0, description="a rollout is correct when its accuracy reaches this")


class Inject(Settings):
    """Mixed offline-online groups: the last rollout of a group gives its place to a demonstration.

    The demonstration is rewarded like an answer, stands in the group's advantage, and its behaviour is taken for the
    current policy: its ratio starts at 1.
    """

    below: float | None = Field(
        None, gt=0.0, le=1.0, description="only in groups whose mean accuracy is below it; None: in every group"
    )


class Relabel(Settings):
    """DAgger: demonstrations are the expert's actions in the states that the policy itself comes to.

    With `takeover` the expert also plays, as a human would who takes over (HG-DAgger), where the policy's action
    differs from its own by more than that, and only these states are labelled.
    """

    takeover: PositiveFloat | None = Field(None, description="largest difference in one action dim; None: never")


class Offline(Settings):
    """Offline RL: demonstrations carry the rewards they earned, and each weighs by the advantage of its actions.

    The value head is regressed to the demonstrations' TD(lambda) returns (`advantage.gamma` and `lam`), and a chunk, or
    an action of it, weighs min(exp(A / temperature), cap): AWR, arXiv 1910.00177; `positive` is CRR's other form, 1
    where A > 0 and 0 elsewhere (arXiv 2006.15134).
    """

    weight: Literal["exp", "positive"] = "exp"
    temperature: PositiveFloat = Field(
        1.0, description="divides A after `advantage.scale`; lower: more of the weight is on the best"
    )
    cap: PositiveFloat = Field(20.0, description="largest weight")


class Objective(Settings):
    """Everything between trajectories and the gradient."""

    method: str | None = Field(
        None,
        description="written when a recipe is resolved: this is the whole objective that the method had then, and "
        "nothing of its table is merged in",
    )
    params: dict[str, str | int | float | bool] = Field(
        {}, description="`policy.params` that the method stands for; a policy with others is refused"
    )
    rollouts: bool = Field(True, description="sample groups from the policy")
    demonstrations: bool = Field(False, description="draw an independent batch of demonstrations every step")
    gate: Gate | None = None
    inject: Inject | None = None
    relabel: Relabel | None = None
    offline: Offline | None = Field(None, description="weigh demonstrations by what they earned")
    filter: Filter | None = None
    overlong: Overlong | None = None
    mask_truncated: bool = Field(False, description="truncated trajectories get no gradient")
    advantage: Advantage = Advantage()
    streams: dict[str, Stream]
    value: ValueLoss | None = Field(None, description="trains the value head, which `advantage.baseline: value` needs")
    kl: KL = KL()
    mismatch: Mismatch = Mismatch()
    entropy: float = Field(
        0.0, description="entropy bonus: its mean over the units of streams with that term is subtracted"
    )

    @model_validator(mode="after")
    def _streams_fit_builder(self) -> Objective:
        self._check_origins()
        for key, asked in (
            ("gate", self.gate),
            ("filter", self.filter),
            ("inject", self.inject),
            ("overlong", self.overlong),
            ("mask_truncated", self.mask_truncated),
            ("value", self.value and not self.offline),
        ):
            if asked and not self.rollouts:
                raise ValueError(f"{key} needs rollouts: true, for it acts on rollouts; leave it out of this method")
        for key, term, weight in (
            ("entropy", "entropy", self.entropy),
            ("kl.weight", "kl", self.kl.weight),
            ("mismatch.kind", "mismatch", self.mismatch.kind != "none"),
        ):
            if weight and not self.under(term):
                raise ValueError(
                    f"{key} acts on no stream: `{term}` is among the terms of none; add it to streams.<name>.terms, or "
                    f"leave {key} out"
                )
        if self.relabel is not None and not self.demonstrations:
            raise ValueError("relabel needs demonstrations: true, for it makes the demonstrations")
        if self.offline is not None:
            self._check_offline()
        if (self.advantage.baseline == "value") != (self.value is not None):
            raise ValueError(
                "advantage.baseline value and the value loss go together: set `value: {}`, or another baseline and "
                "`value: null`"
            )
        for name, stream in self.streams.items():
            if stream.per_prompt and stream.normalise not in ("sequence", "constant"):
                raise ValueError(
                    f"streams.{name}.per_prompt needs normalise sequence or constant, not {stream.normalise}"
                )
            if stream.complement_of:
                self._check_complement(name, stream)
        return self

    def under(self, term: str) -> frozenset[str]:
        """Names of the streams that `kl`, `entropy` or `mismatch` acts on."""
        return frozenset(name for name, stream in self.streams.items() if term in stream.terms)

    def of(self, *origins: str) -> tuple[str, ...]:
        """Names of the streams that are filled from these origins, in order."""
        return tuple(name for name, stream in self.streams.items() if stream.origin in origins)

    def _check_origins(self) -> None:
        filled = {
            "rollouts": (self.rollouts, "rollouts: true"),
            "demonstrations": (self.demonstrations or self.gate is not None, "demonstrations: true, or a gate"),
            "injected": (self.inject is not None, "inject"),
        }
        for name, stream in self.streams.items():
            fills, by = filled[stream.origin]
            if not fills:
                raise ValueError(
                    f"streams.{name} takes {stream.origin}, and this objective makes none; set {by}, or leave the "
                    "stream out"
                )
        for origin in ("rollouts", "demonstrations"):
            fills, by = filled[origin]
            if fills and not self.of(origin):
                raise ValueError(
                    f"streams: none is from {origin}, which this objective makes ({by}); add one, or leave them out"
                )

    def _check_offline(self) -> None:
        if not self.demonstrations or self.relabel is not None or self.gate is not None:
            raise ValueError(
                "offline needs demonstrations: true and neither relabel nor gate, whose demonstrations carry no rewards"
            )
        if self.value is None:
            raise ValueError(
                "offline needs a critic: set `value: {}`, advantage.baseline to value and advantage.scale to batch_std"
            )

    def _check_complement(self, name: str, stream: Stream) -> None:
        other = self.streams.get(str(stream.complement_of))
        if other is None or other is stream or other.complement_of:
            kind = "is no stream" if other is None else "has no weight of its own"
            raise ValueError(f"streams.{name}.complement_of names '{stream.complement_of}', which {kind}")
        # Compared by value, not by what was set: a resolved objective carries every default.
        if stream.weight != Stream.model_fields["weight"].default:
            raise ValueError(
                f"streams.{name}.weight has no effect beside complement_of: {stream.complement_of}; "
                f"set streams.{stream.complement_of}.weight, or complement_of to null"
            )
        weight = other.weight
        values = (weight.start, weight.peak, weight.valley) if isinstance(weight, Schedule) else (weight,)
        if not all(0 <= value <= 1 for value in values):
            raise ValueError(f"streams.{stream.complement_of}.weight must stay in [0, 1]: '{name}' gets 1 minus it")
