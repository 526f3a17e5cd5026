"""What every adapter of a transformers model holds: the module, its frozen reference, and what of it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mmrl.policies import adapter
from mmrl.policies.lora import weights_of
from mmrl.policies.referenced import Referenced
from mmrl.policies.saving import write_config, write_model
from mmrl.policies.training import Reference, plain_name, trained_beside_adapters
from mmrl.policies.value_head import ValueHead, head_parameters
from mmrl.recipe.policies.parts import inside, owner_of
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import TrainedConfig


@dataclass(frozen=True, slots=True)
class Towers:
    """Sizes that the memory of a step follows from.

    Attributes:
        text: transformers' config of the language model.
        vision: that of the vision tower; None: its activations are not counted.
        vision_trained: whether gradients pass through the tower.
        patches_per_token: patches that become one visual token.
        vocabulary: tokens that logits are computed for; 0: none are.
    """

    text: Any
    vision: Any | None
    vision_trained: bool
    patches_per_token: int
    vocabulary: int


class AdaptedModel(Referenced):
    """A model under full training or LoRA; see `mmrl.contracts.policy.Policy` for the contract."""

    # See `Policy.horizon`.
    horizon: int | None = None
    # What the names of those weights begin with that `_save_beside` writes into files of their own.
    own_files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: nn.Module, config: TrainedConfig, value_head: ValueHead | None = None):
        self.config = config
        self.value_head = value_head
        self.module = model
        self.device = next(model.parameters()).device
        # Under LoRA `module` is peft's wrapper; forward passes go to the transformers model inside it.
        self._model = model.get_base_model() if config.lora else model
        parts = entry_of(config.type).parts
        # What is in the vision tower trains at its rate, a projector there too.
        self._tower = parts["vision"].paths if "vision" in parts else ()
        beside = trained_beside_adapters(self._model, parts) if config.lora else ()
        self._reference = Reference(self._model, model if config.lora else None, beside)

    def _autocast(self):
        if self.config.dtype == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    @property
    def towers(self) -> Towers:
        """Sizes of the model, for the estimate of memory."""
        sizes = self._model.config
        return self._towers(sizes.get_text_config(), getattr(sizes, "vision_config", None))

    def _towers(
        self, text: Any, vision: Any | None, patches_per_token: int = 1, vocabulary: int | None = None
    ) -> Towers:
        parts = entry_of(self.config.type).parts
        trained = any(
            owner_of(plain_name(name), parts) == "vision"
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad
        )
        return Towers(text, vision, trained, patches_per_token, text.vocab_size if vocabulary is None else vocabulary)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the published layout, with LoRA adapters merged into the weights."""
        folder = Path(folder)
        self._complete_config()
        weights = {n: w for n, w in weights_of(self._model).items() if not n.startswith(self.own_files)}
        write_model(self._model, weights, self.config.dtype, folder)
        self._save_beside(folder)

    def save_settings(self, folder: Path) -> None:
        """See `Served.save_settings`."""
        folder = Path(folder)
        self._complete_config()
        write_config(self._model, self.config.dtype, folder)
        self._save_beside(folder)

    def model_parts(self) -> tuple[str, ...]:
        """See `Served.model_parts`."""
        return tuple(entry_of(self.config.type).parts)

    def served_parts(self) -> tuple[str, ...]:
        """See `Served.served_parts`."""
        parts = entry_of(self.config.type).parts
        trained = {owner_of(plain_name(name), parts) for name, p in self.module.named_parameters() if p.requires_grad}
        return tuple(part for part in parts if part in trained)

    def served_weights(self, part: str | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """See `Served.served_weights`."""
        parts, dtype = entry_of(self.config.type).parts, getattr(torch, self.config.dtype)
        for name, weight in weights_of(self._model).items():
            if part is None or owner_of(name, parts) == part:
                value = weight.value()
                yield name, value.to(dtype) if value.is_floating_point() else value

    def save_adapter(self, folder: Path) -> None:
        """See `Adapted.save_adapter`."""
        folder = Path(folder)
        adapter.save_adapter(self.module, self.config, folder)
        self._complete_config()
        write_config(self._model, self.config.dtype, folder)
        (folder / "config.json").rename(folder / adapter.CONFIG)
        self._save_beside(folder)

    def _complete_config(self) -> None:
        """Puts what config.json is to say of the policy into the model's config."""

    def _save_beside(self, folder: Path) -> None:
        """Writes what lies beside a model's weights: processor, statistics, heads."""
        raise NotImplementedError

    def check_units(self, units: int) -> None:
        """Takes any number: units are predicted one after the other."""

    def trainable(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """(name, parameter, part) of every trained parameter, in a fixed order."""
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                vision = inside(plain_name(name), self._tower)
                yield name, parameter, "vision" if vision else "language"
        yield from head_parameters(self.value_head)
