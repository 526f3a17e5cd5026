"""Where the answer stands in a completion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

EXTRACT_MODES = ("auto", "answer", "boxed", "raw")
MAX_COMPLETION = 1_000_000  # characters
MAX_ANSWER = 20_000  # characters
_WINDOW = 2_000  # characters that are searched first for the last tag; then ever more
_LONGEST_TAG = 16  # characters

# Thinking: `<think>`, and other families' names for it. What each closes with has a slash.
_THINK = re.compile(r"</?(?:think(?:ing)?|thoughts?|reasoning)>", re.IGNORECASE | re.ASCII)
_OTHER_THINK = re.compile(r"</?(?:think(?:ing)?|thoughts?|reasoning)>|\[/?THINK\]|◁/?think▷", re.IGNORECASE | re.ASCII)
# Ends of turns that a decoder left in.
_LEFT_OVERS = ("|>", "</s>", "<eos>", "<end_of_turn>")
_LEFT_OVER = re.compile(
    r"(?:\s{0,5}(?:<\|(?:im_end|endoftext|eot_id|end|end_of_text|eom_id)\|>|</s>|<eos>|<end_of_turn>)){1,8}\s{0,5}\Z"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
ANSWER = re.compile(r"</?answer>", re.IGNORECASE | re.ASCII)
OPENED, _CLOSED = (re.compile(rf"<{slash}answer>", re.IGNORECASE | re.ASCII) for slash in ("", "/"))


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
    elif text is not None and mode != "raw":
        tagged, inside = _last_tagged(text)
        text = inside if tagged or mode == "answer" else text
    text = text.strip() if text is not None else ""
    if not text:
        return None, "no_answer"
    return (text, "ok") if len(text) <= MAX_ANSWER else (None, "too_long")


def wrap_answer(text: str, mode: str) -> str:
    """Write an answer in the form that `extract_answer` reads under `mode`."""
    return {"answer": f"<answer>{text}</answer>", "boxed": f"\\boxed{{{text}}}"}.get(mode, text)


def _after_thinking(text: str) -> str | None:
    # The common end is found without a pattern, and only what follows it can hold a later tag.
    place = text.rfind("</think>") + len("</think>")
    rest = text[place:] if place >= len("</think>") else text
    if "<" not in rest and "[" not in rest and "◁" not in rest:
        return rest
    for tag in last_think_tags(rest, 1):
        return rest[tag.end() :] if closes(tag) else None
    return rest


def _without_left_overs(text: str) -> str:
    if not text[-80:].rstrip().endswith(_LEFT_OVERS):
        return text
    match = _LEFT_OVER.search(text, max(0, len(text) - 200))
    return text[: match.start()] if match else text


def last_think_tags(text: str, count: int) -> list[re.Match]:
    """At most so many tags of thinking, the last of the text first."""
    pattern = _OTHER_THINK if "◁" in text or "[" in text else _THINK
    return list(islice(_from_the_end(pattern, text), count))


def closes(tag: re.Match) -> bool:
    """Whether one of `last_think_tags` ends a thought."""
    return "/" in tag.group()


def _from_the_end(pattern: re.Pattern, text: str) -> Iterator[re.Match]:
    """The matches of a pattern of tags, none longer than `_LONGEST_TAG`, the last first."""
    end, size = len(text), _WINDOW
    while end > 0:
        start = max(0, end - size)
        matches = list(pattern.finditer(text, start, end + _LONGEST_TAG))
        yield from (match for match in reversed(matches) if match.start() < end)
        end, size = start, 2 * size


def _last_tagged(text: str) -> tuple[bool, str | None]:
    """Whether a text has a tag of an answer, and what stands in the last answer that is closed, None without one."""
    if "<" not in text:
        return False, None
    text = text.strip()
    if text.startswith("<answer>") and text.endswith("</answer>") and text.count("<") == 2:
        return True, text[len("<answer>") : -len("</answer>")]
    opened, closed = OPENED.search(text), _CLOSED.search(text)
    if opened is None or closed is None:
        return opened is not closed, None
    later = None
    for tag in _from_the_end(ANSWER, text):
        if not closes(tag) and later is not None and closes(later):
            return True, text[tag.end() : later.start()]
        later = tag
    return True, None


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
