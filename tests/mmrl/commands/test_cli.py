"""Each command on a tiny model: what it prints, writes and returns."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
import yaml

from mmrl import Sample, load_recipe, train
from mmrl.cli import main
from mmrl.commands import doctor
from mmrl.recipe.record import record
from tests.support.errors import content
from tests.support.paths import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def python(*argv: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env=ENVIRONMENT, timeout=1200, **options
    )


def figures(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_nothing_heavy_is_imported_before_a_command_needs_it(recipe_file):
    code = (
        "import sys, mmrl, mmrl.cli\n"
        "mmrl.cli.make_parser().format_help()\n"
        f"mmrl.cli.main(['config', {str(recipe_file)!r}])\n"
        "heavy = {'torch', 'transformers', 'rich', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_train_report_and_eval(capsys, workplace, recipe_file):
    assert main(["train", str(recipe_file)]) == 0
    assert capsys.readouterr().out == "done: runs/small\n"
    run = workplace / "runs" / "small"
    assert [line["step"] for line in figures(run)] == [0, 1, 2]
    assert (run / "checkpoints" / "step_000002" / "state.json").is_file()

    answers = [json.loads(line) for line in (run / "heldout" / "step_000002.jsonl").read_text().splitlines()]
    assert [line["sample"] for line in answers] == [f"digits/test/{row}" for row in range(4)]
    sampled = json.loads((run / "rollouts" / "step_000001.jsonl").read_text().splitlines()[0])
    for line in (answers[0], sampled):
        assert line["model_prompt"].startswith("<|im_start|>user\n<|vision_start|><|image_pad|> x ")
        assert len(line["tokens"]) == len(line["log_probs"]) == line["length"]
    assert figures(run)[0]["eval_rows/classification"] == 4
    assert "Held-out answers" in (run / "report.html").read_text()

    (run / "report.html").unlink()
    assert main(["report", "runs/small"]) == 0
    assert capsys.readouterr().out.strip() == "runs/small/report.html"
    assert main(["report", "runs/small", "--output", "page.html"]) == 0
    assert (workplace / "page.html").read_text() == (run / "report.html").read_text()

    capsys.readouterr()
    assert main(["eval", "runs/small", "evaluation.limit=3", "--output", "out/figures.json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["task", "accuracy"]
    assert [line.split()[0] for line in printed[1:3]] == ["classification", "mean"]
    written = json.loads((workplace / "out" / "figures.json").read_text())
    assert set(written["accuracy"]) == {"classification", "mean"}
    assert written["overrides"] == ["evaluation.limit=3"]


def test_eval_measures_the_checkpoint_that_is_named(capsys, recipe_file, tiny_qwen):
    assert main(["eval", str(recipe_file), "policy.path=./none", "--checkpoint", str(tiny_qwen())]) == 0
    assert "mean" in capsys.readouterr().out


def test_overrides_may_follow_options(capsys, workplace, recipe_file):
    assert main(["train", str(recipe_file), "name=first", "--dry-run", "steps=7"]) == 0
    printed = capsys.readouterr().out
    assert "recipe 'first'" in printed
    assert "7 steps, 7 optimizer steps, 4 rollouts per step (2 prompts x 2)" in printed
    with pytest.raises(SystemExit) as left:
        main(["train", str(recipe_file), "--dry-rum"])
    assert left.value.code == 2


def test_dry_run_writes_nothing_and_counts(capsys, workplace, recipe_file):
    before = content(workplace)
    options = ["method=sft_then_rl", "epochs=2", "objective={}", "data.train.0.tasks=[ocr]"]
    assert main(["train", str(recipe_file), "--dry-run", *options]) == 0
    assert content(workplace) == before
    out = capsys.readouterr().out
    assert "train.0 digits: first 16 of 16 rows; prompt tokens " in out
    assert "16 demonstrations of " in out
    assert "sft (sft): 1 steps, 2 optimizer steps, 2 demonstrations per step" in out
    assert "rl (grpo): 1 steps, 2 optimizer steps, 4 rollouts per step" in out
    # 348,992 float32 weights, as many gradients, twice as many moments.
    assert "parameters: 348,992, trainable 348,992 (100.0%)" in out
    assert "weights: 1.4 MB" in out
    assert "AdamW moments: 2.79 MB" in out
    assert "gradients: 1.4 MB" in out
    assert "reference copy" not in out
    assert "available: fits" in out


def test_dry_run_counts_what_videos_take(capsys, workplace, recipe_file):
    data = "data.train=[{type: video_digits, size: 2, folder: files}]"
    assert main(["train", str(recipe_file), "--dry-run", data, "policy.video={frames: 4, max_pixels: 3136}"]) == 0
    visual = capsys.readouterr().out.split("of them visual tokens ")[1].split(";")[0].split("\n")[0]
    # Two temporal patches of 56 x 56 pixels, four tokens each.
    assert {*visual.replace(",", " ").split()[0].split("/")} == {"8"}


@pytest.mark.slow
def test_dry_run_counts_the_reference_unless_lora_gives_it(capsys, recipe_file):
    options = ["train", str(recipe_file), "--dry-run", "objective.kl.weight=0.1"]
    assert main(options) == 0
    assert "reference copy: 1.4 MB" in capsys.readouterr().out
    assert main([*options, "policy.lora.rank=2"]) == 0
    out = capsys.readouterr().out
    assert "reference copy" not in out
    assert "trainable 348,992" not in out


def test_dry_run_of_episodes_opens_the_simulator(capsys, recipe_file, workplace):
    options = [
        "policy.action_bins=33",
        "simulators={table: {type: tabletop}}",
        "data.train=[{type: episodes, simulator: table, size: 8}]",
        "data.eval=[]",
        "rollout={n: 2}",
    ]
    assert main(["train", str(recipe_file), "--dry-run", *options]) == 0
    assert "8 episodes" in capsys.readouterr().out
    assert main(["train", str(recipe_file), "--dry-run", *options, "simulators.table.type=tabeltop"]) == 2
    assert "simulators.table.type: unknown simulator 'tabeltop'" in capsys.readouterr().err


def test_tiny_is_a_checkpoint_and_repeats_by_seed(capsys, workplace):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert main(["tiny", "qwen3_vl", name, "--seed", seed]) == 0
    weights = {name: (workplace / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]
    assert capsys.readouterr().out.splitlines() == ["a", "b", "c"]


def test_config_prints_a_recipe_that_reads_back_the_same(capsys, recipe_file):
    assert main(["config", str(recipe_file), "optim.lr=1e-4"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["stages"][0]["optim"]["lr"] == 1e-4
    assert load_recipe(printed) == record(load_recipe(recipe_file, ["optim.lr=1e-4"]))


def test_schema_admits_recipes_as_people_write_them(capsys, tiny_recipe):
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(tiny_recipe) <= set(schema["properties"])
    assert set(schema["required"]) <= set(tiny_recipe)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["OptimConfig"]["properties"]["lr"]["default"] == 1e-5
    references = {part.split('"')[0] for part in json.dumps(schema).split('"#/$defs/')[1:]}
    assert references <= set(schema["$defs"])


@pytest.mark.slow
def test_doctor(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "OPTIONAL", {"yaml": "pip install pyyaml", "no_such_package": "pip install nothing"})
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "no_such_pac" in out
    assert "absent; pip install nothing" in out
    assert [line.split()[0] for line in out.splitlines()[-5:]] == ["ok"] * 5


@pytest.mark.parametrize("module", doctor.OPTIONAL)
def test_doctor_suggests_what_something_imports(module):
    package = module.partition(".")[0]
    imports = re.compile(rf"^\s*(?:import|from) {package}\b", re.MULTILINE)
    sources = [path for room in ("mmrl", "robotics", "video") for path in (ROOT / room).rglob("*.py")]
    assert any(imports.search(path.read_text()) for path in sources)


@pytest.mark.slow
def test_doctor_tells_a_broken_package(workplace, monkeypatch):
    (workplace / "splintered.py").write_text("raise ImportError('libgone.so: cannot open')")
    monkeypatch.setattr(doctor, "OPTIONAL", {"splintered": "pip install splintered"})
    assert doctor.package_state("splintered") == (
        "broken of unknown version (ImportError: libgone.so: cannot open); pip install --force-reinstall splintered"
    )


@pytest.mark.slow
@pytest.mark.skipif(util.find_spec("libero") is None, reason="the package hf-libero is not installed")
def test_doctor_tries_libero_as_the_simulator_does(monkeypatch):
    """A plain import asks a question on the terminal; the simulator's does not, and works."""
    monkeypatch.setattr(doctor, "libero_problems", lambda: iter(["libero: no assets"]))
    state = doctor.package_state("libero.libero")
    assert state.startswith(("present 0.1.4; libero: no assets", "broken 0.1.4 (ValueError: libero: renderer"))


