"""LIBERO's demonstrations (arXiv 2306.03310) as samples.

    data/demo_<i>/{actions [T, 7], rewards [T], states [T, 1 + positions + velocities], obs/{<camera>_rgb uint8
        [T, H, W, 3], ee_states [T, 6], gripper_states [T, 2], joint_states [T, 7]}}

The instruction is in `problem_info` of the attributes of `data`. State: hand position (m), axis-angle (rad), two finger
joints (m), as the simulator gives it.

`states[t]` is the simulator before `actions[t]` in every file. What `obs` holds under `t` depends on the writer:
LIBERO's `create_dataset.py`, of which the published files are, stores what `actions[t]` led to; OpenVLA's
`regenerate_libero_dataset.py` stores what it was chosen in. Joint positions are in both, `states[t, 1:8]` and
`obs/joint_states[t]`, and tell the two apart.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import UserError
from mmrl.data.robot.hdf5 import numbered, open_h5, read_picture, read_state, read_vectors
from mmrl.data.robot.rows import Episode, RobotRows, choose_cameras, choose_episodes, final_reward
from mmrl.data.unchanged import FileStates
from mmrl.recipe.data import LiberoData
from mmrl.recipe.files import find_files

STATE = ("ee_states", "gripper_states")
PICTURES = "_rgb"
# The simulator's names.
CAMERAS = {"agentview_rgb": "agentview", "eye_in_hand_rgb": "robot0_eye_in_hand"}
# The simulator's time comes before the positions, of which the arm's joints are the first.
JOINTS = slice(1, 8)
# Both orders are held against `states`; the better one must fit so many times better. Measured on recordings: 20 to 30.
CLEARLY = 4.0


class LiberoDemonstrations(RobotRows):
    """Episodes are numbered from 0 over the demonstrations of a file, and over files in the order of their names.

    Raises:
        UserError: no such file; demonstrations, observations or an unknown camera are missing; or it is not clear which
            observation an action follows.
    """

    def __init__(self, config: LiberoData):
        title, states = f"dataset '{config.path}'", FileStates()
        self._states = states
        demos: list[tuple[Path, str]] = []
        recorded: list[str] = []
        for path in find_files(config.path, (".hdf5", ".h5")):
            with open_h5(path, states) as file:
                keys = [key for _, key in numbered(file.get("data", {}), "demo_")]
                if not keys:
                    raise UserError(f"'{path}' holds no data/demo_0: no demonstrations of LIBERO")
                if not demos:
                    recorded = [name for name in file["data"][keys[0]].get("obs", {}) if name.endswith(PICTURES)]
            demos += [(path, key) for key in keys]
        cameras = choose_cameras(config.cameras, recorded, CAMERAS, title)
        chosen = choose_episodes(config.episodes, range(len(demos)), title)
        wanted: dict[Path, list[int]] = {}
        for number in chosen:
            wanted.setdefault(demos[number][0], []).append(number)
        episodes: dict[int, Episode] = {}
        for path, numbers in wanted.items():
            with open_h5(path, states) as file:
                instruction = _instruction(file["data"].attrs.get("problem_info"))
                after = _observed_after(file, path, config.observations)
                for number in numbers:
                    episode = _episode(file, path, demos[number][1], number, instruction, list(cameras))
                    episodes[number] = _paired_after(episode) if after else episode
        super().__init__(config, Path(config.path).stem, cameras, [episodes[number] for number in chosen])

    def _pictures(self, episode: Episode, step: int, where: str) -> list[np.ndarray]:
        path, demo = episode.key
        with open_h5(path, self._states) as file:
            return [read_picture(file, f"data/{demo}/obs/{camera}", step, where) for camera in self.cameras]


def _episode(file: Any, path: Path, key: str, number: int, instruction: str, cameras: list[str]) -> Episode:
    group, place = file["data"][key], f"{path.name} {key}"
    actions = read_vectors(group, "actions", place)
    observations = group.get("obs", {})
    states = read_state({name: read_vectors(observations, name, f"{place}/obs") for name in STATE}, f"{place}/obs")
    for camera in cameras:
        if camera not in observations:
            raise UserError(f"{place}: camera '{camera}' is missing; name others in `cameras`, or leave it out")
    rewards = read_vectors(group, "rewards", place)[:, 0] if "rewards" in group else final_reward(len(actions))
    lengths = {"actions": len(actions), "states": len(states), "rewards": len(rewards)}
    lengths |= {camera: len(observations[camera]) for camera in cameras}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{place} is damaged: {lengths} must be equal; copy '{path}' again")
    told = (instruction,) * len(actions)
    return Episode(number, (path, key), place, told, actions, states, np.arange(len(actions)), rewards)


def _paired_after(episode: Episode) -> Episode:
    """The episode with the actions that follow its observations: that of `t` is followed by action `t + 1`.

    The first action goes, for what it was chosen in was not kept, and so does the last observation.
    """
    count = len(episode.actions_TA) - 1
    states = episode.states_TS
    return replace(
        episode,
        actions_TA=episode.actions_TA[1:],
        states_TS=None if states is None else states[:-1],
        kept_K=np.arange(count),
        instructions_T=episode.instructions_T[:-1],
        rewards_T=episode.rewards_T[1:],
    )


def _observed_after(file: Any, path: Path, given: str) -> bool:
    """Whether `obs[t]` is what `actions[t]` led to, as `observations` says or the file's own joints show.

    Raises:
        UserError: it is not said, and the file does not show it.
    """
    if given != "auto":
        return given == "after"
    same, later = 0.0, 0.0
    for _, key in numbered(file["data"], "demo_"):
        group = file["data"][key]
        if "states" not in group or "joint_states" not in group.get("obs", {}):
            raise UserError(_unclear(path, f"{key} has no states or no obs/joint_states to tell it by"))
        before = read_vectors(group, "states", f"{path.name} {key}")[:, JOINTS]
        seen = read_vectors(group["obs"], "joint_states", f"{path.name} {key}/obs")
        if before.shape != seen.shape:
            raise UserError(_unclear(path, f"{key}: states hold joints {before.shape}, obs/joint_states {seen.shape}"))
        same += float(np.abs(before[:-1] - seen[:-1]).sum())
        later += float(np.abs(before[1:] - seen[:-1]).sum())
    if min(same, later) * CLEARLY >= max(same, later):
        raise UserError(_unclear(path, "its joints fit both orders"))
    return later < same


def _unclear(path: Path, why: str) -> str:
    return (
        f"'{path}' does not show whether obs[t] is what actions[t] was chosen in or what it led to ({why}); set "
        "`observations` to before (files of OpenVLA's regenerate script) or after (LIBERO's own files)"
    )


def _instruction(raw: Any) -> str:
    """The sentence in `problem_info`, which some writers keep as a list of words and some inside quotation marks."""
    try:
        language = json.loads(raw)["language_instruction"]
    except (TypeError, ValueError, KeyError):
        return ""
    words = language if isinstance(language, str) else " ".join(map(str, language))
    return words.strip().strip('"').strip()
