"""Held-out accuracy per task: greedy by default, sparse-to-dense over videos where the recipe says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mmrl.contracts.benchmark import Played, Scored
from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import BadSample
from mmrl.contracts.heldout import MEAN, TRUNCATED
from mmrl.contracts.policy import Policy
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Group, Sample
from mmrl.evaluation.filming import Film, Keep
from mmrl.evaluation.loss import LossSums
from mmrl.evaluation.rows import BadRows, MediaAhead, Note, batches, media_ahead
from mmrl.evaluation.sparse_to_dense import Prepare, Reading, settle
from mmrl.evaluation.sparse_to_dense import figures as dense_figures
from mmrl.evaluation.tally import Tally
from mmrl.recipe.benchmarks import BENCHMARKS, BenchmarkConfig
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import Recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import sample_each


@dataclass(frozen=True, slots=True)
class Measured:
    """What a held-out evaluation came to.

    Attributes:
        accuracy: of each task, and `mean`; see `evaluate`.
        figures: as they are logged: `eval/truncated`, and what `evaluation.sparse_to_dense` took.
        groups: what was sampled.
        loss: of held-out demonstrations; see `LossSums.figures`.
        rows: that each accuracy is over; see `Tally.rows`. Benchmarks sum up by rules of their own and are left out.
    """

    accuracy: dict[str, float]
    figures: dict[str, float]
    groups: tuple[Group, ...]
    loss: dict[str, float] = field(default_factory=dict)
    rows: dict[str, float] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, float]:
        """Accuracy and loss by name."""
        return self.accuracy | self.loss


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The held-out evaluation of a recipe, while it trains and by itself.

    Attributes:
        engine: samples the policy.
        sets: held-out sets by name.
        seed: of all sampling.
        note: takes note of bad samples that are skipped.
    """

    recipe: Recipe
    policy: Policy
    engine: Engine
    sets: Mapping[str, Sequence[Sample]]
    preparer: Preparer
    simulators: Simulators
    seed: int
    note: Note

    def run(self, stage: StageConfig, keep: Keep | None = None) -> Measured:
        """Measures the policy as it is now.

        Args:
            stage: the one that trains it, or is about to: episodes are played with its chunks of actions, unless
                `evaluation.action_chunk` says otherwise.
            keep: takes the films of `evaluation.videos`; None: none are made.
        """
        recipe, limit = self.recipe, self.recipe.evaluation_limit(stage)
        count = recipe.evaluation.videos
        measured = Measured({}, {}, ())
        if self.sets:
            measured = self._measure(
                self.sets,
                recipe.evaluation,
                self.preparer,
                chunk=recipe.evaluation_chunk(stage),
                limit=limit,
                loss=recipe.evaluation_loss,
                on_bad=recipe.data.on_bad_sample,
                controls=recipe.data.controls,
                film=Film(count, keep) if count and keep is not None else None,
            )
        groups = [*measured.groups]
        for config in recipe.evaluation.benchmarks:
            scores, asked = self._benchmark(config, limit, recipe.evaluation_chunk(stage))
            measured.accuracy.update(scores)
            groups += asked
        return replace(measured, figures=_truncated(groups) | measured.figures)

    @property
    def measures(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self.sets or self.recipe.evaluation.benchmarks)

    def _measure(
        self, sets: Mapping[str, Sequence[Sample]], config: EvalConfig, preparer: Preparer, **terms: Any
    ) -> Measured:
        data = self.recipe.data
        return evaluate(
            self.policy,
            self.engine,
            sets,
            config,
            preparer,
            self.simulators,
            seed=self.seed,
            note=self.note,
            prefetch=data.prefetch,
            prefetch_gb=data.prefetch_gb,
            budget=self.recipe.micro_tokens,
            **terms,
        )

    def _benchmark(self, config: BenchmarkConfig, limit: int, chunk: int) -> tuple[dict[str, float], tuple[Group, ...]]:
        """`<name>/<figure>` of a benchmark, and its answers.

        A row that cannot be read stops it: no figure is made of a part of one.
        """
        benchmark = BENCHMARKS.get(config.name)()
        limits = self.recipe.evaluation.model_copy(update={"limit": config.limit})
        preparer = Preparer(self.policy, Rewarder([], benchmark.score, self.preparer.rewarder.world))
        rows = {config.name: benchmark.rows(config.root)}
        own = Simulators(benchmark.simulators) if isinstance(benchmark, Played) else None
        with closing(own) if own is not None else nullcontext(self.simulators) as simulators:
            asker = replace(self, simulators=simulators)
            measured = asker._measure(rows, limits, preparer, limit=limit, chunk=chunk)
        scored = [
            Scored(group.sample, group.trajectories[0].text, group.trajectories[0].measured())
            for group in measured.groups
        ]
        figures = {f"{config.name}/{figure}": value for figure, value in benchmark.aggregate(scored).items()}
        return figures, measured.groups


