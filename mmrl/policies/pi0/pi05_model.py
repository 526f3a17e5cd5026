"""π0.5's network: π0's, but the action expert's norms are conditioned on time and the state is in the prompt.

Source: π0.5 (arXiv 2504.16054) as published in openpi; weight names are lerobot's, in transformers' layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmrl.policies.compat import ensure_torchvision

ensure_torchvision()
from transformers import AutoConfig, PI0Config  # noqa: E402
from transformers.modeling_outputs import BaseModelOutputWithPast  # noqa: E402
from transformers.models.gemma.modeling_gemma import (  # noqa: E402
    GemmaAttention,
    GemmaMLP,
    GemmaRotaryEmbedding,
)
from transformers.models.pi0.modeling_pi0 import PI0Model, PI0PreTrainedModel, PI0TimestepEmbeddings  # noqa: E402


class PI05Config(PI0Config):
    """PI0Config under another name.

    Attributes:
        prompt_state_dim: values that the state is padded to with 0 before it is written into the prompt, as lerobot
            trains; None: it is written as it is, as openpi does.
    """

    model_type = "pi05"

    prompt_state_dim: int | None = None


AutoConfig.register("pi05", PI05Config, exist_ok=True)


class Modulation(nn.Linear):
    """A linear layer that starts at 0."""


class AdaptiveNorm(nn.Module):
    """RMS norm whose scale, shift and residual gate follow from a condition; at its start (0) it is a plain one."""

    def __init__(self, size: int, condition_size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.dense = Modulation(condition_size, 3 * size)

    def forward(self, x_BTH: Tensor, condition_BH: Tensor) -> tuple[Tensor, Tensor]:
        """(normed x [B, T, H], gate [B, 1, H] of the residual branch that reads it)."""
        scale, shift, gate = self.dense(condition_BH.to(self.dense.weight.dtype))[:, None].chunk(3, dim=-1)
        wide = x_BTH.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * (1 + scale.float()) + shift.float()).type_as(x_BTH), gate


class AdaptiveLayer(nn.Module):
    """A Gemma layer with adaptive norms and gated residuals."""

    def __init__(self, config: Any, index: int):
        super().__init__()
        self.self_attn = GemmaAttention(config, index)
        self.mlp = GemmaMLP(config)
        self.input_layernorm = AdaptiveNorm(config.hidden_size, config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = AdaptiveNorm(config.hidden_size, config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BTH: Tensor, condition_BH: Tensor, rotary: Any, mask: Tensor, cache: Any) -> Tensor:
        """[B, T, H]."""
        normed, gate = self.input_layernorm(x_BTH, condition_BH)
        attended, _ = self.self_attn(normed, position_embeddings=rotary, attention_mask=mask, past_key_values=cache)
        x_BTH = x_BTH + attended * gate
        normed, gate = self.post_attention_layernorm(x_BTH, condition_BH)
        return x_BTH + self.mlp(normed) * gate


class AdaptiveExpert(nn.Module):
    """The action expert: every token sees the prefix and all others."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(AdaptiveLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = AdaptiveNorm(config.hidden_size, config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = GemmaRotaryEmbedding(config)

    def forward(self, x_BTH: Tensor, condition_BH: Tensor, seen_BP: Tensor, cache: Any) -> Tensor:
        """Last states [B, T, H].

        Args:
            seen_BP: bool, the prefix's real tokens; positions go on where they end.
            cache: the prefix's keys and values; the expert's own are appended.
        """
        rows, width = x_BTH.shape[:2]
        positions = seen_BP.sum(1, keepdim=True) + torch.arange(width, device=x_BTH.device)
        mask = torch.cat([seen_BP, seen_BP.new_ones(rows, width)], 1)[:, None, None].expand(-1, 1, width, -1)
        if self.config._attn_implementation == "eager":
            mask = torch.zeros(mask.shape, dtype=x_BTH.dtype, device=x_BTH.device).masked_fill(
                ~mask, torch.finfo(x_BTH.dtype).min
            )
        rotary = self.rotary_emb(x_BTH, positions)
        for layer in self.layers:
            x_BTH = layer(x_BTH, condition_BH, rotary, mask, cache)
        return self.norm(x_BTH, condition_BH)[0]


class PI05PreTrainedModel(PI0PreTrainedModel):
    """How new weights are drawn."""

    config: PI05Config
    config_class = PI05Config

    def _init_weights(self, module: nn.Module) -> None:
        from transformers import initialization as init

        if isinstance(module, Modulation):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class PI05Model(PI05PreTrainedModel, PI0Model):
    """Language model and expert."""

    def __init__(self, config: PI05Config):
        from transformers import AutoModel

        PI0PreTrainedModel.__init__(self, config)
        self.dit = AdaptiveExpert(config.dit_config)
        self.vlm = AutoModel.from_config(config.vlm_config)
        self.post_init()

    def forward(
        self, action_embeds: Tensor, condition: Tensor, attention_mask: Tensor, past_key_values: Any
    ) -> BaseModelOutputWithPast:
        """The expert's states behind a prefix that is in the cache."""
        hidden = self.dit(action_embeds, condition, attention_mask.bool(), past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)


class ActionTimeEmbedding(nn.Module):
    """Actions to tokens, and time to the condition of the norms."""

    def __init__(self, config: PI05Config):
        super().__init__()
        size = config.dit_config.hidden_size
        self.sinusoid_embeds = PI0TimestepEmbeddings(config)
        self.action_in_proj = nn.Linear(config.max_action_dim, size)
        self.time_mlp_in = nn.Linear(size, size)
        self.time_mlp_out = nn.Linear(size, size)

    def forward(self, x_BHD: Tensor, time_B: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens [B, H, H'], condition [B, H'])."""
        wave = self.sinusoid_embeds(time_B).to(self.time_mlp_in.weight.dtype)
        condition = nn.functional.silu(self.time_mlp_out(nn.functional.silu(self.time_mlp_in(wave))))
        return self.action_in_proj(x_BHD), condition


class PI05ForConditionalGeneration(PI05PreTrainedModel):
    """π0.5 with its flow-matching head."""

    def __init__(self, config: PI05Config):
        super().__init__(config)
        self.model = PI05Model(config)
        self.embed_action_time = ActionTimeEmbedding(config)
        self.action_out_proj = nn.Linear(config.dit_config.hidden_size, config.max_action_dim)
        self.post_init()
