"""Visual tasks composed from 1,797 real scans of handwritten digits. Nothing is downloaded.

The scans are the test set of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998; CC BY
4.0), as scikit-learn's `load_digits` gives them.

Every canvas is a multiple of 28 px wide and high, so a model with 14 px patches merged 2 x 2 never resizes it and boxes
in pixels of the image are boxes in pixels of what the model sees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrl.contracts.types import Sample
from mmrl.data.rows import Rows
from mmrl.recipe.data import DigitsData

ASSETS = Path(__file__).resolve().parents[1] / "assets"
LETTERS = ("A", "B", "C", "D")
# Digits are 28 px wide and lie on a grid of 14 px. A vision tower of patch 14 that starts from random weights then
# meets whole patches of a digit and learns to tell digits apart on a CPU; free offsets take far more pictures.
SIDE, STEP = 28, 14
CAPTION_SHARES = (0.4, 0.2, 0.15, 0.1, 0.15)
SKILL_SHARES = (0.3, 0.2, 0.1, 0.1, 0.3)


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
    with np.load(ASSETS / "digits.npz") as data:
        return (data["images"] / 16.0).astype(np.float32), data["labels"].astype(np.int64)


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
        image = render(asked.scene, random_style(rng))
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


def random_style(rng: np.random.Generator) -> Style:
    """Dark ink on light paper, both slightly tinted, with noise."""
    background, ink = rng.uniform(195, 255), rng.uniform(0, 60)
    tint = rng.uniform(-16, 16, (2, 3))
    return Style(
        background=tuple(float(background + t) for t in tint[0]),
        ink=tuple(float(ink + t) for t in tint[1]),
        contrast=float(rng.uniform(0.85, 1.0)),
        noise=float(rng.uniform(1.0, 7.0)),
        seed=int(rng.integers(2**63)),
    )


def pick_scans(rng: np.random.Generator, pool: Sequence[np.ndarray], labels: Sequence[int]) -> list[tuple[int, int]]:
    """A scan of the split for every label: (scan number, label)."""
    return [(int(rng.choice(pool[label])), int(label)) for label in labels]


def _row_scene(rng, pool, labels: Sequence[int], width: int) -> Scene:
    """Digits from left to right on a canvas 56 px high, with the free width spread at random between them."""
    free = (width - SIDE * len(labels)) // STEP
    shifts = np.sort(rng.integers(0, free + 1, len(labels)))
    placed = [
        Placed(scan, label, SIDE * i + STEP * int(shift), _on_grid(rng, 56), SIDE)
        for i, ((scan, label), shift) in enumerate(zip(pick_scans(rng, pool, labels), shifts, strict=True))
    ]
    return Scene(width, 56, tuple(placed))


def _scattered_scene(rng, pool, labels: Sequence[int]) -> Scene:
    """Digits anywhere on a 112 x 112 canvas without overlap; in reading order, from top to bottom."""
    corners = _free_corners(rng, len(labels), 112) or _cell_corners(rng, len(labels), 112)
    placed = [
        Placed(scan, label, *corner, SIDE) for (scan, label), corner in zip(pick_scans(rng, pool, labels), corners)
    ]
    return Scene(112, 112, tuple(sorted(placed, key=lambda d: (d.y, d.x))))


def _free_corners(rng, count: int, side: int) -> list[tuple[int, int]] | None:
    """Top-left corners drawn until the squares do not overlap; None when chance crowds them out."""
    corners: list[tuple[int, int]] = []
    for _ in range(40 * count):
        x, y = _on_grid(rng, side), _on_grid(rng, side)
        if all(abs(x - a) >= SIDE or abs(y - b) >= SIDE for a, b in corners):
            corners.append((x, y))
            if len(corners) == count:
                return corners
    return None


def _cell_corners(rng, count: int, side: int) -> list[tuple[int, int]]:
    """Top-left corners of different cells of a grid without gaps."""
    cells = side // SIDE
    return [(int(n % cells) * SIDE, int(n // cells) * SIDE) for n in rng.permutation(cells**2)[:count]]


def _on_grid(rng, side: int) -> int:
    """A place for a digit along a side, on the grid of half digits."""
    return STEP * int(rng.integers(0, (side - SIDE) // STEP + 1))


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
    scene = _row_scene(rng, pool, _labels(rng, count), 28 * count + 28)
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
    """Names the digits of any canvas in reading order, half of the time with their boxes. Single digits come most."""
    kind = rng.choice(["classification", "ocr", "grounding", "counting", "multiple_choice"], p=CAPTION_SHARES)
    scene = TASKS[str(kind)](rng, pool).scene
    if rng.random() < 0.5:
        answer = "; ".join(f"{d.label} {d.box}" for d in scene.placed)
        return Question(scene, "List the digits with their boxes.", {"text": answer}, answer, _listing(scene))
    answer = _listing(scene)
    return Question(scene, "List the digits.", {"text": answer}, answer, answer)


def _skill(rng, pool) -> Question:
    """What the tasks build on, in other words and answer forms: find, tally, sort, add, list."""
    kind = str(rng.choice(["find", "tally", "sort", "add", "list"], p=SKILL_SHARES))
    if kind == "list":
        return _caption(rng, pool)
    scene = {"find": _grounding, "tally": _counting}.get(kind, _multiple_choice)(rng, pool).scene
    labels = [d.label for d in scene.placed]
    if kind == "find":
        asked = int(rng.choice(labels)) if rng.random() < 0.85 else int(rng.integers(10))
        text = f"Boxes of {asked}:"
        answer = "; ".join(str(d.box) for d in scene.placed if d.label == asked) or "none"
    elif kind == "tally":
        text = "Tally the digits."
        answer = "; ".join(f"{label}: {labels.count(label)}" for label in sorted(set(labels)))
    elif kind == "sort":
        text, answer = "Sort the digits.", " ".join(map(str, sorted(labels)))
    else:
        text, answer = "Add the first two digits.", f"{labels[0]} + {labels[1]} = {labels[0] + labels[1]}"
    return Question(scene, text, {"text": answer}, answer, _listing(scene))


TASKS: dict[str, Callable[[np.random.Generator, Sequence[np.ndarray]], Question]] = {
    "classification": _classification,
    "ocr": _ocr,
    "grounding": _grounding,
    "counting": _counting,
    "multiple_choice": _multiple_choice,
    "caption": _caption,
    "skill": _skill,
}
