"""A run's rollouts/*.jsonl as a dataset: what was asked, and what the policy answered as its demonstration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.formats import Format
from mmrl.data.messages import read_turns
from mmrl.policies.own_places import as_thousandths

# How a run names its pictures, and where these are from the files.
_IN_THE_RUN = "rollouts/"


def read_rollout(row: Columns) -> Sample:
    """A trajectory: messages, images, videos, task, target and coordinates, the completion as the demonstration.

    Boxes are where the policy wrote them; those in pixels of a picture that it saw in another size become thousandths.
    """
    if not row.has("messages"):
        raise row.bad("is an episode, or was written by an mmrl that kept no messages; there is no question to read")
    images = row.values.get("images") or []
    if row.root is not None and (Path(row.root) / "media").is_dir():
        images = [image.removeprefix(_IN_THE_RUN) for image in images]
    paths = replace(row, values={**row.values, "images": images})
    target = row.written_target() or {}
    sample = paths.sample(
        read_turns(row, "messages", answered=False).messages,
        row.task_of("task"),
        target,
        images=paths.media("image"),
        videos=paths.media("video"),
        demonstration=row.text("completion") if row.has("completion") else None,
        coordinates=row.text("coordinates") if row.has("coordinates") else None,
    )
    return as_thousandths(sample)


def read_right_rollout(row: Columns) -> Sample:
    """As `read_rollout`; only what was wholly right is a demonstration."""
    sample, info = read_rollout(row), row.values.get("info") or {}
    score = info.get("accuracy", row.values.get("reward"))
    return sample if score is not None and score >= 1.0 else replace(sample, demonstration=None)


_REQUIRED = (("messages", "prompt"), ("completion",), ("sample",), ("step",))
ROLLOUTS = Format(read_rollout, _REQUIRED)
RIGHT_ROLLOUTS = Format(read_right_rollout, _REQUIRED)
