"""The count of refused task names is 0, and counts what is refused."""

from benchmarks.house_tasks import refused_tasks
from vision_rewards.rewards.temporal_iou import TemporalIou
from vision_rewards.types import Reward


def test_no_task_refuses_the_plain_answers_that_it_takes():
    assert refused_tasks() == {}


def test_a_reward_that_does_not_shape_its_answers_is_counted_by_each_task(monkeypatch):
    monkeypatch.setattr(TemporalIou, "target_of", classmethod(Reward.target_of.__func__))
    refused = refused_tasks()
    assert set(refused) == set(TemporalIou.tasks)
    assert all("needs the key 'interval'" in reason for reason in refused.values())
