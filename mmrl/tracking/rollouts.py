"""What was asked, answered and rewarded, one line per trajectory: rollouts/ of training, heldout/ of evaluations.

The pictures of both lie in rollouts/media/.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Spelling
from mmrl.contracts.types import POLICY, Group, Sample, Trajectory
from mmrl.tracking.files import json_line, write_atomic

if TYPE_CHECKING:
    from PIL.Image import Image

# Of log-probs.
DECIMALS = 3
MARKS = {"image": "<image>", "video": "<video>"}


def rollout_path(folder: Path, step: int) -> Path:
    """The file of one step."""
    return folder / "rollouts" / f"step_{step:06d}.jsonl"


def heldout_path(folder: Path, step: int) -> Path:
    """The file of the evaluation after one step."""
    return folder / "heldout" / f"step_{step:06d}.jsonl"


def first_of_tasks(groups: Sequence[Group], count: int) -> list[Group]:
    """The first `count` answered groups of each task of each dataset; those of episodes are filmed instead."""
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for group in groups:
        place = (group.sample.dataset, group.sample.task)
        if taken[place] < count and all(trajectory.episode is None for trajectory in group.trajectories):
            taken[place] += 1
            chosen.append(group)
    return chosen


def write_groups(
    path: Path, folder: Path, step: int, stage: str, groups: Sequence[Group], spelling: Spelling | None = None
) -> Path:
    """Writes a file whole. Images land in rollouts/media/ under names made from their content.

    Args:
        path: the file, `rollout_path` or `heldout_path`.
        folder: the run's.
        spelling: writes out prompts and tokens; None: the policy has none that are text.

    Raises:
        UserError: an image cannot be read, or the disk cannot be written.
    """
    lines = []
    for index, group in enumerate(groups):
        images = [save_image(folder, image, group.sample) for image in group.sample.images]
        for trajectory in group.trajectories:
            line = _line(step, stage, index, group.sample, images, trajectory)
            lines.append(json_line(line | (_spelled(trajectory, spelling) if spelling is not None else {})))
    return write_atomic(path, "".join(lines))


def _spelled(trajectory: Trajectory, spelling: Spelling) -> dict[str, Any]:
    """What the model saw before its last answer and, of a sampled one, its tokens and their log-probs."""
    if trajectory.episode is not None or not trajectory.decisions:
        return {}
    last = trajectory.decisions[-1]
    if last.restrict is not None or (trajectory.origin == POLICY and last.log_probs is None):
        # Actions; or an answer that was sampled under a context, which is not the prompt that it is scored under.
        return {}
    prompt = {"model_prompt": spelling.spelled_prompt(last.prompt)}
    if last.log_probs is None:
        return prompt
    log_probs = [round(value, DECIMALS) for value in last.log_probs.tolist()]
    return {**prompt, "tokens": spelling.spelled(last.tokens), "log_probs": log_probs}


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
        "messages": list(sample.messages),
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


def save_image(folder: Path, image: Any, sample: Sample, place: str = "rollouts/media") -> str:
    """Saves a picture of a row (PIL image, bytes or a path) as PNG, as policies see it, once.

    Args:
        place: where in the folder.

    Returns:
        its path relative to the folder.

    Raises:
        UserError: the image cannot be read or written.
    """
    name, picture = named_picture(image, sample)
    write_picture(folder / place / name, picture)
    return f"{place}/{name}"


def named_picture(image: Any, sample: Sample) -> tuple[str, Image]:
    """The name of a picture's file, which its pixels decide, and the picture. Raises UserError as `save_image` does."""
    from mmrl.data.media import load_image

    try:
        picture = load_image(image, sample.root, sample.where)
    except BadSample as error:
        raise UserError(f"{error}; repair or remove it") from error
    head = f"{picture.mode} {picture.width} {picture.height} ".encode()
    return hashlib.sha256(head + picture.tobytes()).hexdigest()[:20] + ".png", picture


def write_picture(path: Path, picture: Image) -> None:
    """Writes a picture as PNG where there is none yet. Raises UserError where it cannot be written."""
    if not path.exists():
        buffer = io.BytesIO()
        # As small as at the default level within a few percent, in a third of the time.
        picture.save(buffer, format="PNG", compress_level=1)
        write_atomic(path, buffer.getvalue())
