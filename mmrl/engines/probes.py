"""Fixed prompts that engine and trainer are compared on: whether the engine has the weights that the trainer has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmrl.contracts.engine import Completion, Request
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Prompt, Sample
from mmrl.policies.unit_scores import unit_log_probs
from mmrl.recipe.rollout import SamplingConfig

SEED = 20
# Longer than a block of keys and values (128 tokens on a CPU): what is shorter is never found again.
TEXT = "Count from one to ten, then say which of the numbers is the largest and which is the smallest. " * 8
FRAMES = 4
SIDE = 56


def probe_samples(shows: Sequence[str]) -> dict[str, Sample]:
    """A sample of each of `text`, `image` and `video` that is asked for; pictures are noise, the same each time."""
    rng = np.random.default_rng(SEED)

    def noise() -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))

    picture, frames = noise(), [noise() for _ in range(FRAMES)]
    media: dict[str, dict[str, Any]] = {
        "text": {},
        "image": {"images": (picture,)},
        "video": {"videos": ({"path": frames, "source_fps": 2.0},)},
    }
    samples = {}
    for kind in shows:
        marks = [{"type": kind}] if kind != "text" else []
        messages = ({"role": "user", "content": [*marks, {"type": "text", "text": TEXT}]},)
        samples[kind] = Sample(f"probe_{kind}", messages, "probe", {}, dataset="engine.probe", **media[kind])
    return samples


class Probes:
    """Prompts of one policy.

    Args:
        shows: of `text`, `image` and `video`.
        tokens: sampled of each.

    Raises:
        ConfigError: the policy cannot be shown one.
    """

    def __init__(self, policy: Policy, shows: Sequence[str], tokens: int):
        self.sampling = SamplingConfig(max_new_tokens=tokens)
        self.prompts: dict[str, Prompt] = {}
        for kind, sample in probe_samples(shows).items():
            try:
                (self.prompts[kind],) = policy.prepare([sample])
            except BadSample as error:
                raise ConfigError(
                    f"engine.probe.shows: the policy cannot be shown '{kind}' ({error.reason}); leave it out where the "
                    "data hold none"
                ) from None

    def gaps(self, policy: Policy, generate: Callable[[Sequence[Request]], list[list[Completion]]]) -> dict[str, float]:
        """Of each probe the largest |engine log-prob - trainer log-prob| over its sampled tokens, in nats."""
        requests = [Request(prompt, seed=SEED + i) for i, prompt in enumerate(self.prompts.values())]
        completions = [completion for (completion,) in generate(requests)]
        scored = unit_log_probs(policy, list(self.prompts.values()), [each.tokens for each in completions])
        return {
            kind: float((theirs - ours).abs().max())
            for kind, theirs, ours in zip(self.prompts, (c.log_probs for c in completions), scored, strict=True)
        }


def beyond(gaps: Mapping[str, float], bound: float) -> list[str]:
    """The probes whose gap is not within the bound; one that is no number is not."""
    return [kind for kind, gap in gaps.items() if not gap <= bound]
