"""Many ManiSkill worlds in one process, as on a GPU, over a stand-in for ManiSkill's environment."""

import pytest
import torch

from robotics import contract, maniskill
from robotics.maniskill import ManiSkillEnv
from robotics.maniskill_starts import RestoredStarts
from tests.support.fake_maniskill import FakeBase
from tests.support.simulators import check_renders

pytest.importorskip("mani_skill")

IDS = [3, -1, 1 << 40, 0, 8]


@pytest.fixture
def make(monkeypatch):
    def parallel(hidden=0.0, **given):
        given = {"num_envs": 5, "max_steps": 9, "backend": "physx_cuda", **given}
        monkeypatch.setattr(maniskill, "build_base", lambda options, mode, worlds: FakeBase(worlds, mode, hidden))
        return ManiSkillEnv(**ManiSkillEnv.SETTINGS.read("maniskill", given))

    return parallel


@pytest.mark.parametrize("reward", ["only_success", "dense", "relative"])
@pytest.mark.parametrize("observation", ["rgb", "state"])
def test_contract(make, reward, observation):
    contract.check_contract(lambda: make(reward=reward, observation=observation), IDS)


def test_a_start_is_a_function_of_the_id_alone(make):
    env = make(observation="state")
    start = env.reset(IDS).state
    for row, start_id in enumerate(IDS):
        generator = torch.Generator().manual_seed(maniskill_seed(start_id))
        assert start[row, 0] == 0.5 * torch.rand(1, 1, generator=generator)
    assert len(start[:, 0].unique()) == len(IDS)


def maniskill_seed(start_id):
    from robotics.maniskill_starts import episode_seed

    seed = episode_seed(start_id)
    assert 0 <= seed < 2**31
    assert seed == start_id or start_id not in range(2**31)
    return seed


def test_actions_are_scaled_to_the_bounds_and_the_spare_world_rests(make):
    env = make()
    env.reset(IDS)
    actions = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [0.5, -0.5], [-9.0, 9.0]])
    env.chunk_step(actions[:, None])
    [raw] = env._base.raw
    expected = [[0.0, 2.0], [-2.0, 0.0], [2.0, 4.0], [0.0, 2.0], [1.0, 1.0], [-2.0, 4.0]]
    torch.testing.assert_close(raw, torch.tensor(expected))


def test_success_failure_and_the_picture_of_a_world_that_ended(make):
    env = make(reward="relative")
    start = env.reset(IDS).state[:, 0]
    ahead = torch.tensor([1.0, -1.0, 0.0, 1.0, 0.0])
    steps = torch.stack([ahead, torch.zeros(5)], dim=1)[:, None].expand(-1, 8, -1)
    result = env.chunk_step(steps)
    x, length, success, failure, total = start.clone(), [0] * 5, [False] * 5, [False] * 5, [0.0] * 5
    for world in range(5):
        level = 0.0
        while length[world] < 8 and not success[world] and not failure[world]:
            x[world] += 0.2 * ahead[world]
            total[world] += (1.0 - abs(x[world] - 1.0)) - level
            level = 1.0 - abs(x[world] - 1.0)
            length[world] += 1
            success[world], failure[world] = bool(abs(x[world] - 1.0) < 0.1), bool(x[world] < -1.0)
    assert result.info["episode_len"].tolist() == length
    assert result.info["success_once"].tolist() == success == [True, False, False, True, False]
    assert result.terminated.any(dim=1).tolist() == [True, True, False, True, False]
    assert failure[1]
    torch.testing.assert_close(result.info["return"], torch.tensor(total))
    torch.testing.assert_close(result.observation.state[:, 0], x)
    assert result.observation.images["front"][:, 0, 0, 0].tolist() == (100 + 50 * x).int().tolist()


def test_cameras_render_once_a_chunk_and_only_those_asked_for(make):
    env = make(cameras=["wrist"])
    env.reset(IDS)
    before = env._base.rendered
    result = env.chunk_step(torch.zeros(5, 6, 2))
    assert env._base.rendered == before + 1
    assert list(result.observation.images) == ["wrist"]
    assert list(env._base._sensors) == ["wrist"]


def test_values_outside_the_simulation_state_are_noticed(make):
    env = make(hidden=0.5, observation="state")
    with pytest.raises(RuntimeError, match=r"outside its simulation state.*set backend: physx_cpu"):
        env.reset(IDS)


def test_unseen_steps_render_nothing(make):
    check_renders(make(), lambda base: base._obs_mode == "rgb", IDS)


def test_worlds_that_ended_unseen_show_where_they_ended(make):
    """In the simulation they go on along the line until somebody looks."""
    env, plain = make(), make()
    for one in (env, plain):
        one.reset(IDS)
    forward = torch.ones(5, 1, 2)
    expected, picture = plain.chunk_step(forward.expand(-1, 8, -1)).observation, plain.render()
    for _ in range(7):
        result = env.unseen_step(forward)
    assert result.info["done"].all()
    assert torch.equal(env.render(), picture)
    contract.assert_same(expected, env.chunk_step(forward).observation)


class Seeded(FakeBase):
    """Notes the seeds of the episodes that were made, not restored."""

    def __init__(self, worlds):
        super().__init__(worlds, "none")
        self.seeds = []

    def reset(self, seed=None, options=None):
        self.seeds += [] if seed is None else [seed]
        super().reset(seed, options)


def starting_points(base, starts, ids):
    starts.start(ids, torch.arange(1, 1 + len(ids)))
    return base.x[1 : 1 + len(ids), 0].tolist()


def test_remembered_starts_are_bounded_and_those_used_last_are_kept():
    base = Seeded(6)
    starts = RestoredStarts(base, remembered=3)
    first = starting_points(base, starts, [1, 2, 3, 2])
    assert base.seeds == [1, 2, 3]
    assert starting_points(base, starts, [1]) == first[:1]
    assert starting_points(base, starts, [4, 4]) != first[:2]
    assert base.seeds == [1, 2, 3, 4]
    # 2 was used longest ago. Made again it is the same; so is a call of more starts than are kept.
    assert starting_points(base, starts, [3, 1, 2]) == [first[2], first[0], first[1]]
    assert base.seeds == [1, 2, 3, 4, 2]
    assert starting_points(base, starts, [5, 1, 2, 3, 4])[1:4] == first[:3]
    for start_id in range(100):
        starts.start([start_id], torch.tensor([1]))
        assert len(starts._made) == 3
