"""LIBERO's suites of manipulation tasks, one world per worker process."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robotics.arguments import as_actions, as_ids, as_worlds
from robotics.base import VectorEnv
from robotics.episodes import EpisodeTracker, StepRecord, stack_steps
from robotics.libero_expert import EXPERT_TASKS, PickAndPlace
from robotics.libero_setup import (
    DOWNLOAD,
    find_assets,
    init_states,
    load_package,
    mujoco_problem,
    package_root,
    rendering_error,
    task_names,
    task_text,
)
from robotics.options import unknown
from robotics.settings import LIBERO, LIBERO_STATE_DIM, LIBERO_SUITES, SimulatorSettings
from robotics.types import Observation, StepResult
from robotics.workers import WorkerEnv

logger = logging.getLogger(__name__)

ACTION_DIM = 7
# Start states that the package has of each task.
RECORDED = 50
# No motion, gripper open: objects of a recorded start fall into place meanwhile.
SETTLE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


class LiberoEnv(VectorEnv):
    """One world of a suite; `robotics.make` gives a `WorkerEnv` of these. docs/simulators.md has the conventions.

    Actions: [dx, dy, dz, droll, dpitch, dyaw, gripper]; state: hand position (m), axis-angle (rad), two finger joints
    (m). `info["task"]` is the index of the task in its suite, int64 [B].
    """

    SETTINGS: ClassVar[SimulatorSettings] = LIBERO

    @classmethod
    def build(cls, options: dict[str, Any]) -> VectorEnv:
        """See `VectorEnv.build`."""
        options = {**options, "assets": str(find_assets(options["assets"], package_root()))}
        if problem := mujoco_problem(metadata.version("mujoco")):
            logger.warning(problem)
        world = functools.partial(cls, **{**options, "num_envs": 1})
        return WorkerEnv("libero", world, options["num_envs"], options["timeout"])

    @classmethod
    def start_count(cls, options: dict[str, Any]) -> int | None:
        """See `VectorEnv.start_count`: the recorded states of all its tasks, wherever furniture stands."""
        tasks = options["tasks"] or range(LIBERO_SUITES[options["suite"]][0])
        return len(tasks) * (options["init_count"] or max(1, RECORDED - options["init_first"]))

    def __init__(self, **options: Any):
        self.num_envs, self.action_dim, self.state_dim = 1, ACTION_DIM, LIBERO_STATE_DIM
        self.cameras = options["cameras"]
        self.max_steps = options["max_steps"] or LIBERO_SUITES[options["suite"]][1]
        self._options = options
        self._make = load_package(find_assets(options["assets"], package_root()), options["renderer"])
        self._names = task_names(options["suite"])
        self._tasks = options["tasks"] or tuple(range(len(self._names)))
        self._tracker = EpisodeTracker(1, self.max_steps, terminate_on_success=options["terminate_on_success"])
        self.has_expert = set(self._tasks) <= set(EXPERT_TASKS.get(options["suite"], ()))
        self._known: dict[int, np.ndarray] = {}
        self._task: int | None = None
        # `unseen`: the world moved since.
        self._seen: Observation | None = None
        self._unseen = False
        self._open(self._tasks[0])

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`. `name_start` says what an id names."""
        [start_id] = as_ids(ids, len(as_worlds(worlds, 1))).tolist()
        task, index = name_start(start_id, self._tasks)
        states = self._recorded_starts(task)
        self._open(task)
        self._put(start_id, states[index % len(states)])
        self._tracker.reset()
        self._seen, self._unseen = self._look(), False
        return self._seen

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`."""
        return replace(self.unseen_step(actions), observation=self.observe())

    def unseen_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.unseen_step`."""
        if self._seen is None:
            raise RuntimeError("libero: reset(ids) comes first")
        actions_BCA = as_actions("libero", actions, 1, ACTION_DIM, self.action_low, self.action_high)
        self._unseen |= not self._tracker.done_B.item()
        records = [self._step(action_A.numpy().astype(np.float64)) for action_A in actions_BCA[0]]
        info = {**self._tracker.info(), "task": torch.tensor([self._task])}
        return StepResult(observation=None, info=info, **stack_steps(records))

    def observe(self) -> Observation:
        """See `VectorEnv.observe`."""
        if self._seen is None:
            raise RuntimeError("libero: reset(ids) comes first")
        if self._unseen:
            self._seen, self._unseen = self._look(), False
        return self._seen

    def expert_action(self) -> Tensor:
        """See `VectorEnv.expert_action`: for tasks in `EXPERT_TASKS`. It follows a plan from the episode's start."""
        if not self.has_expert:
            return super().expert_action()
        # Asked twice in one state, it answers the same.
        step = self._tracker.length_B.item()
        if self._advice[0] != step:
            action_A = self._hand.action(self._sensed)
            if self._options["gripper"] == "open_fraction":
                action_A[6] = float(action_A[6] < 0)
            self._advice = (step, torch.from_numpy(action_A).to(torch.float32)[None])
        return self._advice[1]

    def render(self, worlds: Tensor | Sequence[int] | None = None) -> Tensor:
        """See `VectorEnv.render`: the `agentview` camera."""
        as_worlds(worlds, 1)
        return self._picture("agentview")

    def close(self) -> None:
        """Release the simulation."""
        self._env.close()

    def _step(self, action_A: np.ndarray) -> StepRecord:
        success = False
        if not self._tracker.done_B.item():
            if self._options["gripper"] == "open_fraction":
                action_A[6] = -1.0 if action_A[6] > 0.5 else 1.0
            self._sensed, _, success, _ = self._env.step(action_A)
        solved_B = torch.tensor([bool(success)])
        reward_B = (solved_B & ~self._tracker.success_once_B).to(torch.float32)
        return self._tracker.step(reward_B, solved_B)

    def _recorded_starts(self, task: int) -> np.ndarray:
        """The recorded start states of a task that this simulator uses, float64 [N, D]."""
        if task not in self._known:
            every = init_states(self._options["suite"], self._names[task])
            first, count = self._options["init_first"], self._options["init_count"]
            states = every[first:] if count is None else every[first : first + count]
            if len(states) < (count or 1):
                raise ValueError(
                    f"libero: init_first={first} with init_count={count} is not allowed; allowed: a part of the start "
                    f"states 0 to {len(every) - 1} of task {task}"
                )
            self._known[task] = states
        return self._known[task]

    def _open(self, task: int) -> None:
        """Build the simulation of another task; nothing where it is open already."""
        if task == self._task:
            return
        if self._task is not None:
            self._env.close()
            self._task = None
        path = package_root() / "bddl_files" / self._options["suite"] / f"{self._names[task]}.bddl"
        try:
            # Cameras are drawn when a chunk ends, not by every step; a soft reset spares parsing the scene again.
            self._env = self._make(bddl_file_name=str(path), use_camera_obs=False, hard_reset=False, ignore_done=True)
        except (ValueError, OSError) as error:
            words = " ".join(str(error).split())
            raise ValueError(
                f"libero: task {task} of {self._options['suite']} cannot be built ({words}); if a mesh or texture is "
                f"missing, download all: {DOWNLOAD}"
            ) from error
        except (RuntimeError, ImportError, AttributeError) as error:
            raise rendering_error(self._options["renderer"], error) from error
        self._task = task
        for camera in (*self.cameras, "agentview"):
            if camera not in self._env.sim.model.camera_names:
                raise unknown("libero", "cameras", camera, self._env.sim.model.camera_names)

    def _put(self, start_id: int, state_D: np.ndarray) -> None:
        # Where furniture stands is no part of a recorded state; LIBERO draws it from numpy's global generator.
        np.random.seed(start_id % 2**32)
        self._reset_scene()
        # A soft reset leaves the gripper's last command behind.
        gripper = self._env.robots[0].gripper
        gripper.current_action = np.zeros_like(gripper.current_action)
        self._sensed = self._env.set_init_state(state_D)
        for _ in range(self._options["settle_steps"]):
            self._sensed, *_ = self._env.step(SETTLE)
        names = self._env.obj_of_interest
        self._hand, self._advice = PickAndPlace(names[0], names[-1], self._position), (-1, None)

    def _position(self, name: str) -> np.ndarray:
        """Where a thing, or a marked region of one, is: float64 [3], metres."""
        sensed = self._sensed.get(f"{name}_pos")
        return self._env.sim.data.get_site_xpos(name) if sensed is None else sensed

    def _reset_scene(self) -> None:
        from robosuite.utils.errors import RandomizationError

        # LIBERO's own wrapper repeats this on any exception, for ever.
        for _ in range(100):
            try:
                self._env.env.reset()
            except RandomizationError:
                continue
            return
        raise RuntimeError(f"libero: no free place for the furniture of task {self._task}")

    def _look(self) -> Observation:
        from robosuite.utils.transform_utils import quat2axisangle

        readings = self._sensed
        parts = (
            readings["robot0_eef_pos"],
            quat2axisangle(readings["robot0_eef_quat"].copy()),
            readings["robot0_gripper_qpos"],
        )
        return Observation(
            images={camera: self._picture(camera) for camera in self.cameras},
            state=torch.from_numpy(np.concatenate(parts).astype(np.float32))[None],
            instruction=[task_text(self._names[self._task])],
        )

    def _picture(self, camera: str) -> Tensor:
        """uint8 [1, H, W, 3]. MuJoCo draws upside down; published policies see it turned by 180 degrees."""
        size = self._options["image_size"]
        picture = self._env.sim.render(size, size, camera_name=camera)
        picture = picture[::-1, ::-1] if self._options["rotate_images"] else picture
        return torch.from_numpy(np.ascontiguousarray(picture))[None]


def name_start(start_id: int, tasks: Sequence[int]) -> tuple[int, int]:
    """The task that an id names, and the number of its recorded start state, to be taken modulo how many there are.

    Ids count through the tasks, then through the states, so that T x N successive ids are every start once.
    """
    return tasks[start_id % len(tasks)], start_id // len(tasks)
