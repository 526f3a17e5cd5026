"""rollouts/step_*.jsonl: what was asked, answered and rewarded, one line per trajectory, with the images beside it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Group, Sample, Trajectory
from mmrl.tracking.files import json_line, write_atomic

MARKS = {"image": "<image>", "video": "<video>"}


def rollout_path(folder: Path, step: int) -> Path:
    """The file of one step."""
    return folder / "rollouts" / f"step_{step:06d}.jsonl"


def write_rollouts(folder: Path, step: int, stage: str, groups: Sequence[Group]) -> Path:
    """Writes the step's file whole. Images land in rollouts/media/ under names made from their content.

    Raises:
        UserError: an image cannot be read, or the disk cannot be written.
    """
    lines = []
    for index, group in enumerate(groups):
        images = [save_image(folder, image, group.sample) for image in group.sample.images]
        for trajectory in group.trajectories:
            lines.append(json_line(_line(step, stage, index, group.sample, images, trajectory)))
    return write_atomic(rollout_path(folder, step), "".join(lines))


def _line(
    step: int, stage: str, group: int, sample: Sample, images: list[str], trajectory: Trajectory
) -> dict[str, Any]:
    return {
        "step": step,
        "stage": stage,
        "group": group,
        "sample": sample.id,
        "dataset": sample.dataset,
        "task": sample.task,
        "prompt": prompt_text(sample.messages),
        "images": images,
        "videos": list(map(str, sample.videos)),
        "target": sample.target,
        "coordinates": sample.coordinates,
        "source": trajectory.origin,
        "completion": trajectory.text,
        "reward": trajectory.reward,
        "parts": trajectory.parts,
        "advantage": trajectory.info.get("advantage"),
        "parsed": trajectory.parsed,
        "reason": trajectory.reason,
        "truncated": trajectory.truncated,
        "length": trajectory.units,
        "info": {**_facts(trajectory), **{k: v for k, v in trajectory.info.items() if k != "advantage"}},
    }


def _facts(trajectory: Trajectory) -> dict[str, Any]:
    """What has been measured, and how an episode went."""
    facts = {} if trajectory.accuracy is None else {"accuracy": trajectory.accuracy}
    if trajectory.episode is not None:
        episode = trajectory.episode
        facts |= {"success_once": episode.success_once, "success_at_end": episode.success_at_end}
        facts |= {"episode_len": episode.length}
    return facts


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages as text; images and videos as `<image>` and `<video>`, roles named except the user's."""
    blocks = []
    for message in messages:
        content = message.get("content", "")
        parts = [content] if isinstance(content, str) else content
        text = "".join(p if isinstance(p, str) else MARKS.get(p.get("type"), p.get("text", "")) for p in parts)
        blocks.append(text if message.get("role") == "user" else f"[{message.get('role')}] {text}")
    return "\n\n".join(blocks)


def save_image(folder: Path, image: Any, sample: Sample) -> str:
    """Saves a picture of a row (PIL image, bytes or a path) as PNG, as policies see it, once.

    Returns:
        its path relative to the run's folder.

    Raises:
        UserError: the image cannot be read or written.
    """
    from mmrl.data.media import load_image

    try:
        picture = load_image(image, sample.root, sample.where)
    except BadSample as error:
        raise UserError(f"{error}; repair or remove it") from error
    head = f"{picture.mode} {picture.width} {picture.height} ".encode()
    name = hashlib.sha256(head + picture.tobytes()).hexdigest()[:20] + ".png"
    path = folder / "rollouts" / "media" / name
    if not path.exists():
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        write_atomic(path, buffer.getvalue())
    return f"rollouts/media/{name}"
