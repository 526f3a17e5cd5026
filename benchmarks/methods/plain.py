"""A step's rows as padded tensors, through transformers' own forward pass: what the published losses are written on.

Nothing here knows of mmrl's objectives. N rows, U units, V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plain:
    """Rows of a step.

    Attributes:
        logp: [N, U] log-probs of the units under the trained policy, with their gradient; 0 on padding.
        every: [N, U, V] all log-probs, with their gradient; those of tokens that cannot be sampled are -1e9.
        mask: [N, U], 1 on units.
        old, ref, engine: [N, U] log-probs under the policy before the first update, under the reference, and under
            what sampled the rows.
        ref_every: [N, U, V] all log-probs under the reference.
        teacher, teacher_every: the same under a companion.
        reward, accuracy, format: [N].
        group: [N], which prompt.
        demo: bool [N].
        truncated: bool [N].
        value: [N, U + 1] the critic's value at the state before each unit, and old_value before the first update.
    """

    logp: Tensor
    every: Tensor
    mask: Tensor
    old: Tensor
    ref: Tensor
    engine: Tensor
    ref_every: Tensor
    teacher: Tensor
    teacher_every: Tensor
    reward: Tensor
    accuracy: Tensor
    format: Tensor
    group: Tensor
    demo: Tensor
    truncated: Tensor
    value: Tensor
    old_value: Tensor

    def take(self, rows: Sequence[int] | Tensor) -> Plain:
        """Some of the rows."""
        index = torch.as_tensor(rows)
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        return Plain(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def length(self) -> Tensor:
        """[N], units of each row."""
        return self.mask.sum(1)

    @property
    def sequence(self) -> Tensor:
        """[N], the log-prob of each whole answer."""
        return (self.logp * self.mask).sum(1)

    @property
    def entropy(self) -> Tensor:
        """[N, U], nats."""
        return -(self.every.exp() * self.every).sum(-1)

    def by_group(self) -> list[Tensor]:
        """The row numbers of each group."""
        return [(self.group == g).nonzero()[:, 0] for g in self.group.unique()]


@dataclass(frozen=True)
class Step:
    """The rows of a step: answers, demonstrations, these at the temperature of the answers, and rejected answers."""

    rows: Plain
    answers_count: int
    demos_count: int

    @property
    def answers(self) -> Plain:
        """Groups of answers."""
        return self.rows.take(range(self.answers_count))

    @property
    def demos(self) -> Plain:
        """A demonstration of each prompt."""
        return self.rows.take(range(self.answers_count, self.answers_count + self.demos_count))

    @property
    def rejected(self) -> Plain:
        """An answer to each prompt that its demonstration is preferred to."""
        return self.rows.take(range(self.answers_count + 2 * self.demos_count, len(self.rows.reward)))

    @property
    def replaced(self) -> Plain:
        """Groups whose last answer is a demonstration."""
        return self._beside(drop_last=True)

    @property
    def appended(self) -> Plain:
        """Groups with a demonstration as one answer more."""
        return self._beside(drop_last=False)

    def _beside(self, drop_last: bool) -> Plain:
        order: list[int] = []
        for g, rows in enumerate(self.answers.by_group()):
            stay = rows.tolist()[:-1] if drop_last else rows.tolist()
            order += [*stay, self.answers_count + self.demos_count + g]
        return self.rows.take(order)


def plain_inputs(policy: Any, samples: Sequence[Any], tokens: Sequence[Tensor]) -> dict[str, Tensor]:
    """What transformers' model reads: each row's prompt and answer, padded on the right."""
    prompts = []
    for sample in samples:
        text = policy.processor.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
        images = list(sample.images) or None
        prompts.append(policy.processor(text=[text], images=images, return_tensors="pt"))
    width = max(p["input_ids"].shape[1] + len(t) for p, t in zip(prompts, tokens))
    ids, seen, kinds = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(3))
    for i, (prompt, answer) in enumerate(zip(prompts, tokens)):
        length = prompt["input_ids"].shape[1]
        ids[i, :length], ids[i, length : length + len(answer)] = prompt["input_ids"][0], answer
        seen[i, : length + len(answer)] = 1
        kinds[i, :length] = prompt["mm_token_type_ids"][0]
    pictures = [p for p in prompts if "pixel_values" in p]
    inputs = {"input_ids": ids, "attention_mask": seen, "mm_token_type_ids": kinds}
    if pictures:
        inputs |= {key: torch.cat([p[key] for p in pictures]) for key in ("pixel_values", "image_grid_thw")}
    return inputs | {"starts": torch.tensor([p["input_ids"].shape[1] for p in prompts])}


def forward(policy: Any, inputs: dict[str, Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Logits [N, U, V] that predict the units, and the critic's values [N, U + 1] at and after each unit's state."""
    inputs = dict(inputs)
    starts = inputs.pop("starts")
    hidden = policy.module.model(**inputs).last_hidden_state
    places = (starts[:, None] - 1 + torch.arange(width + 1)).clamp(max=hidden.shape[1] - 1)
    hidden = hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.shape[-1]))
    logits = policy.module.get_output_embeddings()(hidden[:, :-1])
    values = policy.value_head(hidden)[:, :, 0] if policy.value_head is not None else hidden.new_zeros(places.shape)
    return logits, values
