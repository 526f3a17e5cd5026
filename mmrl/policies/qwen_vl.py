"""Qwen-VL policies (Qwen2-VL, Qwen2.5-VL, Qwen3-VL dense and MoE) on transformers' own models."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.config import PolicyConfig
from mmrl.data.robot.statistics import check_range, save_statistics
from mmrl.data.videos import VideoReader
from mmrl.errors import BadSample, ConfigError
from mmrl.policies import layout, qwen_prompt
from mmrl.policies.loading import load_checkpoint, resolve_device
from mmrl.policies.lora import add_lora, merged_state
from mmrl.policies.qwen_prompt import QwenPrompt
from mmrl.policies.token_log_probs import token_log_probs
from mmrl.policies.value_head import ValueHead, first_of_rows, head_parameters, load_value_head, save_value_head
from mmrl.types import Likelihood, PolicyBatch, Sample

# How each family was trained to write boxes. A family that is not listed is refused rather than guessed.
COORDINATES = {
    "qwen2_vl": "norm1000",
    "qwen2_5_vl": "resized_pixel",
    "qwen3_vl": "norm1000",
    "qwen3_vl_moe": "norm1000",
}


@dataclass(frozen=True, slots=True)
class QwenDecodeState:
    """Sampling state: key-value cache, which cached positions each row may see, and the next M-RoPE position."""

    cache: Any
    seen_BT: Tensor
    next_position_B: Tensor
    logits_BV: Tensor

    def select(self, rows: Tensor) -> QwenDecodeState:
        """The state of `rows` (int64). The cache is cut in place."""
        self.cache.batch_select_indices(rows)
        return QwenDecodeState(self.cache, self.seen_BT[rows], self.next_position_B[rows], self.logits_BV[rows])


class QwenVL:
    """The adapter. One prepared prompt feeds sampling and training; the vision tower runs once per prompt."""

    freezable = ("vision", "language")

    def __init__(self, model: nn.Module, processor: Any, config: PolicyConfig, value_head: ValueHead | None = None):
        self.config = config
        self.processor = processor
        self.module = model
        self.value_head = value_head
        self.device = next(model.parameters()).device
        # Under LoRA `module` is peft's wrapper; forward passes go to the transformers model inside it.
        self._model = model.get_base_model() if config.lora else model
        self._reference: nn.Module | None = None
        self.coordinates = COORDINATES[self._model.config.model_type]
        video = processor.video_processor
        if hasattr(video, "cap_pixels_per_frame"):
            # Frames come sized by `video`, which caps them; unset, the processor warns that it would not.
            video.cap_pixels_per_frame = True
        self.videos = VideoReader(config.video, video.patch_size * video.merge_size, video.temporal_patch_size)
        tokenizer = processor.tokenizer
        self._banned = [self._model.config.image_token_id, self._model.config.video_token_id]
        eos = self._model.generation_config.eos_token_id
        turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.end_of_turn = turn_end
        self.eos_ids = tuple(sorted({turn_end, *(eos if isinstance(eos, list) else [eos] if eos is not None else [])}))
        self._allowed: dict[str | None, Tensor] = {}
        self.statistics: dict[str, Any] = {}

    @classmethod
    def from_pretrained(cls, config: PolicyConfig) -> QwenVL:
        """Loads a checkpoint folder or hub name.

        Raises:
            CheckpointError: nothing there, not a Qwen-VL, or weights missing or of other shapes.
        """
        model, processor = load_checkpoint(config, COORDINATES, resolve_device(config.device))
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
        for part, prefix in (("vision", "visual"), ("language", "language_model")):
            if part in config.freeze:
                getattr(model.model, prefix).requires_grad_(False)
                if part == "language":
                    model.get_output_embeddings().requires_grad_(False)
        if config.lora:
            model = add_lora(model, config.lora)
        for parameter in model.parameters():
            if parameter.requires_grad:
                # Master weights: AdamW on bfloat16 parameters loses small updates.
                parameter.data = parameter.data.float()
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if config.lora:
                model.enable_input_require_grads()
        size = model.config.get_text_config().hidden_size
        head = load_value_head(config.value_head, size, config.path, next(model.parameters()).device)
        return cls(model, processor, config, head)

    def prepare(self, samples: Sequence[Sample], videos: VideoReader | None = None) -> list[QwenPrompt]:
        """Tokens, pixels and positions of each sample; `videos` reads its videos, by default the policy's own reader.

        Raises:
            BadSample: it cannot be prepared.
        """
        rate = getattr(self._model.config.vision_config, "tokens_per_second", None)
        limit = self.config.max_prompt_tokens
        return [qwen_prompt.prepare_prompt(s, self.processor, rate, limit, videos or self.videos) for s in samples]

    def localise(self, sample: Sample, prompt: QwenPrompt) -> Sample:
        """The sample with its boxes in this model's coordinates."""
        return qwen_prompt.localise(sample, prompt, self.coordinates)

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """int64 [U]: the demonstration's tokens and the end-of-turn token."""
        if not sample.demonstration:
            raise BadSample(sample.where, "has no demonstration, which this method needs")
        ids = self.processor.tokenizer(sample.demonstration, add_special_tokens=False)["input_ids"]
        tokens = torch.tensor([*ids, self.end_of_turn], dtype=torch.long)
        if len(tokens) > max_units:
            raise BadSample(
                sample.where,
                f"the demonstration has {len(tokens)} tokens, above rollout.max_new_tokens {max_units}",
            )
        if set(self._banned) & set(ids):
            raise BadSample(sample.where, "the demonstration holds an image placeholder token")
        return tokens

    def decode_text(self, tokens: Tensor) -> str:
        """Text of sampled tokens, special tokens left out."""
        return self.processor.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: every token but image and video placeholders; for `action`, the action bins only."""
        if restrict not in self._allowed:
            vocabulary = self._model.get_output_embeddings().weight.shape[0]
            allowed = torch.zeros(vocabulary, dtype=torch.bool)
            if restrict == "action":
                allowed[self.action_ids()] = True
            elif restrict is None:
                allowed[: len(self.processor.tokenizer)] = True
                allowed[self._banned] = False
            else:
                raise ValueError(f"unknown token set '{restrict}'; known: action")
            self._allowed[restrict] = allowed.to(self.device)
        return self._allowed[restrict]

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
        """One token a dimension."""
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

    def _autocast(self):
        if self.config.dtype == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _mask(self, mask: Tensor) -> Tensor:
        """SDPA reads bool masks; eager attention adds them."""
        if self.config.attention != "eager":
            return mask
        dtype = next(self._model.parameters()).dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)

    def batch_tokens(self, prompts: Sequence[QwenPrompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens of one forward pass, padding included, for the lengths of the rows of each prompt."""
        if self.config.packing == "row":
            flat = [p.length + n - 1 for p, lengths in zip(prompts, rows_per_prompt) for n in lengths]
        else:
            flat = [p.length + sum(n - 1 for n in lengths) for p, lengths in zip(prompts, rows_per_prompt)]
        return len(flat) * max(flat)

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Log-probs (and entropies) of the batch's units, temperature and token bans applied as in sampling."""
        lengths = batch.mask_RU.sum(1).tolist()
        plan = layout.build(
            [p.input_ids for p in batch.prompts],
            [p.positions for p in batch.prompts],
            batch.prompt_index_R.tolist(),
            batch.tokens_RU,
            lengths,
            self.config.packing,
        )
        segments = plan.segments_BT.to(self.device)
        if self.config.attention == "flash_attention_2":
            mask = (segments != layout.PADDING).long()
        else:
            mask = self._mask(replace(plan, segments_BT=segments).attention_mask())
        pixels = qwen_prompt.stack_pixels([batch.prompts[p] for p in plan.sequence_prompts], self.device)
        with self._autocast():
            hidden_BTH = self._model.model(
                input_ids=plan.input_ids_BT.to(self.device),
                position_ids=plan.position_ids_3BT.to(self.device),
                attention_mask=mask,
                use_cache=False,
                **pixels,
            ).last_hidden_state
            # index_select, not indexing: the backward of repeated indices is then summed in a fixed order.
            hidden_NH = hidden_BTH.flatten(0, 1).index_select(0, plan.gather_N.to(self.device))
            log_probs_N, entropy_N = token_log_probs(
                hidden_NH,
                self._model.get_output_embeddings(),
                batch.tokens_RU[batch.mask_RU].to(self.device),
                self.allowed_tokens(batch.restrict),
                batch.temperature,
                entropy,
            )
        mask_RU = batch.mask_RU.to(self.device)
        return Likelihood(
            _spread(log_probs_N, mask_RU),
            mask_RU,
            _spread(entropy_N, mask_RU) if entropy_N is not None else None,
            self.value_head(first_of_rows(hidden_NH, mask_RU)) if self.value_head is not None else None,
        )

    @torch.no_grad()
    def prefill(self, prompts: Sequence[QwenPrompt], repeats: int, side: str = "left") -> QwenDecodeState:
        """Runs each prompt once; `repeats` consecutive rows then share its cache content."""
        from transformers import DynamicCache

        width = max(p.length for p in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        positions = torch.zeros(3, len(prompts), width, dtype=torch.long)
        seen = torch.zeros(len(prompts), width, dtype=torch.bool)
        for b, prompt in enumerate(prompts):
            span = slice(width - prompt.length, width) if side == "left" else slice(0, prompt.length)
            ids[b, span], positions[:, b, span], seen[b, span] = prompt.input_ids, prompt.positions, True
        seen = seen.to(self.device)
        causal = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        eye = torch.eye(width, dtype=torch.bool, device=self.device)
        mask = ((seen[:, None, :] & causal) | eye)[:, None]
        cache = DynamicCache(config=self._model.config.get_text_config())
        with self._autocast():
            hidden = self._model.model(
                input_ids=ids.to(self.device),
                position_ids=positions.to(self.device),
                attention_mask=seen.long() if self.config.attention == "flash_attention_2" else self._mask(mask),
                past_key_values=cache,
                use_cache=True,
                **qwen_prompt.stack_pixels(prompts, self.device),
            ).last_hidden_state
            last = seen.long().mul(torch.arange(width, device=self.device)).argmax(1)
            logits = self._model.get_output_embeddings()(hidden[torch.arange(len(prompts), device=self.device), last])
        following = torch.tensor([int(p.positions.max()) + 1 for p in prompts], device=self.device)
        if repeats > 1:
            cache.batch_repeat_interleave(repeats)
            seen, following, logits = (x.repeat_interleave(repeats, 0) for x in (seen, following, logits))
        return QwenDecodeState(cache, seen, following, logits)

    @torch.no_grad()
    def decode(self, state: QwenDecodeState, tokens_B: Tensor) -> QwenDecodeState:
        """Appends one token a row and computes the next logits."""
        seen = torch.cat([state.seen_BT, state.seen_BT.new_ones(len(tokens_B), 1)], 1)
        flash = self.config.attention == "flash_attention_2"
        with self._autocast():
            hidden = self._model.model.language_model(
                inputs_embeds=self._model.get_input_embeddings()(tokens_B[:, None]),
                position_ids=state.next_position_B[None, :, None].expand(3, -1, 1),
                attention_mask=seen.long() if flash else self._mask(seen[:, None, None, :]),
                past_key_values=state.cache,
                use_cache=True,
            ).last_hidden_state
            logits = self._model.get_output_embeddings()(hidden[:, -1])
        return QwenDecodeState(state.cache, seen, state.next_position_B + 1, logits)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, `log_probs` are the reference policy's."""
        if self.config.lora:
            with self.module.disable_adapter():
                yield
            return
        if self._reference is None:
            raise ConfigError("no reference policy was kept; KL needs one")
        current, self._model = self._model, self._reference
        try:
            yield
        finally:
            self._model = current

    def keep_reference(self) -> None:
        """Freezes a copy of the current weights as the reference; under LoRA the base already is."""
        if not self.config.lora:
            self._reference = copy.deepcopy(self._model).requires_grad_(False).eval()

    def reference_state(self) -> dict[str, Tensor] | None:
        """The kept reference's weights, for checkpoints; None where there is none to save."""
        return dict(self._reference.named_parameters()) if self._reference is not None else None

    def load_reference(self, state: dict[str, Tensor]) -> None:
        """Restores what `reference_state` gave."""
        self.keep_reference()
        with torch.no_grad():
            for name, parameter in self._reference.named_parameters():
                parameter.copy_(state[name])

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """(name, parameter, part) of every trained parameter, in a fixed order."""
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                yield name, parameter, "vision" if ".visual." in f".{name}" else "language"
        yield from head_parameters(self.value_head)

    def save_pretrained(self, folder: Path) -> None:
        """Writes model and processor in the hub's layout; LoRA adapters are merged into the weights written."""
        if self.config.lora:
            self._model.save_pretrained(folder, state_dict=merged_state(self._model))
        else:
            self._model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        if self.statistics:
            save_statistics(self.statistics, Path(folder))
        save_value_head(self.value_head, folder)


def _spread(values_N: Tensor, mask_RU: Tensor) -> Tensor:
    """Row-by-row values into [R, U], 0 where masked."""
    return torch.zeros(mask_RU.shape, dtype=values_N.dtype, device=mask_RU.device).masked_scatter(mask_RU, values_N)
