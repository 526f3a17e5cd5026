"""Reading cached frames against decoding them again, and against a float32 pickle, on one thread.

    python -m benchmarks.video_cache [--small] [--threads 1] [--media FILE] [--output FILE]

Videos are generated (640 x 360, H.264, 24 frames per second; see `benchmarks.video_files`) and read at 2 frames per
second under Qwen2.5-VL's budget: 64, 128 and 256 frames. A real one is read as well where `--media` names it. For each:

decode      `video.read` with one decoding thread: opening, decoding, resizing. `first_s` is the first of its repeats,
            which also scans the file and checks the frames for damage; a process does that once for a file.
warm        `TensorCache.get` (fingerprint, mapping, checksum over every byte), then a copy of every byte out of the
            mapping into a buffer that is there already, as a batch is assembled. The file is in the page cache.
cold        the same after the kernel dropped the file's pages. On a virtual machine the host may still have them.
float32     `torch.load(weights_only=True)` of the same frames saved by `torch.save` as float32, warm and cold; nothing
            is copied out. `float32_mapped_s` is `mmap=True` and a copy of every byte.
copy        one copy between two buffers of the frames' size: the memory bandwidth that a warm read is held against.

`value` is decode / warm, the smallest of the generated videos. Times are seconds of the clock, each the shortest of its
repeats (`first_s` and `fill_s`: the only one). `processor` has processor time, over all threads of the process:
decoders start threads of their own even where they are given one, so decoding takes more of it than the clock shows.
Sizes are bytes. `training` is described in `benchmarks.video_training`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import video_training
from benchmarks.result import give
from benchmarks.video_files import RATE, write_video
from video import Budget, Frames, Sampling, TensorCache, VideoSpec
from video.codecs import CODECS
from video.inventory import scan
from video.reading import read

FPS = 2.0
WORK = {
    "full": {"frames": (64, 128, 256), "size": (640, 360), "decodes": 3, "reads": 21},
    "small": {"frames": (8,), "size": (160, 90), "decodes": 1, "reads": 3},
}
FACTOR = 28


def main(argv: list[str] | None = None) -> None:
    """Measures and prints the result."""
    args = parse(argv)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(args, Path(folder))
    give(result, args.output)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of decoding")
    parser.add_argument("--media", help="a real video file, measured as well")
    parser.add_argument("--folder", help="where files are written; default: the system's temporary folder")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    args.work = WORK["small" if args.small else "full"]
    return args


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The result over all videos."""
    videos = {}
    for frames in args.work["frames"]:
        path = folder / f"{frames}.mp4"
        codec = write_video(path, frames / FPS, *args.work["size"], seed=frames)
        spec = VideoSpec(Sampling(fps=FPS), Budget(FACTOR))
        videos[f"{frames} frames"] = measure_video(args, folder / f"cache{frames}", path, spec) | {"codec": codec}
        print(f"{frames} frames: {videos[f'{frames} frames']['decode_over_warm']}", flush=True)
    generated = list(videos.values())
    if args.media:
        spec = VideoSpec(Sampling(frames=64), Budget(FACTOR))
        videos[Path(args.media).name] = measure_video(args, folder / "real", Path(args.media), spec)
    details = {
        "videos": videos,
        "smallest": {
            name: min(video[name] for video in generated) for name in ("float32_over_warm", "float32_over_size")
        },
        "source": f"{args.work['size'][0]} x {args.work['size'][1]}, {RATE} frames per second, read at {FPS:g}",
        "training": training(args, folder),
        "threads": args.threads,
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "versions": {name: metadata.version(name) for name in ("torch", "safetensors", "av", "xxhash")},
        "limit": limit(generated[-1]),
    }
    return {
        "name": "video_cache_warm_read_vs_decoding",
        "value": min(video["decode_over_warm"] for video in generated),
        "unit": "time of decoding / time of a warm read, the smallest of all sizes",
        "higher_is_better": True,
        "details": details,
    }


