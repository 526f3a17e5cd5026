"""Where the code and the rows of a run came from: parts given as `module:name`, and what was passed from Python.

Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from pydantic import Field

from mmrl.contracts.errors import BadSample
from mmrl.recipe.base import Settings

SAMPLED_ROWS = 4


class Code(Settings):
    """A function or class, and for data the rows that it held."""

    module: str
    name: str = Field(description="qualified, within the module")
    source: str | None = Field(None, description="digest of the module's source text; null: it has none")
    rows: int | None = Field(None, description="of data: how many there were")
    sample: str | None = Field(None, description="of data: a digest of a few rows, first and last included")

    def __str__(self) -> str:
        rows = "" if self.rows is None else f" of {self.rows} rows"
        return f"{self.module}:{self.name}{rows}"


def code_of(part: Any) -> Code:
    """A function's or class's own place; that of its class for any other object."""
    while isinstance(part, partial):
        part = part.func
    part = inspect.unwrap(part) if callable(part) else part
    owner = part if hasattr(part, "__qualname__") else type(part)
    return Code(module=str(owner.__module__), name=owner.__qualname__, source=_source_digest(owner))


def data_of(data: Sequence[Any]) -> Code:
    """The class of data passed from Python, with the number of its rows and a digest of a few of them."""
    last = len(data) - 1
    chosen = sorted({round(last * i / (SAMPLED_ROWS - 1)) for i in range(SAMPLED_ROWS)}) if len(data) else []
    digest = hashlib.sha256()
    for row in chosen:
        try:
            _feed(digest, data[row])
        except BadSample as error:
            _feed(digest, str(error))
    return code_of(data).model_copy(update={"rows": len(data), "sample": digest.hexdigest()[:16]})


def _source_digest(owner: Any) -> str | None:
    """A digest of the whole module, whose helpers a function calls; of the object where its module has no file."""
    parts: tuple[Any, ...] = (sys.modules.get(str(owner.__module__)), owner)
    for part in parts:
        try:
            return hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]
        except (OSError, TypeError):
            continue
    return None


def _feed(digest: Any, value: Any) -> None:
    """Adds a value by its content: numbers, text, mappings, sequences, frozen types, pictures, arrays and tensors."""
    digest.update(f"{type(value).__name__}(".encode())
    if value is None or isinstance(value, str | bytes | bool | int | float | PurePath):
        digest.update(str(value).encode())
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"{key}=".encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item)
    elif hasattr(value, "detach"):
        _feed(digest, value.detach().cpu().numpy())
    elif hasattr(value, "tobytes"):
        digest.update(f"{getattr(value, 'shape', getattr(value, 'size', ''))}".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Sequence):
        digest.update(str(len(value)).encode())
    digest.update(b")")
