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


@pytest.mark.parametrize("bounds", [{}, {"min": [0.3, 0.0, -1.0], "max": [0.3, 1.0, 1.0]}])
@pytest.mark.parametrize("kind", ["mean_std", "quantiles"])
def test_a_joint_whose_deviation_is_rounding_never_moved(kind, bounds):
    """lerobot's own std of a constant 0.3 over two episodes."""
    entry = {
        "mean": [0.30000001192092896, 0.5, 0.0],
        "std": [1.4839458397983587e-08, 1e-3, 1.0],
        "q01": [0.30000001, 0.4, -1.0],
        "q99": [0.30000001, 0.6, 1.0],
    }
    state = make_normaliser(kind, {"arm": {"proprio": entry | bounds}}, "arm", "proprio")
    still = -1.0 if kind == "quantiles" else 0.0
    seen = torch.tensor([[0.3, 0.5, 0.0], [0.31, 0.5, 0.0], [0.8, 0.501, 0.0]])
    wanted = [still, still + 0.01, still + 0.5]
    assert torch.allclose(state.normalise(seen)[:, 0], torch.tensor(wanted), atol=1e-6)
    if kind == "mean_std":
        assert state.normalise(seen)[2, 1] == pytest.approx(1.0, abs=1e-3), "a joint that moves little is scaled"


def test_bounds_say_that_a_joint_moved_however_little():
    entry = {"mean": [1000.0], "std": [1e-4], "min": [999.9], "max": [1000.1]}
    state = make_normaliser("mean_std", {"arm": {"proprio": entry}}, "arm", "proprio")
    assert state.normalise(torch.tensor([1000.0])).tolist() == [0.0]
    assert float(state.scale_A) == pytest.approx(1e-4, rel=1e-3)


def test_missing_entries_are_named():
    short = {"arm": {"action": {"mean": [0.0]}}}
    with pytest.raises(ConfigError, match=r"'arm', entry 'action': std is missing"):
        make_normaliser("mean_std", short, "arm", "action")
