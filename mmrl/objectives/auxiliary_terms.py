"""Terms of the loss that need more than log-probs. `mmrl.recipe.auxiliary_terms` has names, parameters and sources."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmrl.contracts.types import Likelihood
from mmrl.recipe import auxiliary_terms as settings


@dataclass(frozen=True, slots=True)
class TermUnits:
    """What a term sees of a micro-batch.

    Attributes:
        likelihood: with its gradient; `entropy_RU` `log_normaliser_RU` or `divergences` where the term needs it.
        old_RU: log-probs under the policy that made the rollouts, the current ones where there was no update since.
        advantage_RU: A.
    """

    likelihood: Likelihood
    old_RU: Tensor
    advantage_RU: Tensor


def z_loss(units: TermUnits, own: settings.ZLoss) -> Tensor:
    """log(Z)^2."""
    return units.likelihood.log_normaliser_RU.square()


def divergence(units: TermUnits, own: settings.Divergence) -> Tensor:
    """That to the other's distribution, as the policy computed it."""
    return units.likelihood.divergences[own.form, own.to]
