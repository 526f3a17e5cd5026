"""Steps that nobody looks at: no simulator draws for them, and later pictures are those of the worlds as they are."""

import functools

import pytest
import torch

import robotics
from robotics import contract
from robotics.base import VectorEnv
from robotics.libero import LiberoEnv
from robotics.recording import Recorder
from robotics.tabletop import TabletopEnv
from robotics.workers import WorkerEnv
from tests.support.faulty import RAISE, faulty_world
from tests.support.media import SHARED

TABLE = {"type": "tabletop", "num_envs": 3, "tasks": ["push"], "image_size": 24, "max_steps": 12}
ASSETS = SHARED / "libero_assets"


class CountedTable(TabletopEnv):
    """A tabletop that says in `info` how many pictures it has drawn."""

    def __init__(self, **options):
        super().__init__(**options)
        self.drawn, draw = 0, self._renderer

        def counted(world):
            self.drawn += 1
            return draw(world)

        self._renderer = counted

    def unseen_step(self, actions):
        result = super().unseen_step(actions)
        result.info["drawn"] = torch.full((self.num_envs,), self.drawn)
        return result


class CountedLibero(LiberoEnv):
    """The same of LIBERO, whose pictures are one of each camera."""

    drawn = 0

    def _picture(self, camera):
        self.drawn += 1
        return super()._picture(camera)

    def unseen_step(self, actions):
        result = super().unseen_step(actions)
        result.info["drawn"] = torch.tensor([self.drawn])
        return result


def table_world():
    given = {"num_envs": 1, "tasks": ["push"], "image_size": 24, "max_steps": 12}
    return CountedTable(**TabletopEnv.SETTINGS.read("tabletop", given))


def libero_world():
    given = {"num_envs": 1, "tasks": [0], "image_size": 16, "max_steps": 12, "assets": str(ASSETS)}
    return CountedLibero(**LiberoEnv.SETTINGS.read("libero", given))


def drawn_by(env):
    """Pictures drawn until each of: a reset and a seen chunk; three unseen steps; a seen chunk."""
    still = torch.zeros(env.num_envs, 2, env.action_dim)
    env.reset(range(env.num_envs))
    counts = [env.chunk_step(still).info["drawn"][0].item()]
    counts += [env.unseen_step(still[:, :1]).info["drawn"][0].item() for _ in range(3)]
    env.chunk_step(still)
    return [*counts, env.unseen_step(still[:, :1]).info["drawn"][0].item()]


def test_tabletop_draws_nothing_unseen():
    # The count is read before the chunk's own picture is drawn.
    assert drawn_by(table_world()) == [1, 2, 2, 2, 3]


@pytest.mark.slow
def test_workers_draw_nothing_unseen():
    env = WorkerEnv("table", table_world, 2, timeout=60.0)
    assert drawn_by(env) == [1, 2, 2, 2, 3]
    env.close()


@pytest.mark.slow
def test_libero_draws_nothing_unseen(libero):
    env = WorkerEnv("libero", libero_world, 1, timeout=300.0)
    assert drawn_by(env) == [2, 4, 4, 4, 6]
    env.close()


def test_the_default_is_a_chunk_without_what_it_saw():
    class Plain(TabletopEnv):
        unseen_step = VectorEnv.unseen_step

        def chunk_step(self, actions):
            result = TabletopEnv.unseen_step(self, actions)
            return robotics.StepResult(**{**vars(result), "observation": self.observe()})

    options = TabletopEnv.SETTINGS.read("tabletop", {k: v for k, v in TABLE.items() if k != "type"})
    contract.check_unseen_steps(lambda: Plain(**options), [4, 5, 6])


class Forgetful(TabletopEnv):
    """A tabletop that shows what was seen last, whatever happened unseen."""

    def observe(self):
        self.known = getattr(self, "known", None) or super().observe()
        return self.known


class Loud(TabletopEnv):
    """A tabletop that observes what nobody asked for."""

    def unseen_step(self, actions):
        return robotics.StepResult(**{**vars(super().unseen_step(actions)), "observation": self.observe()})


@pytest.mark.parametrize("kind", [Forgetful, Loud])
def test_the_contract_s_check_notices_faults(kind):
    options = TabletopEnv.SETTINGS.read("tabletop", {k: v for k, v in TABLE.items() if k != "type"})
    with pytest.raises(AssertionError):
        contract.check_unseen_steps(lambda: kind(**options), [4, 5, 6])


def test_a_recorded_chunk_draws_the_others_cameras_once():
    env = CountedTable(**TabletopEnv.SETTINGS.read("tabletop", {"num_envs": 2, "max_steps": 12}))
    film = Recorder(env, worlds=[1])
    film.reset([0, 1])
    film.chunk_step(torch.zeros(2, 5, 3))
    # Two at the start, five for the film and one after the chunk.
    assert env.drawn == 8
    assert film.unseen_step(torch.zeros(2, 3, 3)).observation is None
    assert len(film.frames(1)) == 9


def test_a_world_that_fails_unseen_is_dropped():
    env = WorkerEnv("faulty", functools.partial(faulty_world, 2), 2, timeout=60.0)
    first = env.reset([1, RAISE])
    still = torch.zeros(2, 1, 3)
    dropped = [env.unseen_step(still).info["dropped"].tolist() for _ in range(3)]
    assert dropped == [[False, False], [False, True], [False, True]]
    seen = env.observe()
    assert torch.equal(seen.images["top"][1], first.images["top"][1])
    assert env.dropped_episodes == 1
    env.close()