def test_doctor_fails_with_the_smoke_check(capsys, monkeypatch):
    def breaks(state):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(doctor, "OPTIONAL", {})
    monkeypatch.setattr(doctor, "SMOKE", {"sample": breaks, "gradient": breaks})
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "  failed  sample: RuntimeError: no kernel"


STOPPING_REWARD = """
import os, signal

sent = []

def stops(completion, sample):
    if not sent:
        sent.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
    return 0.0
"""


def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(capsys, workplace, recipe_file):
    (workplace / "rewards_that_stop.py").write_text(STOPPING_REWARD)
    options = ["steps=3", "data.eval=[]", "rollout.n=2", "prompts=1", "name=a run"]
    before = signal.getsignal(signal.SIGTERM)
    code = main(["train", str(recipe_file), *options, "rewards=[{name: 'rewards_that_stop:stops'}]"])
    assert code == 128 + signal.SIGTERM
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "stopped by SIGTERM after step 1"
    assert out[1] == "checkpoint: runs/a run/checkpoints/step_000001"
    assert out[2].endswith("'name=a run' 'rewards=[{name: '\"'\"'rewards_that_stop:stops'\"'\"'}]' resume=auto")
    assert signal.getsignal(signal.SIGTERM) is before
    assert main(["train", str(recipe_file), *options, "resume=auto"]) == 0
    assert [line["step"] for line in figures(workplace / "runs/a run")] == [1, 2, 3]


