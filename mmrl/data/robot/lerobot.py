"""LeRobot datasets (v2 and v3) as samples: parquet for numbers, mp4 or parquet for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample, UserError, unknown
from mmrl.data.media import load_image
from mmrl.data.media_reader import open_cache
from mmrl.data.robot.lerobot_layout import LeRobotFiles, Recorded, read_layout, read_steps
from mmrl.data.robot.rows import Episode, RobotRows, choose_cameras, choose_episodes, final_reward
from mmrl.data.unchanged import FileStates
from mmrl.recipe.data import LeRobotData

NEEDED = ("mean", "std", "min", "max", "q01", "q99")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where an episode's pictures are.

    Attributes:
        recorded: its entry in meta/episodes.
        rows_T: int64, its rows in its data file.
        times_T: float64, seconds from the start of the episode.
        frames_T: int64, frames from the start of the episode.
    """

    recorded: Recorded
    rows_T: np.ndarray
    times_T: np.ndarray
    frames_T: np.ndarray


class LeRobotDataset(RobotRows):
    """Episodes have LeRobot's `episode_index`; a camera `observation.images.top` is `top` for the policy.

    Raises:
        UserError: no folder, another version, missing files, features or episodes, or times that are not the videos'.
    """

    def __init__(self, config: LeRobotData):
        self.layout = layout = read_layout(config.path)
        title = layout.title
        usual = {name: name.removeprefix("observation.").removeprefix("images.") for name in layout.cameras}
        cameras = choose_cameras(config.cameras, layout.cameras, usual, title)
        _check_feature(layout, "action", config.action)
        if config.state is not None:
            _check_feature(layout, "state", config.state)
        chosen = choose_episodes(config.episodes, sorted(layout.episodes), title)
        episodes = _episodes(layout, config, chosen)
        if set(cameras) & set(layout.videos):
            for episode in episodes:
                _check_clock(layout, episode)
        self._cache = open_cache(config.cache)
        self._states = FileStates()
        for path in {layout.data_file(episode.key.recorded) for episode in episodes}:
            self._states.check(path)
        self._group = lru_cache(maxsize=4)(_row_group)
        super().__init__(config, Path(config.path).name, cameras, episodes)

    def _pictures(self, episode: Episode, step: int, where: str) -> list[np.ndarray]:
        return [
            self._frame(episode.key, camera, step, where)
            if camera in self.layout.videos
            else self._stored(episode.key, camera, step, where)
            for camera in self.cameras
        ]

    def _frame(self, pictures: Pictures, camera: str, step: int, where: str) -> np.ndarray:
        """One frame of a video that holds several episodes, by its time."""
        from video import Sampling, VideoError, VideoSpec
        from video.reading import read

        path, first = self.layout.video(pictures.recorded, camera, where)
        # Containers round times to their ticks; half a frame later the frame that is meant is on screen for sure.
        half = 0.5 / self.layout.fps
        times_T = first + pictures.times_T
        # PyAV seeks by the container's index; decord passes over the whole file, of many episodes, when it opens it.
        try:
            if self._cache is not None:
                spec = VideoSpec(Sampling(timestamps=tuple((times_T + half).tolist())), None, backend="pyav")
                frames, index = self._cache.get(str(path), spec), step
            else:
                spec = VideoSpec(Sampling(timestamps=(float(times_T[step] + half),)), None, backend="pyav")
                frames, index = read(str(path), spec, threads=1), 0
        except VideoError as error:
            raise BadSample(where, f"video {error}") from error
        shown_at = float(frames.timestamps[index])
        if abs(shown_at - times_T[step]) > half:
            raise BadSample(
                where, f"video '{path}' has no frame at {times_T[step]:.4f} s, the nearest is at {shown_at:.4f} s"
            )
        return frames.pixels[index].permute(1, 2, 0).numpy()

    def _stored(self, pictures: Pictures, camera: str, step: int, where: str) -> np.ndarray:
        """One encoded picture of a data file."""
        import pyarrow

        path = self.layout.data_file(pictures.recorded)
        self._states.check(path)
        try:
            cell = _cell(self._group, path, camera, int(pictures.rows_T[step]))
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            raise BadSample(where, f"'{path}': column '{camera}' cannot be read: {error}") from error
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):
            raise BadSample(where, f"'{path}': column '{camera}' holds no encoded picture")
        return np.asarray(load_image(content, None, where))

    def statistics(self, delta: Sequence[int] = ()) -> dict[str, Any]:
        """Computed from the steps; with `statistics: file` the dataset's own (meta/stats.json) where they hold.

        LeRobot's quantiles are means of its episodes' quantiles. See `RobotRows.statistics`.
        """
        config, whole = self.config, len(self.episodes) == len(self.layout.episodes)
        changed = config.drop_noops or (config.gripper_to or config.gripper) != config.gripper
        saved = self.layout.stats()
        parts = {"action": config.action, **({"proprio": config.state} if config.state else {})}
        complete = all(all(name in saved.get(feature, {}) for name in NEEDED) for feature in parts.values())
        if config.statistics == "steps" or delta or not whole or changed or not complete:
            return super().statistics(delta)
        entry: dict[str, Any] = {
            kind: {name: np.ravel(saved[feature][name]).tolist() for name in NEEDED} for kind, feature in parts.items()
        }
        entry["action"]["mask"] = self.action_mask
        return {**entry, "num_transitions": len(self), "num_trajectories": len(self.episodes)}


