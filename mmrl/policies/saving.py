"""What a model's folder holds once it is saved: weights in the model's dtype, and what its source says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrl.policies.compat import quiet_transformers

ABOUT = ("README.md", "LICENSE", "LICENSE.txt", "NOTICE")
# Of processors and tokenizers, in the layouts of transformers 4 and 5. Training changes none of them.
PROCESSING = (
    "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "chat_template.json",
    "chat_template.jinja", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip


class Source:
    """The files beside a checkpoint's weights, as they were when it was loaded.

    They are kept in memory: what a run resumes from may be gone before it saves.

    Args:
        folder: the checkpoint; None where it is not known, and nothing is kept.
        processor: as it was loaded; None for a checkpoint whose processor files are of another layout than is saved.
    """

    def __init__(self, folder: Path | None, processor: Any = None):
        self._about = _read(folder, ABOUT)
        self._processing = _read(folder, PROCESSING) if processor is not None else {}
        self._loaded = None if processor is None else _settings(processor)

    def write(self, processor: Any, folder: Path) -> None:
        """Writes them, and the processor anew where it is not as it was loaded (a recipe's own budget of pixels)."""
        for name, content in self._about.items():
            (folder / name).write_bytes(content)
        if self._processing and _settings(processor) == self._loaded:
            for name, content in self._processing.items():
                (folder / name).write_bytes(content)
            return
        with quiet_transformers():
            processor.save_pretrained(folder)


def _read(folder: Path | None, names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if folder is not None and (folder / name).is_file()}


def _settings(processor: Any) -> tuple[Any, ...]:
    """What a recipe may change of a processor."""
    tokenizer, images = processor.tokenizer, processor.image_processor
    templates = (getattr(processor, "chat_template", None), getattr(tokenizer, "chat_template", None))
    return (len(tokenizer), json.dumps(images.to_dict(), sort_keys=True, default=str), *templates)


def write_model(model: Any, state: Mapping[str, Tensor], dtype: str, folder: Path, **options: Any) -> None:
    """Writes weights and config.json with every weight in `dtype`, the model's: master weights are float32.

    Args:
        state: the weights, named as in the model.
        dtype: `policy.dtype`.
        options: further arguments of `save_pretrained`.
    """
    # transformers writes what differs from its defaults, and warns of defaults that are no model.
    with quiet_transformers():
        model.save_pretrained(folder, state_dict=_cast(state, getattr(torch, dtype)), **options)
    if dtype != "float32":
        path = folder / "config.json"
        path.write_text(json.dumps(_said(json.loads(path.read_text()), dtype), indent=2) + "\n")


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights with float32 ones in `dtype`; those that share memory share it still, and are written once."""
    if dtype == torch.float32:
        return dict(state)
    casted: dict[tuple[int, torch.Size], Tensor] = {}
    result = {}
    for name, value in state.items():
        if value.dtype == torch.float32:
            key = (value.data_ptr(), value.shape)
            value = casted.setdefault(key, value.detach().to(dtype))
        result[name] = value
    return result


def _said(config: Any, dtype: str) -> Any:
    """config.json with the dtype of the weights that were written."""
    if not isinstance(config, dict):
        return config
    return {key: dtype if key == "dtype" and value else _said(value, dtype) for key, value in config.items()}
