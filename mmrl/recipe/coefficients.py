"""The coefficients psi by name: parameters, what they need, the ratios between which they do not cut.

Adding one is a function (see `mmrl.objectives.coefficients`), a settings model where it has parameters, and an entry of
`COEFFICIENTS`; or the same three in a module of one's own, and `kind: module:NAME` in the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.parts import PartSettings, UnitPart
from mmrl.recipe.registry import Registry


class CoefficientSettings(PartSettings):
    """psi(p, r), the factor that multiplies the advantage at each unit, by the `kind` of a coefficient."""

    kind: str = "one"

    def ratio_level(self) -> str:
        """Whose probability the coefficient reads: `unit`, `decision` or `mean`."""
        return "unit"

    def bounds(self) -> tuple[float, float] | None:
        """Ratios that count as clipped in the figures: below the first where A < 0, above the second where A > 0."""
        return None


class OfLevel(CoefficientSettings):
    """A coefficient that reads probabilities or their ratios."""

    level: Literal["unit", "decision", "mean"] = Field(
        "unit",
        description="the ratio of each unit; of the decision, whose units' log-probs add up (the chunk level of robot "
        "policies); or of their mean (GSPO)",
    )

    def ratio_level(self) -> str:
        return self.level


class Clip(OfLevel):
    """Bounds of the ratio: 1 - low and 1 + high."""

    low: NonNegativeFloat = Field(0.2, description="how far below 1")
    high: NonNegativeFloat = Field(0.2, description="how far above 1")

    def bounds(self) -> tuple[float, float] | None:
        return 1 - self.low, 1 + self.high


class PPOClip(Clip):
    """Bounds of the ratio: 1 - low and 1 + high, and `dual` for A < 0."""

    dual: float | None = Field(None, gt=1.0, description="dual clip: units with A < 0 and ratio > dual get 0")


class Luffy(OfLevel):
    """The shaping constant."""

    gamma: float = Field(0.1, gt=0.0, description="LUFFY shaping constant")


class GMPO(CoefficientSettings):
    """Bounds of each unit's log-ratio."""

    log_range: PositiveFloat = Field(0.4, description="a unit's log-ratio counts up to it (A > 0), or down to minus it")

    def bounds(self) -> tuple[float, float]:
        return exp(-self.log_range), exp(self.log_range)


class SAPO(OfLevel):
    """The gate's temperatures; higher ones attenuate sooner."""

    positive: PositiveFloat = Field(1.0, description="tau where A > 0")
    negative: PositiveFloat = Field(1.05, description="tau elsewhere")


class FAlpha(OfLevel):
    """Between maximum likelihood (alpha near 0) and DFT (1)."""

    alpha: float = Field(0.5, gt=0.0, description="strong prior: near 1; a domain that is new to the model: near 0")


class NFT(CoefficientSettings):
    """Bounds of the group's success rate q, and of the implicit negative policy's ratio."""

    success_low: float = Field(0.02, gt=0.0, lt=1.0, description="least q")
    success_high: float = Field(0.98, gt=0.0, lt=1.0, description="largest q")
    floor: PositiveFloat = Field(1.0, description="least (1 - q r) / (1 - q) to divide by")
    negative: float = Field(1.0, description="weight of wrong answers; 0: rejection-sampled fine-tuning (RFT)")

    @model_validator(mode="after")
    def _ordered(self) -> NFT:
        if self.success_low > self.success_high:
            raise ValueError(f"success_low {self.success_low} is above success_high {self.success_high}")
        return self


class BAPO(CoefficientSettings):
    """Where the bounds of the ratio start, how far they move, and what they are to reach."""

    target: PositiveFloat = Field(0.5, description="of positive over negative contributions")
    low: NonNegativeFloat = Field(0.6, description="c_low at first")
    low_most: NonNegativeFloat = 0.9
    low_step: PositiveFloat = 0.05
    high: PositiveFloat = Field(1.2, description="c_high at first")
    high_most: PositiveFloat = 3.0
    high_step: PositiveFloat = 0.05
    dual: float | None = Field(3.0, gt=1.0, description="units with A < 0 and ratio > dual get 0")

    @model_validator(mode="after")
    def _ordered(self) -> BAPO:
        if not self.low <= self.low_most < self.high <= self.high_most:
            raise ValueError(
                f"low {self.low} <= low_most {self.low_most} < high {self.high} <= high_most {self.high_most} is needed"
            )
        return self

    def bounds(self) -> tuple[float, float]:
        return self.low, self.high


