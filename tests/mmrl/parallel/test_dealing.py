"""Work dealt to processes, errors that travel between them, and what a process that does not write leaves alone."""

import inspect
import random

import pytest
import torch

from mmrl.contracts.errors import BadSample, ConfigError, DeadPolicy
from mmrl.contracts.types import Decision
from mmrl.contracts.world import ALONE
from mmrl.objectives.batching import micro_batches, tokens_of
from mmrl.objectives.rows import Row
from mmrl.parallel import launch
from mmrl.parallel.dealing import deal
from mmrl.parallel.errors import packed, unpacked
from mmrl.recipe.generating import as_generating
from mmrl.recipe.parallel import ParallelConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.tracking.silent import SilentTracker
from mmrl.tracking.tracker import Tracker
from tests.support.runs import recipe


@pytest.mark.parametrize("seed", range(20))
def test_every_job_is_dealt_and_no_process_has_a_third_too_much(seed):
    draw = random.Random(seed)
    costs, size = [draw.randint(1, 100) for _ in range(draw.randint(0, 30))], draw.randint(1, 8)
    owners = deal(costs, size)
    loads = [sum(cost for cost, owner in zip(costs, owners) if owner == rank) for rank in range(size)]
    assert sum(loads) == sum(costs)
    assert len(owners) == len(costs)
    # A list schedule never exceeds the even share by more than its last job.
    assert max(loads) <= sum(costs) / size + max(costs, default=0) * (1 - 1 / size) + 1e-9
    assert owners == deal(costs, size)


def test_equal_jobs_as_many_as_processes_go_one_to_each_in_order():
    assert deal([1.0] * 4, 4) == [0, 1, 2, 3]
    assert deal([5.0], 3) == [0]


class Counting:
    """A policy whose batches are as long as prompts, each once, and units together."""

    def batch_tokens(self, prompts, units):
        return sum(prompts) + sum(map(sum, units))


def rows_of(*groups):
    """Rows of groups, each a prompt's length and the units of its answers."""
    return [
        Row(Decision(prompt, torch.zeros(units, dtype=torch.long)), "rl", 1.0, number, units)
        for number, (prompt, *answers) in enumerate(groups)
        for units in answers
    ]


def test_several_processes_get_batches_enough_and_no_prompt_twice():
    rows, policy = rows_of((1000, 5, 9), (1001, 7, 7), (1002, 3), (1003, 8, 1, 2), (1004, 5)), Counting()
    (whole,) = micro_batches(rows, policy, 100_000)
    dealt = micro_batches(rows, policy, 100_000, processes=2)
    assert len(dealt) >= 4
    assert sorted(map(id, whole)) == sorted(id(row) for batch in dealt for row in batch)
    prompts = [prompt for batch in dealt for prompt in {row.decision.prompt for row in batch}]
    assert len(prompts) == len(set(prompts)) == 5
    assert sum(tokens_of(batch, policy) for batch in dealt) == tokens_of(rows, policy)


def test_a_budget_that_makes_batches_enough_is_left_alone():
    rows, policy = rows_of(*((1000 + i, 5) for i in range(12))), Counting()
    assert micro_batches(rows, policy, 1100, processes=2) == micro_batches(rows, policy, 1100)


def test_an_error_arrives_with_its_type_its_text_and_what_it_knows():
    bad = unpacked(packed(BadSample("a.jsonl row 3", "has no picture", task="ocr")), "process 1: ")
    assert type(bad) is BadSample
    assert str(bad) == "process 1: a.jsonl row 3: has no picture"
    assert (bad.where, bad.reason, bad.task) == ("a.jsonl row 3", "has no picture", "ocr")
    assert unpacked(packed(DeadPolicy("the loss is nan", "skipped")), "").sign == "skipped"


def test_an_error_that_cannot_travel_arrives_in_words():
    class Local(Exception):
        pass

    error = unpacked(packed(Local("gone")), "process 2: ")
    assert type(error) is RuntimeError
    assert str(error).startswith("process 2: Local: gone (without its type: ")


