"""One cache entry as a file: safetensors, with everything that made it in the header and a checksum over all of it.

Tensors of an uncompressed entry: `pixels` uint8 [T, 3, H, W] and `timestamps` float64 [T]. A compressed one has
`stream` uint8 [N] and `lengths` int64 [T] in place of `pixels`, see `video.codecs`. Header strings: `identity` (what
the key is the digest of), `provenance` (source, versions, date), `frames` (VideoMetadata), `layout` (codec and shape)
and `checksum` (XXH3-128 of the other strings and of every tensor's name, type, shape and bytes).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video.codecs import CODECS, decode, encode
from video.types import Frames, VideoMetadata

if TYPE_CHECKING:
    import torch

# Goes into every key: raise it whenever equal settings would give other pixels, or the layout changes.
FORMAT = 3
HEADER = {"identity", "provenance", "frames", "layout", "checksum"}


class BadEntry(Exception):
    """An entry that cannot be used.

    Attributes:
        kind: `absent`, `broken` (bytes that are not what was written), or `foreign` (whole, and of something else).
        reason: in words.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(f"{kind}: {reason}")
        self.kind, self.reason = kind, reason


@dataclass(frozen=True)
class Entry:
    """An entry in memory, packed as it lies on disk.

    Attributes:
        tensors: see the module.
        header: the strings of the file's header without the checksum.
    """

    tensors: Mapping[str, torch.Tensor]
    header: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        """Bytes on disk, to within a few hundred."""
        return sum(t.nbytes for t in self.tensors.values()) + sum(len(text) for text in self.header.values())

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the entry: source, stamp, full digest, versions, date."""
        return json.loads(self.header["provenance"])

    @property
    def codec(self) -> str:
        """The name in `CODECS` under which the pixels were packed."""
        return json.loads(self.header["layout"])["codec"]

    def frames(self) -> Frames:
        """The frames: over the entry's own memory where nothing is compressed."""
        layout = json.loads(self.header["layout"])
        codec = CODECS[layout["codec"]]
        if codec is None:
            pixels = self.tensors["pixels"]
        else:
            pixels = decode(codec, self.tensors["stream"], self.tensors["lengths"], tuple(layout["shape"]))
        metadata = VideoMetadata.from_dict(json.loads(self.header["frames"]))
        return Frames(pixels, self.tensors["timestamps"], metadata)


def pack(frames: Frames, codec: str, identity: str, provenance: Mapping[str, Any]) -> Entry:
    """Frames as an entry.

    Args:
        codec: a name in `CODECS`.
        identity: what the key is the digest of.
        provenance: facts that JSON can hold.
    """
    pixels = frames.pixels.contiguous()
    chosen = CODECS[codec]
    if chosen is None:
        tensors = {"pixels": pixels}
    else:
        tensors = dict(zip(("stream", "lengths"), encode(chosen, pixels), strict=True))
    header = {
        "identity": identity,
        "provenance": json.dumps(provenance),
        "frames": frames.metadata.canonical_json(),
        "layout": json.dumps({"codec": codec, "shape": list(pixels.shape)}),
    }
    return Entry({**tensors, "timestamps": frames.timestamps.contiguous()}, header)


def write_entry(entry: Entry, aside: Path, path: Path) -> None:
    """Writes the entry to `aside`, brings it to disk, and renames it to `path`: readers see all of it or nothing.

    Raises:
        OSError: no space, no permission; nothing is left at `aside`, and `path` is as it was.
    """
    from safetensors.torch import save

    try:
        # The library's own `save_file` leaves a file of another name behind when it is killed, readable by its owner
        # only.
        content = save(dict(entry.tensors), {**entry.header, "checksum": checksum(entry)})
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync a folder; the entry itself is on disk.
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


def read_entry(path: Path, *, mapped: bool = True) -> Entry:
    """Reads an entry and checks every byte of it.

    Args:
        mapped: tensors lie over a private mapping of the file, whose pages are shared with the page cache until they
            are written to; otherwise the file is copied into memory.

    Raises:
        BadEntry: `absent`, `broken` (which includes a file that may not be read) or `foreign`.
    """
    from safetensors import SafetensorError

    try:
        tensors, header = (_map if mapped else _load)(path)
    except FileNotFoundError as error:
        raise BadEntry("absent", f"no file {path}") from error
    # A file that vanishes between the library's two openings of it reaches us as torch's RuntimeError.
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise BadEntry("broken", f"it does not read as a safetensors file ({error})") from error
    if set(header) != HEADER or "timestamps" not in tensors:
        raise BadEntry("foreign", f"a safetensors file of another kind, with {sorted(header)} in its header")
    written = header.pop("checksum")
    entry = Entry(tensors, header)
    if checksum(entry) != written:
        raise BadEntry("broken", "its bytes do not match its checksum")
    _refuse_malformed(entry)
    return entry


def _refuse_malformed(entry: Entry) -> None:
    """Raises BadEntry, `broken`, where an entry is not of the form that `pack` gives it, as one by others may be."""
    try:
        origin, layout = entry.provenance, json.loads(entry.header["layout"])
        facts = [*(origin["source"][key] for key in ("name", "stamp", "full")), *origin["versions"], origin["made"]]
        VideoMetadata.from_dict(json.loads(entry.header["frames"]))
        codec, (count, planes, height, width) = CODECS[layout["codec"]], layout["shape"]
        times, tensors = entry.tensors["timestamps"], entry.tensors
        if codec is None:
            fits = (str(tensors["pixels"].dtype), list(tensors["pixels"].shape)) == ("torch.uint8", layout["shape"])
        else:
            lengths, stream = tensors["lengths"], tensors["stream"]
            fits = len(lengths) == count and bool((lengths >= 0).all()) and int(lengths.sum()) == stream.numel()
            fits = fits and (str(stream.dtype), str(lengths.dtype)) == ("torch.uint8", "torch.int64")
        fits = fits and (str(times.dtype), list(times.shape)) == ("torch.float64", [count])
        if not (fits and facts and planes == 3 and min(count, height, width) > 0):
            raise ValueError("tensors of other types or shapes than its header says")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadEntry("broken", f"it is not of the form of an entry ({type(error).__name__}: {error})") from error


def read_header(path: Path) -> dict[str, str]:
    """The header's strings; neither they nor the pixels are checked.

    Raises:
        BadEntry: `absent` or `broken`.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise BadEntry("absent", f"no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise BadEntry("broken", f"not a whole safetensors file ({error})") from error


def _map(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors.torch import load

    content = path.read_bytes()
    tensors = load(content)
    # `load` has checked the length that stands in the first 8 bytes, and drops the strings that follow.
    end = 8 + int.from_bytes(content[:8], "little")
    return tensors, json.loads(content[8:end]).get("__metadata__", {})


def checksum(entry: Entry) -> str:
    """XXH3-128 of the header's strings and of the tensors' names, types, shapes and bytes, as hex."""
    import xxhash

    total = xxhash.xxh3_128()
    shapes = [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in sorted(entry.tensors.items())]
    total.update(json.dumps([dict(entry.header), shapes], sort_keys=True).encode())
    for _, tensor in sorted(entry.tensors.items()):
        total.update(tensor.numpy())
    return total.hexdigest()
