"""The two vision backbones and the projector, under the weight names of published checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import UserError
from mmrl.policies.openvla.config import OpenVLAConfig


class LayerScale(nn.Module):
    """A learned scale per channel. Published checkpoints call timm's `gamma` `scale_factor`."""

    def __init__(self, scale: Tensor):
        super().__init__()
        self.scale_factor = nn.Parameter(scale.clone())

    def forward(self, x: Tensor) -> Tensor:
        """x times the scale."""
        return x * self.scale_factor


class VisionBackbone(nn.Module):
    """One or two timm vision transformers; patch features of the second-to-last block, side by side."""

    def __init__(self, config: OpenVLAConfig):
        super().__init__()
        towers = [_tower(config, i) for i in range(1 + config.use_fused_vision_backbone)]
        self.featurizer = towers[0]
        self.fused_featurizer = towers[1] if config.use_fused_vision_backbone else None
        self.width = sum(tower.embed_dim for tower in towers)
        self.patches = towers[0].patch_embed.num_patches

    @property
    def towers(self) -> list[nn.Module]:
        """The backbones, in the order of their pixel channels."""
        return [self.featurizer] if self.fused_featurizer is None else [self.featurizer, self.fused_featurizer]

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """[N, 3 x backbones, H, W] pixels, each backbone's normalised its own way, to [N, patches, width]."""
        features = [_features(tower, x) for tower, x in zip(self.towers, pixels_NCHW.split(3, dim=1))]
        return torch.cat(features, dim=2)

    def unread(self) -> Iterator[nn.Parameter]:
        """Weights behind the block whose features are read: stored in checkpoints, never computed."""
        for tower in self.towers:
            for name, parameter in tower.named_parameters():
                head = name.split(".")[0]
                last = name.startswith(f"blocks.{len(tower.blocks) - 1}.")
                if last or head in ("norm", "fc_norm", "attn_pool", "head"):
                    yield parameter


class Projector(nn.Module):
    """Patch features to the width of the language model (`fc1..fc3`; two layers with a single backbone)."""

    def __init__(self, vision_width: int, text_width: int, fused: bool):
        super().__init__()
        if fused:
            self.fc1 = nn.Linear(vision_width, 4 * vision_width)
            self.fc2 = nn.Linear(4 * vision_width, text_width)
            self.fc3 = nn.Linear(text_width, text_width)
        else:
            self.fc1 = nn.Linear(vision_width, text_width)
            self.fc2 = nn.Linear(text_width, text_width)
            self.fc3 = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., vision width] to [..., text width]."""
        x = self.fc2(nn.functional.gelu(self.fc1(x)))
        return x if self.fc3 is None else self.fc3(nn.functional.gelu(x))


class ProprioProjector(nn.Module):
    """The robot's normalised state as one token (OpenVLA-OFT)."""

    def __init__(self, state_dim: int, text_width: int):
        super().__init__()
        self.fc1 = nn.Linear(state_dim, text_width)
        self.fc2 = nn.Linear(text_width, text_width)

    def forward(self, state_NS: Tensor) -> Tensor:
        """[N, S] to [N, 1, text width]."""
        return self.fc2(nn.functional.gelu(self.fc1(state_NS)))[:, None]


def _tower(config: OpenVLAConfig, index: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UserError("policy.type openvla needs the package timm; pip install 'timm>=1.0.12,<2'") from None

    acts, overrides = config.timm_override_act_layers, config.timm_overrides
    tower = timm.create_model(
        config.timm_model_ids[index],
        pretrained=False,
        num_classes=0,
        img_size=config.image_sizes[index],
        act_layer=acts[index] if acts else None,
        # Weights that a checkpoint will hold are not drawn first.
        weight_init="skip" if torch.get_default_device().type == "meta" else "",
        **(overrides[index] if overrides else {}),
    )
    for block in tower.blocks:
        for name in ("ls1", "ls2"):
            layer = getattr(block, name)
            # timm has had several classes of this; a block without layer scales has an identity here.
            if hasattr(layer, "gamma"):
                setattr(block, name, LayerScale(layer.gamma.detach()))
    return tower


def _features(tower: nn.Module, pixels: Tensor) -> Tensor:
    return tower.forward_intermediates(
        pixels, indices=[len(tower.blocks) - 2], output_fmt="NLC", intermediates_only=True, stop_early=True
    )[0]
