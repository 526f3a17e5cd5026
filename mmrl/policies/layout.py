"""How prompts and answers lie in one forward pass.

`group`: each prompt once, followed by all answers to it; an answer sees the prompt and itself, never another answer.
`row`: each answer in a row of its own behind a copy of its prompt. Both give the same log-probs. Where no two answers
share a prompt, `group` is laid out as `row` too, unless that pads much: rows of one length cost less side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmrl.policies.attention.plan import SegmentPlan, plan_segments

# Padded tokens over real ones up to which rows are laid side by side.
PADDING = 1.1


@dataclass(frozen=True, slots=True)
class Layout:
    """Inputs of one forward pass over B rows of T tokens.

    Attributes:
        input_ids_BT: int64.
        position_ids_3BT: int64 M-RoPE positions; an answer starts where its prompt's positions end, and padding counts
            on.
        prompts: the prompts that the rows hold, in their order.
        gather_N: int64, flat index into B*T of the hidden state that predicts each unit, row by row.
        lengths: tokens of each row, padding left out.
        plan: what sees what in the only row of `group`; None: each row is causal, its padding at its end.
    """

    input_ids_BT: Tensor
    position_ids_3BT: Tensor
    prompts: tuple[int, ...]
    gather_N: Tensor
    lengths: tuple[int, ...]
    plan: SegmentPlan | None


def sequences(prompt_index: Sequence[int], packing: str) -> list[tuple[int, list[int]]]:
    """(prompt, rows) of each sequence: one per prompt for `group`, one per row for `row`."""
    if packing == "row":
        return [(prompt, [row]) for row, prompt in enumerate(prompt_index)]
    rows: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompt_index):
        rows.setdefault(prompt, []).append(row)
    return list(rows.items())


def _settled(totals: Sequence[int], answers: int, packing: str) -> str:
    """The layout of one forward pass.

    Args:
        totals: tokens of each prompt with its answers.
        answers: to all prompts together.
    """
    alone = answers == len(totals) and len(totals) * max(totals) <= PADDING * sum(totals)
    return "row" if alone else packing


def size(prompt_lengths: Sequence[int], units: Sequence[Sequence[int]], packing: str) -> int:
    """Tokens of one forward pass, padding included.

    Args:
        units: of the answers to each prompt.
    """
    totals = [prompt + sum(n - 1 for n in answers) for prompt, answers in zip(prompt_lengths, units)]
    if _settled(totals, sum(map(len, units)), packing) == "group":
        return sum(totals)
    rows = [prompt + n - 1 for prompt, answers in zip(prompt_lengths, units) for n in answers]
    return len(rows) * max(rows)


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
    parts = sequences(prompt_index, packing)
    totals = [len(prompt_ids[p]) + sum(lengths[r] - 1 for r in rows) for p, rows in parts]
    packing = _settled(totals, len(lengths), packing)
    width = sum(totals) if packing == "group" else max(totals)
    # Flat at first: a sequence of `group` begins where the last one ended, one of `row` at a multiple of the width.
    places = 1 if packing == "group" else len(parts)
    input_ids = torch.zeros(places * width, dtype=torch.long)
    positions = torch.zeros(3, places * width, dtype=torch.long)
    gather: list[Tensor] = [torch.empty(0)] * len(lengths)
    end = 0
    for b, (prompt, rows) in enumerate(parts):
        begin = end if packing == "group" else b * width
        end = begin + len(prompt_ids[prompt])
        input_ids[begin:end] = prompt_ids[prompt]
        positions[:, begin:end] = prompt_positions[prompt]
        # The state at place t predicts the token at t + 1: an answer's first unit is predicted by the prompt's end.
        last_of_prompt = end - 1
        following = int(prompt_positions[prompt].max()) + 1
        for row in rows:
            extra = lengths[row] - 1
            input_ids[end : end + extra] = tokens_RU[row, :extra]
            # All three axes count alike in text, and each answer of a group starts anew behind its prompt.
            positions[:, end : end + extra] = following + torch.arange(extra)
            gather[row] = torch.cat([torch.tensor([last_of_prompt]), torch.arange(end, end + extra)])
            end += extra
        if packing == "row":
            padding = begin + width - end
            positions[:, end : end + padding] = following + lengths[rows[0]] - 1 + torch.arange(padding)
    return Layout(
        input_ids.view(places, width),
        positions.view(3, places, width),
        tuple(p for p, _ in parts),
        torch.cat(gather),
        tuple(totals),
        _plan(prompt_ids, parts, lengths) if packing == "group" else None,
    )


def _plan(
    prompt_ids: Sequence[Tensor], parts: Sequence[tuple[int, Sequence[int]]], lengths: Sequence[int]
) -> SegmentPlan:
    """Each prompt, and behind it its answers."""
    sizes: list[int] = []
    parents: list[int | None] = []
    for prompt, rows in parts:
        first = len(sizes)
        sizes += [len(prompt_ids[prompt]), *(lengths[row] - 1 for row in rows)]
        parents += [None, *[first] * len(rows)]
    return plan_segments(sizes, parents)
