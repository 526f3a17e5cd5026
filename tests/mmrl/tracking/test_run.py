"""A run's diary: metrics.jsonl, rollouts, resuming, services, environment."""

import io
import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Decision, EpisodeFacts, Group, Sample, StopReason, Trajectory
from mmrl.recipe.tracking import SINKS, SWITCHES, TrackingConfig
from mmrl.tracking.metrics import is_wall_clock
from mmrl.tracking.rollouts import prompt_text
from mmrl.tracking.sinks import open_sinks
from mmrl.tracking.starts import Starts, read_starts
from mmrl.tracking.tracker import Tracker

QUIET = TrackingConfig(console="none", tensorboard=False)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def deterministic(path: Path) -> list[dict]:
    return [{key: value for key, value in line.items() if not is_wall_clock(key)} for line in lines(path)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in (folder / "rollouts").rglob("*") if p.is_file()}


def make_group(images=(), **info) -> Group:
    content = [{"type": "image"} for _ in images] + [{"type": "text", "text": "How many?"}]
    messages = ({"role": "system", "content": "Count."}, {"role": "user", "content": content})
    sample = Sample(
        "a1", messages, "counting", {"answer": 3}, images=tuple(images), dataset="digits", coordinates="norm1000"
    )
    answer = Trajectory((Decision(None, torch.tensor([5, 6, 7])),), text="3\n", stop=StopReason.LENGTH)
    demo = Trajectory((Decision(None, torch.tensor([5])),), origin="demo", text="<answer>3</answer>")
    rewarded = replace(
        answer,
        reward=0.5,
        parts={"format": 0.0, "iou": None},
        parsed=torch.tensor(3),
        reason="no_tags",
        info=info,
    )
    return Group(sample, (rewarded, demo))


def train(tracker: Tracker, first: int, last: int) -> None:
    for step in range(first, last + 1):
        tracker.log(step, "rl", {"reward/mean": step / 7, "time/step": 0.1 * first, "loss/total": float("nan")})
        tracker.rollouts(step, "rl", [make_group([Image.new("RGB", (4, 4), (step, 0, 0))])])
        if step % 2 == 0:
            tracker.log(step, "rl", {"eval/ocr": step / 9})


def test_one_line_a_call_flushed_and_plain(tmp_path, caplog):
    tracker = Tracker(tmp_path / "run", QUIET, 3, strict=True)
    tracker.log(1, "sft", {"loss/total": torch.tensor(0.5), "data/skipped": 2, "policy/kl_ref": None})
    tracker.log(2, "sft", {"loss/total": float("nan")})
    tracker.log(3, "sft", {"loss/total": float("-inf"), "optim/lr": 1e-5})
    written = lines(tmp_path / "run" / "metrics.jsonl")
    assert [list(line)[:3] for line in written] == [["step", "stage", "time"]] * 3
    assert written[0]["loss/total"] == 0.5
    assert written[0]["data/skipped"] == 2
    assert [line["loss/total"] for line in written[1:]] == [None, None]
    assert tracker.non_finite == {"loss/total": 2}
    assert caplog.text.count("loss/total is nan at step 2") == 1
    tracker.close()
    tracker.close()
    assert "loss/total 2x" in caplog.text


def test_strict_refuses_undocumented_and_always_reserved_names(tmp_path):
    with Tracker(tmp_path / "a", QUIET, 1, strict=True) as tracker, pytest.raises(LookupError, match="not documented"):
        tracker.log(1, "rl", {"my/figure": 1.0})
    with Tracker(tmp_path / "b", QUIET, 1) as tracker:
        tracker.log(1, "rl", {"my/figure": 1.0})
        with pytest.raises(ValueError, match="cannot name a metric"):
            tracker.log(1, "rl", {"time": 1.0})


