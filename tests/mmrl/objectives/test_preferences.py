"""Factors of answers that are compared, against autograd of the published losses."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from mmrl.objectives.preferences import compare
from mmrl.objectives.seen import Seen
from mmrl.recipe.coefficients import Preference

BETA, SMOOTHING = 0.4, 0.1
# Of the margin h: DPO (arXiv 2305.18290) with smoothed labels, IPO (2310.12036), and the hinge of SLiC (2305.10425).
LOSSES = {
    "sigmoid": lambda h: -(1 - SMOOTHING) * logsigmoid(BETA * h) - SMOOTHING * logsigmoid(-BETA * h),
    "square": lambda h: (h - 1 / (2 * BETA)) ** 2,
    "hinge": lambda h: (1 - BETA * h).clamp(min=0),
}


def seen(log_probs, reference, advantage, trajectory, group=0):
    return Seen(
        log_probs.detach(), log_probs.detach(), log_probs.detach(), reference, None, advantage, trajectory, group, None
    )


@pytest.mark.parametrize("lead", [0.0, 8.0])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_factors_are_those_of_the_losses(loss, mean, lead):
    """The best of three answers, in two decisions, and the worst; the third and a group of equals get nothing."""
    torch.manual_seed(0)
    units = [torch.randn(count, dtype=torch.float64).requires_grad_() for count in (2, 3, 4, 2, 2)]
    # Far ahead, the hinge has no slope any more.
    units[:2] = [(each.detach() + lead).requires_grad_() for each in units[:2]]
    references = [torch.randn(len(each), dtype=torch.float64) for each in units]
    places = [(1.0, 0, 0), (1.0, 0, 0), (-1.0, 1, 0), (0.0, 2, 0), (0.5, 3, 1)]
    rows = [seen(*parts, *place) for *parts, place in zip(units, references, places, strict=True)]
    gains = [each - reference for each, reference in zip(units, references, strict=True)]
    best, worst = torch.cat(gains[:2]), gains[2]
    margin = best.mean() - worst.mean() if mean else best.sum() - worst.sum()
    gradients = torch.autograd.grad(LOSSES[loss](margin), units[:3])
    own = Preference(loss=loss, beta=BETA, mean=mean, smoothing=SMOOTHING if loss == "sigmoid" else 0.0)
    factors = [float(factor) for factor in compare(rows, own)]
    assert factors == pytest.approx([*(-float(each[0]) for each in gradients), 0.0, 0.0], rel=1e-9, abs=1e-12)


def test_steps_that_both_answers_begin_with_fall_out_of_the_preference():
    """Step-DPO: the same factors whether the shared steps stand in the prompt or in both answers."""
    torch.manual_seed(1)
    shared, right, wrong = (torch.randn(count, 2, dtype=torch.float64) for count in (3, 2, 4))
    own = Preference(kind="preference", loss="sigmoid", beta=BETA)

    def factors(*answers):
        rows = [seen(*each.unbind(1), sign, i) for i, (each, sign) in enumerate(zip(answers, (1.0, -1.0)))]
        return [float(factor) for factor in compare(rows, own)]

    alone = factors(right, wrong)
    assert factors(torch.cat([shared, right]), torch.cat([shared, wrong])) == pytest.approx(alone)
    assert alone[0] == -alone[1] > 0
