"""What holds of advantages and transforms whatever the rewards, group sizes and orders."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.types import Decision, Group, Sample, Trajectory
from mmrl.objectives.advantages import weigh_groups
from mmrl.objectives.controllers import Controllers
from mmrl.objectives.scored import Scored
from mmrl.objectives.stateful import Stateful
from mmrl.recipe.advantages import Advantage, AdvantageSettings
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.rows import make_rows

# Multiples of 1/8 add up without rounding.
REWARD = st.integers(-16, 16).map(lambda k: k / 8)
GROUPS = st.lists(
    st.lists(st.tuples(REWARD, st.integers(1, 6), st.booleans()), min_size=1, max_size=5), min_size=1, max_size=4
)
CENTRED = [
    {"baseline": baseline, "scale": scale}
    for baseline in ("group_mean", "leave_one_out", "length_mean")
    for scale in ("none", "group_std", "batch_std")
]
SHIFT_FREE = [
    *CENTRED,
    {"baseline": "batch_mean", "scale": "batch_std"},
    {"kind": "whitened", "baseline": "none"},
    {"kind": "whitened", "baseline": "group_mean"},
    {"kind": "signed"},
]
few = settings(max_examples=15, deadline=None, database=None, derandomize=True)


def scored(groups, shift=0.0):
    return [[Scored(reward + shift, accuracy=float(right), units=n) for reward, n, right in group] for group in groups]


def weigh(groups, advantage, **objective):
    made = resolve_objective("grpo", {"advantage": {"kind": "standard", **advantage}, **objective})
    return [[torch.as_tensor(a, dtype=torch.float64).reshape(-1) for a in g] for g in weigh_groups(groups, made)]


def close(a, b):
    return all(torch.allclose(x, y, atol=1e-9) for g, h in zip(a, b, strict=True) for x, y in zip(g, h, strict=True))


@pytest.mark.parametrize("advantage", [*CENTRED, {"kind": "signed"}], ids=str)
@given(reward=REWARD, size=st.integers(1, 5), others=GROUPS)
@few
def test_equal_groups_and_groups_of_one_teach_exactly_nothing(advantage, reward, size, others):
    groups = [[(reward, 1 + i, True) for i in range(size)], *others]
    assert all(float(a.abs().max()) == 0.0 for a in weigh(scored(groups), advantage)[0])


@pytest.mark.parametrize("advantage", SHIFT_FREE, ids=str)
@given(groups=GROUPS, shift=st.integers(-64, 64))
@few
def test_a_constant_added_to_rewards_changes_nothing(advantage, groups, shift):
    assert close(weigh(scored(groups), advantage), weigh(scored(groups, shift / 8), advantage))


@pytest.mark.parametrize("advantage", [*SHIFT_FREE, {"baseline": "none", "scale": "none"}], ids=str)
@given(groups=GROUPS, data=st.data())
@few
def test_permuted_rows_have_permuted_advantages(advantage, groups, data):
    orders = [data.draw(st.permutations(range(len(group)))) for group in groups]
    shuffled = [[group[i] for i in order] for group, order in zip(groups, orders)]
    plain, moved = weigh(scored(groups), advantage), weigh(scored(shuffled), advantage)
    assert close([[group[i] for i in order] for group, order in zip(plain, orders)], moved)


@given(groups=GROUPS)
@few
def test_transforms_act_on_each_advantage(groups):
    table = scored(groups)
    plain = weigh(table, {"baseline": "group_mean", "scale": "none"})

    def through(**transforms):
        return weigh(table, {"baseline": "group_mean", "scale": "none"}, advantage_transforms=transforms)

    assert close(through(bound={"bound": 0.5}), [[a.clamp(-0.5, 0.5) for a in g] for g in plain])
    halved = [[torch.where(a < 0, a / 2, a) for a in g] for g in plain]
    assert close(through(sign_scale={"negative": 0.5}), halved)
    q = [sum(right for *_, right in group) / len(group) for group in groups]
    assert close(through(difficulty={"scale": 1.0}), [[4 * x * (1 - x) * a for a in g] for g, x in zip(plain, q)])
    white = torch.cat([a for g in through(whiten={}) for a in g])
    assert abs(float(white.mean())) < 1e-9
    assert float(white.abs().max()) == 0.0 or abs(float(white.std()) - 1) < 1e-5


def test_no_groups_have_no_advantages():
    for advantage in SHIFT_FREE:
        assert weigh([], advantage) == []


class Memory(AdvantageSettings):
    kind: str = "memory"


class MovingMean:
    """The reward minus the mean of all rewards so far."""

    def __init__(self, own):
        self.total, self.count = 0.0, 0

    def __call__(self, groups, own):
        rewards = [t.reward for group in groups for t in group]
        self.total, self.count = self.total + sum(rewards), self.count + len(rewards)
        return [[t.reward - self.total / self.count for t in group] for group in groups]

    def state_dict(self):
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state):
        self.total, self.count = state["total"], state["count"]


MEMORY = Advantage(code=MovingMean, settings=Memory, doc="reward minus the mean so far")


def test_an_advantage_that_remembers_goes_on_from_its_state():
    kind = f"{__name__}:MEMORY"
    stage = StageConfig(name="x", method="grpo", steps=1, objective={"advantage": {"kind": kind}})

    def advantages(stateful, *rewards):
        decision = Decision(None, torch.zeros(2, dtype=torch.long))
        answers = tuple(Trajectory((decision,), reward=reward) for reward in rewards)
        batch = StepBatch(rollouts=(Group(Sample("s", (), "t", {}), answers),))
        return [row.advantage for row in make_rows(batch, stage.objective, stage, stateful=stateful)[0]]

    whole = Stateful(stage.objective)
    assert advantages(whole, 1.0, 3.0) == [-1.0, 1.0]
    resumed = Stateful(stage.objective)
    resumed.load_state_dict(whole.state_dict())
    assert advantages(whole, 6.0, 2.0) == advantages(resumed, 6.0, 2.0) == [3.0, -1.0]
    with pytest.raises(CheckpointError, match=r"objective.advantage is of another kind"):
        resumed.load_state_dict({"advantage": {"mean": 1.0}})


def test_controllers_of_a_number_go_on_from_their_state():
    parts = {
        "anneal": {"key": "kl.weight", "start": 0.4, "end": 0.0, "steps": 4},
        "chance": {"key": "streams.rl.weight", "probability": 0.5},
    }
    kl = {"weight": 0.4}
    stage = StageConfig(name="x", method="grpo", steps=9, objective={"controllers": parts, "kl": kl})
    whole, set_to = Controllers(stage), []
    for step in range(9):
        if step == 3:
            resumed = Controllers(stage)
            resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
            whole = resumed
        control = whole.control()
        set_to.append((control.objective["kl.weight"], control.objective["streams.rl.weight"]))
        assert whole.applied(control).objective.kl.weight == set_to[-1][0]
        whole.observe({})
    assert [weight for weight, _ in set_to] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    fresh = Controllers(stage).parts["chance"]
    drawn = []
    for _ in range(9):
        drawn.append(fresh.control().objective["streams.rl.weight"])
        fresh.observe({})
    assert [weight for _, weight in set_to] == drawn
    assert set(drawn) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("method", "objective", "said"),
    [
        ("grpo", {"pairs": True}, "pairs needs demonstrations: true"),
        ("grpo", {"streams": {"rl": {"from": "pairs"}}}, "takes pairs, and this objective makes none; set pairs: true"),
        (
            "grpo",
            {"mismatch": {"kind": "mask"}, "streams": {"rl": {"weights": {"behaviour": {}}}}},
            "correct one gap twice",
        ),
        ("grpo", {"streams": {"rl": {"weights": {"behaviour": {"low": 3.0}}}}}, "low 3.0 is not below high 2.0"),
        ("grpo", {"streams": {"rl": {"weights": {"top_entrpy": {}}}}}, "Did you mean 'top_entropy'"),
        ("grpo", {"kl": {"weight": 0.1, "reference": "base", "decay": 0.9}}, "decay moves a copy of the policy"),
        ("grpo", {"reward_transforms": {"ground_truth": {}}}, "none is injected; set inject"),
        ("ppo", {"advantage_transforms": {"whiten": {}}}, "advantage_transforms change the advantages of groups"),
        ("sft", {"advantage_transforms": {"whiten": {}}}, "advantage_transforms needs rollouts: true"),
        (
            "grpo",
            {"controllers": {"anneal": {"key": "kl.wieght", "start": 1, "end": 0, "steps": 2}}},
            "key kl.wieght is none of the objective",
        ),
        ("bapo", {"streams": {"rl": {"coefficient": {"low": 0.95}}}}, "low 0.95 <= low_most 0.9"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(method, objective, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective(method, objective)
