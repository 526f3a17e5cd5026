"""Parts of an objective against their published forms, written out in plain Python at hand-made units."""

from itertools import product
from math import exp, log, sqrt
from statistics import fmean, variance

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.types import Decision, Group, Sample, Trajectory
from mmrl.objectives.advantages import whitened
from mmrl.objectives.coefficients import Units, bapo, nft
from mmrl.objectives.preferences import anchor, contrast, judge
from mmrl.objectives.reward_transforms import ground_truth
from mmrl.objectives.rows import Row, normaliser
from mmrl.objectives.scored import Scored
from mmrl.objectives.seen import Seen
from mmrl.recipe.advantages import Whitened
from mmrl.recipe.coefficients import ADPO, BAPO, BCO, NFT, CoPG
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.reward_transforms import GroundTruth
from mmrl.trainer.rows import _success

RATIOS = [0.3, 0.59, 0.61, 0.9, 1.0, 1.19, 1.21, 2.9, 3.1, 9.0]


def units(ratios, advantage, **more):
    """One row, of probability e^-2 under the policy that sampled."""
    old = torch.full((1, len(ratios)), -2.0, dtype=torch.float64)
    now = old + torch.tensor([[log(r) for r in ratios]], dtype=torch.float64)
    advantages = torch.full_like(now, advantage)
    return Units(now, old, advantages, torch.ones_like(now, dtype=torch.bool), **more)


@pytest.mark.parametrize(("success", "q"), [(0.0, 0.1), (0.25, 0.25), (0.5, 0.5), (1.0, 0.8)])
def test_nft_of_wrong_answers(success, q):
    """NFT, arXiv 2505.18116: -A log max((1 - q r) / (1 - q), floor), straight through; psi is the slope in log p."""
    own = NFT(kind="nft", success_low=0.1, success_high=0.8, floor=0.7, negative=0.5)
    rate = torch.tensor([[success]], dtype=torch.float64)
    expected = [0.5 * (q * r / (1 - q)) / max((1 - q * r) / (1 - q), 0.7) for r in RATIOS]
    assert nft(units(RATIOS, -1.0, success_R1=rate), own)[0].tolist() == pytest.approx(expected, rel=1e-12)
    assert nft(units(RATIOS, 1.0, success_R1=rate), own)[0].tolist() == [1.0] * len(RATIOS)


@pytest.mark.parametrize(("advantage", "dual"), product([1.0, -1.0], [3.0, None]))
def test_bapo_keeps_what_its_moving_bounds_do_not_clip(advantage, dual):
    """BAPO, arXiv 2510.18927: r where min(r A, clip(r, c_low, c_high) A) is r A; dual clip: not beyond it for A < 0."""
    bounds = torch.tensor([[0.6, 1.2]], dtype=torch.float64)
    keeps = [r * advantage <= min(max(r, 0.6), 1.2) * advantage for r in RATIOS]
    if dual is not None and advantage < 0:
        keeps = [keep and r <= dual for keep, r in zip(keeps, RATIOS)]
    got = bapo(units(RATIOS, advantage, given_RK=bounds), BAPO(kind="bapo", dual=dual))[0]
    assert got.tolist() == pytest.approx([r if keep else 0.0 for r, keep in zip(RATIOS, keeps)], rel=1e-12)
    assert 0 < sum(keeps) < len(RATIOS)


@given(
    rewards=st.lists(st.lists(st.floats(-2, 2), min_size=2, max_size=3), min_size=2, max_size=4),
    epsilon=st.sampled_from([1e-8, 0.5, 2.0]),
    baseline=st.sampled_from(["none", "group_mean"]),
)
def test_whitened_returns(rewards, epsilon, baseline):
    """(R - mean) / sqrt(var + epsilon) over the units of all groups, here two an answer."""
    groups = [[Scored(reward, units=2) for reward in group] for group in rewards]
    less = [fmean(group) if baseline == "group_mean" else 0.0 for group in rewards]
    values = [[r - mean for r in group] for group, mean in zip(rewards, less)]
    flat = [value for group in values for value in group for _ in range(2)]
    spread = variance(flat)
    got = whitened(groups, Whitened(kind="whitened", baseline=baseline, epsilon=epsilon))
    if spread < 1e-6:
        return
    expected = [[(value - fmean(flat)) / sqrt(spread + epsilon)] * 2 for group in values for value in group]
    answers = [answer.tolist() for group in got for answer in group]
    for answer, value in zip(answers, expected, strict=True):
        assert answer == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("answers", "smooth", "earned"),
    [
        # The form's 0.2 comes off at weight 0.5: 0.9.
        ([0.1, 0.5], True, 0.9),
        ([0.1, 0.9], True, 0.5),
        ([0.1, 1.0], True, 0.55),
        ([0.1, 1.0], False, 0.9),
        ([], True, 0.9),
        ([], False, 0.9),
    ],
)
def test_the_reward_of_a_demonstration_is_held_down(answers, smooth, earned):
    """ViSurf's reward controls: no reward for its form, and the mean of the answers where they are as good."""
    shown = Scored(1.0, parts={"format": 0.2, "length": None}, demonstrated=True)
    group = [Scored(answers[0], parts={"format": 1.0}), shown] if answers else [shown]
    group += [Scored(reward, parts={"format": 1.0}) for reward in answers[1:]]
    own = GroundTruth(kind="ground_truth", without={"format": 0.5, "length": 9.0, "other": 9.0}, smooth=smooth)
    (got,) = ground_truth([group], own)
    assert got == pytest.approx([*answers[:1], earned, *answers[1:]])


