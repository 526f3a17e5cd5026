"""Processes started on this machine: what each is told, and how they end."""

import os
import signal
import sys

import pytest

from mmrl.parallel import launch


def started(code, processes=2):
    """The exit code of a launch of Python code that has `os`, `sys`, `time` and its number `rank`."""
    head = "import os, signal, sys, time; rank = int(os.environ['RANK']); "
    return launch.launch(processes, [sys.executable, "-S", "-c", head + code])


def test_each_is_told_its_number_and_where_they_meet(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    assert started(f"print(*(os.environ[name] for name in {names}), flush=True)", processes=3) == 0
    lines = sorted(line.split() for line in capfd.readouterr().out.splitlines())
    threads = str(max(1, (os.cpu_count() or 1) // 3))
    assert [line[:5] for line in lines] == [[str(rank), str(rank), "3", "3", "127.0.0.1"] for rank in range(3)]
    assert {line[6] for line in lines} == {threads}
    assert len({line[5] for line in lines}) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(2 if rank else 0)", 2),
        ("sys.exit(143)", 143),
        ("os.kill(os.getpid(), signal.SIGKILL) if rank else sys.exit(0)", 137),
    ],
)
def test_the_exit_code_is_that_of_the_first_that_failed(code, expected, capfd):
    assert started(code) == expected
    assert ("process 1 of 2 was ended by SIGKILL" in capfd.readouterr().err) == (expected == 137)


def test_one_that_goes_on_after_another_has_failed_is_ended(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.0)
    monkeypatch.setattr(launch, "KILLED_AFTER", 0.0)
    assert started("sys.exit(2) if rank else time.sleep(3600)") == 2


def test_a_signal_goes_on_to_each(tmp_path):
    """The second one has the launcher itself told, when both have said how they answer it."""
    code = (
        f"here = {str(tmp_path)!r}; signal.signal(signal.SIGTERM, lambda *_: sys.exit(10 + rank)); "
        "open(f'{here}/{rank}', 'w').close(); "
        f"\nwhile rank and len(os.listdir(here)) < 2: time.sleep(0.01)\n"
        "if rank: os.kill(os.getppid(), signal.SIGTERM)\n"
        "while True: time.sleep(0.01)"
    )
    before = signal.getsignal(signal.SIGTERM)
    assert started(code) in (10, 11)
    assert signal.getsignal(signal.SIGTERM) == before
