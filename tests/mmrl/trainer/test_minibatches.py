"""How a step's rows are dealt to its optimizer steps, stream by stream, and recipes in which a stream would run dry."""

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import DEMO, Decision, Group, Sample, Trajectory
from mmrl.objectives.batching import _fit, micro_batches
from mmrl.objectives.rows import Row
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.rows import make_rows, outcomes
from mmrl.trainer.step import minibatches


def rows(**counts):
    """Trajectories of one decision, some of two, `counts` of each stream."""
    made = []
    for stream, count in counts.items():
        for i in range(count):
            decision = Decision(None, torch.zeros(1, dtype=torch.long))
            made += [Row(decision, stream, 1.0, len(made) + 1000 * i, 1)] * (1 + i % 2)
    return made


def trajectories(part, stream):
    return {row.trajectory for row in part if row.stream == stream}


def test_eight_demonstrations_over_eight_steps_are_one_each():
    for seed in range(20):
        parts = minibatches(rows(rl=64, demo=8), 8, 2, torch.Generator().manual_seed(seed))
        assert [len(trajectories(part, "demo")) for part in parts] == [1] * 16
        assert [len(trajectories(part, "rl")) for part in parts] == [8] * 16


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9), st.integers(1, 3), st.integers(0, 1000))
def test_every_step_holds_its_share_of_each_stream(rl, demo, count, epochs, seed):
    every = rows(rl=rl, demo=demo)
    parts = minibatches(every, count, epochs, torch.Generator().manual_seed(seed))
    if count * epochs == 1:
        assert parts == [every]
        return
    steps = count
    assert len(parts) == epochs * steps
    for epoch in range(epochs):
        mine = parts[epoch * steps : (epoch + 1) * steps]
        assert sorted(id(row.decision) for part in mine for row in part) == sorted(id(row.decision) for row in every)
        for stream, total in (("rl", rl), ("demo", demo)):
            sizes = [len(trajectories(part, stream)) for part in mine]
            assert sum(sizes) == total, "no trajectory is cut in two"
            assert not sizes or max(sizes) - min(sizes) <= 1
        sizes = [len(trajectories(part, "rl")) + len(trajectories(part, "demo")) for part in mine]
        assert not sizes or max(sizes) - min(sizes) <= 1


def in_groups(n, prompts):
    """`prompts` groups of n trajectories, numbered as `make_rows` numbers them."""
    decisions = [Decision(prompt, torch.zeros(1, dtype=torch.long)) for prompt in prompts for _ in range(n)]
    return [Row(d, "rl", 1.0, i, 1, group_size=n, group=i - i % n) for i, d in enumerate(decisions)]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 2), st.integers(0, 100))
def test_a_group_is_dealt_whole_or_one_by_one(groups, n, count, epochs, seed):
    prompts = [SimpleNamespace(length=3) for _ in range(groups)]
    every = in_groups(n, prompts)
    for by in ("group", "trajectory"):
        parts = minibatches(every, count, epochs, torch.Generator().manual_seed(seed), by)
        assert len(parts) == count * epochs
        for epoch in range(epochs):
            mine = parts[epoch * count : (epoch + 1) * count]
            assert sorted(row.trajectory for part in mine for row in part) == list(range(groups * n))
            if by == "group":
                sizes = [len({row.group for row in part}) for part in mine]
                assert sum(sizes) == groups, "a prompt is in one optimizer step"
                assert max(sizes) - min(sizes) <= 1
            else:
                assert max(map(len, mine)) - min(map(len, mine)) <= 1
    if n == 1:
        seeded = (torch.Generator().manual_seed(seed) for _ in range(2))
        ours, theirs = (minibatches(every, count, epochs, g, by) for g, by in zip(seeded, ("group", "trajectory")))
        assert ours == theirs, "groups of one are trajectories"


