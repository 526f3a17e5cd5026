"""`mmrl cache build`: every video and large picture of a dataset, or of a recipe's datasets, as training reads it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmrl.commands.cache_progress import BAD, progress, workers
from mmrl.contracts.errors import BadSample, CheckpointError, UserError, first_line
from mmrl.contracts.types import Sample
from mmrl.data.media_reader import MediaReader, image_budget, open_cache
from mmrl.data.mixture import open_dataset
from mmrl.data.targets import Shape
from mmrl.evaluation.sparse_to_dense import at_frames
from mmrl.recipe.data import CacheConfig, FileData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.policy import PolicyConfig, Sighted
from mmrl.recipe.reading import apply_overrides, validate
from mmrl.recipe.schema import Recipe, load_recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.trainer.memory import readable

RECIPES = (".yaml", ".yml")


@dataclass
class Tally:
    """What the rows came to."""

    rows: int = 0
    videos: int = 0
    pictures: int = 0
    broken: list[BadSample] = field(default_factory=list)


def build(args: Namespace) -> int:
    """Fills the cache; prints what was decoded, then what is broken; `BAD` if there is any.

    Raises:
        UserError: nothing to build from, or a cache that cannot be written.
    """
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit} is not 1 or more")
    datasets, policy, config, shape = _sources(args)
    media = policy_media(policy)
    media.reader.cache = cache = open_cache(config)
    if workers(args) > 1:
        from video.cache import decode_source

        # Several videos at once already use all cores.
        cache.decode = partial(decode_source, threads=1)
    tally = Tally()
    for name, data, levels in datasets:
        media.reader.check(f"{name}: video", data.budgets.get("video", {}))
        rows = open_dataset(data, shape)
        media = replace(media, levels=levels)
        fill(name, rows, media, min(len(rows), args.limit or len(rows)), workers(args), tally)
    from video.verification import remove_abandoned

    remove_abandoned(cache.root)
    counts = cache.counts
    here = counts["hits"] + counts["waited"]
    pictures = f", {tally.pictures} large pictures" if tally.pictures else ""
    print(f"{tally.rows} rows, {tally.videos} videos{pictures}: {counts['decoded']} decoded, {here} already there, "
          f"{len(tally.broken)} broken")  # fmt: skip
    if counts["broken"] + counts["foreign"]:
        print(f"{counts['broken'] + counts['foreign']} damaged entries were made again")
    if counts["evicted"]:
        print(f"had to go for want of room: {counts['evicted']} (the cache may hold {readable(cache.max_bytes)})")
    for error in tally.broken[: args.show]:
        print(f"broken: {error}")
    if len(tally.broken) > args.show:
        print(f"… and {len(tally.broken) - args.show} more; --show names more")
    print(f"cache: {cache.root}")
    return BAD if tally.broken else 0


def fill(name: str, rows: Sequence[Sample], media: PolicyMedia, count: int, threads: int, tally: Tally) -> None:
    """Reads the media of the first `count` rows through the reader's cache. Raises UserError if it cannot store."""
    from video.prefetch import Prefetcher

    cache = media.reader.cache

    def load(row: int) -> Tally:
        try:
            return read_media(rows[row], media)
        except BadSample as error:
            return Tally(broken=[error])

    with (
        Prefetcher(load, range(count), threads=threads, ahead=4 * threads) as results,
        progress(Path(name).name, count) as advance,
    ):
        for counted in results:
            tally.rows += 1
            tally.videos += counted.videos
            tally.pictures += counted.pictures
            tally.broken += counted.broken
            advance(f"{tally.videos} videos, {len(tally.broken)} broken")
            if cache.counts["not_stored"]:
                raise UserError(f"cache '{cache.root}' cannot be written: {cache.problem}")


def read_media(sample: Sample, media: PolicyMedia) -> Tally:
    """Reads each video and large picture of a sample. Raises UserError on unusable settings."""
    tally = Tally(videos=len(sample.videos))
    jobs = [partial(_read_video, media, replace(sample, videos=(video,))) for video in sample.videos]
    jobs += [partial(_read_picture, media, sample, source, tally) for source in sample.images]
    for job in jobs:
        try:
            job()
        except BadSample as error:
            tally.broken.append(error)
    return tally


def _read_video(media: PolicyMedia, sample: Sample) -> None:
    for reading in [at_frames(sample, count) for count in media.levels] or [sample]:
        media.reader.read(reading)


