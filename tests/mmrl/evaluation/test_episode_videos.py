"""Films of held-out episodes: what they show, where they lie, and how the report shows them."""

import json
import math
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

import robotics
from mmrl import train
from mmrl.cli import main
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.data.episodes import Episodes
from mmrl.evaluation.filming import Film, picture
from mmrl.evaluation.runner import evaluate
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.policies.registry import policy_settings
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.tracking.report.page import write_report
from mmrl.tracking.videos import EpisodeVideos
from mmrl.trainer.session import Session
from robotics.types import Observation
from tests.support.browser import CHROMIUM, measure
from tests.support.engines import hf
from tests.support.runs import assert_same_run
from tests.support.worlds import Failing

TABLE = {"type": "tabletop", "tasks": ["reach", "push"], "image_size": 28, "max_steps": 7, "reward": "dense"}
BINS, CHUNK = 5, 2


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load_policy(policy_settings(path=str(tiny_qwen()), device="cpu", action_bins=BINS))


def filmed(policy, simulators, sizes, count=3):
    """(films by set and episode, their facts, the groups) of one evaluation, in batches of two rows."""
    films, facts = {}, []

    def keep(frames, about):
        films[about["dataset"], about["episode"]] = frames
        facts.append(about)

    sets = {
        name: Episodes(EpisodeData(type="episodes", simulator="table", first=40, size=n)) for name, n in sizes.items()
    }
    preparer = Preparer(policy, Rewarder([]))
    config = EvalConfig(batch_size=2, videos=count)
    groups = evaluate(
        policy, hf(policy), sets, config, preparer, simulators, chunk=CHUNK, film=Film(count, keep)
    ).groups
    return films, facts, groups


def observed(policy, group):
    """The top camera at the start and after every decision, by the simulator alone; and its last records."""
    values, first = torch.linspace(-1, 1, BINS), int(policy.action_ids()[0])
    env = robotics.make({**TABLE, "num_envs": 1})
    frames = [env.reset([group.sample.episode]).images["top"][0]]
    for decision in group.trajectories[0].decisions:
        result = env.chunk_step(values[decision.tokens - first].view(1, -1, 3))
        frames.append(result.observation.images["top"][0])
    return frames, result


def nearest(frame, side):
    """The frame enlarged by Pillow."""
    return np.asarray(Image.fromarray(frame.numpy()).resize((side, side), Image.Resampling.NEAREST))


def decoded(path):
    """RGB frames of a film."""
    import av

    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.slow
@pytest.mark.parametrize(("worlds", "pipeline"), [({}, 1), ({"num_envs": 1}, 1), ({"num_envs": 2}, 2)])
def test_films_show_what_the_policy_saw_at_each_decision_and_the_end(policy, worlds, pipeline):
    simulators = Simulators({"table": {**TABLE, **worlds}}, pipeline)
    films, facts, groups = filmed(policy, simulators, {"a": 5, "b": 1})
    assert list(films) == [("a", 40), ("a", 41), ("a", 42), ("b", 40)]
    for group, about in zip([*groups[:3], groups[5]], facts, strict=True):
        frames, result = observed(policy, group)
        film = films[about["dataset"], about["episode"]]
        assert len(film) == len(group.trajectories[0].decisions) + 1 == math.ceil(about["length"] / CHUNK) + 1
        for found, expected in zip(film, frames, strict=True):
            assert np.array_equal(found, nearest(expected, 140)), "28 pixels, five times"
        assert about == {
            "dataset": about["dataset"],
            "task": "table",
            "simulator": "table",
            "episode": group.sample.episode,
            "instruction": result.observation.instruction[0],
            "success": result.info["success_once"].item(),
            "return": pytest.approx(result.info["return"].item(), abs=1e-6),
            "length": result.info["episode_len"].item(),
        }


def test_an_episode_in_which_the_simulator_failed_is_filmed_anew(policy, monkeypatch):
    monkeypatch.setitem(robotics.registry.SIMULATORS, "failing", "tests.support.worlds:Failing")
    monkeypatch.setattr(Failing, "calls", 0)
    simulators = Simulators({"table": {**TABLE, "type": "failing"}})
    films, _, groups = filmed(policy, simulators, {"a": 2})
    assert simulators.dropped == 2
    for group in groups:
        expected = [nearest(frame, 140) for frame in observed(policy, group)[0]]
        assert np.array_equal(films["a", group.sample.episode], expected)


