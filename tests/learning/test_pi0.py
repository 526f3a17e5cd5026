"""The recipe of π0 learns by SFT and again by RL (slow: five minutes)."""

import pytest

import mmrl
from tests.support.learning import recipe


@pytest.mark.slow
def test_pi0_gains_by_sft_and_again_by_flow_sde(tmp_path):
    """The recipe with fewer RL steps, on half of their episodes in half of their minibatches."""
    from mmrl.policies.tiny import write_tiny

    raw = recipe("robot_pi0", tmp_path)
    raw["policy"] = {**raw["policy"], "path": str(write_tiny("pi0", tmp_path / "tiny_pi0"))}
    sft, rl = raw["stages"]
    raw["stages"] = [sft, {**rl, "steps": 50, "prompts": 128, "minibatches": 2}]
    summary = mmrl.train(raw).summary
    start, taught, final = (summary[when]["mean"] for when in ("start", "after_sft", "final"))
    assert start < 0.2
    assert taught >= start + 0.3
    assert final >= taught + 0.04
