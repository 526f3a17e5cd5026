"""Stages that ask a simulator's scripted expert for demonstrations, and simulators that have none."""

import functools

import pytest
import yaml

import mmrl
import robotics
from mmrl.commands.dry_run import dry_run
from mmrl.contracts.errors import ConfigError
from mmrl.data.episodes import Episodes
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.experts import refusals
from robotics.tabletop import TabletopEnv
from robotics.workers import WorkerEnv
from tests.support.errors import content, refused
from tests.support.faulty import one_tabletop
from tests.support.robot_data import write_lerobot

PLAYED = {"type": "episodes", "simulator": "table", "size": 8}
DRAWN = "set use: rollouts there, where other data give demonstrations, or use a method without (grpo)"
NEVER = "use a method that demonstrates no episodes (grpo)"


class Inexpert(TabletopEnv):
    """A tabletop without an expert, which shows when one is made."""

    has_expert = True

    def __init__(self, **options):
        super().__init__(**options)
        self.has_expert = False


class InexpertWorkers(TabletopEnv):
    """The same in worker processes, which tell."""

    @classmethod
    def build(cls, options):
        env = WorkerEnv("tabletop", functools.partial(one_tabletop, image_size=28), options["num_envs"], 60.0)
        env.has_expert = False
        return env


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    for kind in (Inexpert, InexpertWorkers):
        monkeypatch.setitem(robotics.registry.SIMULATORS, kind.__name__, f"{__name__}:{kind.__name__}")


def recipe(method="grpo", train=PLAYED, kind="Inexpert", **settings):
    return {
        "name": "run",
        "threads": 1,
        "policy": {"path": "quickstart", "device": "cpu", "action_bins": 9},
        "simulators": {"table": {"type": kind, "tasks": ["reach"], "image_size": 28, "max_steps": 2}},
        "data": {"train": train if isinstance(train, list) else [train]},
        "method": method,
        "steps": 1,
        "prompts": 2,
        "demonstrations": 2,
        "rollout": {"n": 2},
        "tracking": {"console": "none", "tensorboard": False},
        **settings,
    }


def asked(*args, **settings):
    read = load_recipe(recipe(*args, **settings))
    return refusals(read.data.train, read.stages)


@pytest.mark.parametrize("method", ["sft", "dagger", "chord_mu"])
@pytest.mark.parametrize("use", ["all", "demonstrations"])
def test_a_stage_that_draws_demonstrations_asks_the_expert(method, use):
    line = f"data.train.1: stage '{method}' draws demonstrations of these episodes, and simulators.table has no"
    data = [{"type": "digits", "size": 8}, {**PLAYED, "use": use}]
    assert asked(method, data) == {"table": f"{line} scripted expert to give them; {DRAWN}"}


@pytest.mark.parametrize("method", ["sft", "chord_mu"])
def test_rollouts_alone_ask_nobody(method):
    data = [{"type": "digits", "size": 8}, {**PLAYED, "use": "rollouts"}]
    assert asked(method, data) == {}


@pytest.mark.parametrize(("method", "critic"), [("grpo", {}), ("ppo", {"value_head": {"width": 8}})])
def test_a_method_without_demonstrations_asks_nobody(method, critic):
    assert asked(method, policy={"path": "quickstart", "action_bins": 9, **critic}) == {}


def test_demonstrations_in_place_of_rollouts_ask_whatever_the_use():
    limit = {"streams": {"rl": {"max_units": 6}}}
    for use in ("all", "rollouts"):
        [line] = asked("hpt", {**PLAYED, "use": use}, objective=limit).values()
        assert line.startswith("data.train.0: stage 'hpt' ")
        assert line.endswith(NEVER)


def test_the_first_stage_that_asks_is_named():
    stages = [{"name": name, "method": m, "steps": 1} for name, m in (("a", "grpo"), ("b", "sft"), ("c", "sft"))]
    read = recipe(stages=stages)
    del read["method"], read["steps"]
    read = load_recipe(read)
    assert "stage 'b'" in refusals(read.data.train, read.stages)["table"]


@pytest.mark.parametrize("kind", ["Inexpert", "InexpertWorkers"])
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_run_and_a_dry_run_end_with_that_line(capsys, workplace, kind, options):
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(recipe("chord_mu", kind=kind)))
    before = content(workplace)
    [line] = refused(capsys, "train", "recipe.yaml", *options)
    assert line == asked("chord_mu")["table"]
    assert content(workplace) == before


@pytest.mark.slow
def test_recorded_demonstrations_beside_rollouts_train(workplace):
    write_lerobot(workplace / "arm", stored=True)
    recorded = {"type": "lerobot", "path": "arm", "image_size": 28, "cameras": {"observation.images.top": "top"}}
    raw = recipe("chord_mu", [{**PLAYED, "use": "rollouts"}, recorded])
    dry_run(load_recipe(raw))
    assert mmrl.train(raw).summary["finished"]
    played = recipe("chord_mu", [PLAYED, recorded], name="other")
    with pytest.raises(ConfigError, match="use: rollouts"):
        dry_run(load_recipe(played))


def test_a_method_without_demonstrations_trains(workplace):
    dry_run(load_recipe(recipe()))
    assert mmrl.train(recipe()).summary["finished"]


def test_data_from_python_replace_those_of_the_recipe(workplace):
    """They draw nothing of the recipe's datasets; what they ask shows when they are drawn."""
    rows = list(Episodes(load_recipe(recipe()).data.train[0]))
    with pytest.raises(ConfigError, match=r"simulators.table has no scripted expert, .*; set use: rollouts of"):
        mmrl.train(recipe("sft"), train_data=rows)
