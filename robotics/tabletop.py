"""The embedded tabletop: thousands of parallel worlds as torch tensors, on a CPU or a GPU, with nothing to install."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from robotics.arguments import as_actions, as_ids, as_worlds
from robotics.base import VectorEnv
from robotics.episodes import EpisodeTracker, StepRecord, stack_steps
from robotics.settings import TABLETOP, TABLETOP_STATE_DIM, TABLETOP_WORLDS, SimulatorSettings
from robotics.tabletop_layout import instructions, start_world
from robotics.tabletop_render import Renderer
from robotics.tabletop_tasks import TASKS
from robotics.tabletop_world import ACTION_DIM, World, step_world
from robotics.types import Observation, StepResult


class TabletopEnv(VectorEnv):
    """Grippers over tables of coloured blocks; docs/simulators.md has the tasks, units and rewards.

    Built by `robotics.make({"type": "tabletop", ...})`. Actions: [dx, dy, grip]; state: [x, y, closed, holding].
    """

    SETTINGS: ClassVar[SimulatorSettings] = TABLETOP
    has_expert: ClassVar[bool] = True

    def __init__(self, **options: Any):
        self.num_envs = options["num_envs"] or TABLETOP_WORLDS
        self.tasks, self.cameras = options["tasks"], options["cameras"]
        self.num_blocks, self.colours = options["num_blocks"], options["colours"]
        self.device = _device(options["device"])
        self.action_dim, self.state_dim = ACTION_DIM, TABLETOP_STATE_DIM
        self.max_steps = options["max_steps"] or max(TASKS[task].max_steps for task in self.tasks)
        self.dense = options["reward"] == "dense"
        self._index = {task: list(TASKS).index(task) for task in self.tasks}
        self._pushable_N = torch.tensor([task.pushable for task in TASKS.values()], device=self.device)
        self._graspable_N = torch.tensor([task.graspable for task in TASKS.values()], device=self.device)
        zone_slots = max({"none": 0, "mark": 1}.get(TASKS[task].zones, self.num_blocks) for task in self.tasks)
        self._renderer = Renderer(options["image_size"], zone_slots, self.device)
        self._tracker = EpisodeTracker(self.num_envs, self.max_steps, self.device, options["terminate_on_success"])
        self._world: World | None = None

    @property
    def world(self) -> World:
        """The worlds as they are now. RuntimeError before the first reset."""
        if self._world is None:
            raise RuntimeError("tabletop: reset(ids) comes first")
        return self._world

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`. World `i` has task `tasks[i % len(tasks)]`."""
        worlds_W = as_worlds(worlds, self.num_envs)
        start = self._start(as_ids(ids, len(worlds_W)))
        if worlds is None:
            self._world, self._instructions = start.to(self.device), instructions(start)
            self._tracker.reset()
        else:
            if self._world is None:
                idle = self._start(torch.zeros(self.num_envs, dtype=torch.int64))
                self._world, self._instructions = idle.to(self.device), instructions(idle)
            self._world = self._world.put(worlds_W.to(self.device), start.to(self.device))
            for world, text in zip(worlds_W.tolist(), instructions(start)):
                self._instructions[world] = text
            self._tracker.reset(worlds_W)
        self._pushable_B = self._pushable_N[self._world.task_B]
        self._graspable_B = self._graspable_N[self._world.task_B]
        self._potential_B = self._potential(self._world) if self.dense else None
        return self.observe()

    def _start(self, ids_W: Tensor) -> World:
        return start_world(ids_W, self.tasks, self.num_blocks, self.colours)

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`. `info` has what the contract names and nothing more."""
        return replace(self.unseen_step(actions), observation=self.observe())

    def unseen_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.unseen_step`."""
        limits = (self.action_low, self.action_high)
        actions_BCA = as_actions("tabletop", actions, self.num_envs, self.action_dim, *limits).to(self.device)
        records = [self._step(actions_BCA[:, step]) for step in range(actions_BCA.shape[1])]
        return StepResult(observation=None, info=self._tracker.info(), **stack_steps(records))

    def observe(self) -> Observation:
        """See `VectorEnv.observe`."""
        images = {camera: self._renderer(self.world) for camera in self.cameras}
        return Observation(images=images, state=self.world.state_BS(), instruction=list(self._instructions))

    def expert_action(self) -> Tensor:
        """See `VectorEnv.expert_action`. It acts from any state, also one that a policy brought about."""
        world = self.world
        return self._by_task({task: TASKS[task].expert(world) for task in self.tasks})

    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """See `VectorEnv.render`: the `top` camera, also where `cameras` is empty."""
        if worlds is None:
            return self._renderer(self.world)
        return self._renderer(self.world.take(as_worlds(worlds, self.num_envs).to(self.device)))

    def _step(self, action_BA: Tensor) -> StepRecord:
        active_B = self._tracker.active_B
        world = step_world(self.world, action_BA, active_B, self._pushable_B, self._graspable_B)
        self._world = world
        success_B = self._success(world)
        if self.dense:
            potential_B = self._potential(world)
            reward_B = potential_B - self._potential_B
            self._potential_B = potential_B
        else:
            reward_B = (success_B & ~self._tracker.success_once_B).to(torch.float32)
        return self._tracker.step(reward_B, success_B)

    def _success(self, world: World) -> Tensor:
        return self._by_task({task: TASKS[task].success(world) for task in self.tasks})

    def _potential(self, world: World) -> Tensor:
        progress_B = self._by_task({task: TASKS[task].progress(world) for task in self.tasks})
        return 0.5 * progress_B + 0.5 * self._success(world).to(torch.float32)

    def _by_task(self, values: dict[str, Tensor]) -> Tensor:
        """From one [B, ...] tensor per task, each world's own."""
        names = list(values)
        chosen = values[names[0]]
        for name in names[1:]:
            mine_B = self.world.task_B == self._index[name]
            chosen = torch.where(mine_B.view(-1, *[1] * (chosen.dim() - 1)), values[name], chosen)
        return chosen


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"tabletop: device={name!r} is not allowed; allowed: cpu, cuda, cuda:N ({error})") from error
