"""Reading ahead: order, errors in their place, bounds, a clean end."""

from __future__ import annotations

import threading
from itertools import count

import pytest
import torch

from tests.support.frames import SPEC, assert_same, fake_decode, write_source
from video.cache import TensorCache
from video.prefetch import Prefetcher, frame_bytes
from video.types import VideoError

WAIT_S = 120


def prefetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_results_come_in_order_though_loads_end_in_another():
    second_done = threading.Event()

    def load(item):
        if item == 0:
            assert second_done.wait(WAIT_S)
        if item == 1:
            second_done.set()
        return item * 10

    with Prefetcher(load, range(5), threads=2, ahead=3) as results:
        assert list(results) == [0, 10, 20, 30, 40]
    assert prefetch_threads() == []


def test_loads_run_outside_the_callers_thread_and_items_are_drawn_in_it():
    drawn, loaded = [], []

    def items():
        for item in range(3):
            drawn.append(threading.current_thread())
            yield item

    with Prefetcher(lambda item: loaded.append(threading.current_thread()), items()) as results:
        list(results)
    assert set(drawn) == {threading.main_thread()}
    assert threading.main_thread() not in loaded


def test_error_is_raised_in_its_items_place_and_the_next_follow(tmp_path):
    cache = TensorCache(tmp_path / "cache", decode=fake_decode)
    contents = [b"one", b"broken", b"three", b"broken too", b"five"]
    sources = [write_source(tmp_path, f"{i}.mp4", content) for i, content in enumerate(contents)]
    with Prefetcher(lambda source: cache.get(source, SPEC), sources, threads=2, ahead=4) as results:
        for source, content in zip(sources, contents, strict=True):
            if content.startswith(b"broken"):
                with pytest.raises(VideoError, match=source.name):
                    next(results)
            else:
                assert_same(next(results), fake_decode(source, SPEC))
        with pytest.raises(StopIteration):
            next(results)


def test_error_in_drawing_an_item_is_raised_in_its_place():
    def items():
        yield 1
        yield 2
        raise LookupError("row 2")

    with Prefetcher(lambda item: item, items(), ahead=8) as results:
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(LookupError, match="row 2"):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


def test_no_more_items_are_drawn_than_asked_for():
    drawn = []

    def items():
        for item in count():
            drawn.append(item)
            yield item

    with Prefetcher(lambda item: item, items(), threads=2, ahead=3) as results:
        for item in range(10):
            assert next(results) == item
            assert len(drawn) <= item + 1 + 3


def test_waiting_results_stay_below_the_byte_limit():
    lock, waiting, most = threading.Lock(), set(), 0

    def load(item):
        nonlocal most
        with lock:
            waiting.add(item)
            most = max(most, len(waiting))
        return item, torch.zeros(100, dtype=torch.uint8)

    with Prefetcher(
        load, range(40), threads=2, ahead=30, max_bytes=350, nbytes=lambda result: result[1].nbytes
    ) as results:
        for item, _ in results:
            with lock:
                waiting.discard(item)
    # Three results of 100 bytes, and the one in the caller's hands.
    assert most <= 4
    with Prefetcher(load, range(5), max_bytes=1, nbytes=lambda result: 100) as results:
        assert [item for item, _ in results] == list(range(5))


def test_closing_early_drops_what_has_not_started():
    started, go = [], threading.Event()

    def load(item):
        started.append(item)
        assert go.wait(WAIT_S)

    results = Prefetcher(load, count(), threads=1, ahead=5).__enter__()
    go.set()
    next(results)
    results.close()
    results.close()
    assert prefetch_threads() == []
    assert len(started) <= 6
    with pytest.raises(RuntimeError, match="closed"):
        next(results)


def test_error_in_the_callers_loop_ends_the_threads():
    def loop():
        with Prefetcher(lambda item: item, count()) as results:
            raise KeyError(next(results))

    with pytest.raises(KeyError, match="0"):
        loop()
    assert prefetch_threads() == []


def test_bytes_of_nested_frames(tmp_path):
    frames = fake_decode(write_source(tmp_path), SPEC)
    assert frame_bytes(frames) == 6 * 3 * 20 * 24
    assert frame_bytes([frames, {"a": (frames, 3)}, None]) == 2 * frame_bytes(frames)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="threads is 0"):
        Prefetcher(str, [], threads=0)
