"""Groups of worlds that take turns: the same episodes whatever the threads do, and stepping beside inference."""

import threading
from dataclasses import replace

import pytest
import torch

import robotics
from mmrl.contracts.errors import ConfigError
from mmrl.policies.opening import load_policy
from mmrl.recipe.collecting import Relabel
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.episodes import demonstrate_episodes, play
from mmrl.rollouts.pipeline import lane_seed, take_turns
from mmrl.rollouts.relabelling import relabelled_episodes
from mmrl.rollouts.simulators import Simulators
from robotics.tabletop import TabletopEnv
from tests.support.engines import generate, hf
from tests.support.reflexes import Dice, roll
from tests.support.worlds import BINS, TABLE, check_against_the_simulator, same, starts

# How long a broken pipeline may hold a test up: nothing that works waits.
PATIENCE = 120.0


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))


class Watched(TabletopEnv):
    """A tabletop that calls `Watched.before(env)` ahead of every chunk, and `Watched.after(env)` behind it."""

    before = after = staticmethod(lambda env: None)

    def chunk_step(self, actions):
        Watched.before(self)
        result = super().chunk_step(actions)
        Watched.after(self)
        return result


class Concurrent(Watched):
    concurrent = True


@pytest.fixture
def watched(monkeypatch):
    """Makes pipelined simulators of a watched tabletop, by the name of its class."""
    made = []
    for kind in (Watched, Concurrent):
        monkeypatch.setitem(robotics.registry.SIMULATORS, kind.__name__, f"{__name__}:{kind.__name__}")

    def make(kind, before=lambda env: None, after=lambda env: None):
        monkeypatch.setattr(Watched, "before", staticmethod(before))
        monkeypatch.setattr(Watched, "after", staticmethod(after))
        made.append(Simulators({"table": {**TABLE, "type": kind.__name__}}, 2))
        return made[-1]

    yield make
    for simulators in made:
        simulators.close()


def lane_of(simulators, env):
    return next(lane for (_, _, lane), made in simulators._made.items() if made is env)