class RLPlus(CoefficientSettings):
    """How much rare units count."""

    gamma: NonNegativeFloat = Field(0.5, description="exponent of 1 - p; 0.5 in the authors' script")


class Held(CoefficientSettings):
    """A coefficient that is held to another policy."""

    to: str = Field(REFERENCE, description="reference, or the name of a companion")

    def compared_with(self) -> tuple[str, ...]:
        return (self.to,)


class PEAR(Held):
    """Whose data it is, and bounds of what the rest of an answer weighs."""

    to: str = Field("behaviour", description="the companion that wrote the demonstrations, or reference")
    form: Literal["suffix", "sequence"] = Field(
        "suffix", description="suffix: of the units behind each unit; sequence: of the whole answer, at each of them"
    )
    gamma: float = Field(0.999, gt=0.0, le=1.0, description="discount of suffix, per unit behind")
    log_low: float = Field(-0.08, le=0.0, description="least log-ratio of a unit")
    log_high: float = Field(0.3, ge=0.0, description="largest log-ratio of a unit")
    low: PositiveFloat = Field(0.1, description="least weight")
    high: PositiveFloat = Field(10.0, description="largest weight")

    @model_validator(mode="after")
    def _ordered(self) -> PEAR:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class AnchoredClip(Held, PPOClip):
    """Bounds of the ratio to a mixture of the old policy and another."""

    to: str = Field("teacher", description="the companion, or reference")
    share: float = Field(0.5, ge=0.0, lt=1.0, description="of the companion in the mixture; 0: ppo_clip")

    def bounds(self) -> None:
        """None: figures are of the ratio to the old policy, which it does not clip."""


class Rehearsal(Held):
    """An f-divergence from another policy's answers, which stand in the data, to the trained policy."""

    form: Literal["forward", "js", "alpha"] = Field(
        "forward", description="forward: KL(q || p); js: Jensen-Shannon; alpha: between KL(p || q) (0) and forward (1)"
    )
    alpha: float = Field(0.2, gt=0.0, lt=1.0, description="of the form alpha")


class Preference(Held):
    """The best answer of each group against its worst, by the margin h of their log-ratios to the reference.

    h = (s_w - s_w^ref) - (s_l - s_l^ref), s an answer's log-prob, a sum over its units or their mean.
    """

    loss: Literal["sigmoid", "square", "hinge"] = Field(
        "sigmoid",
        description="sigmoid: -log sigmoid(beta h) (DPO); square: (h - 1 / (2 beta))^2 (IPO); hinge: max(0, 1 - beta "
        "h) (SLiC)",
    )
    beta: PositiveFloat = 0.1
    mean: bool = Field(False, description="s is the mean over an answer's units")
    smoothing: float = Field(0.0, ge=0.0, lt=0.5, description="of sigmoid: the share of labels taken to be wrong")


class BCO(Held):
    """How steeply an answer counts as right or wrong."""

    beta: PositiveFloat = 0.1


class CoPG(Held):
    """How much the distance from the reference costs."""

    beta: PositiveFloat = 0.1