def test_cameras_stand_side_by_side():
    images = {"front": torch.full((2, 128, 130, 3), 9), "wrist": torch.arange(2 * 43 * 50 * 3).view(2, 43, 50, 3) % 250}
    shown = picture(Observation({k: v.to(torch.uint8) for k, v in images.items()}, torch.zeros(2, 0), ["", ""]), 1)
    assert shown.shape == (129, 130 + 4 + 150, 3)
    assert (shown[:128, :130] == 9).all()
    assert not shown[128:, :130].any()
    assert not shown[:, 130:134].any()
    assert torch.equal(shown[1::3, 135::3], images["wrist"][1].to(torch.uint8))


def test_nothing_to_film_is_refused(policy):
    with pytest.raises(ConfigError, match=r"evaluation.videos: simulators.table has no camera; .* set videos to 0"):
        filmed(policy, Simulators({"table": {**TABLE, "cameras": []}}), {"a": 1})


def test_a_disk_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "videos").write_text("in the way")
    facts = {"dataset": "a", "simulator": "table", "episode": 1, "success": True}
    with pytest.raises(UserError, match=r"cannot write '.*videos/a/table/1_success.mp4'"):
        EpisodeVideos(tmp_path / "videos", {}).keep(torch.zeros(1, 128, 128, 3, dtype=torch.uint8), facts)


def recipe(tiny_qwen, output, name, **evaluation):
    return {
        "name": name,
        "output": str(output),
        "threads": 1,
        "policy": {"path": str(tiny_qwen()), "device": "cpu", "action_bins": BINS},
        "simulators": {"table": TABLE},
        "data": {
            "train": [{"type": "episodes", "simulator": "table", "size": 64}],
            "eval": [{"type": "episodes", "simulator": "table", "first": 1000, "size": 3, "name": "un/seen"}],
        },
        "method": "sft",
        "steps": 3,
        "demonstrations": 2,
        "optim": {"lr": 3e-3},
        "rollout": {"action_chunk": CHUNK},
        "evaluation": {"every": 1, **evaluation},
        "checkpoint": {"every": 1},
        "tracking": {"console": "none", "tensorboard": False},
    }


@pytest.fixture(scope="module")
def run(tiny_qwen, tmp_path_factory):
    """A run with films of the first two of three held-out episodes."""
    return train(recipe(tiny_qwen, tmp_path_factory.mktemp("runs"), "run", videos=2)).folder


def index(folder):
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


def listing(run):
    """Names of all films, and the text of all indices."""
    files = sorted(path for path in (run / "videos").rglob("*") if path.is_file())
    return {path.relative_to(run).as_posix(): path.suffix == ".jsonl" and path.read_text() for path in files}


@pytest.mark.slow
def test_every_evaluation_has_its_films_and_their_index(run):
    assert sorted(path.name for path in (run / "videos").iterdir()) == [f"step_{n:06d}" for n in range(4)]
    for step in range(4):
        folder = run / "videos" / f"step_{step:06d}"
        rows = index(folder)
        assert [(row["step"], row["dataset"], row["episode"]) for row in rows] == [
            (step, "un/seen", 1000),
            (step, "un/seen", 1001),
        ]
        assert {file.relative_to(folder).as_posix() for file in folder.rglob("*.mp4")} == {row["file"] for row in rows}
        for row in rows:
            outcome = "success" if row["success"] else "failure"
            assert row["file"] == f"un_seen/table/{row['episode']}_{outcome}.mp4"
            frames = decoded(folder / row["file"])
            assert len(frames) == row["frames"] == math.ceil(row["length"] / CHUNK) + 1
            assert frames[0].shape == (row["height"], row["width"], 3) == (140, 140, 3)
            start = robotics.make({**TABLE, "num_envs": 1}).reset([row["episode"]])
            assert row["instruction"] == start.instruction[0]
            lost = frames[0].astype(int) - nearest(start.images["top"][0], 140)
            assert np.abs(lost).mean() < 6
            assert not list(folder.rglob(".*")), "nothing half-written stays"


@pytest.mark.slow
def test_films_change_nothing_else(tiny_qwen, run, tmp_path):
    plain = train(recipe(tiny_qwen, tmp_path, "plain")).folder
    assert not (plain / "videos").exists()
    assert "<video" not in (plain / "report.html").read_text()
    assert "media-src" not in (plain / "report.html").read_text()
    assert_same_run(run, plain)


