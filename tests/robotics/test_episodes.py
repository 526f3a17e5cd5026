"""The records of episodes by themselves: worlds that a simulator steps on after their end."""

import pytest
import torch

from robotics.episodes import EpisodeTracker, stack_steps


def bools(text):
    return torch.tensor([letter == "1" for letter in text])


def step(tracker, reward, success, failure=None):
    return tracker.step(torch.tensor(reward), bools(success), None if failure is None else bools(failure))


def test_what_happens_after_an_end_does_not_count():
    """Three worlds of at most two steps: success at the second, none in time, and a failure at the first.

    Inside a chunk a simulator steps on, and every world comes to succeed in the end.
    """
    tracker = EpisodeTracker(3, max_steps=2)
    tracker.reset()
    chunk = stack_steps([
        step(tracker, [1.0, 2.0, 3.0], "000", "001"),
        step(tracker, [1.0, 2.0, 3.0], "101"),
        step(tracker, [1.0, 2.0, 3.0], "111", "111"),
    ])  # fmt: skip
    assert chunk["reward"].tolist() == [[1, 1, 0], [2, 2, 0], [3, 0, 0]]
    assert chunk["terminated"].tolist() == [[False, True, False], [False] * 3, [True, False, False]]
    assert chunk["truncated"].tolist() == [[False] * 3, [False, True, False], [False] * 3]
    assert chunk["valid"].tolist() == [[True, True, False], [True, True, False], [True, False, False]]
    facts = {name: values.tolist() for name, values in tracker.info().items()}
    assert facts == {
        "success_once": [True, False, False],
        "success_at_end": [True, False, False],
        "return": [2.0, 4.0, 3.0],
        "episode_len": [2, 2, 1],
        "done": [True, True, True],
        "dropped": [False, False, False],
    }


def test_a_success_that_does_not_end_the_episode_may_be_lost_again():
    tracker = EpisodeTracker(2, max_steps=3, terminate_on_success=False)
    tracker.reset()
    records = [step(tracker, [0.0, 0.0], success) for success in ("10", "00", "01", "11")]
    assert [record.truncated.tolist() for record in records] == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    assert not any(record.terminated.any() for record in records)
    info = tracker.info()
    assert (info["success_once"].tolist(), info["success_at_end"].tolist()) == ([True, True], [False, True])


@pytest.mark.parametrize("worlds", [None, torch.tensor([1])])
def test_a_reset_begins_new_records_of_the_worlds_that_it_names(worlds):
    tracker = EpisodeTracker(2, max_steps=5)
    assert tracker.active_B.tolist() == [False, False], "nothing runs before the first reset"
    tracker.reset()
    before = tracker.info()
    step(tracker, [1.0, 1.0], "11")
    tracker.reset(worlds)
    kept = worlds is not None
    assert tracker.active_B.tolist() == [not kept, True]
    after = tracker.info()
    assert (after["return"].tolist(), after["episode_len"].tolist()) == ([float(kept), 0.0], [int(kept), 0])
    assert after["success_once"].tolist() == after["success_at_end"].tolist() == [kept, False]
    assert before["return"].tolist() == [0.0, 0.0], "records that were handed out stay as they were"