class ADPO(CoefficientSettings):
    """Temperatures of the policy's and of the advantages' distributions over a group."""

    tau: PositiveFloat = Field(0.8, description="divides an answer's log-ratio to the old policy")
    beta: PositiveFloat = Field(0.5, description="divides advantages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient(UnitPart):
    """A coefficient: `code` gives psi [R, U].

    Attributes:
        whole: psi holds the advantage already.
    """

    whole: bool = False


_FUNCTIONS = "mmrl.objectives.coefficients:"
_PROBABILITY, _RATIO = frozenset({"probability"}), frozenset({"ratio"})

COEFFICIENTS: Registry[Coefficient] = Registry(
    "coefficient",
    {
        "one": Coefficient(
            code=f"{_FUNCTIONS}one",
            settings=CoefficientSettings,
            doc="1: maximum likelihood, or REINFORCE on policy.",
        ),
        "ppo_clip": Coefficient(
            code=f"{_FUNCTIONS}ppo_clip",
            settings=PPOClip,
            needs=_RATIO,
            doc="r where min(r A, clip(r) A) takes the unclipped branch, else 0 (PPO, arXiv 1707.06347). `low`/`high` "
            "may differ (clip-higher, DAPO); `dual` bounds A < 0 units at r > dual (arXiv 1912.09729).",
        ),
        "dft": Coefficient(
            code=f"{_FUNCTIONS}dft", settings=OfLevel, needs=_PROBABILITY, doc="p (DFT, arXiv 2508.05629)."
        ),
        "chord_phi": Coefficient(
            code=f"{_FUNCTIONS}chord_phi",
            settings=OfLevel,
            needs=_PROBABILITY,
            doc="p (1 - p) (CHORD-phi, arXiv 2508.11408).",
        ),
        "luffy": Coefficient(
            code=f"{_FUNCTIONS}luffy",
            settings=Luffy,
            needs=_PROBABILITY,
            doc="gamma p / (p + gamma)^2, the gradient of p / (p + gamma) in log p (LUFFY, arXiv 2504.14945).",
        ),
        "cispo": Coefficient(
            code=f"{_FUNCTIONS}cispo",
            settings=Clip,
            needs=_RATIO,
            doc="sg(clip(r, 1 - low, 1 + high)): clipped units keep a gradient (CISPO, arXiv 2506.13585).",
        ),
        "gmpo": Coefficient(
            code=f"{_FUNCTIONS}gmpo",
            settings=GMPO,
            needs=_RATIO,
            doc="the geometric mean of the decision's ratios, each bounded on the side that its advantage pushes to; 0 "
            "at units that are bounded (GMPO, arXiv 2507.20673; with `normalise: sequence`).",
        ),
        "sapo": Coefficient(
            code=f"{_FUNCTIONS}sapo",
            settings=SAPO,
            needs=_RATIO,
            doc="4 s (1 - s) r with s = sigmoid(tau (r - 1)): a soft gate instead of a clip, tau by the sign of A "
            "(SAPO, arXiv 2511.20347).",
        ),
        "importance": Coefficient(
            code=f"{_FUNCTIONS}importance",
            settings=OfLevel,
            needs=_RATIO,
            doc="r, without a clip: `one` in the first update of a batch, and its importance-weighted form in later "
            "ones (HPT, arXiv 2509.04419).",
        ),
        "f_alpha": Coefficient(
            code=f"{_FUNCTIONS}f_alpha",
            settings=FAlpha,
            needs=_PROBABILITY,
            doc="p^alpha, the gradient of (p^alpha - 1) / alpha: maximum likelihood as alpha goes to 0, DFT at 1 "
            "(arXiv 2510.00526, from a digest of the paper).",
        ),
        "minpro": Coefficient(
            code=f"{_FUNCTIONS}minpro",
            settings=Clip,
            needs=_RATIO,
            doc="sg(clip(r_t min_{j<t} r_j, 1 - low, 1 + high)) (MinPRO, from a digest of the paper; its bounds are "
            "not known, those here are PPO's).",
        ),
        "nft": Coefficient(
            code=f"{_FUNCTIONS}nft",
            settings=NFT,
            needs=_RATIO,
            doc="1 for A > 0, else (q r / (1 - q)) / max((1 - q r) / (1 - q), floor) with the group's success rate q: "
            "likelihood of right answers, and of wrong ones under an implicit negative policy (NFT, arXiv 2505.18116).",
        ),
        "bapo": Coefficient(
            code=f"{_FUNCTIONS}bapo",
            settings=BAPO,
            prepare="mmrl.objectives.coefficients:choose_bounds",
            needs=_RATIO,
            doc="PPO's clip between c_low and c_high, which each optimizer step moves, c_low first, until the sum of "
            "bounded r A over A > 0 reaches target x that over A < 0 (BAPO, arXiv 2510.18927, as its code has it).",
        ),
        "preference": Coefficient(
            code="mmrl.objectives.preferences:given",
            settings=Preference,
            prepare="mmrl.objectives.preferences:compare",
            needs=_PROBABILITY,
            whole=True,
            doc="-dL/dh of each group's best answer, dL/dh of its worst, 0 of others, L a loss of the margin h of "
            "their log-ratios to the reference (DPO, arXiv 2305.18290; IPO, arXiv 2310.12036; SLiC-HF, arXiv "
            "2305.10425).",
        ),
        "bco": Coefficient(
            code="mmrl.objectives.preferences:given",
            settings=BCO,
            prepare="mmrl.objectives.preferences:judge",
            needs=_PROBABILITY,
            whole=True,
            doc="-dL/ds of -log sigmoid(beta g - d) for answers with A > 0 and -log sigmoid(d - beta g) for others, g "
            "the log-ratio of a whole answer to the reference and d the step's mean of beta g (the pairwise form of "
            "BCO, arXiv 2404.04656, as TRL has it, whose d is a running mean).",
        ),
        "copg": Coefficient(
            code="mmrl.objectives.preferences:given",
            settings=CoPG,
            prepare="mmrl.objectives.preferences:contrast",
            needs=_PROBABILITY,
            whole=True,
            doc="2 / (n - 1) x (R_i - mean R) over a group of n answers, R = A - beta g, g the log-ratio of a whole "
            "answer to the reference: the gradient of (R_i - R_j)^2 / (2 beta), mean over pairs (CoPG, arXiv "
            "2406.19185, from digests of the paper). With `baseline: none`, A is the reward.",
        ),
        "adpo": Coefficient(
            code="mmrl.objectives.preferences:given",
            settings=ADPO,
            prepare="mmrl.objectives.preferences:anchor",
            needs=_RATIO,
            whole=True,
            doc="(q - p) / tau, p = softmax((s - s_old) / tau) and q = softmax(A / beta) over each group (ADPO).",
        ),
        "pear": Coefficient(
            code=f"{_FUNCTIONS}pear",
            settings=PEAR,
            needs=_PROBABILITY,
            doc="sg(clip(gamma^(T - t) prod_{j > t} pi(j) / pi_b(j), low, high)), pi_b the policy that wrote the "
            "demonstrations, each log-ratio bounded (PEAR, arXiv 2602.01058, from a port of its code).",
        ),
        "anchored_clip": Coefficient(
            code=f"{_FUNCTIONS}anchored_clip",
            settings=AnchoredClip,
            needs=_RATIO | _PROBABILITY,
            doc="PPO's clip of pi / (pi_old^(1 - share) pi_T^share): the surrogate's trust region stands between the "
            "old policy and a teacher (the idea of RLAD, arXiv 2602.22495; that the mixture is geometric is a choice "
            "here).",
        ),
        "rehearsal": Coefficient(
            code=f"{_FUNCTIONS}rehearsal",
            settings=Rehearsal,
            needs=_RATIO | _PROBABILITY,
            doc="-u f'(u), u = p / q on answers of q: 1 - u for KL(q || p), u log((u + 1) / 2u) for Jensen-Shannon, "
            "(u^(1 - alpha) - u) / alpha for the alpha-divergence (DPH-RL, arXiv 2509.07430, as its code has it).",
        ),
        "rl_plus": Coefficient(
            code=f"{_FUNCTIONS}rl_plus",
            settings=RLPlus,
            needs=_RATIO | _PROBABILITY,
            doc="2 p / (p_old + (p_old + 1) / 2) x sg((1 - p)^gamma), for demonstrations in groups (RL-PLUS, arXiv "
            "2508.00222, as its code has it).",
        ),
    },
)
