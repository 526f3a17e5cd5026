"""Accuracies of held-out rows: names that other figures have are refused."""

from collections import Counter
from types import SimpleNamespace

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.heldout import is_taken
from mmrl.contracts.types import Group, Sample, Trajectory
from mmrl.evaluation.tally import Tally


def group(task, accuracy=1.0):
    return Group(Sample("0", (), task, {}), (Trajectory((), accuracy=accuracy),))


@pytest.mark.parametrize("task", ["loss", "mean", "unreadable", "truncated", "loss/ocr"])
def test_a_task_with_the_name_of_another_figure_is_refused(task):
    with pytest.raises(ConfigError, match=f"held-out set 'set' has a task '{task}', and '{task}' is the name"):
        Tally().add("set", [group(task)])
    bad = SimpleNamespace(tasks=Counter({task: 1}), unknown=0, unmeasured=0)
    with pytest.raises(ConfigError, match="rename the task"):
        Tally().add_bad("set", bad)


def test_a_set_whose_tasks_would_read_as_losses_is_refused():
    """Two sets with one task are reported as `<set>/<task>`."""
    with pytest.raises(ConfigError, match="'loss/ocr' is the name of another held-out figure; rename the held-out set"):
        Tally().add("loss", [group("ocr")])


def test_other_names_are_counted():
    tally = Tally()
    tally.add("set", [group("lossless"), group("means"), group("means", 0.0)])
    assert tally.accuracy(3, ()) == {"lossless": 1.0, "means": 0.5, "mean": 0.75}
    assert not is_taken("losses")


def test_rows_behind_each_accuracy():
    """Of the mean: 2^2 / (1/1 + 1/3) rows, over which one accuracy is as sure as the mean of these two."""
    tally = Tally()
    tally.add("set", [group("one"), *[group("three")] * 2])
    tally.add("shuffled", [group("three")])
    tally.add_bad("set", SimpleNamespace(tasks=Counter({"three": 1}), unknown=0, unmeasured=0))
    rows = tally.rows({"shuffled"})
    assert rows == {"one": 1, "three": 3, "shuffled/three": 1, "mean": pytest.approx(3.0)}
    assert rows.keys() == tally.accuracy(5, {"shuffled"}).keys()
    assert Tally().rows(()) == {}
