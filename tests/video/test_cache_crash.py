"""Writers that die, disks that fill up, processes that compete: never a wrong tensor, never a lost good entry."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.forks import die, join, spawn
from tests.support.frames import SPEC, assert_same, fake_decode, write_source
from video.cache import TensorCache
from video.inventory import scan
from video.verification import check

# What a writer calls on its way; it is killed before each of these calls, one process for each.
STEPS = ("open", "write", "fsync", "fstat", "stat", "replace", "unlink", "close", "utime", "scandir")


def whole_entries(root: Path) -> set[Path]:
    """The entries there; fails if one of them is not whole."""
    found = [item for item in scan(root) if item.kind == "entry"]
    assert [check(item) for item in found] == [None] * len(found)
    return {item.path for item in found}


def kill_at_step(root: Path, source: Path, number: int) -> None:
    """Runs one `get` and dies before its call number `number`."""
    left = number

    def dying(call):
        def wrapped(*args, **options):
            nonlocal left
            if left == 0:
                die()
            left -= 1
            return call(*args, **options)

        return wrapped

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))
    TensorCache(root, decode=fake_decode).get(source, SPEC)


def kill_at_byte(root: Path, source: Path, size: int) -> None:
    """Runs one `get`; the kernel kills it when it writes byte number `size` of any file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    TensorCache(root, decode=fake_decode).get(source, SPEC)


@pytest.fixture
def soon_stale(monkeypatch):
    """Locks of writers that died before they signed them are taken over at once."""
    monkeypatch.setattr("video.locks.UNSIGNED_STALE_S", 0.02)


@pytest.mark.slow
@pytest.mark.usefixtures("soon_stale")
def test_writers_killed_a_hundred_times(tmp_path):
    root, draw = tmp_path / "cache", random.Random(0)
    sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(100)]
    reader = TensorCache(root, decode=fake_decode)
    killed, good, steps = 0, set(), 0
    for number, source in enumerate(sources):
        if number < 60:
            code = join(spawn(lambda step=steps, source=source: kill_at_step(root, source, step)))
            # Once a writer got through alive, all its steps have been tried: again from the first.
            steps = steps + 1 if code else 0
        else:
            size = draw.randrange(1, 11_000)
            code = join(spawn(lambda size=size, source=source: kill_at_byte(root, source, size)))
        killed += code in (-signal.SIGKILL, -signal.SIGXFSZ)
        now = whole_entries(root)
        assert good <= now
        assert_same(reader.get(source, SPEC), fake_decode(source, SPEC))
        good = whole_entries(root)
        assert len(good) == number + 1
    assert killed >= 90
    assert reader.counts["broken"] == reader.counts["foreign"] == reader.counts["not_stored"] == 0
    # Whoever takes over clears up; the lock of a writer that died with its work done is in nobody's way.
    assert not [item for item in scan(root) if item.kind == "unfinished"]


@pytest.mark.slow
@pytest.mark.usefixtures("soon_stale")
def test_writers_killed_at_random_moments(tmp_path):
    root, draw = tmp_path / "cache", random.Random(1)
    sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(4)]

    def write_on():
        cache = TensorCache(root, decode=fake_decode)
        while True:
            for source in sources:
                cache.get(source, SPEC)
            for path in whole_entries(root):
                path.unlink()

    for _ in range(30):
        child = spawn(write_on)
        time.sleep(draw.uniform(0.0, 0.04))
        os.kill(child, signal.SIGKILL)
        assert join(child) == -signal.SIGKILL
        whole_entries(root)
        reader = TensorCache(root, decode=fake_decode)
        for source in sources:
            assert_same(reader.get(source, SPEC), fake_decode(source, SPEC))
        assert reader.counts["broken"] == 0
        assert len(whole_entries(root)) == len(sources)


def test_processes_and_threads_that_want_the_same_video_decode_it_once(tmp_path):
    root, log = tmp_path / "cache", tmp_path / "decoded"
    sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(3)]
    ready, go = os.pipe()

    def decode(source, spec):
        with log.open("a") as file:
            file.write(f"{Path(source).name}\n")
        # Long enough for the others to find the lock.
        time.sleep(0.05)
        return fake_decode(source, spec)

    def work():
        from concurrent.futures import ThreadPoolExecutor

        os.close(go)
        os.read(ready, 1)
        cache = TensorCache(root, decode=decode)
        with ThreadPoolExecutor(2) as pool:
            for source, frames in zip(sources * 2, pool.map(lambda one: cache.get(one, SPEC), sources * 2)):
                assert_same(frames, fake_decode(source, SPEC))

    children = [spawn(work) for _ in range(3)]
    os.close(go)
    assert [join(child) for child in children] == [0, 0, 0]
    os.close(ready)
    assert sorted(log.read_text().split()) == ["0.mp4", "1.mp4", "2.mp4"]


