"""Digests of a checkpoint's files: whatever is not as it was written is one line, and the newest whole one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmrl.contracts.errors import CheckpointError
from mmrl.policies import digests
from mmrl.policies.digests import STATE, digests_of, listed, newest_whole, read_state, signed, verify, verify_model


def write(folder: Path, step: int) -> Path:
    checkpoint = folder / f"step_{step:06d}"
    (checkpoint / "model").mkdir(parents=True)
    (checkpoint / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    (checkpoint / "model" / "config.json").write_text('{"model_type": "none"}')
    (checkpoint / "trainer.safetensors").write_bytes(b"\0" * 512)
    state = {"place": {"step": step, "stage": 0, "loss": 0.1 + 0.2}, "sampler": {"drawn": 2**60}, "none": None}
    (checkpoint / STATE).write_text(signed({**state, "files": digests_of(checkpoint)}))
    return checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for step in (2, 4):
        write(folder, step)
    return folder


@pytest.fixture
def newest(written, tmp_path):
    shutil.copytree(written, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "step_000004"


def flip(name, at, mask):
    def damage(checkpoint):
        data = bytearray((checkpoint / name).read_bytes())
        data[int(at * len(data))] ^= mask
        (checkpoint / name).write_bytes(data)

    return damage


def cut(name, share):
    def damage(checkpoint):
        data = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(data[: int(len(data) * share)])

    return damage


def text(content):
    return lambda checkpoint: (checkpoint / STATE).write_bytes(content)


def edit(change):
    def damage(checkpoint):
        state = json.loads((checkpoint / STATE).read_bytes())
        change(state)
        (checkpoint / STATE).write_text(json.dumps(state))

    return damage


PARTS = ("model/model.safetensors", "model/config.json", "trainer.safetensors", STATE)
DAMAGES = {
    **{f"{name} cut": cut(name, 0.5) for name in PARTS},
    **{f"{name} without its end": cut(name, 0.999) for name in PARTS},
    **{f"{name} empty": cut(name, 0) for name in PARTS},
    **{f"{name} missing": (lambda checkpoint, name=name: (checkpoint / name).unlink()) for name in PARTS},
    **{f"{name} a bit flipped": flip(name, 0.6, 0x40) for name in PARTS},
    **{f"{name} its high bit": flip(name, 0.5, 0x80) for name in PARTS},
    "model/ missing": lambda checkpoint: shutil.rmtree(checkpoint / "model"),
    "a folder in a file's place": lambda checkpoint: [
        (checkpoint / "trainer.safetensors").unlink(),
        (checkpoint / "trainer.safetensors").mkdir(),
    ],
    "a list": text(b"[]"),
    "null": text(b"null"),
    "a number": text(b"4"),
    "text": text(b'"state"'),
    "no JSON": text(b"{'a': 1}"),
    "not UTF-8": text(b'{"format": 2, "a": "\xff"}'),
    "an empty mapping": text(b"{}"),
    "deep": text(b'{"a":' * 100_000),
    "a huge number": text(b'{"format": ' + b"1" * 5000 + b"}"),
    "zeros": text(bytes(400)),
    "another step": edit(lambda state: state["place"].update(step=5)),
    "a negative count": edit(lambda state: state["sampler"].update(drawn=-5)),
    "a word for a number": edit(lambda state: state["place"].update(step="x")),
    "a key less": edit(lambda state: state.pop("sampler")),
    "a key more": edit(lambda state: state.update(more=1)),
    "a digest less": edit(lambda state: state["files"].pop("trainer.safetensors")),
    "no digests": edit(lambda state: [state.pop("files"), state.pop("digest")]),
    "another format": edit(lambda state: state.update(format=1)),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_line_that_names_the_checkpoint(newest, name):
    assert verify(newest)["place"] == {"step": 4, "stage": 0, "loss": 0.30000000000000004}
    DAMAGES[name](newest)
    with pytest.raises(CheckpointError) as refused:
        verify(newest)
    assert f"checkpoint '{newest}'" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value).replace(str(newest), "")) < 200
    assert newest_whole(newest) == newest.with_name("step_000002")


def test_only_the_model_is_read_for_it(newest):
    DAMAGES["trainer.safetensors cut"](newest)
    verify_model(newest / "model")
    DAMAGES["model/config.json a bit flipped"](newest)
    with pytest.raises(CheckpointError, match=r"config.json is not as .* whole one is '.*/step_000002'; a model"):
        verify_model(newest / "model")


def test_a_copy_of_the_model_and_other_folders_are_let_be(newest, tmp_path):
    shutil.copytree(newest / "model", tmp_path / "model")
    DAMAGES["model/config.json a bit flipped"](newest)
    verify_model(tmp_path / "model")
    verify_model(tmp_path / "nowhere")


def test_files_that_were_added_are_let_be(newest):
    (newest / "model" / "README.md").write_text("mine")
    verify(newest)


@pytest.mark.parametrize("when", ["before", "between"])
def test_one_that_its_run_removes_meanwhile_is_gone_and_not_damaged(newest, when, monkeypatch):
    digest = digests.digest_of_file

    def removed(path):
        shutil.rmtree(newest, ignore_errors=True)
        return digest(path)

    if when == "before":
        shutil.rmtree(newest)
    monkeypatch.setattr(digests, "digest_of_file", removed)
    with pytest.raises(CheckpointError, match=r"step_000004' is gone: its run keeps the newest ones"):
        verify(newest)


def test_without_a_whole_one_none_is_named(newest):
    for checkpoint in listed(newest.parent):
        cut("trainer.safetensors", 0.5)(checkpoint)
    assert newest_whole(newest) is None


def test_checkpoints_are_listed_by_step_and_damaged_ones_too(tmp_path):
    for name in ("step_000010", "step_1000000", "step_999999", "step_abc", ".step_000011.tmp", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_000012").symlink_to("step_000012")
    (tmp_path / "step_000013").write_text("a file")
    assert [path.name for path in listed(tmp_path)] == ["step_000010", "step_999999", "step_1000000"]
    assert listed(tmp_path / "nowhere") == []


def test_numbers_come_back_as_they_were(tmp_path):
    state = {"a": [1, 1.0, 1e-320, 0.1, -0.0, 2**70], "b": {"ä": None, "z": float("nan")}, "files": {}}
    (tmp_path / STATE).write_text(signed(state))
    assert repr(read_state(tmp_path)) == repr({"format": digests.FORMAT, **state})
