"""Checkpoint folders: what is listed, replaced, rotated out and taken back, and what a failed write leaves."""

import errno
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from mmrl.contracts.errors import UserError
from mmrl.recipe.training import CheckpointConfig
from mmrl.trainer import checkpoint


class Policy:
    """A policy whose model is one text."""

    config = SimpleNamespace(type="none")

    def __init__(self, text, full=False):
        self.text, self.full = text, full

    def save_pretrained(self, folder):
        folder.mkdir()
        (folder / "model.txt").write_text(self.text)
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, *steps):
    for step in steps:
        (folder / f"step_{step:06d}").mkdir()
        (folder / f"step_{step:06d}" / "state.json").write_text("{}")


def test_later_checkpoints_go_and_the_one_resumed_from_stays(tmp_path):
    make(tmp_path, 1, 2, 3, 4)
    (tmp_path / "notes").mkdir()
    checkpoint.drop_after(tmp_path, 2)
    assert names(tmp_path) == ["notes", "step_000001", "step_000002"]


def test_checkpoints_are_listed_by_step_damaged_ones_too(tmp_path):
    make(tmp_path, 1_000_000, 999_999, 20)
    (tmp_path / "step_000003").mkdir()
    (tmp_path / "step_000004").write_text("no folder")
    for other in (".step_000005.tmp", "step_last", "old_step_000006"):
        (tmp_path / other).mkdir()
    listed = [path.name for path in checkpoint.listed(tmp_path)]
    assert listed == ["step_000003", "step_000020", "step_999999", "step_1000000"]
    assert checkpoint.listed(tmp_path / "absent") == []


def test_rotation_keeps_the_newest_and_those_named_and_clears_what_was_interrupted(tmp_path):
    make(tmp_path, 1, 2, 3, 4)
    for other in (".step_000005.tmp", ".step_000002.old", "notes"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "part").write_text("x")
    checkpoint.rotate(tmp_path, CheckpointConfig(keep=2), {"step_000001", None})
    assert names(tmp_path) == ["notes", "step_000001", "step_000003", "step_000004"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    checkpoint.save(tmp_path, 3, Policy("first"), {"y": torch.zeros(2)}, {"n": 1})
    saved = checkpoint.save(tmp_path, 3, Policy("second"), {"y": torch.ones(2)}, {"n": 2})
    tensors, state = checkpoint.load(saved)
    assert (saved / "model" / "model.txt").read_text() == "second"
    assert (tensors["y"].tolist(), state["n"]) == ([1.0, 1.0], 2)
    assert names(tmp_path) == ["step_000003"]


@pytest.mark.skipif(sys.platform != "linux", reason="which file a number names is read from /proc")
def test_all_of_a_checkpoint_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events, rename = [], os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: events.append(os.readlink(f"/proc/self/fd/{handle}")))
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append(f"renamed {b}"), rename(a, b)))
    final = checkpoint.save(tmp_path, 3, Policy("text"), {"y": torch.zeros(2)}, {"n": 1})
    place = events.index(f"renamed {final}")
    aside = tmp_path / ".step_000003.tmp"
    everything = [aside, *(aside / path.relative_to(final) for path in final.rglob("*"))]
    assert set(map(str, everything)) <= set(events[:place])
    # state.json comes when the other files have been written once already.
    assert events[:place].count(str(aside / "trainer.safetensors")) == 2
    assert events[place + 1 :] == [str(tmp_path)]


def test_a_failed_write_leaves_the_older_checkpoints_and_nothing_else(tmp_path):
    before = checkpoint.save(tmp_path, 1, Policy("first"), {"y": torch.zeros(2)}, {"n": 1})
    for step in (1, 2):
        with pytest.raises(UserError, match=rf"cannot write '.*step_00000{step}': No space left on device"):
            checkpoint.save(tmp_path, step, Policy("half", full=True), {"y": torch.ones(2)}, {"n": 2})
        assert names(tmp_path) == ["step_000001"]
        assert checkpoint.load(before)[1]["n"] == 1
