"""Where the answer stands in a completion."""

from __future__ import annotations

import re

EXTRACT_MODES = ("auto", "answer", "boxed", "raw")
MAX_COMPLETION = 1_000_000  # characters
MAX_ANSWER = 20_000  # characters

# Thinking: `<think>`, and other families' names for it. What each closes with has a slash.
_THINK = re.compile(r"</?(?:think(?:ing)?|thoughts?|reasoning)>", re.IGNORECASE | re.ASCII)
_OTHER_THINK = re.compile(r"</?(?:think(?:ing)?|thoughts?|reasoning)>|\[/?THINK\]|◁/?think▷", re.IGNORECASE | re.ASCII)
# Ends of turns that a decoder left in.
_LEFT_OVERS = ("|>", "</s>", "<eos>", "<end_of_turn>")
_LEFT_OVER = re.compile(
    r"(?:\s{0,5}(?:<\|(?:im_end|endoftext|eot_id|end|end_of_text|eom_id)\|>|</s>|<eos>|<end_of_turn>)){1,8}\s{0,5}\Z"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_ANSWER = re.compile(r"</?answer>", re.IGNORECASE | re.ASCII)


def extract_answer(completion: str, mode: str) -> tuple[str | None, str]:
    """Find the answer in a completion.

    Args:
        completion: the model's text.
        mode: one of `EXTRACT_MODES`. In all but "raw", text up to the last `</think>` (or `</thought>`, `[/THINK]`
            and the like) is dropped, a `<think>` that is still open means that there is no answer, and tokens such as
            `<|im_end|>` at the end are dropped.

    Returns:
        (answer, "ok") with surrounding blanks removed, or (None, reason): "no_answer" or "too_long".
    """
    if len(completion) > MAX_COMPLETION:
        return None, "too_long"
    text = completion if mode == "raw" else _after_thinking(_without_left_overs(completion))
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
    tags = think_tags(text)
    if not tags:
        return text
    return text[tags[-1].end() :] if closes(tags[-1]) else None


def _without_left_overs(text: str) -> str:
    if not text[-80:].rstrip().endswith(_LEFT_OVERS):
        return text
    match = _LEFT_OVER.search(text, max(0, len(text) - 200))
    return text[: match.start()] if match else text


def think_tags(text: str) -> list[re.Match]:
    """The tags of thinking in a text, in their order."""
    pattern = _OTHER_THINK if "◁" in text or "[" in text else _THINK
    return list(pattern.finditer(text))


def closes(tag: re.Match) -> bool:
    """Whether one of `think_tags` ends a thought."""
    return "/" in tag.group()


def _last_tagged(text: str) -> str | None:
    inside, start = None, None
    for tag in _ANSWER.finditer(text):
        if not tag.group().startswith("</"):
            start = tag.end()
        elif start is not None:
            inside, start = text[start : tag.start()], None
    return inside


def all_boxed(text: str) -> list[str]:
    """The insides of all `\\boxed{…}` and `\\fbox{…}` in their order, without those inside another or left open."""
    insides, place = [], 0
    while (match := _BOX.search(text, place)) is not None:
        end = _closing_brace(text, match.end())
        if end is None:
            break
        insides.append(text[match.end() : end])
        place = end
    return insides


def last_boxed(text: str) -> str | None:
    """The inside of the last `\\boxed{…}`, whose braces may nest; None where there is none, or it stays open."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    end = _closing_brace(text, start)
    return None if end is None else text[start:end]


def _closing_brace(text: str, position: int) -> int | None:
    """Where the brace that is open at `position` closes."""
    depth = 1
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return position
        position += 1
    return None
