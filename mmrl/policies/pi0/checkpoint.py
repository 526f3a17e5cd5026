"""Reading and writing π0 and π0.5 checkpoint folders: transformers' layout and, for reading, lerobot's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import CheckpointError, ConfigError, first_line
from mmrl.policies.compat import ensure_torchvision
from mmrl.policies.flow.normaliser import Kind
from mmrl.policies.loading import load_companion, load_pretrained, local_folder, read_own_config
from mmrl.policies.pi0 import lerobot, lerobot_config
from mmrl.policies.saving import Source
from mmrl.policies.statistics import read_statistics
from mmrl.recipe.policies.flow import FlowParams, Pi0Settings

PROCESSOR = "processor_config.json"
# What transformers' processor calls the statistics, and what they are called here.
PROCESSOR_STATISTICS = {"action": ("actions_mean", "actions_std"), "proprio": ("state_mean", "state_std")}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint: model, transformers' PI0Processor, statistics by dataset and how they normalise, and its folder.

    `delta` are the action dimensions that it predicts as differences from the state; None: it does not say.
    """

    model: Any
    processor: Any
    statistics: dict[str, Any]
    kind: Kind
    folder: Path
    delta: list[int] | None
    source: Source


def model_class(family: str) -> Any:
    """The network of a family."""
    ensure_torchvision()
    if family == "pi05":
        from mmrl.policies.pi0.pi05_model import PI05ForConditionalGeneration

        return PI05ForConditionalGeneration
    from transformers import PI0ForConditionalGeneration

    return PI0ForConditionalGeneration


def load(config: Pi0Settings, params: FlowParams, family: str, default_kind: Kind) -> Loaded:
    """Model, processor and statistics of `config.path`.

    Raises:
        CheckpointError: nothing there, another family, or weights that are damaged, missing, unknown or misshapen.
        ConfigError: lerobot's checkpoint normalises in a way that is not known here; no tokenizer where one is named.
    """
    ensure_torchvision()
    folder, cls = local_folder(config.path, config.type), model_class(family)
    sizes = read_own_config(str(folder), config.type, config.path)
    if sizes.time_sampling_beta_beta != 1.0:
        raise CheckpointError(
            f"policy.path: config.json of '{config.path}' has time_sampling_beta_beta {sizes.time_sampling_beta_beta}; "
            "only 1.0 is known"
        )
    if lerobot_config.is_lerobot(folder):
        processing = lerobot.read_processing(folder)
        kind, statistics, delta = processing.kind, processing.statistics, processing.delta
    else:
        kind, delta = getattr(sizes, "normalization", default_kind), getattr(sizes, "delta_actions", None)
        statistics = read_statistics(_processor_statistics(folder), folder)
    model = _load_weights(cls, sizes, folder, config)
    processor = _load_processor(folder, model.config, params, config.path)
    # lerobot's files describe its own processors, and a tokenizer of the recipe's is not the checkpoint's.
    own = (folder / PROCESSOR).is_file() and params.tokenizer is None
    return Loaded(model, processor, statistics, kind, folder, delta, Source(folder, processor if own else None))


def _load_weights(cls: Any, sizes: Any, folder: Path, config: Pi0Settings) -> Any:
    if lerobot_config.is_lerobot(folder):
        return lerobot.load_model(cls, sizes, folder, config)
    return load_pretrained(
        cls,
        folder,
        config,
        # The expert gets embeddings, never tokens: its table is read by nothing, and files often lack it.
        lambda name: name == "model.dit.embed_tokens.weight",
        base=lambda below: _load_weights(cls, sizes, below, config),
    )


def settle_delta(asked: Sequence[int] | None, saved: Sequence[int] | None, shown: str) -> list[int]:
    """The action dimensions that are differences from the state. Raises ConfigError where recipe and checkpoint differ.

    Args:
        asked: `policy.params.delta_actions`.
        saved: what the checkpoint says; None: nothing.
        shown: what the recipe calls it.
    """
    if asked is not None and saved is not None and sorted(asked) != sorted(saved):
        raise ConfigError(
            f"policy.params.delta_actions: {list(asked)}, and '{shown}' was trained with {list(saved)}; leave it out"
        )
    return sorted(asked if asked is not None else saved or [])


def _load_processor(folder: Path, sizes: Any, params: FlowParams, shown: str) -> Any:
    """The folder's processor, or one made of lerobot's files; with the tokenizer that settings name, if they do."""
    from transformers import AutoProcessor, AutoTokenizer, PI0Processor
    from transformers.models.pi0.image_processing_pi0 import PI0ImageProcessor

    whole = (folder / PROCESSOR).is_file()
    if whole and params.tokenizer is None:
        return load_companion(AutoProcessor, folder, shown)
    has_tokenizer = (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()
    source = params.tokenizer or (str(folder) if has_tokenizer else lerobot.tokenizer_name(folder))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    # A file of anybody's, see `load_errors`.
    except Exception as error:
        if params.tokenizer is not None:
            raise ConfigError(f"policy.params.tokenizer: '{source}' cannot be had ({first_line(error)})") from None
        raise CheckpointError(
            f"policy.path: '{shown}' has no tokenizer, and '{source}' cannot be had ({first_line(error)}); set "
            "policy.params.tokenizer to a folder with PaliGemma's"
        ) from None
    if whole:
        return PI0Processor(load_companion(AutoProcessor, folder, shown).image_processor, tokenizer)
    vision = sizes.vlm_config.vision_config
    side = vision.image_size
    images = PI0ImageProcessor(
        size={"max_height": side, "max_width": side},
        pad_size={"height": side, "width": side},
        image_seq_length=(side // vision.patch_size) ** 2,
    )
    return PI0Processor(images, tokenizer)


def _processor_statistics(folder: Path) -> dict[str, Any] | None:
    """Statistics that processor_config.json spells out.

    They are read from the file, for the processor itself falls back on LIBERO's without a word.
    """
    path = folder / PROCESSOR
    if not path.is_file():
        return None
    raw = json.loads(path.read_text())
    entry = {
        part: {"mean": raw[mean], "std": raw[std]}
        for part, (mean, std) in PROCESSOR_STATISTICS.items()
        if mean in raw and std in raw
    }
    return {"checkpoint": entry} if entry else None
