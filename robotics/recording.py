"""Episodes as moving pictures: frames are kept while a policy plays, and written as a file that a browser plays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from robotics.base import VectorEnv
from robotics.types import Observation, StepResult
from robotics.wrapper import Wrapper

FORMATS = (".mp4", ".webp", ".gif")
SMALL = 128
GAP = 4


class Recorder(Wrapper):
    """`env`, with a frame of some of its worlds kept from the start and after every counted step.

    Chunks are taken apart into single steps, each of which is drawn for the film: for evaluation, not for training.
    Results are those of `env`, whose cameras render at the end of a chunk.
    """

    def __init__(self, env: VectorEnv, worlds: Sequence[int] = (0,)):
        super().__init__(env)
        self.worlds = list(worlds)
        self._frames: dict[int, list[Tensor]] = {world: [] for world in self.worlds}

    def reset(self, ids: Tensor | Sequence[int], worlds: Tensor | Sequence[int] | None = None) -> Observation:
        """See `VectorEnv.reset`. The frames of the started worlds begin anew."""
        observation = self.env.reset(ids, worlds)
        started = range(self.num_envs) if worlds is None else torch.as_tensor(worlds).tolist()
        begun = [world for world in self.worlds if world in started]
        for world in begun:
            self._frames[world] = []
        self._keep(begun)
        return observation

    def chunk_step(self, actions: Tensor) -> StepResult:
        """See `VectorEnv.chunk_step`."""
        actions = torch.as_tensor(actions)
        single = actions.split(1, dim=1) if actions.dim() == 3 and actions.shape[1] else [actions]
        results = []
        for action, step in zip(single, [self.env.unseen_step] * (len(single) - 1) + [self.env.chunk_step]):
            result = step(action)
            self._keep([world for world in self.worlds if result.valid[world].any()])
            results.append(result)
        masks = ("reward", "terminated", "truncated", "valid")
        joined = {name: torch.cat([getattr(result, name) for result in results], dim=1) for name in masks}
        return StepResult(observation=results[-1].observation, info=results[-1].info, **joined)

    def frames(self, world: int) -> Tensor:
        """The episode of `world` so far, uint8 [T, H, W, 3]: its start and every counted step."""
        return torch.stack(self._frames[world])

    def _keep(self, worlds: Sequence[int]) -> None:
        if worlds:
            for world, frame in zip(worlds, self.env.render(worlds).cpu()):
                self._frames[world].append(frame)


def write_video(frames_THWC: Tensor, path: str | Path, fps: float = 10.0) -> Path:
    """Write uint8 frames [T, H, W, 3] to `path`: .webp or .gif (animated images, by Pillow) or .mp4 (H.264, by av).

    The last frame of an animated image stays for a second before the loop. A file appears whole or not at all.

    Raises:
        ValueError: another ending, shape or dtype, or no frame.
        ImportError: av is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"video: path={str(path)!r} is not allowed; allowed endings: {', '.join(FORMATS)}")
    shape, dtype = tuple(frames_THWC.shape), frames_THWC.dtype
    if len(shape) != 4 or shape[3] != 3 or shape[0] == 0 or dtype != torch.uint8:
        raise ValueError(f"video: frames have shape {shape} of {dtype}; expected [T, H, W, 3] of torch.uint8, T >= 1")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    write = _write_mp4 if path.suffix == ".mp4" else _write_animation
    try:
        write(frames_THWC.cpu(), part, fps)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _write_animation(frames_THWC: Tensor, path: Path, fps: float) -> None:
    from PIL import Image

    pictures = [Image.fromarray(frame.numpy()) for frame in frames_THWC]
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [1000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=80)


def _write_mp4(frames_THWC: Tensor, path: Path, fps: float) -> None:
    try:
        import av
    except ImportError:
        raise ImportError("video: .mp4 needs the package av: pip install av, or write .webp") from None
    from fractions import Fraction

    # H.264 with halved colour planes, the form that every browser plays, has even sides.
    even = torch.nn.functional.pad(
        frames_THWC, (0, 0, 0, frames_THWC.shape[2] % 2, 0, frames_THWC.shape[1] % 2)
    ).contiguous()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = even.shape[1], even.shape[2], "yuv420p"
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy(), format="rgb24")))
        container.mux(stream.encode())


def side_by_side(frames: Sequence[Tensor]) -> Tensor:
    """Frames uint8 [H, W, 3] as one, beside each other on black, `GAP` pixels apart; small ones are enlarged."""
    shown = [_enlarge(frame) for frame in frames]
    height, width = max(f.shape[0] for f in shown), sum(f.shape[1] + GAP for f in shown) - GAP
    whole, left = torch.zeros(height, width, 3, dtype=torch.uint8), 0
    for frame in shown:
        whole[: frame.shape[0], left : left + frame.shape[1]] = frame
        left += frame.shape[1] + GAP
    return whole


def _enlarge(frame_HWC: Tensor) -> Tensor:
    """A frame whose shorter side is below 128 pixels with every pixel repeated until it is not."""
    factor = -(-SMALL // min(frame_HWC.shape[:2]))
    return frame_HWC.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
