"""Where the answer stands in a completion."""

from __future__ import annotations

import re

EXTRACT_MODES = ("auto", "answer", "boxed", "raw")
MAX_COMPLETION = 1_000_000  # characters
MAX_ANSWER = 20_000  # characters

THINK_TAG = re.compile(r"</?think>", re.IGNORECASE | re.ASCII)
_ANSWER = re.compile(r"</?answer>", re.IGNORECASE | re.ASCII)


def extract_answer(completion: str, mode: str) -> tuple[str | None, str]:
    """Find the answer in a completion.

    Args:
        completion: the model's text.
        mode: one of `EXTRACT_MODES`. In all but "raw", text up to the last `</think>` is dropped, and a `<think>`
            that is still open means that there is no answer.

    Returns:
        (answer, "ok") with surrounding blanks removed, or (None, reason): "no_answer" or "too_long".
    """
    if len(completion) > MAX_COMPLETION:
        return None, "too_long"
    text = completion if mode == "raw" else _after_thinking(completion)
    if text is not None and mode == "boxed":
        text = last_boxed(text)
    elif text is not None and mode != "raw" and (mode == "answer" or _ANSWER.search(text)):
        text = _last_tagged(text)
    text = text.strip() if text is not None else ""
    if not text:
        return None, "no_answer"
    return (text, "ok") if len(text) <= MAX_ANSWER else (None, "too_long")


def wrap_answer(text: str, mode: str) -> str:
    """Write an answer in the form that `extract_answer` reads under `mode`."""
    return {"answer": f"<answer>{text}</answer>", "boxed": f"\\boxed{{{text}}}"}.get(mode, text)


def _after_thinking(text: str) -> str | None:
    tags = list(THINK_TAG.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if tags[-1].group().startswith("</") else None


def _last_tagged(text: str) -> str | None:
    found, start = None, None
    for tag in _ANSWER.finditer(text):
        if not tag.group().startswith("</"):
            start = tag.end()
        elif start is not None:
            found, start = text[start : tag.start()], None
    return found


def last_boxed(text: str) -> str | None:
    """The inside of the last `\\boxed{…}`, whose braces may nest; None where there is none, or it stays open."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth, position = 1, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[start:position]
        position += 1
    return None