def test_interruption_and_unexpected_errors(capsys, monkeypatch, recipe_file):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmrl.commands.config.run", interrupted)
    assert main(["config", str(recipe_file)]) == 130
    assert capsys.readouterr().err == "mmrl: interrupted\n"
    monkeypatch.setattr("mmrl.commands.config.run", lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["config", str(recipe_file)])


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        command = [sys.executable, "-m", "mmrl", "config", "--schema"]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (141, "")


REWARD = """
def length(completion, sample):
    return {"reward": len(completion) / 100, "accuracy": float(sample.task == "classification")}
"""


def test_own_reward_by_name(workplace, recipe_file):
    (workplace / "my_rewards.py").write_text(REWARD)
    assert main(["train", str(recipe_file), "rewards=[{name: 'my_rewards:length'}]"]) == 0
    last = figures(workplace / "runs" / "small")[-1]
    assert last["eval/mean"] == 1.0
    assert last["reward/length"] == last["reward/mean"] > 0


def test_own_reward_and_data_from_python(workplace, tiny_recipe):
    seen = []

    def reward(completion: str, sample: Sample) -> float:
        seen.append(sample.id)
        return float(len(seen) % 2)

    content = [{"type": "text", "text": "Say something."}]
    rows = [Sample(f"row {i}", ({"role": "user", "content": content},), "talk", {}) for i in range(4)]
    outcome = train(tiny_recipe, reward=reward, train_data=rows, eval_data=rows[:1])
    assert outcome.signum is None
    assert set(seen) == {row.id for row in rows}
    assert figures(outcome.folder)[1]["reward/mean"] == 0.5
    assert set(outcome.summary["final"]) == {"talk", "mean"}


@pytest.mark.slow
@pytest.mark.parametrize("script", ["custom_reward.py", "custom_dataset.py"])
def test_examples_run(tmp_path, script):
    done = python(str(ROOT / "examples" / script), str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = [path.parent for path in tmp_path.glob("*/summary.json")]
    assert runs
    for run in runs:
        assert json.loads((run / "summary.json").read_text())["finished"]
