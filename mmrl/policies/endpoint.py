"""A model behind an OpenAI-compatible server: samples become messages with their pictures and frames as data URLs.

What is sent is what `policy.image` and `policy.video` say, sized here; the server may size it again. Nothing of it
trains.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from PIL import Image
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Likelihood, PolicyBatch, Sample
from mmrl.data.media import load_image
from mmrl.data.media_reader import MediaReader, image_budget
from mmrl.policies.boxes import Canvas, localise
from mmrl.recipe.policies.endpoint import EndpointPolicySettings
from vision_rewards.registry import place_keys

# Pixels of a picture where `policy.image` sets but one of the bounds, in squares of `factor`: qwen-vl-utils' own.
LEAST, MOST = 4, 16384
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Clip:
    """A video as it is sent: uint8 frames [T, 3, H, W], the second of each, and (width, height) of its source."""

    frames_T3HW: Tensor
    seconds: tuple[float, ...]
    size: tuple[int, int]

    @property
    def seen(self) -> tuple[int, int]:
        """(width, height) of its frames."""
        height, width = self.frames_T3HW.shape[-2:]
        return width, height


@dataclass(frozen=True, eq=False)
class EndpointPrompt:
    """One prepared prompt.

    Attributes:
        messages: the sample's.
        pictures: as they are sent, in order.
        sizes: (width, height) of each picture's file.
        clips: the videos.
        picture: how pictures and frames are encoded.
        times: the second of a frame stands before it.
    """

    messages: tuple[Mapping[str, Any], ...]
    pictures: tuple[Image.Image, ...]
    sizes: tuple[tuple[int, int], ...]
    clips: tuple[Clip, ...]
    picture: str
    times: bool

    @property
    def length(self) -> int:
        """The server counts tokens, and says so with each answer."""
        return 0

    @property
    def frames(self) -> int:
        """Frames of all its videos."""
        return sum(len(clip.seconds) for clip in self.clips)

    @cached_property
    def chat(self) -> list[dict[str, Any]]:
        """The messages as the server takes them. Encoding takes its time: it is done where they are sent."""
        pictures, clips = iter(self.pictures), iter(self.clips)
        return [{**message, "content": self._parts(message["content"], pictures, clips)} for message in self.messages]

    def _parts(self, content: Any, pictures: Iterator[Image.Image], clips: Iterator[Clip]) -> Any:
        if isinstance(content, str):
            return content
        if all(part["type"] == "text" for part in content):
            return "".join(part["text"] for part in content)
        parts: list[dict[str, Any]] = []
        for part in content:
            if part["type"] == "text":
                parts.append({"type": "text", "text": part["text"]})
            elif part["type"] == "image":
                parts.append(self._url(next(pictures)))
            else:
                parts += self._frames(next(clips))
        return parts

    def _frames(self, clip: Clip) -> Iterator[dict[str, Any]]:
        for frame_3HW, second in zip(clip.frames_T3HW, clip.seconds, strict=True):
            if self.times:
                yield {"type": "text", "text": f"<{second:.1f} seconds>"}
            yield self._url(Image.fromarray(frame_3HW.permute(1, 2, 0).numpy()))

    def _url(self, picture: Image.Image) -> dict[str, Any]:
        file = io.BytesIO()
        quality = {"quality": JPEG_QUALITY} if self.picture == "jpeg" else {}
        picture.save(file, self.picture, **quality)
        data = base64.b64encode(file.getvalue()).decode()
        return {"type": "image_url", "image_url": {"url": f"data:image/{self.picture};base64,{data}"}}


class EndpointPolicy:
    """The adapter. It has no weights; `mmrl.engines.endpoint` asks the server."""

    def __init__(self, config: EndpointPolicySettings):
        self.config, self.module = config, nn.Module()
        self.device = torch.device("cpu")
        image, factor = config.image, config.params.factor
        self._bounds: dict[str, int | None] = {
            "shortest_edge": image.min_pixels or LEAST * factor**2,
            "longest_edge": image.max_pixels or MOST * factor**2,
            "total_pixels": image.total_pixels,
        }
        self._sized = any(image.model_dump().values())
        sized = self._bounds if self._sized else None
        self.videos = MediaReader(config.video, factor, config.params.frame_factor, sized)

    @classmethod
    def from_pretrained(cls, config: EndpointPolicySettings) -> EndpointPolicy:
        """Nothing is loaded."""
        return cls(config)

    @property
    def params(self) -> Any:
        """See `Parametrised`."""
        return self.config.params

    def prepare(self, samples: Sequence[Sample]) -> list[EndpointPrompt]:
        """What is sent of each sample. Raises BadSample."""
        return [self._prepare(sample) for sample in samples]

    def _prepare(self, sample: Sample) -> EndpointPrompt:
        shown = [self._picture(source, sample) for source in sample.images]
        clips = []
        for frames, origin in zip(self.videos.read(sample), self.videos.origins(sample), strict=True):
            seconds = tuple(max(0.0, time - origin) for time in frames.timestamps.tolist())
            clips.append(Clip(frames.pixels, seconds, (frames.metadata.width, frames.metadata.height)))
        return EndpointPrompt(
            sample.messages,
            tuple(picture for picture, _ in shown),
            tuple(size for _, size in shown),
            tuple(clips),
            self.config.params.picture,
            self.config.params.times,
        )

    def _picture(self, source: Any, sample: Sample) -> tuple[Image.Image, tuple[int, int]]:
        """A picture as it is sent, and (width, height) of its file."""
        if not self._sized and not sample.budgets.get("image"):
            picture = load_image(source, sample.root, sample.where)
            return picture, picture.size
        bounds = image_budget(self._bounds, sample)
        least, most = bounds["shortest_edge"], bounds["longest_edge"]
        picture, size = self.videos.image(source, sample, least, most)
        return (self.videos.sized(picture, sample, least, most) if picture.size == size else picture), size

    def localise(self, sample: Sample, prompt: EndpointPrompt) -> Sample:
        """The sample with its boxes as the model writes them. Raises ConfigError where that is not known."""
        if not (sample.images or sample.videos) or not place_keys().keys() & sample.target.keys():
            return sample
        convention = self.config.params.coordinates
        if convention is None:
            raise ConfigError(
                f"{sample.where} holds boxes or points, and policy.params.coordinates does not say how model "
                f"'{self.config.path}' writes them; set it to norm1000 or resized_pixel"
            )
        images = [Canvas(size, picture.size) for size, picture in zip(prompt.sizes, prompt.pictures, strict=True)]
        return localise(sample, convention, images, [Canvas(clip.size, clip.seen) for clip in prompt.clips])

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """Nothing trains."""
        return iter(())

    def reference_state(self) -> dict[str, Tensor] | None:
        """There is none."""
        return None

    @property
    def towers(self) -> NoReturn:
        """Raises ConfigError: it takes no memory here."""
        raise self._nothing("sizes of its model")

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """Raises ConfigError."""
        raise self._nothing("tokens for demonstrations")

    def decode_text(self, tokens: Tensor) -> str:
        """Raises ConfigError: completions bring their text."""
        raise self._nothing("a tokenizer")

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Raises ConfigError."""
        raise self._nothing("gradients, nor log-probs of given units")

    def batch_tokens(self, prompts: Sequence[Any], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Raises ConfigError."""
        raise self._nothing("forward passes")

    def reference(self) -> AbstractContextManager[None]:
        """Raises ConfigError."""
        raise self._nothing("a reference")

    def keep_reference(self, base: bool = False) -> None:
        """Raises ConfigError."""
        raise self._nothing("weights to keep")

    def follow_reference(self, share: float) -> None:
        """Raises ConfigError."""
        raise self._nothing("a reference")

    def load_reference(self, state: Mapping[str, Tensor]) -> None:
        """Raises ConfigError."""
        raise self._nothing("a reference")

    def save_pretrained(self, folder: Path) -> None:
        """Raises ConfigError."""
        raise self._nothing("weights to save")

    def _nothing(self, what: str) -> ConfigError:
        return ConfigError(f"policy.type 'endpoint': model '{self.config.path}' is behind a server and has no {what}")
