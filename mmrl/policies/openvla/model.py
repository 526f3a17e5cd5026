"""OpenVLA's network: patches, projected, behind the start token of a causal language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.policies.openvla.vision import Projector, ProprioProjector, VisionBackbone

from transformers import AutoModelForCausalLM, PreTrainedModel  # isort: skip  (torchvision's cure comes first)


class OpenVLAForActionPrediction(PreTrainedModel):
    """The published module tree: `vision_backbone`, `projector`, `language_model`.

    `proprio_projector` is OpenVLA-OFT's, there when `config.params` has a `state_dim`; it is stored in its own file.
    The class has the published name, which checkpoints carry in `architectures`.
    """

    config_class = OpenVLAConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # It is read from its own file, or new.
    _keys_to_ignore_on_load_missing = [r"^proprio_projector\."]
    _no_split_modules = ["Block", "LlamaDecoderLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: OpenVLAConfig):
        super().__init__(config)
        width = config.text_config.hidden_size
        self.vision_backbone = VisionBackbone(config)
        self.projector = Projector(self.vision_backbone.width, width, config.use_fused_vision_backbone)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        state_dim = (config.params or {}).get("state_dim")
        self.proprio_projector = ProprioProjector(state_dim, width) if state_dim else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_output_embeddings()

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Also of the vision backbones, which are timm's."""
        super().gradient_checkpointing_enable(gradient_checkpointing_kwargs=gradient_checkpointing_kwargs)
        for tower in self.vision_backbone.towers:
            tower.set_grad_checkpointing(True)

    def features(self, pixels_PNCHW: Tensor, state_PS: Tensor | None = None) -> Tensor:
        """What stands behind the start token: [P, N x patches (+ 1 for the state), H] of P prompts with N images."""
        prompts, images = pixels_PNCHW.shape[:2]
        patches = self.projector(self.vision_backbone(pixels_PNCHW.flatten(0, 1)))
        features = patches.unflatten(0, (prompts, images)).flatten(1, 2)
        if state_PS is None:
            return features
        return torch.cat([features, self.proprio_projector(state_PS).to(features.dtype)], 1)

    def embed(self, ids_BT: Tensor, features_BKH: Tensor) -> Tensor:
        """[B, T, H] embeddings; ids of -1 take the row's features in order, ids of -2 are zero (OFT's action slots)."""
        embeds = self.get_input_embeddings()(ids_BT.clamp(min=0))
        embeds = embeds.masked_fill((ids_BT == ACTION_SLOT)[..., None], 0.0)
        return embeds.masked_scatter((ids_BT == FEATURE)[..., None], features_BKH.to(embeds.dtype))

    def forward(self, embeds_BTH: Tensor, **kwargs: Any) -> Tensor:
        """[B, T, H]: the language model's last hidden states."""
        return self.language_model.model(inputs_embeds=embeds_BTH, **kwargs).last_hidden_state


# Places in a row of token ids that hold no token.
FEATURE, ACTION_SLOT = -1, -2
