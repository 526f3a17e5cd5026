"""Names of folders: a run stays inside of `output`, and every file system can hold what it is called."""

from __future__ import annotations

from mmrl.contracts.errors import shortened

# Bytes of a file's name, on the file systems in use.
LONGEST = 255


def check_name(name: str) -> str:
    """The name of a run.

    Raises:
        ValueError: its folder would lie outside of `output`, or be that folder; also as `check_path`.
    """
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"{shown(name)} is no folder inside of `output`; give one such as 'first' or 'digits/first'")
    return check_path(name)


def check_path(path: str) -> str:
    """A path that a file can have.

    Raises:
        ValueError: it holds control characters or no text, or a part is longer than a file's name may be.
    """
    try:
        longest = max(len(part.encode()) for part in path.split("/"))
    except UnicodeEncodeError:
        raise ValueError(f"{shown(path)} holds what is no text; no file can have it in its name") from None
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise ValueError(f"{shown(path)} holds control characters; no file should have them in its name")
    if longest > LONGEST:
        raise ValueError(f"{shown(path)} has a part of {longest} bytes; the name of a file has at most {LONGEST}")
    return path


def shown(path: str) -> str:
    """A path as a line of text can show it."""
    return f"'{shortened(ascii(path)[1:-1])}'"
