"""A reward of one's own: short answers."""

from mmrl.contracts.types import Sample


def brevity(completion: str, sample: Sample, words: int = 10) -> float:
    """1 for an answer of at most `words` words, falling to 0 at twice as many."""
    return max(0.0, min(1.0, 2.0 - len(completion.split()) / words))
