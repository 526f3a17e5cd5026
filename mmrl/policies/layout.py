"""How prompts and answers lie in one forward pass.

`group`: each prompt once, followed by all answers to it; an answer sees the prompt and itself, never another answer.
`row`: each answer in a row of its own behind a copy of its prompt. Both give the same log-probs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROMPT, PADDING = 0, -1


@dataclass(frozen=True, slots=True)
class Layout:
    """Inputs of one forward pass over B sequences of T tokens.

    Attributes:
        input_ids_BT: int64.
        position_ids_3BT: int64 M-RoPE positions; an answer starts where its prompt's positions end.
        segments_BT: int64, 0 on prompts, 1.. on answers, -1 on padding.
        sequence_prompts: the prompt at the head of each of the B sequences.
        gather_N: int64, flat index into B*T of the hidden state that predicts each unit, row by row.
    """

    input_ids_BT: Tensor
    position_ids_3BT: Tensor
    segments_BT: Tensor
    sequence_prompts: tuple[int, ...]
    gather_N: Tensor

    def attention_mask(self) -> Tensor:
        """bool [B, 1, T, T], true where a query may look."""
        segments = self.segments_BT
        length = segments.shape[1]
        # [B, query, key]: the same segment, or a key of the prompt that every answer shares.
        same = segments[:, :, None] == segments[:, None, :]
        shared = (segments == PROMPT)[:, None, :] & (segments != PADDING)[:, :, None]
        causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
        # Padding sees itself: a query with nothing to look at would give NaN. The 1 stands for all heads.
        return ((same | shared) & causal)[:, None]


def sequences(prompt_index: Sequence[int], packing: str) -> list[tuple[int, list[int]]]:
    """(prompt, rows) of each sequence: one per prompt for `group`, one per row for `row`."""
    if packing == "row":
        return [(prompt, [row]) for row, prompt in enumerate(prompt_index)]
    rows: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompt_index):
        rows.setdefault(prompt, []).append(row)
    return list(rows.items())


def build(
    prompt_ids: Sequence[Tensor],
    prompt_positions: Sequence[Tensor],
    prompt_index: Sequence[int],
    tokens_RU: Tensor,
    lengths: Sequence[int],
    packing: str,
) -> Layout:
    """Lays out R rows of answers behind their prompts.

    Args:
        prompt_ids: int64 [P] each.
        prompt_positions: int64 [3, P] each.
        prompt_index: the prompt of each row.
        tokens_RU: int64 [R, U], right-padded.
        lengths: units of each row, at least 1.
        packing: `group` or `row`.

    The last unit of an answer is predicted but never an input, so an answer of L units adds L - 1 tokens.
    """
    plan = sequences(prompt_index, packing)
    totals = [len(prompt_ids[p]) + sum(lengths[r] - 1 for r in rows) for p, rows in plan]
    width = max(totals)
    input_ids = torch.zeros(len(plan), width, dtype=torch.long)
    positions = torch.zeros(3, len(plan), width, dtype=torch.long)
    segments = torch.full((len(plan), width), PADDING, dtype=torch.long)
    gather: list[Tensor] = [torch.empty(0)] * len(lengths)
    for b, (prompt, rows) in enumerate(plan):
        end = len(prompt_ids[prompt])
        input_ids[b, :end] = prompt_ids[prompt]
        positions[:, b, :end] = prompt_positions[prompt]
        segments[b, :end] = PROMPT
        start_position = int(prompt_positions[prompt].max()) + 1
        # The state at place t predicts the token at t + 1: an answer's first unit is predicted by the prompt's end.
        last_of_prompt = b * width + end - 1
        for segment, row in enumerate(rows, start=1):
            extra = lengths[row] - 1
            input_ids[b, end : end + extra] = tokens_RU[row, :extra]
            # All three axes count alike in text, and each answer of a group starts anew behind its prompt.
            positions[:, b, end : end + extra] = start_position + torch.arange(extra)
            segments[b, end : end + extra] = segment
            body = b * width + end + torch.arange(extra)
            gather[row] = torch.cat([torch.tensor([last_of_prompt]), body])
            end += extra
    return Layout(input_ids, positions, segments, tuple(p for p, _ in plan), torch.cat(gather))
