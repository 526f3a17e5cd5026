"""What a frozen vision tower gives for a prompt: computed once, for sampling, scoring and every update of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor


class Features:
    """Outputs of a tower that no update changes, by prompt, for as long as the prompt lives.

    Each prompt passes the tower alone, so that its features are the same to the bit whatever stands beside it. Those
    beyond the limit are computed anew each time; what is held already stays, since a step reads all of its prompts
    round after round.

    Args:
        limit: bytes of all outputs together.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self._of: WeakKeyDictionary[Any, dict[str, tuple[Any, int]]] = WeakKeyDictionary()

    def of(self, prompt: Any, kind: str, compute: Callable[[], Any]) -> Any:
        """The prompt's output for one kind of media: a tensor, or a sequence of more of them at any depth."""
        held = self._of.get(prompt, {})
        if kind in held:
            return held[kind][0]
        with torch.no_grad():
            output = compute()
        size = _bytes(output)
        if self.bytes + size <= self.limit:
            self._of.setdefault(prompt, {})[kind] = (output, size)
        return output

    @property
    def bytes(self) -> int:
        """What is held."""
        return sum(size for held in self._of.values() for _, size in held.values())


def _bytes(output: Any) -> int:
    return output.nbytes if isinstance(output, Tensor) else sum(map(_bytes, output))


@contextmanager
def given(model: Any, prompts: Sequence[Any], features: Features, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Inside, a Qwen-VL takes its prompts' features from `features`.

    Args:
        model: transformers' model with `get_image_features` and `get_video_features`, below its output layer.
        prompts: as they stand in the rows, `QwenPrompt`s.

    Yields:
        what the model is called with in place of patches: grids, and no patch, since none is read.
    """
    arguments: dict[str, Tensor] = {}
    put = []
    for kind, suffix in (("image", ""), ("video", "_videos")):
        values, grid = f"pixel_values{suffix}", f"{kind}_grid_thw"
        seen = [prompt for prompt in prompts if getattr(prompt, values) is not None]
        if not seen:
            continue
        getter = f"get_{kind}_features"
        compute = getattr(model, getter)
        once = {id(prompt): prompt for prompt in seen}
        outputs = {
            key: features.of(prompt, kind, lambda p=prompt, v=values, g=grid, c=compute: _computed(p, v, g, c, device))
            for key, prompt in once.items()
        }
        arguments |= {
            values: torch.empty(0, device=device),
            grid: torch.cat([getattr(prompt, grid) for prompt in seen]).to(device),
        }
        put.append((getter, _Joined([outputs[id(prompt)] for prompt in seen])))
    try:
        for getter, joined in put:
            setattr(model, getter, joined)
        yield arguments
    finally:
        for getter, _ in put:
            if getter in vars(model):
                delattr(model, getter)


def _computed(prompt: Any, values: str, grid: str, compute: Callable[..., Any], device: torch.device) -> Any:
    """(features of each picture or video, those of each deeper layer that has some) of one prompt."""
    output = compute(getattr(prompt, values).to(device), getattr(prompt, grid).to(device), return_dict=True)
    return tuple(output.pooler_output), [tuple(layer) for layer in getattr(output, "deepstack_features", None) or ()]


class _Joined:
    """Stands for a model's `get_…_features`: the outputs of all prompts, one after the other."""

    def __init__(self, outputs: Sequence[Any]):
        self.pooler_output = sum((pooled for pooled, _ in outputs), ())
        deeper = zip(*(layers for _, layers in outputs))
        self.deepstack_features = [sum(of_layer, ()) for of_layer in deeper]

    def __call__(self, *arguments: Any, **named: Any) -> _Joined:
        return self
