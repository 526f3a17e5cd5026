"""Numbers to read whose difficulty is known: from one digit to four, and of none at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mmrl import Sample
from mmrl.data.digits import SIDE, Placed, Scene, Style, render, split_scans

# Digits of the number, and contrast of its ink.
LEVELS: dict[str, tuple[int, float]] = {"one": (1, 0.9), "two": (2, 0.9), "four": (4, 0.9), "blank": (2, 0.0)}


def rows(split: str = "train", size: int = 320, levels: Sequence[str] = tuple(LEVELS), seed: int = 0) -> list[Sample]:
    """Questions which number a picture shows; row i is of level i mod their number.

    Columns: `level`, and `rank`, its number among `LEVELS`. Of `blank`, an empty picture, a hundredth can be guessed.
    """
    return [_row(split, i, levels[i % len(levels)], seed) for i in range(size)]


def _row(split: str, row: int, level: str, seed: int) -> Sample:
    key = hashlib.sha256(f"levels/{seed}/{split}/{level}/{row}".encode()).digest()
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(int.from_bytes(key))))
    count, contrast = LEVELS[level]
    labels, pools = rng.integers(10, size=count).tolist(), split_scans(split)
    placed = [Placed(int(rng.choice(pools[label])), label, SIDE * i, SIDE // 2, SIDE) for i, label in enumerate(labels)]
    style = Style((225.0,) * 3, (30.0,) * 3, contrast, 5.0, int(rng.integers(2**63)))
    number = "".join(map(str, labels))
    text = "Which number is written here?"
    return Sample(
        id=f"{level}/{row}",
        messages=({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},),
        task="classification",
        target={"answer": number},
        images=(render(Scene(112, 56, tuple(placed)), style),),
        demonstration=number,
        dataset=level,
        row=row,
        columns={"level": level, "rank": list(LEVELS).index(level)},
    )
