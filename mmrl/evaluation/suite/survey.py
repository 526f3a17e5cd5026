"""A benchmark's rows, looked through before anything is asked: are they whole, and which rows are they?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrl.contracts.benchmark import Benchmark, Described
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data.media import resolve_media
from mmrl.evaluation.benchmarks.files import picture_key


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look at the rows gave.

    Attributes:
        count: rows.
        digest: of their questions, targets and the names of their media, or those that they hold themselves.
        missing: row -> why a picture or video of it cannot be opened, in order.
    """

    count: int
    digest: str
    missing: Mapping[int, str]


def survey(name: str, benchmark: Benchmark, rows: Sequence[Sample], limit: int | None = None) -> Survey:
    """Looks through the first rows of a benchmark.

    Raises:
        UserError: no rows, one that cannot be read, or one whose right answer the benchmark's own metric refuses.
    """
    count = min(len(rows), limit or len(rows))
    if not count:
        raise UserError(f"benchmark '{name}' has no rows")
    digest, missing = hashlib.sha256(), dict[int, str]()
    for i in range(count):
        try:
            sample = rows[i]
        except BadSample as error:
            raise UserError(f"benchmark '{name}': {error}") from None
        if isinstance(benchmark, Described):
            check_gold(name, benchmark, sample)
        digest.update(_asked(sample))
        if problem := _missing(sample):
            missing[i] = problem
    return Survey(count, digest.hexdigest()[:16], missing)


def check_gold(name: str, benchmark: Described, sample: Sample) -> None:
    """Raises UserError where a benchmark's metric refuses what a row holds for right."""
    try:
        benchmark.gold(sample)
    except ValueError as error:
        raise UserError(f"benchmark '{name}': {sample.where}: its metric refuses the right answer: {error}") from None


def refuse_missing(name: str, benchmark: Benchmark, found: Survey) -> None:
    """Raises UserError where media are missing: how many rows, the first, and where they come from."""
    if not found.missing:
        return
    first = next(iter(found.missing.values()))
    source = ""
    if isinstance(benchmark, Described):
        source = f"; they are expected at {benchmark.facts.media}, from {benchmark.facts.source}"
    raise UserError(
        f"benchmark '{name}': media of {len(found.missing)} of {found.count} rows are missing, first: {first}{source}; "
        "--count-missing counts such rows as wrong"
    )


def media_names(sample: Sample) -> list[Any]:
    """Paths of a sample's media, or what stands for those that it holds itself."""
    return [_name(item) for item in (*sample.images, *sample.videos)]


def _name(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {key: _name(value) if key == "path" else value for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_name(part) for part in item]
    return picture_key(item)


def _asked(sample: Sample) -> bytes:
    # Files that are rendered into the user's own cache have another folder everywhere.
    names = [str(name).rpartition("/")[2] for name in media_names(sample)]
    asked = [list(map(dict, sample.messages)), dict(sample.target), names, sample.simulator, sample.episode]
    return json.dumps(asked, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n"


def _missing(sample: Sample) -> str | None:
    for item in (*sample.images, *sample.videos):
        path = item.get("path") if isinstance(item, Mapping) else item
        if not isinstance(path, str):
            continue
        try:
            resolve_media(path, sample.root, sample.where, folders=True)
        except BadSample as error:
            return f"{error.where}: {error.reason}"
    return None
