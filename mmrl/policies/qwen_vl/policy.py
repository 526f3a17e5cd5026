"""Qwen-VL policies (Qwen2-VL, Qwen2.5-VL, Qwen3-VL dense and MoE) on transformers' own models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Sample
from mmrl.data.media_reader import MediaReader
from mmrl.data.robot.statistics import check_range, save_statistics
from mmrl.policies import training
from mmrl.policies.adapted_model import Towers
from mmrl.policies.boxes import Canvas, Coordinates, localise
from mmrl.policies.features import given
from mmrl.policies.loading import load_checkpoint, resolve_device
from mmrl.policies.qwen_vl import prompt as qwen_prompt
from mmrl.policies.qwen_vl.prompt import QwenPrompt
from mmrl.policies.saving import Source
from mmrl.policies.text_policy import TextPolicy
from mmrl.policies.value_head import ValueHead, load_value_head
from mmrl.recipe.policies.qwen_vl import QwenVLSettings

# How each family was trained to write boxes. A family that is not listed is refused rather than guessed.
COORDINATES: dict[str, Coordinates] = {
    "qwen2_vl": "norm1000",
    "qwen2_5_vl": "resized_pixel",
    "qwen3_vl": "norm1000",
    "qwen3_vl_moe": "norm1000",
}


class QwenVL(TextPolicy):
    """The adapter. One prepared prompt feeds sampling and training; the vision tower runs once per prompt."""

    def __init__(self, model: nn.Module, processor: Any, config: QwenVLSettings, value_head: ValueHead | None = None):
        placeholders = (model.config.image_token_id, model.config.video_token_id)
        super().__init__(model, processor, config, value_head, placeholders, "<|im_end|>")
        self.coordinates = COORDINATES[self._model.config.model_type]
        video = processor.video_processor
        if hasattr(video, "cap_pixels_per_frame"):
            # Frames come sized by `video`, which caps them; unset, the processor warns that it would not.
            video.cap_pixels_per_frame = True
        size = processor.image_processor.size
        bounds = {edge: size[edge] for edge in ("shortest_edge", "longest_edge")}
        factor, total = video.patch_size * video.merge_size, config.image.total_pixels
        self.videos = MediaReader(config.video, factor, video.temporal_patch_size, {**bounds, "total_pixels": total})
        self.statistics: dict[str, Any] = {}

    @classmethod
    def from_pretrained(cls, config: QwenVLSettings) -> QwenVL:
        """Loads a checkpoint folder or hub name.

        Raises:
            CheckpointError: nothing there, not a Qwen-VL, or weights missing or of other shapes.
        """
        model, processor, source = cls.load(config)
        model = training.prepare(model, config)
        size = model.config.get_text_config().hidden_size
        head = load_value_head(config.value_head, size, config.path, next(model.parameters()).device)
        policy = cls(model, processor, config, head)
        policy.source = source
        return policy

    @staticmethod
    def load(config: QwenVLSettings) -> tuple[Any, Any, Source]:
        """What `load_checkpoint` gives, with the recipe's budget of pixels. See `from_pretrained`."""
        model, processor, source = load_checkpoint(config, resolve_device(config.device))
        size = processor.image_processor.size
        budget = {
            "shortest_edge": config.image.min_pixels or size["shortest_edge"],
            "longest_edge": config.image.max_pixels or size["longest_edge"],
        }
        if budget["shortest_edge"] > budget["longest_edge"]:
            raise ConfigError(
                f"policy.image: min_pixels {budget['shortest_edge']} is above max_pixels {budget['longest_edge']} "
                "(the checkpoint fills in what the recipe leaves out)"
            )
        processor.image_processor.size = budget
        return model, processor, source

    @property
    def towers(self) -> Towers:
        """Sizes of the model; its merger makes one token of a square of patches."""
        sizes = self._model.config
        return self._towers(sizes.get_text_config(), sizes.vision_config, sizes.vision_config.spatial_merge_size**2)

    def prepare(self, samples: Sequence[Sample], videos: MediaReader | None = None) -> list[QwenPrompt]:
        """Tokens, pixels and positions of each sample; `videos` reads its videos, by default the policy's own reader.

        Raises:
            BadSample: it cannot be prepared.
        """
        rate = getattr(self._model.config.vision_config, "tokens_per_second", None)
        limit = self.config.max_prompt_tokens
        return [qwen_prompt.prepare_prompt(s, self.processor, rate, limit, videos or self.videos) for s in samples]

    def units_read(self) -> Mapping[str, Any]:
        """See `Comparing.units_read`; positions count time at the model's own rate."""
        rate = getattr(self._model.config.vision_config, "tokens_per_second", None)
        return {**super().units_read(), "time positions per second": rate}

    def localise(self, sample: Sample, prompt: QwenPrompt) -> Sample:
        """The sample with its boxes in this model's coordinates."""
        images = [Canvas(*sizes) for sizes in zip(prompt.image_sizes, prompt.resized, strict=True)]
        return localise(sample, self.coordinates, images, [Canvas(clip.size, clip.resized) for clip in prompt.clips])

    def _token_set(self, restrict: str | None) -> Tensor:
        return self.action_ids() if restrict == "action" else super()._token_set(restrict)

    def action_ids(self) -> Tensor:
        """int64 [bins]: the last ordinary tokens of the vocabulary stand for action bins, lowest value first."""
        bins = self.config.action_bins
        if bins is None:
            raise ConfigError("policy.action_bins is unset, and acting in a simulator needs it")
        first_special = min(
            self.processor.tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_start|>")
        )
        if bins > first_special:
            raise ConfigError(f"policy.action_bins {bins} exceeds the {first_special} ordinary tokens")
        return torch.arange(first_special - bins, first_special)

    def units_per_action(self, action_dim: int) -> int:
        """One token per dimension."""
        return action_dim

    def actions(self, units_BU: Tensor, action_dim: int) -> Tensor:
        """float32 [B, C, A]: the values of the bins, evenly from -1 to 1."""
        ids = self.action_ids()
        values = torch.linspace(-1.0, 1.0, len(ids))
        return values[units_BU - ids[0]].unflatten(1, (-1, action_dim))

    def action_units(self, actions_BCA: Tensor) -> Tensor:
        """int64 [B, U]: the token of the nearest bin of each action dimension."""
        ids = self.action_ids()
        values = torch.linspace(-1.0, 1.0, len(ids))
        return ids[(actions_BCA[..., None] - values).abs().argmin(-1)].flatten(1)

    def set_statistics(self, key: str, entry: Mapping[str, Any]) -> None:
        """Notes a dataset's statistics, to be saved. Raises ConfigError where its actions lie outside the bins."""
        check_range(entry, key, self.config.type)
        self.statistics[key] = dict(entry)

    def _positions(self, prompt: QwenPrompt) -> Tensor:
        return prompt.positions

    def _hidden(self, ids_BT, positions_3BT, mask, prompts, cache=None, **attention) -> Tensor:
        with self._seen(prompts) as media:
            return self._model.model(
                input_ids=ids_BT,
                position_ids=positions_3BT,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=cache is not None,
                **media,
                **attention,
            ).last_hidden_state

    def _seen(self, prompts: Sequence[QwenPrompt]) -> AbstractContextManager[dict[str, Tensor]]:
        if self.sees_frozen:
            return given(self._model.model, prompts, self.features, self.device)
        return nullcontext(qwen_prompt.stack_pixels(prompts, self.device))

    def _next_hidden(self, tokens_B, positions_3B1, cache) -> Tensor:
        return self._model.model.language_model(
            inputs_embeds=self._model.get_input_embeddings()(tokens_B[:, None]),
            position_ids=positions_3B1,
            **cache.arguments(),
        ).last_hidden_state[:, -1]

    def _save_beside(self, folder: Path) -> None:
        super()._save_beside(folder)
        if self.statistics:
            save_statistics(self.statistics, folder)
