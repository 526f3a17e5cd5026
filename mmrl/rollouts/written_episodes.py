"""Episodes that a policy played as rows of mmrl's own columns, one per decision, and their films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmrl.contracts.errors import UserError
from mmrl.contracts.generated import Answer, Answered
from mmrl.contracts.types import Sample, Trajectory
from mmrl.data.media import load_image
from mmrl.tracking.videos import EpisodeVideos
from robotics.recording import side_by_side


def episode_row(sample: Sample) -> dict[str, Any]:
    """The columns of a start state."""
    names = ("id", "dataset", "task", "simulator", "episode")
    return {name: getattr(sample, name) for name in names}


def steps_of(trajectory: Trajectory, image: Callable[[Any, Sample], str]) -> list[dict[str, Any]]:
    """The columns of each decision of an episode that was kept (`Trajectory.recorded`).

    Args:
        image: stores a picture, and gives its path in the dataset's folder.
    """
    return [
        {
            "messages": [dict(message) for message in seen.messages],
            "images": [image(picture, seen) for picture in seen.images],
            "cameras": list(seen.cameras),
            "state": _numbers(seen.state),
            "actions": _numbers(seen.actions),
            "rewards": list(seen.rewards),
        }
        for seen in trajectory.recorded
    ]


def _numbers(values: Tensor | None) -> Any:
    return None if values is None else values.tolist()


def step_rows(each: Answered, answer: Answer, profile: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per decision of an episode, each with the facts of the whole of it."""
    for number, step in enumerate(answer.steps):
        columns = {key: value for key, value in each.row.items() if key not in ("id", "dataset")}
        own = {key: value for key, value in step.items() if value is not None}
        yield {
            "id": f"{each.row['id']}/{answer.number}/{number}",
            **columns,
            "number": answer.number,
            "step": number,
            **own,
            "reward": answer.reward,
            "accuracy": answer.accuracy,
            "length": answer.length,
            "truncated": answer.truncated,
            **profile,
        }


def film(folder: Path, rows: Sequence[Answered], count: int) -> int:
    """Films the first episodes of a data set: what the policy saw at each of its decisions, side by side.

    Args:
        folder: the data set's; films go to `films/`, and what they show to `films/episodes.jsonl`.

    Returns:
        how many there are.

    Raises:
        UserError: a film cannot be written, or the package av is missing.
    """
    films = EpisodeVideos(folder / "films", {}, setting="generate.videos")
    episodes = [(row, answer) for row in rows for answer in row.answers][:count]
    for row, answer in episodes:
        frames = [side_by_side([_pixels(folder, path) for path in step["images"]]) for step in answer.steps]
        if not frames:
            raise UserError("generate.videos: films are of episodes, and data.train holds others; set videos to 0")
        if not answer.steps[0]["images"]:
            raise UserError(f"generate.videos: simulators.{row.row['simulator']} has no camera; set videos to 0")
        films.keep(
            torch.stack(frames),
            {
                "dataset": row.row["dataset"],
                "task": row.row["task"],
                "simulator": row.row["simulator"],
                "episode": f"{row.row['episode']}-{answer.number}",
                "instruction": answer.steps[0]["messages"][-1]["content"][-1]["text"],
                "success": answer.right,
                "return": answer.reward,
                "length": answer.length,
            },
        )
    films.close()
    return len(episodes)


def _pixels(folder: Path, path: str) -> Tensor:
    return torch.from_numpy(np.array(load_image(path, str(folder / "data"), path)))
