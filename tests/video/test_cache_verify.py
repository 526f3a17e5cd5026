"""Verifying a cache while others use it: broken entries go, good ones never do."""

import os

import pytest

from mmrl.cli import main
from tests.support.forks import die, join, spawn
from tests.support.frames import SPEC, assert_same, fake_decode, write_source
from video import TensorCache, provenance, verification
from video.inventory import evict, scan
from video.locks import EntryLock
from video.verification import check, remove_abandoned, sweep, verify


@pytest.fixture
def cache(tmp_path):
    cache = TensorCache(tmp_path / "cache", decode=fake_decode)
    for number in range(3):
        cache.get(write_source(tmp_path, f"{number}.mp4", b"video %d" % number), SPEC)
    return cache


def entries(cache):
    return [item for item in scan(cache.root) if item.kind == "entry"]


def spoil(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def make_again(cache, tmp_path):
    for number in range(3):
        cache.get(tmp_path / f"{number}.mp4", SPEC)


def test_a_broken_entry_goes_and_a_good_one_stays(cache):
    first, second, _ = entries(cache)
    spoil(first.path)
    assert verify(first).problem == check(first) == "broken: its bytes do not match its checksum"
    assert first.path.exists()
    assert verify(first, remove=True).removed
    assert not first.path.exists()
    assert verify(second, remove=True) == verification.Verdict()
    assert len(list(scan(cache.root))) == 2
    assert verify(first, remove=True) == verification.Verdict()


@pytest.mark.parametrize("moment", ["read", "stat", "rename"])
@pytest.mark.parametrize("links", [True, False])
def test_an_entry_made_anew_while_it_is_checked_stays(cache, tmp_path, monkeypatch, moment, links):
    """Whether that happens before it is read, after its state was compared, or just before it is renamed."""
    item = entries(cache)[0]
    spoil(item.path)
    todo = [1]

    def after(name, room):
        whole = getattr(room, name)

        def run(*args, **options):
            if todo and (name != "stat" or args == (item.path,)):
                todo.pop()
                done = None if name == "rename" else whole(*args, **options)
                monkeypatch.undo()
                make_again(cache, tmp_path)
                if not links:
                    monkeypatch.setattr(os, "link", refuse)
                return whole(*args, **options) if name == "rename" else done
            return whole(*args, **options)

        monkeypatch.setattr(room, name, run)

    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    room = {"read": ("read_entry", verification), "stat": ("stat", os), "rename": ("rename", os)}[moment]
    if moment == "read":
        broken = verification.read_entry

        def read_entry(path):
            try:
                return broken(path)
            finally:
                if todo:
                    todo.pop()
                    make_again(cache, tmp_path)

        monkeypatch.setattr(verification, "read_entry", read_entry)
    else:
        after(*room)
    verdict = verify(item, remove=True)
    assert not todo
    assert not verdict.removed
    assert len(list(scan(cache.root))) == 3
    assert [check(one) for one in entries(cache)] == [None] * 3
    assert cache.counts["broken"] == 1


def test_verify_removes_each_entry_as_it_is_found(cache, tmp_path, monkeypatch, capsys):
    """Training that makes a broken entry anew while the rest is checked keeps it."""
    spoil(entries(cache)[0].path)
    seen, whole = [], verification.verify

    def verify_and_train(item, remove):
        verdict = whole(item, remove)
        seen.append(item)
        if len(seen) == 3:
            make_again(cache, tmp_path)
        return verdict

    monkeypatch.setattr(verification, "verify", verify_and_train)
    assert main(["cache", "verify", str(cache.root), "--remove", "--workers", "1"]) == 0
    assert "3 entries, 1 broken, 0 files of dead writers; 1 removed" in capsys.readouterr().out
    assert len(entries(cache)) == 3
    assert cache.counts["decoded"] == 4


def test_what_is_no_file_or_cannot_be_removed_is_said(cache, tmp_path, monkeypatch, capsys):
    folder, broken, _ = entries(cache)
    folder.path.unlink()
    folder.path.mkdir()
    spoil(broken.path)

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        assert main(["cache", "verify", str(cache.root), "--remove", "--workers", "1"]) == 2
    printed = capsys.readouterr().out
    assert f"{folder.path}: a folder in the place of an entry; not removed: no file of the cache" in printed
    assert f"{broken.path}: broken: its bytes do not match its checksum; not removed: Permission denied" in printed
    assert main(["cache", "verify", str(cache.root), "--remove"]) == 2
    assert folder.path.is_dir()
    assert not broken.path.exists()
    assert evict(entries(cache), 0)[1] == 1
    make_again(cache, tmp_path)
    for number in range(3):
        source = tmp_path / f"{number}.mp4"
        assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))


def test_a_lock_that_is_taken_up_again_stays(cache):
    path = entries(cache)[0].path.with_suffix(".lock")
    path.write_text("")
    os.utime(path, (1, 1))
    (item,) = (item for item in scan(cache.root) if item.kind == "lock")
    assert item.abandoned
    os.utime(path)
    assert not sweep(item).removed
    assert path.exists()
    os.utime(path, (1, 1))
    assert sweep(item).removed
    assert sweep(item) == verification.Verdict()


def test_entries_of_other_versions_are_counted(cache, monkeypatch, capsys):
    assert main(["cache", "verify", str(cache.root)]) == 0
    assert capsys.readouterr().out == "3 entries, 0 broken, 0 files of dead writers\n"
    here = provenance.version("av")
    monkeypatch.setattr(provenance, "version", lambda name: {"av": "99.0"}.get(name, "0") if name == "av" else None)
    made = {"versions": {"av": here, "safetensors": "0.1"}}
    assert provenance.other_versions(made) == (f"av {here} (here 99.0)",)
    assert main(["cache", "verify", str(cache.root)]) == 0
    assert f"3 entries were made with av {here} (here 99.0): their pixels may differ" in capsys.readouterr().out


def test_the_lock_of_a_writer_that_was_killed_goes_and_that_of_one_at_work_stays(cache):
    """Killed between the entry's last byte and the lock's removal: nobody waits for such a lock."""
    first, second, third = (item.path.with_suffix(".lock") for item in entries(cache))
    join(spawn(lambda: (EntryLock(first).acquire(), die())))
    mine = EntryLock(second)
    assert mine.acquire()
    third.touch()
    assert remove_abandoned(cache.root) == 1
    assert {item.path for item in scan(cache.root) if item.kind == "lock"} == {second, third}
    mine.release()
