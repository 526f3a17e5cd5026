"""Weights from the trainer's tensors into a vLLM of the same process: a backend of its weight transfer.

Nothing is written, copied to another process or pickled: vLLM's loaders read the very tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

BACKEND = "mmrl"


@dataclass
class Begin(WeightTransferInitInfo):
    """Nothing has to be agreed upon."""


@dataclass
class Update(WeightTransferUpdateInfo):
    """
    Attributes:
        weights: (name in transformers' model, tensor) of whole modules: vLLM fuses some, and a part of a fused one
            that is left out would be lost without a word.
    """

    weights: Iterable[tuple[str, Tensor]] = ()


class InProcessTransfer(WeightTransferEngine[Begin, Update]):
    """See vLLM's `WeightTransferEngine`."""

    init_info_cls, update_info_cls = Begin, Update

    def init_transfer_engine(self, init_info: Begin) -> None:
        """See `WeightTransferEngine`."""

    def start_weight_update(self) -> None:
        """See `WeightTransferEngine`."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Update) -> None:
        """See `WeightTransferEngine`."""
        self.model.load_weights(update_info.weights)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Without the base's wait for an accelerator, which a CPU lacks."""
        self.receive_weights(self.parse_update_info(update_info))

    def finish_weight_update(self) -> None:
        """See `WeightTransferEngine`."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """See `WeightTransferEngine`."""


def register() -> None:
    """Makes the backend known to vLLM; once per process."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, InProcessTransfer)