@pytest.mark.parametrize("stream", ["rl", "demo"])
def test_the_order_of_one_stream_is_the_recorded_one(stream):
    """Results on record depend on it: one permutation per epoch, every k-th of it to step k."""
    every = rows(**{stream: 11})
    parts = minibatches(every, 4, 2, torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    names = list(dict.fromkeys(row.trajectory for row in every))
    for epoch in range(2):
        order = torch.randperm(11, generator=g).tolist()
        for k in range(4):
            wanted = [row for i in order[k::4] for row in every if row.trajectory == names[i]]
            assert parts[4 * epoch + k] == wanted


def test_the_rows_of_a_step_know_their_groups():
    """Each prompt's answers, and a demonstration that joins them, in one optimizer step; another stream's by itself."""

    def answers(count, origin="policy"):
        return [Trajectory((Decision(None, torch.zeros(2, dtype=torch.long)),), reward=1.0, origin=origin)] * count

    groups = [Group(Sample(name, (), "t", {}), tuple(answers(3) + answers(1, DEMO))) for name in "ab"]
    learned = [Group(Sample(name, (), "t", {}), tuple(answers(1, DEMO))) for name in "cd"]
    batch = StepBatch(rollouts=tuple(groups), demonstrations=tuple(learned))
    stage = StageConfig(name="x", method="co_train", steps=1)
    rows, _ = make_rows(batch, stage.objective, stage)
    assert [row.group for row in rows] == [0] * 4 + [4] * 4 + [8, 9]
    episodes = [
        Trajectory(tuple(Decision(SimpleNamespace(length=1), torch.zeros(2, dtype=torch.long)) for _ in "ab"), reward=r)
        for r in (0.0, 1.0, 1.0)
    ]
    played = StepBatch(rollouts=(Group(Sample("e", (), "t", {}), tuple(episodes)),))
    assert [row.group for row in make_rows(played, stage.objective, stage)[0]] == [0, 0, 2, 2, 4, 4], "no shared prompt"
    for part in minibatches(rows, 2, 1, torch.Generator().manual_seed(0)):
        assert sorted(Counter(row.group for row in part).values()) == [1, 4]


def recipe(method, **stage):
    return {
        "name": "x",
        "policy": {"path": "anywhere"},
        "data": {"train": [{"type": "digits"}]},
        "stages": [{"name": "rl", "method": method, "steps": 1, **stage}],
    }


FILTERED = {"filter": {}}
UNEVEN = {"streams": {"rl": {"normalise": "constant"}}}
BY_PROMPT = {
    "streams": {
        "rl": {"normalise": "constant", "per_prompt": True},
        "demo": {"normalise": "sequence", "per_prompt": True},
    }
}
REFUSED = {
    "fewer demonstrations": (
        recipe("co_train", minibatches=8, demonstrations=4),
        "minibatches 8 exceeds demonstrations 4",
    ),
    "fewer prompts": (recipe("co_train", minibatches=8, prompts=4), "minibatches 8 exceeds prompts 4"),
    "sft": (recipe("sft", minibatches=8, demonstrations=4), "minibatches 8 exceeds demonstrations 4"),
    "a gate's few": (recipe("hpt", minibatches=2, objective=UNEVEN), "set per_prompt: true in both"),
    "a filter's few": (
        recipe("co_train", minibatches=4, minibatch_by="trajectory", objective=FILTERED, rollout={"n": 2}),
        "minibatches 4 exceeds rollout.n 2",
    ),
    "a filter's one group": (
        recipe("co_train", minibatches=2, objective=FILTERED),
        "minibatches 2 with minibatch_by group, .* set minibatch_by to trajectory",
    ),
}
TAKEN = {
    "as many": recipe("co_train", minibatches=8, demonstrations=8, prompts=8),
    "no demonstrations drawn": recipe("grpo", minibatches=8, demonstrations=4),
    "one stream behind a filter": recipe("dapo", minibatches=4, rollout={"n": 2}),
    "answers of the one group": recipe("co_train", minibatches=2, minibatch_by="trajectory", objective=FILTERED),
    "a gate by prompts": recipe("hpt", minibatches=2, objective=BY_PROMPT),
    "a gate as published": recipe("hpt", minibatches=2),
    "one step": recipe("hpt", minibatches=1, objective=UNEVEN),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_stream_that_would_miss_from_some_steps_is_refused(name):
    raw, cause = REFUSED[name]
    with pytest.raises(ConfigError, match=f"stages.rl: .*{cause}"):
        load_recipe(raw)


@pytest.mark.parametrize("name", TAKEN)
def test_others_are_taken(name):
    load_recipe(TAKEN[name])


LORA = {"path": "anywhere", "lora": {"rank": 4, "dropout": 0.1}}


@pytest.mark.parametrize(
    ("method", "stage"),
    [
        ("grpo", {"minibatches": 2}),
        ("ppo", {"epochs": 2}),
        ("hpt", {"minibatches": 2}),
        ("filtered_bc", {"epochs": 2, "objective": {"kl": {"weight": 0.1, "ratio_weighted": True}}}),
    ],
)
def test_dropout_of_adapters_beside_ratios_of_several_updates_is_refused(method, stage):
    raw = recipe(method, **stage)
    raw["policy"] = {**LORA, "value_head": {}} if method == "ppo" else LORA
    with pytest.raises(ConfigError, match=r"stages.rl: policy.lora.dropout 0.1 .* minibatches x epochs 2"):
        load_recipe(raw)


@pytest.mark.parametrize(
    ("method", "stage"), [("grpo", {}), ("sft", {"epochs": 2}), ("filtered_bc", {"minibatches": 2})]
)
def test_dropout_is_taken_where_no_ratio_reads_it(method, stage):
    load_recipe({**recipe(method, **stage), "policy": LORA})


def test_a_base_reference_without_adapters_is_refused():
    raw = recipe("grpo", objective={"kl": {"weight": 0.1, "reference": "base"}})
    with pytest.raises(ConfigError, match=r"kl.reference base is the model below LoRA's adapters; set policy.lora"):
        load_recipe(raw)
    load_recipe({**raw, "policy": {"path": "anywhere", "lora": {}}})


def test_the_sampler_is_told_what_each_trajectory_came_to():
    trajectories = tuple(
        Trajectory((Decision(None, torch.zeros(n)),), reward=reward, accuracy=accuracy)
        for n, reward, accuracy in ((2, 0.5, 1.0), (3, None, 0.0))
    )
    (told,) = outcomes([Group(Sample("0", (), "ocr", {}, draw=(1, 7)), trajectories)], 9)
    assert (told.dataset, told.row, told.version) == (1, 7, 9)
    assert (told.accuracies, told.rewards, told.lengths) == ((1.0, 0.0), (0.5, 0.0), (2, 3))


def test_rows_of_one_prompt_are_cut_where_the_budget_ends():
    policy = SimpleNamespace(batch_tokens=lambda prompts, units: sum(map(sum, units)))
    prompt = object()
    mine = [Row(Decision(prompt, torch.zeros(n)), "rl", 1.0, i, n) for i, n in enumerate((1, 4, 4, 1, 7, 2))]
    pieces = _fit(mine, policy, 5)
    assert [[row.units for row in piece] for piece in pieces] == [[1, 4], [4, 1], [7], [2]]


def padded(prompts, units):
    """Tokens where every row is as long as the longest."""
    return sum(map(len, units)) * max(prompt.length + max(n) for prompt, n in zip(prompts, units))


@given(
    prompts=st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 5), min_size=1, max_size=4)), max_size=12),
    budget=st.integers(1, 60),
)
def test_batches_take_prompts_from_the_shortest_on_while_all_stay_within_the_budget(prompts, budget):
    policy = SimpleNamespace(batch_tokens=padded)
    made = []
    for length, lengths in prompts:
        prompt = SimpleNamespace(length=length)
        made += [Row(Decision(prompt, torch.zeros(n)), "rl", 1.0, len(made) + i, n) for i, n in enumerate(lengths)]
    batches = micro_batches(made, policy, budget)
    assert sorted(row.trajectory for batch in batches for row in batch) == list(range(len(made)))

    def asked(batch):
        units = {}
        for row in batch:
            units.setdefault(id(row.decision.prompt), (row.decision.prompt, []))[1].append(row.units)
        return padded([prompt for prompt, _ in units.values()], [n for _, n in units.values()])

    assert all(len(batch) == 1 or asked(batch) <= budget for batch in batches)
    for batch, following in pairwise(batches):
        first = following[0].decision.prompt
        piece = [row for row in following if row.decision.prompt is first]
        assert asked(batch + piece) > budget
