"""The coefficients psi by name: parameters, what they need, the ratios between which they do not cut.

Adding one is a function (see `mmrl.objectives.coefficients`), a settings model where it has parameters, and an entry of
`COEFFICIENTS`; or the same three in a module of one's own, and `kind: module:NAME` in the recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from mmrl.recipe.parts import Part, PartSettings
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

    def bounds(self) -> tuple[float, float]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient(Part):
    """A coefficient: `code` is a function of (`Units`, settings) to psi [R, U]."""


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
    },
)
