"""How much memory a recipe takes, from the policy's sizes, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmrl.contracts.policy import Policy
from mmrl.policies.attention.shared_cache import BLOCK
from mmrl.policies.token_log_probs import CHUNK_ELEMENTS
from mmrl.recipe.engines import EngineSettings
from mmrl.recipe.policy import Checkpointed, TrainedConfig
from mmrl.recipe.schema import Recipe
from mmrl.recipe.training import StageConfig

FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Bytes by use; `rollout` and `update` never stand at the same time.

    Attributes:
        weights: all parameters, tied ones once.
        reference: a copy of them for KL, where no LoRA leaves the base as the reference.
        moments: AdamW's two, float32, of the trainable parameters.
        gradients: of the trainable parameters.
        activations: of one micro-batch, kept for the backward pass.
        logits: of one micro-batch.
        cache: keys and values of a batch of rollouts.
        parameters: number of all of them.
        trainable: number of those that are trained.
    """

    weights: int
    reference: int
    moments: int
    gradients: int
    activations: int
    logits: int
    cache: int
    parameters: int
    trainable: int

    @property
    def peak(self) -> int:
        """Weights, reference and moments, and the larger of a rollout and an update."""
        update = self.gradients + self.activations + self.logits
        return self.weights + self.reference + self.moments + max(self.cache, update)


def estimate(recipe: Recipe, policy: Policy, longest_prompt: int, visual_tokens: int) -> Estimate:
    """What the recipe's largest stage takes.

    Formulas, with s bytes per element (2 in bfloat16, else 4), T tokens of a micro-batch (`micro_tokens`, or the
    longest row if that is longer), L layers, H hidden size, Q and K the widths of queries and of keys, F the
    width of the MLP (of the active experts), V the vocabulary:

    - activations: s T L (6 H + 4 Q + 4 K + 4 F), what one layer keeps for its backward pass with fused attention and no
      mask (norms and residuals; queries and keys before and after norms of their own, which only some families have;
      values and the attention's output; the MLP's four tensors). Gradient checkpointing keeps s T L H and one layer's
      share. The vision tower counts the same way over its patches (merge² a token) where it is trained, and with one
      layer where it is frozen. In bfloat16, autocast adds a copy of the trained weights, 2 bytes each.
    - logits: 4 bytes x 3 (logits, log-softmax, gradient) x min(T V, chunk of `token_log_probs`).
    - cache: 2 s L K (longest prompt x prompts + max_new_tokens x rows), rows the smaller of engine.batch_size and
      prompts x n, of whose prompts each is held once; what is sampled grows by blocks of `shared_cache.BLOCK`.

    Allocator overhead and fragmentation are not in it: leave a fifth free.

    Args:
        longest_prompt: tokens of the longest prompt seen.
        visual_tokens: tokens of images and videos of that prompt.
    """
    trained = [p for _, p, _ in policy.trainable()]
    # A value head lies beside the model, and an output that shares its weight with the input is one parameter.
    parameters = list({id(p): p for p in (*policy.module.parameters(), *trained)}.values())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    trainable = sum(p.numel() for p in trained)
    adapters = isinstance(recipe.policy, TrainedConfig) and recipe.policy.lora is not None
    wants_reference = any(s.objective.has_reference for s in recipe.stages)
    element = 2 if recipe.policy.dtype == "bfloat16" else FLOAT
    towers = policy.towers
    text = towers.text
    tokens = max(recipe.micro_tokens, *(longest_prompt + s.rollout.max_new_tokens for s in recipe.stages))
    patches = round(tokens * visual_tokens / max(1, longest_prompt)) * towers.patches_per_token
    checkpointed = isinstance(recipe.policy, Checkpointed) and recipe.policy.gradient_checkpointing
    activations = element * (
        _count_activations(text, tokens, True, checkpointed)
        + _count_activations(towers.vision, patches, towers.vision_trained, checkpointed)
    )
    activations += element * trainable if recipe.policy.dtype == "bfloat16" else 0
    rollouts = [_cache(s, recipe.engine, text, longest_prompt, element) for s in recipe.stages if s.objective.rollouts]
    return Estimate(
        weights=weights,
        reference=weights if wants_reference and not adapters else 0,
        moments=2 * FLOAT * trainable,
        gradients=sum(p.numel() * p.element_size() for p in trained),
        activations=activations,
        logits=FLOAT * 3 * min(tokens * towers.vocabulary, max(CHUNK_ELEMENTS, towers.vocabulary)),
        cache=max(rollouts, default=0),
        parameters=sum(p.numel() for p in parameters),
        trainable=trainable,
    )


def available(device: torch.device) -> int:
    """Bytes free on the device: CUDA's own figure, else the machine's or the container's, whichever is less."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, max(0, int(text) - int(used.read_text())))
    return int(free)


def readable(size: int) -> str:
    """`12 KB`, `3.4 MB`, `56 GB`."""
    value, units = float(size), ["B", "KB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}" if value < 999.5 else f"{value:.0f} {units[0]}"


def _cache(stage: StageConfig, engine: EngineSettings, text: Any, longest_prompt: int, element: int) -> int:
    held = engine.rows(stage.prompts * stage.rollout.n)
    # The completions of one prompt are sampled together.
    rows = max(held, stage.rollout.n) if held else 0
    sampled = -(-stage.rollout.max_new_tokens // BLOCK) * BLOCK
    tokens = longest_prompt * -(-rows // stage.rollout.n) + sampled * rows
    return 2 * element * text.num_hidden_layers * _widths(text)[2] * tokens


def _count_activations(part: Any, tokens: int, trained: bool, checkpointed: bool) -> int:
    """Elements that the layers of one tower keep for the backward pass."""
    if part is None or tokens == 0:
        return 0
    hidden, queries, keys, mlp = _widths(part)
    per_layer = tokens * (6 * hidden + 4 * queries + 4 * keys + 4 * mlp)
    layers = _first(part, "num_hidden_layers", "depth")
    if not trained:
        return per_layer
    return tokens * layers * hidden + per_layer if checkpointed else layers * per_layer


def _widths(part: Any) -> tuple[int, int, int, int]:
    """(hidden, queries, keys, MLP) of a tower's layers."""
    hidden = _first(part, "embed_dim" if hasattr(part, "embed_dim") else "hidden_size")
    heads = _first(part, "num_attention_heads", "num_heads")
    head = getattr(part, "head_dim", None) or hidden // heads
    keys = (getattr(part, "num_key_value_heads", None) or heads) * head
    if getattr(part, "num_experts_per_tok", None):
        mlp = part.num_experts_per_tok * part.moe_intermediate_size
    else:
        mlp = getattr(part, "intermediate_size", None) or int(part.mlp_ratio * hidden)
    return hidden, heads * head, keys, mlp


def _first(part: Any, *names: str) -> int:
    sizes: Sequence[int] = [int(getattr(part, name)) for name in names if getattr(part, name, None) is not None]
    return sizes[0]
