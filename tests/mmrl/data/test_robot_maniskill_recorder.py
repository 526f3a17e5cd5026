"""A trajectory that ManiSkill itself records reads back as what it showed: needs mani_skill and a Vulkan driver."""

import numpy as np
import pytest
import torch

from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import ManiSkillData

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("maniskill")]


def test_rows_are_what_the_simulator_showed(tmp_path):
    import gymnasium
    import mani_skill.envs  # noqa: F401
    from mani_skill.utils.common import flatten_state_dict
    from mani_skill.utils.wrappers.record import RecordEpisode

    options = {"obs_mode": "rgb", "control_mode": "pd_ee_delta_pos", "sim_backend": "physx_cpu"}
    env = gymnasium.make("PickCube-v1", render_backend="cpu", sensor_configs={"width": 64, "height": 64}, **options)
    env = RecordEpisode(env, str(tmp_path), save_video=False, trajectory_name="recorded")
    actions = np.array([[0.1 * i, 0.2, -0.1, 1.0] for i in range(4)], np.float32)
    seen = [env.reset(seed=3)[0]] + [env.step(action)[0] for action in actions]
    env.close()
    rows = open_dataset(
        ManiSkillData(
            type="maniskill_h5",
            path=str(tmp_path / "recorded.h5"),
            control_mode="pd_ee_delta_pos",
            successful_only=False,
            chunk=2,
        )
    )
    assert len(rows) == 4
    for step, (sample, shown) in enumerate(zip(rows, seen)):
        state = flatten_state_dict({"agent": shown["agent"], "extra": shown["extra"]}, use_torch=True)[0]
        assert torch.equal(sample.state, state.float())
        assert np.array_equal(sample.images[0], shown["sensor_data"]["base_camera"]["rgb"][0].numpy())
        assert np.array_equal(sample.actions.numpy(), actions[step : step + 2])