def test_alone_nothing_is_dealt():
    assert ALONE.exchange("here", 5) == [5]
    assert ALONE.each("here", [1, 2, 3], lambda job: -job, lambda job: 1.0) == [-1, -2, -3]
    assert ALONE.writes


def test_a_silent_tracker_has_an_answer_of_its_own_to_everything():
    public = {name for name, _ in inspect.getmembers(Tracker, inspect.isfunction) if not name.startswith("_")}
    assert public <= vars(SilentTracker).keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parallel": {"shard": "full"}}, r"parallel.shard: 'full' is not built yet.* Allowed: none"),
        ({"parallel": {"shard": "hybrid"}}, r"parallel.shard: 'hybrid' is not built yet"),
        ({"parallel": {"proceses": 2}}, r"unknown key 'proceses'. Did you mean 'processes'"),
        ({"parallel": {"processes": 2}}, r"engine.seeds: 'call' .* with 2 processes .* set engine.seeds: request"),
        ({"parallel": {"processes": 2}, "policy": {"device": "cuda:1"}}, r"policy.device: 'cuda:1' is one device"),
        ({"parallel": {"processes": 2}, "engine": {"name": "vllm"}}, r"engine.name: 'vllm' .* Allowed: hf, flow"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_by_name(change, said, tmp_path):
    settings = recipe("quickstart", tmp_path)
    change = {**change, "policy": {**settings["policy"], **change.get("policy", {})}}
    with pytest.raises(ConfigError, match=said):
        load_recipe({**settings, **change})


def test_experts_that_label_what_the_policy_draws_need_seeds(tmp_path):
    episodes = {"type": "episodes", "simulator": "table", "size": 8}
    settings = recipe("quickstart_robot", tmp_path, method="dagger", parallel={"processes": 2})
    settings |= {"simulators": {"table": {"type": "tabletop", "tasks": ["reach"]}}, "data": {"train": [episodes]}}
    settings |= {"policy": {"type": "openvla", "path": "quickstart_robot"}, "rollout": {"action_chunk": 2}}
    settings.pop("rewards", None)
    with pytest.raises(ConfigError, match=r"engine.seeds: 'call' .* with 2 processes"):
        load_recipe(settings)


def test_a_recipe_of_several_processes_generates_by_one(tmp_path):
    settings = recipe("quickstart", tmp_path, parallel={"processes": 2}, engine={"seeds": "request"})
    assert load_recipe(as_generating(settings)).parallel.processes is None


def test_a_process_without_a_group_calls_no_reward():
    def never(completions, **columns):
        raise AssertionError("it was called")

    assert Rewarder([], never)._earned([]) == []


def test_a_recipe_that_draws_nothing_needs_no_seeds(tmp_path):
    settings = recipe("quickstart", tmp_path, method="sft", parallel={"processes": 3})
    assert load_recipe(settings).parallel.processes == 3


def test_stages_that_generate_are_refused(tmp_path):
    stages = [
        {"name": "make", "generate": {}},
        {"name": "learn", "method": "sft", "data": {"train": [{"type": "generated", "stage": "make"}]}, "steps": 1},
    ]
    settings = recipe("quickstart", tmp_path, stages=stages, parallel={"processes": 2})
    for key in ("method", "steps", "prompts", "demonstrations"):
        del settings[key]
    with pytest.raises(ConfigError, match=r"stages.make.generate: data are generated by one process"):
        load_recipe(settings)


def test_how_many_there_are_is_what_the_launcher_says(monkeypatch):
    assert launch.size_of(ParallelConfig()) == 1
    assert launch.size_of(ParallelConfig(processes=3)) == 3
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert (launch.size_of(ParallelConfig()), launch.launched_rank()) == (4, 2)
    with pytest.raises(ConfigError, match=r"parallel.processes is 3, and the launcher has started 4"):
        launch.size_of(ParallelConfig(processes=3))
