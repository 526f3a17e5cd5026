"""The objective of a stage as typed settings: builder, advantage, streams, KL, entropy, masks.

A method (`mmrl.recipe.methods`) is a named value of `Objective`; a recipe may override any field of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, SerializeAsAny, model_validator

from mmrl.contracts.errors import unknown
from mmrl.recipe.advantage_transforms import ADVANTAGE_TRANSFORMS, AdvantageTransform, AdvantageTransformSettings
from mmrl.recipe.advantages import ADVANTAGES, Advantage, AdvantageSettings, Standard
from mmrl.recipe.auxiliary_terms import AUXILIARY_TERMS, AuxiliaryTerm, AuxiliaryTermSettings
from mmrl.recipe.base import Settings
from mmrl.recipe.coefficients import COEFFICIENTS
from mmrl.recipe.collecting import Buffer, Filter, Gate, Inject, Relabel
from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.controllers import CONTROLLERS, Controller, ControllerSettings
from mmrl.recipe.kl import KL
from mmrl.recipe.parts import PartSettings, fill_kinds, make_reader
from mmrl.recipe.reward_transforms import REWARD_TRANSFORMS, RewardTransform, RewardTransformSettings
from mmrl.recipe.streams import Schedule, Stream
from mmrl.recipe.unit_weights import UNIT_WEIGHTS

AnyAdvantage = Annotated[
    SerializeAsAny[AdvantageSettings], BeforeValidator(make_reader(ADVANTAGES, Advantage, default="standard"))
]
AnyTransform = Annotated[
    SerializeAsAny[RewardTransformSettings], BeforeValidator(make_reader(REWARD_TRANSFORMS, RewardTransform))
]
AnyTerm = Annotated[SerializeAsAny[AuxiliaryTermSettings], BeforeValidator(make_reader(AUXILIARY_TERMS, AuxiliaryTerm))]
AnyAdvantageTransform = Annotated[
    SerializeAsAny[AdvantageTransformSettings], BeforeValidator(make_reader(ADVANTAGE_TRANSFORMS, AdvantageTransform))
]
AnyController = Annotated[SerializeAsAny[ControllerSettings], BeforeValidator(make_reader(CONTROLLERS, Controller))]


class ValueLoss(Settings):
    """Regression of the value head to GAE's targets: X = mean of huber(V - target), clipped around the old values."""

    weight: PositiveFloat = 0.5
    clip: PositiveFloat | None = Field(
        0.2, description="V moves at most this far from its old value per step; None: free"
    )
    huber: PositiveFloat = Field(10.0, description="where the square turns linear")


