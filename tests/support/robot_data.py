"""Tiny robot datasets whose pictures spell the step they were taken at."""

import json
from pathlib import Path

import numpy as np

SIDE, BITS = 56, 8
FPS = 30


def picture(number: int) -> np.ndarray:
    """uint8 [56, 56, 3]: the bits of a number as white columns of the upper half; the lower left corner is red."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    width = SIDE // BITS
    for bit in range(BITS):
        if number >> bit & 1:
            pixels[: SIDE // 2, bit * width : (bit + 1) * width] = 255
    pixels[SIDE // 2 :, : SIDE // 2, 0] = 200
    return pixels


def spelled(image) -> int:
    """The number that a picture spells, whatever its size; fails on one that is turned."""
    pixels = np.asarray(image.resize((SIDE, SIDE)), dtype=np.int64)
    assert pixels[-8, 8, 0] > 120, "the red corner is not at the lower left"
    assert pixels[-8, 8, 1] < 80, "the red corner is not at the lower left"
    width = SIDE // BITS
    return sum(1 << bit for bit in range(BITS) if pixels[8:20, bit * width + 2 : (bit + 1) * width - 2].mean() > 127)


def motion(numbers, size: int = 3) -> np.ndarray:
    """float32 [T, A] in [-1, 1]: an action that tells its step, and a gripper that closes halfway."""
    steps = np.asarray(numbers, dtype=np.float32)
    arm = np.stack([np.sin(steps / (3 + dim)) for dim in range(size - 1)], axis=1)
    return np.concatenate([arm, np.where(steps[:, None] % 16 < 8, -1.0, 1.0)], axis=1).astype(np.float32)


def sensed(numbers, size: int = 4) -> np.ndarray:
    """float32 [T, S]: the step in every dimension, a thousand apart."""
    return np.asarray(numbers, np.float32)[:, None] + 1000.0 * np.arange(size, dtype=np.float32)


def write_video(path: Path, numbers, codec: str = "libx264") -> None:
    """An mp4 of pictures at 30 frames per second, a key frame every second one, as LeRobot encodes."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options={"crf": "18"})
        stream.width = stream.height = SIDE
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 2
        for number in numbers:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_lerobot(root: Path, lengths=(23, 17), stored: bool = False, version: str = "v3.0") -> Path:
    """A LeRobot v3 dataset: all episodes in one parquet file and, unless `stored`, one mp4 for each of two cameras.

    Pictures of `top` spell the running number of a step, those of `wrist` that plus 100.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = sum(lengths)
    cameras = {"observation.images.top": 0, "observation.images.wrist": 100}
    starts = np.cumsum([0, *lengths])
    numbers = np.arange(total)
    within = np.concatenate([np.arange(n) for n in lengths])
    columns = {
        "action": pa.array(list(motion(numbers)), pa.list_(pa.float32(), 3)),
        "observation.state": pa.array(list(sensed(numbers)), pa.list_(pa.float32())),
        "timestamp": pa.array((within / FPS).astype(np.float32)),
        "frame_index": pa.array(within),
        "episode_index": pa.array(np.repeat(np.arange(len(lengths)), lengths)),
        "index": pa.array(numbers),
        "task_index": pa.array(np.repeat(np.arange(len(lengths)) % 2, lengths)),
    }
    if stored:
        columns |= {name: pa.array([_png(picture(n + shift)) for n in numbers]) for name, shift in cameras.items()}
    (root / "data/chunk-000").mkdir(parents=True)
    pq.write_table(pa.table(columns), root / "data/chunk-000/file-000.parquet", row_group_size=10)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    tasks = {"task_index": [0, 1], "__index_level_0__": ["push the cube", "open the drawer"]}
    pq.write_table(pa.table(tasks), root / "meta/tasks.parquet")
    episodes = {
        "episode_index": list(range(len(lengths))),
        "tasks": [["push the cube"]] * len(lengths),
        "length": list(lengths),
        "dataset_from_index": starts[:-1].tolist(),
        "dataset_to_index": starts[1:].tolist(),
        "data/chunk_index": [0] * len(lengths),
        "data/file_index": [0] * len(lengths),
        "stats/action/mean": [[0.0] * 3] * len(lengths),
    }
    for name, shift in cameras.items():
        if not stored:
            write_video(root / f"videos/{name}/chunk-000/file-000.mp4", numbers + shift)
            episodes |= {f"videos/{name}/{key}": [0] * len(lengths) for key in ("chunk_index", "file_index")}
            episodes[f"videos/{name}/from_timestamp"] = (starts[:-1] / FPS).tolist()
            episodes[f"videos/{name}/to_timestamp"] = (starts[1:] / FPS).tolist()
    pq.write_table(pa.table(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    kind = "image" if stored else "video"
    features = {name: {"dtype": kind, "shape": [SIDE, SIDE, 3], "names": None} for name in cameras}
    features["action"] = {"dtype": "float32", "shape": [3], "names": None}
    features["observation.state"] = {"dtype": "float32", "shape": [4], "names": None}
    info = {
        "codebase_version": version,
        "fps": FPS,
        "features": features,
        "total_episodes": len(lengths),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def write_lerobot_v2(root: Path, lengths=(23, 17), version: str = "v2.1", chunks_size: int = 1) -> Path:
    """The same dataset as `write_lerobot` in the layout of v2: a parquet file and videos for each episode."""
    import pyarrow.parquet as pq

    whole = write_lerobot(root.parent / f"{root.name}_v3", lengths)
    table = pq.read_table(whole / "data/chunk-000/file-000.parquet")
    starts = np.cumsum([0, *lengths])
    info = json.loads((whole / "meta/info.json").read_text())
    for episode, length in enumerate(lengths):
        chunk, name = f"chunk-{episode // chunks_size:03d}", f"episode_{episode:06d}"
        (root / "data" / chunk).mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(starts[episode], length), root / "data" / chunk / f"{name}.parquet")
        for camera, shift in (("observation.images.top", 0), ("observation.images.wrist", 100)):
            numbers = np.arange(length) + starts[episode] + shift
            write_video(root / "videos" / chunk / camera / f"{name}.mp4", numbers)
    (root / "meta").mkdir()
    info |= {
        "codebase_version": version,
        "chunks_size": chunks_size,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    tasks = [{"task_index": 0, "task": "push the cube"}, {"task_index": 1, "task": "open the drawer"}]
    (root / "meta/tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)) + "\n")
    episodes = [{"episode_index": i, "tasks": ["push the cube"], "length": n} for i, n in enumerate(lengths)]
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, episodes)) + "\n")
    return root


def _png(pixels: np.ndarray) -> dict:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def joints(numbers) -> np.ndarray:
    """float64 [T, 7]: positions of an arm's joints that move at every step."""
    return np.sin(np.asarray(numbers, dtype=np.float64)[:, None] / 5 + np.arange(7))


