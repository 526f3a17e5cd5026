"""The fields of a published OpenVLA `config.json`, and what this project adds to them."""

from __future__ import annotations

from typing import Any

from mmrl.policies.compat import ensure_torchvision

ensure_torchvision()

from transformers import AutoConfig, PreTrainedConfig  # noqa: E402


class OpenVLAConfig(PreTrainedConfig):
    """`config.json` of OpenVLA checkpoints; fields it does not know are kept and written back.

    Attributes:
        timm_model_ids: one vision backbone, or two whose features are concatenated (`use_fused_vision_backbone`).
        timm_override_act_layers: activation of each backbone, None for its own.
        timm_overrides: further arguments of each backbone (small models; absent from published files).
        text_config: the language model; what it leaves out is transformers' default, as in the published files.
        pad_to_multiple_of: rows of the embedding after the tokenizer's own vocabulary.
        n_action_bins: the last ids of that vocabulary stand for action bins.
        norm_stats: dataset -> {"action" | "proprio" -> {q01, q99, mask, …}}.
        params: `policy.params` that the checkpoint was saved with; published checkpoints leave them to the user.
    """

    model_type = "openvla"
    sub_configs = {"text_config": AutoConfig}

    text_config: dict | PreTrainedConfig | None = None
    vision_backbone_id: str = "dinosiglip-vit-so-224px"
    llm_backbone_id: str = "llama2-7b-pure"
    arch_specifier: str = "no-align+fused-gelu-mlp"
    use_fused_vision_backbone: bool = True
    timm_model_ids: list[str] | None = None
    timm_override_act_layers: list[str | None] | None = None
    timm_overrides: list[dict[str, Any]] | None = None
    image_sizes: list[int] | None = None
    image_resize_strategy: str = "resize-naive"
    hf_llm_id: str | None = None
    llm_max_length: int = 2048
    pad_token_id: int | None = 32000
    pad_to_multiple_of: int = 64
    output_projector_states: bool = False
    n_action_bins: int = 256
    norm_stats: dict[str, Any] | None = None
    params: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any):
        text = self.text_config
        if text is None or isinstance(text, dict):
            settings = dict(text or {})
            self.text_config = AutoConfig.for_model(settings.pop("model_type", "llama"), **settings)
        super().__post_init__(**kwargs)

    @property
    def token_count(self) -> int:
        """Ids of the tokenizer's vocabulary; those after it pad the embedding."""
        return self.text_config.vocab_size - self.pad_to_multiple_of


AutoConfig.register("openvla", OpenVLAConfig, exist_ok=True)
