"""Files of safetensors, written tensor by tensor: no more than one of them is computed, cast or copied at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# The format's names of dtypes, and the order in which its own library writes them: the last ones first.
DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
_ORDER = {dtype: place for place, dtype in enumerate(DTYPES)}


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that is computed when it is written.

    Attributes:
        source: has its shape; of two weights whose sources share memory one is written.
        dtype: what it is written in.
        read: computes it; None: it is the source.
    """

    source: Tensor
    dtype: torch.dtype
    read: Callable[[], Tensor] | None = None

    def value(self) -> Tensor:
        """The tensor, detached, in any dtype and on any device."""
        return (self.source if self.read is None else self.read()).detach()


def write_tensors(path: Path, weights: Mapping[str, Weight], metadata: Mapping[str, str] | None = None) -> None:
    """Writes the bytes that `safetensors.torch.save_file` would.

    Raises:
        ValueError: a dtype that is not in `DTYPES`, or a tensor that is not as its weight says.
    """
    unknown = sorted({str(weight.dtype) for weight in weights.values()} - set(map(str, DTYPES)))
    if unknown:
        raise ValueError(f"{path}: {unknown[0]} is not written; known: {', '.join(map(str, DTYPES))}")
    names = sorted(weights, key=lambda name: (-_ORDER[weights[name].dtype], name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        weight = weights[name]
        begin, end = end, end + weight.source.numel() * weight.dtype.itemsize
        shape = list(weight.source.shape)
        header[name] = {"dtype": DTYPES[weight.dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Data begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            value = weights[name].value().to("cpu", weights[name].dtype).contiguous()
            if value.shape != weights[name].source.shape:
                raise ValueError(f"{path}: '{name}' has shape {tuple(value.shape)} and not its source's")
            file.write(value.reshape(-1).view(torch.uint8).numpy().data)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    """Weights of tensors that are there."""
    return {name: Weight(tensor, tensor.dtype) for name, tensor in tensors.items()}
