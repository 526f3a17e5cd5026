"""What every adapter of a transformers model holds: the module, its frozen reference, and what of it is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.policies.value_head import ValueHead, head_parameters
from mmrl.recipe.policy import PolicyConfig


class AdaptedModel:
    """A model under full training or LoRA; see `mmrl.contracts.policy.Policy` for the contract."""

    # Modules whose parameters train at the rate of the vision tower, by a part of their names.
    vision_marks: tuple[str, ...] = ()
    # See `Policy.horizon`.
    horizon: int | None = None

    def __init__(self, model: nn.Module, config: PolicyConfig, value_head: ValueHead | None = None):
        self.config = config
        self.value_head = value_head
        self.module = model
        self.device = next(model.parameters()).device
        # Under LoRA `module` is peft's wrapper; forward passes go to the transformers model inside it.
        self._model = model.get_base_model() if config.lora else model
        self._reference: nn.Module | None = None

    def _autocast(self):
        if self.config.dtype == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

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

    def check_units(self, units: int) -> None:
        """See `Policy.check_units`: any number, where one is predicted after the other."""

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
                vision = any(mark in f".{name}" for mark in self.vision_marks)
                yield name, parameter, "vision" if vision else "language"
        yield from head_parameters(self.value_head)
