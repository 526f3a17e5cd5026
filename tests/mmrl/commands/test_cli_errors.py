"""What a user gets wrong: one line per problem, with the place and the cure, exit code 2, and nothing left behind."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.tracking.sinks import TensorBoard
from mmrl.trainer import checkpoint
from tests.support.errors import content, refused

SETTINGS = {
    "unknown key": (["nonsense=1"], "nonsense: unknown key 'nonsense'."),
    "mistyped key": (["polcy.path=x"], "polcy: unknown key 'polcy'. Did you mean 'policy'? Allowed: name, seed"),
    "mistyped key of a stage": (["rollout.max_new_token=4"], "rollout.max_new_token: unknown key"),
    "mistyped key of two stages": (
        ["method=sft_then_rl", "optim.lrr=1"],
        "optim.lrr: unknown key 'lrr'. Did you mean 'lr'? Allowed: lr, lr_vision",
    ),
    "wrong type in two stages": (["method=sft_then_rl", "optim.lr=-1"], "optim.lr: Input should be greater than 0"),
    "mistyped method": (["method=grop"], "unknown method 'grop'. Did you mean 'grpo'? Allowed: "),
    "mistyped key of the objective": (["objective.kl.wieght=1"], "objective.kl.wieght: unknown key 'wieght'."),
    "mistyped choice": (["policy.attention=sdap"], "policy.attention: 'sdap' is not allowed. Did you mean 'sdpa'?"),
    "mistyped kind of data": (["data.train.0.type=digit"], "data.train.0: type 'digit' is not allowed. Did you mean"),
    "mistyped engine": (["engine.name=hff"], "engine.name: unknown engine 'hff'. Did you mean 'hf'?"),
    "mistyped key of an engine": (
        ["engine.batchsize=8"],
        "engine.batchsize: unknown key 'batchsize'. Did you mean 'ba",
    ),
    "engine of a stage": (
        ["rollout.engine=hf"],
        "rollout: 'engine' is the engine's, which serves the whole run; write `engine: {name: hf}` at the top",
    ),
    "batch size of a stage": (
        ["rollout.batch_size=8"],
        "rollout: 'batch_size' is the engine's, which serves the whole run; write `engine: {batch_size: 8}` at the top",
    ),
    "engine of another kind of policy": (
        ["engine.name=flow"],
        "engine.name: 'flow' does not sample policy.type 'qwen_vl'. Allowed: hf",
    ),
    "engine that is none": (["engine.name=json:dumps"], "engine.name: 'json:dumps' is no settings model of an engine"),
    "mistyped reward": (["rewards=[{name: rout}]"], "rewards.0.name: unknown reward 'rout'"),
    "mistyped policy type": (["policy.type=qwen"], "policy.type: unknown policy 'qwen'. Did you mean 'qwen_vl'?"),
    "reward that cannot be imported": (
        ["rewards=[{name: 'no_such:f'}]"],
        "rewards.0.name: 'no_such:f': no module 'no_such'",
    ),
    "group of one": (
        ["rollout.n=1"],
        "stages.grpo: rollout.n is 1, so every group-relative advantage is 0; set n to 2",
    ),
    "nothing left to train": (
        ["policy.freeze=[vision, projector, language]"],
        "policy.freeze: [vision, projector, language] leaves",
    ),
    "pixel budget upside down": (
        ["policy.image={min_pixels: 9, max_pixels: 4}"],
        "policy.image: min_pixels 9 is above max_pixels 4",
    ),
    "no method": (["method=null"], "method"),
    "policy that is not there": (["policy.path=./none"], "policy.path: no checkpoint folder at './none'."),
    "folder without a checkpoint": (["policy.path=."], "policy.path: '.' holds no config.json"),
    "device that is not there": (["policy.device=cuda:99"], "policy.device: 'cuda:99' is not here: torch sees"),
    "device that is none": (["policy.device=gpu"], "policy.device: 'gpu' is no device. Allowed: auto, cpu, cuda"),
    "checkpoint to resume that is not there": (["resume=./none"], "resume: no checkpoint at './none'; give auto"),
    "file that is not there": (
        ["data.train=[{type: file, path: rows.jsonl}]"],
        "dataset file 'rows.jsonl' does not exist.",
    ),
    "dataset function that is not there": (
        ["data.train=[{type: python, function: 'no_such:f'}]"],
        "'no_such:f': no module 'no_such' in the working folder",
    ),
    "override without a value": (["steps"], "override 'steps' is not of the form key.path=value"),
    "override of an absent item": (["data.train.7.size=1"], "override 'data.train.7.size=1': '7' is no index"),
}


@pytest.mark.parametrize("command", ["train", "dry run"])
@pytest.mark.parametrize("case", SETTINGS)
def test_settings(capsys, workplace, recipe_file, case, command):
    overrides, expected = SETTINGS[case]
    before = content(workplace)
    options = ["--dry-run"] if command == "dry run" else []
    (line,) = refused(capsys, "train", str(recipe_file), *options, *overrides)
    assert line.startswith(expected), line
    assert content(workplace) == before


def test_every_problem_has_its_line(capsys, recipe_file):
    lines = refused(capsys, "train", str(recipe_file), "polcy=1", "optim.lrr=1", "prompts=0")
    assert sorted(line.partition(":")[0] for line in lines) == ["optim.lrr", "polcy", "prompts"]


def test_problem_of_one_stage_names_the_stage(capsys, workplace, tiny_recipe):
    stages = [{"name": "a", "method": "sft", "steps": 1}, {"name": "b", "method": "grpo", "optim": {"lrr": 1}}]
    (workplace / "two.yaml").write_text(yaml.safe_dump({**tiny_recipe, "stages": stages}))
    (line,) = refused(capsys, "train", "two.yaml")
    assert line.startswith("stages.1.optim.lrr: unknown key 'lrr'. Did you mean 'lr'?")


@pytest.mark.parametrize(
    ("command", "missing"),
    [("train", "no recipe"), ("config", "no recipe"), ("eval", "no recipe file and no run folder")],
)
def test_recipe_that_is_not_there(capsys, recipe_file, command, missing):
    (line,) = refused(capsys, command, "recip.yaml")
    assert line == f"{missing} at 'recip.yaml'. Did you mean 'recipe.yaml'?"


def test_override_that_every_stage_overrules(capsys, workplace, tiny_recipe):
    stages = [{"method": "sft", "optim": {"lr": 1e-3}}, {"method": "grpo", "optim": {"lr": 1e-4}}]
    (workplace / "two.yaml").write_text(yaml.safe_dump({**tiny_recipe, "stages": stages}))
    (line,) = refused(capsys, "config", "two.yaml", "optim.lr=1")
    assert line == ("override 'optim.lr=1' has no effect: every stage sets optim.lr; give stages.0.optim.lr=… instead")
    assert main(["config", "two.yaml", "optim.warmup=3", "stages.0.optim.lr=1", "optim={eps: 1e-6}"]) == 0
    optim = [stage["optim"] for stage in yaml.safe_load(capsys.readouterr().out)["stages"]]
    assert [(o["lr"], o["eps"]) for o in optim] == [(1.0, 1e-6), (1e-4, 1e-6)]


def test_recipe_that_is_no_yaml(capsys, workplace):
    (workplace / "bad.yaml").write_text("name: [1\npolicy: }")
    (line,) = refused(capsys, "train", "bad.yaml")
    assert line == "bad.yaml: line 2, column 7: not valid YAML: expected ',' or ']', but got ':'"


def write_rows(folder: Path, *rows: dict) -> list[str]:
    """A jsonl file beside two images; returns the override that trains on it."""
    Image.new("RGB", (56, 56), (200, 0, 0)).save(folder / "red.png")
    (folder / "broken.png").write_bytes((folder / "red.png").read_bytes()[:60])
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["data.train=[{type: file, path: rows.jsonl}]", "data.eval=[]"]


GOOD = {"prompt": "<image>Which digit?", "images": ["red.png"], "task": "counting", "target": {"count": 3}}
ROWS = {
    "corrupt image": ({"images": ["broken.png"]}, "image 'broken.png' cannot be read"),
    "missing image": ({"images": ["rde.png"]}, "file 'rde.png' does not exist under '.'. Did you mean 'red.png'?"),
    "fewer images than tags": ({"images": []}, "the prompt has 1 <image> marks and the row has 0 images"),
    "more images than tags": ({"images": ["red.png"] * 2}, "the prompt has 1 <image> marks and the row has 2 images"),
    "long prompt": ({"prompt": "<image>" + "which digit " * 300}, "above policy.max_prompt_tokens 200; raise it"),
    "target without the reward's key": ({"target": {"answer": "three"}}, "reward 'route' cannot read the target"),
    "target of another kind": ({"target": {"count": "many"}}, "reward 'route' cannot read the target"),
    "missing column": ({"prompt": None}, "column 'prompt' is missing"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ROWS)
def test_bad_sample_stops_the_run_and_leaves_nothing(capsys, workplace, recipe_file, case):
    change, expected = ROWS[case]
    data = write_rows(workplace, {**GOOD, **change})
    before = content(workplace)
    for options in ([], ["--dry-run"]):
        (line,) = refused(capsys, "train", str(recipe_file), *options, *data, "policy.max_prompt_tokens=200")
        assert line.startswith("rows.jsonl row 0 (id 0): "), line
        assert expected in line
        assert line.endswith(
            ("; mend it, or set data.on_bad_sample: skip", "? Mend it, or set data.on_bad_sample: skip")
        )
        assert content(workplace) == before


def test_bad_sample_of_a_held_out_set_leaves_nothing(capsys, workplace, recipe_file):
    write_rows(workplace, {**GOOD, "images": ["broken.png"]})
    before = content(workplace)
    (line,) = refused(capsys, "train", str(recipe_file), "data.eval=[{type: file, path: rows.jsonl}]")
    assert "image 'broken.png' cannot be read" in line
    assert content(workplace) == before


def test_dry_run_names_every_bad_sample(capsys, workplace, recipe_file):
    data = write_rows(workplace, GOOD, {**GOOD, "images": ["broken.png"]}, GOOD, {**GOOD, "target": {"count": -1}})
    lines = refused(capsys, "train", str(recipe_file), "--dry-run", *data)
    assert [line.partition(" (id")[0] for line in lines] == ["rows.jsonl row 1", "rows.jsonl row 3"]


def test_dry_run_misses_demonstrations(capsys, workplace, recipe_file):
    data = write_rows(workplace, GOOD)
    (line,) = refused(capsys, "train", str(recipe_file), "--dry-run", *data, "method=sft")
    assert line.startswith("train.0 file: none of the 1 rows has a demonstration, which stage 'sft' draws")


def test_dry_run_asks_for_no_demonstrations_where_only_rollouts_are_drawn(capsys, workplace, recipe_file):
    """As training does."""
    (workplace / "taught.jsonl").write_text(json.dumps({**GOOD, "demonstration": "1"}) + "\n")
    write_rows(workplace, GOOD)
    data = "data.train=[{type: file, path: taught.jsonl}, {type: file, path: rows.jsonl, name: b, use: rollouts}]"
    assert main(["train", str(recipe_file), "--dry-run", data, "method=co_train"]) == 0
    assert "train.1 b: first 1 of 1 rows" in capsys.readouterr().out


def test_demonstration_that_is_too_long(capsys, workplace, recipe_file):
    data = write_rows(workplace, {**GOOD, "demonstration": "1 2 3 4 5 6 7 8 9"})
    before = content(workplace)
    for options in ([], ["--dry-run"]):
        (line,) = refused(capsys, "train", str(recipe_file), *options, *data, "method=sft")
        assert line.startswith("rows.jsonl row 0 (id 0): the demonstration has ")
        assert "above rollout.max_new_tokens 6" in line
        assert content(workplace) == before


def test_skipped_samples_are_counted(capsys, workplace, recipe_file):
    bad = [{**GOOD, "images": ["broken.png"]}, {**GOOD, "target": {"count": "many"}}]
    data = write_rows(workplace, *[GOOD] * 2, *bad)
    assert main(["train", str(recipe_file), *data, "data.on_bad_sample=skip"]) == 0
    figures = [json.loads(line) for line in (workplace / "runs/small/metrics.jsonl").read_text().splitlines()]
    # Four prompts from two usable rows: the first pass meets both bad ones, the second ends with its last usable row.
    assert figures[-1]["data/skipped"] == 2


def test_data_without_a_usable_sample(capsys, workplace, recipe_file):
    data = write_rows(workplace, {**GOOD, "images": ["broken.png"]})
    before = content(workplace)
    (line,) = refused(capsys, "train", str(recipe_file), *data, "data.on_bad_sample=skip")
    assert "has no usable row among its 1" in line
    assert content(workplace) == before


def test_empty_dataset(capsys, workplace, recipe_file):
    data = write_rows(workplace)
    before = content(workplace)
    (line,) = refused(capsys, "train", str(recipe_file), *data)
    assert line == "dataset 'rows.jsonl' has no rows"
    assert content(workplace) == before


def test_columns_that_fit_no_format(capsys, workplace, recipe_file):
    data = write_rows(workplace, {"text": "Which digit?"})
    (line,) = refused(capsys, "train", str(recipe_file), *data)
    assert line.startswith("dataset 'rows.jsonl': ")
    assert "text" in line


def test_nothing_to_evaluate(capsys, recipe_file):
    (line,) = refused(capsys, "eval", str(recipe_file), "data.eval=[]")
    assert line.startswith("data.eval is empty")


OUTPUTS = {"file in the way": "taken", "file above": "taken/deeper", "no such device": "/proc/none"}


@pytest.mark.parametrize("command", ["train", "dry run"])
@pytest.mark.parametrize("case", OUTPUTS)
def test_output_that_cannot_be_written(capsys, workplace, recipe_file, case, command):
    (workplace / "taken").write_text("")
    before = content(workplace)
    options = ["--dry-run"] if command == "dry run" else []
    (line,) = refused(capsys, "train", str(recipe_file), *options, f"output={OUTPUTS[case]}")
    assert line.startswith(f"cannot write '{OUTPUTS[case]}/small'")
    assert line.endswith("choose a writable `output` folder")
    assert content(workplace) == before


def test_unwritable_files_of_other_commands(capsys, workplace, recipe_file):
    (workplace / "taken").write_text("")
    assert refused(capsys, "tiny", "qwen2_vl", "taken/deeper")[0].startswith("cannot write 'taken/deeper'")
    assert refused(capsys, "tiny", "qwen2_vl", "taken")[0].startswith("cannot write 'taken'")
    assert "is a folder" in refused(capsys, "eval", str(recipe_file), "--output", ".")[0]
    assert refused(capsys, "report", "nothing")[0]
    assert "unknown family 'qwen'" in refused(capsys, "tiny", "qwen", "new")[0]


def test_service_that_is_not_installed(capsys, monkeypatch, workplace, recipe_file):
    monkeypatch.setitem(sys.modules, "wandb", None)
    before = content(workplace)
    (line,) = refused(capsys, "train", str(recipe_file), "tracking.wandb=true")
    assert line == "tracking.wandb is true, but wandb is not installed; run: pip install wandb"
    assert content(workplace) == before


def test_damaged_checkpoint(capsys, workplace, recipe_file, tiny_qwen):
    shutil.copytree(tiny_qwen(), workplace / "damaged")
    weights = workplace / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (line,) = refused(capsys, "train", str(recipe_file), "policy.path=damaged")
    assert line.startswith("policy.path: a weights file of 'damaged' is damaged")


def test_checkpoint_of_pickled_weights(capsys, workplace, recipe_file, tiny_qwen):
    shutil.copytree(tiny_qwen(), workplace / "pickled")
    weights = workplace / "pickled" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    (line,) = refused(capsys, "train", str(recipe_file), "policy.path=pickled")
    assert line.startswith("policy.path: 'pickled' does not load: ")
    assert "model.safetensors" in line


def test_resume_with_another_model(capsys, workplace, recipe_file, tiny_qwen):
    assert main(["train", str(recipe_file), "steps=1"]) == 0
    before = content(workplace)
    for change in (
        f"policy.path={tiny_qwen(hidden=96)}",
        f"policy.path={tiny_qwen('qwen2_vl')}",
        "policy.freeze=[vision]",
    ):
        (line,) = refused(capsys, "train", str(recipe_file), "resume=auto", change)
        assert line.startswith("checkpoint 'runs/small/checkpoints/step_000001' is of another model than policy.path")
        assert line.endswith("set `resume: never` and another `name`, or restore the recipe")
    assert content(workplace) == before


def test_folder_that_holds_a_run(capsys, workplace, recipe_file):
    assert main(["train", str(recipe_file), "steps=1"]) == 0
    before = content(workplace)
    (line,) = refused(capsys, "train", str(recipe_file))
    assert line.startswith("'runs/small' already holds a run; set `resume: auto`")
    assert content(workplace) == before


def whole_checkpoints(folder: Path) -> list[str]:
    """Names under checkpoints/; every one of them must be whole."""
    found = sorted(path.name for path in folder.iterdir())
    assert all((folder / name / "state.json").is_file() for name in found), found
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("I/O error: No space left on device")]
)
def test_full_disk_while_saving_keeps_older_checkpoints(capsys, monkeypatch, workplace, recipe_file, error):
    save, calls = checkpoint.write_tensors, []

    def fails_at_the_second_checkpoint(path, weights):
        calls.append(path)
        save(path, weights)
        if len(calls) == 2:
            path.write_bytes(path.read_bytes()[:100])
            raise error

    monkeypatch.setattr(checkpoint, "write_tensors", fails_at_the_second_checkpoint)
    (line,) = refused(capsys, "train", str(recipe_file), "checkpoint.every=1")
    assert line.startswith("cannot write 'runs/small/checkpoints/step_000002': ")
    assert "No space left on device; free disk space or choose a writable `output` folder" in line
    assert whole_checkpoints(workplace / "runs/small/checkpoints") == ["step_000001"]
    assert main(["train", str(recipe_file), "checkpoint.every=1", "resume=auto"]) == 0


@pytest.fixture
def small_disk(workplace):
    """A function that mounts a real file system of the given size at `disk`."""
    folder = workplace / "disk"
    mounted = []

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("no mount command")
        if done.returncode:
            pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


# A checkpoint of the tiny model takes 4.3 MB.
@pytest.mark.slow
@pytest.mark.parametrize(("size", "kept"), [("7m", ["step_000001"]), ("2m", []), ("48k", [])])
def test_really_full_disk(capsys, small_disk, recipe_file, size, kept):
    disk = small_disk(size)
    (line,) = refused(
        capsys, "train", str(recipe_file), "output=disk", "checkpoint.every=1", "tracking.tensorboard=true", "steps=30"
    )
    assert "No space left on device" in line
    checkpoints = disk / "small" / "checkpoints"
    assert (whole_checkpoints(checkpoints) if checkpoints.exists() else []) == kept
    assert not list(disk.rglob(".*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_writing_thread_of_tensorboard_names_the_full_disk(small_disk):
    sink = TensorBoard(small_disk("16k"), "project", None)

    def fill():
        for step in range(2000):
            sink.log(step, "sft", {"loss": 1.0})
        sink.close()

    for call in (fill, sink.close):
        with pytest.raises(UserError, match=r"^cannot write '.*disk/tensorboard': No space left on device"):
            call()


def test_no_space_at_all_leaves_nothing(capsys, small_disk, recipe_file):
    disk = small_disk("8k")
    (disk / "filler").write_bytes(b"x" * 8192)
    (line,) = refused(capsys, "train", str(recipe_file), "output=disk")
    assert line.startswith("cannot write 'disk/small")
    assert content(disk) == {"filler"}
