"""What of a loaded model is trained, and the reference it is held to: once, for every family.

A family says where the parts of its model are (`Entry.parts` in `mmrl.recipe.policies.registry`); freezing, adapters
and learning rates follow from that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import ConfigError
from mmrl.policies.lora import ADAPTED, ADAPTER, add_lora
from mmrl.recipe.policies.parts import ModelPart, owner_of
from mmrl.recipe.policies.registry import Entry, entry_of
from mmrl.recipe.policy import Checkpointed, TrainedConfig


def prepare(model: Any, config: TrainedConfig, unread: Iterable[nn.Parameter] = ()) -> Any:
    """Freezing, LoRA, float32 master weights and gradient checkpointing, as the settings say.

    Args:
        model: a transformers model, on its device.
        unread: weights that no forward pass reads: stored in checkpoints, never trained.

    Returns:
        the model, inside of peft's wrapper under LoRA.

    Raises:
        ConfigError: nothing is left to train, or a LoRA target that names no layer.
    """
    if not config.trains:
        return model.requires_grad_(False).eval()
    entry = entry_of(config.type)
    for parameter in unread:
        parameter.requires_grad_(False)
    _freeze(model, config, entry)
    if config.lora:
        beside = trained_beside_adapters(model, entry.parts)
        model = add_lora(model, config.lora, entry.parts, config.type)
        for part in beside.values():
            part.requires_grad_(True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError(
            f"policy.freeze: [{', '.join(config.freeze)}] leaves nothing to train in this checkpoint; leave one out"
        )
    for parameter in trained:
        # Master weights: AdamW on bfloat16 parameters loses small updates.
        parameter.data = parameter.data.float()
    if isinstance(config, Checkpointed) and config.gradient_checkpointing:
        base = model.get_base_model() if config.lora else model
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        # transformers makes the inputs of every tower ask for gradients, which only reentrant checkpointing needs: a
        # frozen tower would be computed twice and differentiated for nothing.
        base.disable_input_require_grads()
    return model


def _freeze(model: nn.Module, config: TrainedConfig, entry: Entry) -> None:
    frozen = entry.frozen_by(config.freeze)
    for name, parameter in model.named_parameters():
        part = owner_of(name, entry.parts)
        if part is None:
            raise ConfigError(f"policy.type '{config.type}' says of no part of its model that it holds '{name}'")
        if part in frozen:
            parameter.requires_grad_(False)


def trained_beside_adapters(model: nn.Module, parts: Mapping[str, ModelPart]) -> dict[str, nn.Module]:
    """The modules, by their names, that train in full under LoRA, of those that the checkpoint has."""
    names = [path for part in parts.values() if part.lora == "whole" for path in part.paths]
    modules = dict(model.named_modules())
    return {name: modules[name] for name in names if name in modules}


def plain_name(name: str) -> str:
    """A parameter's name in the transformers model, whether or not peft wraps that."""
    return name.removeprefix(ADAPTED)


class Reference:
    """The frozen weights that a policy is held to: those that it had when they were kept.

    They are a copy of the model; under LoRA copies of the adapters, or the base with its adapters off, and copies of
    what trains beside them.

    Args:
        model: the transformers model.
        wrapper: peft's around it, or None without LoRA.
        beside: names of the modules that train in full beside adapters.
    """

    def __init__(self, model: nn.Module, wrapper: Any = None, beside: Iterable[str] = ()):
        self._model, self._wrapper, self._beside = model, wrapper, tuple(beside)
        self._copies: dict[str, nn.Module] = {}
        # By parameter name; empty: the base, with its adapters off; None: nothing was kept.
        self._adapters: dict[str, Tensor] | None = None

    @property
    def _copied(self) -> dict[str, nn.Module]:
        if self._wrapper is None:
            return {"": self._model}
        return {name: self._model.get_submodule(name) for name in self._beside}

    def _live_adapters(self) -> dict[str, nn.Parameter]:
        if self._wrapper is None:
            return {}
        return {name: parameter for name, parameter in self._wrapper.named_parameters() if ADAPTER in name}

    def keep(self, base: bool = False) -> None:
        """Makes the current weights the reference.

        Args:
            base: take the base instead of the adapters that it has now; what trains beside them is copied as it is.

        Raises:
            ConfigError: a base without adapters.
        """
        if base and self._wrapper is None:
            raise ConfigError("objective.kl.reference 'base' is the model below LoRA's adapters; set policy.lora")
        self._copies = {name: copy.deepcopy(part).requires_grad_(False).eval() for name, part in self._copied.items()}
        live = {} if base else self._live_adapters()
        self._adapters = {name: parameter.detach().clone() for name, parameter in live.items()}

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Moves every kept weight a share of the way to its current value.

        Raises:
            ConfigError: nothing was kept.
        """
        if self._adapters is None:
            raise ConfigError("no reference policy was kept, and objective.kl.decay moves it")
        for name, part in self._copied.items():
            current = dict(part.named_parameters())
            for key, kept in self._copies[name].named_parameters():
                kept.lerp_(current[key].detach().to(kept.dtype), share)
        live = self._live_adapters()
        for name, kept in self._adapters.items():
            kept.lerp_(live[name].detach().to(kept.dtype), share)

    @contextmanager
    def active(self) -> Iterator[nn.Module]:
        """The model to score with. Raises ConfigError where nothing was kept."""
        if self._adapters is None:
            raise ConfigError(
                "no reference policy was kept; KL needs one (a checkpoint without one goes on under LoRA with "
                "objective.kl.reference: base)"
            )
        if self._wrapper is None:
            yield self._copies[""]
            return
        with ExitStack() as stack:
            stack.callback(self._put, self._copied)
            self._put(self._copies)
            if self._adapters:
                stack.callback(self._put_adapters, {n: p.data for n, p in self._live_adapters().items()})
                self._put_adapters(self._adapters)
            else:
                stack.enter_context(self._wrapper.disable_adapter())
            yield self._model

    def _put(self, parts: Mapping[str, nn.Module]) -> None:
        for name, part in parts.items():
            self._model.set_submodule(name, part)

    def _put_adapters(self, adapters: Mapping[str, Tensor]) -> None:
        # The parameters stay the same objects, so that the optimizer holds them still.
        for name, parameter in self._live_adapters().items():
            parameter.data = adapters[name]

    def state(self) -> dict[str, Tensor] | None:
        """The kept weights, for checkpoints; None where there is none to save."""
        copied = {
            f"{name}.{key}" if name else key: parameter
            for name, part in self._copies.items()
            for key, parameter in part.named_parameters()
        }
        return {**copied, **(self._adapters or {})} or None

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state` gave."""
        self.keep(base=self._wrapper is not None and not any(ADAPTER in name for name in state))
        with torch.no_grad():
            for name, parameter in (self.state() or {}).items():
                parameter.copy_(state[name])
