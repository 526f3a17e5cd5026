"""How a step's rows are dealt to its optimizer steps, stream by stream, and recipes in which a stream would run dry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row
from mmrl.recipe.schema import load_recipe
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
        recipe("co_train", minibatches=4, objective=FILTERED, rollout={"n": 2}),
        "minibatches 4 exceeds rollout.n 2",
    ),
}
TAKEN = {
    "as many": recipe("co_train", minibatches=8, demonstrations=8, prompts=8),
    "no demonstrations drawn": recipe("grpo", minibatches=8, demonstrations=4),
    "one stream behind a filter": recipe("dapo", minibatches=4, rollout={"n": 2}),
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
