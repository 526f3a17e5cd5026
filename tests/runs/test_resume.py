"""A run that was stopped or killed and resumed is the uninterrupted run, bit for bit."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import yaml
from safetensors import safe_open

from mmrl import train
from mmrl.contracts.errors import CheckpointError
from mmrl.trainer import checkpoint, loop
from tests.support.paths import ROOT
from tests.support.runs import assert_same_run, last_checkpoint, metrics, recipe

SETTINGS = {
    "minibatches, epochs and KL": {
        "minibatches": 2,
        "epochs": 2,
        "objective": {"kl": {"weight": 0.1}, "mismatch": {"kind": "truncate"}},
        "optim": {"lr": 3e-3, "schedule": "linear", "weight_decay": 0.01},
    },
    "lora": {
        "method": "chord_mu",
        "policy": {"lora": {"rank": 4, "dropout": 0.1}},
        "objective": {"kl": {"weight": 0.1}, "entropy": 0.01},
    },
    "mixture, bfloat16 and a frozen tower": {
        "method": "chord_mu",
        "policy": {"dtype": "bfloat16", "freeze": ["vision"]},
        "objective": {"streams": {"demo": {"weight": {"decay": 4}}}},
    },
    "a third stream": {
        "method": "chord_mu",
        "minibatches": 2,
        "objective": {
            "kl": {"weight": 0.1},
            "streams": {"replay": {"from": "demonstrations", "terms": ["kl"], "coefficient": {"kind": "ppo_clip"}}},
        },
    },
    "another family, its projector alone": {
        "policy": {"type": "smolvlm", "freeze": ["vision", "language"]},
        "objective": {"kl": {"weight": 0.1}},
    },
    "controllers and other parts": {
        "method": "chord_mu",
        "objective": {
            "kl": {"weight": 0.1},
            "auxiliary_terms": {"z_loss": {"weight": 0.01}},
            "controllers": {
                "adaptive_kl": {"target": 0.001},
                "swing": {"kind": "tests.support.controllers:SWING", "memory": 0.3},
            },
        },
    },
    "dynamic sampling": {
        "method": "dapo",
        "objective": {"filter": {"low": 0.2, "high": 0.4}, "reward_transforms": {"overlong": {"cache": 2}}},
    },
    "drawn by a value of the policy's states": {
        "data": {"train": [{"type": "digits", "size": 24}], "sampler": {"name": "pcl", "candidates": 8, "width": 6}},
    },
    "drawn by prompts that are alike": {
        "data": {"train": [{"type": "digits", "size": 24}], "sampler": {"name": "dots", "candidates": 8}},
    },
}
FIRST, *REST = SETTINGS
TWO_STAGES = {
    "stages": [
        {"name": "first", "method": "sft", "steps": 3},
        {"name": "second", "method": "grpo", "steps": 3, "objective": {"kl": {"weight": 0.1}}},
    ]
}


def made(tiny_qwen, tmp_path, name, settings, **more):
    settings = dict(settings)
    given = settings.pop("policy", {})
    policy = {"path": str(tiny_qwen(given.get("type", "qwen2_5_vl"))), "device": "cpu", **given}
    return recipe("", tmp_path, name, **{**settings, **more, "policy": policy})


@pytest.fixture
def stop_at(monkeypatch):
    """Sends SIGTERM to this process at the start of a step (numbered from 0)."""
    original = loop.train_step

    def set_step(step):
        def stopping(*args):
            if args[5].step == step:
                signal.raise_signal(signal.SIGTERM)
            return original(*args)

        monkeypatch.setattr(loop, "train_step", original if step is None else stopping)

    return set_step


def run_with_stops(made_recipe, stop_at, stops):
    for stop in stops:
        stop_at(stop)
        outcome = train({**made_recipe, "resume": "auto"})
        assert outcome.signum == signal.SIGTERM
        assert last_checkpoint(outcome.folder).name == f"step_{stop + 1:06d}"
    stop_at(None)
    outcome = train({**made_recipe, "resume": "auto"})
    assert outcome.signum is None
    return outcome


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_a_stopped_and_resumed_run_equals_the_uninterrupted_one(tiny_qwen, tmp_path, stop_at, name):
    settings = SETTINGS[name]
    whole = train(made(tiny_qwen, tmp_path / "whole", "run", settings))
    cut = run_with_stops(made(tiny_qwen, tmp_path / "cut", "run", settings), stop_at, [1, 3])
    assert_same_run(whole.folder, cut.folder)
    moved = [line["optim/grad_norm"] for line in metrics(whole.folder) if "optim/grad_norm" in line]
    assert len(moved) == 6
    assert min(moved) > 0


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["start", "base"])
def test_a_resumed_stage_after_sft_keeps_its_reference_under_lora(tiny_qwen, tmp_path, stop_at, reference):
    first, second = TWO_STAGES["stages"]
    objective = {"kl": {"weight": 0.1, "reference": reference}}
    settings = {"stages": [first, {**second, "objective": objective}], "policy": {"lora": {"rank": 4}}}
    whole = train(made(tiny_qwen, tmp_path / "whole", "run", settings))
    cut = run_with_stops(made(tiny_qwen, tmp_path / "cut", "run", settings), stop_at, [4])
    assert_same_run(whole.folder, cut.folder)
    kl = [line["policy/kl_ref"] for line in metrics(whole.folder) if "policy/kl_ref" in line]
    assert (kl[0] < 1e-6) == (reference == "start"), "the stage starts at its reference, or at a distance from the base"


@pytest.mark.slow
@pytest.mark.parametrize("stops", [[1], [2], [3], [0, 2, 4]])
def test_resuming_crosses_stages(tiny_qwen, tmp_path, stop_at, stops):
    """Steps 0-2 are the first stage: a stop at step 2 lies on the border."""
    whole = train(made(tiny_qwen, tmp_path / "whole", "run", TWO_STAGES))
    cut = run_with_stops(made(tiny_qwen, tmp_path / "cut", "run", TWO_STAGES), stop_at, stops)
    assert_same_run(whole.folder, cut.folder)
    assert {k: v for k, v in whole.summary.items() if k != "seconds"} == {
        k: v for k, v in cut.summary.items() if k != "seconds"
    }


OF_ITS_OWN = {
    "data": {
        "train": [{"type": "digits", "tasks": ["ocr"], "size": 9}],
        "eval": [{"type": "digits", "split": "test", "tasks": ["ocr"], "size": 3}],
    },
    "rewards": [{"name": "ocr"}],
    "evaluation": {"every": 1},
    "checkpoint": {"best": "ocr"},
    "engine": {"batch_size": 3},
}
ROUNDS = {
    "stages": [
        {"name": "first", "method": "sft", "steps": 1, "rollout": {"max_new_tokens": 24}},
        {
            "rounds": 2,
            "stages": [
                {"name": "own", "method": "grpo", "steps": 2, **OF_ITS_OWN},
                # Its second step never comes.
                {
                    "name": "shared",
                    "method": "grpo",
                    "steps": 2,
                    "until": {"figure": "reward/mean", "window": 1, "above": -1},
                },
            ],
        },
    ]
}


@pytest.mark.slow
def test_resuming_crosses_rounds_and_stages_with_data_of_their_own(tiny_qwen, tmp_path, stop_at):
    whole = train(made(tiny_qwen, tmp_path / "whole", "run", ROUNDS))
    cut = run_with_stops(made(tiny_qwen, tmp_path / "cut", "run", ROUNDS), stop_at, [4])
    assert_same_run(whole.folder, cut.folder)
    assert {k: v for k, v in whole.summary.items() if k != "seconds"} == {
        k: v for k, v in cut.summary.items() if k != "seconds"
    }
    assert set(whole.summary["after_own_1"]) == {"ocr", "mean", "loss"}
    assert set(whole.summary["after_shared_1"]) == {"classification", "mean", "loss"}
    state = checkpoint.load(last_checkpoint(whole.folder))[1]
    # Two stages draw from the recipe's data, one walk; two from their own, another.
    assert state["sampler"]["walks"]["all"]["drawn"] == 4
    assert {name: walk["walks"]["all"]["drawn"] for name, walk in state["samplers"].items()} == {"own_1": 8}


@pytest.mark.slow
def test_a_run_that_died_before_its_first_checkpoint_starts_over(tiny_qwen, tmp_path, monkeypatch):
    whole = train(made(tiny_qwen, tmp_path / "whole", "run", {"steps": 2}))
    cut = made(tiny_qwen, tmp_path / "cut", "run", {"steps": 2})
    original = loop.train_step

    def dying(*args):
        if args[5].step == 1:
            raise MemoryError
        return original(*args)

    monkeypatch.setattr(loop, "train_step", dying)
    with pytest.raises(MemoryError):
        train(cut)
    monkeypatch.undo()
    assert [line["step"] for line in metrics(tmp_path / "cut" / "run")] == [0, 1]
    assert not list((tmp_path / "cut" / "run" / "checkpoints").glob("step_*"))
    assert_same_run(whole.folder, train({**cut, "resume": "auto"}).folder)


def test_fewer_steps_than_the_checkpoint_has_behind_it_are_refused(tiny_qwen, tmp_path, stop_at):
    settings = made(tiny_qwen, tmp_path, "run", {"steps": 4}, resume="auto")
    stop_at(2)
    train(settings)
    with pytest.raises(CheckpointError, match=r"stages\.grpo\.steps is 2"):
        train({**settings, "steps": 2})


@pytest.mark.slow
def test_sigterm_ends_the_command_with_143_and_a_checkpoint(tiny_qwen, tmp_path, monkeypatch):
    """The reward tells over a pipe that a step is under way and waits for the signal in the middle of it."""
    settings = {"steps": 4, "rewards": [{"name": "telling:reward"}], "evaluation": {"every": None, "limit": 1}}
    whole, cut = (made(tiny_qwen, tmp_path / part, "run", settings, resume="auto") for part in ("whole", "cut"))
    # One evaluation answer, a step of 8 answers, and 3 of the second step.
    patience = 1 + 8 + 3
    (tmp_path / "telling.py").write_text(
        f"""
