"""One run, one process: who gets a run's folder, who is told whose it is, and what a failed run takes with it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from mmrl.contracts.errors import UserError
from mmrl.tracking import run_lock
from mmrl.tracking.claim import WRITTEN, Claim, remove_asides, remove_leftovers
from mmrl.tracking.run_lock import RunLock
from tests.support.forks import die, join, spawn
from video import locks


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "x"


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_by(folder, number=1, **changes):
    """The lock of a holder of another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".run.{number:04d}.lock"
    signed = {"token": "0" * 16, "machine": "elsewhere/boot/1", "pid": 77, "started": 5.0, "since": 86400.0}
    path.write_text(json.dumps(signed | changes))
    return path


def dead_holder(folder):
    """A process that is killed while it holds the folder."""

    def work():
        Claim(folder, "auto")
        die()

    join(spawn(work))


def test_the_second_is_refused_by_the_name_of_the_first_and_writes_nothing(folder):
    with Claim(folder, "never"):
        before = contents(folder.parent)
        for resume in ("never", "auto"):
            with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .* \(since 20"):
                Claim(folder, resume)
        assert contents(folder.parent) == before
    Claim(folder, "auto").release()
    assert list(folder.iterdir()) == []


def test_a_killed_holder_is_taken_over_and_named(folder):
    dead_holder(folder)
    with Claim(folder, "auto") as claim:
        assert [line.split(" on ")[0].split()[0] for line in claim.took_over] == ["process"]
        assert len(list(folder.glob(run_lock.PATTERN))) == 1
        with pytest.raises(UserError, match="in use by"):
            Claim(folder, "auto")
    assert list(folder.iterdir()) == []
    assert Claim(folder, "auto").took_over == []


def test_of_two_that_take_over_at_once_one_goes_on(folder, monkeypatch):
    """The second looks while the first's lock is not there yet, and makes its own after it."""
    dead_holder(folder)
    first, look, looks = RunLock(folder), run_lock.refuse_beside_another, []

    def looking(*args):
        gone = look(*args)
        looks.append(args)
        if len(looks) == 1:
            first.acquire()
        return gone

    monkeypatch.setattr(run_lock, "refuse_beside_another", looking)
    with pytest.raises(UserError, match="in use by"):
        RunLock(folder).acquire()
    assert len(list(folder.glob(run_lock.PATTERN))) == 1
    first.release()
    assert list(folder.iterdir()) == []


def test_a_lock_of_another_number_that_was_made_meanwhile_is_seen(folder, monkeypatch):
    folder.mkdir(parents=True)
    look, looks = run_lock.refuse_beside_another, []

    def looking(*args):
        gone = look(*args)
        looks.append(args)
        if len(looks) == 1:
            left_by(folder, number=5)
        return gone

    monkeypatch.setattr(run_lock, "refuse_beside_another", looking)
    with pytest.raises(UserError, match="in use by process 77 on elsewhere "):
        RunLock(folder).acquire()
    assert [path.name for path in folder.iterdir()] == [".run.0005.lock"]


def test_another_machine_is_believed_while_it_keeps_its_lock_up(folder):
    """By the clock that stamps files in that folder, whatever this machine's own says."""
    path = left_by(folder)
    now = path.stat().st_mtime
    os.utime(path, (now - locks.STALE_S + 30, now - locks.STALE_S + 30))
    with pytest.raises(UserError, match="in use by process 77 on elsewhere"):
        Claim(folder, "auto")
    os.utime(path, (now - locks.STALE_S - 30, now - locks.STALE_S - 30))
    with Claim(folder, "auto") as claim:
        assert claim.took_over[0].startswith("process 77 on elsewhere")
    assert list(folder.iterdir()) == []


def test_a_process_id_that_was_given_out_again_holds_nothing(folder):
    left_by(folder, machine=locks.machine(), pid=os.getpid(), started=locks._started(os.getpid()) - 60)
    Claim(folder, "auto").release()


def test_a_lock_that_nobody_signed_is_taken_over_after_a_moment(folder, monkeypatch):
    monkeypatch.setattr(run_lock, "UNSIGNED_STALE_S", 0.0)
    left_by(folder).write_text("")
    with Claim(folder, "auto") as claim:
        assert claim.took_over == ["a process that died before it signed"]


def test_a_failed_run_takes_its_own_files_alone(folder):
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("from before")
    claim = Claim(folder, "never")
    (folder / "metrics.jsonl").write_text("{}")
    (folder / "checkpoints" / "step_000001").mkdir(parents=True)
    (folder / "notes.txt").write_text("somebody's")
    claim.undo()
    assert contents(folder) == {"report.html": b"from before", "notes.txt": b"somebody's"}
    assert not (folder / "checkpoints").exists()


def test_a_failed_run_leaves_no_folder_where_there_was_none(folder):
    claim = Claim(folder, "never")
    (folder / "metrics.jsonl").write_text("{}")
    other = Claim(folder.parent / "y", "never")
    claim.undo()
    assert [path.name for path in folder.parent.iterdir()] == ["y"]
    other.undo()
    assert list(folder.parent.iterdir()) == [], "the first made it, while the second was there"
    folder.parent.rmdir()
    Claim(folder, "never").undo()
    assert not folder.parent.exists()


def test_who_comes_between_undoing_and_removing_keeps_the_folder(folder):
    claim = Claim(folder, "never")
    claim.release()
    with Claim(folder, "never"):
        (folder / "metrics.jsonl").write_text("of the other")
        claim._remove_folders()
        assert (folder / "metrics.jsonl").read_text() == "of the other"


def test_a_folder_that_is_removed_while_it_is_entered_is_made_again(folder, monkeypatch):
    acquire, tries = RunLock.acquire, []

    def removed_once(self):
        tries.append(1)
        if len(tries) == 1:
            folder.rmdir()
        acquire(self)

    monkeypatch.setattr(RunLock, "acquire", removed_once)
    Claim(folder, "never").release()
    assert len(tries) == 2


def test_a_run_that_ended_while_this_one_waited_is_not_written_into(folder, monkeypatch):
    acquire = RunLock.acquire

    def late(self):
        (folder / "metrics.jsonl").write_text("{}")
        acquire(self)

    monkeypatch.setattr(RunLock, "acquire", late)
    with pytest.raises(UserError, match="already holds a run"):
        Claim(folder, "never")
    assert contents(folder) == {"metrics.jsonl": b"{}"}


def test_the_lock_is_none_of_what_a_run_writes():
    assert not any(name.startswith(".run") for name in WRITTEN)


def test_what_killed_runs_left_half_written_is_removed_and_nothing_else(folder):
    gone = [
        ".metrics.jsonl.ab12_x9z.tmp",
        "rollouts/media/.a.png.ab12_x9z.tmp",
        "heldout/.step_000002.jsonl.abcdefgh.tmp",
        "checkpoints/.step_000002.tmp/model/model.safetensors",
        "checkpoints/.step_000001.old/state.json",
    ]
    stays = [
        ".report.html.abcdefgh.tmp",
        ".eval.json.abcdefgh.tmp",
        ".run.0123456789abcdef.probe",
        "metrics.jsonl",
        "notes.tmp",
        "rollouts/media/a.png",
        "rollouts/media/.hidden",
        "checkpoints/step_000001/.a.json.abcdefgh.tmp",
    ]
    for name in gone + stays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    remove_leftovers(folder)
    assert sorted(contents(folder)) == sorted(stays)
    assert not list((folder / "checkpoints").glob(".*"))
    now = (folder / "metrics.jsonl").stat().st_mtime
    for name in stays:
        os.utime(folder / name, (now - locks.STALE_S - 30, now - locks.STALE_S - 30))
    Claim(folder, "auto").release()
    assert sorted(contents(folder)) == sorted(stays[3:])


def test_a_process_that_was_taken_for_dead_notices_and_removes_nothing(folder):
    """As after a suspension: another machine took the lock over, and then took the old file away."""
    mine = Claim(folder, "auto")
    mine.check()
    (folder / "metrics.jsonl").write_text("{}")
    (folder / ".run.0001.lock").unlink()
    theirs = left_by(folder, number=2)
    for act in (mine.check, mine.undo):
        with pytest.raises(
            UserError, match=r"no longer this process's, .* over 90 s: process 77 on elsewhere .* runs there"
        ):
            act()
    assert (folder / "metrics.jsonl").exists()
    mine.release()
    assert theirs.exists()


def test_a_lock_that_somebody_removed_ends_the_run_too(folder):
    mine = Claim(folder, "auto")
    (folder / ".run.0001.lock").unlink()
    with pytest.raises(UserError, match="its lock was removed, so this one ends here"):
        mine.check()
    (folder / ".run.0001.lock").write_text("")
    with pytest.raises(UserError, match="a process that died before it signed runs there now"):
        mine.check()


def test_a_lock_that_goes_while_it_is_looked_at_is_no_holder(folder, monkeypatch):
    mine = Claim(folder, "auto")
    (folder / ".run.0001.lock").unlink()
    left_by(folder, number=2)
    last, read = left_by(folder, number=3, pid=78), Path.read_bytes

    def going(path):
        last.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", going)
    with pytest.raises(UserError, match=r"process 77 on elsewhere .* runs there now"):
        mine.check()


def test_a_file_system_that_does_not_answer_ends_no_run(folder, monkeypatch):
    with Claim(folder, "auto") as mine:
        for number, held in ((errno.EIO, True), (errno.ESTALE, False)):
            with monkeypatch.context() as patch:
                patch.setattr(locks.os, "fstat", lambda _, number=number: raised(OSError(number, "no")))
                assert mine._lock._lock.held() is held


def raised(error):
    raise error


def test_what_killed_evaluations_were_writing_goes_once_it_is_old(tmp_path):
    old, new, other = (tmp_path / "media" / name for name in (".a.png.abcd1234.tmp", ".b.png.abcd1234.tmp", ".c.tmp"))
    old.parent.mkdir()
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (1, 1))
    remove_asides(tmp_path)
    assert sorted(path.name for path in old.parent.iterdir()) == [new.name, other.name]
    remove_asides(tmp_path / "not there")


def test_a_folder_that_another_makes_at_the_same_moment_is_not_ones_own(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def beaten(path, **options):
        mkdir(path, **options)
        raise FileExistsError(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", beaten)
        claim = Claim(tmp_path / "runs" / "x", "never")
    claim.undo()
    assert (tmp_path / "runs" / "x").is_dir()
