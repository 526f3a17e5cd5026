"""Intervals of weighted means: Wilson's, and wider where rows share a picture."""

import random

import pytest

from mmrl.evaluation.figures import by_column, interval, means, weighted
from mmrl.tracking.report.intervals import wilson


def test_of_independent_rows_it_is_wilson_s():
    scores = [1.0] * 7 + [0.0] * 3
    weights = [0.1] * 10
    assert interval(scores, weights, range(10)) == pytest.approx(wilson(0.7, 10))
    assert interval([0.0] * 3, [1 / 3] * 3, range(3)) == pytest.approx(wilson(0.0, 3))


def test_rows_that_repeat_make_nothing_surer():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    alone = interval(scores, [1 / 8] * 8, range(8))
    repeated = interval(scores * 5, [1 / 40] * 40, [*range(8)] * 5)
    # The clustered variance has C - 1 where a share's has C.
    assert repeated[1] - repeated[0] == pytest.approx(alone[1] - alone[0], rel=0.08)
    taken_for_new = interval(scores * 5, [1 / 40] * 40, range(40))
    assert taken_for_new[1] - taken_for_new[0] < 0.6 * (alone[1] - alone[0])


def test_all_right_in_two_pictures_is_as_sure_as_two_rows():
    assert interval([1.0] * 6, [1 / 6] * 6, [0, 0, 0, 1, 1, 1]) == pytest.approx(wilson(1.0, 2))
    assert interval([], [], []) is None


def test_a_mean_of_means_and_its_order():
    columns = [{"task": "a"}] * 3 + [{"task": "b"}] + [{}]
    tasks = by_column(columns, "task")
    scores = [1.0, 0.0, 0.0, 1.0, 1.0]
    assert {name: weighted(scores, w) for name, w in tasks.items()} == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert weighted(scores, means(list(tasks.values()), 5)) == pytest.approx(2 / 3)
    assert weighted(scores, means([], 5)) == pytest.approx(0.6)
    rng = random.Random(0)
    order = list(range(5))
    rng.shuffle(order)
    w = means(list(tasks.values()), 5)
    assert weighted([scores[i] for i in order], [w[i] for i in order]) == weighted(scores, w)
