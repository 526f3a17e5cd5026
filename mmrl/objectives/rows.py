"""Training rows: one decision each, with everything the kernel needs to weigh it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmrl.contracts.types import Decision, PolicyBatch, Prompt
from mmrl.recipe.companions import REFERENCE
from mmrl.recipe.streams import Stream


@dataclass(frozen=True, slots=True)
class Row:
    """One decision in one stream.

    Attributes:
        decision: prompt and units.
        stream: the name of its stream.
        advantage: of the decision (1 for demonstrations), or float64 [U] of each unit.
        trajectory: index of its trajectory in the step; decisions of one trajectory share it.
        trajectory_units: units of the whole trajectory that have a loss.
        group_size: trajectories of its group in this stream.
        group: index of the first trajectory of its group that starts from the same prepared prompt, as answers do and
            episodes do not; None: itself.
        old: float32 [U] log-probs under the policy before the first update, or None: the current ones.
        reference: float32 [U] log-probs under the reference policy, or None.
        companions: float32 [U] log-probs under companion policies, by their names.
        states: [U, H] hidden states of other policies, by their names, where their whole distributions are read.
        rewards: after each counted step of the decision; the trajectory's remaining reward is in its last step's.
        values: float32 [V] values before the first update, or None without a critic.
        targets: float64 [V'] what the critic regresses to, V' <= V steps counted, or None.
        final_prompt: the observation after a decision that a time limit made the last one.
        success: the mean accuracy of its group, or None where nothing has measured it.
        given: by part, what its `prepare` made of the whole optimizer step for this row.
        masked: has no loss and is not scored; its trajectory counts among those that a normaliser divides by.
    """

    decision: Decision
    stream: str
    advantage: float | Tensor
    trajectory: int
    trajectory_units: int
    group_size: int = 1
    old: Tensor | None = None
    reference: Tensor | None = None
    rewards: tuple[float, ...] = (0.0,)
    values: Tensor | None = None
    targets: Tensor | None = None
    final_prompt: Prompt | None = None
    masked: bool = False
    group: int | None = None
    success: float | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    companions: Mapping[str, Tensor] = field(default_factory=dict)
    states: Mapping[str, Tensor] = field(default_factory=dict)

    def under(self, name: str) -> Tensor | None:
        """float32 [U] log-probs under the reference or a companion; None where it was not scored by it."""
        return self.reference if name == REFERENCE else self.companions.get(name)

    @property
    def units(self) -> int:
        """Likelihood units of this row."""
        return self.decision.tokens.shape[0]

    @property
    def learned_units(self) -> int:
        """Those that have a loss."""
        return self.decision.learned_units

    @property
    def temperature(self) -> float:
        """Softmax temperature of its log-probs."""
        return self.decision.temperature


@dataclass(frozen=True, slots=True)
class Normaliser:
    """1/Z of one stream over a whole optimizer step, as a scale per row.

    `token`: 1 / units of the stream. `sequence`: each trajectory's units average to 1, over trajectories. `constant`:
    1 / (trajectories x max_units). `prompt`: each group's units average to 1, over groups. `sum`: 1 / max_units.
    `decision`: 1 / decisions of the stream. `group`: 1 / groups of the stream.
    With `per_prompt`, a trajectory weighs 1 / group size and the denominator
    counts all prompts of the step, whatever their stream.
    """

    mode: str
    denominator: float
    per_prompt: bool
    max_units: int
    prompt_units: Mapping[int, int] = field(default_factory=dict)

    def scale(self, row: Row) -> float:
        """The factor of each unit of `row`."""
        share = 1.0 / row.group_size if self.per_prompt else 1.0
        if self.mode == "sequence":
            share /= row.trajectory_units
        elif self.mode == "prompt":
            share /= self.prompt_units[prompt_of(row)]
        elif self.mode in ("constant", "sum"):
            share /= self.max_units
        return share / self.denominator


def normaliser(name: str, stream: Stream, rows: Sequence[Row], max_units: int) -> Normaliser:
    """The normaliser of stream `name` over all rows of one optimizer step (every stream's, every rank's).

    Masked rows count as trajectories, as in TRL's GRPO and Dr. GRPO, and neither as units nor as decisions, as in its
    DAPO.
    """
    mine = [row for row in rows if row.stream == name]
    prompt_units: dict[int, int] = {}
    if stream.normalise == "token":
        total = float(sum(row.learned_units for row in mine if not row.masked))
    elif stream.normalise == "decision":
        total = float(sum(not row.masked for row in mine))
    elif stream.normalise == "sum":
        total = 1.0
    elif stream.normalise == "group":
        total = float(len({prompt_of(row) for row in mine}))
    elif stream.normalise == "prompt":
        for row in mine:
            # A group that lost all of its units still counts as one of those that are averaged.
            counted = 0 if row.masked else row.learned_units
            prompt_units[prompt_of(row)] = prompt_units.get(prompt_of(row), 0) + counted
        total = float(len(prompt_units))
    elif stream.per_prompt:
        shares = {(row.stream, row.trajectory): 1.0 / row.group_size for row in rows}
        total = sum(shares.values())
    else:
        total = float(len({row.trajectory for row in mine}))
    limit = stream.max_units or max_units
    return Normaliser(stream.normalise, max(total, 1e-12), stream.per_prompt, limit, prompt_units)


def prompt_of(row: Row) -> int:
    """The number of the row's group, its own where it shares no prompt."""
    return row.trajectory if row.group is None else row.group


def collate(rows: Sequence[Row]) -> PolicyBatch:
    """Rows of one temperature and one token set as a batch; prompts are told apart by identity."""
    prompts: dict[int, int] = {}
    distinct, index = [], []
    for row in rows:
        key = id(row.decision.prompt)
        if key not in prompts:
            prompts[key] = len(distinct)
            distinct.append(row.decision.prompt)
        index.append(prompts[key])
    lengths = torch.tensor([row.units for row in rows])
    width = int(lengths.max())
    return PolicyBatch(
        prompts=distinct,
        prompt_index_R=torch.tensor(index),
        tokens_RU=pad([row.decision.tokens for row in rows], width),
        mask_RU=torch.arange(width)[None, :] < lengths[:, None],
        temperature=rows[0].temperature,
        restrict=rows[0].decision.restrict,
        contexts=tuple(row.decision.context for row in rows),
    )


def learned_mask(rows: Sequence[Row], mask_RU: Tensor) -> Tensor:
    """Which of the real units have a loss: bool [R, U]."""
    if not any(row.decision.given or row.decision.learned is not None for row in rows):
        return mask_RU
    mask_RU = mask_RU.clone()
    for i, row in enumerate(rows):
        if row.decision.learned is not None:
            mask_RU[i, : row.units] &= row.decision.learned.to(mask_RU.device)
        else:
            mask_RU[i, : row.decision.given] = False
    return mask_RU


def pad(values: Sequence[Tensor], width: int) -> Tensor:
    """Right-pads 1-D tensors with 0 into [R, width]."""
    out = values[0].new_zeros(len(values), width)
    for i, v in enumerate(values):
        out[i, : len(v)] = v
    return out