class Mismatch(Settings):
    """Correction of the gap between the engine's and the trainer's log-probs (always measured, corrected by choice)."""

    kind: Literal["none", "truncate", "mask"] = "none"
    cap: float = Field(2.0, gt=1.0)


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
    pairs: bool = Field(False, description="demonstrations come with an answer that they are preferred to")
    gate: Gate | None = None
    buffer: Buffer | None = None
    inject: Inject | None = None
    relabel: Relabel | None = None
    offline: Offline | None = Field(None, description="weigh demonstrations by what they earned")
    filter: Filter | None = None
    mask_truncated: bool = Field(
        False,
        description="truncated trajectories get no gradient; `sequence` and `constant` still divide by all "
        "trajectories, `token` and `decision` by the units and decisions that are left",
    )
    reward_transforms: Annotated[dict[str, AnyTransform], BeforeValidator(fill_kinds)] = Field(
        {}, description="what is done to rewards before the advantage, in order; null takes out one of the method's"
    )
    advantage: AnyAdvantage = Standard()
    advantage_transforms: Annotated[dict[str, AnyAdvantageTransform], BeforeValidator(fill_kinds)] = Field(
        {}, description="what is done to advantages, in order; null takes out one of the method's"
    )
    streams: dict[str, Stream]
    value: ValueLoss | None = Field(None, description="trains the value head, which `advantage.baseline: value` needs")
    kl: KL = KL()
    mismatch: Mismatch = Mismatch()
    entropy: float = Field(
        0.0, description="entropy bonus: its mean over the units of streams with that term is subtracted"
    )
    auxiliary_terms: Annotated[dict[str, AnyTerm], BeforeValidator(fill_kinds)] = Field(
        {}, description="further terms of the loss"
    )
    controllers: Annotated[dict[str, AnyController], BeforeValidator(fill_kinds)] = Field(
        {},
        description="what sets values of the objective, the learning rate's factor or the temperature",
    )

    @model_validator(mode="after")
    def _streams_fit_builder(self) -> Objective:
        self._check_origins()
        for key, setting in (
            ("gate", self.gate),
            ("buffer", self.buffer),
            ("filter", self.filter),
            ("inject", self.inject),
            ("reward_transforms", self.reward_transforms),
            ("advantage_transforms", self.advantage_transforms),
            ("mask_truncated", self.mask_truncated),
            ("value", self.value and not self.offline),
        ):
            if setting and not self.rollouts:
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
        if self.kl.place == "reward":
            self._check_charged()
        if self.advantage_transforms and self.critic is not None:
            raise ValueError(
                "advantage_transforms change the advantages of groups, and baseline value makes them after that of the "
                "critic; leave them out"
            )
        if self.pairs and (not self.demonstrations or self.relabel is not None or self.offline is not None):
            raise ValueError(
                "pairs needs demonstrations: true and neither relabel nor offline, whose demonstrations come without a "
                "rejected answer"
            )
        if self.relabel is not None and not self.demonstrations:
            raise ValueError("relabel needs demonstrations: true, for it makes the demonstrations")
        if self.offline is not None:
            self._check_offline()
        if (self.critic is not None) != (self.value is not None):
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
        self._check_parts()
        return self

    @property
    def draws_demonstrations(self) -> bool:
        """Whether steps hold demonstrations beside groups."""
        return self.demonstrations or self.gate is not None or self.buffer is not None

    @property
    def critic(self) -> Standard | None:
        """The settings of GAE where the value head gives the advantages, once it has been asked; else None."""
        settings = self.advantage
        return settings if isinstance(settings, Standard) and settings.baseline == "value" else None

    def parts(self) -> Iterator[tuple[str, PartSettings]]:
        """(key, settings) of every part that a registry has."""
        yield "advantage", self.advantage
        for name, stream in self.streams.items():
            yield f"streams.{name}.coefficient", stream.coefficient
            yield from ((f"streams.{name}.weights.{key}", part) for key, part in stream.weights.items())
        for key in ("reward_transforms", "advantage_transforms", "auxiliary_terms", "controllers"):
            yield from ((f"{key}.{name}", part) for name, part in getattr(self, key).items())

    def term_streams(self, name: str) -> frozenset[str]:
        """The streams whose units an auxiliary term is a mean over."""
        chosen = self.auxiliary_terms[name].streams
        return frozenset(self.streams if chosen is None else chosen)

    def under(self, term: str) -> frozenset[str]:
        """Names of the streams that `kl`, `entropy` or `mismatch` acts on."""
        return frozenset(name for name, stream in self.streams.items() if term in stream.terms)

    def reading_ratios(self) -> frozenset[str]:
        """Names of the streams whose gradient reads pi / pi_old."""
        weighted = self.under("kl") if self.kl.in_loss and self.kl.ratio_weighted else frozenset()
        return weighted | {name for name in self.streams if "ratio" in self.needs_of(name)}

    def needs_of(self, stream: str) -> frozenset[str]:
        """What the coefficient and the weights of a stream read (`Part.needs`)."""
        own = self.streams[stream]
        weights = [UNIT_WEIGHTS.get(weight.kind).needs for weight in own.weights.values()]
        return COEFFICIENTS.get(own.coefficient.kind).needs.union(*weights)

    def compared_with(self, stream: str) -> frozenset[str]:
        """Names of the policies by which units of a stream are scored before the first update.

        `reference`, where its coefficient, its weights or the KL in the loss read its log-probs, or a companion.
        """
        own = self.streams[stream]
        names = {name for part in (own.coefficient, *own.weights.values()) for name in part.compared_with()}
        return frozenset(names | ({self.kl.to} if self.kl.in_loss and "kl" in own.terms else set()))

    def distributions(self, stream: str) -> frozenset[str]:
        """Names of the policies whose whole distributions an auxiliary term reads beside units of a stream."""
        terms = ((self.term_streams(name), own) for name, own in self.auxiliary_terms.items())
        return frozenset(name for streams, own in terms if stream in streams for name in own.compared_with())

    def companions(self) -> Iterator[tuple[str, str]]:
        """(key, name) of every companion that something reads."""
        named = [(f"{key}.to", name) for key, part in self.parts() for name in part.compared_with()]
        named.append(("kl.to", self.kl.to))
        yield from ((place, name) for place, name in named if name != REFERENCE)

    @property
    def has_reference(self) -> bool:
        """Whether anything is held to a reference policy."""
        read = (self.compared_with(name) | self.distributions(name) for name in self.streams)
        return REFERENCE in frozenset().union(*read) or (self.kl.weight > 0 and self.kl.to == REFERENCE)

    def of(self, *origins: str) -> tuple[str, ...]:
        """Names of the streams that are filled from these origins, in order."""
        return tuple(name for name, stream in self.streams.items() if stream.origin in origins)

    def _check_origins(self) -> None:
        filled = {
            "rollouts": (self.rollouts, "rollouts: true"),
            "demonstrations": (self.draws_demonstrations, "demonstrations: true, a gate or a buffer"),
            "injected": (self.inject is not None, "inject"),
            "pairs": (self.pairs, "pairs: true"),
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
            if fills and not self.of(origin, *(["pairs"] if origin == "demonstrations" else [])):
                raise ValueError(
                    f"streams: none is from {origin}, which this objective makes ({by}); add one, or leave them out"
                )

    def _check_parts(self) -> None:
        for name in self.auxiliary_terms:
            if name in self.streams:
                raise ValueError(f"auxiliary_terms.{name}: a stream has this name, and both are logged as loss/{name}")
            for stream in self.term_streams(name):
                if stream not in self.streams:
                    raise ValueError(f"auxiliary_terms.{name}.streams: {unknown('stream', stream, self.streams)}")
        for key, part in self.parts():
            why = part.refusal(self)
            if why is not None:
                raise ValueError(f"{key}: {part.kind} {why}")

    def _check_charged(self) -> None:
        unsampled = sorted(name for name in self.under("kl") if not self.streams[name].sampled)
        if unsampled:
            raise ValueError(
                f"kl.place: reward acts on the rewards of groups, and streams.{unsampled[0]} has none; take kl out of "
                "its terms, or set kl.place to loss"
            )

    def _check_offline(self) -> None:
        if not self.demonstrations or self.relabel is not None or self.gate is not None or self.buffer is not None:
            raise ValueError(
                "offline needs demonstrations: true and neither relabel nor gate nor buffer, whose demonstrations "
                "carry no rewards"
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