import itertools, os, time
from tests.support import runs as shared_runs

calls, sent = itertools.count(1), {str(tmp_path / "sent")!r}


def reward(text, sample):
    print("rewarding", flush=True)
    waits = next(calls) == {patience}
    while waits and not os.path.exists(sent):
        time.sleep(0.01)
    return shared_runs.reward(text, sample)
"""
    )
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(cut))
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmrl", "train", str(tmp_path / "cut.yaml")]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as child:
        for count, _ in enumerate(filter("rewarding\n".__eq__, child.stdout), start=1):
            if count == patience:
                child.send_signal(signal.SIGTERM)
                (tmp_path / "sent").touch()
    assert child.returncode == 128 + signal.SIGTERM
    assert last_checkpoint(tmp_path / "cut" / "run").name == "step_000002"
    monkeypatch.syspath_prepend(tmp_path)
    assert_same_run(train(whole).folder, train(cut).folder)


@pytest.mark.slow
def test_half_a_dozen_kills_change_nothing(tiny_qwen, tmp_path, monkeypatch):
    """Kill -9 at random moments of random steps; every checkpoint under its final name is whole at each of them."""
    settings = {"steps": 12, "checkpoint": {"every": 1}, "evaluation": {"every": 4, "limit": 1}}
    whole = made(tiny_qwen, tmp_path, "whole", settings, resume="auto")
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context.set_forkserver_preload(["tests.support.warm"])
    seconds = []
    for warm_or_whole in ({**whole, "name": "first", "steps": 1}, {**whole, "name": "short", "steps": 1}, whole):
        began = time.monotonic()
        assert _finish(context, warm_or_whole) == 0
        seconds.append(time.monotonic() - began)
    _, start, duration = seconds
    step = (duration - start) / 11
    rng = random.Random(12)
    kills = runs = 0
    places = set()
    while kills < 6:
        runs += 1
        cut = {**whole, "name": f"cut{runs}"}
        folder = tmp_path / cut["name"]
        code = -signal.SIGKILL
        while code == -signal.SIGKILL and kills < 6:
            # All are done where the last kill fell between the last checkpoint and the end.
            done = _steps_done(folder)
            target = min(done + rng.randint(0, 3), 11)
            delay = rng.uniform(0.0, start if target == done else step)
            code = _finish(context, cut, lambda folder=folder, target=target: _steps_done(folder) >= target, delay)
            if code == -signal.SIGKILL:
                kills += 1
                places.add(target)
            _assert_checkpoints_are_whole(folder)
        assert code == 0 or kills == 6
        assert code == 0 or _finish(context, cut) == 0
        assert_same_run(tmp_path / "whole", folder)
    assert len(places) >= 2, "the kills fell on a few steps only"


def _assert_checkpoints_are_whole(folder):
    for saved in (folder / "checkpoints").glob("step_*"):
        _, state = checkpoint.load(saved)
        assert state["place"]["step"] == int(saved.name.removeprefix("step_"))
        with safe_open(saved / "model" / "model.safetensors", "pt") as weights:
            assert all(bool(weights.get_tensor(name).isfinite().all()) for name in weights.keys())  # noqa: SIM118


def _finish(context, made_recipe, due=None, delay=0.0):
    """Exit code of a run in a process of its own, killed `delay` seconds after `due()` is true, if that is given."""
    child = context.Process(target=train, args=(made_recipe,))
    child.start()
    while due and child.is_alive() and not due():
        time.sleep(0.002)
    child.join(delay if due else None)
    if child.is_alive():
        child.kill()
    child.join()
    return child.exitcode


def _steps_done(folder):
    return max((int(p.name.removeprefix("step_")) for p in (folder / "checkpoints").glob("step_*")), default=0)
