import dataclasses

import pytest
import torch

import robotics
from robotics import contract
from robotics.tabletop import TabletopEnv
from robotics.tabletop_tasks import TASKS

CONFIGS = {
    **{f"{task}-{reward}": {"tasks": [task], "reward": reward} for task in TASKS for reward in ("sparse", "dense")},
    "mixed": {"tasks": list(TASKS), "max_steps": 20, "num_blocks": 4},
    "one-block": {"tasks": ["reach", "sort"], "num_blocks": 1, "reward": "dense"},
    "no-camera": {"tasks": ["push"], "cameras": []},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_tabletop_keeps_the_contract(name):
    config = {"type": "tabletop", "num_envs": 9, "image_size": 32, **CONFIGS[name]}
    contract.check_contract(lambda: robotics.make(config), ids=[5, -3, 0, 1 << 40, 7, 2, 11, 1, -(1 << 63)])


class _Broken(TabletopEnv):
    """A tabletop with one fault, to see that the checks notice it."""

    fault = ""

    def reset(self, ids):
        observation = super().reset(ids)
        if self.fault == "global_rng":
            torch.rand(1)
        if self.fault == "start_by_row":
            state = observation.state + torch.arange(self.num_envs)[:, None]
            return dataclasses.replace(observation, state=state)
        return observation

    def chunk_step(self, actions):
        result = super().chunk_step(actions)
        if self.fault == "reward_after_end":
            return dataclasses.replace(result, reward=result.reward + 1.0)
        if self.fault == "valid_too_long":
            return dataclasses.replace(result, valid=torch.ones_like(result.valid))
        if self.fault == "episode_len":
            return dataclasses.replace(result, info={**result.info, "episode_len": result.info["episode_len"] + 1})
        if self.fault == "dtype":
            return dataclasses.replace(result, reward=result.reward.double())
        return result


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("global_rng", contract.check_global_rng),
        ("start_by_row", contract.check_equal_starts),
        ("reward_after_end", contract.check_masks),
        ("valid_too_long", contract.check_masks),
        ("episode_len", contract.check_masks),
        ("dtype", contract.check_shapes),
    ],
)
def test_the_checks_notice_faults(fault, check):
    options = TabletopEnv.SETTINGS.read("tabletop", {"num_envs": 8})

    def make():
        env = _Broken(**options)
        env.fault = fault
        return env

    with pytest.raises(AssertionError):
        check(make, list(range(8)))
