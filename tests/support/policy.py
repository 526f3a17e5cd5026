"""What the tests of policies, engines and updates share: awake tiny policies, digit prompts, and training rows."""

import torch

from mmrl.contracts.types import Decision, Sample
from mmrl.data.digits import Digits
from mmrl.objectives.rows import Row, collate
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import DigitsData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
ALL_FAMILIES = (*FAMILIES, "qwen3_vl_moe")


def load(folder, *, awake: bool = True, **config):
    """The policy of a folder on the CPU; `awake` draws its matrices large enough for images to sway the outputs.

    Weights as small as those of large models' initialisation give log-probs of about -log V, whatever the input.
    """
    policy = load_policy(policy_settings(path=str(folder), device="cpu", **config))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if awake and parameter.ndim > 1 and "lora_" not in name:
                # Layers outweigh the embedding, which would otherwise repeat its input.
                size = 0.1 if "embed_tokens" in name else 0.2
                parameter.copy_(size * torch.randn(parameter.shape, generator=g))
    return policy


def digits(count: int, *tasks: str, **config) -> list[Sample]:
    """The first digit samples of some tasks (default: all), whose images differ in size."""
    rows = Digits(DigitsData(type="digits", **({"tasks": list(tasks)} if tasks else {}), **config))
    return [rows[i] for i in range(count)]


def text_sample(text: str) -> Sample:
    """A sample without images."""
    return Sample("text", ({"role": "user", "content": [{"type": "text", "text": text}]},), "ocr", {"text": "1"})


def image_sample(*images, text: str = "What is this?") -> Sample:
    """A sample with some PIL images before its text."""
    content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
    return Sample("image", ({"role": "user", "content": content},), "ocr", {"text": "1"}, images=tuple(images))


def sampled_rows(policy, samples, n: int, seed: int = 0, **sampling) -> list[Row]:
    """rl rows of n sampled answers to each sample; answers differ in length, advantages in sign."""
    settings = SamplingConfig(**{"max_new_tokens": 7, **sampling})
    prompts = policy.prepare(samples)
    answers = generate(hf(policy), prompts, settings, n, seed)
    rows = []
    for prompt, completions in zip(prompts, answers):
        for completion in completions:
            i = len(rows)
            units = 1 + (3 * i) % len(completion.tokens)
            decision = completion.decision(prompt).first(units)
            rows.append(Row(decision, "rl", (-1.0) ** i * (0.5 + 0.1 * i), i, units, n))
    return rows


def demo_rows(policy, samples, first: int = 1000) -> list[Row]:
    """demo rows of the samples' demonstrations."""
    rows = []
    for i, (sample, prompt) in enumerate(zip(samples, policy.prepare(samples))):
        tokens = policy.demonstration(sample, 64)
        rows.append(Row(Decision(prompt, tokens), "demo", 1.0, first + i, len(tokens)))
    return rows


def log_probs(policy, rows) -> torch.Tensor:
    """float [N]: log-probs of all units, row by row."""
    with torch.no_grad():
        likelihood = policy.log_probs(collate(rows))
    return likelihood.log_probs_RU[likelihood.mask_RU]


def doubled(policy):
    """The policy with float64 weights, and experts computed in a way that float64 has."""
    if hasattr(policy.module.config.get_text_config(), "num_experts"):
        policy.module.set_experts_implementation("eager")
    policy.module.double()
    return policy


def adapt(policy):
    """Gives the adapters weights, as after training: they start as no change at all."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=g))
    return policy


def gradients(policy) -> dict[str, torch.Tensor]:
    """Every parameter's gradient (zero where it has none); clears them."""
    found = {}
    for name, parameter in policy.module.named_parameters():
        found[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        parameter.grad = None
    return found


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two gradients over the norm of the first, of the parameter where that is largest."""
    assert a.keys() == b.keys()
    floor = 1e-3 * max(float(x.norm()) for x in a.values())
    return max(float((a[k] - b[k]).norm()) / max(float(a[k].norm()), floor) for k in a)


def whole_distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference of two gradients over the norm of the first, all parameters together."""
    assert a.keys() == b.keys()
    difference = sum(float((a[k] - b[k]).square().sum()) for k in a)
    return (difference / sum(float(a[k].square().sum()) for k in a)) ** 0.5
