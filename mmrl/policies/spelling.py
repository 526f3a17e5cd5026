"""Tokens as text that people read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

# What a decoder writes for bytes that are no whole character.
BROKEN = "\N{REPLACEMENT CHARACTER}"
# The longest character in UTF-8.
BYTES = 4


class Speller:
    """Writes out the tokens of one tokenizer, whose tokens are bytes; see `mmrl.contracts.policy.Spelling`.

    Args:
        placeholders: ids of tokens that stand for pictures or videos.
    """

    def __init__(self, tokenizer: Any, placeholders: Collection[int]):
        self.tokenizer, self.placeholders = tokenizer, frozenset(placeholders)
        # A decoder call per token would take seconds of a step with long answers.
        self._known: dict[int, str] = {}

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The text of each token; that of a character in several tokens stands at the last of them."""
        pieces: list[str] = []
        waiting: list[int] = []
        for place, token in enumerate(ids, start=1):
            waiting.append(token)
            text = self._one(token) if len(waiting) == 1 else self._decoded(waiting)
            if text.endswith(BROKEN) and len(waiting) < BYTES and place < len(ids):
                pieces.append("")
                continue
            pieces.append(text)
            waiting = []
        return pieces

    def prompt(self, ids: Sequence[int]) -> str:
        """The text of a prompt, runs of one placeholder as `<|image_pad|> x 64`."""
        parts = []
        for mark, run in groupby(ids, key=lambda token: token if token in self.placeholders else None):
            tokens = list(run)
            if mark is None:
                parts.append(self._decoded(tokens))
            else:
                parts.append(self._one(mark) + (f" x {len(tokens)}" if len(tokens) > 1 else ""))
        return "".join(parts)

    def _one(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._decoded([token])
        return self._known[token]

    def _decoded(self, ids: Sequence[int]) -> str:
        # Without a clean-up of blanks, which would hide what was seen.
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
