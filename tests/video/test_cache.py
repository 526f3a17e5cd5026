"""The tensor cache: what hits and what misses, what an entry holds, how much is kept."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.support.forks import join, spawn
from tests.support.frames import IMAGE, SPEC, CountingDecoder, assert_same, fake_decode, write_source
from video.cache import TensorCache
from video.entries import pack, write_entry
from video.fingerprint import BLOCK, BLOCKS, fingerprint
from video.inventory import scan, stats
from video.types import Budget, Sampling, VideoError, VideoSpec

HOURS = 3600 * 10**9


@pytest.fixture
def decoder() -> CountingDecoder:
    return CountingDecoder()


@pytest.fixture
def cache(tmp_path, decoder) -> TensorCache:
    return TensorCache(tmp_path / "cache", decode=decoder)


def entries(root):
    return sorted(item.path for item in scan(root) if item.kind == "entry")


def age(path, hours):
    """Makes a file look used that many hours earlier than it was, and written as it was."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns - hours * HOURS, facts.st_mtime_ns))


def test_second_reading_does_not_decode(cache, decoder, tmp_path):
    source = write_source(tmp_path)
    expected = fake_decode(source, SPEC)
    for _ in range(3):
        assert_same(cache.get(str(source), SPEC), expected)
    assert decoder.calls == 1
    assert cache.counts == {"decoded": 1, "hits": 2}


def test_key_is_the_content_and_not_the_path(cache, decoder, tmp_path):
    first = write_source(tmp_path, "a.mp4", b"same content")
    (tmp_path / "elsewhere").mkdir()
    second = tmp_path / "elsewhere" / "b.mkv"
    shutil.copy(first, second)
    assert_same(cache.get(first, SPEC), cache.get(second, SPEC))
    assert decoder.calls == 1
    second.write_bytes(b"diff content")
    assert_same(cache.get(second, SPEC), fake_decode(second, SPEC))
    assert_same(cache.get(first, SPEC), fake_decode(first, SPEC))
    assert decoder.calls == 2


def test_every_setting_is_in_the_key(cache, decoder, tmp_path):
    source = write_source(tmp_path)
    specs = [
        SPEC,
        replace(SPEC, sampling=Sampling(frames=8)),
        replace(SPEC, sampling=Sampling(frames=6, start=0.5)),
        replace(SPEC, budget=Budget(factor=32)),
        replace(SPEC, budget=Budget(factor=28, max_pixels=10_000)),
        replace(SPEC, budget=None),
        replace(SPEC, stream=1),
        replace(SPEC, backend="pyav"),
    ]
    for spec in specs * 2:
        assert_same(cache.get(source, spec), fake_decode(source, spec))
    assert decoder.calls == len(specs) == len(entries(cache.root))


def test_entry_is_plain_safetensors_and_says_what_made_it(cache, tmp_path):
    source = write_source(tmp_path)
    cache.get(source, SPEC)
    (path,) = entries(cache.root)
    assert torch.equal(load_file(path)["pixels"], fake_decode(source, SPEC).pixels)
    with safe_open(path, "np") as file:
        header = file.metadata()
    identity, made = json.loads(header["identity"]), json.loads(header["provenance"])
    assert VideoSpec.from_dict(identity["spec"]) == SPEC
    assert identity["source"] == {"covers": "all", "digest": fingerprint(source).digest, "size": len(b"video a")}
    assert made["source"]["name"] == str(source)
    assert made["versions"]["torch"] == torch.__version__
    assert made["versions"]["av"]
    assert json.loads(header["frames"])["rotation"] == 90


def test_frames_are_mapped_and_writing_to_them_leaves_the_entry_alone(cache, tmp_path):
    source = write_source(tmp_path)
    cache.get(source, SPEC)
    (path,) = entries(cache.root)
    before = path.read_bytes()
    frames = cache.get(source, SPEC)
    address = frames.pixels.data_ptr()
    with open("/proc/self/maps") as maps:
        ranges = [line.split()[0].split("-") for line in maps if str(path) in line]
    assert any(int(low, 16) <= address < int(high, 16) for low, high in ranges)
    frames.pixels.zero_()
    assert path.read_bytes() == before
    assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))


def test_frames_in_memory_where_mapping_is_off(tmp_path, decoder):
    source = write_source(tmp_path)
    cache = TensorCache(tmp_path / "cache", decode=decoder, mapped=False)
    cache.get(source, SPEC)
    frames = cache.get(source, SPEC)
    (path,) = entries(cache.root)
    with open("/proc/self/maps") as maps:
        assert not [line for line in maps if str(path) in line]
    assert_same(frames, fake_decode(source, SPEC))
    assert decoder.calls == 1


def test_frames_outlive_their_entry(cache, tmp_path):
    source = write_source(tmp_path)
    cache.get(source, SPEC)
    frames = cache.get(source, SPEC)
    shutil.rmtree(cache.root)
    assert_same(frames, fake_decode(source, SPEC))


