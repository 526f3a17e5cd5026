"""Visual tasks composed from scikit-learn's 1,797 real scans of handwritten digits. Nothing is downloaded.

Every canvas is a multiple of 28 px wide and high, so a model with 14 px patches merged 2 x 2 never resizes it and boxes
in pixels of the image are boxes in pixels of what the model sees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from mmrl.config import DigitsData
from mmrl.data.rows import Rows
from mmrl.types import Sample

LETTERS = ("A", "B", "C", "D")
SMALLEST, LARGEST = 24, 36


@dataclass(frozen=True, slots=True)
class Placed:
    """One scan on a canvas: its number among the scans, its label 0..9, and its square in pixels."""

    scan: int
    label: int
    x: int
    y: int
    size: int

    @property
    def box(self) -> list[int]:
        """[x1, y1, x2, y2] in pixels; x2 and y2 are exclusive."""
        return [self.x, self.y, self.x + self.size, self.y + self.size]


@dataclass(frozen=True, slots=True)
class Style:
    """Colours (RGB, 0..255), the share of the way from background to ink, and noise (standard deviation, seed)."""

    background: tuple[float, float, float]
    ink: tuple[float, float, float]
    contrast: float = 1.0
    noise: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """A canvas and the digits on it, in reading order."""

    width: int
    height: int
    placed: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A scene, what is asked about it, the answer, and a line of reasoning."""

    scene: Scene
    text: str
    target: dict[str, Any]
    answer: str
    trace: str


