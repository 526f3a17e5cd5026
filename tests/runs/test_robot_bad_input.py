"""What a user of robot policies gets wrong: exit code 2, one line with the cure, nothing left behind."""

import json
import re
import shutil
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.support.errors import content, refused
from tests.support.robot_data import write_lerobot

FAMILIES = ("openvla", "openvla_oft", "pi0", "pi05")
FLOW = ("pi0", "pi05")
CURE = "set policy.params.statistics to a dataset of this robot"


@pytest.fixture
def place(workplace, tiny_qwen):
    """`place(family, **policy)`: a working folder with a copy of the tiny checkpoint and recipe.yaml that runs it."""

    def make(family, **policy):
        shutil.copytree(tiny_qwen(family), workplace / "model")
        episodes = {"type": "episodes", "simulator": "table"}
        recipe = {
            "name": "robot",
            "threads": 1,
            "policy": {"type": family, "path": "model", "device": "cpu", **policy},
            "simulators": {"table": {"type": "tabletop", "tasks": ["reach"], "image_size": 28, "max_steps": 2}},
            "data": {"train": [{**episodes, "size": 8}], "eval": [{**episodes, "first": 100, "size": 2}]},
            "method": "grpo",
            "steps": 1,
            "prompts": 2,
            "rollout": {"n": 2},
            "tracking": {"console": "none", "tensorboard": False},
        }
        (workplace / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return workplace

    return make


def refuses(capsys, folder, *overrides, dry=False) -> str:
    """The one line that training, and with `dry` also a dry run, ends with."""
    before = content(folder)
    lines = []
    for options in ([], ["--dry-run"])[: 1 + dry]:
        lines += refused(capsys, "train", "recipe.yaml", *options, *overrides)
        assert content(folder) == before
    assert len(set(lines)) == 1, lines
    assert len(lines) == 1 + dry, lines
    return lines[0]


# --- statistics


def edit_statistics(folder, change):
    """Changes dataset_statistics.json, and norm_stats of config.json where it has them; None deletes both."""
    path = folder / "model" / "dataset_statistics.json"
    config = json.loads((folder / "model" / "config.json").read_text())
    found = change(json.loads(path.read_text()))
    if "norm_stats" in config:
        (folder / "model" / "config.json").write_text(json.dumps({**config, "norm_stats": found}))
    path.unlink()
    if found is not None:
        path.write_text(json.dumps(found))


def widened(part, size):
    """A change that gives an entry's `action` or `proprio` another number of dimensions."""
    return lambda found: {
        name: {**entry, part: {key: (values * 9)[:size] for key, values in entry[part].items()}}
        for name, entry in found.items()
    }


STATISTICS = {
    "wrong action dimension": (
        widened("action", 7),
        "actions have 3 dimensions and the policy's (normalisation )?statistics 7; " + CURE,
    ),
    "missing": (lambda found: None, "holds no normalisation statistics .* copy dataset_statistics.json beside it"),
    "several and none chosen": (
        lambda found: {**found, "bridge": found["tabletop"]},
        "policy.params.statistics is unset, .* set it to that of this robot. Allowed: bridge, tabletop",
    ),
    "without bounds": (
        lambda found: {"tabletop": {**found["tabletop"], "action": {"max": [1.0] * 3}}},
        "statistics 'tabletop', entry 'action': .* missing; complete dataset_statistics.json beside the checkpoint",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", STATISTICS)
def test_statistics(capsys, place, family, case):
    change, expected = STATISTICS[case]
    folder = place(family)
    edit_statistics(folder, change)
    assert re.search(expected, refuses(capsys, folder, dry=True))


@pytest.mark.parametrize("family", ["openvla_oft", "pi0"])
def test_states_of_another_size(capsys, place, family):
    folder = place(family)
    edit_statistics(folder, widened("proprio", 8))
    line = refuses(capsys, folder)
    assert "8" in line
    assert CURE in line


def test_a_state_dim_that_is_not_the_robots(capsys, place):
    line = refuses(capsys, place("openvla_oft"), "policy.params.state_dim=8")
    assert line.startswith(
        "policy.params.state_dim is 8, and simulators.table gives a state of 4 values; set state_dim"
    )


# --- settings


SETTINGS = {
    "statistics with the nearest spelling": (
        ["policy.params.statistics=tabeltop"],
        "policy.params.statistics: unknown dataset 'tabeltop'. Did you mean 'tabletop'? Allowed: tabletop",
    ),
    "a camera that the simulator lacks": (
        ["policy.params.cameras=[tpo]"],
        "policy.params.cameras: unknown camera 'tpo'. Did you mean 'top'? Allowed: top",
    ),
    "a simulator without pictures": (
        ["simulators.table.cameras=[]"],
        "simulators.table shows no pictures, and a robot policy sees at least one camera; set its cameras",
    ),
    "a simulator's unknown camera": (
        ["simulators.table.cameras=[tpo]"],
        "simulators.table.cameras.0: 'tpo' is not allowed. Did you mean 'top'? Allowed: 'top'",
    ),
    "an unknown task": (
        ["simulators.table.tasks=[raech]"],
        "simulators.table.tasks.0: 'raech' is not allowed. Did you mean 'reach'? Allowed: 'reach', 'push', "
        "'pick_place' or 'sort'",
    ),
    "an unknown simulator": (
        ["simulators.table={type: tabeltop}"],
        "simulators.table.type: unknown simulator 'tabeltop'. Did you mean 'tabletop'? Allowed: libero, maniskill, "
        "tabletop, or module:name",
    ),
    "a simulator that is not in the recipe": (
        ["data.train.0.simulator=tabel"],
        "unknown simulator 'tabel'. Did you mean 'table'? Allowed: table",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", "pi0"])
@pytest.mark.parametrize("case", SETTINGS)
def test_settings(capsys, place, family, case):
    overrides, expected = SETTINGS[case]
    assert refuses(capsys, place(family), *overrides) == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla_oft", "pi0"])
def test_a_chunk_beyond_what_the_policy_predicts(capsys, place, family):
    assert refuses(capsys, place(family), "rollout.action_chunk=9", dry=True).endswith("set it to at most 4")


def test_more_cameras_than_openvla_sees(capsys, place, workplace):
    """OpenVLA sees one picture; the others show it all cameras of the dataset."""
    folder = place("openvla")
    write_lerobot(folder / "arm", stored=True)
    data = [
        "data.train=[{type: lerobot, path: arm}]",
        "data.eval=[]",
        "method=sft",
        "rollout={}",
        "policy.params.statistics=arm",
    ]
    line = refuses(capsys, folder, *data)
    assert line.startswith("policy.params.cameras: the policy sees 1 images and the observation has 2 (")
    assert line.endswith("; name 1 of them in policy.params.cameras")


# --- checkpoints


def edit_weights(folder, change):
    path = folder / "model" / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


LAYER = {"openvla": "projector.fc3.bias", "openvla_oft": "projector.fc3.bias"}
WEIGHTS = {
    "missing": (lambda state, key: state.pop(key), "1 missing keys, first '{}'; "),
    "unknown": (lambda state, key: state.update(extra=torch.zeros(2)), "1 unexpected keys, first 'extra'; "),
    "misshapen": (lambda state, key: state.update({key: torch.zeros(99)}), "1 mismatched keys, first '{}'; "),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", *FLOW])
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(capsys, place, family, case):
    change, expected = WEIGHTS[case]
    folder, key = place(family), LAYER.get(family, "action_out_proj.bias")
    edit_weights(folder, lambda state: change(state, key))
    line = refuses(capsys, folder)
    assert line.startswith("policy.path: 'model' has 1 ")
    assert expected.format(key) in line
    assert line.endswith("it is a checkpoint of another model or an incomplete one")


@pytest.mark.parametrize("family", ["openvla", *FLOW])
def test_a_shard_that_is_not_there(capsys, place, family):
    folder = place(family)
    model, state = folder / "model", load_file(folder / "model" / "model.safetensors")
    names = sorted(state)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, model / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "model.safetensors").unlink()
    (model / "model-00002-of-00002.safetensors").unlink()
    line = refuses(capsys, folder)
    assert line.startswith("policy.path: 'model' ")
    assert "model-00002-of-00002.safetensors" in line


@pytest.mark.parametrize(("family", "other"), [("openvla", "pi0"), ("pi0", "pi05"), ("openvla_oft", "qwen2_5_vl")])
def test_a_checkpoint_of_another_family(capsys, place, tiny_qwen, family, other):
    line = refuses(capsys, place(family), f"policy.path={tiny_qwen(other)}")
    able = "qwen_vl or frame_selector" if other == "qwen2_5_vl" else other
    assert line.endswith(f"; set policy.type to {able}")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_that_is_not_there_is_made_by_its_own_command(capsys, place, family):
    line = refuses(capsys, place(family), "policy.path=./modle")
    assert line.startswith("policy.path: no checkpoint folder at './modle'. Did you mean 'model'? Give a folder")
    assert line.endswith(f"`mmrl tiny {family} ./modle` makes a small one there")
    assert ("quickstart_robot" in line) == (family == "openvla")


# --- packages


PACKAGES = {
    "mani_skill": (["simulators.table={type: maniskill}"], "pip install 'mani-skill>=3.0.1,<3.1'"),
    "libero": (["simulators.table={type: libero}"], "pip install hf-libero==0.1.4"),
    "timm": ([], "pip install 'timm>=1.0.12,<2'"),
    "h5py": (
        ["data.train=[{type: libero_hdf5, path: task.hdf5}]", "data.eval=[]", "method=sft", "rollout={}"],
        "pip install 'h5py>=3.10'",
    ),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_that_is_not_installed(capsys, place, monkeypatch, package):
    overrides, command = PACKAGES[package]
    folder = place("openvla")
    (folder / "task.hdf5").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert refuses(capsys, folder, *overrides).endswith(command)
