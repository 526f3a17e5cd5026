import functools
import importlib.machinery
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import forkserver

import pytest
import torch

import robotics
from robotics import contract
from robotics.base import SimulatorError
from robotics.workers import WorkerEnv
from tests.support.faulty import CRASH, HANG, RAISE, broken_world, dies_while_starting, faulty_world, one_tabletop
from tests.support.paths import ROOT
from tests.support.simulators import CHECKS, Kept

OPTIONS = {"tasks": ("push",), "reward": "dense", "max_steps": 12, "image_size": 24}


@pytest.fixture(scope="module")
def kept():
    pool = Kept(lambda: WorkerEnv("tabletop", functools.partial(one_tabletop, **OPTIONS), 2, timeout=60.0))
    yield pool
    pool.end()


@pytest.mark.parametrize("check", CHECKS)
def test_workers_keep_the_contract(kept, check):
    check(kept, [5, -3])


def test_workers_equal_one_process(kept):
    workers, ids = kept(), [8, 9]
    whole = robotics.make({"type": "tabletop", "num_envs": 2, **OPTIONS})
    contract.assert_same(whole.reset(ids), workers.reset(ids))
    actions = contract.random_actions(whole, ids, 12)
    for part in actions.split(5, dim=1):
        expected, found = whole.chunk_step(part), workers.chunk_step(part)
        contract.assert_same(expected.observation, found.observation)
        for name in ("reward", "terminated", "truncated", "valid"):
            assert torch.equal(getattr(expected, name), getattr(found, name))
        assert {name: value.tolist() for name, value in expected.info.items()} == {
            name: value.tolist() for name, value in found.info.items()
        }
    assert torch.equal(whole.render([1]), workers.render([1]))
    assert torch.equal(whole.expert_action(), workers.expert_action())
    workers.close()


@pytest.mark.parametrize("fault", [CRASH, pytest.param(HANG, marks=pytest.mark.slow), RAISE])
def test_a_failed_worker_is_replaced_and_its_episode_dropped(fault, caplog):
    env = WorkerEnv("faulty", faulty_world, 2, timeout=10.0 if fault == HANG else 60.0)
    env.reset([1, fault])
    still = torch.zeros(2, 3, 3)
    first = env.chunk_step(still)
    assert first.info["dropped"].tolist() == [False, False]
    for _ in range(2):
        result = env.chunk_step(still)
        assert result.info["dropped"].tolist() == [False, True]
        assert result.info["done"].tolist() == [False, True]
        assert result.valid.tolist() == [[True] * 3, [False] * 3]
        assert not (result.terminated | result.truncated).any()
        assert torch.equal(result.observation.images["top"][1], first.observation.images["top"][1])
    assert result.info["episode_len"].tolist() == [9, 0]
    assert env.dropped_episodes == 1
    assert "faulty worker 1" in caplog.text
    assert env.render([1]).sum() == 0
    assert env.expert_action().shape == (2, 3)

    restarted = env.reset([3], worlds=[1])
    contract.assert_same(restarted, one_tabletop().reset([3]), rows=[1])
    result = env.chunk_step(still)
    assert result.info["dropped"].tolist() == [False, False]
    assert result.info["episode_len"].tolist() == [12, 3]
    env.close()


@pytest.mark.parametrize(
    ("at", "fault", "why"),
    [
        (2, RAISE, "the physics exploded"),
        (1, CRASH, r"died \(exit code 7\)"),
        (0, RAISE, "the physics exploded"),
    ],
)
def test_a_world_that_always_fails_stops_the_run(at, fault, why):
    """Also where each episode goes well for some chunks: what counts is that none is finished."""
    env = WorkerEnv("faulty", functools.partial(faulty_world, at), 1, timeout=60.0)
    chunks, episodes = [], []

    def play():
        for _ in range(5):
            env.reset([fault])
            episodes.append(fault)
            while len(episodes) > env.dropped_episodes:
                chunks.append(env.chunk_step(torch.zeros(1, 1, 3)))

    with pytest.raises(RuntimeError, match=f"^faulty worker 0, 3 failures in a row: .*{why}$"):
        play()
    assert len(chunks) == (3 * at - 1 if at else 0)


def test_failures_between_finished_episodes_do_not_add_up():
    env = WorkerEnv("faulty", faulty_world, 1, timeout=60.0)
    for _ in range(3):
        env.reset([RAISE])
        env.chunk_step(torch.zeros(1, 1, 3))
        assert env.chunk_step(torch.zeros(1, 1, 3)).info["dropped"].item()
        env.reset([1])
        assert env.chunk_step(torch.zeros(1, env.max_steps, 3)).info["done"].item()
    assert env.dropped_episodes == 3
    env.close()


