"""Companion policies: frozen checkpoints beside the policy, which score its units on its prompts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor

from mmrl.contracts.errors import CheckpointError, ConfigError, shortened
from mmrl.contracts.policy import Comparing, Policy
from mmrl.policies.digests import digest_of_file
from mmrl.policies.loading import checkpoint_path, local_folder, resolve_dtype
from mmrl.policies.opening import load_policy
from mmrl.recipe.companions import CompanionConfig
from mmrl.recipe.policy import PolicyConfig, TrainedConfig


class Companion:
    """One companion.

    Args:
        policy: frozen, loaded on the device that it scores on.
        offload: its weights lie in the CPU's memory except inside of `scoring`.
    """

    def __init__(self, policy: Policy, offload: bool = False):
        self._policy, self._offload = policy, offload and policy.device.type != "cpu"
        self._device = policy.device
        self._head: Callable[[Tensor], Tensor] | None = None
        if self._offload:
            policy.module.to("cpu")

    @contextmanager
    def scoring(self) -> Iterator[Policy]:
        """Inside, the policy stands on its device."""
        if not self._offload:
            yield self._policy
            return
        self._policy.module.to(self._device)
        try:
            yield self._policy
        finally:
            self._policy.module.to("cpu")

    @property
    def nbytes(self) -> int:
        """Of its weights, shared ones once."""
        return sum(weight.nbytes for weight in self._policy.module.parameters())

    def logits(self, states_NH: Tensor) -> Tensor:
        """[N, V] of its hidden states, wherever these lie; its output layer stays on its device."""
        if self._head is None:
            head: Any = comparing(self._policy).output_head()
            self._head = copy.deepcopy(head).to(self._device) if self._offload else head
        return self._head(states_NH.to(self._device))


def comparing(policy: Policy) -> Comparing:
    """The policy as one whose distribution can stand beside another's. Raises ConfigError where it cannot."""
    if not isinstance(policy, Comparing):
        raise ConfigError(f"policy.type '{policy.config.type}' has no softmax that another checkpoint's compares with")
    return policy


def open_companions(companions: Mapping[str, CompanionConfig], policy: Policy) -> dict[str, Companion]:
    """Loads each of them, as the policy's family does.

    Raises:
        ConfigError: it reads other tokens, or pictures in another way, than the policy.
        CheckpointError: its weights are not those of its digest; also as `load_policy`.
    """
    opened = {}
    for name, own in companions.items():
        try:
            scoring = load_policy(_settings(own, policy.config))
        except CheckpointError as error:
            raise CheckpointError(f"companions.{name}: {error}") from None
        _check_alike(name, comparing(policy).units_read(), comparing(scoring).units_read())
        opened[name] = Companion(scoring, own.offload)
    return opened


def settle_companions(companions: Mapping[str, CompanionConfig], config: PolicyConfig) -> dict[str, CompanionConfig]:
    """The companions as a run records them: with the model's folder, the dtype and the digest of their weights.

    Raises:
        CheckpointError: one is not there, or its weights are not those of its digest.
    """
    settled = {}
    for name, own in companions.items():
        try:
            resolved = resolve_dtype(_settings(own, config))
            digest = weights_digest(local_folder(own.path, config.type))
            path = checkpoint_path(own.path, config.type) if Path(own.path).expanduser().is_dir() else own.path
        except CheckpointError as error:
            raise CheckpointError(f"companions.{name}: {error}") from None
        if own.digest not in (None, digest):
            raise CheckpointError(
                f"companions.{name}: the weights of '{own.path}' have digest {digest}, and the recipe says "
                f"{own.digest}; restore them, or take digest out"
            )
        settled[name] = own.model_copy(update={"path": path, "dtype": resolved.dtype, "digest": digest})
    return settled


def weights_digest(folder: Path) -> str:
    """XXH3-128 of the digests of a checkpoint's safetensors files and their names."""
    files = sorted(folder.glob("*.safetensors"))
    text = "\n".join(f"{path.name} {digest_of_file(path)}" for path in files)
    return xxhash.xxh3_128_hexdigest(text.encode())


def _settings(own: CompanionConfig, config: Any) -> Any:
    """The policy's settings with what is the companion's own."""
    if not isinstance(config, TrainedConfig):
        raise ConfigError(f"companions: policy.type '{config.type}' has none")
    device = config.device if own.device is None else own.device
    return config.as_frozen().model_copy(update={"path": own.path, "dtype": own.dtype, "device": device})


def _check_alike(name: str, mine: Mapping[str, Any], its: Mapping[str, Any]) -> None:
    for what, value in mine.items():
        if its[what] == value:
            continue
        if isinstance(value, Mapping):
            token = next(token for token in {**value, **its[what]} if value.get(token) != its[what].get(token))
            ids = [f"no. {known[token]}" if token in known else "none" for known in (value, its[what])]
            raise ConfigError(
                f"companions.{name}: it has another tokenizer than the policy: {token!r} is {ids[0]} there and "
                f"{ids[1]} here; its log-probs would be of other tokens"
            )
        raise ConfigError(
            f"companions.{name}: {what} is {shortened(str(its[what]))}, and the policy's is {shortened(str(value))}; "
            "it would read the policy's prompts otherwise than its own"
        )