@pytest.mark.parametrize("resume", [0, 2, 3])
def test_resumed_run_equals_uninterrupted(tmp_path, resume):
    with Tracker(tmp_path / "whole", QUIET, 6) as tracker:
        train(tracker, 1, 6)
    with Tracker(tmp_path / "cut", QUIET, 6) as tracker:
        train(tracker, 1, 5)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "stage": "rl", "ti')
    with Tracker(tmp_path / "cut", QUIET, 6, resume_step=resume) as tracker:
        kept = lines(tmp_path / "cut" / "metrics.jsonl")
        assert max((line["step"] for line in kept), default=0) == resume
        train(tracker, resume + 1, 6)
    assert deterministic(tmp_path / "cut" / "metrics.jsonl") == deterministic(tmp_path / "whole" / "metrics.jsonl")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_half_written_line_of_a_kept_step_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "stage": "rl"}\n{"step": 2, "stage": "rl"}')
    Tracker(tmp_path, QUIET, 2, resume_step=2).close()
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1]


def test_damage_in_the_middle_stops_a_resume(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl line 2 is damaged"):
        Tracker(tmp_path, QUIET, 2, resume_step=2)


def test_new_run_does_not_overwrite_an_old_one(tmp_path):
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.log(1, "rl", {})
    with pytest.raises(UserError, match="already holds a run"):
        Tracker(tmp_path, QUIET, 1)


def test_rollout_lines_hold_what_was_asked_and_answered(tmp_path):
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.rollouts(1, "rl", [make_group([Image.new("RGB", (6, 4))], advantage=-0.25, seed=4)])
    first, second = lines(tmp_path / "rollouts" / "step_000001.jsonl")
    assert first["prompt"] == "[system] Count.\n\n<image>How many?"
    assert first["completion"] == "3\n"
    assert (first["reward"], first["advantage"], first["length"]) == (0.5, -0.25, 3)
    assert first["parts"] == {"format": 0.0, "iou": None}
    assert (first["parsed"], first["reason"], first["coordinates"]) == (3, "no_tags", "norm1000")
    assert first["truncated"]
    assert first["info"] == {"seed": 4}
    assert (first["sample"], first["dataset"], first["task"], first["target"]) == (
        "a1",
        "digits",
        "counting",
        {"answer": 3},
    )
    assert (second["source"], second["reward"], second["advantage"]) == ("demo", None, None)
    assert Image.open(tmp_path / first["images"][0]).size == (6, 4)


def test_equal_images_are_saved_once_whatever_their_form(tmp_path):
    image = Image.new("RGB", (5, 5), (1, 2, 3))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.png").write_bytes(buffer.getvalue())
    group = make_group([image, buffer.getvalue(), "x.png"])
    object.__setattr__(group.sample, "root", str(tmp_path / "data"))
    with Tracker(tmp_path / "run", QUIET, 1) as tracker:
        tracker.rollouts(1, "rl", [group])
    assert len(list((tmp_path / "run" / "rollouts" / "media").iterdir())) == 1
    assert len(set(lines(tmp_path / "run" / "rollouts" / "step_000001.jsonl")[0]["images"])) == 1


def test_images_are_saved_as_policies_see_them(tmp_path):
    photo = Image.effect_noise((6, 4), 50).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", exif=exif)
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.rollouts(1, "rl", [make_group([buffer.getvalue()])])
    (saved,) = lines(tmp_path / "rollouts" / "step_000001.jsonl")[0]["images"]
    assert Image.open(tmp_path / saved).tobytes() == photo.rotate(-90, expand=True).tobytes()


def test_unreadable_image_names_the_row(tmp_path):
    with Tracker(tmp_path, QUIET, 1) as tracker:
        with pytest.raises(UserError, match=r"digits row -1 \(id a1\): file 'absent.png' does not exist"):
            tracker.rollouts(1, "rl", [make_group(["absent.png"])])
        with pytest.raises(UserError, match=r"image of 8 bytes cannot be read: .*; repair or remove it"):
            tracker.rollouts(1, "rl", [make_group([b"no image"])])


class Letters:
    """Writes tokens as letters, and prompts as they are."""

    def spelled_prompt(self, prompt):
        return f"<user> {prompt}"

    def spelled(self, tokens):
        return [chr(96 + token) for token in tokens.tolist()]


def answered(log_probs, prompt="Q?", **changes) -> Group:
    group = make_group()
    tokens = torch.tensor([1, 2, 3])
    decision = Decision(prompt, tokens, None if log_probs is None else torch.tensor(log_probs))
    first = replace(group.trajectories[0], decisions=(decision,), **changes)
    return replace(group, trajectories=(first, *group.trajectories[1:]))


def test_rollout_lines_hold_what_the_model_saw_and_how_likely_it_found_each_token(tmp_path):
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.rollouts(1, "rl", [answered([-0.12345, -2.0, float("-inf")])], Letters())
    sampled, demonstrated = lines(tmp_path / "rollouts" / "step_000001.jsonl")
    assert sampled["model_prompt"] == "<user> Q?"
    assert sampled["tokens"] == ["a", "b", "c"]
    assert sampled["log_probs"] == [-0.123, -2.0, None]
    assert demonstrated["model_prompt"] == "<user> None"
    assert "tokens" not in demonstrated, "nothing sampled a demonstration"


def test_what_is_not_known_is_not_written(tmp_path):
    """Under a context, what was sampled from is not what is scored; an episode's units are no text."""
    hinted, acted = answered(None), answered([0.0] * 3, episode=EpisodeFacts(True, True, 4))
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.rollouts(1, "rl", [hinted, acted], Letters())
    written = lines(tmp_path / "rollouts" / "step_000001.jsonl")
    assert [("model_prompt" in line, "tokens" in line) for line in written if line["source"] == "policy"] == [
        (False, False)
    ] * 2


def of(dataset, task, name):
    group = make_group()
    sample = replace(group.sample, id=name, dataset=dataset, task=task)
    return replace(group, sample=sample, trajectories=group.trajectories[:1])


def test_the_first_answers_of_each_held_out_task_are_written(tmp_path):
    groups = [
        of("a", "ocr", "0"),
        of("a", "ocr", "1"),
        of("a", "counting", "2"),
        of("a", "ocr", "3"),
        of("b", "ocr", "4"),
    ]
    played = replace(groups[0].trajectories[0], episode=EpisodeFacts(True, True, 4))
    groups.append(replace(of("c", "reach", "5"), trajectories=(played,)))
    with Tracker(tmp_path, QUIET.model_copy(update={"heldout_answers": 2}), 2) as tracker:
        tracker.held_out(2, "rl", groups)
        tracker.held_out(3, "rl", groups[-1:])
    assert [path.name for path in (tmp_path / "heldout").iterdir()] == ["step_000002.jsonl"]
    assert [line["sample"] for line in lines(tmp_path / "heldout" / "step_000002.jsonl")] == ["0", "1", "2", "4"]
    Tracker(tmp_path, QUIET, 2, resume_step=1).close()
    assert not list((tmp_path / "heldout").iterdir()), "what was written after the step that is resumed is dropped"


def test_rollouts_keep_to_their_settings(tmp_path):
    config = QUIET.model_copy(update={"rollouts_every": 3, "rollouts_groups": 1})
    with Tracker(tmp_path, config, 7) as tracker:
        for step in range(1, 8):
            tracker.rollouts(step, "rl", [make_group(), make_group()])
            tracker.rollouts(step, "rl", [])
    assert sorted(p.name for p in (tmp_path / "rollouts").iterdir()) == [f"step_00000{s}.jsonl" for s in (1, 3, 6)]
    assert len(lines(tmp_path / "rollouts" / "step_000003.jsonl")) == 2


def test_prompts_of_plain_strings_and_videos():
    parts = [{"type": "video"}, {"type": "text", "text": " what?"}]
    assert prompt_text([{"role": "user", "content": "hi"}]) == "hi"
    assert prompt_text([{"role": "user", "content": parts}]) == "<video> what?"


def test_summary_and_environment(tmp_path):
    with Tracker(tmp_path, QUIET, 1) as tracker:
        tracker.summary({"final": {"ocr": torch.tensor(0.5)}})
        tracker.environment(seed=3)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"final": {"ocr": 0.5}}
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert facts["seed"] == 3
    assert facts["packages"]["torch"] == torch.__version__
    assert {"mmrl", "python", "platform", "cpu_count", "threads", "device", "git", "command"} <= set(facts)


