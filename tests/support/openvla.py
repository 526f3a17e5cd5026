"""What the tests of OpenVLA policies share: observations, awake policies, sampled rows."""

import numpy as np
import torch
from PIL import Image

from mmrl.contracts.types import Sample
from mmrl.objectives.rows import Row
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf

INSTRUCTIONS = (
    "reach the red block",
    "push the Green block to the blue target zone, then place the other one right of it",
    "sort by colour",
)


def observation(seed: int = 0, cameras: tuple[str, ...] = ("top",), size=(56, 56), black: bool = False) -> Sample:
    """A random picture per camera (or a black one), an instruction and a state of 4 dimensions."""
    g = np.random.default_rng(seed)
    pixels = [g.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) * (not black) for _ in cameras]
    text = INSTRUCTIONS[seed % len(INSTRUCTIONS)]
    content = [*({"type": "image"} for _ in cameras), {"type": "text", "text": text}]
    return Sample(
        id=str(seed),
        messages=({"role": "user", "content": content},),
        task="table",
        target={},
        images=tuple(Image.fromarray(p) for p in pixels),
        simulator="table",
        cameras=cameras,
        state=torch.from_numpy(g.uniform(-1, 1, 4)).float(),
    )


def observations(count: int, **kwargs) -> list[Sample]:
    """Observations whose prompts differ in length."""
    return [observation(seed, **kwargs) for seed in range(count)]


def load(folder, type: str = "openvla", *, awake: bool = True, **config):
    """The policy of a folder on the CPU; `awake` draws weights large enough for images to sway the outputs."""
    policy = load_policy(policy_settings(path=str(folder), type=type, device="cpu", **config))
    if awake:
        wake(policy)
    return policy


def wake(policy) -> None:
    """Random matrices, biases and layer scales of a size at which every input counts."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if "lora_" in name:
                continue
            noise = torch.randn(parameter.shape, generator=g)
            if "scale_factor" in name:
                parameter.copy_(0.5 + 0.1 * noise)
            elif "lm_head" in name:
                parameter.copy_(0.3 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif "bias" in name:
                parameter.copy_(0.1 * noise)


def sampled_rows(policy, samples, n: int = 2, units: int = 6, temperature: float = 1.0, seed: int = 0) -> list[Row]:
    """rl rows of n sampled decisions of each observation; advantages differ in sign, lengths where `units` allows."""
    prompts = policy.prepare(samples)
    settings = SamplingConfig(max_new_tokens=units, temperature=temperature)
    rows = []
    for prompt, group in zip(prompts, generate(hf(policy), prompts, settings, n, seed, restrict="action")):
        for completion in group:
            i = len(rows)
            kept = units - 3 * (i % 2) if units > 3 else units
            decision = completion.decision(prompt, "action").first(kept)
            rows.append(Row(decision, "rl", (-1.0) ** i * (0.5 + 0.1 * i), i, kept, n))
    return rows
