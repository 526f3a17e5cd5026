"""Video tasks composed from real scans of digits, rendered to real encoded video files.

Time is cut into slots of one second; a digit keeps its place for a whole slot. Read at 2 frames per second, a slot is
one temporal patch of a Qwen-VL: as with the grid of the image tasks, a tiny model then meets whole events.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.digits import SIDE, STEP, Placed, Scene, Style, pick_scans, random_style, render, split_scans
from mmrl.data.rows import Rows
from mmrl.recipe.data import VideoDigitsData

LETTERS = ("A", "B", "C", "D")
FPS = 4  # of the files; a slot is FPS frames
CODEC = "mpeg4"  # in every build of FFmpeg
BIT_RATE = 400_000
# Part of every file's name: raise it when equal rows would be rendered to other pixels.
VERSION = 1
# Ends the name of a file that is being written.
ASIDE = ".part"
ABANDONED_S = 600.0


@dataclass(frozen=True, slots=True)
class DigitClip:
    """What each slot of a video shows."""

    slots: tuple[Scene, ...]
    style: Style


@dataclass(frozen=True, slots=True)
class Question:
    """The scenes of the slots, what is asked about them, the answer, and a line of reasoning."""

    slots: tuple[Scene, ...]
    text: str
    target: dict[str, Any]
    answer: str
    trace: str


class VideoDigits(Rows):
    """Video tasks; row i is a function of (seed, split, i), of the task i % len(tasks) and of the canvas.

    A row's file is written when the row is first read, whole or not at all, and found there from then on.

    Args:
        config: split, tasks, rows, seed, slots, canvas, the files' folder, and whether demonstrations carry a trace.

    Raises:
        UserError: the folder cannot be written, or PyAV is not installed.
    """

    def __init__(self, config: VideoDigitsData):
        self.config = config
        self.name = config.name or "video_digits"
        self._scans = split_scans(config.split)
        self.folder = Path(config.folder) if config.folder else default_folder()
        remove_leftovers(self.folder)

    def __len__(self) -> int:
        return self.config.size

    def _row(self, row: int) -> Sample:
        config = self.config
        task = config.tasks[row % len(config.tasks)]
        key = hashlib.sha256(f"video_digits/{config.seed}/{config.split}/{row}".encode()).digest()
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(key))))
        asked = TASKS[task](_Draw(rng, self._scans, config.slots, config.canvas))
        clip = DigitClip(asked.slots, replace(random_style(rng), noise=0.0))
        answer = f"<think>{asked.trace}</think><answer>{asked.answer}</answer>" if config.think else asked.answer
        return Sample(
            id=f"{self.name}/{config.split}/{row}",
            messages=({"role": "user", "content": [{"type": "video"}, {"type": "text", "text": asked.text}]},),
            task=task,
            target=asked.target,
            videos=(str(video_file(clip, self.folder)),),
            demonstration=answer,
            dataset=self.name,
            row=row,
        )


def default_folder() -> Path:
    """Where rendered files lie unless the recipe says otherwise: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmrl" / "video_digits"


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half-written there: files aside that nobody has written to for a while."""
    for path in folder.glob(f"??/*{ASIDE}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()


def video_file(clip: DigitClip, folder: Path) -> Path:
    """The encoded file of a clip, rendered if it is not there yet. Raises UserError where it cannot be written."""
    name = hashlib.sha256(f"{VERSION} {CODEC} {FPS} {BIT_RATE} {clip}".encode()).hexdigest()[:24]
    path = folder / name[:2] / f"{name}.mp4"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=ASIDE, delete=False) as part:
            part.close()
            encode(clip, Path(part.name))
            with open(part.name, "rb") as written:
                os.fsync(written.fileno())
                # Other users may share the folder; temporary files are their maker's alone.
                os.fchmod(written.fileno(), 0o644)
            os.replace(part.name, path)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error}; set `folder` of the video_digits data") from error
    return path


def encode(clip: DigitClip, path: Path) -> None:
    """Writes a clip as an MPEG-4 file: FPS frames per slot, equal arguments giving equal frames."""
    try:
        import av
    except ImportError:
        raise UserError("video_digits needs PyAV: pip install av") from None
    first = clip.slots[0]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(CODEC, rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        stream.bit_rate = BIT_RATE
        stream.thread_count = 1
        for scene in clip.slots:
            picture = av.VideoFrame.from_image(render(scene, clip.style))
            for _ in range(FPS):
                frame = picture.reformat(format="yuv420p")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


@dataclass(frozen=True, slots=True)
class _Draw:
    """What a row draws from: its generator, the split's scans, the number of slots and the side of the canvas."""

    rng: np.random.Generator
    pool: Sequence[np.ndarray]
    slots: int
    canvas: int

    def labels(self, count: int) -> list[int]:
        """Distinct labels."""
        return [int(v) for v in self.rng.choice(10, count, replace=False)]

    def cells(self, labels: Sequence[int]) -> list[Placed]:
        """Each digit in a cell of its own."""
        across = self.canvas // SIDE
        corners = self.rng.permutation(across**2)[: len(labels)]
        chosen = pick_scans(self.rng, self.pool, labels)
        return [
            Placed(scan, label, int(c % across) * SIDE, int(c // across) * SIDE, SIDE)
            for (scan, label), c in zip(chosen, corners)
        ]

    def times(self, count: int) -> list[int]:
        """Distinct slots in order."""
        return sorted(int(v) for v in self.rng.choice(self.slots, count, replace=False))

    def scenes(self, shown: Callable[[int], Sequence[Placed]]) -> tuple[Scene, ...]:
        """The scene of every slot."""
        return tuple(Scene(self.canvas, self.canvas, tuple(shown(slot))) for slot in range(self.slots))


def _appearing(draw: _Draw, count: int) -> tuple[list[Placed], tuple[Scene, ...]]:
    """Digits that appear one after another and stay, in order of appearance."""
    placed = draw.cells(draw.labels(count))
    starts = draw.times(count)
    return placed, draw.scenes(lambda slot: [d for d, start in zip(placed, starts) if slot >= start])


def _first_or_last(draw: _Draw) -> Question:
    """The demonstration is the option's text: finding its letter is the image tasks' skill, not this one's."""
    placed, scenes = _appearing(draw, 2)
    word, (right, other) = "first", (placed[0].label, placed[1].label)
    if draw.rng.random() < 0.5:
        word, right, other = "last", other, right
    absent = [int(v) for v in draw.rng.choice([v for v in range(10) if v not in (right, other)], 2, replace=False)]
    values = [int(v) for v in draw.rng.permutation([right, other, *absent])]
    options = {letter: str(value) for letter, value in zip(LETTERS, values, strict=True)}
    lines = "\n".join(f"{name}. {value}" for name, value in options.items())
    target = {"answer": LETTERS[values.index(right)], "options": options}
    trace = f"{placed[0].label} {placed[1].label}."
    return Question(scenes, f"Which digit appears {word}?\n{lines}", target, str(right), trace)


def _count(draw: _Draw) -> Question:
    count = int(draw.rng.integers(1, min(4, draw.slots) + 1))
    placed, scenes = _appearing(draw, count)
    trace = " ".join(str(d.label) for d in placed)
    return Question(scenes, "How many digits appear?", {"count": count}, str(count), trace)


def _order(draw: _Draw) -> Question:
    placed, scenes = _appearing(draw, min(3, draw.slots))
    order = [d.label for d in placed]
    answer = " ".join(map(str, order))
    return Question(scenes, "In which order do the digits appear?", {"order": order}, answer, answer)


def _tell(draw: _Draw) -> Question:
    placed, scenes = _appearing(draw, min(3, draw.slots))
    order = " ".join(str(d.label) for d in placed)
    answer = ", then ".join(f"a {d.label}" for d in placed) + "."
    return Question(scenes, "Tell what appears, in a sentence.", {"answer": answer}, answer, order)


def _visiting(draw: _Draw) -> tuple[Placed, int, int, tuple[Scene, ...]]:
    """A digit that is there for a while, beside one that is there all the time; start and end in seconds."""
    (asked, other) = draw.cells(draw.labels(2))
    start, end = sorted(int(v) for v in draw.rng.choice(draw.slots + 1, 2, replace=False))
    scenes = draw.scenes(lambda slot: [other, asked] if start <= slot < end else [other])
    return asked, start, end, scenes


def _when(draw: _Draw) -> Question:
    asked, start, end, scenes = _visiting(draw)
    text = f"When is the {asked.label} visible? Answer with [start, end] in seconds."
    target = {"interval": [start, end], "duration": draw.slots}
    return Question(scenes, text, target, f"[{start}, {end}]", f"{asked.label} comes at {start}, goes at {end}.")


def _how_long(draw: _Draw) -> Question:
    asked, start, end, scenes = _visiting(draw)
    text = f"For how many seconds is the {asked.label} visible?"
    trace = f"{asked.label} comes at {start}, goes at {end}."
    return Question(scenes, text, {"answer": end - start}, str(end - start), trace)


def _moving(draw: _Draw) -> list[Placed]:
    """A digit that moves from place to place, half a digit at a time: where it is in each slot."""
    (digit,) = draw.cells(draw.labels(1))
    path, limit = [digit], draw.canvas - SIDE
    for _ in range(draw.slots - 1):
        dx, dy = (STEP * int(v) for v in draw.rng.integers(-1, 2, 2))
        last = path[-1]
        path.append(replace(last, x=min(max(last.x + dx, 0), limit), y=min(max(last.y + dy, 0), limit)))
    return path


def _when_and_where(draw: _Draw) -> Question:
    path = _moving(draw)
    start, end = sorted(int(v) for v in draw.rng.choice(draw.slots + 1, 2, replace=False))
    scenes = draw.scenes(lambda slot: [path[slot]] if start <= slot < end else [])
    track = {str(slot): path[slot].box for slot in range(start, end)}
    target = {"time": [start, end], "track": track}
    text = f"When and where is the {path[0].label}? Answer with its time and its boxes at each second, as JSON."
    answer = json.dumps({"time": [start, end], "boxes": track})
    return Question(scenes, text, target, answer, f"It comes at {start}, goes at {end}.")


def _where(draw: _Draw) -> Question:
    path = _moving(draw)
    digit, scenes = path[0], draw.scenes(lambda slot: [path[slot]])
    track = {str(slot): place.box for slot, place in enumerate(path)}
    text = f"Track the {digit.label}: its box at each second, as JSON."
    return Question(scenes, text, {"track": track}, json.dumps(track), f"It is a {digit.label}.")


def _flash(draw: _Draw) -> Question:
    """An empty canvas on which a digit is seen for one second: most frames of a long video say nothing."""
    (digit,) = draw.cells(draw.labels(1))
    (second,) = draw.times(1)
    scenes = draw.scenes(lambda slot: [digit] if slot == second else [])
    answer = str(digit.label)
    return Question(scenes, "Which digit flashes?", {"answer": answer}, answer, f"A {answer} flashes at {second}.")


# Named as the rewards know them; `route` picks choice, counting, order, interval and track rewards by these.
TASKS: dict[str, Callable[[_Draw], Question]] = {
    "multiple_choice": _first_or_last,
    "counting": _count,
    "ordering": _order,
    "temporal_grounding": _when,
    "tracking": _where,
    "classification": _flash,
    "spatial_temporal_grounding": _when_and_where,
    "numeric": _how_long,
    "open_ended": _tell,
}