def training(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time to the first batch, and of a step, with and without the cache."""
    work, place = video_training.WORK["small" if args.small else "full"], folder / "training"
    place.mkdir()
    first_batch, step = video_training.times(place, work, args.threads)
    return {"first_batch_s": rounded_all(first_batch), "step_s": rounded_all(step), "work": work}


def measure_video(args: argparse.Namespace, folder: Path, path: Path, spec: VideoSpec) -> dict[str, Any]:
    """Times and sizes of one video."""

    def decoded() -> Frames:
        return read(str(path), spec, threads=args.threads)

    _, first, _ = timed(decoded, 1)
    frames, decode, decode_processor = timed(decoded, args.work["decodes"])
    pickle = folder / "frames.pt"
    folder.mkdir()
    torch.save({"frames": frames.pixels.float(), "timestamps": frames.timestamps}, pickle)
    buffer = torch.empty_like(frames.pixels)
    floats = torch.empty(frames.pixels.shape)
    reads = args.work["reads"]
    stored = {name: stored_as(name, folder / name, path, spec, frames, reads) for name in CODECS}

    def load(**options: Any) -> torch.Tensor:
        return torch.load(pickle, weights_only=True, **options)["frames"]

    _, float32, float32_processor = timed(load, max(3, reads // 3))
    _, mapped, _ = timed(lambda: floats.copy_(load(mmap=True)), max(3, reads // 3))
    _, copy, _ = timed(lambda: buffer.copy_(frames.pixels), reads)
    warm, nbytes = stored["none"]["warm_s"], frames.pixels.nbytes
    return {
        "frames": list(frames.pixels.shape),
        "decoder": frames.metadata.backend,
        "decode_s": rounded(decode),
        "first_s": rounded(first),
        "warm_s": warm,
        "cold_s": stored["none"]["cold_s"],
        "float32_s": rounded(float32),
        "float32_cold_s": rounded(cold(pickle, load)),
        "float32_mapped_s": rounded(mapped),
        "copy_s": rounded(copy),
        "processor": rounded_all(
            {"decode_s": decode_processor, "float32_s": float32_processor, "warm_s": stored["none"]["processor_s"]}
        ),
        "decode_over_warm": round(decode / warm, 1),
        "float32_over_warm": round(float32 / warm, 1),
        "float32_over_size": round(pickle.stat().st_size / stored["none"]["bytes"], 3),
        "warm_gb_per_s": round(nbytes / warm / 1e9, 2),
        "copy_gb_per_s": round(nbytes / copy / 1e9, 2),
        "bytes": {"source": path.stat().st_size, "uint8": nbytes, "float32": pickle.stat().st_size},
        "stored": stored,
    }


def stored_as(
    compression: str, root: Path, path: Path, spec: VideoSpec, frames: Frames, reads: int
) -> dict[str, float | int]:
    """Size of an entry and times to fill and read it."""
    cache = TensorCache(root, compression=compression)
    _, fill, _ = timed(lambda: cache.get(str(path), spec), 1)
    (entry,) = (item.path for item in scan(root) if item.kind == "entry")
    buffer = torch.empty_like(frames.pixels)

    def get() -> None:
        buffer.copy_(cache.get(str(path), spec).pixels)

    _, warm, processor = timed(get, reads)
    if CODECS[compression] is None and not torch.equal(buffer, frames.pixels):
        raise SystemExit(f"the cache's frames of {path} are not the decoded ones")
    _, read_only, _ = timed(lambda: cache.get(str(path), spec), reads)
    result = {
        "bytes": entry.stat().st_size,
        "fill_s": fill,
        "warm_s": warm,
        "processor_s": processor,
        "get_s": read_only,
        "cold_s": cold(entry, get),
    }
    return rounded_all(result)


def timed(work: Callable[[], Any], times: int) -> tuple[Any, float, float]:
    """The last result, and the shortest clock time and processor time."""
    wall, processor = [], []
    for _ in range(times):
        start, clock = time.process_time(), time.perf_counter()
        result = work()
        processor.append(time.process_time() - start)
        wall.append(time.perf_counter() - clock)
    return result, min(wall), min(processor)


def cold(path: Path, work: Callable[[], Any], times: int = 3) -> float:
    """Shortest clock time of `work` after the kernel dropped the file's pages."""
    taken = []
    for _ in range(times):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        taken.append(timed(work, 1)[1])
    return min(taken)


def rounded(value: float) -> float:
    """Four significant digits."""
    return value if isinstance(value, int) else float(f"{value:.4g}")


def rounded_all(values: dict[str, float]) -> dict[str, float]:
    """Each value rounded."""
    return {name: rounded(value) for name, value in values.items()}


def limit(video: dict[str, Any]) -> str:
    """What bounds a warm read of the longest video."""
    share = video["copy_s"] / video["warm_s"]
    checked = video["stored"]["none"]["get_s"] / video["warm_s"]
    return (
        f"A warm read moves {video['warm_gb_per_s']} GB/s, {100 * share:.0f}% of one plain copy "
        f"({video['copy_gb_per_s']} GB/s): it passes over memory twice, {100 * checked:.0f}% of its time for "
        "mapping and the checksum of every byte, the rest for the copy out. Without the copy out it runs at "
        f"{video['bytes']['uint8'] / video['stored']['none']['get_s'] / 1e9:.1f} GB/s."
    )


if __name__ == "__main__":
    main()