def write_libero(
    path: Path, lengths=(12, 9), instruction: str | list = "pick up the bowl", still=(), after: bool = False
) -> Path:
    """A LIBERO file; pictures are stored upside down. Steps in `still` have an action of zeros, gripper kept.

    The observation that action `n` was chosen in spells `n`. With `after`, it lies under action `n - 1`, as in LIBERO's
    own files.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": instruction})
        for demo, length in enumerate(lengths):
            numbers = np.arange(length) + 20 * demo
            actions = motion(numbers, 7)
            states = np.concatenate([numbers[:, None] * 0.05, joints(numbers), np.zeros((length, 9))], axis=1)
            numbers = numbers + after
            for step in still:
                actions[step] = [0, 0, 0, 0, 0, 0, actions[step - 1, -1] if step else -1]
            group = data.create_group(f"demo_{demo}")
            group["actions"] = actions.astype(np.float64)
            upside_down = np.stack([picture(n)[::-1, ::-1] for n in numbers])
            group["obs/agentview_rgb"] = upside_down
            group["obs/eye_in_hand_rgb"] = np.stack([picture(n + 100)[::-1, ::-1] for n in numbers])
            group["obs/ee_states"] = sensed(numbers, 6).astype(np.float64)
            group["obs/gripper_states"] = sensed(numbers, 2).astype(np.float64)
            # Sensors lag the simulator by a fraction of a step.
            group["obs/joint_states"] = joints(numbers - 0.05)
            group["states"] = states
    return path


def write_maniskill(path: Path, lengths=(11, 8, 6), control: str = "pd_ee_delta_pos", pictures: bool = True) -> Path:
    """A ManiSkill file and its JSON; the last trajectory failed, and `extra` is not in alphabetical order."""
    import h5py

    episodes = []
    with h5py.File(path, "w") as file:
        for number, length in enumerate(lengths):
            numbers = np.arange(length + 1) + 20 * number
            group = file.create_group(f"traj_{number}", track_order=True)
            group["actions"] = motion(numbers[:-1], 4)
            obs = group.create_group("obs", track_order=True)
            agent = obs.create_group("agent", track_order=True)
            agent["qpos"], agent["qvel"] = sensed(numbers, 2), sensed(numbers, 1) + 0.25
            extra = obs.create_group("extra", track_order=True)
            extra["tcp_pose"], extra["goal_pos"] = sensed(numbers, 1) + 0.5, sensed(numbers, 1) + 0.75
            extra["is_grasped"] = numbers % 2 == 0
            if pictures:
                shown = np.stack([picture(n) for n in numbers])
                sensor = obs.create_group("sensor_data", track_order=True).create_group("base_camera")
                sensor.create_dataset("rgb", data=shown, compression="gzip")
            episodes.append({"episode_id": number, "control_mode": control, "success": number + 1 < len(lengths)})
    info = {"env_id": "PickCube-v1", "env_kwargs": {"control_mode": control}}
    path.with_suffix(".json").write_text(json.dumps({"env_info": info, "episodes": episodes}))
    return path
