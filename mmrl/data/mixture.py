"""Opening datasets, and drawing from several of them by weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from mmrl.contracts.errors import BadSample, CheckpointError, UserError, first_line, unknown
from mmrl.contracts.sampler import WALKS, Pool, Sampler, Walk
from mmrl.contracts.types import Sample
from mmrl.data.ahead import ReadAhead, names_media, size_of
from mmrl.data.rows import Rows
from mmrl.data.samplers.weighted import Weighted
from mmrl.data.targets import Shape
from mmrl.recipe.data import AnyData, DataConfig, PythonData
from mmrl.recipe.importing import import_attribute, import_named
from mmrl.recipe.samplers import SamplerSettings

# type of a dataset's config -> "module:attribute", called with the config.
DATASETS = {
    "digits": "mmrl.data.digits:Digits",
    "video_digits": "mmrl.data.video_digits:VideoDigits",
    "file": "mmrl.data.readers:FileDataset",
    "jigsaw": "mmrl.data.jigsaw:Jigsaw",
    "generated": "mmrl.data.generated:open_generated",
    "python": "mmrl.data.mixture:PythonRows",
    "episodes": "mmrl.data.episodes:Episodes",
    "lerobot": "mmrl.data.robot.lerobot:LeRobotDataset",
    "libero_hdf5": "mmrl.data.robot.libero_hdf5:LiberoDemonstrations",
    "maniskill_h5": "mmrl.data.robot.maniskill_h5:ManiSkillDemonstrations",
}
REASONS_KEPT = 100

# What the policy makes of each sample's prompt, float64 [F]; None of what no prompt can be made of.
Features = Callable[[Sequence[Sample]], Sequence["np.ndarray | None"]]


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


def open_dataset(config: AnyData, shape: Shape | None = None) -> Sequence[Sample]:
    """The dataset of a config, cut to its `limit`.

    Args:
        shape: makes targets of plain answers, such as `Rewarder.target_of`; None: the reward that declares the task.

    Raises:
        UserError: it cannot be opened, or it is empty.
    """
    if config.type not in DATASETS:
        raise UserError(unknown("dataset type", config.type, DATASETS))
    rows = import_attribute(DATASETS[config.type])(config)
    if shape is not None and isinstance(rows, Rows):
        rows.shape_targets(shape)
    if getattr(config, "draw", "steps") == "episodes":
        rows = import_attribute("mmrl.data.robot.whole_episodes:WholeEpisodes")(rows)
    if len(rows) == 0:
        raise UserError(f"dataset '{config.name or config.type}' has no rows")
    rows = Head(rows, config.limit) if config.limit and config.limit < len(rows) else rows
    return Budgeted(rows, config.budgets) if config.budgets else rows


def open_mixture(
    config: DataConfig,
    seed: int = 0,
    check: Callable[[Sample, bool], object] | None = None,
    datasets: Sequence[Sequence[Sample]] | None = None,
    passed: bool = False,
    features: Features | None = None,
) -> Mixture:
    """The training mixture of a recipe.

    Args:
        config: its datasets, weights, order seed and bad-sample policy.
        seed: the recipe's seed, used where `config.seed` is unset.
        check: see `Mixture`.
        datasets: those of `config.train`, in order, where they are open already.
        passed: `datasets` stand in place of those of `config.train`, whose weights and uses are not theirs.
        features: see `Mixture`.
    """
    return Mixture(
        [open_dataset(data) for data in config.train] if datasets is None else datasets,
        None if passed else [data.weight for data in config.train],
        seed if config.seed is None else config.seed,
        on_bad=config.on_bad_sample,
        check=check,
        uses=None if passed else [data.use for data in config.train],
        make=partial(make_sampler, config.sampler),
        features=features,
    )


def make_sampler(settings: SamplerSettings, pools: Sequence[Pool], seed: int) -> Sampler:
    """The sampler of these settings. Raises UserError where the data lack what it draws by."""
    return import_named(settings.adapter)(pools, seed, settings)


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


def column_of(rows: Sequence[Sample], name: str) -> list[Any]:
    """A column of every row: of the file, or the sample's `task`, `dataset` or `id`; None where a row has none."""
    values = []
    for row in range(len(rows)):
        try:
            sample = rows[row]
        except BadSample:
            # It is told, or ends the run, when it is drawn.
            values.append(None)
            continue
        own = {"task": sample.task, "dataset": sample.dataset, "id": sample.id}
        values.append(sample.columns.get(name, own.get(name, sample.target.get(name))))
    return values


class Mixture:
    """Samples of several datasets, as a sampler draws their rows.

    Samples drawn with `demonstrations=True` come from a walk of their own, so that neither walk thins out the other.

    Args:
        datasets: not empty, each with at least one row.
        weights: relative chance of each dataset; None: equal.
        seed: of the choice of datasets and of the orders.
        on_bad: what a row that raises BadSample does: `stop` lets the error out, `skip` counts it and goes on.
        check: called with each sample before it is handed out, and with whether a reward will read it (False for
            demonstrations); may raise BadSample, e.g. after decoding its images.
        uses: per dataset `all`, `rollouts` or `demonstrations`: the draws it takes part in; None: all.
        make: makes the sampler of the datasets' pools and the seed; None: `Weighted`.
        features: gives samplers that read them what the policy makes of prompts; None: nothing does.

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
        make: Callable[[Sequence[Pool], int], Sampler] | None = None,
        features: Features | None = None,
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
        uses = ["all"] * len(datasets) if uses is None else list(uses)
        self._features = features
        pools = [
            Pool(
                getattr(rows, "name", None) or "",
                len(rows),
                weight,
                use,
                partial(column_of, rows),
                partial(self._features_of, i) if features is not None else None,
            )
            for i, (rows, weight, use) in enumerate(zip(datasets, weights, uses, strict=True))
        ]
        self.sampler: Sampler = (make or Weighted)(pools, seed)
        self.ahead: ReadAhead | None = None
        # Found by looking ahead: samples that `next` will ask for, and datasets without demonstrations.
        self._known: dict[Hashable, Sample] = {}
        self._dry: set[int] = set()

    def serve(self, datasets: Sequence[Sequence[Sample]], check: Callable[[Sample, bool], object] | None) -> None:
        """Goes on with the same rows, as other rewards read them.

        Raises:
            ValueError: datasets of other sizes.
        """
        if [len(rows) for rows in datasets] != [len(rows) for rows in self.datasets]:
            raise ValueError("a mixture goes on with datasets of the same sizes")
        if any(now is not before for now, before in zip(datasets, self.datasets)):
            self._known = {}
        self.datasets, self.check = list(datasets), check

    def _features_of(self, dataset: int, rows: Sequence[int]) -> list[np.ndarray | None]:
        """See `Pool.features`."""
        if self._features is None:
            raise ValueError("a mixture without features has no pool that gives them")
        samples: dict[int, Sample] = {}
        for row in rows:
            try:
                samples[row] = self.datasets[dataset][row]
            except BadSample:
                continue
        known = dict(zip(samples, self._features(list(samples.values())), strict=True))
        return [known.get(row) for row in rows]

    @property
    def epochs(self) -> list[float]:
        """Passes over each dataset so far, fractions included; of rollouts or demonstrations, whichever are more."""
        return list(self.sampler.epochs)

    def next(self, n: int, *, demonstrations: bool = False) -> list[Sample]:
        """The next `n` samples; with `demonstrations`, of those that carry one.

        If it raises, the mixture stays where it was before the call.

        Raises:
            BadSample: a row cannot be used and the policy is `stop`.
            UserError: no row of a dataset can be used, or none has a demonstration.
        """
        before = self.state_dict()
        try:
            return [self._pick(WALKS[demonstrations]).sample for _ in range(n)]
        except BaseException:
            self.load_state_dict(before)
            raise

    def upcoming(self, n: int, *, demonstrations: bool = False) -> list[Upcoming]:
        """What `next` is about to draw, unchecked; the mixture stays where it is.

        Rows of datasets that are `threaded` are named and not built. Others are built here and kept for `next`, unless
        they hold pictures; one that cannot be built ends the list, and `next` says why. What replaces
        rows that turn out bad later is not in the list, nor is what a sampler draws by the weights that are to come.
        """
        if not demonstrations and not getattr(self.sampler, "foresees", True):
            return []
        walk, before, coming = WALKS[demonstrations], self.state_dict(), []
        try:
            while len(coming) < n:
                coming.append(self._pick(walk, looking=True))
        except UserError:
            pass
        finally:
            self.load_state_dict(before)
        known = {key: sample for key, sample in self._known.items() if key[0] != walk}
        light = {row.key: row.sample for row in coming if row.sample is not None and not size_of(row.sample)}
        self._known = known | light
        return coming

    def _pick(self, walk: Walk, looking: bool = False) -> Upcoming:
        """The walk's next row, checked; as it is, and perhaps not built, where somebody is only `looking`."""
        index = self.sampler.choose(walk)
        if index is None:
            wanted, other = ("rollouts", "demonstrations") if walk == "all" else ("demonstrations", "rollouts")
            raise UserError(
                f"data.train: no dataset of the mixture gives {wanted}; leave out `use: {other}` of one, or choose a "
                "method that draws none"
            )
        rows, tried, bad = self.datasets[index], set(), False
        dry = looking and walk == "demonstrations" and index in self._dry
        while len(tried) < len(rows) and not dry:
            draw = self.sampler.row(walk, index)
            tried.add(draw.row)
            key = (walk, index, draw.row)
            if looking and getattr(rows, "threaded", False):
                return Upcoming(key, rows, draw.row, None)
            try:
                sample = self._sample(key, rows, draw.row, looking)
                if walk == "demonstrations" and not sample.demonstrated:
                    continue
                sample = replace(sample, epoch=draw.epoch, draw=(index, draw.row))
                if not looking:
                    self.reads_media |= names_media(sample)
                    if self.check is not None:
                        self.check(sample, walk == "all")
                return Upcoming(key, rows, draw.row, sample)
            except BadSample as error:
                if self.on_bad == "stop":
                    raise
                self._skip(error, getattr(rows, "name", None) or f"train.{index}", draw.row, looking)
                bad = True
        # A dataset without demonstrations leaves their draws once a whole pass has shown it.
        if walk == "demonstrations" and not bad and self.sampler.drop(walk, index):
            if looking:
                self._dry.add(index)
            return self._pick(walk, looking)
        kind = "usable row" if walk == "all" else "usable row with a demonstration"
        last = "".join(f"; {where}: {reason}" for where, reason in [*self.reasons.items()][-1:])
        raise UserError(f"{self._name(index)} has no {kind} among its {len(rows)}{last}")

    def _sample(self, key: Hashable, rows: Sequence[Sample], row: int, looking: bool) -> Sample:
        """Row `row`: built before, by an earlier look or in a thread, or now."""
        known = self._known.get(key) if looking else self._known.pop(key, None)
        if known is not None:
            return known
        return rows[row] if looking or self.ahead is None else self.ahead.take(key, lambda: rows[row])[0]

    def again(self, dataset: int, row: int, epoch: int) -> Sample:
        """A sample that was drawn before, as it was then; the mixture stays where it is. Raises BadSample."""
        return replace(self.datasets[dataset][row], epoch=epoch, draw=(dataset, row))

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
        """The place in every walk and dataset, as JSON-serialisable values."""
        of_mixture = {"sampler": _kind(self.sampler), "skipped": self.skipped, "reasons": dict(self.reasons)}
        return {**self.sampler.state_dict(), **of_mixture}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues exactly where `state_dict` was taken.

        Raises:
            CheckpointError: the state is of another sampler, another seed or datasets of other sizes, or none of a
                sampler.
        """
        sampler, drawn_by = _kind(self.sampler), state.get("sampler")
        if drawn_by != sampler:
            raise CheckpointError(
                f"the checkpoint's samples were drawn by {drawn_by}, and data.sampler is {sampler}; "
                "restore data.sampler, or set `resume: never` and another `name`"
            )
        try:
            self.sampler.load_state_dict(state)
            self.skipped, self.reasons = int(state["skipped"]), dict(state["reasons"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the checkpoint's place in the data is damaged: {type(error).__name__}: {first_line(error)}"
            ) from None


def _kind(sampler: Sampler) -> str:
    return f"{type(sampler).__module__}:{type(sampler).__qualname__}"
