"""Broken media in a training file: the row, the path and the reason; the run stops or counts, as the recipe says."""

import json

import pytest

import mmrl
from mmrl.cli import main
from mmrl.contracts.errors import UserError
from tests.support.clips import cut, encode, scene
from tests.support.runs import recipe


def corrupt(folder):
    (folder / "bad.mp4").write_bytes(bytes(range(256)) * 40)


def truncated(folder):
    whole = encode(folder / "whole.mp4", scene(40), muxer={"movflags": "faststart"})
    cut(whole, folder / "bad.mp4", 0.5)


def audio_only(folder):
    import av
    import numpy as np

    with av.open(str(folder / "bad.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for i in range(8):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, i * 1024
            container.mux(stream.encode(sound))
        container.mux(stream.encode())


def empty_folder(folder):
    (folder / "bad.mp4").mkdir()


def no_frames(folder):
    """A container that announces a video stream and holds not one picture of it."""
    import av

    with av.open(str(folder / "bad.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()


def wrong_extension(folder):
    (folder / "bad.mp4").write_text("question,answer\n1,2\n" * 300)


def outside(folder):
    encode(folder.parent / "secret.mp4", scene(8))
    (folder / "bad.mp4").symlink_to(folder.parent / "secret.mp4")


CASES = {
    "corrupt": (corrupt, "not_a_video"),
    "truncated": (truncated, "truncated"),
    "audio only": (audio_only, "audio_only"),
    "no frames": (no_frames, "no_frames"),
    "empty folder": (empty_folder, "no_frames"),
    "wrong extension": (wrong_extension, "not_a_video"),
    "outside the root": (outside, "leaves the media folder"),
}


@pytest.fixture
def made(tiny_qwen, tmp_path):
    """A recipe over three rows, of which the second shows `bad.mp4`."""
    folder = tmp_path / "media"
    folder.mkdir()
    encode(folder / "good.mp4", scene(16))
    rows = [
        {
            "prompt": "<video>How many?",
            "videos": [name],
            "task": "counting",
            "target": {"count": 1},
            "demonstration": "1",
        }
        for name in ("good.mp4", "bad.mp4", "good.mp4")
    ]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    raw = recipe(tiny_qwen(), tmp_path, method="sft", steps=3, demonstrations=2, evaluation={})
    raw["policy"]["video"] = {"frames": 4, "min_pixels": 784, "max_pixels": 4 * 784}
    raw["data"] = {"train": [{"type": "file", "path": str(folder / "train.jsonl")}]}
    return raw, folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_run_stops_with_the_row_the_path_and_the_reason(made, name):
    raw, folder = made
    breaks, reason = CASES[name]
    breaks(folder)
    with pytest.raises(UserError) as caught:
        mmrl.train(raw)
    message = str(caught.value)
    assert "\n" not in message
    assert "row 1" in message
    assert "bad.mp4" in message
    assert reason in message
    assert "set data.on_bad_sample: skip" in message
    assert not (folder.parent / "run").exists(), "nothing half-written"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_run_goes_on_counts_and_says_which(made, name):
    raw, folder = made
    breaks, reason = CASES[name]
    breaks(folder)
    raw["data"]["on_bad_sample"] = "skip"
    outcome = mmrl.train(raw)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["data/skipped"] >= 1
    assert outcome.summary["finished"]
    (entry,) = [json.loads(line) for line in (outcome.folder / "bad_samples.jsonl").read_text().splitlines()]
    assert (entry["data"], entry["dataset"], entry["row"]) == ("train", "train.jsonl", 1)
    assert entry["path"].endswith("bad.mp4")
    assert "bad.mp4" in entry["reason"]
    assert reason in entry["reason"]
    report = (outcome.folder / "report.html").read_text()
    assert "Bad samples, skipped: 1" in report
    assert reason in report


def test_a_truncated_video_can_be_kept(made):
    raw, folder = made
    truncated(folder)
    raw["policy"]["video"]["truncated"] = "keep"
    outcome = mmrl.train(raw)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["data/skipped"] == 0


def test_the_command_prints_it_and_leaves_with_two(made, workplace, capsys):
    import yaml

    raw, folder = made
    corrupt(folder)
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(raw))
    assert main(["train", "recipe.yaml", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "bad.mp4" in error
    assert "[not_a_video]" in error
