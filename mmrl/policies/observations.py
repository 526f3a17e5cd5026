"""What robot policies read of an observation: its instruction and the cameras that a recipe chose."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from mmrl.contracts.errors import BadSample, ConfigError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.media import load_image


def instruction_of(sample: Sample) -> str:
    """The text of the last user message. Raises BadSample where there is none."""
    for message in reversed(sample.messages):
        if message["role"] == "user":
            content = message["content"]
            parts = [content] if isinstance(content, str) else [p["text"] for p in content if p.get("type") == "text"]
            text = " ".join(part.strip() for part in parts).strip()
            if text:
                return text
    raise BadSample(sample.where, "has no instruction; a robot policy needs a user message that says what to do")


def select_images(sample: Sample, cameras: Sequence[str] | None, count: int | None) -> list[Image.Image]:
    """The images that the policy sees, in its order.

    Args:
        cameras: names among the simulator's, or None for all of them.
        count: how many the policy was trained with, or None for any number.

    Raises:
        ConfigError: a camera that the simulator lacks, or another number of images.
    """
    images = list(sample.images)
    names = sample.cameras or tuple(map(str, range(len(images))))
    if cameras:
        for camera in cameras:
            if camera not in names:
                raise ConfigError(f"policy.params.cameras: {unknown('camera', camera, names)}")
        images = [images[names.index(camera)] for camera in cameras]
    if not images and sample.simulator is not None:
        raise ConfigError(
            f"simulators.{sample.simulator} shows no pictures, and a robot policy sees at least one camera; set its "
            "cameras"
        )
    if not images:
        raise BadSample(sample.where, "has no image; a robot policy sees at least one camera")
    if count is not None and len(images) != count:
        raise ConfigError(
            f"policy.params.cameras: the policy sees {count} images and the observation has {len(images)} "
            f"({', '.join(names)}); name {count} of them in policy.params.cameras"
        )
    return [load_image(image, sample.root, sample.where) for image in images]
