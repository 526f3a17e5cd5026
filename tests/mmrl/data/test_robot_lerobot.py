"""LeRobot v3 datasets: the picture, the state and the actions of a sample are those of one step."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mmrl.contracts.errors import BadSample, UserError
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import LeRobotData
from tests.support.robot_data import FPS, motion, sensed, spelled, write_lerobot, write_lerobot_v2, write_video

LENGTHS = (23, 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lerobot(tmp_path_factory.mktemp("data") / "arm", LENGTHS)


def opened(folder, **settings):
    return open_dataset(LeRobotData(type="lerobot", path=str(folder), **settings))


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def test_every_row_shows_the_step_that_its_actions_start_at(folder):
    rows = opened(folder, chunk=5)
    assert len(rows) == sum(LENGTHS)
    for number in range(len(rows)):
        sample = rows[number]
        assert [spelled(image) for image in sample.images] == [number, number + 100]
        assert torch.equal(sample.state, torch.from_numpy(sensed([number])[0]))
        end = LENGTHS[0] if number < LENGTHS[0] else sum(LENGTHS)
        wanted = motion(range(number, min(number + 5, end)))
        assert torch.equal(sample.actions, torch.from_numpy(wanted)), "cut where its episode ends, not padded"
        assert sample.actions.dtype == torch.float32


def test_a_sample_is_an_observation_with_an_instruction(folder):
    rows = opened(folder, name="arm demos")
    sample = rows[LENGTHS[0]]
    assert sample.cameras == ("top", "wrist")
    assert [part["type"] for part in sample.messages[0]["content"]] == ["image", "image", "text"]
    assert sample.messages[0]["content"][-1]["text"] == "open the drawer"
    assert (sample.id, sample.dataset, sample.row) == ("arm demos/1/0", "arm demos", 23)
    assert sample.demonstrated
    assert sample.demonstration is None


def test_cameras_episodes_and_sizes_are_chosen(folder):
    rows = opened(folder, cameras={"observation.images.wrist": "hand"}, episodes=[1], image_size=28, state=None)
    sample = rows[3]
    assert len(rows) == LENGTHS[1]
    assert sample.cameras == ("hand",)
    assert sample.images[0].size == (28, 28)
    assert spelled(sample.images[0]) == LENGTHS[0] + 3 + 100
    assert sample.state is None
    assert len(opened(folder, episodes="0:1")) == LENGTHS[0]
    assert rows[0].messages[0]["content"][-1]["text"] == "open the drawer"
    assert opened(folder, instruction="wave")[0].messages[0]["content"][-1]["text"] == "wave"


def test_episodes_decoded_once_give_the_same_pictures(folder, tmp_path):
    cached = opened(folder, cache={"folder": str(tmp_path / "cache")})
    plain = opened(folder)
    for number in (0, 22, 23, 39):
        for a, b in zip(cached[number].images, plain[number].images):
            assert np.array_equal(a, b)


def test_rows_of_a_file_pass_over_its_packets_once(folder, monkeypatch):
    from video import file_state, scan

    scanned, collect = [], scan._Packets
    monkeypatch.setattr(scan, "_Packets", lambda stream: scanned.append(1) or collect(stream))
    monkeypatch.setattr(file_state, "UNSETTLED_NS", -1)
    scan._remembered.cache_clear()
    rows = opened(folder)
    assert [spelled(rows[i].images[0]) for i in (31, 2, 17, 0, 39)] == [31, 2, 17, 0, 39]
    assert len(scanned) == 2, "one for each camera"


def test_pictures_in_parquet(tmp_path):
    rows = opened(write_lerobot(tmp_path / "arm", LENGTHS, stored=True))
    assert [spelled(rows[i].images[1]) for i in (0, 9, 10, 22, 23, 39)] == [100, 109, 110, 122, 123, 139]


@pytest.mark.parametrize("start", [1000.0, 0.0])
def test_float32_times_of_long_episodes_find_their_frame(tmp_path, start):
    """At 1000 s a float32 is 3e-5 s off, on either side of the frame's own time."""
    folder = write_lerobot(tmp_path / "arm", (40,))
    count = 40
    times = ((np.arange(count) / FPS + start).astype(np.float32).astype(np.float64) - start).astype(np.float32)
    path = folder / "data/chunk-000/file-000.parquet"
    rewrite(path, lambda t: t.set_column(t.column_names.index("timestamp"), "timestamp", pa.array(times)))
    rows = opened(folder)
    assert [spelled(rows[i].images[0]) for i in range(count)] == list(range(count))


@pytest.mark.parametrize("chunks_size", [1, 1000])
def test_format_v2_reads_as_v3(folder, tmp_path, chunks_size):
    old, new = (
        opened(write_lerobot_v2(tmp_path / "arm", LENGTHS, chunks_size=chunks_size), chunk=5),
        opened(folder, chunk=5),
    )
    assert len(old) == len(new)
    for number in (0, 22, 23, 39):
        a, b = old[number], new[number]
        assert (
            [spelled(image) for image in a.images] == [spelled(image) for image in b.images] == [number, number + 100]
        )
        assert torch.equal(a.actions, b.actions)
        assert torch.equal(a.state, b.state)
        assert a.messages == b.messages
    assert old.statistics() == new.statistics()


def test_format_v2_names_what_is_missing(tmp_path):
    root = write_lerobot_v2(tmp_path / "arm", (6,))
    (root / "meta/episodes.jsonl").write_text('{"episode_index": 0}\n')
    with pytest.raises(UserError, match=r"episodes\.jsonl' line 1 is no object with episode_index and length"):
        opened(root)


