"""The tensor cache: each video is decoded once, and read back as it was decoded."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video import backends
from video import fingerprint as fingerprints
from video.codecs import CODECS
from video.entries import FORMAT, BadEntry, Entry, pack, read_entry, write_entry
from video.fingerprint import Fingerprint
from video.inventory import entry_path, evict, key_of, scan, scan_shard, unlink_breaks_mappings
from video.locks import EntryLock
from video.provenance import open_image, provenance, source_name
from video.types import Frames, ImageSpec, Source, Spec, VideoError, VideoSpec

LOGGER = logging.getLogger(__name__)
# Finer than this the order of use is not kept; each update costs a message to the server of a shared file system.
USE_S = 60.0
FIRST_POLL_S, LONGEST_POLL_S = 0.005, 0.25
# Readings of a source that changes each time before it is given up.
TRIES = 3
# Share of `max_bytes` that is made free beyond need, and written before other writers are looked at again.
SLACK = 0.01


@dataclass(frozen=True)
class _Place:
    """Where the entry of a source and a spec lies, if it is there."""

    source: Source
    spec: Spec
    mode: fingerprints.Mode
    fingerprint: Fingerprint
    identity: str
    path: Path
    # The file there when it was located, whether its entry is of use or not.
    found: tuple[int, int] | None


class TensorCache:
    """Decoded frames on disk, one safetensors file for each content, sampling and budget.

    An entry's key is the digest of the source's content, the spec's canonical JSON, the decoders that `auto` stands for
    on this machine, the stored form's loss and a format version; names and paths are not in it. An entry is written
    aside, brought to disk and renamed. When it is read, its checksum over header, timestamps and pixels is computed
    anew and its identity is compared with the one asked for: a broken or foreign entry is logged, counted and made
    again, and a new one replaces it in one step. A source that changes has another key.

    The default, fast fingerprint does not read all of a large file. An entry therefore also carries the digest of every
    byte: where a file's modification time is not the one of the entry's source, all bytes are compared, once per
    process.

    Frames of an uncompressed entry lie over a private mapping of its file: nothing is copied, processes share the
    pages, writing to them changes a private copy and never the file, and they outlive the entry. Where removing a file
    would break mappings on other machines (NFS, SMB) entries are read into memory instead.

    Processes, threads and machines that want the same missing entry decode it once: one takes a lock file and the
    others wait (see `video.locks`). A cache that cannot be written (no space, read-only) logs that once, counts it as
    `not_stored`, and hands out what was decoded.

    Args:
        root: the cache's folder; made when first written to.
        max_bytes: least recently used entries are removed so that no more is kept; several writers may exceed it by 1%
            each. Use is noted to the minute, in the entries' access times. None: no limit.
        compression: `none`, `lossless` or `near-lossless`, of entries that are written; see `video.codecs`. Exact ones
            are read whatever this is.
        fingerprint: `fast`, or `full`: every byte of a source, whenever a process first sees it.
        decode: (source, spec) to Frames; None: this package's decoding. Must not depend on anything but its arguments.
        mapped: map uncompressed entries; None: unless `root` lies on a file system that forbids it.
        image_pixels: `get_image` caches images with at least as many pixels.

    Attributes:
        counts: this object's `hits`, `decoded`, `waited` (for another's decoding), `broken`, `foreign`, `evicted`,
            `not_stored`.
        decode_seconds: what this object's decodings took, those of all threads added up.
        problem: why the last entry could not be stored, or None.

    Raises:
        ValueError: an unknown setting, or `root` is a file.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        max_bytes: int | None = None,
        compression: str = "none",
        fingerprint: fingerprints.Mode = "fast",
        *,
        decode: Callable[[Source, Any], Frames] | None = None,
        mapped: bool | None = None,
        image_pixels: int = 2**20,
    ):
        self.root = Path(root).absolute()
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"cache root '{root}' is a file; give a folder")
        if max_bytes is not None and max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}; give a number of bytes above 0, or None for no limit")
        _one_of("compression", compression, CODECS)
        _one_of("fingerprint", fingerprint, fingerprints.MODES)
        self.max_bytes = max_bytes
        self.compression = compression
        self.fingerprint = fingerprint
        self.decode = decode or decode_source
        self.mapped = not unlink_breaks_mappings(self.root) if mapped is None else mapped
        self.image_pixels = image_pixels
        self.counts: Counter[str] = Counter()
        self.decode_seconds = 0.0
        self.problem: str | None = None
        self._known: int | None = None
        self._written = 0
        self._renew_guards()
        renew = weakref.WeakMethod(self._renew_guards)
        # Another thread may hold a guard at the moment of a fork, and does not exist in the child.
        os.register_at_fork(after_in_child=lambda: (method := renew()) and method())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_counting": None, "_sizing": None, "counts": Counter(), "decode_seconds": 0.0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._renew_guards()

    def _renew_guards(self) -> None:
        self._counting, self._sizing = threading.Lock(), threading.Lock()

    def get(self, source: Source, spec: Spec) -> Frames:
        """The frames of a video, a folder of frames, a list of images or an image.

        Args:
            source: a path, or a list of images; what `decode` reads.
            spec: a VideoSpec or an ImageSpec.

        Raises:
            VideoError: the source is missing, refused by the decoder, or changes all the time.
        """
        for _ in range(TRIES):
            place = self._locate(source, spec, self.fingerprint)
            entry = self._read(place)
            if entry is not None and not self._same_bytes(entry, place):
                place = self._locate(source, spec, "full")
                entry = self._read(place)
            frames = None if entry is None else self._unpacked(entry, place)
            if frames is not None:
                self._count("hits")
                return frames
            frames = self._fill(place)
            if frames is not None:
                return frames
        raise VideoError(
            "changed", source_name(source), f"the file changed in each of {TRIES} readings", "wait until it is written"
        )

    def get_image(self, source: Any, spec: ImageSpec) -> Frames:
        """One image as Frames with T = 1: from the cache if it has at least `image_pixels` pixels, else decoded anew.

        Args:
            source: a path, or encoded bytes.

        Raises:
            VideoError: see `get`.
        """
        with open_image(source) as image:
            large = image.width * image.height >= self.image_pixels
        return self.get(source, spec) if large else self._decoded(source, spec)

    def _locate(self, source: Source, spec: Spec, mode: fingerprints.Mode) -> _Place:
        fingerprint = fingerprints.fingerprint(source, mode)
        codec = CODECS[self.compression]
        identity = json.dumps(
            {
                "format": FORMAT,
                "source": fingerprint.content(),
                "spec": json.loads(spec.canonical_json()),
                "decoders": _decoders(source, spec),
                "pixels": "exact" if codec is None else codec.pixels,
            },
            sort_keys=True,
        )
        path = entry_path(self.root, key_of(identity))
        return _Place(source, spec, mode, fingerprint, identity, path, _state(path))

    def _read(self, place: _Place) -> Entry | None:
        """The entry, or None where it is absent or must be made again."""
        try:
            entry = read_entry(place.path, mapped=self.mapped)
            if entry.header["identity"] != place.identity:
                raise BadEntry("foreign", f"it was made of {entry.header['identity']}")
        except BadEntry as problem:
            if problem.kind != "absent":
                self._count(problem.kind)
                LOGGER.warning("%s is made again from %s: %s", place.path, source_name(place.source), problem)
            return None
        self._note_use(place.path)
        return entry

    def _unpacked(self, entry: Entry, place: _Place) -> Frames | None:
        """Its frames; None, logged and counted, where what it holds does not unpack."""
        try:
            return entry.frames()
        # Codecs raise what their libraries make them raise.
        except Exception as error:
            self._count("broken")
            LOGGER.warning("%s is made again from %s: %s", place.path, source_name(place.source), error)
            return None

    def _note_use(self, path: Path) -> None:
        # The modification time stays, and so does what it says: when the entry was made. Another user's entry on a
        # shared file system may refuse; the file system's own access time has to do then.
        with suppress(OSError):
            facts, now = os.stat(path), time.time_ns()
            if now - facts.st_atime_ns > USE_S * 1e9:
                os.utime(path, ns=(now, facts.st_mtime_ns))

    def _same_bytes(self, entry: Entry, place: _Place) -> bool:
        """Whether the source is byte for byte what the entry was made of."""
        made_of = entry.provenance["source"]
        if place.fingerprint.covers == "all" or made_of["stamp"] == place.fingerprint.stamp:
            return True
        return made_of["full"] == fingerprints.fingerprint(place.source, "full").digest

    def _fill(self, place: _Place) -> Frames | None:
        """Decodes and stores, or waits for another who does; None if the source is not what it was."""
        lock = EntryLock(place.path.with_suffix(".lock"))
        try:
            try:
                place.path.parent.mkdir(parents=True, exist_ok=True)
                entry = self._acquire(lock, place)
            except OSError as error:
                self._not_stored(place, error)
                frames = self._decode(place)
                return None if frames is None else self._as_stored(frames)
            if entry is not None:
                return entry.frames() if self._same_bytes(entry, place) else None
            frames = self._decode(place)
            return None if frames is None else self._store(place, frames, lock.token)
        finally:
            lock.release()

    def _acquire(self, lock: EntryLock, place: _Place) -> Entry | None:
        """Waits until the lock is ours, which gives None, or somebody else has made the entry."""
        pause, last_state = FIRST_POLL_S, place.found
        while True:
            # In this order: an entry made between the two is seen.
            ours, state = lock.acquire(), _state(place.path)
            if state != last_state:
                last_state = state
                entry = self._read(place)
                if entry is not None:
                    self._count("waited")
                    return entry
            if ours:
                return None
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL_S)

    def _decode(self, place: _Place) -> Frames | None:
        frames = self._decoded(place.source, place.spec)
        if self._changed(place):
            return None
        self._count("decoded")
        return frames

    def _changed(self, place: _Place) -> bool:
        return fingerprints.fingerprint(place.source, place.mode) != place.fingerprint

    def _decoded(self, source: Source, spec: Spec) -> Frames:
        began = time.perf_counter()
        frames = self.decode(source, spec)
        with self._counting:
            self.decode_seconds += time.perf_counter() - began
        return frames

    def _store(self, place: _Place, frames: Frames, token: str) -> Frames | None:
        """Writes the entry; gives back what later readers of it will see, or None if the source is not what it was."""
        origin = provenance(place.source, place.fingerprint, frames)
        # The digest over every byte that it holds was taken just now, after the frames.
        if place.fingerprint.covers != "all" and self._changed(place):
            return None
        entry = pack(frames, self.compression, place.identity, origin)
        try:
            # Whoever wrote an unfinished file of this key no longer holds its lock.
            for item in scan_shard(place.path.parent):
                if item.kind == "unfinished" and place.path.name.startswith(item.key):
                    item.path.unlink(missing_ok=True)
            self._make_room(entry.nbytes)
            write_entry(entry, place.path.with_suffix(f".{token}.part"), place.path)
        except OSError as error:
            self._not_stored(place, error)
        return self._as_stored(frames, entry)

    def _as_stored(self, frames: Frames, entry: Entry | None = None) -> Frames:
        """What a reader of the entry sees: the frames themselves, unless storing them changes them."""
        codec = CODECS[self.compression]
        if codec is None or codec.pixels == "exact":
            return frames
        return (entry or pack(frames, self.compression, "", {})).frames()

    def _make_room(self, nbytes: int) -> None:
        if self.max_bytes is None:
            return
        if nbytes > self.max_bytes:
            raise OSError(errno.EFBIG, f"{nbytes} bytes are more than max_bytes {self.max_bytes}")
        with self._sizing:
            full = self._known is None or self._known + nbytes > self.max_bytes
            if full or self._written > SLACK * self.max_bytes:
                items = list(scan(self.root))
                self._known, self._written = sum(item.nbytes for item in items), 0
                if self._known + nbytes > self.max_bytes:
                    target = max(0, int((1 - SLACK) * self.max_bytes) - nbytes)
                    self._known, removed = evict(items, target)
                    self._count("evicted", removed)
            self._known += nbytes
            self._written += nbytes

    def _not_stored(self, place: _Place, error: OSError) -> None:
        self._count("not_stored")
        self.problem = error.strerror or str(error)
        if self.counts["not_stored"] == 1:
            LOGGER.warning(
                "cache '%s' cannot store %s: %s; frames are decoded anew each time until there is room or permission",
                self.root, source_name(place.source), self.problem,
            )  # fmt: skip

    def _count(self, name: str, by: int = 1) -> None:
        with self._counting:
            self.counts[name] += by


def decode_source(source: Source, spec: Spec, threads: int = 0) -> Frames:
    """The package's own decoding, of encoded images in memory as well; `threads` as in `video.read`."""
    from video.reading import read

    opened = open_image(source) if isinstance(source, bytes | bytearray | memoryview) else source
    return read(opened, spec, threads=threads)


def _decoders(source: Source, spec: Spec) -> list[str] | None:
    """What `auto` may mean here: on a machine without one of them other pixels may come out of the same settings."""
    automatic = isinstance(spec, VideoSpec) and spec.backend == "auto" and isinstance(source, str | os.PathLike)
    return backends.automatic() if automatic else None


def _one_of(name: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        import difflib

        close = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(f"{name} '{value}' is unknown.{hint} Allowed: {', '.join(allowed)}")


def _state(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns
