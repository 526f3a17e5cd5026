"""`mmrl cache build`: every video of a dataset, or of a recipe's datasets, decoded as training reads it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mmrl.commands.cache import BAD, progress, workers
from mmrl.config import CacheConfig, FileData, PolicyConfig, Recipe, load_recipe
from mmrl.data.mixture import open_dataset
from mmrl.data.videos import VideoReader, open_cache
from mmrl.errors import BadSample, UserError
from mmrl.memory import readable
from mmrl.reading import apply_overrides, validate
from mmrl.types import Sample

RECIPES = (".yaml", ".yml")


@dataclass
class Tally:
    """What the rows came to."""

    rows: int = 0
    videos: int = 0
    broken: list[BadSample] = field(default_factory=list)


def build(args: Namespace) -> int:
    """Fills the cache; prints what was decoded, then the broken videos; `BAD` if there are any.

    Raises:
        UserError: nothing to build from, or a cache that cannot be written.
    """
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit} is not 1 or more")
    datasets, policy, config = _sources(args)
    reader = video_reader(policy)
    reader.cache = cache = open_cache(config)
    if workers(args) > 1:
        from video.reading import read

        # Several videos at once already use all cores.
        cache.decode = partial(read, threads=1)
    tally = Tally()
    for name, data in datasets:
        rows = open_dataset(data)
        fill(name, rows, reader, min(len(rows), args.limit or len(rows)), workers(args), tally)
    counts = cache.counts
    here = counts["hits"] + counts["waited"]
    print(f"{tally.rows} rows, {tally.videos} videos: {counts['decoded']} decoded, {here} already there, "
          f"{len(tally.broken)} broken")  # fmt: skip
    if counts["broken"] + counts["foreign"]:
        print(f"{counts['broken'] + counts['foreign']} damaged entries were made again")
    if counts["evicted"]:
        print(f"{counts['evicted']} entries had to go: {readable(cache.max_bytes)} do not hold all videos")
    for error in tally.broken[: args.show]:
        print(f"broken: {error}")
    if len(tally.broken) > args.show:
        print(f"… and {len(tally.broken) - args.show} more; --show names more")
    print(f"cache: {cache.root}")
    return BAD if tally.broken else 0


def fill(name: str, rows: Sequence[Sample], reader: VideoReader, count: int, threads: int, tally: Tally) -> None:
    """Reads every video of the first `count` rows through the reader's cache. Raises UserError if it cannot store."""
    from video.prefetch import Prefetcher

    def load(row: int) -> tuple[int, list[BadSample]]:
        try:
            sample = rows[row]
        except BadSample as error:
            return 0, [error]
        return len(sample.videos), broken_videos(sample, reader)

    with (
        Prefetcher(load, range(count), threads=threads, ahead=4 * threads) as results,
        progress(name, count) as advance,
    ):
        for videos, broken in results:
            tally.rows += 1
            tally.videos += videos
            tally.broken += broken
            advance(f"{tally.videos} videos, {len(tally.broken)} broken")
            if reader.cache.counts["not_stored"]:
                raise UserError(f"cache '{reader.cache.root}' cannot be written: {reader.cache.problem}")


def broken_videos(sample: Sample, reader: VideoReader) -> list[BadSample]:
    """Reads each video of a sample; the errors of those that cannot be read. Raises UserError on unusable settings."""
    errors = []
    for video in sample.videos:
        try:
            reader.read(replace(sample, videos=(video,)))
        except BadSample as error:
            if getattr(error.__cause__, "reason", None) == "bad_spec":
                raise UserError(str(error.__cause__)) from error
            errors.append(error)
    return errors


def video_reader(config: PolicyConfig) -> VideoReader:
    """A reader like the policy's own, from the checkpoint's processor alone. Raises CheckpointError."""
    from mmrl.compat import ensure_torchvision
    from mmrl.errors import CheckpointError
    from mmrl.policies.loading import checkpoint_path

    ensure_torchvision()
    from transformers import AutoVideoProcessor

    try:
        video = AutoVideoProcessor.from_pretrained(checkpoint_path(config.path))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"policy.path: '{config.path}' has no video processor: {reason}") from None
    return VideoReader(config.video, video.patch_size * video.merge_size, video.temporal_patch_size)


def _sources(args: Namespace) -> tuple[list[tuple[str, Any]], PolicyConfig, CacheConfig]:
    """(name, dataset config) pairs, the policy whose frames they become, and the cache."""
    if args.source.endswith(RECIPES):
        recipe = load_recipe(args.source, args.overrides)
        named = [(f"train.{i}", data) for i, data in enumerate(recipe.data.train)]
        named += [(f"eval.{i}", data) for i, data in enumerate(recipe.data.eval)]
        return named, _policy(args, recipe), _cache(args, recipe)
    if args.policy is None or args.folder is None:
        missing = "--policy" if args.policy is None else "--folder"
        raise UserError(f"{missing} is needed for a dataset: frames are sized for a policy and kept in a folder")
    options: Mapping[str, Any] = apply_overrides({"type": "file", "path": args.source}, args.overrides)
    data = validate(FileData, options)
    return [(data.name or args.source, data)], PolicyConfig(path=args.policy), CacheConfig(folder=args.folder)


def _policy(args: Namespace, recipe: Recipe) -> PolicyConfig:
    return recipe.policy.model_copy(update={"path": args.policy}) if args.policy else recipe.policy


def _cache(args: Namespace, recipe: Recipe) -> CacheConfig:
    given = recipe.data.cache
    if args.folder is not None:
        return given.model_copy(update={"folder": args.folder}) if given else CacheConfig(folder=args.folder)
    if given is None:
        raise UserError(f"recipe '{args.source}' has no data.cache; give --folder, or data.cache.folder=DIR")
    return given
