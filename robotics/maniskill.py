"""ManiSkill's tasks: on one GPU all worlds in one process (`physx_cuda`), elsewhere a worker process per world."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from robotics.arguments import as_actions, as_ids, as_worlds
from robotics.base import VectorEnv
from robotics.episodes import EpisodeTracker, StepRecord, stack_steps
from robotics.maniskill_build import (
    action_bounds,
    action_spaces,
    build_base,
    choose_cameras,
    own_limit,
    require_package,
    reward_ignores_observation,
)
from robotics.maniskill_gripper import from_controller, gripper_dims, to_controller
from robotics.maniskill_starts import RestoredStarts, SeededStarts, map_states, take_rows
from robotics.maniskill_tasks import EXPERT_CONTROL, EXPERTS, instructions
from robotics.settings import MANISKILL, MANISKILL_REWARDS, SimulatorSettings, check_no_rebuild
from robotics.types import Observation, StepResult
from robotics.workers import WorkerEnv


class ManiSkillEnv(VectorEnv):
    """A registered ManiSkill task in this process; docs/simulators.md has options, states and rewards.

    `physx_cpu` allows one world per process, so `robotics.make` then gives a `WorkerEnv` of these. With `physx_cuda`
    one more world than asked for is simulated, world 0 of `RestoredStarts`.
    """

    SETTINGS: ClassVar[SimulatorSettings] = MANISKILL

    @classmethod
    def build(cls, options: dict[str, Any]) -> VectorEnv:
        """See `VectorEnv.build`. `auto` is `physx_cuda` where torch sees a GPU."""
        backend, gpu = options["backend"], torch.cuda.is_available()
        if backend == "physx_cuda" and not gpu:
            raise ValueError(
                "maniskill: backend='physx_cuda' needs a CUDA GPU, and torch sees none; allowed: physx_cpu"
            )
        if backend == "physx_cuda" or (backend == "auto" and gpu):
            check_no_rebuild(options, "physx_cuda")
            return cls(**{**options, "backend": "physx_cuda"})
        require_package()
        world = functools.partial(cls, **{**options, "backend": "physx_cpu", "num_envs": 1})
        return WorkerEnv("maniskill", world, options["num_envs"], options["timeout"], ["robotics.maniskill_preload"])

    def __init__(self, **options: Any):
        parallel = options["backend"] == "physx_cuda"
        self.num_envs, self.task, self.reward = options["num_envs"], options["task"], options["reward"]
        self._text, self._rgb = options["instruction"], options["observation"] == "rgb"
        self._base = base = build_base(options, MANISKILL_REWARDS[self.reward], self.num_envs + parallel)
        self._rows = torch.arange(self.num_envs, device=base.device) + int(parallel)
        self._starts = RestoredStarts(base) if parallel else SeededStarts(base, options["rebuild"])
        self._spaces = action_spaces(base)
        self._low_A, self._high_A = (bound.to(base.device) for bound in action_bounds(self._spaces))
        self.action_dim = len(self._low_A)
        self._gripper = options["gripper"]
        self._gripper_dims = gripper_dims(base, self._gripper)
        self.cameras = choose_cameras(base, options["cameras"]) if self._rgb else ()
        self.max_steps = options["max_steps"] or own_limit(self.task)
        self.has_expert = self.task in EXPERTS and base.control_mode == EXPERT_CONTROL
        if self.reward == "only_success" and "success" not in base.get_info():
            raise ValueError(f"maniskill: task={self.task!r} has no success, so reward='only_success' is not allowed")
        self._tracker = EpisodeTracker(self.num_envs, self.max_steps, base.device, options["terminate_on_success"])
        self._none_B, self._zero_B = self._tracker.dropped_B, self._tracker.return_B
        self._level_B = self._zero_B
        self._between = "none" if reward_ignores_observation(base) else "state_dict"
        self.state_dim = self._look().state.shape[1]
        # What was seen last, and the worlds that moved since.
        self._seen: Observation | None = None
        self._unseen_B = self._none_B

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`. Ids from 0 to 2^31 - 1 are ManiSkill's own episode seeds."""
        chosen = as_worlds(worlds, self.num_envs)
        ids_W = as_ids(ids, len(chosen))
        started_B = self._none_B.index_fill(0, chosen.to(self._none_B.device), True)
        if (self._unseen_B & ~started_B).any():
            self.observe()
        self._starts.start(ids_W.tolist(), self._rows[chosen])
        if self._seen is None:
            self._ended_state = self._state()
        self._tracker.reset(chosen)
        self._level_B = self._level_B.masked_fill(started_B, 0.0)
        observation = self._look()
        self._seen = observation if self._seen is None else _merge_observations(started_B, observation, self._seen)
        self._unseen_B = self._none_B
        return self._seen

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`. Actions are scaled from [-1, 1] to the bounds of the control mode."""
        return replace(self.unseen_step(actions), observation=self.observe())

    def unseen_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.unseen_step`."""
        if self._seen is None:
            raise RuntimeError("maniskill: reset(ids) comes first")
        limits = (self.action_low, self.action_high)
        actions_BCA = as_actions("maniskill", actions, self.num_envs, self.action_dim, *limits)
        actions_BCA = to_controller(actions_BCA, self._gripper_dims, self._gripper)
        scaled_BCA = (actions_BCA.to(self._low_A.device) + 1.0) / 2.0
        raw_BCA = self._low_A + scaled_BCA * (self._high_A - self._low_A)
        self._unseen_B = self._unseen_B | self._tracker.active_B
        records = [self._step(raw_BCA[:, step]) for step in range(raw_BCA.shape[1])]
        return StepResult(observation=None, info=self._tracker.info(), **stack_steps(records))

    def observe(self) -> Observation:
        """See `VectorEnv.observe`."""
        if self._seen is None:
            raise RuntimeError("maniskill: reset(ids) comes first")
        if self._unseen_B.any():
            moved = self._hold(self._tracker.done_B)
            self._seen = _merge_observations(self._unseen_B, self._look(None if moved else self._info), self._seen)
            self._unseen_B = self._none_B
        return self._seen

    def expert_action(self) -> Tensor:
        """See `VectorEnv.expert_action`: for the tasks in `EXPERTS`, with the control mode `EXPERT_CONTROL`."""
        if not self.has_expert:
            return super().expert_action()
        return from_controller(self._playing_rows(EXPERTS[self.task](self._base)), self._gripper_dims, self._gripper)

    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """See `VectorEnv.render`: the task's camera for people, where goal markers show too."""
        if self._unseen_B.any():
            self._hold(self._tracker.done_B)
        return self._base.render_rgb_array()[self._rows[as_worlds(worlds, self.num_envs)]]

    def close(self) -> None:
        """Release the scene."""
        self._base.close()

    def _step(self, raw_BA: Tensor) -> StepRecord:
        if not self._tracker.active_B.any():
            return self._tracker.step(self._zero_B, self._none_B)
        _, level_N, _, _, info = self._base.step(self._command(raw_BA))
        self._info = info
        success_B = self._playing_rows(info["success"]) if "success" in info else self._none_B
        failure_B = self._playing_rows(info["fail"]) if "fail" in info else None
        reward_B = self._reward_of(self._playing_rows(level_N).to(torch.float32), success_B)
        record = self._tracker.step(reward_B, success_B, failure_B)
        ended_B = record.terminated | record.truncated
        if self.num_envs > 1 and ended_B.any():
            self._ended_state = map_states(
                lambda new, old: _select_worlds(ended_B, new, old), self._state(), self._ended_state
            )
        return record

    def _playing_rows(self, value_N: Any) -> Any:
        """The rows of the worlds that play."""
        return value_N[self._base.num_envs - self.num_envs :]

    def _command(self, raw_BA: Tensor) -> Any:
        """The action as ManiSkill takes it: one row per simulated world, by robot where there are several."""
        spare = self._base.num_envs - self.num_envs
        rest_A = (self._low_A + self._high_A) / 2
        # Spare worlds come first in ManiSkill's batch, as in `_playing_rows`, and rest: N = spare + B.
        raw_NA = torch.cat([rest_A.expand(spare, -1), raw_BA]) if spare else raw_BA
        if len(self._spaces) == 1:
            return raw_NA
        parts = raw_NA.split([len(box.low) for box in self._spaces.values()], dim=1)
        return dict(zip(self._spaces, parts))

    def _reward_of(self, level_B: Tensor, success_B: Tensor) -> Tensor:
        if self.reward == "only_success":
            return (success_B & ~self._tracker.success_once_B).to(torch.float32)
        if self.reward != "relative":
            return level_B
        change_B, self._level_B = level_B - self._level_B, level_B
        return change_B

    def _state(self) -> Any:
        return map_states(self._playing_rows, self._base.get_state_dict())

    def _hold(self, done_B: Tensor) -> bool:
        """Put finished worlds back to where they ended, and say whether that changed the scene.

        A single world does not step on.
        """
        if self.num_envs == 1 or not done_B.any():
            return False
        self._base.set_state_dict(take_rows(self._ended_state, done_B.nonzero()[:, 0]), self._rows[done_B])
        return True

    def _look(self, info: dict[str, Any] | None = None) -> Observation:
        """What the worlds show now. info: the last step's, where the scene did not change since."""
        from mani_skill.utils.common import flatten_state_dict

        base = self._base
        for name in set(base._sensors) - set(self.cameras):
            del base._sensors[name]
        base._obs_mode = "rgb" if self._rgb else "state_dict"
        raw = base.get_obs(info, unflattened=True)
        # Left to itself, every step of ManiSkill observes, and in its rgb mode renders; here only ends of chunks do.
        base._obs_mode = self._between
        parts = {"agent": raw["agent"], "extra": raw["extra"]}
        state_NS = flatten_state_dict(parts, use_torch=True, device=base.device).to(torch.float32)
        return Observation(
            images={name: self._playing_rows(raw["sensor_data"][name]["rgb"]) for name in self.cameras},
            state=self._playing_rows(state_NS),
            instruction=self._playing_rows(instructions(base, self.task, self._text)),
        )


def _select_worlds(chosen_B: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen_B.view(-1, *[1] * (new.dim() - 1)), new, old)


def _merge_observations(chosen_B: Tensor, new: Observation, old: Observation) -> Observation:
    """`new` of the worlds `chosen_B`, `old` of the others."""
    if chosen_B.all():
        return new
    picked = chosen_B.tolist()
    return Observation(
        images={name: _select_worlds(chosen_B, image, old.images[name]) for name, image in new.images.items()},
        state=_select_worlds(chosen_B, new.state, old.state),
        instruction=[a if take else b for take, a, b in zip(picked, new.instruction, old.instruction)],
    )
