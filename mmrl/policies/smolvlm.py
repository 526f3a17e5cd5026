"""SmolVLM policies (arXiv 2504.05299): SmolVLM2 (`smolvlm`) and SmolVLM (`idefics3`) on transformers' own models.

An image is scaled to `longest_edge`, cut into square tiles, and seen as these and once as a whole; the vision tower
gives each tile the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample
from mmrl.data.marks import refuse_wrong_marks
from mmrl.data.media import load_image
from mmrl.policies import training
from mmrl.policies.adapted_model import Towers
from mmrl.policies.boxes import Canvas, Coordinates, localise
from mmrl.policies.chat_template import rendered_sample
from mmrl.policies.loading import load_checkpoint, resolve_device
from mmrl.policies.text_policy import TextPolicy
from mmrl.policies.value_head import ValueHead, load_value_head
from mmrl.recipe.policies.registry import alternatives, policies_for
from mmrl.recipe.policies.smolvlm import SmolVLMParams, SmolVLMSettings

# What the processor writes around and in place of tiles, besides `<row_1_col_1>` and so on.
MARKS = ("<image>", "<fake_token_around_image>", "<global-img>")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SmolVLMPrompt:
    """One prepared prompt.

    Attributes:
        input_ids: int64 [P], image placeholders expanded.
        pixels_N3SS: float32, the tiles of all images in order, normalised; None without images.
        image_sizes: (width, height) of each image as loaded.
    """

    input_ids: Tensor
    pixels_N3SS: Tensor | None
    image_sizes: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """Prompt tokens, image placeholders expanded."""
        return self.input_ids.shape[0]


class SmolVLM(TextPolicy):
    """The adapter. Its makers publish no boxes; here they are thousandths of the whole image's sides."""

    # Tiles have no common pixels that a box could be in; fine-tunings by its makers scale places by the image as well.
    coordinates: Coordinates = "norm1000"

    def __init__(self, model: nn.Module, processor: Any, config: SmolVLMSettings, value_head: ValueHead | None = None):
        vocabulary = processor.tokenizer.get_vocab()
        self._marks = [mark for mark in vocabulary if mark in MARKS or mark.startswith("<row_")]
        super().__init__(
            model,
            processor,
            config,
            value_head,
            [vocabulary[mark] for mark in self._marks],
            processor.end_of_utterance_token,
        )

    @classmethod
    def from_pretrained(cls, config: SmolVLMSettings) -> SmolVLM:
        """Loads a checkpoint folder or hub name.

        Raises:
            CheckpointError: nothing there, not a SmolVLM, or weights missing or of other shapes.
            ConfigError: tiles that the checkpoint has no names for.
        """
        model, processor, source = load_checkpoint(config, resolve_device(config.device))
        _set_tiles(processor, config.params)
        model = training.prepare(model, config)
        size = model.config.get_text_config().hidden_size
        head = load_value_head(config.value_head, size, config.path, next(model.parameters()).device)
        policy = cls(model, processor, config, head)
        policy.source = source
        return policy

    @property
    def towers(self) -> Towers:
        """Sizes of the model; its connector makes one token of a square of patches."""
        sizes = self._model.config
        return self._towers(sizes.get_text_config(), sizes.vision_config, sizes.scale_factor**2)

    def prepare(self, samples: Sequence[Sample]) -> list[SmolVLMPrompt]:
        """Tokens and pixels of each sample. Raises BadSample."""
        return [self._prepare(sample) for sample in samples]

    def _prepare(self, sample: Sample) -> SmolVLMPrompt:
        if sample.videos:
            others = [name for name in policies_for("answers") if name != self.config.type]
            raise BadSample(
                sample.where,
                f"has a video, and policy.type '{self.config.type}' sees pictures alone; set policy.type to "
                f"{alternatives(others)}",
            )
        refuse_wrong_marks(sample, self._marks)
        images = [load_image(source, sample.root, sample.where) for source in sample.images]
        messages = [{**message, "content": _parts(message["content"])} for message in sample.messages]
        text = rendered_sample(self.processor, sample, messages)
        try:
            encoded = self.processor(text=[text], images=[images] if images else None, return_tensors="pt")
        except ValueError as error:
            raise BadSample(sample.where, f"the processor refused it: {' '.join(str(error).split())}") from None
        input_ids, limit = encoded["input_ids"][0], self.config.max_prompt_tokens
        if limit is not None and len(input_ids) > limit:
            raise BadSample(
                sample.where,
                f"the prompt has {len(input_ids)} tokens, above policy.max_prompt_tokens {limit}; raise it or lower "
                "policy.params.longest_edge",
            )
        pixels = encoded["pixel_values"][0] if images else None
        return SmolVLMPrompt(input_ids, pixels, tuple(image.size for image in images))

    def localise(self, sample: Sample, prompt: SmolVLMPrompt) -> Sample:
        """The sample with its boxes in this model's coordinates."""
        return localise(sample, self.coordinates, [Canvas(size, size) for size in prompt.image_sizes])

    def _positions(self, prompt: SmolVLMPrompt) -> Tensor:
        return torch.arange(prompt.length).expand(3, -1)

    def _hidden(self, ids_BT, positions_3BT, mask, prompts, cache=None, **attention) -> Tensor:
        embeds_BTH = self._model.get_input_embeddings()(ids_BT)
        seen = [prompt for prompt in prompts if prompt.pixels_N3SS is not None]
        if seen:
            if self.sees_frozen:
                once = {id(prompt): self.features.of(prompt, "image", partial(self._see, [prompt])) for prompt in seen}
                features = torch.cat([once[id(prompt)] for prompt in seen])
            else:
                features = self._see(seen)
            places_BT1 = (ids_BT == self._model.config.image_token_id)[..., None]
            embeds_BTH = embeds_BTH.masked_scatter(places_BT1, features.to(embeds_BTH.dtype))
        return self._model.model.text_model(
            inputs_embeds=embeds_BTH,
            position_ids=positions_3BT[0],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
            **attention,
        ).last_hidden_state

    def _see(self, prompts: Sequence[SmolVLMPrompt]) -> Tensor:
        """[tiles, tokens, H] of all prompts' pictures."""
        pixels = torch.cat([prompt.pixels_N3SS for prompt in prompts if prompt.pixels_N3SS is not None])
        return self._model.model.get_image_features(pixels[None].to(self.device)).pooler_output

    def _next_hidden(self, tokens_B, positions_3B1, cache) -> Tensor:
        return self._model.model.text_model(
            inputs_embeds=self._model.get_input_embeddings()(tokens_B[:, None]),
            position_ids=positions_3B1[0],
            **cache.arguments(),
        ).last_hidden_state[:, -1]


def _parts(content: Any) -> Any:
    """The content of a message as its chat template reads it."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _set_tiles(processor: Any, params: SmolVLMParams) -> None:
    images = processor.image_processor
    if params.longest_edge is not None:
        images.size = {"longest_edge": params.longest_edge}
    if params.split is not None:
        images.do_image_splitting = params.split
    side, longest = images.max_image_size["longest_edge"], images.size["longest_edge"]
    named = max(n for n in range(1, longest) if f"<row_{n}_col_{n}>" in processor.tokenizer.get_vocab())
    if images.do_image_splitting and ceil(longest / side) > named:
        raise ConfigError(
            f"policy.params.longest_edge: {longest} pixels are {ceil(longest / side)} tiles of {side}, and the "
            f"checkpoint has names for {named}; set it to at most {named * side}"
        )