def test_tensorboard_events_survive_a_resume_without_repeats(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrackingConfig(console="none")
    for resume, steps in ((None, (1, 2, 3)), (1, (2, 3))):
        with Tracker(tmp_path, config, 3, resume_step=resume) as tracker:
            for step in steps:
                tracker.log(step, "rl", {"reward/mean": 0.5, "loss/total": float("nan")})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["reward/mean"]
    assert [event.step for event in events.Scalars("reward/mean")] == [1, 2, 3]


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_missing_service_is_a_user_error_with_the_command(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    config = QUIET.model_copy(update={package: True})
    with pytest.raises(UserError, match=f"run: pip install {package}"):
        Tracker(tmp_path, config, 1)


class FakeRun:
    id = "run7"

    def __init__(self):
        self.seen, self.finished = [], False

    def define_metric(self, *_, **__):
        pass

    def log(self, metrics, step=None):
        self.seen.append((metrics, step))

    def finish(self):
        self.finished = True


@pytest.mark.parametrize(("package", "step"), [("wandb", None), ("trackio", 1)])
def test_services_get_finite_figures_and_resume_their_run(tmp_path, monkeypatch, package, step):
    calls, run = [], FakeRun()
    module = types.SimpleNamespace(init=lambda **options: (calls.append(options), run)[1])
    monkeypatch.setitem(sys.modules, package, module)
    config = QUIET.model_copy(update={package: True, "project": "p"})
    for resume in (None, 1):
        with Tracker(tmp_path / "demo", config, 2, resume_step=resume) as tracker:
            tracker.log(1, "rl", {"reward/mean": 0.5, "loss/total": float("nan")})
    metrics, at = run.seen[0]
    assert metrics["reward/mean"] == 0.5
    assert "loss/total" not in metrics
    assert at == step
    assert run.finished
    assert [call["project"] for call in calls] == ["p", "p"]
    assert [call["name"] for call in calls] == ["demo", "demo"]
    if package == "wandb":
        assert [call["id"] for call in calls] == [None, "run7"]
    else:
        assert [call["resume"] for call in calls] == ["never", "allow"]


def test_every_sink_has_its_switch():
    assert set(SWITCHES) == set(SINKS.entries) <= set(TrackingConfig.model_fields)


def test_importing_the_tracker_is_light():
    import subprocess

    heavy = "[m for m in ('torch', 'rich', 'PIL', 'tensorboard') if m in sys.modules]"
    code = f"import sys, mmrl.tracking.tracker, mmrl.tracking.report.page; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_sink_without_its_package_is_refused_before_any_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="wandb is not installed; run: pip install wandb"):
        open_sinks(tmp_path, TrackingConfig(wandb=True), None)
    assert not list(tmp_path.iterdir())


def test_a_clock_that_was_set_back_gives_no_negative_times(tmp_path):
    starts = Starts(tmp_path, None)
    starts.begin(0, 1000.0, "steps: 1\n", ())
    assert starts.end(1010.04) == pytest.approx(10.0)
    starts.begin(5, 2000.0, "steps: 2\n", ())
    assert starts.end(1900.0) == pytest.approx(10.0)
    assert [start.seconds for start in read_starts(tmp_path)] == [10.0, 0.0]