def test_a_worker_killed_between_calls_is_replaced_at_reset():
    env = WorkerEnv("killed", functools.partial(one_tabletop, **OPTIONS), 1, timeout=60.0)
    start = env.reset([4])
    [process] = [child for child in multiprocessing.active_children() if child.name == "killed worker 0"]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    contract.assert_same(start, env.reset([4]))
    assert env.dropped_episodes == 0
    env.close()
    assert not [child for child in multiprocessing.active_children() if child.name == "killed worker 0"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_dies_while_it_starts_is_started_again(tmp_path, times):
    env = WorkerEnv("dying", functools.partial(dies_while_starting, str(tmp_path), times), 1, timeout=60.0)
    assert env.max_steps == one_tabletop().max_steps
    contract.assert_same(env.reset([4]), one_tabletop().reset([4]))
    assert len(list(tmp_path.iterdir())) == times + 1
    assert env.dropped_episodes == 0
    env.close()


def test_a_worker_that_always_dies_while_it_starts_is_an_error(tmp_path):
    with pytest.raises(SimulatorError, match=r"^dying worker 0, 3 failures in a row: died \(exit code -9\)$"):
        WorkerEnv("dying", functools.partial(dies_while_starting, str(tmp_path), 9), 1, timeout=60.0)
    assert len(list(tmp_path.iterdir())) == 3
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("dying")]


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (ValueError, ValueError, "no such assets"),
        (ModuleNotFoundError, ImportError, "no such assets"),
        (OSError, RuntimeError, "raised OSError: no such assets"),
        (SystemExit, RuntimeError, "raised SystemExit: no such assets"),
    ],
)
def test_what_a_worker_cannot_build_is_told_in_one_line(raised, error, words):
    with pytest.raises(error) as caught:
        WorkerEnv("broken", functools.partial(broken_world, raised), 1, timeout=60.0)
    assert str(caught.value) == words
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("broken")]


def word_of_the_environment():
    raise ValueError(os.environ.get("A_WORD_OF_THE_CALLER", "nothing"))


def test_a_worker_has_the_environment_of_its_start(monkeypatch):
    for word in ("sesame", "poppy"):
        monkeypatch.setenv("A_WORD_OF_THE_CALLER", word)
        with pytest.raises(ValueError, match=word):
            WorkerEnv("x", word_of_the_environment, 1, timeout=60.0)


class Finder:
    """Finds one module, and puts itself in place where it is unpickled."""

    for_children = True

    def find_spec(self, name, path=None, target=None):
        if name != "found_in_children":
            return None
        return importlib.machinery.ModuleSpec(name, importlib.machinery.BuiltinImporter, origin="nowhere")

    def __reduce__(self):
        return put_in_place, ()


def put_in_place():
    sys.meta_path.append(Finder())


def is_it_found():
    raise ValueError(str(importlib.util.find_spec("found_in_children")))


def test_workers_take_finders_along_and_nothing_of_the_working_folder(monkeypatch, tmp_path):
    (tmp_path / "found_in_children.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="None"):
        WorkerEnv("x", is_it_found, 1, timeout=60.0)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    with pytest.raises(ValueError, match="nowhere"):
        WorkerEnv("x", is_it_found, 1, timeout=60.0)


def test_processes_behind_the_workers_import_from_where_this_one_does(monkeypatch):
    before = os.environ.get("PYTHONPATH")

    def start():
        raise LookupError(os.environ["PYTHONSAFEPATH"], os.environ["PYTHONPATH"])

    monkeypatch.setattr(forkserver, "ensure_running", start)
    with pytest.raises(LookupError) as caught:
        WorkerEnv("x", one_tabletop, 1, timeout=60.0)
    assert caught.value.args == ("1", os.pathsep.join(entry for entry in sys.path if entry))
    assert os.environ.get("PYTHONPATH") == before


@pytest.mark.slow
def test_what_all_workers_need_is_imported_once():
    """In a fresh process: the first object that has workers decides what their server imports."""
    code = """
from robotics.workers import WorkerEnv
from tests.support.preloaded import make_world

for preload in (["tests.support.preloaded", "tests.support.absent"], []):
    try:
        WorkerEnv("x", make_world, 1, 60.0, preload)
    except ValueError as error:
        print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["in the server"] * 2, done.stderr
