"""Units that nobody sampled have no loss and are in no denominator; ratios may start from another prompt."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, learned_mask
from tests.support.toy import Toy, assert_same, objective_of, ppo_term


class Given(Toy):
    """The toy with the first unit of each answer of several given."""

    def rows(self, *streams, **kwargs):
        rows = []
        for row in super().rows(*streams, **kwargs):
            decision = replace(row.decision, given=int(row.units > 1))
            rows.append(replace(row, decision=decision, trajectory_units=decision.learned_units))
        return rows


@pytest.mark.parametrize("seed", range(2))
def test_what_was_given_is_in_no_gradient_and_no_denominator(seed):
    toy = Given(seed)
    answers = toy.indices("rl")
    sampled = {i: ppo_term(toy, i)[int(toy.lengths[i] > 1) :] for i in answers}
    grpo = -sum(part.mean() for part in sampled.values()) / 6
    assert_same(toy.kernel_gradient(objective_of("grpo")), toy.gradient(grpo))
    higher = {i: ppo_term(toy, i, high=0.28)[int(toy.lengths[i] > 1) :] for i in answers}
    dapo = -sum(part.sum() for part in higher.values()) / sum(len(part) for part in higher.values())
    assert_same(toy.kernel_gradient(objective_of("dapo")), toy.gradient(dapo))


def test_a_mask_of_its_own_goes_before_the_number_given():
    tokens = torch.arange(4)
    plain, given = Decision(None, tokens), Decision(None, tokens, given=2)
    chosen = replace(given, learned=torch.tensor([False, True, True, True]))
    rows = [Row(decision, "rl", 1.0, 0, 4) for decision in (plain, given, chosen)]
    mask = learned_mask(rows, torch.ones(3, 4, dtype=torch.bool))
    assert mask.int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    assert [row.learned_units for row in rows] == [4, 2, 3]
    assert chosen.first(3).learned.tolist() == [False, True, True]
    assert given.first(1).learned_units == 0