@pytest.mark.slow
def test_a_resumed_run_has_the_films_of_one_that_never_stopped(tiny_qwen, run, tmp_path, monkeypatch):
    settings = recipe(tiny_qwen, tmp_path, "resumed", videos=2)
    save = Session.save

    def killed(session, place, *trained):
        if place.step == 2:
            raise KeyboardInterrupt
        save(session, place, *trained)

    monkeypatch.setattr(Session, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    late = tmp_path / "resumed" / "videos" / "step_000002"
    (late / "un_seen" / "table" / "999_success.mp4").write_bytes(b"of an evaluation that is made again")
    monkeypatch.setattr(Session, "save", save)
    resumed = train({**settings, "resume": "auto"}).folder
    assert listing(resumed) == listing(run)
    assert_same_run(resumed, run)


def links(page):
    """The files that a page's films refer to."""
    return [page.parent / unquote(link) for link in re.findall(r'<video src="([^"]*)"', page.read_text())]


def test_report_shows_the_last_evaluation_and_the_first(run, tmp_path):
    page = run / "report.html"
    shown = [
        run / "videos" / step / row["file"]
        for step in ("step_000003", "step_000000")
        for row in index(run / "videos" / step)
    ]
    assert links(page) == shown
    assert all(not Path(link).is_absolute() for link in re.findall(r'<video src="([^"]*)"', page.read_text()))
    text = page.read_text()
    assert [int(s) for s in re.findall(r"<h3>Step (\d+)</h3>", text[: text.index("Optimisation")])] == [3, 0]
    assert text.count("controls muted loop") == 4
    assert "media-src 'self' file:;" in text
    first = index(run / "videos" / "step_000003")[0]
    assert f"<h3>{first['instruction']}</h3>" in text
    assert f"return <b>{first['return']:z.2f}</b>" in text
    elsewhere = write_report(run, tmp_path / "out" / "page.html")
    assert [link.resolve() for link in links(elsewhere)] == [path.resolve() for path in shown]


def test_report_survives_lost_and_hostile_films(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "a run")
    folder = copy / "videos" / "step_000003"
    lost, kept = index(folder)
    (folder / lost["file"]).unlink()
    (tmp_path / "secret.mp4").write_bytes(b"")
    evil = "<script>\"'"
    hostile = dict.fromkeys(lost, evil) | {"file": "../../../secret.mp4"}
    lines = "".join(json.dumps(row) + "\n" for row in (lost, kept, hostile, {}))
    (folder / "episodes.jsonl").write_text(lines + "[1]\n{")
    shutil.rmtree(copy / "videos" / "step_000000")
    page = write_report(copy)
    assert [link.parent.parent.parent.name for link in links(page)] == ["step_000003", *["step_000001"] * 2]
    assert all(link.is_file() for link in links(page))
    text = page.read_text()
    assert text.count("<script>") == 1
    for words in ("Video missing: un_seen/", "Video outside the run", "2 damaged lines left out"):
        assert words in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so the layout cannot be measured")
@pytest.mark.parametrize("width", [1200, 390])
def test_films_fit_the_page(run, tmp_path, width):
    seen = measure(run / "report.html", tmp_path, width, 800)
    assert seen["scroll"] <= width
    assert seen["ready"] == "yes"
    assert "Held-out episodes" in seen["text"]
    assert "of 2 succeeded" in seen["text"]


def test_eval_writes_films_beside_its_figures(run, tmp_path, capsys):
    command = ["eval", str(run), "evaluation.videos=1"]
    assert main([*command, "--output", str(tmp_path / "out" / "best.json")]) == 0
    (row,) = index(tmp_path / "out" / "best_videos")
    assert len(decoded(tmp_path / "out" / "best_videos" / row["file"])) == row["frames"]
    final = index(run / "videos" / "step_000003")[0]
    assert row == {key: value for key, value in final.items() if key != "step"}
    before = listing(run)
    assert main(command) == 0
    assert listing(run) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    capsys.readouterr()


def test_negative_numbers_are_refused(tiny_qwen, tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(tiny_qwen, tmp_path, "run", videos=-1)))
    assert main(["train", str(path)]) != 0
    assert "evaluation.videos" in capsys.readouterr().err
