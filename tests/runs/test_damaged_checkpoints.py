"""A run whose checkpoints are damaged: what resume, evaluation and export say, and that nothing is lost by it."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from mmrl import evaluate, load_recipe, train
from mmrl.commands.export import export
from mmrl.contracts.errors import CheckpointError
from mmrl.data.samplers.weighted import Weighted
from mmrl.objectives.controllers import Controllers
from mmrl.policies.digests import STATE, digests_of, read_state, signed
from mmrl.trainer import checkpoint
from mmrl.trainer.place import Place, read_place
from mmrl.trainer.surroundings import differences, surroundings
from tests.support.runs import assert_same_run, recipe

LAST, BEFORE = "step_000003", "step_000002"


def settings(tiny_qwen, folder, **more):
    return recipe(
        tiny_qwen("qwen2_5_vl"),
        folder,
        steps=3,
        checkpoint={"every": 1, "keep": 9, **more},
        evaluation={"every": None, "limit": 1},
        resume="auto",
    )


@pytest.fixture(scope="module")
def whole(tiny_qwen, tmp_path_factory):
    """A run of three steps, with a checkpoint of each."""
    return train(settings(tiny_qwen, tmp_path_factory.mktemp("whole"))).folder


@pytest.fixture
def hurt(whole, tmp_path):
    """A copy of the run, with a bit flipped in the weights of its newest checkpoint."""
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / LAST / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return tmp_path / "run"


def test_resume_names_the_newest_whole_one_and_by_choice_takes_it(hurt, whole, tiny_qwen, tmp_path):
    damage = rf"checkpoint '.*{LAST}' is damaged: model/model.safetensors is not as it was written"
    own, folder = settings(tiny_qwen, tmp_path), hurt / "checkpoints"
    with pytest.raises(
        CheckpointError, match=rf"{damage}; .* resume=.*/{BEFORE}, or, with resume=auto, by checkpoint.on"
    ):
        train(own)
    with pytest.raises(CheckpointError, match=damage):
        train({**own, "name": "other", "resume": str(folder / LAST)})
    assert not (tmp_path / "other").exists()
    train(settings(tiny_qwen, tmp_path, on_damaged="older"))
    assert_same_run(whole, hurt)
    (start,) = json.loads((hurt / "starts.json").read_text())[1:]
    assert start["step"] == 2
    assert any(line.startswith("passed over: checkpoint") and LAST in line for line in start["changes"])


def test_evaluation_and_export_read_no_damaged_one(hurt, tmp_path):
    for read in (
        lambda: evaluate(hurt),
        lambda: evaluate(hurt, checkpoint=str(hurt / "checkpoints" / LAST / "model")),
        lambda: export(hurt, tmp_path / "out", adapter=False),
    ):
        with pytest.raises(CheckpointError, match=rf"{LAST}' is damaged: .* whole one is '.*{BEFORE}'") as refused:
            read()
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_trainer_s_tensors_are_read_against_their_digest(hurt):
    path = hurt / "checkpoints" / BEFORE / "trainer.safetensors"
    data = bytearray(path.read_bytes())
    data[-8] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"trainer.safetensors is not as .* whole one is '.*step_000001'"):
        checkpoint.load(path.parent)


def test_where_none_is_whole_the_line_says_so(hurt):
    for path in (hurt / "checkpoints").glob("step_*"):
        (path / STATE).write_text("[]")
    for choice in ("stop", "older"):
        with pytest.raises(CheckpointError, match="holds no mapping; no other one there is whole"):
            checkpoint.resume_from("auto", hurt / "checkpoints", choice)


SIGNED = {
    "no place": lambda state: state.pop("place"),
    "no sampler": lambda state: state.pop("sampler"),
    "no stages": lambda state: state.pop("stages"),
    "no parameters": lambda state: state.pop("parameters"),
    "no surroundings": lambda state: state.pop("surroundings"),
    "a place of a list": lambda state: state.update(place=[]),
    "a step of words": lambda state: state["place"].update(step="x"),
    "a step in quotes": lambda state: state["place"].update(step="3"),
    "half a step": lambda state: state["place"].update(step=1.5),
    "a negative step": lambda state: state["place"].update(step=-1),
    "a stage that is not there": lambda state: state["place"].update(stage=9),
    "optimizer steps of words": lambda state: state.update(optimizer_steps="a"),
    "negative optimizer steps": lambda state: state.update(optimizer_steps=-3),
    "evaluations of numbers": lambda state: state["place"].update(evaluations=[1]),
    "controllers of a list": lambda state: state.update(controllers=[]),
    "other stages": lambda state: state.update(stages=["other"]),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_state_that_fits_its_digest_is_checked_too(whole, name):
    source = whole / "checkpoints" / LAST
    state = read_state(source)
    assert read_place(source, state, ["grpo"]) == Place(**state["place"])
    SIGNED[name](state)
    with pytest.raises(CheckpointError, match=f"checkpoint '{source}' ") as refused:
        read_place(source, state, ["grpo"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("walks"),
        lambda state: state.update(walks=[]),
        lambda state: state["walks"].pop("all"),
        lambda state: state["walks"]["all"].update(drawn=-5),
        lambda state: state["walks"]["all"].update(drawn="a"),
        lambda state: state["walks"]["all"].update(positions=[25]),
        lambda state: state["walks"]["all"].update(epochs=[]),
        lambda state: state["walks"]["all"].update(epochs=None),
        lambda state: state.update(weights=None),
        lambda state: state.pop("skipped"),
        lambda state: state.update(skipped="many"),
        lambda state: state.update(reasons=3),
        lambda state: state.pop("sampler"),
    ],
)
def test_a_sampler_s_state_is_checked(whole, change):
    from mmrl.data.mixture import open_mixture

    mixture = open_mixture(load_recipe(whole / "config.yaml").data, 3)
    assert isinstance(mixture.sampler, Weighted)
    state = read_state(whole / "checkpoints" / LAST)["sampler"]
    mixture.load_state_dict(state)
    change(state)
    with pytest.raises(CheckpointError) as refused:
        mixture.load_state_dict(state)
    assert "\n" not in str(refused.value)


def test_a_controller_s_state_is_checked():
    class Part:
        def load_state_dict(self, state):
            self.weight = float(state["weight"])

    controllers = object.__new__(Controllers)
    controllers.parts = {"mine": Part()}
    for state in ({}, {"weight": None}, {"weight": "much"}):
        with pytest.raises(CheckpointError, match=r"controllers\.mine"):
            controllers.load_state_dict({"mine": state})


def test_other_surroundings_are_said(whole, tiny_qwen, tmp_path, monkeypatch):
    assert differences(surroundings(torch.device("cpu")), surroundings(torch.device("cpu")), 4) == []
    before = surroundings(torch.device("cpu"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    monkeypatch.setattr("mmrl.tracking.environment.version_of", lambda name: "0.0")
    lines = differences(before, surroundings(torch.device("meta")), 4)
    said = {line.partition(":")[0] for line in lines}
    assert {"threads", "precision of float32 products", "device", "torch", "transformers"} <= said
    assert "device: cpu up to step 4 and meta from there on; figures may differ" in " ".join(lines)


def test_a_resumed_run_says_that_its_surroundings_are_others(whole, tmp_path):
    from mmrl.setup import _changes

    source = whole / "checkpoints" / BEFORE
    state = read_state(source)
    state["surroundings"]["torch"] = "1.0"
    own, place = load_recipe(whole / "config.yaml"), Place(**state["place"])
    parts = (
        SimpleNamespace(starts=SimpleNamespace(before=lambda step: whole / "config.yaml")),
        own,
        checkpoint.Resumed(source, state),
        place,
        SimpleNamespace(device=torch.device("cpu")),
        SimpleNamespace(tightens=False),
    )
    assert [line for line in _changes(*parts) if line.startswith("torch: 1.0 up to step 2 and ")]


def test_what_a_checkpoint_holds_is_signed(whole):
    for path in (whole / "checkpoints").iterdir():
        state = read_state(path)
        assert state["files"] == digests_of(path)
        assert {"model/model.safetensors", "model/config.json", "trainer.safetensors"} <= state["files"].keys()
        assert (path / STATE).read_text() == signed(state)
