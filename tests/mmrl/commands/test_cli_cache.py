"""`mmrl cache build`, `stats` and `verify` on real encoded files."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmrl.cli import main
from mmrl.commands import cache as commands
from mmrl.commands import cache_build
from mmrl.data.media_reader import MediaReader, open_cache
from mmrl.data.mixture import open_dataset
from mmrl.data.video_digits import VideoDigits
from mmrl.recipe.data import CacheConfig, FileData, VideoDigitsData
from mmrl.recipe.policies.registry import policy_settings
from video.inventory import scan

av = pytest.importorskip("av")


def write_video(path: Path, seed: int, frames: int = 12, side: int = 64) -> Path:
    """An encoded video of a moving bright square, 4 frames per second."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(4))
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            picture = np.full((side, side, 3), 40, np.uint8)
            x, y = random.integers(0, side - 16, 2)
            picture[y : y + 16, x : x + 16] = random.integers(100, 256, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def row(prompt: str, *videos: str) -> str:
    return json.dumps({"prompt": prompt, "task": "counting", "target": {"count": 1}, "videos": list(videos)})


@pytest.fixture
def dataset(workplace) -> Path:
    """Five rows: a video, the same and another, a missing one, one that is text, and a good one beside a broken one."""
    for seed, name in enumerate(("a", "b", "c")):
        write_video(workplace / f"{name}.mp4", seed)
    (workplace / "text.mp4").write_text("not a video")
    (workplace / "cut.mp4").write_bytes((workplace / "c.mp4").read_bytes()[:-600])
    path = workplace / "rows.jsonl"
    rows = [
        row("<video>?", "a.mp4"),
        row("<video><video>?", "a.mp4", "b.mp4"),
        row("<video>?", "gone.mp4"),
        row("<video>?", "text.mp4"),
        row("<video><video>?", "cut.mp4", "c.mp4"),
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def build(dataset: Path, *extra: str) -> int:
    return main(
        ["cache", "build", str(dataset), "--policy", "quickstart", "--folder", "cache", "--workers", "2", *extra]
    )


def entries(folder: str = "cache") -> list[Path]:
    return [item.path for item in scan(Path(folder)) if item.kind == "entry"]


def test_build_names_what_is_broken_and_goes_on_where_it_stopped(capsys, dataset):
    assert build(dataset, "video.frames=4") == 2
    printed = capsys.readouterr().out.splitlines()
    # Two of the videos are the same file: whoever comes second finds it, or waits for it.
    assert printed[0] == "5 rows, 6 videos: 3 decoded, 1 already there, 3 broken"
    broken = [line for line in printed if line.startswith("broken: ")]
    for line, (number, path, reason) in zip(
        broken, [(2, "gone.mp4", "does not exist"), (3, "text.mp4", "[not_a_video]"), (4, "cut.mp4", "")], strict=True
    ):
        assert f"rows.jsonl row {number} " in line
        assert path in line
        assert reason in line
    assert len(entries()) == 3

    assert build(dataset, "video.frames=4", "--show", "1") == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "5 rows, 6 videos: 0 decoded, 4 already there, 3 broken"
    assert printed[2] == "… and 2 more; --show names more"
    assert build(dataset, "video.frames=6", "--limit", "2") == 0
    assert len(entries()) == 5


def test_a_build_shows_how_far_it_is_on_a_terminal_only(capsys, dataset, monkeypatch):
    build(dataset)
    assert "5/5" not in capsys.readouterr().err
    monkeypatch.setenv("FORCE_COLOR", "1")
    build(dataset)
    error = capsys.readouterr().err
    assert "5/5" in error
    assert "6 videos, 3 broken" in error


def test_a_build_clears_what_dead_writers_left(dataset):
    build(dataset, "--limit", "1")
    (entry,) = scan(Path("cache"))
    part = entry.path.with_suffix(f".{'0' * 16}.part")
    part.touch()
    os.utime(part, (1, 1))
    build(dataset, "--limit", "1")
    assert [item.path for item in scan(Path("cache"))] == [entry.path]


def test_interrupted_build_is_resumed(capsys, dataset, monkeypatch):
    whole = MediaReader.read

    def interrupted(self, sample):
        if sample.videos == ("b.mp4",):
            raise KeyboardInterrupt
        return whole(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(MediaReader, "read", interrupted)
        assert build(dataset, "--workers", "1", "--limit", "2") == 130
    assert len(entries()) == 1
    assert build(dataset, "--limit", "2") == 0
    assert capsys.readouterr().out.startswith("2 rows, 3 videos: 1 decoded, 2 already there, 0 broken")


def test_training_hits_what_a_recipes_build_decoded(capsys, workplace, tiny_recipe, tiny_qwen):
    data = {"type": "video_digits", "size": 3, "folder": "files"}
    settings = {"video": {"max_pixels": 140_000}, "cache": {"folder": "cache", "compression": "lossless"}}
    tiny_recipe["data"] = {"train": [data | {"video": {"fps": 1.0}}], "eval": [data], "cache": settings["cache"]}
    tiny_recipe["policy"] |= {"path": str(tiny_qwen("qwen3_vl")), "video": settings["video"]}
    Path("recipe.yaml").write_text(yaml.safe_dump(tiny_recipe))
    assert main(["cache", "build", "recipe.yaml", "data.train.0.size=2", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("5 rows, 5 videos: 5 decoded, 0 already there, 0 broken")

    from mmrl.policies.opening import load_policy
    from mmrl.recipe.schema import load_recipe

    recipe = load_recipe("recipe.yaml")
    policy = load_policy(recipe.policy)
    policy.videos.cache = cache = open_cache(recipe.data.cache)

    def refuse(source, spec):
        raise AssertionError(f"decoded {source} again, for {spec}")

    cache.decode = refuse
    for config in (*recipe.data.train, *recipe.data.eval):
        for sample in open_dataset(config)[:2]:
            (frames,) = policy.videos.read(sample)
            assert frames.pixels.dtype == torch.uint8
    assert cache.counts["hits"] == 4


def test_every_level_of_a_sparse_to_dense_evaluation_is_built(capsys, workplace, tiny_recipe, tiny_qwen):
    data = {"type": "video_digits", "size": 2, "folder": "files", "tasks": ["counting"]}
    tiny_recipe["data"] = {"train": [data], "eval": [data | {"split": "test"}], "cache": {"folder": "cache"}}
    tiny_recipe["policy"] |= {"path": str(tiny_qwen("qwen3_vl")), "video": {"max_pixels": 140_000}}
    tiny_recipe["evaluation"] = {"sparse_to_dense": {"frames": [2, 4], "samples": 2}}
    Path("recipe.yaml").write_text(yaml.safe_dump(tiny_recipe))
    assert main(["cache", "build", "recipe.yaml", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("4 rows, 4 videos: 6 decoded, 0 already there, 0 broken")
    assert main(["cache", "stats", "cache"]) == 0
    printed = capsys.readouterr().out
    for level in (2, 4):
        assert f"sampling.max_frames={level}" in printed
        assert f"sampling.min_frames={level}" in printed


@pytest.mark.parametrize("compression", ["near-lossless", "lossless"])
def test_options_of_a_build_are_those_of_the_runs_that_will_read_it(capsys, dataset, compression):
    options = ["--compression", compression, "--fingerprint", "full", "--limit", "2"]
    assert build(dataset, "video.frames=4", *options) == 0
    assert capsys.readouterr().out.startswith("2 rows, 3 videos: 2 decoded, 1 already there")
    config = CacheConfig(folder="cache", compression=compression, fingerprint="full")
    videos = cache_build.policy_media(policy_settings(path="quickstart")).reader
    videos.cache = cache = open_cache(config)
    data = FileData(type="file", path=str(dataset), video={"frames": 4})
    videos.read(open_dataset(data)[0])
    assert cache.counts == {"hits": 1}


def test_a_build_keeps_no_more_than_it_may(capsys, dataset):
    # One worker: with two, which video comes last, and whether one is made a second time, is up to the scheduler.
    assert build(dataset, "--limit", "2", "--max-gb", "0.003", "--workers", "1") == 0
    assert "\nhad to go for want of room: 1 (the cache may hold 3 MB)\n" in capsys.readouterr().out
    assert len(entries()) == 1


def test_options_of_a_build_go_over_the_recipes(capsys, workplace, tiny_recipe):
    data = {"type": "video_digits", "size": 1, "folder": "files"}
    cache = {"folder": "theirs", "compression": "lossless", "max_gb": 1.0}
    tiny_recipe["data"] = {"train": [data], "eval": [], "cache": cache}
    Path("recipe.yaml").write_text(yaml.safe_dump(tiny_recipe))
    parser = ArgumentParser()
    commands.add_arguments(parser)
    for options, expected in (
        ([], cache),
        (["--folder", "mine"], cache | {"folder": "mine"}),
        (["--compression", "none", "--max-gb", "2"], cache | {"compression": "none", "max_gb": 2.0}),
    ):
        found = cache_build._sources(parser.parse_args(["build", "recipe.yaml", *options]))[2]
        assert found == CacheConfig(**expected)


def test_stats_and_verify(capsys, dataset):
    build(dataset, "video.frames=4")
    capsys.readouterr()
    assert main(["cache", "stats", "cache"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("entries     3, ")
    assert "12 frames" in printed
    assert "settings    3 entries" in printed
    assert "sampling.frames=4" in printed

    assert main(["cache", "verify", "cache"]) == 0
    assert capsys.readouterr().out == "3 entries, 0 broken, 0 files of dead writers\n"
    victim = entries()[1]
    content = bytearray(victim.read_bytes())
    content[-5] ^= 4
    victim.write_bytes(content)
    assert main(["cache", "verify", "cache", "--workers", "2"]) == 2
    assert capsys.readouterr().out.startswith(f"{victim}: broken: its bytes do not match its checksum\n3 entries, 1")
    assert main(["cache", "verify", "cache", "--remove"]) == 0
    assert len(entries()) == 2
    assert not victim.exists()
    assert main(["cache", "verify", "cache"]) == 0


def error(capsys, *argv: str) -> str:
    assert main(["cache", *argv]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_errors_name_the_cure(capsys, dataset, recipe_file):
    assert "--policy is needed for a dataset" in error(capsys, "build", str(dataset))
    assert "--folder is needed" in error(capsys, "build", str(dataset), "--policy", "quickstart")
    assert "has no data.cache; give --folder" in error(capsys, "build", str(recipe_file))
    assert "no cache folder at 'cahce'" in error(capsys, "stats", "cahce")
    assert "--workers 0" in error(capsys, "verify", ".", "--workers", "0")
    wrong = ["build", str(dataset), "--policy", "quickstart", "--folder", "cache"]
    assert "unknown key 'fsp'. Did you mean 'fps'" in error(capsys, *wrong, "video.fsp=2")
    assert "max_pixels=50 is less than a visual token of 28x28 pixels" in error(capsys, *wrong, "video.max_pixels=50")
    assert "'loseless' is unknown. Did you mean 'lossless'" in error(capsys, *wrong, "--compression", "loseless")
    assert "fingerprint" in error(capsys, *wrong, "--fingerprint", "slow")
    assert "max_gb" in error(capsys, *wrong, "--max-gb", "0")
    assert "--limit 0" in error(capsys, *wrong, "--limit", "0")
    assert "is a file" in error(capsys, *wrong[:-1], str(dataset))


def test_a_clip_that_cannot_be_is_one_broken_row(capsys, dataset, workplace):
    clips = [{"path": "a.mp4", "start": 5, "end": 3}, {"path": "b.mp4"}, {"path": "c.mp4", "strat": 1}]
    dataset.write_text("".join(row("<video>?", clip) + "\n" for clip in clips))
    assert build(dataset) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3 rows, 2 videos: 1 decoded, 0 already there, 2 broken"
    broken = [line for line in printed if line.startswith("broken: ")]
    assert "row 0" in broken[0]
    assert "a.mp4': start=5.0 is not before end=3.0" in broken[0]
    assert "row 2" in broken[1]
    assert "column 'videos': unknown key of a video 'strat'. Did you mean 'start'" in broken[1]


def test_cache_that_cannot_be_written_stops_the_build(capsys, dataset):
    Path("cache").mkdir()
    for number in range(256):
        Path(f"cache/{number:02x}").write_text("in the way")
    assert "cache" in (line := error(capsys, "build", str(dataset), "--policy", "quickstart", "--folder", "cache"))
    assert "cannot be written: File exists" in line


def test_reader_of_a_build_is_the_policys_own(tiny_qwen):
    for family in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        from mmrl.policies.opening import load_policy

        config = policy_settings(path=str(tiny_qwen(family)))
        mine, theirs = cache_build.policy_media(config).reader, load_policy(config).videos
        assert mine.spec({"start": 1.0, "end": 3.0}) == theirs.spec({"start": 1.0, "end": 3.0})


def test_large_pictures_are_built_as_training_reads_them(capsys, workplace, tiny_qwen):
    from PIL import Image

    from mmrl.policies.opening import load_policy

    shades = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    Image.fromarray(shades).resize((1200, 900)).save("large.png")
    Image.fromarray(shades).resize((120, 90)).save("small.png")
    Path("broken.png").write_bytes(Path("large.png").read_bytes()[:900])
    write_video(workplace / "a.mp4", 0)
    target = {"task": "counting", "target": {"count": 1}}
    shown = [["large.png", "small.png"], ["broken.png"]]
    rows = [
        {"prompt": "<video>" + "<image>" * len(images) + "?", "images": images, "videos": ["a.mp4"], **target}
        for images in shown
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = str(tiny_qwen("qwen3_vl"))
    options = ["--folder", "cache", "--workers", "1", "image.max_pixels=100000"]
    assert main(["cache", "build", "rows.jsonl", "--policy", model, *options]) == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "2 rows, 2 videos, 1 large pictures: 2 decoded, 1 already there, 1 broken"
    assert "row 1" in printed[1]
    assert "broken.png" in printed[1]
    policy = load_policy(policy_settings(path=model))
    policy.videos.cache = cache = open_cache(CacheConfig(folder="cache"))
    data = FileData(type="file", path="rows.jsonl", image={"max_pixels": 100_000})
    policy.prepare([open_dataset(data)[0]])
    assert (cache.counts["hits"], cache.counts["decoded"]) == (2, 0)


def test_encoded_pictures_of_a_table_are_built_by_several_workers(capsys, workplace):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((900, 1200, 3), 99, np.uint8)).save(buffer, "PNG")
    row = {"prompt": "<image>?", "images": [{"bytes": buffer.getvalue(), "path": None}], "task": "counting"}
    pq.write_table(pa.Table.from_pylist([row | {"target": '{"count": 1}'}] * 2), "rows.parquet")
    options = ["--policy", "quickstart", "--folder", "cache", "--workers", "2"]
    assert main(["cache", "build", "rows.parquet", *options]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "2 rows, 0 videos, 2 large pictures: 1 decoded, 1 already there, 0 broken"


def test_rows_without_videos_count_as_rows(capsys, workplace):
    rows = VideoDigits(VideoDigitsData(type="video_digits", size=1, folder=str(workplace / "files")))
    path = Path("rows.jsonl")
    path.write_text(row("nothing to see") + "\n" + row("<video>?", str(rows[0].videos[0])) + "\n")
    assert build(path, "root=files") == 0
    assert capsys.readouterr().out.startswith("2 rows, 1 videos: 1 decoded")
