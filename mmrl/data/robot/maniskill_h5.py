"""ManiSkill's recorded trajectories as samples.

    <name>.h5    traj_<id>/{actions [T, A], obs/{sensor_data/<camera>/rgb uint8 [T + 1, H, W, 3], agent/…, extra/…},
                 rewards [T] where they were recorded}
    <name>.json  {env_info: {env_id, env_kwargs}, episodes: [{episode_id, control_mode, success, …}]}

State: the members of `agent`, then of `extra`, in the order in which they were written, as ManiSkill flattens them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import UserError, unknown
from mmrl.data.robot.hdf5 import open_h5, read_picture, read_state, read_vectors
from mmrl.data.robot.rows import Episode, RobotRows, choose_cameras, choose_episodes, final_reward
from mmrl.data.robot.statistics import RANGE_SLACK
from mmrl.data.unchanged import FileStates
from mmrl.recipe.checks.maniskill_json import USUAL, absolute, control_modes, read_json, replay
from mmrl.recipe.data import ManiSkillData
from mmrl.recipe.files import find_files

STATE = ("agent", "extra")


class ManiSkillDemonstrations(RobotRows):
    """Episodes are numbered by their `episode_id`.

    Raises:
        UserError: no such file, no JSON beside it, trajectories without pictures, another control mode, actions of
            an absolute one, an unknown camera, or members of the state whose order is not known.
    """

    def __init__(self, config: ManiSkillData):
        [path, *others] = find_files(config.path, (".h5",))
        title = f"dataset '{config.path}'"
        if others:
            raise UserError(f"{title} holds {1 + len(others)} .h5 files; name one")
        facts = read_json(path)
        known, modes = facts["episodes"], control_modes(facts)
        _check_control(config, path, modes)
        numbers = [n for n, entry in known.items() if np.all(entry.get("success", True)) or not config.successful_only]
        chosen = choose_episodes(config.episodes, sorted(numbers), title)
        instruction = config.instruction or _instruction(facts["env_info"].get("env_id"), title)
        self._states = FileStates()
        with open_h5(path, self._states) as file:
            cameras: dict[str, str] = {}
            episodes = []
            for number in chosen:
                key = f"traj_{number}"
                if key not in file:
                    raise UserError(f"{title}: '{path}' has no {key}, which its JSON file lists; copy both again")
                if not cameras:
                    recorded = _cameras(file[key], replay(path, "-o rgb"))
                    cameras = choose_cameras(config.cameras, recorded, {}, title)
                solved = bool(np.all(known[number].get("success", True)))
                episode = _episode(file[key], path, number, instruction, list(cameras), config.state, solved)
                _check_units(episode.actions_TA, modes[number], path, f"'{path}' {key}")
                episodes.append(episode)
        if not episodes:
            raise UserError(f"{title} lists no successful trajectory; set successful_only: false to take all")
        super().__init__(config, str(facts["env_info"].get("env_id") or path.stem), cameras, episodes)

    def _pictures(self, episode: Episode, step: int, where: str) -> list[np.ndarray]:
        path, key = episode.key
        with open_h5(path, self._states) as file:
            return [read_picture(file, f"{key}/obs/sensor_data/{name}/rgb", step, where) for name in self.cameras]


def _check_control(config: ManiSkillData, path: Path, modes: Mapping[int, str]) -> None:
    recorded = sorted(set(modes.values()))
    if config.control_mode is not None and recorded != [config.control_mode]:
        raise UserError(
            f"dataset '{config.path}': recorded with control_mode {', '.join(recorded)}, not '{config.control_mode}'; "
            f"convert it: {replay(path, f'-c {config.control_mode} -o rgb')}"
        )


def _check_units(actions_TA: np.ndarray, mode: str, path: Path, place: str) -> None:
    """Raises UserError on targets, which no simulator takes. Others are cut at 1 there, as when they were recorded."""
    outside = np.argwhere(np.abs(actions_TA) > 1.0 + RANGE_SLACK)
    if not absolute(mode) or not len(outside):
        return
    step, dim = outside[0]
    raise UserError(
        f"{place}, step {step}: action {actions_TA[step, dim]:.4g} in dim {dim} is outside [-1, 1], which simulators "
        f"take; convert control_mode {mode}: {replay(path, f'-c {USUAL} -o rgb')}"
    )


def _instruction(task: str | None, title: str) -> str:
    """The simulator's own words for a task."""
    from robotics.maniskill_tasks import INSTRUCTIONS

    if task not in INSTRUCTIONS:
        raise UserError(
            f"{title}: no instruction is known for {unknown('task', str(task), INSTRUCTIONS)}; set `instruction`"
        )
    return INSTRUCTIONS[task]


def _cameras(trajectory: Any, cure: str) -> list[str]:
    observations = trajectory.get("obs")
    sensors = observations.get("sensor_data") if hasattr(observations, "keys") else None
    cameras = [name for name, sensor in (sensors or {}).items() if "rgb" in sensor]
    if not cameras:
        raise UserError(
            f"'{trajectory.file.filename}' {trajectory.name} holds no pictures; replay it with them: {cure}"
        )
    return cameras


def _episode(
    trajectory: Any, path: Path, number: int, instruction: str, cameras: list[str], state: bool, solved: bool
) -> Episode:
    place = f"{path.name} traj_{number}"
    actions = read_vectors(trajectory, "actions", place)
    states = _states(trajectory["obs"], place) if state else None
    sensors = trajectory["obs"]["sensor_data"]
    for camera in cameras:
        if camera not in sensors or "rgb" not in sensors[camera]:
            raise UserError(f"{place}: camera '{camera}' is missing; name others in `cameras`, or leave it out")
    lengths = {camera: len(sensors[camera]["rgb"]) for camera in cameras}
    lengths |= {} if states is None else {"state": len(states)}
    rewards = final_reward(len(actions), solved)
    if "rewards" in trajectory:
        rewards = read_vectors(trajectory, "rewards", place)[:, 0]
        lengths["rewards"] = 1 + len(rewards)
    if set(lengths.values()) != {len(actions) + 1}:
        raise UserError(f"{place} is damaged: {lengths} must be {len(actions) + 1}, one more than its actions")
    # The last observation is what the last action led to, and no action follows it.
    states_before = None if states is None else states[:-1]
    steps_K = np.arange(len(actions))
    told = (instruction,) * len(actions)
    return Episode(number, (path, f"traj_{number}"), place, told, actions, states_before, steps_K, rewards)


def _states(observations: Any, place: str) -> np.ndarray:
    parts = {
        path: values for name in STATE if name in observations for path, values in _members(observations[name], place)
    }
    if not parts:
        raise UserError(
            f"{place}: obs has no {' and no '.join(STATE)}; set state: false to do without the robot's state"
        )
    return read_state(parts, f"{place}/obs")


def _members(group: Any, place: str) -> Iterator[tuple[str, np.ndarray]]:
    """(path, vectors) of a group's members and of the groups in it, in the order of writing."""
    import h5py

    tracked = group.id.get_create_plist().get_link_creation_order() & h5py.h5p.CRT_ORDER_TRACKED
    if len(group) > 1 and not tracked:
        raise UserError(
            f"{place}: '{group.name}' does not keep the order of its {len(group)} members, and ManiSkill's state "
            "follows it; record it with mani_skill 3, or set state: false"
        )
    for name, member in group.items():
        if isinstance(member, h5py.Group):
            yield from _members(member, place)
        else:
            yield member.name, read_vectors(group, name, f"{place}/obs")