def test_luffy_s_gradient_is_that_of_p_over_p_and_a_tenth():
    """LUFFY, arXiv 2504.14945: f(p) = p / (p + gamma), gamma 0.1."""
    for stream in resolve_objective("luffy", {}).streams.values():
        if stream.coefficient.kind == "luffy":
            assert stream.coefficient.gamma == 0.1
            break
    else:
        raise AssertionError("no stream is shaped")


def pieces(*rows):
    """Seen rows of (log-ratio to old and reference, advantage, trajectory, group), each of two equal units."""
    zero = torch.zeros(2, dtype=torch.float64)
    return [
        Seen(zero + gain / 2, zero, zero, zero, None, advantage, t, group, None) for gain, advantage, t, group in rows
    ]


ANSWERS = [(0.3, 1.0, 0, 0), (-0.2, 0.0, 1, 0), (0.5, -0.5, 2, 0), (0.1, 1.0, 3, 1)]


def test_contrast_is_copg_s_factor():
    """CoPG: 2 / (n - 1) x (R_i - mean R), R = A - beta log pi / ref; a group of one has nothing to contrast."""
    regularised = [advantage - 0.4 * gain for gain, advantage, _, group in ANSWERS if group == 0]
    expected = [2 / 2 * (r - fmean(regularised)) for r in regularised]
    got = [float(factor) for factor in contrast(pieces(*ANSWERS), CoPG(kind="copg", beta=0.4))]
    assert got == pytest.approx([*expected, 0.0], abs=1e-12)


def test_judge_is_bco_s_factor():
    """BCO, arXiv 2404.04656: -log sigmoid(g - d) of right answers, -log sigmoid(d - g) of wrong ones; g = beta gain."""
    earned = [0.4 * gain for gain, *_ in ANSWERS]
    middle = fmean(earned)
    signs = [1.0 if advantage > 0 else -1.0 for _, advantage, *_ in ANSWERS]
    expected = [0.4 * sign / (1 + exp(sign * (g - middle))) for g, sign in zip(earned, signs)]
    got = [float(factor) for factor in judge(pieces(*ANSWERS), BCO(kind="bco", beta=0.4))]
    assert got == pytest.approx(expected, abs=1e-12)


def test_anchor_is_adpo_s_factor():
    """ADPO: the slope of cross-entropy from softmax(A / beta) to softmax((s - s_old) / tau), over each group."""
    group = ANSWERS[:3]
    p, q = ([exp(x) for x in logits] for logits in ([g / 0.7 for g, *_ in group], [a / 0.3 for _, a, *_ in group]))
    expected = [(b / sum(q) - a / sum(p)) / 0.7 for a, b in zip(p, q)]
    got = [float(factor) for factor in anchor(pieces(*ANSWERS), ADPO(kind="adpo", tau=0.7, beta=0.3))]
    assert got == pytest.approx([*expected, 0.0], abs=1e-12)


def row(units, trajectory, stream="rl", **more):
    return Row(Decision(None, torch.zeros(units, dtype=torch.long)), stream, 1.0, trajectory, units, **more)


@pytest.mark.parametrize(
    ("mode", "scales"),
    [
        # Answers of 2 and 3 units to one prompt, of 4 to another; one of 5 to the second has no loss.
        ("token", [1 / 9] * 3),
        ("sequence", [1 / 2 / 4, 1 / 3 / 4, 1 / 4 / 4]),
        ("decision", [1 / 3] * 3),
        ("constant", [1 / 8 / 4] * 3),
        ("sum", [1 / 8] * 3),
        ("group", [1 / 2] * 3),
        ("prompt", [1 / 5 / 2, 1 / 5 / 2, 1 / 4 / 2]),
    ],
)
def test_scales_of_units(mode, scales):
    rows = [row(2, 0, group=0), row(3, 1, group=0), row(4, 2, group=2), row(5, 3, group=2, masked=True)]
    (stream,) = resolve_objective("grpo", {"streams": {"rl": {"normalise": mode}}}).streams.values()
    divides = normaliser("rl", stream, [*rows, row(7, 4, "demo")], 8)
    assert [divides.scale(each) for each in rows[:3]] == pytest.approx(scales)


def test_without_a_group_of_its_own_an_answer_is_one_prompt():
    assert row(2, 0).group_size == 1


@pytest.mark.parametrize(
    ("accuracies", "mean"), [([1.0, 0.0], 0.5), ([1.0, None], None), ([None], None), ([], None), ([0.25], 0.25)]
)
def test_the_success_of_a_group_is_known_where_all_of_it_is(accuracies, mean):
    group = Group(Sample("q", (), "t", {}), tuple(Trajectory((), accuracy=accuracy) for accuracy in accuracies))
    assert _success(group) == mean


def test_equal_returns_are_whitened_to_nothing_at_all():
    groups = [[Scored(0.1, units=3)], [Scored(0.1, units=2), Scored(0.1, units=1)]]
    got = whitened(groups, Whitened(kind="whitened", baseline="none"))
    assert [answer.tolist() for group in got for answer in group] == [[0.0] * 3, [0.0] * 2, [0.0]]
