"""Between a robot's units and a flow policy's, against the published formulas."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.policies.flow.normaliser import make_normaliser

ENTRY = {"mean": [1.0, -2.0, 0.0], "std": [0.5, 4.0, 0.0], "q01": [0.0, -8.0, 0.0], "q99": [2.0, 8.0, 0.0]}
STATISTICS = {"arm": {"action": ENTRY, "proprio": ENTRY}}


@pytest.mark.parametrize("part", ["action", "proprio"])
def test_formulas_are_the_published_ones(part):
    values = torch.tensor([[1.5, 6.0, 0.0], [0.0, -10.0, 0.0]])
    by_mean = make_normaliser("mean_std", STATISTICS, "arm", part)
    by_quantile = make_normaliser("quantiles", STATISTICS, "arm", part)
    assert torch.allclose(by_mean.normalise(values), torch.tensor([[1.0, 2.0, 0.0], [-2.0, -2.0, 0.0]]))
    wanted = torch.tensor([[0.5, 0.75, -1.0], [-1.0, -1.25, -1.0]])
    assert torch.allclose(by_quantile.normalise(values), wanted, atol=1e-6)
    for made in (by_mean, by_quantile):
        assert torch.allclose(made.restore(made.normalise(values)), values, atol=1e-6)


def test_a_state_that_moves_for_the_first_time_stays_a_small_number():
    """A gripper that no demonstration closes; its action stays the constant of the data."""
    state = make_normaliser("mean_std", STATISTICS, "arm", "proprio")
    action = make_normaliser("mean_std", STATISTICS, "arm", "action")
    assert state.normalise(torch.tensor([1.0, -2.0, 1.0])).tolist() == [0.0, 0.0, 1.0]
    assert action.restore(torch.tensor([0.0, 0.0, 3.0])).tolist() == pytest.approx([1.0, -2.0, 0.0], abs=1e-7)


def test_missing_entries_are_named():
    short = {"arm": {"action": {"mean": [0.0]}}}
    with pytest.raises(ConfigError, match=r"'arm', entry 'action': std is missing"):
        make_normaliser("mean_std", short, "arm", "action")
