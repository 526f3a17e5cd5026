import itertools

import pytest
import torch
from PIL import Image

import robotics
from robotics import contract
from robotics.auto_reset import AutoReset
from robotics.recording import Recorder, write_video

OPTIONS = {"type": "tabletop", "num_envs": 4, "image_size": 32, "tasks": ["push"], "max_steps": 12}


def test_a_recorded_simulator_keeps_the_contract():
    contract.check_contract(lambda: Recorder(robotics.make(OPTIONS), worlds=[1]), ids=[3, 1, 4, 15])


def test_frames_are_the_start_and_every_counted_step():
    env, plain = Recorder(robotics.make(OPTIONS), worlds=[2, 0]), robotics.make(OPTIONS)
    env.reset(range(4))
    plain.reset(range(4))
    actions = contract.random_actions(plain, range(4), 14)
    for part in actions.split(7, dim=1):
        result = env.chunk_step(part)
    expected = [plain.render()]
    for action in actions[:, :12].split(1, dim=1):
        plain.chunk_step(action)
        expected.append(plain.render())
    assert torch.equal(result.info["episode_len"], torch.full((4,), 12))
    for world in (0, 2):
        assert torch.equal(env.frames(world), torch.stack(expected)[:, world])
    env.reset([9], worlds=[2])
    assert len(env.frames(2)) == 1
    assert len(env.frames(0)) == 13


def moving_bar(frames=6, height=33, width=48):
    """A red bar that moves to the right over grey."""
    video = torch.full((frames, height, width, 3), 128, dtype=torch.uint8)
    for frame in range(frames):
        video[frame, :, 8 * frame : 8 * frame + 8] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    return video


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_animations_read_back(tmp_path, ending):
    video = moving_bar()
    path = write_video(video, tmp_path / f"episode.{ending}", fps=10)
    assert [file.name for file in tmp_path.iterdir()] == [f"episode.{ending}"]
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (6, (48, 33), 0)
        durations = []
        for frame in range(6):
            image.seek(frame)
            pixels = torch.tensor(list(image.convert("RGB").tobytes())).view(33, 48, 3).int()
            durations.append(image.info["duration"])
            assert (pixels - video[frame].int()).abs().float().mean() < 12
    assert durations == [100] * 5 + [1000]


def test_mp4_reads_back(tmp_path):
    av = pytest.importorskip("av")
    video = moving_bar()
    path = write_video(video, tmp_path / "episode.mp4", fps=12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 12.5)
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
    assert len(frames) == 6
    for found, expected in zip(frames, video):
        assert found.shape == (34, 48, 3)
        assert (found[:33].int() - expected.int()).abs().float().mean() < 16


def test_bad_videos_are_refused(tmp_path):
    video = moving_bar()
    with pytest.raises(ValueError, match=r"episode.avi' is not allowed; allowed endings: .mp4, .webp, .gif"):
        write_video(video, tmp_path / "episode.avi")
    for wrong in (video[:0], video.float(), video[0], video.movedim(3, 1)):
        with pytest.raises(ValueError, match=r"expected \[T, H, W, 3\] of torch.uint8"):
            write_video(wrong, tmp_path / "episode.webp")
    assert not list(tmp_path.iterdir())


def test_auto_reset_equals_episodes_one_by_one():
    ids = itertools.count(100)
    env = AutoReset(robotics.make({**OPTIONS, "tasks": ["reach"], "max_steps": 7}), ids)
    observation = env.reset([0, 1, 2, 3])
    episodes, starts = [], {0: observation}
    running: list[list] = [[0, []], [1, []], [2, []], [3, []]]
    for chunk in range(12):
        actions = 0.3 * contract.random_actions(env, [chunk] * 4, 3)
        actions[::2, 0] = env.expert_action()[::2]
        result = env.chunk_step(actions)
        assert result.info["id"].tolist() == [episode[0] for episode in running]
        restarted = result.info["restarted"].tolist()
        for world in range(4):
            running[world][1].append(actions[world])
            if restarted[world]:
                final = result.info["final_observation"]
                facts = {
                    name: result.info[name][world].item() for name in ("return", "success_once", "episode_len", "done")
                }
                episodes.append((*running[world], facts, final.state[world], final.images["top"][world]))
                running[world] = [None, []]
        new = [world for world in range(4) if restarted[world]]
        for world in new:
            running[world][0] = 100 + len(starts) - 1
            starts[running[world][0]] = result.observation
            fresh = robotics.make({**OPTIONS, "tasks": ["reach"], "num_envs": 1}).reset([running[world][0]])
            contract.assert_same(result.observation, fresh, rows=[world])
    assert len(episodes) > 8
    assert {facts["success_once"] for _, _, facts, _, _ in episodes} == {True, False}
    for start, actions, facts, state, image in episodes:
        plain = robotics.make({**OPTIONS, "tasks": ["reach"], "max_steps": 7, "num_envs": 1})
        plain.reset([start])
        for part in actions:
            result = plain.chunk_step(part[None])
        assert facts == {name: result.info[name][0].item() for name in facts}
        assert torch.equal(state, result.observation.state[0])
        assert torch.equal(image, result.observation.images["top"][0])