@pytest.mark.slow
def test_readers_and_writers_at_once_under_eviction_and_damage(tmp_path):
    root = tmp_path / "cache"
    sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(6)]
    expected = [fake_decode(source, SPEC) for source in sources]

    def work(seed):
        draw = random.Random(seed)
        cache = TensorCache(root, max_bytes=45_000, decode=fake_decode, compression=draw.choice(["none", "lossless"]))
        held = []
        for _ in range(60):
            number = draw.randrange(len(sources))
            held = [*held[-5:], (cache.get(sources[number], SPEC), number)]
            if draw.random() < 0.2:
                damage(root, draw)
            for frames, held_number in held:
                assert_same(frames, expected[held_number])

    children = [spawn(lambda seed=seed: work(seed)) for seed in range(4)]
    assert [join(child) for child in children] == [0] * 4
    cache = TensorCache(root, decode=fake_decode)
    for source, frames in zip(sources, expected, strict=True):
        assert_same(cache.get(source, SPEC), frames)


def damage(root: Path, draw: random.Random) -> None:
    """Replaces one entry by a copy with one byte flipped."""
    items = [item.path for item in scan(root) if item.kind == "entry"]
    try:
        path = draw.choice(items)
        content = bytearray(path.read_bytes())
    except (IndexError, FileNotFoundError):
        return
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    aside = root / f"damaged-{os.getpid()}"
    aside.write_bytes(content)
    aside.replace(path)


@pytest.fixture
def stocked(tmp_path):
    """A cache with one good entry, and the two sources: (cache, stored, new)."""
    cache = TensorCache(tmp_path / "cache", decode=fake_decode)
    stored, new = write_source(tmp_path, "old.mp4", b"old"), write_source(tmp_path, "new.mp4", b"new")
    cache.get(stored, SPEC)
    return cache, stored, new


@pytest.mark.parametrize("compression", ["none", "near-lossless"])
@pytest.mark.parametrize("call", ["fsync", "replace", "open", "mkdir"])
def test_full_disk(tmp_path, call, compression, monkeypatch, caplog):
    cache = TensorCache(tmp_path / "cache", compression=compression, decode=fake_decode)
    elsewhere = TensorCache(tmp_path / "elsewhere", compression=compression, decode=fake_decode)
    stored, new = write_source(tmp_path, "old.mp4", b"old"), write_source(tmp_path, "new.mp4", b"new")
    expected = elsewhere.get(new, SPEC)
    cache.get(stored, SPEC)
    good = whole_entries(cache.root)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        for _ in range(2):
            assert_same(cache.get(new, SPEC), expected)
    assert cache.counts["not_stored"] == 2
    assert caplog.text.count("No space left on device") == 1
    assert whole_entries(cache.root) == good
    assert {item.kind for item in scan(cache.root)} == {"entry"}
    cache.get(stored, SPEC)
    assert cache.counts["hits"] == 1
    assert_same(cache.get(new, SPEC), expected)
    assert len(whole_entries(cache.root)) == 2


def test_file_size_limit(stocked):
    cache, _, new = stocked
    good = whole_entries(cache.root)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        assert_same(cache.get(new, SPEC), fake_decode(new, SPEC))
        assert cache.counts["not_stored"] == 1

    assert join(spawn(work)) == 0
    assert whole_entries(cache.root) == good
    assert {item.kind for item in scan(cache.root)} == {"entry"}


def test_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        cache = TensorCache(disk / "cache", decode=fake_decode)
        sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(12)]
        for source in sources * 2:
            assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))
            whole_entries(cache.root)
        assert cache.counts["not_stored"] > 0
        assert cache.counts["hits"] == len(whole_entries(cache.root)) > 0
        assert cache.counts["broken"] == 0
        assert not [item for item in scan(cache.root) if item.kind == "unfinished"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_folder_that_may_not_be_written(stocked, monkeypatch):
    cache, stored, new = stocked

    def refused(path, flags, *args, **options):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, flags, *args, **options)

    plain = os.open
    monkeypatch.setattr(os, "open", refused)
    assert_same(cache.get(stored, SPEC), fake_decode(stored, SPEC))
    assert_same(cache.get(new, SPEC), fake_decode(new, SPEC))
    assert cache.counts == {"decoded": 2, "hits": 1, "not_stored": 1}