def test_exact_entries_serve_every_exact_compression(tmp_path, decoder):
    source = write_source(tmp_path)
    for compression in ("lossless", "none", "near-lossless", "near-lossless"):
        TensorCache(tmp_path / "cache", compression=compression, decode=decoder).get(source, SPEC)
    assert decoder.calls == 2
    assert stats(tmp_path / "cache").codecs == {"lossless": 1, "near-lossless": 1}


def test_lossy_cache_returns_the_same_frames_the_first_time_and_later(tmp_path, decoder):
    source = write_source(tmp_path)
    cache = TensorCache(tmp_path / "cache", compression="near-lossless", decode=decoder)
    first = cache.get(source, SPEC)
    assert_same(cache.get(source, SPEC), first)
    assert not torch.equal(first.pixels, fake_decode(source, SPEC).pixels)


def test_large_source_changed_between_the_hashed_blocks_is_noticed(cache, decoder, tmp_path):
    content = bytearray(os.urandom(2**16) * (2 * BLOCKS + 5))
    source = write_source(tmp_path, "long.mp4", bytes(content))
    before = fingerprint(source)
    old = cache.get(source, SPEC)
    content[BLOCK + 7] ^= 1
    source.write_bytes(content)
    changed = fingerprint(source)
    assert (before.covers, before.content()) == ("blocks", changed.content())
    for _ in range(2):
        assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))
    copy = write_source(tmp_path, "copy.mp4", bytes(content))
    assert_same(cache.get(copy, SPEC), fake_decode(source, SPEC))
    assert decoder.calls == 2
    content[BLOCK + 7] ^= 1
    assert_same(cache.get(write_source(tmp_path, "old.mp4", bytes(content)), SPEC), old)
    assert decoder.calls == 2


def test_full_fingerprint_reads_every_byte(tmp_path, decoder):
    cache = TensorCache(tmp_path / "cache", fingerprint="full", decode=decoder)
    source = write_source(tmp_path, "long.mp4", bytes(2 * BLOCK * BLOCKS))
    cache.get(source, SPEC)
    cache.get(source, SPEC)
    (path,) = entries(cache.root)
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["identity"])["source"]["covers"] == "all"
    assert decoder.calls == 1


def test_source_that_changes_while_it_is_decoded_is_read_again(tmp_path):
    source = write_source(tmp_path)
    calls = []

    def decode(path, spec):
        frames = fake_decode(path, spec)
        calls.append(path)
        if len(calls) < 3:
            source.write_bytes(b"version %d" % len(calls))
        return frames

    cache = TensorCache(tmp_path / "cache", decode=decode)
    assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))
    assert len(calls) == 3
    calls.clear()
    source.write_bytes(b"another")
    with pytest.raises(VideoError, match=r"changed in each of 3 readings.*\[changed\]"):
        TensorCache(tmp_path / "cache", decode=lambda p, s: (calls.clear(), decode(p, s))[1]).get(source, SPEC)


def test_folders_and_lists_are_fingerprinted_in_order(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    one, two = write_source(folder, "0001.png", b"one"), write_source(folder, "0002.png", b"two")
    first = fingerprint(folder).content()
    assert fingerprint([one, two]).content() != fingerprint([two, one]).content()
    assert fingerprint([str(one), str(two)]).content() == fingerprint([b"one", b"two"]).content()
    one.write_bytes(b"two")
    two.write_bytes(b"one")
    assert fingerprint(folder).content() != first
    picture = Image.new("RGB", (3, 2))
    other = picture.resize((2, 3))
    assert fingerprint([picture]).content() != fingerprint([other]).content()
    assert fingerprint([np.asarray(picture)]).content() != fingerprint([np.asarray(other)]).content()


def test_broken_and_missing_sources_leave_nothing_behind(cache, tmp_path):
    with pytest.raises(VideoError, match=r"gone\.mp4.*\[missing\]"):
        cache.get(tmp_path / "gone.mp4", SPEC)
    source = write_source(tmp_path, content=b"broken")
    for _ in range(2):
        with pytest.raises(VideoError, match="not_a_video"):
            cache.get(source, SPEC)
    assert list(scan(cache.root)) == []


def test_only_large_images_are_cached(tmp_path, decoder):
    cache = TensorCache(tmp_path / "cache", decode=decoder, image_pixels=100)
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.new("RGB", (9, 11), "red").save(small)
    Image.new("RGB", (10, 10), "red").save(large)
    for path in (small, large, large.read_bytes()):
        for _ in range(2):
            assert_same(cache.get_image(path, IMAGE), fake_decode(path, IMAGE))
    assert len(entries(cache.root)) == 1
    # Twice for the small one, once for the large one; its bytes alone are the same content.
    assert decoder.calls == 3
    with pytest.raises(VideoError, match="not_an_image"):
        cache.get_image(write_source(tmp_path, "text.png", b"text"), IMAGE)


def test_size_limit_removes_the_least_recently_used(tmp_path):
    sources = [write_source(tmp_path, f"{i}.mp4", b"video %d" % i) for i in range(4)]
    probe = TensorCache(tmp_path / "probe", decode=fake_decode)
    probe.get(sources[0], SPEC)
    size = entries(probe.root)[0].stat().st_size
    cache = TensorCache(tmp_path / "cache", max_bytes=int(3.5 * size), decode=fake_decode)
    frames = [cache.get(source, SPEC) for source in sources[:3]]
    by_source = {}
    for path in entries(cache.root):
        with safe_open(path, "np") as file:
            by_source[json.loads(file.metadata()["provenance"])["source"]["name"]] = path
    for hours, source in zip((5, 9, 7), sources, strict=False):
        age(by_source[str(source)], hours)
    # Reading marks it as used: the third is now the oldest but one.
    cache.get(sources[1], SPEC)
    cache.get(sources[3], SPEC)
    kept = set(entries(cache.root))
    assert by_source[str(sources[2])] not in kept
    assert {by_source[str(source)] for source in sources[:2]} <= kept
    assert len(kept) == 3
    assert cache.counts["evicted"] == 1
    assert_same(frames[2], fake_decode(sources[2], SPEC))


def test_entry_above_the_limit_is_not_stored(tmp_path, caplog):
    source = write_source(tmp_path)
    cache = TensorCache(tmp_path / "cache", max_bytes=100, decode=fake_decode)
    for _ in range(2):
        assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))
    assert cache.counts == {"decoded": 2, "not_stored": 2}
    assert caplog.text.count("more than max_bytes 100") == 1


