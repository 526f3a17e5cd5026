"""What a simulator raises while it plays: one line with its place in the recipe, and faults of the code as they are."""

import functools
import multiprocessing

import pytest
import yaml

import robotics
from mmrl.cli import main
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.data.episodes import Episodes
from mmrl.recipe.data import EpisodeData
from mmrl.rollouts.episodes import Play
from mmrl.rollouts.expert_statistics import expert_statistics
from mmrl.rollouts.simulators import Simulators
from robotics.tabletop import TabletopEnv
from robotics.workers import WorkerEnv
from tests.support.errors import content, refused
from tests.support.faulty import HANG, faulty_world

TABLE = {"type": "failing", "tasks": ["reach"], "image_size": 28, "max_steps": 2}
SAID = "start 50\nis not there"
# What a simulator raises -> what it becomes.
CONTRACT = {ValueError: ConfigError, ImportError: ConfigError, robotics.SimulatorError: UserError}
FAULTS = (AssertionError, TypeError, KeyError, RuntimeError)
CALLS = ("reset", "chunk_step", "unseen_step", "expert_action")


class Failing(TabletopEnv):
    """Raises `error` when `call` is called."""

    call, error = "", Exception

    def _fail(self, call):
        if call == self.call:
            raise self.error(SAID)

    def reset(self, ids, worlds=None):
        self._fail("reset")
        return super().reset(ids, worlds)

    def chunk_step(self, actions):
        self._fail("chunk_step")
        return super().chunk_step(actions)

    def unseen_step(self, actions):
        self._fail("unseen_step")
        return super().unseen_step(actions)

    def expert_action(self):
        self._fail("expert_action")
        return super().expert_action()


class Hanging(TabletopEnv):
    """A worker process that answers no reset."""

    @classmethod
    def build(cls, options):
        return WorkerEnv("hanging", functools.partial(faulty_world, 0), options["num_envs"], 0.25)


@pytest.fixture
def failing(monkeypatch):
    """`failing(call, error)`: simulators of type `failing` raise that there."""

    def choose(call, error):
        monkeypatch.setattr(Failing, "call", call)
        monkeypatch.setattr(Failing, "error", error)

    monkeypatch.setitem(robotics.registry.SIMULATORS, "failing", f"{__name__}:Failing")
    return choose


def starts(count, **config):
    return list(Episodes(EpisodeData(type="episodes", simulator="table", size=count, **config)))


def play(episodes):
    """Each call that an episode makes."""
    episodes.begin()
    advised_EA = episodes.expert_action()
    episodes.step(advised_EA[:, None], credit=False, seen=False)
    episodes.step(advised_EA[:, None], credit=False)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", [*CONTRACT, *FAULTS])
def test_what_playing_raises(failing, call, error):
    failing(call, error)
    episodes = Play(Simulators({"table": TABLE}).get("table", 2), starts(2))
    with pytest.raises(CONTRACT.get(error, error)) as caught:
        play(episodes)
    if error in CONTRACT:
        assert type(caught.value) is CONTRACT[error]
        assert str(caught.value) == "simulators.table: start 50 is not there"
        assert isinstance(caught.value.__cause__, error)
    else:
        assert type(caught.value) is error


@pytest.mark.parametrize("call", ["reset", "chunk_step", "expert_action"])
@pytest.mark.parametrize("error", [*CONTRACT, *FAULTS])
def test_what_computing_statistics_raises(failing, call, error):
    failing(call, error)
    with pytest.raises(CONTRACT.get(error, error)) as caught:
        expert_statistics(Simulators({"table": TABLE}).get("table", 2), starts(2))
    assert not isinstance(caught.value, UserError) or str(caught.value).startswith("simulators.table: start 50")


@pytest.mark.slow
def test_a_worker_that_answers_too_late_names_its_timeout(monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "hanging", f"{__name__}:Hanging")
    simulators = Simulators({"table": {**TABLE, "type": "hanging", "num_envs": 1}})
    episodes = Play(simulators.get("table", 1), starts(1, first=HANG))
    expected = "simulators.table: hanging worker 0, 3 failures in a row: did not answer within 0.25 s; raise timeout"
    with pytest.raises(UserError, match=f"^{expected}$"):
        episodes.begin()
    simulators.close()
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("hanging")]


@pytest.fixture
def folder(workplace, tiny_qwen):
    """A working folder with recipe.yaml, whose simulator is of type `failing`."""
    recipe = {
        "name": "run",
        "threads": 1,
        "policy": {"path": str(tiny_qwen()), "device": "cpu", "action_bins": 9},
        "simulators": {"table": TABLE},
        "data": {"train": [{"type": "episodes", "simulator": "table", "size": 8}]},
        "method": "grpo",
        "steps": 1,
        "prompts": 1,
        "rollout": {"n": 2},
        "tracking": {"console": "none", "tensorboard": False},
    }
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return workplace


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_start_that_is_not_there_ends_the_command_with_one_line(capsys, failing, folder, options):
    failing("reset", ValueError)
    before = content(folder)
    assert refused(capsys, "train", "recipe.yaml", *options) == ["simulators.table: start 50 is not there"]
    assert content(folder) == before


def test_a_fault_of_the_code_keeps_its_traceback(failing, folder):
    failing("chunk_step", KeyError)
    with pytest.raises(KeyError):
        main(["train", "recipe.yaml"])
