"""Arms that change what is said, and leave pictures and videos: options in another order, and words that mislead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample

CAPTION = "\nA caption of it says: {}."
REASONING = "\nSomebody thought about it before: the evidence is plain once one looks closely, and so the answer is {}."
# Keys of a target that hold what is right in plain words.
RIGHT = ("answer", "text")


def options_permuted(rows: Sequence[Sample], row: int) -> Sample:
    """Every option one letter on, the last one first; the right letter goes with its text.

    Raises:
        BadSample: the question does not hold its options as letter and text.
    """
    sample = rows[row]
    options = sample.target.get("options")
    if not isinstance(options, Mapping) or len(options) < 2:
        return sample
    letters = list(options)
    moved = dict(zip(letters, [letters[-1], *letters[:-1]], strict=True))
    onward = {old: new for new, old in moved.items()}
    texts = {letter: str(options[moved[letter]]) for letter in letters}
    # A letter, what sets it off from its text, and the text.
    lines = "|".join(
        rf"{re.escape(a)}(?P<s{i}>\W{{1,3}}){re.escape(str(b))}" for i, (a, b) in enumerate(options.items())
    )
    pattern = re.compile(rf"(?<!\w)(?:{lines})(?!\w)")
    seen: list[str] = []

    def swap(match: re.Match[str]) -> str:
        place = next(i for i in range(len(letters)) if match[f"s{i}"] is not None)
        seen.append(letters[place])
        return letters[place] + match[f"s{place}"] + texts[letters[place]]

    changed = _with_text(sample, lambda text: pattern.sub(swap, text))
    if seen != letters:
        raise BadSample(sample.where, "its question does not hold each option once, as a letter and its text")
    answer = sample.target.get("answer")
    right: Any = [onward[letter] for letter in answer] if isinstance(answer, list) else onward.get(str(answer), answer)
    return replace(changed, target={**sample.target, "options": texts, "answer": right})


def misleading_caption(rows: Sequence[Sample], row: int) -> Sample:
    """The question with a caption of the picture or video that names a wrong answer."""
    return _told(rows, row, CAPTION)


def wrong_reasoning(rows: Sequence[Sample], row: int) -> Sample:
    """The question with somebody's reasoning that ends in a wrong answer."""
    return _told(rows, row, REASONING)


def _told(rows: Sequence[Sample], row: int, words: str) -> Sample:
    wrong = wrong_answer(rows, row)
    if wrong is None:
        return rows[row]
    return _with_text(rows[row], lambda text: text.rstrip() + words.format(wrong), last=True)


def wrong_answer(rows: Sequence[Sample], row: int) -> str | None:
    """The option after the right one, or what is right in the next row where that is another; None: there is none."""
    target = rows[row].target
    options, right = target.get("options"), _right(target)
    if isinstance(options, Mapping) and right in options:
        letters = list(options)
        wrong = letters[(letters.index(right) + 1) % len(letters)]
        return None if wrong == right else f"{wrong}, {options[wrong]}"
    for step in range(1, len(rows) if right is not None else 0):
        other = _right(rows[(row + step) % len(rows)].target)
        if other is not None and other.lower() != str(right).lower():
            return other
    return None


def _right(target: Mapping[str, Any]) -> str | None:
    for key in RIGHT:
        value = target.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    return None


def _with_text(sample: Sample, change: Callable[[str], str], last: bool = False) -> Sample:
    """The sample with the texts of its last user turn changed; with `last` the last text of it alone."""
    messages = list(sample.messages)
    place = max(i for i, message in enumerate(messages) if message["role"] == "user")
    parts = list(messages[place]["content"])
    texts = [i for i, part in enumerate(parts) if part["type"] == "text"]
    for i in texts[-1:] if last else texts:
        parts[i] = {**parts[i], "text": change(parts[i]["text"])}
    messages[place] = {**messages[place], "content": parts}
    return replace(sample, messages=tuple(messages))
