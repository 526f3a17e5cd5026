"""Scans of files are remembered while the file is the one that was scanned, and no longer."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import video
from tests.support.clips import encode, scene
from video import VideoError, file_state, scan


@pytest.fixture
def opened(monkeypatch):
    """Paths that were opened to be scanned. Files count as settled as soon as they are written."""
    paths, lock, open_container = [], threading.Lock(), scan.open_container

    def counted(path):
        with lock:
            paths.append(path.name)
        return open_container(path)

    monkeypatch.setattr(scan, "open_container", counted)
    monkeypatch.setattr(file_state, "UNSETTLED_NS", -1)
    return paths


def shown(path, time=0.2, backend="auto"):
    return video.read_frames(path, timestamps=[time], backend=backend).pixels


def test_a_second_reading_of_a_file_does_not_scan_it(tmp_path, opened):
    path = encode(tmp_path / "a.mp4", scene(20), g=4)
    first = shown(path)
    assert np.array_equal(shown(path), first)
    assert not np.array_equal(shown(path, 0.6), first)
    video.read_frames(path, frames=4)
    video.probe(path)
    assert opened == ["a.mp4"]


def test_a_file_that_was_just_written_is_scanned_each_time(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(file_state, "UNSETTLED_NS", 3600 * 10**9)
    path = encode(tmp_path / "a.mp4", scene(8))
    shown(path)
    shown(path)
    assert opened == ["a.mp4"] * 2


@pytest.mark.parametrize("how", ["replaced", "rewritten", "shorter"])
def test_a_file_that_changed_is_scanned_anew(tmp_path, opened, how):
    """Even where its size and its modification time are put back."""
    path = encode(tmp_path / "a.mp4", scene(20), g=4)
    other = encode(tmp_path / "b.mp4", scene(12 if how == "shorter" else 20)[:, :, ::-1].copy(), g=4)
    size = max(path.stat().st_size, other.stat().st_size)
    if how != "shorter":
        # A trailing `free` box of MP4 makes both as long.
        for one in (path, other):
            rest = size + 8 - one.stat().st_size
            one.write_bytes(one.read_bytes() + rest.to_bytes(4) + b"free" + bytes(rest - 8))
    before, facts = shown(path), path.stat()
    if how == "replaced":
        os.replace(other, path)
    else:
        path.write_bytes(other.read_bytes())
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    found = video.read_frames(path, all_frames=True)
    assert len(found) == (12 if how == "shorter" else 20)
    assert not np.array_equal(shown(path), before)
    assert opened == ["a.mp4"] * 2


def test_refusals_are_not_remembered(tmp_path, opened):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video" * 99)
    for _ in range(2):
        with pytest.raises(VideoError, match="not_a_video"):
            shown(path)
    assert opened == ["a.mp4"] * 2
    encode(path, scene(8))
    assert len(shown(path)) == 1
    path.unlink()
    with pytest.raises(VideoError, match="missing"):
        scan.scan_file(path)


def test_streams_of_a_file_are_remembered_apart(tmp_path, opened):
    path = encode(tmp_path / "a.mp4", scene(8))
    assert scan.scan_file(path).stream == scan.scan_file(path, 0).stream == 0
    assert len(opened) == 2


def test_what_is_shared_cannot_be_written_to(tmp_path, opened):
    found = scan.scan_file(encode(tmp_path / "a.mp4", scene(8)))
    for shared in (found.pts, found.keys):
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1


def test_no_more_files_are_remembered_than_said(tmp_path, opened):
    path = encode(tmp_path / "a.mp4", scene(4))
    paths = [tmp_path / f"{number}.mp4" for number in range(scan.REMEMBERED + 1)]
    for link in paths:
        link.hardlink_to(path)
    for link in paths:
        scan.scan_file(link)
    opened.clear()
    scan.scan_file(paths[-1])
    scan.scan_file(paths[1])
    scan.scan_file(paths[0])
    assert opened == ["0.mp4"]


def digest(path) -> bytes:
    return shown(path, 0.4).numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_threads_and_forked_processes_read_what_one_reads(tmp_path, opened, backend):
    path = encode(tmp_path / "a.mp4", scene(20), g=4)
    times = [0.04 * i + 0.01 for i in range(20)] * 2
    alone = [shown(path, time, backend).numpy().tobytes() for time in times]
    with ThreadPoolExecutor(4) as pool:
        assert [one.numpy().tobytes() for one in pool.map(lambda t: shown(path, t, backend), times)] == alone
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert set(pool.map(digest, [path] * 4)) == {digest(path)}
    assert opened == ["a.mp4"]
