"""Coefficients as parts: their own parameters, figures of the clip, and one that is brought from outside."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.coefficients import choose_bounds
from mmrl.objectives.rows import Row
from mmrl.objectives.seen import Seen
from mmrl.recipe.coefficients import BAPO, COEFFICIENTS
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.objective import Objective
from mmrl.trainer.figures import metrics_of
from mmrl.trainer.step import plan_step

# f-alpha, arXiv 2510.00526: the gradient of -(1 - p^alpha) / alpha in log p.
OWN = """
from mmrl.recipe.coefficients import Coefficient, CoefficientSettings

class Alpha(CoefficientSettings):
    alpha: float = 0.5

def power(units, own):
    return (own.alpha * units.log_probs_RU).exp()

F_ALPHA = Coefficient(code=power, settings=Alpha, needs=frozenset({"probability"}), doc="p^alpha")
"""


def of(method="grpo", stream="rl", **coefficient):
    return resolve_objective(method, {"streams": {stream: {"coefficient": coefficient}}})


def test_a_coefficient_from_outside_brings_its_own_parameters_and_its_gradient(workplace):
    (workplace / "own_coefficients.py").write_text(OWN)
    objective = of("sft", "demo", kind="own_coefficients:F_ALPHA", alpha=0.3)
    rows = [Row(Decision(None, torch.zeros(4, dtype=torch.long)), "demo", 1.0, 0, 4)]
    log_probs = torch.tensor([[-0.1, -1.0, -2.0, -4.0]], dtype=torch.float64, requires_grad=True)
    likelihood = Likelihood(log_probs, torch.ones(1, 4, dtype=torch.bool))
    total, _ = kernel.loss(likelihood, rows, plan_step(objective, rows, 0, 8))
    published = ((1 - log_probs.exp() ** 0.3) / 0.3).mean()
    ours, theirs = (torch.autograd.grad(x, log_probs)[0] for x in (total, published))
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=0)
    with pytest.raises(ConfigError, match=r"demo.coefficient.alfa: unknown key 'alfa' .* Did you mean 'alpha'\?"):
        of("sft", "demo", kind="own_coefficients:F_ALPHA", alfa=0.3)
    with pytest.raises(ConfigError, match=r"rl.coefficient.kind: 'own_coefficients:power' is a function"):
        of(kind="own_coefficients:power")


def test_a_written_out_objective_reads_back_with_the_coefficients_parameters():
    # BAPO's bounds lie apart, and grpo's own are one.
    apart = {"bapo": {"high": 1.2}}
    for kind, part in COEFFICIENTS.entries.items():
        objective = of(kind=kind, **apart.get(kind, {}))
        assert type(objective.streams["rl"].coefficient) is part.settings
        assert Objective.model_validate(objective.model_dump(mode="json")) == objective


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "one", "low": 0.1}, "streams.rl.coefficient.low: unknown key 'low' of one. Allowed: kind"),
        ({"kind": "sapo", "high": 0.1}, "streams.rl.coefficient.high: unknown key 'high' of sapo"),
        ({"gamma": 0.1}, "streams.rl.coefficient.gamma: unknown key 'gamma' of ppo_clip"),
        ({"kind": "nowhere:X"}, "streams.rl.coefficient.kind: 'nowhere:X': no module 'nowhere'"),
        ({"kind": "cipso"}, "unknown coefficient 'cipso'. Did you mean 'cispo'?"),
    ],
)
def test_parameters_that_a_coefficient_does_not_have_are_refused(given, said):
    with pytest.raises(ConfigError) as error:
        of(**given)
    assert said in str(error.value)


def test_another_kind_keeps_what_it_shares_with_the_methods_own():
    cispo = of("dapo", kind="cispo").streams["rl"].coefficient
    assert (cispo.low, cispo.high) == (0.2, 0.28)
    assert of("pi_rl_sde", kind="cispo").streams["rl"].coefficient.level == "decision"
    assert of("dapo", kind="gmpo").streams["rl"].coefficient.log_range == 0.4


@pytest.mark.parametrize(
    ("kind", "shares"), [("one", None), ("sapo", None), ("cispo", (2 / 4, 1 / 4)), ("gmpo", (1 / 4, 0.0))]
)
def test_clip_figures_are_those_of_the_coefficients_own_bounds(kind, shares):
    """Ratios e^.2 and e^.5 with A > 0, e^-.3 and e^0 with A < 0."""
    rows = [
        Row(Decision(None, torch.zeros(2, dtype=torch.long)), "rl", advantage, i, 2, old=old)
        for i, (advantage, old) in enumerate([(1.0, torch.tensor([-1.1, -1.5])), (-1.0, torch.tensor([-0.7, -1.0]))])
    ]
    log_probs = torch.tensor([[-0.9, -1.0], [-1.0, -1.0]], requires_grad=True)
    objective = of(kind=kind)
    plan = plan_step(objective, rows, 0, 8)
    _, sums = kernel.loss(Likelihood(log_probs, torch.ones(2, 2, dtype=torch.bool)), rows, plan)
    figures = metrics_of(sums | {"loss_sum": 0.0}, {"rl": 1.0}, objective)
    assert figures.get("policy/clip_high") == (shares and shares[0])
    assert figures.get("policy/clip_low") == (shares and shares[1])


def test_clip_figures_count_the_units_that_ppo_leaves_without_a_gradient():
    """Ratios 2, 1 and 1/2 under advantages of both signs: min(r A, clip(r, 0.8, 1.2) A) by autograd."""
    log_probs = torch.full((2, 3), -1.0, dtype=torch.float64, requires_grad=True)
    old, signs = -1.0 - torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64).log(), torch.tensor([[1.0], [-1.0]])
    ratio = (log_probs - old).exp()
    surrogate = torch.minimum(ratio * signs, ratio.clamp(0.8, 1.2) * signs)
    flat = torch.autograd.grad(surrogate.sum(), log_probs)[0] == 0
    assert flat.tolist() == [[True, False, False], [False, False, True]]
    rows = [
        Row(Decision(None, torch.zeros(3, dtype=torch.long)), "rl", float(sign), i, 3, old=old)
        for i, sign in enumerate(signs)
    ]
    objective = of(kind="ppo_clip", low=0.2, high=0.2)
    likelihood = Likelihood(log_probs, torch.ones(2, 3, dtype=torch.bool))
    _, sums = kernel.loss(likelihood, rows, plan_step(objective, rows, 0, 8))
    figures = metrics_of(sums | {"loss_sum": 0.0}, {"rl": 1.0}, objective)
    shares = [float((flat & side).sum()) / 6 for side in (ratio > 1, ratio < 1)]
    assert [figures["policy/clip_high"], figures["policy/clip_low"]] == shares == [1 / 6, 1 / 6]


def test_the_bounds_of_bapo_end_at_their_most_where_the_target_is_out_of_reach():
    """No advantage is positive, so that nothing that is pushed up comes to a share of what is pushed down."""
    own, row = BAPO(low_step=0.1, high_step=0.7), torch.zeros(2, dtype=torch.float64)
    seen = Seen(row, row, row, None, None, -1.0, 0, 0, None)
    ((low, high),) = choose_bounds([seen], own)
    assert (float(low), float(high)) == pytest.approx((0.9, 3.0))
    above = Seen(row, row, row, None, None, 1.0, 0, 0, None)
    ((low, high),) = choose_bounds([above], own)
    assert (float(low), float(high)) == (0.6, 1.2)
