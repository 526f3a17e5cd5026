"""LIBERO's demonstrations (arXiv 2306.03310) as samples.

    data/demo_<i>/{actions [T, 7], rewards [T], obs/{<camera>_rgb uint8 [T, H, W, 3], ee_states [T, 6],
        gripper_states [T, 2]}}

The instruction is in `problem_info` of the attributes of `data`. State: hand position (m), axis-angle (rad), two finger
joints (m), as the simulator gives it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import UserError
from mmrl.data.robot.hdf5 import numbered, open_h5, read_picture, read_state, read_vectors
from mmrl.data.robot.rows import Episode, RobotRows, choose_cameras, choose_episodes, final_reward
from mmrl.recipe.data import LiberoData
from mmrl.recipe.files import find_files

STATE = ("ee_states", "gripper_states")
PICTURES = "_rgb"
# The simulator's names.
CAMERAS = {"agentview_rgb": "agentview", "eye_in_hand_rgb": "robot0_eye_in_hand"}


class LiberoDemonstrations(RobotRows):
    """Episodes are numbered from 0 over the demonstrations of a file, and over files in the order of their names.

    Raises:
        UserError: no such file, or demonstrations, observations or an unknown camera are missing.
    """

    def __init__(self, config: LiberoData):
        title = f"dataset '{config.path}'"
        demos: list[tuple[Path, str]] = []
        recorded: list[str] = []
        for path in find_files(config.path, (".hdf5", ".h5")):
            with open_h5(path) as file:
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
            with open_h5(path) as file:
                instruction = _instruction(file["data"].attrs.get("problem_info"))
                for number in numbers:
                    episodes[number] = _episode(file, path, demos[number][1], number, instruction, list(cameras))
        super().__init__(config, Path(config.path).stem, cameras, [episodes[number] for number in chosen])

    def _pictures(self, episode: Episode, step: int, where: str) -> list[np.ndarray]:
        path, demo = episode.key
        with open_h5(path) as file:
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
    return Episode(number, (path, key), place, instruction, actions, states, np.arange(len(actions)), rewards)


def _instruction(raw: Any) -> str:
    """The sentence in `problem_info`, which some writers keep as a list of words and some inside quotation marks."""
    try:
        language = json.loads(raw)["language_instruction"]
    except (TypeError, ValueError, KeyError):
        return ""
    words = language if isinstance(language, str) else " ".join(map(str, language))
    return words.strip().strip('"').strip()
