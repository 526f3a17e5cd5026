"""Advantages, the overlong penalty and weight schedules against plain loops."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrl.objectives.advantages import group_advantages, signed
from mmrl.objectives.reward_transforms import overlong_penalty
from mmrl.objectives.schedules import stream_weights, value
from mmrl.objectives.scored import Scored
from mmrl.recipe.advantages import Signed, Standard
from mmrl.recipe.reward_transforms import Overlong
from mmrl.recipe.streams import Schedule, Stream

REWARDS = st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=6), min_size=1, max_size=5)
FITTING = [
    (baseline, scale)
    for baseline in ("group_mean", "leave_one_out", "batch_mean", "none")
    for scale in ("group_std", "batch_std", "none")
    if scale == "none"
    or baseline in ("group_mean", "leave_one_out")
    or (baseline, scale) == ("batch_mean", "batch_std")
]


def by_hand(groups, baseline, scale, epsilon):
    """One trajectory at a time, with python's own statistics."""
    everything = [r for group in groups for r in group]
    result = []
    for group in groups:
        row = []
        for i, reward in enumerate(group):
            others = group[:i] + group[i + 1 :]
            if baseline in ("group_mean", "leave_one_out") and all(r == group[0] for r in group):
                advantage = 0.0
            elif baseline == "group_mean":
                advantage = reward - statistics.fmean(group)
            elif baseline == "leave_one_out":
                advantage = reward - statistics.fmean(others)
            else:
                advantage = reward - (statistics.fmean(everything) if baseline == "batch_mean" else 0.0)
            over = {"group_std": group, "batch_std": everything, "none": None}[scale]
            if over is not None:
                advantage /= (statistics.stdev(over) if len(over) > 1 else 0.0) + epsilon
            row.append(advantage)
        result.append(row)
    return result


@pytest.mark.parametrize(("baseline", "scale"), FITTING)
def test_advantages_of_some_groups_equal_plain_loops(baseline, scale):
    """With an epsilon that shows: 0.5 beside deviations of about 1."""
    groups = [[0.0, 1.0, 3.0], [2.0, 2.0], [1.0], [-1.0, 0.25]]
    got = group_advantages(groups, Standard(baseline=baseline, scale=scale, epsilon=0.5))
    for ours, theirs in zip(got, by_hand(groups, baseline, scale, 0.5), strict=True):
        assert ours == pytest.approx(theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("baseline", "scale"), FITTING)
@given(groups=REWARDS)
def test_advantages_equal_plain_loops(baseline, scale, groups):
    got = group_advantages(groups, Standard(baseline=baseline, scale=scale, epsilon=1e-4))
    expected = by_hand(groups, baseline, scale, 1e-4)
    assert [len(row) for row in got] == [len(group) for group in groups]
    for ours, theirs in zip(got, expected):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("baseline", "scale"), [(b, s) for b, s in FITTING if b in ("group_mean", "leave_one_out")])
@given(reward=st.floats(-1e6, 1e6), size=st.integers(1, 9))
def test_a_uniform_group_or_a_group_of_one_is_exactly_zero(baseline, scale, reward, size):
    got = group_advantages([[reward] * size, [0.25, 0.5]], Standard(baseline=baseline, scale=scale))
    assert got[0] == [0.0] * size
    assert got[1][0] < 0 < got[1][1]


def test_a_reward_that_rounds_badly_leaves_no_residue():
    rewards = [0.1] * 7  # their mean is not 0.1 in binary
    assert group_advantages([rewards], Standard()) == [[0.0] * 7]


@given(groups=REWARDS)
def test_group_baselines_sum_to_zero_in_every_group(groups):
    for baseline in ("group_mean", "leave_one_out"):
        for row in group_advantages(groups, Standard(baseline=baseline, scale="none")):
            assert sum(row) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        group_advantages([[0.0, 1.0], [0.0, bad]], Standard())


def test_no_groups_give_no_advantages():
    assert group_advantages([], Standard()) == []


@given(units=st.integers(0, 60), limit=st.integers(10, 40), cache=st.integers(1, 40), weight=st.floats(0.1, 2))
def test_overlong_penalty_is_the_papers_piecewise_formula(units, limit, cache, weight):
    if units <= limit - cache:
        expected = 0.0
    elif units <= limit:
        expected = ((limit - cache) - units) / cache
    else:
        expected = -1.0
    assert overlong_penalty(units, limit, Overlong(kind="overlong", cache=cache, weight=weight)) == pytest.approx(
        weight * expected
    )


def test_overlong_penalty_at_its_corners():
    settings = Overlong(kind="overlong", cache=4)
    assert [overlong_penalty(n, 20, settings) for n in (0, 16, 17, 18, 20, 21)] == [0, 0, -0.25, -0.5, -1, -1]


def test_schedule_warms_up_peaks_and_settles_in_the_valley():
    schedule = Schedule(start=0.1, peak=0.9, valley=0.2, warmup=4, decay=8)
    got = [value(schedule, step) for step in range(14)]
    expected = [0.1 + 0.2 * s for s in range(4)]
    expected += [0.2 + 0.7 * (1 + math.cos(math.pi * s / 8)) / 2 for s in range(8)]
    expected += [0.2, 0.2]
    assert got == pytest.approx(expected)
    assert got[8] == pytest.approx(0.55)
    assert value(schedule, 10_000) == 0.2


def test_schedule_without_warmup_or_decay():
    assert value(Schedule(peak=0.9, valley=0.05, decay=10), 0) == pytest.approx(0.9)
    warmed = Schedule(start=0.5, peak=0.9, valley=0.05, warmup=2)
    assert [value(warmed, step) for step in (0, 1, 2)] == pytest.approx([0.5, 0.7, 0.05])
    assert value(0.3, 77) == 0.3


@given(step=st.integers(0, 300))
def test_a_complement_is_one_minus_the_other_weight(step):
    schedule = Schedule(start=0.0, peak=0.9, valley=0.05, warmup=10, decay=200)
    streams = {
        "rl": Stream(**{"from": "rollouts"}, complement_of="demo"),
        "demo": Stream(**{"from": "demonstrations"}, weight=schedule),
    }
    weights = stream_weights(streams, step)
    assert weights["demo"] == value(schedule, step)
    assert weights["rl"] + weights["demo"] == pytest.approx(1.0)
    assert 0.1 - 1e-12 <= weights["rl"] <= 1.0


def test_equal_rewards_leave_no_residue_of_a_mean_by_length():
    lengths = (3, 4, 6)
    assert sum(0.1 * length for length in lengths) / sum(lengths) != 0.1, "there would be a residue"
    settings = Standard(baseline="length_mean", scale="none")
    assert group_advantages([[0.1] * 3, [0.1]], settings, [lengths, (3,)]) == [[0.0] * 3, [0.0]]


@pytest.mark.parametrize(("weight", "size"), [("failure", 3 / 4), ("odds", math.sqrt(3)), ("one", 1.0)])
def test_the_sign_of_an_answer_weighs_by_its_group(weight, size):
    """One right answer of four; groups of one kind alone weigh nothing."""
    groups = [[Scored(0.0, accuracy=a) for a in row] for row in ([1.0, 0, 0.5, 0], [1.0, 1.0], [0.0, 0.0])]
    expected = [[size, -size, -size, -size], [0, 0], [0, 0]]
    assert [pytest.approx(row) for row in expected] == signed(groups, Signed(weight=weight))
