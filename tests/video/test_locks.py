"""The lock that lets one process decode: who gets it, and who may take it away."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.support.forks import die, join, spawn
from video import locks
from video.locks import EntryLock


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "entry.lock"


def sign(path, **changes) -> bytes:
    """A lock file as another machine's process would leave it."""
    content = json.dumps({"token": "0" * 16, "machine": "elsewhere", "pid": 1, "started": 0.0} | changes).encode()
    path.write_bytes(content)
    return content


def test_one_holds_it_and_the_next_gets_it(path):
    first, second = EntryLock(path), EntryLock(path)
    assert first.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not second.acquire()
    assert not second.acquire()
    second.release()
    assert path.exists()
    first.release()
    assert not path.exists()
    assert second.acquire()
    second.release()
    assert list(path.parent.iterdir()) == []


def test_dead_holder_of_this_machine_is_replaced_at_once(path):
    def work():
        EntryLock(path).acquire()
        die()

    join(spawn(work))
    lock = EntryLock(path)
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()


def test_dead_holder_that_its_parent_has_not_buried_yet(path):
    def work():
        EntryLock(path).acquire()
        die()

    child = spawn(work)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    lock = EntryLock(path)
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()
    join(child)


def test_process_id_that_was_given_out_again(path):
    sign(path, machine=locks.machine(), pid=os.getpid(), started=1.0)
    lock = EntryLock(path)
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()


def test_other_machine_is_believed_while_it_keeps_its_lock_up(path, clock):
    content = sign(path)
    lock = EntryLock(path)
    for beat in range(5):
        os.utime(path, (beat, beat))
        assert not lock.acquire()
        clock.now += locks.STALE_S - 1
        assert not lock.acquire()
        clock.now += 2
    assert path.read_bytes() == content
    assert not lock.acquire()
    assert lock.acquire()
    lock.release()


def test_unsigned_lock_is_given_a_moment(path, clock):
    path.write_bytes(b'{"token": "00')
    lock = EntryLock(path)
    assert not lock.acquire()
    clock.now += locks.UNSIGNED_STALE_S - 0.1
    assert not lock.acquire()
    assert path.exists()
    clock.now += 0.2
    assert not lock.acquire()
    assert not path.exists()


def test_lock_that_was_taken_over_is_not_removed_by_its_old_holder(path):
    old = EntryLock(path)
    assert old.acquire()
    path.unlink()
    content = sign(path)
    old.release()
    assert path.read_bytes() == content


def test_fresh_lock_that_a_late_watcher_moves_away_is_put_back(path):
    stale = sign(path)
    fresh = sign(path, token="1" * 16)
    EntryLock(path)._remove(stale)
    assert path.read_bytes() == fresh
    assert list(path.parent.iterdir()) == [path]


def test_holder_touches_its_lock(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    lock = EntryLock(path)
    assert lock.acquire()
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 20
    while path.stat().st_mtime == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > 0
    lock.release()


def test_lock_that_cannot_be_signed_is_not_left_behind(path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        EntryLock(path).acquire()
    assert not path.exists()