def evaluate(
    policy: Policy,
    engine: Engine,
    datasets: Mapping[str, Sequence[Sample]],
    config: EvalConfig,
    preparer: Preparer,
    simulators: Simulators,
    *,
    seed: int = 0,
    chunk: int = 1,
    limit: int = SamplingConfig().max_new_tokens,
    loss: bool = False,
    budget: int = 8192,
    on_bad: str = "stop",
    controls: Collection[str] = (),
    film: Film | None = None,
    prefetch: int | None = None,
    prefetch_gb: float = 1.0,
    note: Note | None = None,
) -> Measured:
    """Accuracy of each task and their mean, each task weighing the same, with the groups behind them.

    A bad sample stops the evaluation or, with `on_bad="skip"`, is given to `note` and counts as wrong: it stays in the
    denominator of its task. The task of a row that cannot be read is the one that it names, else the only one of
    its dataset; rows whose task cannot be known so are in no figure but `unreadable`, their share of all rows, which is
    not in the mean. A task that occurs in several datasets is reported per dataset as `dataset/task`; so is every task
    of the datasets named in `controls`, which stay out of the mean. The accuracy of an episode is success at any step;
    `<task>/success_at_end`, the share in success at the last step, stands beside it and out of the mean.

    Args:
        limit: most tokens of an answer, where `config.sampling` names none.
        loss: measure demonstrations of rows that are asked, too; not those of videos read sparse to dense.
        budget: tokens per forward pass over demonstrations.
        film: films the first episodes of each dataset.
        prefetch, prefetch_gb: those of `data`; no figure depends on them.
    """
    means = Means(policy, engine, simulators, preparer.rewarder)
    terms = Terms(config.sampling.limited(limit), seed=seed, chunk=chunk)
    tally, losses = Tally(), LossSums()
    groups, settled = list[Group](), list[Reading]()
    sizes = {name: min(len(dataset), config.limit or len(dataset)) for name, dataset in datasets.items()}
    with media_ahead(policy, prefetch, prefetch_gb, config.sparse_to_dense) as ahead:
        for name, dataset in datasets.items():
            bad = BadRows(name, on_bad, note)
            for samples, coming in batches(dataset, sizes[name], config.batch_size, ahead.count, bad):
                prepare = partial(_prepare, preparer=preparer, bad=bad, ahead=ahead, coming=coming)
                learned, asked = _divide(samples, preparer.rewarder.only_learned)
                new_groups, climbed, ready = _sample(name, asked, means, terms, config, prepare, film)
                learned += [sample for sample in asked if loss and sample.learned and not sample.videos]
                shown = [item for item in prepare(learned, scored=False) if item is not None]
                shown += [item for item in ready if loss and _has_answer(item)]
                losses.add(name, policy, shown, budget, bad)
                tally.add(name, new_groups)
                settled += climbed
                groups += new_groups
            tally.add_bad(name, bad)
    accuracy = tally.accuracy(sum(sizes.values()), controls)
    accuracy |= {} if losses.units or MEAN in accuracy else {MEAN: 0.0}
    return Measured(accuracy, dense_figures(settled), tuple(groups), losses.figures(controls), tally.rows(controls))


def _has_answer(ready: Ready) -> bool:
    """Whether a row that was asked carries an answer; those of conversations are made ready anew."""
    return bool(ready.prompts and ready.sample.demonstration and not ready.sample.learned)


def _truncated(groups: Sequence[Group]) -> dict[str, float]:
    """The share of the answers that the limit of tokens cut; empty where there are none."""
    cut = [t.truncated for group in groups for t in group.trajectories if t.episode is None]
    return {TRUNCATED: sum(cut) / len(cut)} if cut else {}


def _prepare(
    samples: Sequence[Sample],
    preparer: Preparer,
    bad: BadRows,
    ahead: MediaAhead,
    coming: Sequence[Sample],
    scored: bool = True,
) -> list[Ready | None]:
    """Each sample made ready; a bad one raises or, with `skip`, gives None and leaves its task in `bad`.

    Args:
        scored: its answers will be; else it is a demonstration alone.
    """
    ready: list[Ready | None] = []
    if samples:
        ahead.want(samples, coming)
    for sample in samples:
        try:
            ready.append(preparer.make(sample, scored))
        except BadSample as error:
            if scored:
                bad.add(error, sample.row, sample.task)
            else:
                bad.add_unmeasured(error, sample.row)
            ready.append(None)
    return ready


def _divide(samples: Sequence[Sample], chosen: Callable[[Sample], bool]) -> tuple[list[Sample], list[Sample]]:
    """The samples that are chosen, and the others."""
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        parts[not chosen(sample)].append(sample)
    return parts


def _sample(
    dataset: str,
    samples: Sequence[Sample],
    means: Means,
    terms: Terms,
    config: EvalConfig,
    prepare: Prepare,
    film: Film | None,
) -> tuple[list[Group], list[Reading], list[Ready]]:
    """A group of one trajectory of each sample that can be used, what settled where the recipe says so, and the samples
    that were asked as they are."""
    dense = config.sparse_to_dense
    climbing = [s for s in samples if dense is not None and s.videos]
    ready = [item for item in prepare([s for s in samples if dense is None or not s.videos]) if item is not None]
    filmed = film.of(dataset, [item.sample for item in ready], means.simulators) if film else None
    with filmed or nullcontext(means.simulators) as worlds:
        groups = sample_each(replace(means, simulators=worlds), ready, terms)
    if dense is None or not climbing:
        return groups, [], ready
    policy, engine, rewarder = means.policy, means.engine, means.rewarder
    sampling = config.sampling.limited(terms.sampling.max_new_tokens)
    settled = settle(policy, engine, climbing, dense, sampling, prepare, rewarder, terms.seed)
    return [*groups, *(reading.outcome() for reading in settled)], settled, ready
