"""Entries that are damaged, cut short, swapped or foreign are noticed, made again, and never read wrong."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.frames import SPEC, assert_same, fake_decode, write_source
from video.cache import TensorCache
from video.entries import Entry, checksum
from video.inventory import evict, scan, stats
from video.types import Frames, Sampling
from video.verification import check

SMALL = replace(SPEC, sampling=Sampling(frames=1))


def tiny_decode(source, spec):
    """One frame of 3 x 4 pixels, so that every byte of its entry can be flipped."""
    full = fake_decode(source, spec)
    return Frames(full.pixels[:, :, :3, :4].contiguous(), full.timestamps, full.metadata)


@pytest.fixture(params=["none", "lossless", "near-lossless"])
def stocked(tmp_path, request, monkeypatch):
    """(cache, source, entry's path, frames), without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    cache = TensorCache(tmp_path / "cache", compression=request.param, decode=tiny_decode)
    source = write_source(tmp_path)
    frames = cache.get(source, SMALL)
    (item,) = scan(cache.root)
    return cache, source, item.path, frames


@pytest.mark.slow
def test_every_flipped_byte_is_noticed(stocked):
    cache, source, path, expected = stocked
    whole = path.read_bytes()
    draw = random.Random(0)
    places = range(0, len(whole), 1 if cache.compression == "none" else 3)
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        assert_same(cache.get(source, SMALL), expected)
        # The header's padding may change from one blank to another; anything else was noticed and made again.
        assert check(next(scan(cache.root))) is None
    noticed = cache.counts["broken"] + cache.counts["foreign"]
    assert noticed >= len(places) - 8
    assert cache.counts["decoded"] == noticed + 1


@pytest.mark.parametrize("mapped", [True, False])
def test_short_long_and_empty_files(stocked, mapped):
    cache, source, path, expected = stocked
    cache.mapped = mapped
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:8], whole[:300], whole[:-1], whole + b"\0", bytes(len(whole)), b"\xff" * 64):
        path.write_bytes(content)
        assert_same(cache.get(source, SMALL), expected)
        assert check(next(scan(cache.root))) is None
    assert cache.counts["broken"] == 8


def test_foreign_entries(stocked, tmp_path):
    cache, source, path, expected = stocked
    other = write_source(tmp_path, "b.mp4", b"another video")
    cache.get(other, SMALL)
    (foreign,) = (item.path for item in scan(cache.root) if item.path != path)
    shutil.copy(foreign, path)
    (problem,) = (problem for item in scan(cache.root) if (problem := check(item)))
    assert problem.startswith("foreign: it is the entry of key " + foreign.stem)
    assert_same(cache.get(source, SMALL), expected)
    save_file({"weight": torch.zeros(3)}, path)
    assert_same(cache.get(source, SMALL), expected)
    assert cache.counts["foreign"] == 2
    assert cache.counts["broken"] == 0


def test_a_forged_checksum_does_not_make_an_entry_of_other_settings_pass(stocked):
    cache, source, path, expected = stocked
    with safe_open(path, "np") as file:
        header = file.metadata()
    changed = header["identity"].replace('"frames": 1', '"frames": 2')
    assert changed != header["identity"]
    header.pop("checksum")
    entry = Entry(load_file(path), {**header, "identity": changed})
    save_file(dict(entry.tensors), path, {**entry.header, "checksum": checksum(entry)})
    assert_same(cache.get(source, SMALL), expected)
    assert cache.counts["foreign"] == 1


def test_a_folder_in_the_entrys_place(stocked, caplog):
    cache, source, path, expected = stocked
    path.unlink()
    path.mkdir()
    assert_same(cache.get(source, SMALL), expected)
    assert cache.counts["not_stored"] == 1
    assert "is made again" in caplog.text


def test_unfinished_files_are_removed_when_they_are_old(stocked):
    cache, _, path, _ = stocked
    young = path.with_suffix("." + "0" * 16 + ".part")
    old, lock = path.with_suffix("." + "1" * 16 + ".part"), path.with_suffix(".lock")
    for leftover in (young, old, lock):
        leftover.write_bytes(b"abc")
    for leftover in (old, lock):
        os.utime(leftover, (0, 0))
    found = stats(cache.root)
    assert (found.entries, found.unfinished, found.unfinished_nbytes, found.locks) == (1, 2, 6, 1)
    evict(scan(cache.root), 10**9)
    assert sorted(item.path for item in scan(cache.root)) == sorted([path, young])
    evict(scan(cache.root), 0)
    assert [item.path for item in scan(cache.root)] == [young]


def rewritten(path, tensors=None, **header):
    """Puts other strings and tensors into an entry, with a checksum that fits; None takes one out."""
    with safe_open(path, "pt") as file:
        old = {key: value for key, value in file.metadata().items() if key != "checksum"}
    held = {key: value for key, value in {**load_file(path), **(tensors or {})}.items() if value is not None}
    entry = Entry(held, {**old, **header})
    path.unlink()
    save_file(held, path, {**entry.header, "checksum": checksum(entry)})


MALFORMED = {
    "layout that is no JSON": {"layout": "{"},
    "layout without a codec": {"layout": "{}"},
    "unknown codec": {"layout": '{"codec": "zip", "shape": [1, 3, 3, 4]}'},
    "layout that is a list": {"layout": "[]"},
    "shape of another size": {"layout": '{"codec": "none", "shape": [9, 3, 3, 4]}'},
    "provenance without a source": {"provenance": "{}"},
    "provenance of nulls": {"provenance": '{"source": null, "versions": {}, "made": ""}'},
    "metadata of another kind": {"frames": "[]"},
    "metadata without keys": {"frames": "{}"},
    "no timestamps of the frames": {"tensors": {"timestamps": torch.zeros(7, dtype=torch.float64)}},
    "timestamps that are whole": {"tensors": {"timestamps": torch.zeros(1, dtype=torch.int64)}},
    "no pixels": {"tensors": {"pixels": None, "stream": None, "lengths": None}},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_entries_with_a_checksum_that_fits_are_made_again(stocked, case):
    cache, source, path, expected = stocked
    rewritten(path, **MALFORMED[case])
    assert check(next(scan(cache.root))) is not None
    assert_same(cache.get(source, SMALL), expected)
    assert cache.counts["broken"] == 1
    assert check(next(scan(cache.root))) is None


def test_streams_that_do_not_unpack_are_made_again(stocked):
    cache, source, path, expected = stocked
    if cache.compression == "none":
        pytest.skip("nothing is packed")
    held = load_file(path)
    rewritten(path, tensors={"stream": torch.zeros_like(held["stream"])})
    assert_same(cache.get(source, SMALL), expected)
    assert cache.counts["broken"] == 1
