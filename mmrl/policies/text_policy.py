"""What policies share that answer in text: transformers' own vision-language models with their processors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, CheckpointError
from mmrl.contracts.policy import without_dropout
from mmrl.contracts.types import Sample
from mmrl.policies.chat_template import continuation, opening
from mmrl.policies.features import Features
from mmrl.policies.saving import Source
from mmrl.policies.spelling import Speller
from mmrl.policies.token_policy import TokenPolicy, pad_prompts
from mmrl.policies.training import plain_name
from mmrl.policies.value_head import ValueHead, save_value_head
from mmrl.recipe.policies.parts import inside
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import Remembering, TrainedConfig

# What of a picture processor decides on the patches of a prompt, besides how large they may be.
_PICTURES = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std", "rescale_factor")


def end_tokens(written: Any, shown: str) -> list[int]:
    """The tokens that end an answer, of a generation config. Raises CheckpointError where they are no token numbers."""
    ends = written if isinstance(written, list) else [] if written is None else [written]
    if not all(isinstance(end, int) and not isinstance(end, bool) for end in ends):
        raise CheckpointError(
            f"policy.path: generation_config.json of '{shown}': eos_token_id is {str(written)[:60]!r}, not a token's "
            "number or a list of such"
        )
    return ends


class TextPolicy(TokenPolicy):
    """The shared half of an adapter; see `mmrl.contracts.policy.Policy` for the contract.

    Args:
        processor: transformers' own, of the checkpoint.
        placeholders: ids of tokens that stand for images or videos: never sampled, never demonstrated.
        end_of_turn: the token that ends an answer.

    Attributes:
        source: the files that the checkpoint came with.
        opening: what the prompt begins of each answer, such as `<think>`; rewards read it before the sampled text.
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        config: TrainedConfig,
        value_head: ValueHead | None,
        placeholders: Collection[int],
        end_of_turn: str,
    ):
        super().__init__(model, config, value_head)
        self.processor = processor
        self.source = Source(None)
        self._placeholders = sorted(placeholders)
        self.end_of_turn = processor.tokenizer.convert_tokens_to_ids(end_of_turn)
        ends = end_tokens(self._model.generation_config.eos_token_id, config.path)
        self.opening = opening(processor)
        self.eos_ids = tuple(sorted({self.end_of_turn, *ends}))
        self._speller = Speller(processor.tokenizer, placeholders)
        self._allowed: dict[str | None, Tensor] = {}
        self.features = Features(config.features_gb * 1e9 if isinstance(config, Remembering) else 0)

    @torch.no_grad()
    def prompt_states(self, prompts: Sequence[Any]) -> Tensor:
        """See `Representing.prompt_states`."""
        padded = pad_prompts([p.input_ids for p in prompts], [self._positions(p) for p in prompts], "right")
        with without_dropout(self), self._autocast():
            hidden_BTH = self._hidden(
                padded.input_ids_BT.to(self.device), padded.positions_3BT.to(self.device), None, prompts
            )
        return hidden_BTH[torch.arange(len(prompts), device=self.device), padded.last_B.to(self.device)].float()

    def units_read(self) -> Mapping[str, Any]:
        """See `Comparing.units_read`."""
        pictures = self.processor.image_processor
        return {
            "tokenizer": self.processor.tokenizer.get_vocab(),
            "end token": self.end_of_turn,
            "placeholders": self._placeholders,
            **{name: getattr(pictures, name, None) for name in _PICTURES},
        }

    @property
    def sees_frozen(self) -> bool:
        """Whether neither the vision tower nor its projector trains, so that features of a picture never change."""
        parts = entry_of(self.config.type).parts
        paths = tuple(path for name in ("vision", "projector") for path in parts[name].paths)
        return not any(p.requires_grad for n, p in self.module.named_parameters() if inside(plain_name(n), paths))

    @property
    def chat_template(self) -> str:
        """See `TemplatesChat`."""
        return self.processor.chat_template

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """int64 [U]: the demonstration's tokens and the end-of-turn token."""
        if not sample.demonstration:
            raise BadSample(sample.where, "has no demonstration, which this method needs")
        text = continuation(sample.demonstration, self.opening, sample)
        ids = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = torch.tensor([*ids, self.end_of_turn], dtype=torch.long)
        if len(tokens) > max_units:
            raise BadSample(
                sample.where,
                f"the demonstration has {len(tokens)} tokens, above rollout.max_new_tokens {max_units}",
            )
        if set(self._placeholders) & set(ids):
            raise BadSample(sample.where, "the demonstration holds an image placeholder token")
        return tokens

    def decode_text(self, tokens: Tensor) -> str:
        """Text of sampled tokens, special tokens left out."""
        return self.processor.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)

    def spelled_prompt(self, prompt: Any) -> str:
        """See `Spelling.spelled_prompt`."""
        return self._speller.prompt(prompt.input_ids.tolist())

    def spelled(self, tokens: Tensor) -> list[str]:
        """See `Spelling.spelled`."""
        return self._speller.tokens(tokens.tolist())

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """bool [V]: every token but placeholders, or those of a set that the policy has."""
        if restrict not in self._allowed:
            allowed = torch.zeros(self._model.get_output_embeddings().weight.shape[0], dtype=torch.bool)
            allowed[self._token_set(restrict)] = True
            self._allowed[restrict] = allowed.to(self.device)
        return self._allowed[restrict]

    def _token_set(self, restrict: str | None) -> Tensor:
        """int64: the ids of a set by its name; None: of all that an answer may hold."""
        if restrict is not None:
            raise ValueError(f"unknown token set '{restrict}'")
        ids = torch.arange(len(self.processor.tokenizer))
        return ids[~torch.isin(ids, torch.tensor(self._placeholders))]

    def _save_beside(self, folder: Path) -> None:
        self.source.write(self.processor, folder)
        save_value_head(self.value_head, folder)
