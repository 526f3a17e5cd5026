"""As much of ManiSkill's environment as `robotics.maniskill` uses, with many worlds on a CPU, which it does not offer.

A world is a point that its actions move along a line and whose goal is at 1.
"""

from types import SimpleNamespace

import numpy as np
import torch


class FakeBase:
    """`hidden`: per-episode offset of the goal that is not part of the simulation state, or 0."""

    def __init__(self, worlds: int, reward_mode: str, hidden: float = 0.0):
        self.num_envs, self.device, self.control_mode = worlds, torch.device("cpu"), "pd_joint_delta_pos"
        self.single_action_space = SimpleNamespace(
            low=np.array([-2.0, 0.0], np.float32), high=np.array([2.0, 4.0], np.float32)
        )
        self._sensors, self._obs_mode, self._hidden = {"front": 0, "wrist": 0}, "rgb", hidden
        self._mode, self.raw = reward_mode, []
        self.x, self.goal = torch.zeros(worlds, 1), torch.ones(worlds, 1)
        self.rendered = 0

    def reset(self, seed=None, options=None):
        rows = options["env_idx"]
        if "reset_to_env_states" in options:
            self.set_state_dict(options["reset_to_env_states"]["env_states"], rows)
        else:
            generator = torch.Generator().manual_seed(seed)
            self.x[rows] = 0.5 * torch.rand(len(rows), 1, generator=generator)
            self.goal[rows] = 1.0 + self._hidden * torch.rand(len(rows), 1, generator=generator)

    def get_state_dict(self):
        return {"actors": {"point": self.x.clone()}}

    def set_state_dict(self, state, rows=None):
        self.x[rows] = state["actors"]["point"]

    def get_info(self):
        success = (self.x - self.goal).abs()[:, 0] < 0.1
        return {"success": success, "fail": self.x[:, 0] < -1.0}

    def step(self, raw_NA):
        self.raw.append(raw_NA.clone())
        self.x = self.x + 0.1 * raw_NA[:, :1]
        level = {"none": torch.zeros(self.num_envs)}.get(self._mode, 1.0 - (self.x - self.goal).abs()[:, 0])
        return None, level, None, None, self.get_info()

    def get_reward(self, obs, action, info):
        assert action.shape == (self.num_envs, 2)

    def _get_obs_agent(self):
        return {"qpos": self.x.clone()}

    def _get_obs_extra(self, info):
        return {"goal": self.goal - self.x, "near": info["success"]}

    def get_obs(self, info, unflattened):
        self.rendered += self._obs_mode == "rgb"
        seen = {"agent": self._get_obs_agent(), "extra": self._get_obs_extra(self.get_info())}
        if self._obs_mode == "rgb":
            seen["sensor_data"] = {name: {"rgb": self.render_rgb_array()} for name in self._sensors}
        return seen

    def render_rgb_array(self):
        shade = (100 + 50 * self.x).clamp(0, 255).to(torch.uint8)
        return shade[:, :, None, None].expand(-1, 4, 4, 3).contiguous()

    def close(self):
        pass