def test_eviction_leaves_strangers_files_alone(tmp_path):
    root = tmp_path / "cache"
    (root / "ab").mkdir(parents=True)
    strangers = [root / "notes.txt", root / "ab" / "model.safetensors", root / "ab" / ("0" * 32 + ".safetensors")]
    for path in strangers:
        path.write_bytes(bytes(5000))
    cache = TensorCache(root, max_bytes=4000, decode=fake_decode)
    for i in range(4):
        cache.get(write_source(tmp_path, f"{i}.mp4", b"video %d" % i), replace(SPEC, sampling=Sampling(frames=1)))
    assert all(path.stat().st_size == 5000 for path in strangers)
    assert cache.counts["evicted"] > 0


def test_settings_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"compression 'loseless' is unknown\. Did you mean 'lossless'"):
        TensorCache(tmp_path, compression="loseless")
    with pytest.raises(ValueError, match=r"fingerprint 'path' is unknown.*fast, full"):
        TensorCache(tmp_path, fingerprint="path")
    with pytest.raises(ValueError, match="max_bytes is 0"):
        TensorCache(tmp_path, max_bytes=0)
    with pytest.raises(ValueError, match="is a file"):
        TensorCache(write_source(tmp_path))


def test_a_cache_that_was_used_is_handed_to_another_process_without_its_figures(tmp_path):
    cache, source = TensorCache(tmp_path / "cache", decode=fake_decode), write_source(tmp_path)
    cache.get(source, SPEC)
    cache.decode_seconds = 2.5
    sent = pickle.dumps(cache)

    def work():
        received = pickle.loads(sent)
        assert (received.counts, received.decode_seconds) == ({}, 0.0), "figures of several processes are added up"
        assert_same(received.get(source, SPEC), fake_decode(source, SPEC))
        assert_same(received.get(other, SPEC), fake_decode(other, SPEC))
        assert received.counts == {"hits": 1, "decoded": 1}

    other = write_source(tmp_path, "b.mp4", b"video b")
    assert join(spawn(work)) == 0
    assert (cache.counts, cache.decode_seconds) == ({"decoded": 1}, 2.5)
    assert_same(cache.get(other, SPEC), fake_decode(other, SPEC))
    assert cache.counts == {"decoded": 1, "hits": 1}, "the other process's entry is this one's too"


def test_what_a_dead_writer_left_of_an_entry_goes_when_it_is_made_again(cache, tmp_path):
    source = write_source(tmp_path)
    cache.get(source, SPEC)
    (path,) = entries(cache.root)
    stranger = path.with_name(path.name[:2] + "0" * 30 + "." + "2" * 16 + ".part")
    leftovers = [path.with_suffix(f".{digit * 16}.{kind}") for digit, kind in (("0", "part"), ("1", "stale"))]
    for leftover in (*leftovers, stranger):
        leftover.write_bytes(b"abc")
    path.unlink()
    assert_same(cache.get(source, SPEC), fake_decode(source, SPEC))
    assert sorted(item.path for item in scan(cache.root)) == sorted([path, stranger])


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_entry_that_cannot_be_written_leaves_the_old_one_and_nothing_beside_it(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path, entry = tmp_path / "entry.safetensors", pack(fake_decode(write_source(tmp_path), SPEC), "none", "", {})
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_entry(entry, tmp_path / "entry.part", path)
    assert path.read_bytes() == b"old"
    assert not (tmp_path / "entry.part").exists()
