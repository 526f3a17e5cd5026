"""Prompts as vLLM's own types, and their positions by mmrl's rule. Imports vllm where it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmrl.engines.vllm.prompts import IMAGE, VIDEO, EnginePrompt, Marks
from mmrl.policies.qwen_vl.mrope import mrope_positions

# A field of its own among those of a video; vLLM hands it through to where positions are made.
SECONDS = "patch_seconds"


def vllm_input(prompt: EnginePrompt, marks: Marks) -> Any:
    """The prompt as `LLMEngine.add_request` takes it, with patches that are not processed again.

    `LLM.generate` takes it too, drops the patches without a word, and answers from the ids alone.
    """
    from vllm.inputs.engine import mm_input, tokens_input

    if not prompt.items:
        return tokens_input(prompt.ids)
    from transformers import BatchFeature
    from vllm.model_executor.models.qwen2_vl import _create_qwen2vl_field_factory
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems, PlaceholderRange

    data = dict(prompt.tensors)
    fields = dict(_create_qwen2vl_field_factory(marks.merge)(data))
    if prompt.seconds:
        data[SECONDS] = torch.cat(prompt.seconds)
        sizes = torch.tensor([len(seconds) for seconds in prompt.seconds])
        fields[SECONDS] = MultiModalFieldConfig.flat_from_sizes("video", sizes, keep_on_cpu=True)
    kinds = [kind for kind in (IMAGE, VIDEO) if prompt.of(kind)]
    places = {kind: [PlaceholderRange(i.offset, i.length, i.embedded) for i in prompt.of(kind)] for kind in kinds}
    hashes = {kind: [item.digest for item in prompt.of(kind)] for kind in kinds}
    return mm_input(prompt.ids, MultiModalKwargsItems.from_hf_inputs(BatchFeature(data), fields), hashes, places)


def positions_of(config: Any, marks: Marks) -> Callable[[list[int], Sequence[Any]], tuple[Tensor, int]]:
    """What takes the place of a vLLM model's `get_mrope_input_positions`.

    Its own rule knows one distance between the frames of a video, and floors times in float64 where the published
    models do so in float32. Raises ValueError on pictures or videos that are not there.
    """
    rate = getattr(config.vision_config, "tokens_per_second", None)

    def positions(input_tokens: list[int], mm_features: Sequence[Any]) -> tuple[Tensor, int]:
        ids_P = torch.tensor(input_tokens)
        types_P = (ids_P == marks.image).long() + 2 * (ids_P == marks.video).long()
        items = sorted(mm_features, key=lambda feature: feature.mm_position.offset)
        data = {kind: [item.data for item in items if item.modality == kind] for kind in (IMAGE, VIDEO)}
        images = [item["image_grid_thw"].data.reshape(3) for item in data[IMAGE]]
        videos = [item["video_grid_thw"].data.reshape(3) for item in data[VIDEO]]
        for kind, grids, mark in ((IMAGE, images, 1), (VIDEO, videos, 2)):
            tokens, patches = int((types_P == mark).sum()), sum(int(grid.prod()) for grid in grids)
            if tokens != patches // marks.merge**2:
                raise ValueError(f"a prompt of {tokens} {kind} tokens came with patches of {patches // marks.merge**2}")
        seconds = [item[SECONDS].data.flatten().tolist() for item in data[VIDEO]]
        positions_3P = mrope_positions(
            types_P,
            torch.stack(images) if images else None,
            torch.stack(videos) if videos else None,
            marks.merge,
            [each[0] if len(each) == 1 else tuple(each) for each in seconds],
            rate,
        )
        return positions_3P, int(positions_3P.max()) + 1 - len(input_tokens)

    return positions
