"""Puzzles whose answers need no label: pieces, turns, cut-outs and frames of anybody's pictures and clips.

Source: Visual Jigsaw (arXiv 2509.25190) for pieces and frames; its wording is ours.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmrl.contracts.errors import BadSample, UserError, first_line
from mmrl.contracts.types import Sample
from mmrl.data.media import load_image, resolve_media
from mmrl.data.rows import Rows
from mmrl.data.videos import video_spec
from mmrl.recipe.budgets import VideoBudget
from mmrl.recipe.data import JigsawData

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v")
# Files of a hundred, by a digest of their names, that `split: test` has.
TEST_SHARE = 20
# The least side of a piece, in pixels: one visual token of a model with 14 px patches merged 2 x 2.
LEAST = 28
TURNS = {"A": 0, "B": 90, "C": 180, "D": 270}
OPTIONS = "ABCDEFGHIJKLMNOPQRST"


@dataclass(frozen=True, slots=True)
class Puzzle:
    """What is shown and asked, and what is right; `answer` is `target` as it would be written."""

    images: Sequence[Image.Image]
    question: str
    task: str
    target: dict[str, Any]
    answer: str


class Jigsaw(Rows):
    """Rows of a folder's pictures and clips, puzzle by puzzle.

    Raises:
        UserError: no such folder, or nothing in it that one of the puzzles could be made of.
        BadSample: on access, a file that cannot be read or is too small.
    """

    threaded = True

    def __init__(self, config: JigsawData):
        self.config, self.root = config, Path(config.path).expanduser()
        self.name = config.name or config.type
        if not self.root.is_dir():
            raise UserError(f"dataset '{self.name}': no folder at '{config.path}'")
        pictures, clips = _found(self.root, config.frames)
        self._sources = {}
        for kind in config.puzzles:
            sources = [path for path in (clips if kind == "frame_order" else pictures) if self._in_split(path)]
            if not sources:
                needed = "clips: video files, or folders of pictures" if kind == "frame_order" else "pictures"
                raise UserError(
                    f"dataset '{self.name}': puzzle '{kind}' is made of {needed}, and '{config.path}' holds none"
                    + (f" in split '{config.split}'" if config.split != "all" else "")
                )
            self._sources[kind] = sources
        self._size = config.size or len(config.puzzles) * max(map(len, self._sources.values()))

    def _in_split(self, path: Path) -> bool:
        if self.config.split == "all":
            return True
        name = path.relative_to(self.root).as_posix()
        share = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") % 100
        return (share < TEST_SHARE) == (self.config.split == "test")

    def __len__(self) -> int:
        return self._size

    def _row(self, row: int) -> Sample:
        kinds = self.config.puzzles
        kind = kinds[row % len(kinds)]
        sources = self._sources[kind]
        path = sources[row // len(kinds) % len(sources)]
        where = f"{self.name} row {row}"
        drawn = random.Random(f"{self.config.seed} {row} {kind} {path.relative_to(self.root).as_posix()}")
        if kind == "frame_order":
            puzzle = order_frames(_frames(path, self.config, where), drawn)
        else:
            picture = _smaller(load_image(path.relative_to(self.root), self.root, where), self.config.side)
            puzzle = _PUZZLES[kind](picture, self.config.grid, drawn, where)
        shown = [{"type": "image"} for _ in puzzle.images]
        content = [*shown, {"type": "text", "text": puzzle.question}]
        return Sample(
            f"{row}",
            ({"role": "user", "content": content},),
            puzzle.task,
            puzzle.target,
            images=tuple(puzzle.images),
            demonstration=puzzle.answer,
            dataset=self.name,
            row=row,
            columns={"puzzle": kind, "file": path.relative_to(self.root).as_posix()},
        )


def _found(root: Path, frames: int) -> tuple[list[Path], list[Path]]:
    """(pictures, clips) at any depth, by name; hidden ones are passed over."""
    pictures, clips = [], []
    for path in sorted(root.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.is_dir():
            if len(_pictures_in(path)) >= frames:
                clips.append(path)
        elif path.suffix.lower() in PICTURES:
            pictures.append(path)
        elif path.suffix.lower() in VIDEOS:
            clips.append(path)
    return pictures, clips


def _pictures_in(folder: Path) -> list[Path]:
    from video import VideoError
    from video.images import folder_frames

    try:
        return folder_frames(folder)
    except (VideoError, OSError):
        return []


def _smaller(picture: Image.Image, side: int) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((side, side))
    return picture


def _frames(path: Path, config: JigsawData, where: str) -> list[Image.Image]:
    """Frames of a clip, equally far apart, in the order in which they were filmed."""
    root = Path(config.path).expanduser()
    if path.is_dir():
        paths = _pictures_in(path)
        chosen = [paths[round(i * (len(paths) - 1) / (config.frames - 1))] for i in range(config.frames)]
        return [_smaller(load_image(frame.relative_to(root), root, where), config.side) for frame in chosen]
    from video import VideoError
    from video.cache import decode_source

    spec = video_spec(VideoBudget(frames=config.frames, max_pixels=config.side**2), LEAST, 1, {}, pictures=False)
    resolve_media(path.relative_to(root), root, where)
    try:
        pixels_TCHW = decode_source(str(path), spec).pixels
    except VideoError as error:
        raise BadSample(where, first_line(error), path=str(path)) from None
    return [Image.fromarray(frame_CHW.permute(1, 2, 0).contiguous().numpy()) for frame_CHW in pixels_TCHW]


def _cells(picture: Image.Image, grid: tuple[int, int], where: str) -> list[Image.Image]:
    """Equal cells from left to right and from top to bottom; what does not divide is cut off."""
    rows, columns = grid
    width, height = picture.width // columns, picture.height // rows
    if min(width, height) < LEAST:
        raise BadSample(
            where,
            f"a picture of {picture.width} x {picture.height} pixels has no {rows} x {columns} cells of {LEAST} "
            "pixels; lower grid, raise side, or take it out",
        )
    corners = [(column * width, row * height) for row in range(rows) for column in range(columns)]
    return [picture.crop((x, y, x + width, y + height)) for x, y in corners]


def order_pieces(picture: Image.Image, grid: tuple[int, int], drawn: random.Random, where: str) -> Puzzle:
    """Pieces in a drawn order; the answer says which of them belongs to each place."""
    cells = _cells(picture, grid, where)
    shuffled = drawn.sample(range(len(cells)), len(cells))
    order = [shuffled.index(place) + 1 for place in range(len(cells))]
    question = (
        f"These are the {len(cells)} pieces of a picture that was cut into {grid[0]} rows and {grid[1]} columns, in "
        "any order and numbered from 1. In what order do they make the picture, from left to right and from top to "
        "bottom? Answer with their numbers, separated by commas."
    )
    answer = ", ".join(map(str, order))
    return Puzzle([cells[place] for place in shuffled], question, "jigsaw", {"order": order}, answer)


def order_frames(frames: Sequence[Image.Image], drawn: random.Random) -> Puzzle:
    """Frames in a drawn order; the answer says in what order they were filmed."""
    shuffled = drawn.sample(range(len(frames)), len(frames))
    order = [shuffled.index(place) + 1 for place in range(len(frames))]
    question = (
        f"These are {len(frames)} frames of one clip, in any order and numbered from 1. In what order were they "
        "filmed? Answer with their numbers, separated by commas."
    )
    answer = ", ".join(map(str, order))
    return Puzzle([frames[place] for place in shuffled], question, "frame ordering", {"order": order}, answer)


def tell_turn(picture: Image.Image, grid: tuple[int, int], drawn: random.Random, where: str) -> Puzzle:
    """The middle square of a picture, turned, so that its shape says nothing."""
    side = min(picture.size)
    if side < LEAST:
        raise BadSample(where, f"a picture of {picture.width} x {picture.height} pixels is too small; take it out")
    x, y = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((x, y, x + side, y + side))
    answer = drawn.choice(list(TURNS))
    # PIL turns counterclockwise.
    turned = square.rotate(-TURNS[answer])
    options = {letter: f"{degrees} degrees" for letter, degrees in TURNS.items()}
    return _choice([turned], "By how much was this picture turned clockwise?", options, answer)


def locate_crop(picture: Image.Image, grid: tuple[int, int], drawn: random.Random, where: str) -> Puzzle:
    """A picture, and one of its cells."""
    cells = _cells(picture, grid, where)
    place = drawn.randrange(len(cells))
    options = {OPTIONS[i]: f"row {i // grid[1] + 1}, column {i % grid[1] + 1}" for i in range(len(cells))}
    question = (
        f"The first picture is divided into {grid[0]} rows, from the top, and {grid[1]} columns, from the left. Which "
        "part of it is the second picture?"
    )
    return _choice([picture, cells[place]], question, options, OPTIONS[place])


def _choice(images: Sequence[Image.Image], question: str, options: dict[str, str], answer: str) -> Puzzle:
    listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
    asked = f"{question}\n{listed}\nAnswer with the letter."
    return Puzzle(images, asked, "multiple_choice", {"answer": answer, "options": options}, answer)


_PUZZLES = {"jigsaw": order_pieces, "rotation": tell_turn, "crop_location": locate_crop}
