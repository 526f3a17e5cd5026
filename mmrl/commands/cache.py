"""`mmrl cache`: fill a cache of decoded videos, show what it holds, check it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from mmrl.commands.cache_progress import BAD, progress, workers
from mmrl.contracts.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """The command's actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="decode every video and large picture of a dataset or recipe into a cache",
        description="Decode every video and large picture of a dataset or recipe into a cache, as training would read "
        "it. What is there already is checked and kept. Exits with 2 if some are broken.",
    )
    build.add_argument("source", metavar="DATASET_OR_RECIPE", help="a dataset's file, folder or name, or a recipe")
    build.add_argument(
        "overrides",
        metavar="a.b=c",
        nargs="*",
        help="settings of the recipe, or of the dataset (video.fps=1, root=DIR)",
    )
    build.add_argument("--folder", metavar="DIR", help="the cache; default: the recipe's data.cache.folder")
    build.add_argument("--compression", metavar="NAME", help="none, lossless or near-lossless; default: the recipe's")
    build.add_argument("--fingerprint", metavar="NAME", help="fast or full; default: the recipe's, or fast")
    build.add_argument("--max-gb", metavar="GB", type=float, help="what the cache may hold; default: the recipe's")
    build.add_argument("--policy", metavar="PATH", help="checkpoint that the frames are for; default: the recipe's")
    build.add_argument("--workers", metavar="N", type=int, default=None, help="videos at once; default: usable cores")
    build.add_argument("--limit", metavar="N", type=int, help="the first N rows of each dataset only")
    build.add_argument("--show", metavar="N", type=int, default=20, help="broken videos to name (default 20)")
    build.set_defaults(act=build_cache)

    stats = actions.add_parser("stats", help="what a cache holds", description="What a cache holds.")
    stats.add_argument("folder", metavar="DIR", help="the cache")
    stats.set_defaults(act=show_stats)

    verify = actions.add_parser(
        "verify",
        help="read and check every entry of a cache",
        description="Read and check every entry of a cache. Exits with 2 if some are broken.",
    )
    verify.add_argument("folder", metavar="DIR", help="the cache")
    verify.add_argument("--remove", action="store_true", help="remove broken entries and what dead writers left")
    verify.add_argument("--workers", metavar="N", type=int, default=None, help="entries at once; default: usable cores")
    verify.set_defaults(act=verify_entries)


def run(args: Namespace) -> int:
    """Does what the action says."""
    if getattr(args, "workers", None) is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers} is not 1 or more")
    return args.act(args)


def build_cache(args: Namespace) -> int:
    """Prints what was decoded and which videos are broken; 2 if there are any."""
    from mmrl.commands.cache_build import build

    return build(args)


def show_stats(args: Namespace) -> int:
    """Prints figures of a cache, and entries and bytes by the settings that made them."""
    import json
    from datetime import datetime

    from mmrl.trainer.memory import readable
    from video.inventory import stats

    held = stats(existing(args.folder))
    print(f"entries     {held.entries}, {readable(held.nbytes)}, {held.frames} frames")
    if held.oldest is not None and held.newest is not None:
        used = [datetime.fromtimestamp(time).isoformat(" ", "minutes") for time in (held.oldest, held.newest)]
        print(f"last used   from {used[0]} to {used[1]}")
    for name, count in sorted(held.codecs.items()):
        print(f"compression {name}: {count}")
    print(f"unfinished  {held.unfinished} files, {readable(held.unfinished_nbytes)}; {held.locks} locks")
    if held.unreadable:
        print(f"unreadable  {held.unreadable}; `mmrl cache verify {args.folder}` names them")
    for spec, (count, nbytes) in sorted(held.specs.items(), key=lambda pair: -pair[1][1]):
        print(f"settings    {count} entries, {readable(nbytes)}: {_short(json.loads(spec))}")
    return 0


def _short(spec: dict[str, Any]) -> str:
    """`a.b=c` of what a spec sets."""
    words = []
    for key, value in spec.items():
        if isinstance(value, dict):
            words += [f"{key}.{word}" for word in _short(value).split(" ") if word]
        elif value not in (None, False):
            words.append(f"{key}={str(value).replace(' ', '')}")
    return " ".join(words)


def verify_entries(args: Namespace) -> int:
    """Prints every entry that is not whole; 2 if there are any that were not removed."""
    from video.inventory import scan
    from video.prefetch import Prefetcher
    from video.verification import sweep, verify

    items = list(scan(existing(args.folder)))
    entries = [item for item in items if item.kind == "entry"]
    leftovers = [item for item in items if item.abandoned]
    broken, removed, versions = 0, 0, Counter()
    with (
        Prefetcher(
            partial(verify, remove=args.remove), entries, threads=workers(args), ahead=4 * workers(args)
        ) as results,
        progress("checking", len(entries)) as advance,
    ):
        for item, verdict in zip(entries, results, strict=True):
            versions.update(verdict.versions)
            if verdict.problem is not None:
                broken, removed = broken + 1, removed + verdict.removed
                print(f"{item.path}: {verdict.problem}{_kept(verdict)}")
            advance()
    swept = 0
    for item in leftovers if args.remove else ():
        verdict = sweep(item)
        swept += verdict.removed
        if verdict.kept:
            print(f"{item.path}: {verdict.problem}{_kept(verdict)}")
    for text, count in sorted(versions.items()):
        print(f"{count} entries were made with {text}: their pixels may differ from those decoded now")
    done = f"{removed + swept} removed" if args.remove else (
        "found; --remove removes them, and they are made again when next read"
    )  # fmt: skip
    print(f"{len(entries)} entries, {broken} broken, {len(leftovers)} files of dead writers" + (
        f"; {done}" if broken or leftovers else ""
    ))  # fmt: skip
    return BAD if broken > removed else 0


def _kept(verdict: Any) -> str:
    return f"; not removed: {verdict.kept}" if verdict.kept else ""


def existing(folder: str) -> Path:
    """The folder. Raises UserError if it is none."""
    from mmrl.contracts.errors import nearest

    path = Path(folder).expanduser()
    if not path.is_dir():
        siblings = (
            [folder_beside.name for folder_beside in path.parent.iterdir() if folder_beside.is_dir()]
            if path.parent.is_dir()
            else []
        )
        raise UserError(f"no cache folder at '{folder}'.{nearest(path.name, siblings)}")
    return path