def test_another_version_is_refused(tmp_path):
    folder = write_lerobot(tmp_path / "arm", version="v1.6")
    with pytest.raises(UserError, match=r"codebase_version v1\.6, and only v2 and v3 are read"):
        opened(folder)


def test_a_download_in_a_hub_cache_reads_as_a_folder_does(folder, tmp_path):
    """There every file is a link to ../../blobs/<digest>, which says nothing of its kind."""
    repository = tmp_path / "datasets--me--arm"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        (blobs / f"{number:064x}").write_bytes(path.read_bytes())
        link.symlink_to(os.path.relpath(blobs / f"{number:064x}", link.parent))
    rows = opened(snapshot)
    assert [spelled(rows[i].images[0]) for i in (0, 23, 39)] == [0, 23, 39]
    (tmp_path / "elsewhere.mp4").write_bytes(b"")
    video = snapshot / "videos/observation.images.top/chunk-000/file-000.mp4"
    video.unlink()
    video.symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(BadSample, match="leaves the media folder"):
        rows[0]


def test_each_step_has_its_own_instruction(tmp_path):
    root = write_lerobot(tmp_path / "arm", (6,), stored=True)
    tasks = pa.array([0, 0, 1, 1, 1, 7])
    rewrite(root / "data/chunk-000/file-000.parquet", lambda t: t.set_column(6, "task_index", tasks))
    rows = opened(root)
    words = [rows[i].messages[0]["content"][-1]["text"] for i in range(5)]
    assert words == ["push the cube"] * 2 + ["open the drawer"] * 3
    with pytest.raises(BadSample, match=r"row 5 .*step 5\): it has no instruction"):
        rows[5]
    assert opened(root, instruction="wave")[5].messages[0]["content"][-1]["text"] == "wave"


def test_times_that_are_not_the_videos_are_refused(tmp_path):
    """A clock that is 3 % slow names, from the 17th step on, a neighbour's frame."""

    def slow(table):
        times = pa.array((np.arange(40) * 1.03 / FPS).astype(np.float32))
        return table.set_column(table.column_names.index("timestamp"), "timestamp", times)

    root = write_lerobot(tmp_path / "arm", (40,))
    rewrite(root / "data/chunk-000/file-000.parquet", slow)
    with pytest.raises(
        UserError, match=r"episode 0, step 39: its timestamp is 1\.3390 s, and frame 39 .* at 1\.3000 s"
    ):
        opened(root)
    stored = write_lerobot(tmp_path / "stored", (40,), stored=True)
    rewrite(stored / "data/chunk-000/file-000.parquet", slow)
    assert spelled(opened(stored)[39].images[0]) == 39, "pictures that lie beside the numbers need no clock"


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(
        UserError, match=r"unknown camera 'observation.images.tip'\. Did you mean 'observation.images.top'"
    ):
        opened(folder, cameras={"observation.images.tip": "top"})
    with pytest.raises(UserError, match=r"action: unknown feature 'actions'\. Did you mean 'action'"):
        opened(folder, action="actions")
    with pytest.raises(UserError, match="episode 7 is not there; there are 2, from 0 to 1"):
        opened(folder, episodes=[7])
    with pytest.raises(UserError, match=r"is no folder\. Did you mean 'arm'\? Download it first"):
        opened(folder.parent / "arn")
    with pytest.raises(UserError, match=r"no meta/info\.json"):
        opened(tmp_path)


def test_a_missing_column_stops_the_opening(tmp_path):
    folder = write_lerobot(tmp_path / "arm", (6,))
    rewrite(folder / "data/chunk-000/file-000.parquet", lambda t: t.drop(["task_index"]))
    with pytest.raises(UserError, match=r"file-000\.parquet' has no column 'task_index'; it has action"):
        opened(folder)


def test_rows_that_do_not_add_up_stop_the_opening(tmp_path):
    folder = write_lerobot(tmp_path / "arm", (6, 5))
    rewrite(folder / "data/chunk-000/file-000.parquet", lambda t: t.slice(0, 9))
    with pytest.raises(UserError, match="episode 1 has 3 rows, and meta/episodes says 5"):
        opened(folder)


def test_bad_rows_are_bad_on_their_own(tmp_path):
    folder = write_lerobot(tmp_path / "arm", (6,))
    actions = [None if i == 2 else [float("nan")] * 3 if i == 4 else [0.5] * 3 for i in range(6)]

    def spoil(table):
        return table.set_column(0, "action", pa.array(actions, pa.list_(pa.float32())))

    rewrite(folder / "data/chunk-000/file-000.parquet", spoil)
    rows = opened(folder)
    assert rows[0].actions.tolist() == [[0.5] * 3]
    for bad in (2, 4):
        with pytest.raises(BadSample, match=rf"row {bad} \(data/chunk-000/file-000.parquet episode 0, step {bad}\)"):
            rows[bad]


def test_a_video_that_is_short_or_gone_is_a_bad_row_with_its_path(tmp_path):
    folder = write_lerobot(tmp_path / "arm", (6, 5))
    video = folder / "videos/observation.images.top/chunk-000/file-000.mp4"
    write_video(video, range(8))
    rows = opened(folder)
    assert spelled(rows[7].images[0]) == 7
    with pytest.raises(BadSample, match=r"row 9 \(.*file-000\.mp4.*outside the video"):
        rows[9]
    video.unlink()
    with pytest.raises(BadSample, match=r"row 0 .*file-000\.mp4' does not exist"):
        rows[0]


def test_paths_stay_inside_the_dataset(tmp_path):
    folder = write_lerobot(tmp_path / "arm", (6,))
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps({**info, "data_path": "../elsewhere.parquet"}))
    (tmp_path / "elsewhere.parquet").write_bytes(b"")
    with pytest.raises(UserError, match="leaves the media folder"):
        opened(folder)
