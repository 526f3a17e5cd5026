"""Edits of texts, drawn from a source of random numbers, for `benchmarks.chaos` and `benchmarks.fuzz`."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def spliced(source: Random, text: str, pieces: Sequence[str], cuts: Sequence[int]) -> str:
    """The text with one of the pieces at any place, where it takes that of as many letters as one of the cuts."""
    start = source.randrange(len(text) + 1)
    end = start + source.choice(cuts)
    return text[:start] + source.choice(pieces) + text[end:]
