"""What a model's folder holds once it is saved: weights in the model's dtype, and what its source says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmrl.policies.compat import quiet_transformers
from mmrl.policies.tensor_file import Weight, write_tensors

# Published checkpoints are cut into files of this size.
SHARD_SIZE = "5GB"
INDEX = "model.safetensors.index.json"
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


def write_model(model: Any, weights: Mapping[str, Weight], dtype: str, folder: Path) -> None:
    """Writes weights, cut into files of `SHARD_SIZE`, and config.json, with float32 weights in `dtype`.

    One weight is computed and cast at a time: master weights are float32, and adapters are merged as they are written.

    Args:
        weights: by their names in the model.
        dtype: `policy.dtype`.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    write_config(model, dtype, folder)
    target = getattr(torch, dtype)
    published = {
        name: replace(weight, dtype=target) if weight.dtype == torch.float32 else weight
        for name, weight in _published(model, weights).items()
    }
    sizes = {name: torch.empty(w.source.shape, dtype=w.dtype, device="meta") for name, w in published.items()}
    split = split_torch_state_dict_into_shards(
        sizes, filename_pattern="model{suffix}.safetensors", max_shard_size=SHARD_SIZE
    )
    for file, names in split.filename_to_tensors.items():
        write_tensors(folder / file, {name: published[name] for name in names}, {"format": "pt"})
    if split.is_sharded:
        count = sum(weight.source.numel() for weight in published.values())
        index = {"metadata": {"total_parameters": count, **split.metadata}, "weight_map": split.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def write_config(model: Any, dtype: str, folder: Path) -> None:
    """Writes config.json, which says `dtype`, and generation_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype, model.config.architectures = str(model.dtype).removeprefix("torch."), [type(model).__name__]
    # transformers writes what differs from its defaults, and warns of defaults that are no model.
    with quiet_transformers():
        model.config.save_pretrained(folder)
        if model.can_generate():
            model.generation_config.save_pretrained(folder)
    if dtype != "float32":
        path = folder / "config.json"
        path.write_text(json.dumps(_said(json.loads(path.read_text()), dtype), indent=2) + "\n")


def _published(model: Any, weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """The weights by the names of published checkpoints; of tied ones one."""
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    unsaved = set(model._keys_to_ignore_on_save or ())
    sources = {name: weight.source for name, weight in weights.items() if name not in unsaved}
    sources = remove_tied_weights_from_state_dict(sources, model)
    by_source = {id(weight.source): weight for weight in weights.values()}
    published = revert_weight_conversion(model, sources)
    if any(id(tensor) not in by_source for tensor in published.values()):
        # Some are put together from several (experts), for which what is merged has to be there.
        sources = {name: weights[name].value() if weights[name].read else t for name, t in sources.items()}
        published = revert_weight_conversion(model, sources)
    return {name: by_source.get(id(tensor)) or Weight(tensor, tensor.dtype) for name, tensor in published.items()}


def _said(config: Any, dtype: str) -> Any:
    """config.json with the dtype of the weights that were written."""
    if not isinstance(config, dict):
        return config
    return {key: dtype if key == "dtype" and value else _said(value, dtype) for key, value in config.items()}
