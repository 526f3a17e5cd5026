"""Groups of worlds that take turns, each of them worker processes."""

import functools
import multiprocessing

import pytest
import torch

import robotics
from mmrl.contracts.errors import UserError
from mmrl.data.episodes import Episodes
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.episodes import play
from mmrl.rollouts.simulators import Simulators
from robotics.tabletop import TabletopEnv
from robotics.workers import WorkerEnv
from tests.support.faulty import CRASH, faulty_world, one_tabletop
from tests.support.reflexes import Dice, Reflex, roll
from tests.support.worlds import TABLE

PLAIN = {name: value for name, value in TABLE.items() if name != "type"}


class InWorkers(TabletopEnv):
    """A tabletop of as many worker processes as it has worlds."""

    elastic = False

    @classmethod
    def build(cls, options):
        return WorkerEnv("tabletop", functools.partial(one_tabletop, **PLAIN), options["num_envs"], 60.0)


class Faulty(InWorkers):
    """One whose episodes fail as their ids say, at their second chunk."""

    at = 2

    @classmethod
    def build(cls, options):
        return WorkerEnv("faulty", functools.partial(faulty_world, cls.at), options["num_envs"], 60.0)


class FaultyAtOnce(Faulty):
    """The same at their first."""

    at = 1


@pytest.fixture
def simulators(monkeypatch):
    made = []

    def make(kind):
        monkeypatch.setitem(robotics.registry.SIMULATORS, "workers", f"{__name__}:{kind.__name__}")
        made.append(Simulators({"table": {**TABLE, "type": "workers", "num_envs": 2}}, 2))
        return made[-1]

    yield make
    for simulators in made:
        simulators.close()
    assert not multiprocessing.active_children()


def test_worker_processes_play_the_same_episodes(simulators):
    """Two groups of one process each play what two groups of one world each play in this process."""
    expected = roll(Simulators({"table": {**TABLE, "num_envs": 2}}, 2), Dice())
    workers = simulators(InWorkers)
    found = roll(workers, Dice())
    assert all(env.concurrent for env in workers._made.values())
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one.trajectories, other.trajectories, strict=True):
            assert (a.reward, a.accuracy, a.stop, a.episode) == (b.reward, b.accuracy, b.stop, b.episode)
            assert all(torch.equal(x.tokens, y.tokens) for x, y in zip(a.decisions, b.decisions, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FaultyAtOnce, Faulty])
def test_a_worker_that_always_dies_stops_the_run_and_all_processes(simulators, kind):
    samples = list(Episodes(EpisodeData(type="episodes", simulator="table", first=CRASH - 1, size=2)))
    said = r"^simulators.table: faulty worker 0, 3 failures in a row: died \(exit code 7\)$"
    with pytest.raises(UserError, match=said):
        play(Reflex(), Dice(), simulators(kind), samples, SamplingConfig(), 1, 2, seed=0)
