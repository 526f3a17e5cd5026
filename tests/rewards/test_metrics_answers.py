"""Measures of numbers, orders and intervals against formulas written another way."""

import itertools
import random
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from vision_rewards import metrics


def test_mean_relative_accuracy_is_the_mean_over_thresholds():
    rng = random.Random(0)
    for _ in range(500):
        target = Fraction(rng.randrange(-400, 400), 4)
        prediction = target + Fraction(rng.randrange(-200, 200), 8)
        if target == 0:
            continue
        thetas = [Fraction(50 + 5 * k, 100) for k in range(10)]
        error = abs(prediction - target) / abs(target)
        strict = sum(error < 1 - theta for theta in thetas) / 10
        loose = sum(error <= 1 - theta for theta in thetas) / 10
        for kind in (float, lambda x: Decimal(x.numerator) / x.denominator):
            assert metrics.mean_relative_accuracy(kind(prediction), kind(target)) == pytest.approx(strict, abs=1e-12)
            assert metrics.mean_relative_accuracy(kind(prediction), kind(target), inclusive=True) == pytest.approx(
                loose
            )


def test_mean_relative_accuracy_equals_vsi_benchs_off_its_steps():
    """VSI-Bench: mean of |p − t| / t <= 1 − linspace(0.5, 0.95, 10)."""
    rng = np.random.default_rng(0)
    for prediction, target in rng.uniform(0.1, 50, (500, 2)):
        expected = (abs(prediction - target) / target <= 1 - np.linspace(0.5, 0.95, 10)).mean()
        assert metrics.mean_relative_accuracy(prediction, target) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("prediction", "target", "mra", "relative"),
    [(5, 0, 0, 0), (0, 0, 1, 1), (0.0, 0, 1, 1), (float("nan"), 5, 0, 0), (float("inf"), 5, 0, 0), (-5, 5, 0, 0),
     (1.05, 1, 0.9, 0.95), (0.105, 0.1, 0.9, 0.95), (Decimal("NaN"), 5, 0, 0), (1e308, 1e-308, 0, 0)],
)  # fmt: skip
def test_relative_measures_at_their_edges(prediction, target, mra, relative):
    assert metrics.mean_relative_accuracy(prediction, target) == pytest.approx(mra, abs=1e-12)
    assert metrics.relative_accuracy(prediction, target) == pytest.approx(relative, abs=1e-12)


def test_order_measures_equal_scipys_and_plain_loops():
    rng = random.Random(1)
    for _ in range(300):
        target = rng.sample(range(100), rng.randrange(2, 12))
        order = rng.sample(target, len(target))
        place = {item: rank for rank, item in enumerate(target)}
        ranks = [place[item] for item in order]
        tau = stats.kendalltau(range(len(ranks)), ranks).statistic
        assert metrics.kendall_tau(order, target) == pytest.approx(tau, abs=1e-9)
        pairs = list(itertools.combinations(ranks, 2))
        share = sum(a < b for a, b in pairs) / len(pairs)
        assert metrics.pairwise_order_accuracy(order, target) == pytest.approx(share, abs=1e-12)
        hits = sum(a == b for a, b in zip(order, target)) / len(target)
        assert metrics.position_accuracy(order, target) == pytest.approx(hits, abs=1e-12)


def test_orders_of_other_items_are_refused():
    assert metrics.kendall_tau("a", "a") == metrics.pairwise_order_accuracy([], []) == 1
    for order, target in (("ab", "abc"), ("aa", "ab"), ("ac", "ab"), ("ab", "aa")):
        with pytest.raises(ValueError, match="same distinct items"):
            metrics.kendall_tau(order, target)
    with pytest.raises(ValueError, match="2 items for 3 positions"):
        metrics.position_accuracy("ab", "abc")


def random_spans(rng, most):
    starts = [rng.randrange(40) for _ in range(rng.randrange(1, most))]
    return [(start, start + rng.randrange(1, 12)) for start in starts]


def moments(spans):
    return {second for start, end in spans for second in range(start, end)}


def test_interval_sets_equal_counting_seconds():
    rng = random.Random(2)
    for _ in range(400):
        first, second = random_spans(rng, 6), random_spans(rng, 6)
        a, b = moments(first), moments(second)
        assert metrics.interval_set_iou(first, second) == pytest.approx(len(a & b) / len(a | b), abs=1e-12)
        merged = metrics.merge_intervals(first)
        assert moments([(int(s), int(e)) for s, e in merged]) == a
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(merged))
        one, other = first[0], second[0]
        expected = len(moments([one]) & moments([other])) / len(moments([one]) | moments([other]))
        assert metrics.temporal_iou(one, other) == pytest.approx(expected, abs=1e-12)


def test_generalized_temporal_iou_is_that_of_boxes_of_one_height():
    rng = random.Random(3)
    for _ in range(200):
        (a, b), (c, d) = random_spans(rng, 2)[0], random_spans(rng, 2)[0]
        expected = metrics.generalized_box_iou([[a, 0, b, 1]], [[c, 0, d, 1]])[0, 0]
        assert metrics.generalized_temporal_iou((a, b), (c, d)) == pytest.approx(expected, abs=1e-12)


def test_soft_f1_takes_the_best_matching():
    rng = random.Random(4)
    for _ in range(100):
        first, second = random_spans(rng, 5), random_spans(rng, 5)
        few, many = sorted((first, second), key=len)
        best = max(sum(map(metrics.temporal_iou, few, chosen)) for chosen in itertools.permutations(many, len(few)))
        expected = 2 * best / (len(first) + len(second))
        assert metrics.interval_soft_f1(first, second) == pytest.approx(expected, abs=1e-12)
    assert metrics.interval_soft_f1([], []) == 1
    assert metrics.interval_soft_f1([], [(0, 1)]) == metrics.interval_soft_f1([(0, 1)], []) == 0


def test_equal_intervals_score_exactly_one():
    rng = random.Random(5)
    for _ in range(1000):
        start, length = rng.uniform(0, 1e4), rng.uniform(1e-3, 1e3)
        span = (start, start + length)
        assert metrics.temporal_iou(span, span) == metrics.interval_set_iou([span], [span]) == 1.0
        assert metrics.generalized_temporal_iou(span, span) == 1.0


def test_intervals_without_moments():
    assert metrics.merge_intervals([(3, 1), (2, 2)]) == []
    assert metrics.interval_set_iou([(3, 1)], [(0, 5)]) == metrics.interval_set_iou([], []) == 0
    assert metrics.generalized_temporal_iou((3, 1), (0, 5)) == -1


def test_jaccard_and_shared_recall():
    assert metrics.jaccard("abc", "bcd") == 1 / 2
    assert metrics.jaccard([], []) == 1
    assert metrics.jaccard("aab", "ab") == 1
    assert metrics.jaccard("a", []) == 0
    ious = [metrics.temporal_iou(span, (10, 20)) for span in ((10, 20), (10, 15), (15, 25), (30, 40))]
    assert metrics.recall_at_iou(ious, (0.3, 0.5, 0.7)).tolist() == [3 / 4, 2 / 4, 1 / 4]
