"""Randomness by place: every step derives its seeds from the recipe's, so resuming needs no generator state."""

from __future__ import annotations

import hashlib
import random


def derive(seed: int, *place: object) -> int:
    """A 63-bit seed for a place such as ("rollout", 12); unrelated places give unrelated streams."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_everything(seed: int) -> None:
    """Seeds python, numpy and torch: dropout, and whatever a user's reward draws."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