@lru_cache(maxsize=1)
def scans() -> tuple[np.ndarray, np.ndarray]:
    """The scans, float32 [1797, 8, 8] in 0..1, and their labels, int64 [1797]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32), data.target.astype(np.int64)


@lru_cache(maxsize=2)
def split_scans(split: str) -> tuple[np.ndarray, ...]:
    """For every label 0..9 the numbers of its scans in `split`: 80 % of each label in `train`, the rest in `test`."""
    _, labels = scans()
    rng = np.random.Generator(np.random.Philox(20_240_229))
    parts = []
    for label in range(10):
        numbers = rng.permutation(np.flatnonzero(labels == label))
        cut = round(0.8 * len(numbers))
        parts.append(numbers[:cut] if split == "train" else numbers[cut:])
    return tuple(parts)


def render(scene: Scene, style: Style) -> Image.Image:
    """Draws a scene as an RGB image. Pure: equal arguments give equal pixels."""
    pixels, _ = scans()
    alpha = np.zeros((scene.height, scene.width, 1), np.float32)
    for digit in scene.placed:
        scan = Image.fromarray(pixels[digit.scan]).resize((digit.size, digit.size), Image.Resampling.BICUBIC)
        square = alpha[digit.y : digit.y + digit.size, digit.x : digit.x + digit.size, 0]
        np.maximum(square, np.asarray(scan), out=square)
    alpha = style.contrast * alpha.clip(0.0, 1.0)
    background, ink = np.float32(style.background), np.float32(style.ink)
    canvas = background + alpha * (ink - background)
    if style.noise:
        rng = np.random.Generator(np.random.Philox(style.seed))
        canvas = canvas + style.noise * rng.standard_normal((scene.height, scene.width, 1), np.float32)
    return Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))


class Digits(Rows):
    """Digit tasks; row i is a function of (seed, split, i) and of the task i % len(tasks), and of nothing else.

    Args:
        config: split, tasks, number of rows, seed, and whether demonstrations carry a <think> trace.
    """

    def __init__(self, config: DigitsData):
        self.config = config
        self.name = config.name or "digits"
        self._scans = split_scans(config.split)

    def __len__(self) -> int:
        return self.config.size

    def _row(self, row: int) -> Sample:
        config = self.config
        task = config.tasks[row % len(config.tasks)]
        key = hashlib.sha256(f"digits/{config.seed}/{config.split}/{row}".encode()).digest()
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(key))))
        asked = TASKS[task](rng, self._scans)
        image = render(asked.scene, _style(rng))
        answer = f"<think>{asked.trace}</think><answer>{asked.answer}</answer>" if config.think else asked.answer
        return Sample(
            id=f"{self.name}/{config.split}/{row}",
            messages=({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked.text}]},),
            task=task,
            target=asked.target,
            images=(image,),
            demonstration=answer,
            dataset=self.name,
            row=row,
        )


def _style(rng: np.random.Generator) -> Style:
    dark, bright = rng.uniform(0, 70), rng.uniform(185, 255)
    background, ink = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    tint = rng.uniform(-16, 16, (2, 3))
    return Style(
        background=tuple(float(background + t) for t in tint[0]),
        ink=tuple(float(ink + t) for t in tint[1]),
        contrast=float(rng.uniform(0.85, 1.0)),
        noise=float(rng.uniform(1.0, 7.0)),
        seed=int(rng.integers(2**63)),
    )


def _pick(rng: np.random.Generator, pool: Sequence[np.ndarray], labels: Sequence[int]) -> list[tuple[int, int]]:
    """A scan of the split for every label: (scan number, label)."""
    return [(int(rng.choice(pool[label])), int(label)) for label in labels]


def _row_scene(rng, pool, labels: Sequence[int], width: int, largest: int = LARGEST) -> Scene:
    """Digits from left to right on a canvas 56 px high, with the free width spread at random between them."""
    sizes = rng.integers(SMALLEST, largest + 1, len(labels))
    gaps = np.diff(np.sort(rng.integers(0, width - int(sizes.sum()) + 1, len(labels))), prepend=0)
    placed, x = [], 0
    for (scan, label), size, gap in zip(_pick(rng, pool, labels), sizes, gaps, strict=True):
        x += int(gap)
        placed.append(Placed(scan, label, x, int(rng.integers(0, 56 - size + 1)), int(size)))
        x += int(size)
    return Scene(width, 56, tuple(placed))


def _scattered_scene(rng, pool, labels: Sequence[int]) -> Scene:
    """Digits anywhere on a 112 x 112 canvas without overlap; in reading order, from top to bottom."""
    side = 112
    squares = _free_squares(rng, len(labels), side) or _grid_squares(rng, len(labels), side)
    placed = [Placed(scan, label, *square) for (scan, label), square in zip(_pick(rng, pool, labels), squares)]
    return Scene(side, side, tuple(sorted(placed, key=lambda d: (d.y, d.x))))


def _free_squares(rng, count: int, side: int) -> list[tuple[int, int, int]] | None:
    """Squares (x, y, size) drawn until they do not overlap; None when chance crowds them out."""
    squares: list[tuple[int, int, int]] = []
    for _ in range(40 * count):
        size = int(rng.integers(SMALLEST, LARGEST + 1))
        x, y = (int(v) for v in rng.integers(0, side - size + 1, 2))
        if all(x >= a + s or a >= x + size or y >= b + s or b >= y + size for a, b, s in squares):
            squares.append((x, y, size))
            if len(squares) == count:
                return squares
    return None


def _grid_squares(rng, count: int, side: int) -> list[tuple[int, int, int]]:
    """Squares (x, y, size) in different cells of a 3 x 3 grid."""
    cell = side // 3
    squares = []
    for number in rng.permutation(9)[:count]:
        size = int(rng.integers(SMALLEST, LARGEST + 1))
        dx, dy = (int(v) for v in rng.integers(0, cell - size + 1, 2))
        squares.append((int(number % 3) * cell + dx, int(number // 3) * cell + dy, size))
    return squares


def _labels(rng, count: int, *, distinct: bool = False) -> list[int]:
    return [int(v) for v in rng.choice(10, count, replace=not distinct)]


def _either(rng, *texts: str) -> str:
    return texts[int(rng.integers(len(texts)))]


def _listing(scene: Scene) -> str:
    return " ".join(str(d.label) for d in scene.placed)


def _classification(rng, pool) -> Question:
    label = int(rng.integers(10))
    scene = _row_scene(rng, pool, [label], 56)
    text = _either(rng, "Which digit is this?", "What digit is shown?")
    return Question(scene, text, {"answer": str(label)}, str(label), f"It is a {label}.")


def _ocr(rng, pool) -> Question:
    count = int(rng.integers(3, 6))
    scene = _row_scene(rng, pool, _labels(rng, count), 28 * count + 28, largest=32)
    text = _either(rng, "Read the digits from left to right.", "Which number is written here?")
    answer = "".join(str(d.label) for d in scene.placed)
    return Question(scene, text, {"text": answer}, answer, _listing(scene))


def _grounding(rng, pool) -> Question:
    scene = _scattered_scene(rng, pool, _labels(rng, int(rng.integers(2, 4)), distinct=True))
    asked = scene.placed[int(rng.integers(len(scene.placed)))]
    text = _either(
        rng,
        f"Locate the digit {asked.label}. Answer with its box [x1, y1, x2, y2].",
        f"Where is the {asked.label}? Answer with its box [x1, y1, x2, y2].",
    )
    target = {"box": asked.box, "label": str(asked.label)}
    return Question(scene, text, target, json.dumps(asked.box), f"{_listing(scene)}. The {asked.label} is asked.")


def _counting(rng, pool) -> Question:
    count = int(rng.integers(0, 5))
    total = int(rng.integers(max(3, count), 7))
    asked = int(rng.integers(10))
    others = [int(v) for v in rng.choice([d for d in range(10) if d != asked], total - count)]
    scene = _scattered_scene(rng, pool, [asked] * count + others)
    text = _either(rng, f"How many times does {asked} appear?", f"Count the digit {asked}.")
    return Question(scene, text, {"count": count}, str(count), _listing(scene))


def _multiple_choice(rng, pool) -> Question:
    first, second, third = labels = _labels(rng, 3, distinct=True)
    scene = _row_scene(rng, pool, labels, 112)
    kind = int(rng.integers(3))
    if kind == 2:
        text, right = "What is the sum of the first two digits?", first + second
        wrong = [first + third, second + third]
        spare = [v for v in (right - 1, right + 1, right + 2, third) if v >= 0]
    else:
        text = "Which digit is the largest?" if kind == 0 else "Which digit is the smallest?"
        right = max(labels) if kind == 0 else min(labels)
        wrong = [v for v in labels if v != right]
        spare = list(range(10))
    wrong.append(int(rng.choice([v for v in spare if v != right and v not in wrong])))
    place = int(rng.integers(4))
    values = [int(v) for v in rng.permutation(wrong)]
    values.insert(place, right)
    options = {letter: str(value) for letter, value in zip(LETTERS, values, strict=True)}
    lines = "\n".join(f"{letter}. {value}" for letter, value in options.items())
    target = {"answer": LETTERS[place], "options": options}
    return Question(scene, f"{text}\n{lines}", target, LETTERS[place], f"{_listing(scene)}. It is {right}.")


def _caption(rng, pool) -> Question:
    kind = list(TASKS)[int(rng.integers(len(TASKS) - 1))]
    scene = TASKS[kind](rng, pool).scene
    answer = "; ".join(f"{d.label} {d.box}" for d in scene.placed)
    text = "List the digits with their boxes."
    return Question(scene, text, {"text": answer}, answer, _listing(scene))


TASKS: dict[str, Callable[[np.random.Generator, Sequence[np.ndarray]], Question]] = {
    "classification": _classification,
    "ocr": _ocr,
    "grounding": _grounding,
    "counting": _counting,
    "multiple_choice": _multiple_choice,
    "caption": _caption,
}
