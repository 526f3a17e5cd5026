"""Opening datasets, and drawing from several of them by weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mmrl.contracts.errors import BadSample, CheckpointError, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.ahead import ReadAhead, names_media, size_of
from mmrl.data.rows import Rows
from mmrl.recipe.data import AnyData, DataConfig, PythonData
from mmrl.recipe.importing import import_attribute

# type of a dataset's config -> "module:attribute", called with the config.
DATASETS = {
    "digits": "mmrl.data.digits:Digits",
    "video_digits": "mmrl.data.video_digits:VideoDigits",
    "file": "mmrl.data.readers:FileDataset",
    "python": "mmrl.data.mixture:PythonRows",
    "episodes": "mmrl.data.episodes:Episodes",
    "lerobot": "mmrl.data.robot.lerobot:LeRobotDataset",
    "libero_hdf5": "mmrl.data.robot.libero_hdf5:LiberoDemonstrations",
    "maniskill_h5": "mmrl.data.robot.maniskill_h5:ManiSkillDemonstrations",
}
REASONS_KEPT = 100
STREAMS = ("all", "demonstrations")


class Head(Rows):
    """The first `limit` rows of a dataset."""

    def __init__(self, rows: Sequence[Sample], limit: int):
        self.rows = rows
        self.limit = limit
        self.name = getattr(rows, "name", "")
        self.threaded = getattr(rows, "threaded", False)

    def __len__(self) -> int:
        return min(len(self.rows), self.limit)

    def _row(self, row: int) -> Sample:
        return self.rows[row]


class Budgeted(Rows):
    """A dataset whose samples carry its own pixel and frame budgets."""

    def __init__(self, rows: Sequence[Sample], budgets: Mapping[str, Mapping[str, Any]]):
        self.rows, self.budgets = rows, budgets
        self.name = getattr(rows, "name", None)
        self.threaded = getattr(rows, "threaded", False)

    def __len__(self) -> int:
        return len(self.rows)

    def _row(self, row: int) -> Sample:
        return replace(self.rows[row], budgets=self.budgets)


class PythonRows(Rows):
    """A user's sequence of samples, made by `module:function`; the working folder is importable.

    Raises:
        UserError: no such module or function, parameters that it does not take, or no sequence returned.
        BadSample: on access, a row that is no `Sample`.
    """

    def __init__(self, config: PythonData):
        function = import_attribute(config.function)
        try:
            inspect.signature(function).bind(**config.params)
        except TypeError as error:
            raise UserError(f"dataset function '{config.function}': {error}") from error
        self.rows = function(**config.params)
        self.function = config.function
        self.name = config.name or config.function
        if not (hasattr(self.rows, "__len__") and hasattr(self.rows, "__getitem__")):
            raise UserError(
                f"dataset function '{config.function}' returned {type(self.rows).__name__}, not a sequence of Sample"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def _row(self, row: int) -> Sample:
        sample = self.rows[row]
        if not isinstance(sample, Sample):
            raise BadSample(f"{self.function} row {row}", f"is {type(sample).__name__}, not mmrl.Sample")
        return sample


def open_dataset(config: AnyData) -> Sequence[Sample]:
    """The dataset of a config, cut to its `limit`.

    Raises:
        UserError: it cannot be opened, or it is empty.
    """
    if config.type not in DATASETS:
        raise UserError(unknown("dataset type", config.type, DATASETS))
    rows = import_attribute(DATASETS[config.type])(config)
    if getattr(config, "draw", "steps") == "episodes":
        rows = import_attribute("mmrl.data.robot.whole_episodes:WholeEpisodes")(rows)
    if len(rows) == 0:
        raise UserError(f"dataset '{config.name or config.type}' has no rows")
    rows = Head(rows, config.limit) if config.limit and config.limit < len(rows) else rows
    return Budgeted(rows, config.budgets) if config.budgets else rows


def open_mixture(config: DataConfig, seed: int = 0, check: Callable[[Sample, bool], object] | None = None) -> Mixture:
    """The training mixture of a recipe.

    Args:
        config: its datasets, weights, order seed and bad-sample policy.
        seed: the recipe's seed, used where `config.seed` is unset.
        check: see `Mixture`.
    """
    return Mixture(
        [open_dataset(data) for data in config.train],
        [data.weight for data in config.train],
        seed if config.seed is None else config.seed,
        on_bad=config.on_bad_sample,
        check=check,
        uses=[data.use for data in config.train],
    )


@dataclass(slots=True)
class _Walk:
    """One stream's place: samples drawn, and epoch and position in each dataset."""

    drawn: int
    epochs: list[int]
    positions: list[int]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A row that is about to be drawn.

    Attributes:
        key: names it for `Mixture.ahead`.
        sample: None where building it takes long, and is done in a thread.
    """

    key: Hashable
    rows: Sequence[Sample]
    row: int
    sample: Sample | None

    def build(self) -> Sample:
        """The sample. Raises BadSample."""
        return self.rows[self.row]


@dataclass(frozen=True, slots=True)
class _Order:
    """A permutation of one dataset for one epoch of one stream."""

    epoch: int = -1
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class Mixture:
    """Draws samples from datasets by weight, and from each dataset without replacement, in a new order each epoch.

    Samples drawn with `demonstrations=True` come from a walk of their own, so that neither walk thins out the other.

    Args:
        datasets: not empty, each with at least one row.
        weights: relative chance of each dataset; None: equal.
        seed: of the choice of datasets and of the orders.
        on_bad: what a row that raises BadSample does: `stop` lets the error out, `skip` counts it and goes on.
        check: called with each sample before it is handed out, and with whether a reward will read it (False for
            demonstrations); may raise BadSample, e.g. after decoding its images.
        uses: per dataset `all`, `rollouts` or `demonstrations`: the draws it takes part in; None: all.

    Attributes:
        skipped: bad rows met so far; a row met in two epochs counts twice.
        reasons: place -> reason of the first 100 of them.
        note: called with each bad row that is skipped, the name of its dataset and its row there; these may be None.
        reads_media: rows take long to build, or samples drawn so far name videos or pictures: worth reading ahead.
        ahead: gives rows that were built ahead in threads; None: all are built when they are drawn.
    """

    def __init__(
        self,
        datasets: Sequence[Sequence[Sample]],
        weights: Sequence[float] | None = None,
        seed: int = 0,
        *,
        on_bad: Literal["stop", "skip"] = "stop",
        check: Callable[[Sample, bool], object] | None = None,
        uses: Sequence[str] | None = None,
    ):
        weights = [1.0] * len(datasets) if weights is None else list(weights)
        if not datasets or any(len(rows) == 0 for rows in datasets):
            raise UserError("a mixture needs at least one dataset, and none of them empty")
        if len(weights) != len(datasets) or not all(math.isfinite(w) and w > 0 for w in weights):
            raise UserError(
                f"a mixture needs a positive weight for each of its {len(datasets)} datasets, got {weights}"
            )
        if on_bad not in ("stop", "skip"):
            raise UserError(unknown("bad-sample policy", on_bad, ("stop", "skip")))
        self.datasets = list(datasets)
        self.seed = seed
        self.on_bad = on_bad
        self.check = check
        self.skipped = 0
        self.reasons: dict[str, str] = {}
        self.note: Callable[[BadSample, str | None, int | None], object] | None = None
        self.reads_media = any(getattr(rows, "threaded", False) for rows in datasets)
        other = {"all": "demonstrations", "demonstrations": "rollouts"}
        uses = ["all"] * len(datasets) if uses is None else list(uses)
        # A dataset without demonstrations leaves their draws once a whole pass has shown it.
        self._weights = {s: [w * (use != other[s]) for w, use in zip(weights, uses, strict=True)] for s in STREAMS}
        size = len(datasets)
        self._walks = {stream: _Walk(0, [0] * size, [0] * size) for stream in STREAMS}
        self._orders = {stream: [_Order()] * size for stream in STREAMS}
        self.ahead: ReadAhead | None = None
        # Found by looking ahead: samples that `next` will ask for, and datasets without demonstrations.
        self._known: dict[Hashable, Sample] = {}
        self._dry: set[int] = set()

    @property
    def epochs(self) -> list[float]:
        """Passes over each dataset so far, fractions included; of rollouts or demonstrations, whichever are more."""
        passes = [
            [e + p / len(d) for e, p, d in zip(walk.epochs, walk.positions, self.datasets, strict=True)]
            for walk in self._walks.values()
        ]
        return [max(pair) for pair in zip(*passes, strict=True)]

    def next(self, n: int, *, demonstrations: bool = False) -> list[Sample]:
        """The next `n` samples; with `demonstrations`, of those that carry one.

        If it raises, the mixture stays where it was before the call.

        Raises:
            BadSample: a row cannot be used and the policy is `stop`.
            UserError: no row of a dataset can be used, or none has a demonstration.
        """
        before = self.state_dict()
        try:
            return [self._pick(STREAMS[demonstrations]).sample for _ in range(n)]
        except BaseException:
            self.load_state_dict(before)
            raise

    def upcoming(self, n: int, *, demonstrations: bool = False) -> list[Upcoming]:
        """What `next` is about to draw, unchecked; the mixture stays where it is.

        Rows of datasets that are `threaded` are named and not built. Others are built here and kept for `next`, unless
        they hold pictures; one that cannot be built ends the list, and `next` says why. Of rows that turn out bad
        later, what replaces them is not in the list.
        """
        stream, before, found = STREAMS[demonstrations], self.state_dict(), []
        weights = {name: list(values) for name, values in self._weights.items()}
        try:
            while len(found) < n:
                found.append(self._pick(stream, looking=True))
        except UserError:
            pass
        finally:
            self.load_state_dict(before)
            self._weights = weights
        known = {key: sample for key, sample in self._known.items() if key[0] != stream}
        light = {one.key: one.sample for one in found if one.sample is not None and not size_of(one.sample)}
        self._known = known | light
        return found

    def _pick(self, stream: str, looking: bool = False) -> Upcoming:
        """The stream's next row, checked; as it is, and perhaps not built, where somebody is only `looking`."""
        walk = self._walks[stream]
        chance = self._rng(STREAMS.index(stream), 0, walk.drawn).random()
        weights = self._weights[stream]
        if not any(weights):
            raise UserError(f"no dataset of the mixture gives {'demonstrations' if stream != 'all' else 'rollouts'}")
        edges = np.cumsum(weights)
        index = int(np.searchsorted(edges / edges[-1], chance, side="right"))
        walk.drawn += 1
        rows, tried, bad = self.datasets[index], set(), False
        dry = looking and stream == "demonstrations" and index in self._dry
        while len(tried) < len(rows) and not dry:
            row = self._step(stream, index)
            tried.add(row)
            key = (stream, index, row)
            if looking and getattr(rows, "threaded", False):
                return Upcoming(key, rows, row, None)
            try:
                sample = self._sample(key, rows, row, looking)
                if stream == "demonstrations" and not sample.demonstrated:
                    continue
                if sample.epoch != walk.epochs[index]:
                    sample = replace(sample, epoch=walk.epochs[index])
                if not looking:
                    self.reads_media |= names_media(sample)
                    if self.check is not None:
                        self.check(sample, stream == "all")
                return Upcoming(key, rows, row, sample)
            except BadSample as error:
                if self.on_bad == "stop":
                    raise
                self._skip(error, getattr(rows, "name", None) or f"train.{index}", row, looking)
                bad = True
        if stream == "demonstrations" and not bad and sum(weight > 0 for weight in weights) > 1:
            weights[index] = 0.0
            if looking:
                self._dry.add(index)
            return self._pick(stream, looking)
        kind = "usable row" if stream == "all" else "usable row with a demonstration"
        last = "".join(f"; {where}: {reason}" for where, reason in [*self.reasons.items()][-1:])
        raise UserError(f"{self._name(index)} has no {kind} among its {len(rows)}{last}")

    def _sample(self, key: Hashable, rows: Sequence[Sample], row: int, looking: bool) -> Sample:
        """Row `row`: built before, by an earlier look or in a thread, or now."""
        known = self._known.get(key) if looking else self._known.pop(key, None)
        if known is not None:
            return known
        return rows[row] if looking or self.ahead is None else self.ahead.take(key, lambda: rows[row])[0]

    def _step(self, stream: str, index: int) -> int:
        """The dataset's next row in the stream's order."""
        walk, size = self._walks[stream], len(self.datasets[index])
        if walk.positions[index] == size:
            walk.epochs[index] += 1
            walk.positions[index] = 0
        order, epoch = self._orders[stream][index], walk.epochs[index]
        if order.epoch != epoch:
            rows = self._rng(STREAMS.index(stream), 1 + index, epoch).permutation(size)
            order = self._orders[stream][index] = _Order(epoch, rows)
        walk.positions[index] += 1
        return int(order.rows[walk.positions[index] - 1])

    def _rng(self, *key: int) -> np.random.Generator:
        entropy = (abs(self.seed), int(self.seed < 0), *key)
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))

    def reject(self, error: BadSample) -> None:
        """Takes note of a sample found bad after it was handed out. Raises it where the policy is `stop`."""
        if self.on_bad == "stop":
            raise error
        self._skip(error)

    def _skip(
        self, error: BadSample, dataset: str | None = None, row: int | None = None, looking: bool = False
    ) -> None:
        if self.note is not None and not looking:
            self.note(error, dataset, row)
        self.skipped += 1
        if len(self.reasons) < REASONS_KEPT:
            self.reasons.setdefault(error.where, error.reason)

    def _name(self, index: int) -> str:
        name = getattr(self.datasets[index], "name", None)
        return f"dataset '{name}'" if name else f"dataset {index}"

    def state_dict(self) -> dict[str, Any]:
        """The place in every stream and dataset, as JSON-serialisable values."""
        walks = {
            stream: {"drawn": walk.drawn, "epochs": list(walk.epochs), "positions": list(walk.positions)}
            for stream, walk in self._walks.items()
        }
        sizes = [len(rows) for rows in self.datasets]
        return {
            "seed": self.seed,
            "sizes": sizes,
            "walks": walks,
            "weights": {stream: list(weights) for stream, weights in self._weights.items()},
            "skipped": self.skipped,
            "reasons": dict(self.reasons),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state_dict` was taken.

        Raises:
            CheckpointError: the state is of another seed or of datasets of other sizes.
        """
        sizes = [len(rows) for rows in self.datasets]
        for key, now in (("sizes", sizes), ("seed", self.seed)):
            if state.get(key) != now:
                raise CheckpointError(f"the checkpoint's data has {key} {state.get(key)}, and this run's has {now}")
        self._walks = {
            stream: _Walk(walk["drawn"], list(walk["epochs"]), list(walk["positions"]))
            for stream, walk in state["walks"].items()
        }
        # Which datasets proved dry is part of the place; the weights themselves may have been changed in the recipe.
        for stream, weights in state["weights"].items():
            self._weights[stream] = [now if then else 0.0 for now, then in zip(self._weights[stream], weights)]
        self.skipped = state["skipped"]
        self.reasons = dict(state["reasons"])
