"""Units that nobody sampled have no loss and are in no denominator; ratios may start from another prompt."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives.preferences import _gain
from mmrl.objectives.preparing import see
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


def test_units_that_were_given_gain_nothing_in_what_a_whole_step_is_told():
    """Log-probs of the others stay; a mean is over those alone."""
    log_probs = torch.tensor([-1.0, -2.0, -3.0])
    decision = Decision(None, torch.arange(3), torch.tensor([-9.0, -2.5, -3.5]), given=1)
    row = Row(decision, "rl", 1.0, 0, 2, old=log_probs - 4, reference=log_probs - 1, companions={"t": log_probs - 2})
    likelihood = Likelihood(log_probs[None], torch.ones(1, 3, dtype=torch.bool), entropy_RU=torch.ones(1, 3))
    seen = see(row, likelihood, 0)
    assert seen.old_U.tolist() == [-1.0, -6.0, -7.0]
    assert seen.behaviour_U.tolist() == [-1.0, -2.5, -3.5]
    assert seen.reference_U.tolist() == [-1.0, -3.0, -4.0]
    assert seen.companions["t"].tolist() == [-1.0, -4.0, -5.0]
    assert seen.entropy_U.tolist() == [0.0, 1.0, 1.0]
    assert seen.units == 2
    assert float(_gain([seen], "reference", mean=True)) == 1.0
    assert float(_gain([seen], "t")) == 4.0
