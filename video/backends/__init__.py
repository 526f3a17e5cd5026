"""Decoders of video files behind one contract, chosen by name or by `auto`.

A backend is a module with three functions and two constants:

    available() -> str | None                      None, or why it cannot be used here, with the cure
    unreadable(scan) -> str | None                 None, or why it would not read this file correctly
    decode(scan, indices, threads) -> Iterator     one uint8 array [H, W, 3] per frame number, rotated as shown;
                                                   `indices` ascend without repeats; threads 0 leaves it to FFmpeg

    READS_ALL                                      whether `unreadable` is None for every file
    SEES_DAMAGE                                    whether `decode` refuses frames whose bits were damaged; others hand
                                                   them out, and `video.soundness` checks them

`decode` raises `VideoError`: `truncated` where a frame does not decode, `backend` where the fault is its own.
"""

import difflib
from importlib import import_module
from types import ModuleType

from video.scan import Scan
from video.types import VideoError

# In the order of preference: `auto` takes the first that is there and reads the file correctly.
BACKENDS = {
    "decord": "video.backends.decord",
    "pyav": "video.backends.pyav",
    "torchcodec": "video.backends.torchcodec",
}


def check_name(name: str) -> None:
    if name != "auto" and name not in BACKENDS:
        near = difflib.get_close_matches(name, ["auto", *BACKENDS], n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise VideoError(
            "backend", "video settings", f"unknown backend '{name}'", f"{hint}allowed: auto, {', '.join(BACKENDS)}"
        )


def load(name: str) -> ModuleType:
    check_name(name)
    return import_module(BACKENDS[name])


def automatic() -> list[str]:
    """What `auto` chooses among on this machine, in order: which of them decodes is then up to the file alone."""
    names = []
    for name in BACKENDS:
        module = load(name)
        if not module.available():
            names.append(name)
            if module.READS_ALL:
                break
    return names


def candidates(name: str, scan: Scan) -> list[str]:
    """The backends to try on a file, in order: all that `auto` allows, or the one that was named.

    Raises:
        VideoError: `backend` where the named one is absent or would misread the file.
    """
    if name != "auto":
        module = load(name)
        absent = module.available()
        if absent:
            raise VideoError("backend", scan.path, f"backend '{name}' does not load: {absent}", "or use backend='auto'")
        reason = module.unreadable(scan)
        if reason:
            raise VideoError("backend", scan.path, f"'{name}' {reason}", "use backend='auto' or 'pyav'")
        return [name]
    return [n for n in BACKENDS if not load(n).available() and not load(n).unreadable(scan)]
