"""The pool of killable workers: values, limits, crashes, threads, forks."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.pool_calls import (
    Stop,
    Unpicklable,
    die,
    die_once,
    die_times,
    fail,
    grow,
    identify,
    keep,
    limits,
    settings,
    sleep_forever,
    spin,
    unpicklable,
)
from vision_rewards import pool
from vision_rewards.pool import Exceeded, WorkerKilled, bounded

BUSY = "threading.Thread(target=pool.bounded, args=(pow, 10, 10**10), daemon=True).start()"


class DoomedWorker:
    """Ends by a signal at every call."""

    def __init__(self, number):
        self.number, self.runs = number, 0

    def run(self):
        self.runs += 1
        worker = object.__new__(pool._Worker)
        worker.process = SimpleNamespace(wait=lambda: -self.number)
        raise worker._death()


@pytest.fixture(autouse=True)
def few_workers():
    pool.set_workers(2)
    yield
    pool.set_workers(None)


@pytest.mark.slow
def test_value_comes_back_from_a_warm_worker():
    first, args = bounded(identify, {"a": [1.5, None]}, "ü" * 100_000)
    assert first != os.getpid()
    assert args == ({"a": [1.5, None]}, "ü" * 100_000)
    assert {bounded(identify)[0] for _ in range(20)} == {first} == set(pool.worker_pids())


def test_function_may_be_named():
    assert bounded("fractions:Fraction", 3, 6).denominator == 2


@pytest.mark.slow
@pytest.mark.parametrize("function", [spin, sleep_forever])
def test_hang_is_cut_off(function, monkeypatch):
    monkeypatch.setattr(pool, "CLOCK_FACTOR", 5.0)
    before = bounded(identify)[0]
    with pytest.raises(Exceeded, match=r"time: not done after 0\.2 s") as error:
        bounded(function, seconds=0.2)
    assert error.value.kind == "time"
    assert not psutil.pid_exists(before)
    assert bounded(identify)[0] != before


def test_code_that_holds_the_interpreter_lock_is_cut_off():
    with pytest.raises(Exceeded) as error:
        bounded(pow, 10, 10**10, seconds=0.2)
    assert error.value.kind == "time"


def test_memory_bomb_is_cut_off():
    assert bounded(grow, 50, megabytes=200) == 50
    before = pool.worker_pids()
    with pytest.raises(Exceeded) as error:
        bounded(grow, 400, megabytes=200)
    assert error.value.kind == "memory"
    assert not set(before) & set(pool.worker_pids())
    with pytest.raises(Exceeded, match="memory"):
        bounded(bytearray, 10**10)
    assert bounded(grow, 50, megabytes=200) == 50


def test_a_worker_that_keeps_growing_is_replaced():
    first = bounded(identify)[0]
    for _ in range(4):
        bounded(keep, 100)
    assert bounded(identify)[0] != first


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE])
def test_crash_is_reported_and_survived(number):
    with pytest.raises(Exceeded, match=f"crash: the worker ended with {number.name}") as error:
        bounded(die, int(number))
    assert error.value.kind == "crash"
    assert bounded(grow, 1) == 1


@pytest.mark.parametrize("function", ["sys:exit", "os:_exit"])
def test_leaving_is_a_crash(function):
    with pytest.raises(Exceeded, match="crash"):
        bounded(function, 0)


def test_idle_worker_killed_from_outside_costs_nothing():
    victim = bounded(identify)[0]
    os.kill(victim, signal.SIGKILL)
    assert bounded(identify)[0] != victim


def test_busy_worker_killed_from_outside_costs_one_retry(tmp_path):
    assert bounded(die_once, str(tmp_path / "marker")) == "survived"


@pytest.mark.parametrize("number", pool.OUTSIDE)
def test_a_worker_that_is_always_killed_from_outside_gives_no_score(number, monkeypatch):
    waits, worker = [], DoomedWorker(number)
    monkeypatch.setattr(pool.time, "sleep", waits.append)
    monkeypatch.setattr(pool._Pool, "run", lambda *_: worker.run())
    with pytest.raises(WorkerKilled, match=f"killed by {number.name}, 7 times in a row, by something outside"):
        bounded(identify)
    assert worker.runs == pool.TRIES == 7
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]


def test_kills_in_series_cost_retries_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pool.time, "sleep", lambda _: None)
    pool.set_workers(1)
    assert bounded(die_times, str(tmp_path), 3) == "survived"


@pytest.mark.parametrize("kind", [ValueError, RecursionError, Stop])
def test_exception_is_raised_as_itself(kind):
    before = bounded(identify)[0]
    with pytest.raises(kind, match="why") as error:
        bounded(fail, kind)
    assert any("in fail" in note for note in error.value.__notes__)
    assert bounded(identify)[0] == before


def test_what_cannot_travel_is_an_error():
    with pytest.raises(RuntimeError, match="Unpicklable: why"):
        bounded(fail, Unpicklable)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        bounded(unpicklable)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        bounded("no_such_module:f")
    for function in (lambda: 1, ROOT.exists):
        with pytest.raises(ValueError, match="top level of an importable module"):
            bounded(function)
    assert pickle.loads(pickle.dumps(Exceeded("time", "x"))).kind == "time"


def test_workers_are_limited_alike():
    assert bounded(limits) == (0, 0)
    threads, first, _ = bounded(settings)
    assert threads == "1"
    pool.set_workers(1)
    assert bounded(settings)[1] == first


def test_threads_share_the_workers():
    barrier = threading.Barrier(8)

    def use(index):
        barrier.wait()
        kinds = []
        for step in range(6):
            try:
                kinds.append(bounded(identify, index, step)[1])
            except Exceeded as error:
                kinds.append(error.kind)
            if step == 2 and index % 4 == 0:
                with pytest.raises(Exceeded):
                    bounded(spin, seconds=0.1)
        return kinds

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(use, range(8)))
    assert results == [[(index, step) for step in range(6)] for index in range(8)]
    assert 1 <= len(pool.worker_pids()) <= 2


def test_a_forked_child_has_workers_of_its_own():
    mine = bounded(identify)[0]
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            writer.send((pool.worker_pids(), bounded(identify)[0]))
        finally:
            pool.set_workers(None)
            os._exit(0)
    # A child that fails then ends the pipe, which `recv` waits on.
    writer.close()
    os.waitpid(child, 0)
    inherited, theirs = reader.recv()
    assert inherited == []
    assert theirs != mine
    assert bounded(identify)[0] == mine


@pytest.mark.slow
@pytest.mark.parametrize("busy", ["", BUSY])
@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), 9)"])
def test_workers_end_with_their_parent(busy, end):
    # The script has no __main__ guard: importing it again in a worker would not end.
    code = f"""
import os, sys, threading, time
from vision_rewards import pool
print(pool.bounded("os:getpid"), flush=True)
{busy}
{end}
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    worker = int(run.stdout)
    psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=20)
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


def test_number_of_workers_is_checked(monkeypatch):
    with pytest.raises(ValueError, match="0 workers"):
        pool.set_workers(0)
    pool.set_workers(None)
    monkeypatch.setenv(pool.WORKERS_VARIABLE, "many")
    with pytest.raises(ValueError, match="'many'"):
        bounded(identify)
