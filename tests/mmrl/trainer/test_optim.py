"""The optimizer: rates over a stage against their closed form, and the norm that gradients are cut to."""

import math

import pytest
import torch

from mmrl.contracts.errors import CheckpointError
from mmrl.recipe.training import OptimConfig
from mmrl.trainer.optim import Optimizer

ROOT2 = math.sqrt(2)
# Of 8 steps of a stage of 6, with a warm-up of 2 and 0.2 at the end: p = 0, 1/4, 1/2, 3/4, 1 after the warm-up, and
# 0.2 + 0.8 (1 - p), or 0.2 + 0.8 (1 + cos(pi p)) / 2. A stage that goes on past its length stays at its end.
FACTORS = {
    "constant": [0.5, 1, 1, 1, 1, 1, 1, 1],
    "linear": [0.5, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2],
    "cosine": [0.5, 1, 1, 0.6 + 0.2 * ROOT2, 0.6, 0.6 - 0.2 * ROOT2, 0.2, 0.2],
}


class Weights:
    """A policy of two weights."""

    def __init__(self):
        self.first, self.second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))

    def trainable(self):
        return [("first", self.first, "language"), ("second", self.second, "vision")]

    def pull(self, first, second):
        """Gives the weights their gradients."""
        self.first.grad, self.second.grad = torch.tensor([first]), torch.tensor([second])


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("schedule", FACTORS)
def test_rates_follow_their_schedule_to_its_end(schedule, rate):
    policy = Weights()
    config = OptimConfig(lr=0.01, lr_vision=0.001, schedule=schedule, warmup=2, min_ratio=0.2)
    optimizer = Optimizer(policy, config, 6)
    optimizer.rate = rate
    logged = []
    for _ in range(8):
        policy.pull(3.0, -4.0)
        logged.append(optimizer.step()["optim/lr"])
    expected = [rate * factor for factor in FACTORS[schedule]]
    assert logged == pytest.approx([0.01 * factor for factor in expected])
    # Under a gradient that stays the same, AdamW moves by its rate at each step, against the gradient's sign.
    assert policy.first.item() == pytest.approx(-0.01 * sum(expected), rel=1e-5)
    assert policy.second.item() == pytest.approx(0.001 * sum(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("clip_norm", "kept"), [(1.0, (0.6, -0.8)), (2.5, (1.5, -2.0)), (10.0, (3.0, -4.0)), (None, (3.0, -4.0))]
)
def test_gradients_are_cut_to_the_norm_of_all_of_them_together(clip_norm, kept):
    """(3, -4) has the norm 5; AdamW's first moment after one step is (1 - beta1) g."""
    policy = Weights()
    optimizer = Optimizer(policy, OptimConfig(betas=(0.75, 0.999), clip_norm=clip_norm), 1)
    policy.pull(3.0, -4.0)
    assert optimizer.step()["optim/grad_norm"] == 5.0
    moments = optimizer.state()
    found = [moments[f"exp_avg/{name}"].item() for name in ("first", "second")]
    assert found == pytest.approx([0.25 * gradient for gradient in kept], rel=1e-5)


def test_a_weight_without_a_gradient_stays_where_it_is():
    """Gradients are cleared, not set to 0: AdamW would go on by its moments, and decay the weight."""
    policy = Weights()
    optimizer = Optimizer(policy, OptimConfig(lr=0.01), 4)
    policy.pull(3.0, -4.0)
    optimizer.step()
    second = policy.second.item()
    policy.first.grad = torch.tensor([3.0])
    optimizer.step()
    assert policy.second.item() == second


@pytest.mark.parametrize(("gradients", "broken"), [
    ((3.0, -4.0), ""), ((3.0, math.nan), "second"), ((math.inf, math.nan), "first"),
])  # fmt: skip
def test_the_first_gradient_that_is_not_finite_is_named(gradients, broken):
    policy = Weights()
    optimizer = Optimizer(policy, OptimConfig(), 4)
    policy.pull(*gradients)
    assert optimizer.step()["optim/skipped"] == float(bool(broken))
    assert optimizer.broken == broken


@pytest.mark.parametrize("change", [
    lambda tensors: tensors.pop("exp_avg_sq/first"),
    lambda tensors: tensors.update({"exp_avg/first": torch.zeros(2)}),
])  # fmt: skip
def test_moments_of_another_model_are_refused(change):
    policy = Weights()
    optimizer = Optimizer(policy, OptimConfig(), 4)
    policy.pull(3.0, -4.0)
    optimizer.step()
    tensors = optimizer.state()
    again = Optimizer(policy, OptimConfig(), 4)
    again.load_state(tensors, 3)
    assert again.step_count == 3
    change(tensors)
    with pytest.raises(CheckpointError, match="does not hold 'first'"):
        Optimizer(policy, OptimConfig(), 4).load_state(tensors, 1)