def _check_feature(layout: LeRobotFiles, what: str, name: str) -> None:
    if name not in layout.numbers:
        raise UserError(f"{layout.title}: {what}: {unknown('feature', name, layout.numbers)}")


def _episodes(layout: LeRobotFiles, config: LeRobotData, chosen: Sequence[int]) -> list[Episode]:
    by_file: dict[Path, list[int]] = {}
    for number in chosen:
        by_file.setdefault(layout.data_file(layout.episodes[number]), []).append(number)
    episodes: dict[int, Episode] = {}
    columns = [config.action, *([config.state] if config.state else [])]
    columns += [config.reward] if config.reward in layout.numbers else []
    for path, numbers in by_file.items():
        steps = read_steps(layout, path, columns)
        for number in numbers:
            episodes[number] = _episode(layout, config, layout.episodes[number], steps)
    return [episodes[number] for number in chosen]


def _episode(layout: LeRobotFiles, config: LeRobotData, recorded: Recorded, steps: dict) -> Episode:
    rows = np.flatnonzero(steps["episode_index"] == recorded.number)
    rows = rows[np.argsort(steps["frame_index"][rows], kind="stable")]
    place = f"{layout.data_name(recorded)} episode {recorded.number}"
    if len(rows) != recorded.length:
        raise UserError(
            f"{layout.title}: {place} has {len(rows)} rows, and meta/episodes says {recorded.length}; download it again"
        )
    told = tuple(layout.tasks.get(task, "") for task in steps["task_index"][rows].tolist())
    states = steps[config.state][rows] if config.state else None
    rewards = steps[config.reward][rows, 0] if config.reward in steps else final_reward(len(rows))
    pictures = Pictures(recorded, rows, steps["timestamp"][rows], steps["frame_index"][rows])
    actions = steps[config.action][rows]
    return Episode(recorded.number, pictures, place, told, actions, states, np.arange(len(rows)), rewards)


def _check_clock(layout: LeRobotFiles, episode: Episode) -> None:
    """Raises UserError where a step's time is nearer to another frame of its video than to its own."""
    pictures: Pictures = episode.key
    apart_T = np.abs(pictures.times_T - pictures.frames_T / layout.fps)
    step = int(np.argmax(apart_T)) if len(apart_T) else 0
    if len(apart_T) and not apart_T[step] <= 0.5 / layout.fps:
        raise UserError(
            f"{layout.title}: {episode.place}, step {step}: its timestamp is {pictures.times_T[step]:.4f} s, and frame "
            f"{pictures.frames_T[step]} of a video of {layout.fps:g} frames per second is at "
            f"{pictures.frames_T[step] / layout.fps:.4f} s, so that it would be shown another step's picture; write "
            "frame_index / fps into its timestamps, as lerobot asks for, or leave the episode out (`episodes`)"
        )


def _row_group(path: Path, group: int, column: str) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).read_row_group(group, columns=[column]).column(column)


def _cell(read_group: Any, path: Path, column: str, row: int) -> Any:
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if row < size:
            return read_group(path, group, column)[row].as_py()
        row -= size
    raise KeyError(f"no row {row}")
