"""An episode in which the simulator failed begins again, and nothing of the failed attempt stays."""

import pytest
import torch

from mmrl.contracts.types import DEMO, Decision, Sample, StopReason
from mmrl.rollouts.episodes import Play
from robotics.types import Observation, StepResult

START = Sample("0", (), "table", {}, simulator="table", episode=5)


class Script:
    """One world whose steps are written down: (reward, how the episode ends: goes on, success, time or dropped)."""

    num_envs, action_dim = 1, 1

    def __init__(self, *steps):
        self.steps, self.total, self.length, self.done = list(steps), 0.0, 0, True

    def reset(self, ids, worlds=None):
        self.total, self.length, self.done = 0.0, 0, False
        return self._look()

    def _look(self):
        pictures = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
        return Observation({"top": pictures}, torch.tensor([[float(self.length)]]), ["go"])

    def unseen_step(self, actions):
        return self._step(None)

    def chunk_step(self, actions):
        return self._step(self._look)

    def _step(self, look):
        reward, ends = self.steps.pop(0)
        dropped = ends == "dropped"
        valid = not self.done and not dropped
        if valid:
            self.total, self.length = self.total + reward, self.length + 1
        self.done = self.done or ends != "goes on"

        def flag(value):
            return torch.tensor([value])

        info = {
            **{"success_once": flag(ends == "success"), "success_at_end": flag(ends == "success")},
            **{"return": flag(self.total), "episode_len": flag(self.length), "done": flag(self.done)},
            "dropped": flag(dropped),
        }
        return StepResult(
            look and look(),
            reward=flag(reward * valid)[:, None],
            terminated=flag(valid and ends == "success")[:, None],
            truncated=flag(valid and ends == "time")[:, None],
            valid=flag(valid)[:, None],
            info=info,
        )


STILL = torch.zeros(1, 1, 1)


@pytest.mark.parametrize("credit", [True, False])
def test_the_rewards_of_a_failed_attempt_are_forgotten(credit):
    play = Play(Script((1.0, "goes on"), (8.0, "dropped"), (2.0, "goes on"), (4.0, "success")), [START])
    first_noise = play.decision_seed(7, 0)
    lost = []
    for _ in range(4):
        worlds = play.begin()
        assert worlds == [0]
        if not play.earned[0]:
            assert play.decision_seed(7, 0) == first_noise, "the noise of a first decision is what it was"
        play.decisions[0].append(Decision(None, torch.zeros(1)))
        play.step(STILL, credit=credit)
        lost.append(play.decided(worlds) == [])
    assert lost == [False, True, False, False]
    assert play.earned == [[2.0, 4.0]]
    _, trajectory = play.played(0, DEMO)
    assert (trajectory.reward, trajectory.stop, trajectory.episode.length) == (6.0, StopReason.TERMINAL, 2)
    assert [d.step_rewards for d in trajectory.decisions] == ([(2.0,), (4.0,)] if credit else [(), ()])


def test_an_end_by_the_time_limit_is_forgotten_when_the_world_fails_before_the_look():
    """The attempt that counts ends in success: no last view to bootstrap from."""
    play = Play(Script((1.0, "time"), (0.0, "dropped"), (2.0, "success")), [START])
    play.begin()
    play.step(STILL, credit=False, seen=False)
    play.step(STILL, credit=False)
    assert play.last_views == {}
    assert play.begin() == [0]
    play.step(STILL, credit=False)
    _, trajectory = play.played(0, DEMO)
    assert (trajectory.stop, trajectory.final_prompt) == (StopReason.TERMINAL, None)
    assert play.earned == [[2.0]]


def test_an_end_by_the_time_limit_is_seen_at_the_next_look():
    play = Play(Script((1.0, "time"), (0.0, "goes on")), [START])
    play.begin()
    play.step(STILL, credit=False, seen=False)
    assert play.last_views == {}
    play.step(STILL, credit=False)
    assert play.last_views[0].state.tolist() == [1.0], "steps after the end do not count"
    assert play.played(0, DEMO)[1].stop == StopReason.TIME
