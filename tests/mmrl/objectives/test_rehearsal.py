"""Divergences to answers of another policy, first units, and numbers under the entropy's control."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.objectives.coefficients import Units, rehearsal
from mmrl.objectives.controllers import EntropyGate
from mmrl.objectives.unit_weights import first_unit
from mmrl.recipe import coefficients, unit_weights
from mmrl.recipe.methods import resolve_objective

LOG_PROBS = st.floats(-6, 0)
# f of the published divergences, with f(1) = 0.
F = {
    "forward": lambda u: u - u.log() - 1,
    "js": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "alpha": lambda u: (u**0.7 - 0.7 * u - 0.3) / (0.3 * -0.7),
}


def units(log_probs, other, mask=None):
    now = torch.tensor([log_probs], dtype=torch.float64)
    mask = torch.ones_like(now, dtype=torch.bool) if mask is None else torch.tensor([mask])
    return Units(now, now, torch.ones_like(now), mask, others={"reference": torch.tensor([other], dtype=now.dtype)})


@pytest.mark.parametrize("form", F)
@given(st.lists(st.tuples(LOG_PROBS, LOG_PROBS), min_size=1, max_size=5))
def test_the_coefficient_is_minus_the_slope_of_f_in_the_log_prob(form, pairs):
    now, other = zip(*pairs)
    x = torch.tensor(now, dtype=torch.float64, requires_grad=True)
    F[form]((x - torch.tensor(other, dtype=torch.float64)).exp()).sum().backward()
    own = coefficients.Rehearsal(kind="rehearsal", form=form, alpha=0.3)
    assert rehearsal(units(now, other), own)[0].tolist() == pytest.approx((-x.grad).tolist(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("form", F)
def test_a_policy_that_has_not_moved_is_left_alone(form):
    own = coefficients.Rehearsal(kind="rehearsal", form=form)
    assert rehearsal(units([-1.0, -7.0], [-1.0, -7.0]), own).abs().max() < 1e-12


def test_the_first_learned_unit_stands_beside_the_mean_of_the_rest():
    """Four units of which the first is given: the sum over the three learned ones over 3 is 0.1 x + mean(y, z)."""
    own = unit_weights.FirstUnit(kind="first_unit", weight=0.1)
    weights = first_unit(units([-1.0] * 4, [0.0] * 4, mask=[False, True, True, True]), own)[0]
    values = torch.tensor([100.0, 5.0, 2.0, 4.0], dtype=torch.float64)
    assert float((weights * values)[1:].sum() / 3) == pytest.approx(0.1 * 5.0 + 3.0)
    alone = first_unit(units([-1.0, 0.0], [0.0, 0.0], mask=[True, False]), own)[0]
    assert float(alone[0]) == pytest.approx(0.1)
    assert math.isfinite(float(alone[1]))


def test_a_number_is_out_from_high_entropy_to_low_and_remembers():
    objective = resolve_objective("aepo", {})
    own = objective.controllers["entropy_gate"]
    gate, key = EntropyGate(own, objective), "advantage_transforms.sign_scale.negative"
    seen = []
    for entropy in (0.7, 1.0, 1.1, 0.7, None, 0.5, 0.4, 0.7):
        gate.observe({} if entropy is None else {"policy/entropy": entropy})
        other = EntropyGate(own, objective)
        other.load_state_dict(json.loads(json.dumps(gate.state_dict())))
        gate = other
        seen.append(gate.control().objective[key])
    assert seen == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"low": 2.0}, "low 2.0 is above high 1.0"), ({"key": "kl.wait"}, "key kl.wait is none of the objective")],
)
def test_a_gate_that_cannot_work_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective("aepo", {"controllers": {"entropy_gate": changes}})