def straight_play(policy, engine, env, samples, n, chunk, seed):
    """Tokens and log-probs of every decision of every episode, by one loop over a simulator with a world for each."""
    ids = [sample.episode for sample in samples for _ in range(n)]
    kept, running, call = [[] for _ in ids], list(range(len(ids))), 0
    observation = env.reset(ids)
    sampling = SamplingConfig(max_new_tokens=chunk * policy.units_per_action(env.action_dim))
    from PIL import Image

    while running:
        views = []
        for i in running:
            picture = Image.fromarray(observation.images["top"][i].numpy())
            content = [{"type": "image"}, {"type": "text", "text": observation.instruction[i]}]
            messages = ({"role": "user", "content": content},)
            views.append(replace(samples[i // n], messages=messages, images=(picture,), state=observation.state[i]))
        chosen = generate(engine, policy.prepare(views), sampling, 1, seed + 7919 * call, restrict="action")
        actions = torch.zeros(len(ids), chunk, env.action_dim)
        for i, (completion,) in zip(running, chosen):
            actions[i] = policy.actions(completion.tokens[None], env.action_dim)[0]
            kept[i].append((completion.tokens, completion.log_probs))
        result = env.chunk_step(actions)
        observation, call = result.observation, call + 1
        running = [i for i in running if not result.info["done"][i]]
    return kept


def test_without_turns_episodes_are_those_of_one_loop(policy):
    samples, engine = starts(3), hf(policy)
    groups = play(policy, engine, Simulators({"table": TABLE}), samples, SamplingConfig(), 2, 3, seed=11)
    env = robotics.make({**TABLE, "num_envs": 6})
    expected = straight_play(policy, engine, env, samples, 2, 3, seed=11)
    trajectories = [t for group in groups for t in group.trajectories]
    for trajectory, decisions in zip(trajectories, expected, strict=True):
        for decision, (tokens, log_probs) in zip(trajectory.decisions, decisions, strict=True):
            units = len(decision.tokens)
            assert torch.equal(decision.tokens, tokens[:units])
            assert torch.equal(decision.log_probs, log_probs[:units])


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3])
def test_two_groups_play_what_each_plays_alone(policy, n):
    samples, engine = starts(5), hf(policy)
    made = play(policy, engine, Simulators({"table": TABLE}, 2), samples, SamplingConfig(), n, 2, 5, bootstrap=True)
    dealt = [sample for sample in samples for _ in range(n)]
    alone = [
        play(policy, engine, Simulators({"table": TABLE}), hand, SamplingConfig(), 1, 2, lane_seed(5, lane), True)
        for lane, hand in enumerate((dealt[::2], dealt[1::2]))
    ]
    expected = [alone[i % 2][i // 2] for i in range(len(dealt))]
    assert [group.sample.episode for group in made] == [sample.episode for sample in samples]
    found = [t for group in made for t in group.trajectories]
    for one, other in zip(found, (group.trajectories[0] for group in expected), strict=True):
        assert (one.reward, one.accuracy, one.stop, one.episode) == (
            other.reward,
            other.accuracy,
            other.stop,
            other.episode,
        )
        assert (one.final_prompt is not None) == one.truncated == (other.final_prompt is not None)
        for a, b in zip(one.decisions, other.decisions, strict=True):
            assert torch.equal(a.tokens, b.tokens)
            assert torch.equal(a.log_probs, b.log_probs)
    check_against_the_simulator(policy, made, 2)


def test_equal_ids_start_alike_in_both_groups(policy):
    engine = hf(policy)
    made = play(policy, engine, Simulators({"table": TABLE}, 2), starts(2), SamplingConfig(), 4, 2, seed=5)
    for group in made:
        first, *others = [t.decisions[0].prompt.pixel_values for t in group.trajectories]
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.slow
@pytest.mark.parametrize("expert", [demonstrate_episodes, relabelled_episodes])
def test_the_expert_s_episodes_take_turns_too(policy, expert):
    def made(pipeline):
        simulators = Simulators({"table": {**TABLE, "num_envs": 3}}, pipeline)
        if expert is demonstrate_episodes:
            return expert(policy, simulators, starts(5), 2, True)
        greedy = SamplingConfig(temperature=0.0)
        return expert(policy, hf(policy), simulators, starts(5), greedy, Relabel(), 7)

    same(made(1), made(2))


def test_samples_fewer_than_groups_leave_groups_out():
    simulators = Simulators({"table": TABLE}, 3)
    assert len(roll(simulators, Dice(), count=1, n=2)[0].trajectories) == 2
    assert len(roll(simulators, Dice(), count=1, n=1)[0].trajectories) == 1


def test_groups_share_the_worlds():
    simulators = Simulators({"table": {**TABLE, "num_envs": 5}}, 2)
    roll(simulators, Dice())
    roll(simulators, Dice(), count=7)
    assert sorted(env.num_envs for env in simulators._made.values()) == [2, 3]
    simulators.close()
    assert not simulators._made


def test_a_group_steps_while_the_policy_infers_for_another(watched):
    """Each of the first group's steps, and the inference for the second that follows, begin before the other ends."""
    meeting, met, threads = threading.Barrier(2), [], {"infer": set(), "step": set()}
    first = {sample.episode for sample in starts(4)[::2]}

    def before_step(env):
        threads["step"].add(threading.get_ident())
        if lane_of(simulators, env) == 0 and len(met) < 3:
            meeting.wait(PATIENCE)

    def before_inference(views):
        threads["infer"].add(threading.get_ident())
        if views[0].episode not in first and len(met) < 3:
            met.append(meeting.wait(PATIENCE))

    simulators = watched(Watched, before_step)
    # With one trajectory per sample, the first group has every other sample.
    roll(simulators, Dice(before_inference), n=1)
    assert len(met) == 3
    assert threads["infer"] == {threading.get_ident()}
    assert threads["infer"].isdisjoint(threads["step"])


def test_concurrent_simulators_step_side_by_side(watched):
    meeting, met = threading.Barrier(2), set()

    def before(env):
        lane = lane_of(simulators, env)
        if lane not in met:
            met.add(lane)
            meeting.wait(PATIENCE)

    simulators = watched(Concurrent, before)
    roll(simulators, Dice())
    assert met == {0, 1}


def test_other_simulators_step_one_at_a_time(watched):
    inside, lanes = threading.Semaphore(1), set()

    def before(env):
        assert inside.acquire(blocking=False), "two simulators step at once"
        lanes.add(lane_of(simulators, env))

    simulators = watched(Watched, before, lambda env: inside.release())
    roll(simulators, Dice())
    assert lanes == {0, 1}


@pytest.mark.parametrize("slow", [0, 1])
def test_episodes_do_not_depend_on_which_group_is_slow(watched, slow):
    """The slow group's chunk ends only when the other's next one has ended; the other's go ahead."""
    steps, ended, ahead = [0, 0], threading.Condition(), slow == 1

    def count(env):
        with ended:
            steps[lane_of(simulators, env)] += 1
            ended.notify_all()

    simulators, plain = watched(Concurrent, after=count), Dice()
    expected = roll(simulators, plain)
    total, steps = steps, [0, 0]

    def hold(env):
        if lane_of(simulators, env) == slow:
            with ended:
                wanted = min(steps[slow] + 1 + ahead, total[1 - slow])
                assert ended.wait_for(lambda: steps[1 - slow] >= wanted, PATIENCE)

    simulators, engine = watched(Concurrent, hold, count), Dice()
    found = roll(simulators, engine)
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one.trajectories, other.trajectories, strict=True):
            assert (a.reward, a.stop, a.episode) == (b.reward, b.stop, b.episode)
            assert all(torch.equal(x.tokens, y.tokens) for x, y in zip(a.decisions, b.decisions, strict=True))
    assert engine.seeds == plain.seeds
    assert len(set(plain.seeds)) == len(plain.seeds), "no two inferences share a seed"


@pytest.mark.parametrize("lane", [0, 1])
def test_an_error_in_a_group_s_thread_reaches_the_caller(watched, lane):
    def before(env):
        if lane_of(simulators, env) == lane:
            raise ArithmeticError("the physics exploded")

    simulators = watched(Concurrent, before)
    running = threading.active_count()
    with pytest.raises(ArithmeticError, match="the physics exploded"):
        roll(simulators, Dice())
    assert threading.active_count() == running, "no thread is left behind"


def test_an_error_of_the_policy_waits_for_the_step_in_progress(watched):
    """The simulators may be closed at once: nothing is inside them."""
    entered, leave, log = threading.Event(), threading.Event(), []

    def before(env):
        entered.set()
        assert leave.wait(PATIENCE)

    def fail(views):
        if engine.seeds:
            assert entered.wait(PATIENCE)
            log.append("failed")
            threading.Thread(target=leave.set).start()
            raise KeyboardInterrupt

    engine = Dice(fail)
    with pytest.raises(KeyboardInterrupt):
        roll(watched(Watched, before, lambda env: log.append("stepped")), engine)
    assert log == ["failed", "stepped"]


class Failing(TabletopEnv):
    """A tabletop whose first object drops the episode of its world 0 in its second chunk, once."""

    made = 0

    def __init__(self, **options):
        super().__init__(**options)
        self.fails_at = 2 if Failing.made == 0 else None
        self.chunks = 0
        Failing.made += 1

    def chunk_step(self, actions):
        result = super().chunk_step(actions)
        self.chunks += 1
        if self.chunks != self.fails_at:
            return result
        self.dropped_episodes += 1
        row = torch.arange(self.num_envs) == 0
        valid = result.valid & ~row[:, None]
        info = {**result.info, "dropped": row, "done": result.info["done"] | row}
        rewards = {"reward": result.reward * valid, "truncated": result.truncated & valid}
        return replace(result, info=info, valid=valid, **rewards)


def test_an_episode_in_which_one_group_s_simulator_failed_is_played_again(policy, monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "failing", f"{__name__}:Failing")
    monkeypatch.setattr(Failing, "made", 0)
    simulators = Simulators({"table": {**TABLE, "type": "failing"}}, 2)
    groups = play(policy, hf(policy), simulators, starts(4), SamplingConfig(), 1, 2, seed=1)
    assert simulators.dropped == 1
    check_against_the_simulator(policy, groups, 2)
    # The group without a failure plays what it plays otherwise.
    others = play(policy, hf(policy), Simulators({"table": TABLE}, 2), starts(4), SamplingConfig(), 1, 2, seed=1)
    same(groups[1::2], others[1::2])


def test_turns_rotate_and_every_lane_ends():
    log = []

    def lane(name, calls):
        for call in range(calls):
            log.append((name, (yield lambda call=call: 10 * call)))

    take_turns([lane("a", 3), lane("b", 1), lane("c", 2)], threads=2)
    assert log == [("a", 0), ("b", 0), ("c", 0), ("a", 10), ("c", 10), ("a", 20)]


def recipe(**changes):
    raw = {
        "name": "turns",
        "policy": {"path": "quickstart", "action_bins": 5},
        "simulators": {"table": {"type": "tabletop"}},
        "data": {"train": [{"type": "episodes", "simulator": "table"}]},
        "stages": [{"name": "sft", "method": "sft", "steps": 1}, {"name": "rl", "method": "grpo", "steps": 1}],
    }
    return load_recipe({**raw, **changes})


def test_a_recipe_says_how_many_groups():
    assert recipe().pipeline == 1
    assert recipe(rollout={"pipeline": 2}).pipeline == 2
    assert recipe(rollout={"pipeline": 2}, simulators={"table": {"type": "tabletop", "num_envs": 2}}).pipeline == 2


def test_too_few_worlds_are_refused_when_the_recipe_is_read():
    with pytest.raises(ConfigError, match=r"simulators.table: 1 worlds cannot make 2 groups; set num_envs to 2"):
        recipe(rollout={"pipeline": 2}, simulators={"table": {"type": "tabletop", "num_envs": 1}})


def test_stages_that_differ_are_refused():
    stages = [
        {"name": "sft", "method": "sft", "steps": 1},
        {"name": "rl", "method": "grpo", "steps": 1, "rollout": {"pipeline": 2}},
    ]
    with pytest.raises(ConfigError, match=r"rollout.pipeline differs from stage to stage \(sft: 1, rl: 2\)"):
        recipe(stages=stages)


def test_too_few_worlds_by_default_are_refused_when_they_are_made():
    with pytest.raises(ConfigError, match=r"simulators.arm: 4 worlds cannot make 5 groups"):
        Simulators({"arm": {"type": "maniskill"}}, 5).get("arm", 8)