def _read_picture(media: PolicyMedia, sample: Sample, source: Any, tally: Tally) -> None:
    size = image_budget(media.reader.image_size, sample)
    picture = media.reader.picture(source, sample, size["shortest_edge"], size["longest_edge"])
    tally.pictures += picture is not None


@dataclass(frozen=True)
class PolicyMedia:
    """How a policy reads videos and pictures.

    Attributes:
        levels: frames at which evaluation reads a video, one after another; none: as the policy does.
    """

    reader: MediaReader
    levels: Sequence[int] = ()


def policy_media(config: PolicyConfig) -> PolicyMedia:
    """A reader like the policy's own, from the checkpoint's processors alone.

    Raises:
        UserError: a policy that reads no videos.
        CheckpointError: a checkpoint that is not there, or without a video processor.
    """
    if not isinstance(config, Sighted):
        raise UserError(f"policy.type '{config.type}' reads no videos, so there is nothing to decode for it")
    from mmrl.policies.compat import ensure_torchvision
    from mmrl.policies.loading import checkpoint_path

    ensure_torchvision()
    from transformers import AutoImageProcessor, AutoVideoProcessor

    source = checkpoint_path(config.path, config.type)
    try:
        video = AutoVideoProcessor.from_pretrained(source, trust_remote_code=False)
        size = AutoImageProcessor.from_pretrained(source, trust_remote_code=False).size
    # Files of anybody's, see `mmrl.policies.loading.load_errors`.
    except Exception as error:
        raise CheckpointError(f"policy.path: '{config.path}' has no video processor: {first_line(error)}") from None
    image = config.image
    low, high = image.min_pixels or size["shortest_edge"], image.max_pixels or size["longest_edge"]
    bounds = {"shortest_edge": low, "longest_edge": high, "total_pixels": image.total_pixels}
    return PolicyMedia(
        MediaReader(config.video, video.patch_size * video.merge_size, video.temporal_patch_size, bounds)
    )


def _sources(
    args: Namespace,
) -> tuple[list[tuple[str, Any, Sequence[int]]], PolicyConfig, CacheConfig, Shape | None]:
    """Name, config and levels of each dataset, the policy it is for, the cache, and what shapes plain answers."""
    if args.source.endswith(RECIPES):
        recipe = load_recipe(args.source, args.overrides)
        named: dict[str, tuple[str, Any, Sequence[int]]] = {}
        for part in recipe.apart():
            dense = part.evaluation.sparse_to_dense
            levels = dense.levels if dense is not None else ()
            at = f"{part.stages[0].name}." if part.stages[0].data is not None else ""
            both = [(f"{at}train.{i}", data, ()) for i, data in enumerate(part.data.train)]
            both += [(f"{at}eval.{i}", data, levels) for i, data in enumerate(part.data.eval)]
            for entry in both:
                # Stages share what they leave out.
                named.setdefault(repr(entry[1:]), entry)
        return [*named.values()], _policy(args, recipe), _cache(args, recipe), Rewarder(recipe.rewards).target_of
    if args.policy is None or args.folder is None:
        missing = "--policy" if args.policy is None else "--folder"
        raise UserError(f"{missing} is needed for a dataset: frames are sized for a policy and kept in a folder")
    options: Mapping[str, Any] = apply_overrides({"type": "file", "path": args.source}, args.overrides)
    data = validate(FileData, options)
    return [(data.name or args.source, data, ())], policy_settings(path=args.policy), _configured(args, {}), None


def _policy(args: Namespace, recipe: Recipe) -> PolicyConfig:
    return recipe.policy.model_copy(update={"path": args.policy}) if args.policy else recipe.policy


def _cache(args: Namespace, recipe: Recipe) -> CacheConfig:
    if recipe.data.cache is None and args.folder is None:
        raise UserError(f"recipe '{args.source}' has no data.cache; give --folder, or data.cache.folder=DIR")
    return _configured(args, recipe.data.cache.model_dump() if recipe.data.cache else {})


def _configured(args: Namespace, of_recipe: Mapping[str, Any]) -> CacheConfig:
    """The cache's settings, those of the command line over the given ones."""
    asked = {name: getattr(args, name) for name in ("folder", "compression", "fingerprint", "max_gb")}
    return validate(CacheConfig, {**of_recipe, **{name: value for name, value in asked.items() if value is not None}})
