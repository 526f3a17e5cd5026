"""An error of one process as the others raise it."""

from __future__ import annotations

import pickle
from typing import Any

from mmrl.contracts.errors import UserError, first_line


class LostProcess(UserError):
    """Another process has ended without a word, or has not answered in time."""


def packed(error: BaseException) -> bytes:
    """An error for another process: its type, its text and what it knows, as far as these can travel."""
    kind, text = type(error), str(error)
    try:
        data = pickle.dumps((kind, text, vars(error)))
        pickle.loads(data)
    except Exception as untravelled:
        line = f"{kind.__name__}: {text} (without its type: {first_line(untravelled)})"
        return pickle.dumps((RuntimeError, line, {}))
    return data


def unpacked(data: bytes, before: str) -> BaseException:
    """The error that `packed` took, its text with `before` in front."""
    parts: tuple[type[BaseException], str, dict[str, Any]] = pickle.loads(data)
    kind, text, known = parts
    error = kind.__new__(kind, before + text)
    error.__dict__.update(known)
    return error


def is_shared(error: BaseException) -> bool:
    """Whether every process raises this error."""
    return getattr(error, "shared", False)


def share(error: BaseException, speaks: bool) -> BaseException:
    """The error, marked as one that every process raises and one of them prints."""
    error.shared = True  # type: ignore[attr-defined]
    if isinstance(error, UserError):
        error.told = not speaks
    return error
