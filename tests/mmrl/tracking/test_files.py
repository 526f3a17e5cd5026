"""Atomic writes and JSON."""

import errno
import json
import os

import numpy as np
import pytest

from mmrl.contracts.errors import UserError
from mmrl.tracking.files import json_line, to_plain, write_atomic


def test_writes_text_and_bytes_and_makes_folders(tmp_path):
    path = write_atomic(tmp_path / "a" / "b.txt", "é\n")
    assert path.read_text(encoding="utf-8") == "é\n"
    assert write_atomic(path, b"\x00").read_bytes() == b"\x00"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(path.parent) == ["b.txt"]


def test_full_disk_keeps_the_old_file_and_says_what_to_do(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "summary.json", "old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"summary.json': No space left on device; free disk space") as error:
        write_atomic(path, "new")
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"]


def test_a_file_in_place_of_a_folder_is_a_user_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"runs/x/summary.json"):
        write_atomic(tmp_path / "runs" / "x" / "summary.json", "")


def test_values_become_json():
    value = {1: (np.float32(0.5), np.int64(3)), "a": np.array([[1, 2]]), "b": {2, 1}, "c": float("nan"), "d": ()}
    assert to_plain(value) == {"1": [0.5, 3], "a": [[1, 2]], "b": [1, 2], "c": None, "d": []}
    assert json.loads(json_line({"x": float("inf"), "t": "a\nb", "o": object})) == {
        "x": None,
        "t": "a\nb",
        "o": "<class 'object'>",
    }
    assert json_line({"t": "a\nb\u2028"}).count("\n") == 1
