"""The π0 adapter: images, instruction and the robot's state to a chunk of actions, on transformers' PI0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample
from mmrl.data.robot.statistics import FILE as STATISTICS
from mmrl.policies import training
from mmrl.policies.adapted_model import Towers
from mmrl.policies.flow.context import FlowPrompt, Prefix, digest_of
from mmrl.policies.flow.noise_head import NoiseHead, load_noise_head, save_noise_head
from mmrl.policies.flow.normaliser import Kind
from mmrl.policies.flow.policy import FlowPolicy, FlowShape
from mmrl.policies.loading import resolve_device
from mmrl.policies.observations import instruction_of, select_images
from mmrl.policies.pi0 import checkpoint
from mmrl.policies.saving import Source
from mmrl.policies.statistics import cure_of_sizes
from mmrl.policies.value_head import ValueHead, load_value_head, save_value_head
from mmrl.recipe.policies.flow import FlowParams, Pi0Settings


class Pi0(FlowPolicy):
    """π0 (arXiv 2410.24164). The critic reads the state token's output, which no action token can reach."""

    own_files = ("noise_head.",)
    family: ClassVar[str] = "pi0"
    default_kind: ClassVar[Kind] = "mean_std"

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        statistics: Mapping[str, Any],
        params: FlowParams,
        config: Pi0Settings,
        kind: Kind,
        value_head: ValueHead | None = None,
        delta: Sequence[int] = (),
    ):
        super().__init__(model, statistics, params, config, kind, self._shape_of(model.config), value_head, delta)
        self.processor, self.source = processor, Source(None)

    @classmethod
    def from_pretrained(cls, config: Pi0Settings) -> Pi0:
        """Loads a checkpoint folder or hub name, in transformers' layout or lerobot's.

        Raises:
            CheckpointError: nothing there, of another family, or weights missing, unknown or of other shapes.
            ConfigError: settings that this policy does not have.
        """
        params = config.params
        device = resolve_device(config.device)
        loaded = checkpoint.load(config, params, cls.family, cls.default_kind)
        model, sizes = loaded.model, loaded.model.config
        if params.sampler == "noise":
            head = NoiseHead(sizes.dit_config.hidden_size, sizes.max_action_dim, params.noise_low, params.noise_high)
            model.noise_head = load_noise_head(head, loaded.folder)
        # The expert gets embeddings, never tokens.
        unread = model.model.dit.embed_tokens.parameters() if hasattr(model.model.dit, "embed_tokens") else ()
        model = training.prepare(model.to(device).train(), config, unread)
        head = load_value_head(config.value_head, cls.critic_size(sizes), str(loaded.folder), device)
        delta = checkpoint.settle_delta(params.delta_actions, loaded.delta, config.path)
        policy = cls(model, loaded.processor, loaded.statistics, params, config, loaded.kind, head, delta)
        policy.source = loaded.source
        return policy

    @staticmethod
    def _shape_of(sizes: Any) -> FlowShape:
        return FlowShape(
            horizon=sizes.chunk_size,
            dims=sizes.max_action_dim,
            steps=sizes.num_inference_steps,
            time_offset=sizes.time_sampling_offset,
            time_scale=sizes.time_sampling_scale,
            time_alpha=sizes.time_sampling_beta_alpha,
        )

    @property
    def towers(self) -> Towers:
        """Sizes of the language and vision models that read the prompt; the expert samples no tokens."""
        sizes = self._model.config.vlm_config
        return self._towers(sizes.get_text_config(), sizes.vision_config, vocabulary=0)

    @classmethod
    def critic_size(cls, sizes: Any) -> int:
        """Width of the states that the value head reads."""
        return sizes.dit_config.hidden_size

    # --- prompts

    def prepare(self, samples: Sequence[Sample]) -> list[FlowPrompt]:
        """Tokens, pixels and states of each observation. Raises BadSample."""
        images_of = [select_images(sample, self.params.cameras, None) for sample in samples]
        flat = [image for images in images_of for image in images]
        pixels = self.processor.image_processor(flat, return_tensors="pt")["pixel_values"]
        parts = pixels.float().split([len(images) for images in images_of])
        return [self._prompt(sample, pixels_of) for sample, pixels_of in zip(samples, parts)]

    def _prompt(self, sample: Sample, pixels_N3SS: Tensor) -> FlowPrompt:
        state = self._state(sample)
        shape = self._model.config.vlm_config
        features = (shape.vision_config.image_size // shape.vision_config.patch_size) ** 2
        ids = torch.tensor([shape.image_token_id] * (features * len(pixels_N3SS)) + self._text_ids(sample, state))
        limit = self.config.max_prompt_tokens
        if limit is not None and len(ids) > limit:
            raise BadSample(
                sample.where, f"the prompt has {len(ids)} tokens, above policy.max_prompt_tokens {limit}; raise it"
            )
        prompt_state = self._given_state(state)
        # A copy: a slice would keep the pixels of every sample prepared with this one.
        digest = digest_of(ids, pixels_N3SS, prompt_state)
        return FlowPrompt(ids, pixels_N3SS.clone(), prompt_state, digest, sample.state.flatten().float())

    def _state(self, sample: Sample) -> Tensor:
        """float32 [S], normalised."""
        if sample.state is None:
            raise BadSample(sample.where, f"has no robot state, and policy.type '{self.config.type}' reads it")
        normaliser, size = self.normaliser("proprio"), sample.state.numel()
        known, limit = len(normaliser.shift_A), self._model.config.max_state_dim
        if size != known or size > limit:
            raise ConfigError(
                f"the robot's state has {size} values, the policy's statistics {known}, and the checkpoint takes up "
                f"to {limit}; {cure_of_sizes(self.config.type, 'state', size)}"
            )
        return normaliser.normalise(sample.state.flatten())

    def _text_ids(self, sample: Sample, state_S: Tensor) -> list[int]:
        return self._encode(f"{instruction_of(sample)}\n")

    def _encode(self, text: str) -> list[int]:
        """Start token and text, as transformers' processor encodes them: in one go."""
        tokenizer = self.processor.tokenizer
        return tokenizer.encode(f"{tokenizer.bos_token}{text}", add_special_tokens=False)

    def _given_state(self, state_S: Tensor) -> Tensor | None:
        """What the network gets beside the prompt: float32 [max_state_dim]."""
        return nn.functional.pad(state_S, (0, self._model.config.max_state_dim - len(state_S)))

    # --- the network

    def _prefix(self, prompts: Sequence[FlowPrompt]) -> Prefix:
        vlm = self._model.model.vlm
        trained = any(parameter.requires_grad for parameter in vlm.parameters())
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            return self._run_prefix(prompts)

    def _run_prefix(self, prompts: Sequence[FlowPrompt]) -> Prefix:
        width, cameras = max(p.length for p in prompts), max(len(p.pixels) for p in prompts)
        ids_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        pixels = torch.zeros(len(prompts), cameras, *prompts[0].pixels.shape[1:])
        shown = torch.zeros(len(prompts), cameras, dtype=torch.bool)
        for i, prompt in enumerate(prompts):
            ids_PT[i, : prompt.length] = prompt.input_ids
            pixels[i, : len(prompt.pixels)], shown[i, : len(prompt.pixels)] = prompt.pixels, True
        lengths = torch.tensor([p.length for p in prompts], device=self.device)
        seen_PT = torch.arange(width, device=self.device)[None] < lengths[:, None]
        model = self._model.model
        pixels = pixels.to(self.device, model.vlm.vision_tower.dtype)
        embeds = model.embed_prefix(ids_PT.to(self.device), pixels, shown.to(self.device))
        output = model.vlm(
            inputs_embeds=embeds,
            attention_mask=seen_PT.long(),
            position_ids=seen_PT.long().cumsum(-1) - 1,
            token_type_ids=torch.zeros(seen_PT.shape, dtype=torch.long, device=self.device),
            use_cache=True,
        )
        layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
        states = [p.state for p in prompts]
        state = None if states[0] is None else torch.stack(states).to(self.device)
        weight = seen_PT[:, :, None].to(output.last_hidden_state.dtype)
        return Prefix(layers, seen_PT, (output.last_hidden_state * weight).sum(1) / weight.sum(1), state)

    @staticmethod
    def _cache(prefix: Prefix) -> Any:
        """A key-value cache of the prefix, for one pass of the expert: the pass appends its own."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(prefix.layers):
            cache.update(keys, values, index)
        return cache

    def _velocity(self, prefix_E: Prefix, x_EHD: Tensor, time_E: Tensor) -> tuple[Tensor, Tensor]:
        model = self._model
        dtype = model.action_out_proj.weight.dtype
        embeds = model.embed_action_time(prefix_E.state_PS.to(dtype), x_EHD.to(dtype), time_E)
        states = model.model(
            action_embeds=embeds, attention_mask=prefix_E.seen_PT.long(), past_key_values=self._cache(prefix_E)
        ).last_hidden_state
        return model.action_out_proj(states[:, -self.horizon :]).float(), states

    def _critic_states(self, prefix: Prefix, states_ETH: Tensor) -> Tensor:
        return states_ETH[:, 0]

    # --- checkpoints

    def _complete_config(self) -> None:
        self._model.config.normalization = self.kind
        if self.delta:
            self._model.config.delta_actions = list(self.delta)

    def _save_beside(self, folder: Path) -> None:
        self.source.write(self.processor, folder)
        if self.statistics:
            (folder / STATISTICS).write_text(json.dumps(dict(self.statistics), indent=1))
        save_value_head(self.value_head, folder)
        if (head := getattr(self._model, "noise_head", None)) is not None:
            save_noise_head(head.state_dict(), folder)
