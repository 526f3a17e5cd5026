"""`mmrl rewards check`: every target of a dataset, or of a recipe's datasets, against its rewards."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import vision_rewards
from mmrl.commands.parameters import read_params
from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.types import Sample
from mmrl.data.alike import first_of_each
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import FileData
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.rewarding import Rewarder, target_for
from mmrl.rollouts.sources import SOURCES

BAD = 2
# Rows of each dataset that functions of one's own are called on.
TRIED_ROWS = 4
RECIPES = (".yaml", ".yml")


@dataclass
class Tally:
    """What one dataset's rows came to."""

    name: str
    rows: int = 0
    good: Counter = field(default_factory=Counter)  # task -> rows that can be scored
    bad: list[BadSample] = field(default_factory=list)
    unscored: int = 0  # episodes, which no reward reads
    learned: int = 0  # demonstrations without a target, which have a loss alone


@dataclass(frozen=True)
class Checked:
    """A dataset to be checked, and what reads it; `learnable`: its rows may be demonstrations alone."""

    name: str
    config: Any
    rewards: Sequence[RewardConfig]
    learnable: bool = False


def check(args: Namespace) -> int:
    """Prints a tally of each dataset and names its bad rows; `BAD` if there are any."""
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit} is not 1 or more")
    tallies = []
    for each in _sources(args):
        rewarder = Rewarder(each.rewards)
        rows_of = open_dataset(each.config, rewarder.target_of)
        tallies.append(tally(each.name, rows_of, rewarder, each.learnable))
        print(_describe(tallies[-1], args.show), flush=True)
        for line in _tried(rewarder, rows_of, each.learnable):
            print(line, flush=True)
    bad, rows = (
        sum(len(counted.bad) for counted in tallies),
        sum(counted.rows - counted.unscored - counted.learned for counted in tallies),
    )
    print(f"{bad} of {rows} rows cannot be scored" if bad else f"all {rows} rows can be scored")
    return BAD if bad else 0


def tally(name: str, samples: Sequence[Sample], rewarder: Rewarder, learnable: bool = False) -> Tally:
    """Checks each row: its target, the reward of its task, and that its gold answer scores 1.0.

    Args:
        learnable: rows may be demonstrations alone.
    """
    result = Tally(name, len(samples))
    for row in range(len(samples)):
        try:
            sample = samples[row]
            if not SOURCES.get(sample.kind).rewarded:
                result.unscored += 1
                continue
            if learnable and rewarder.only_learned(sample):
                result.learned += 1
                continue
            rewarder.check(sample)
            _prove(rewarder, sample)
            result.good[sample.task] += 1
        except BadSample as error:
            result.bad.append(error)
    return result


def _prove(rewarder: Rewarder, sample: Sample) -> None:
    named = [(reward, weight) for _, weight, reward, is_user in rewarder.parts if not is_user]
    if not named:
        return
    whole = vision_rewards.combine(named) if len(named) > 1 else named[0][0]
    reward = whole.for_task(sample.task)
    try:
        vision_rewards.validate(reward, [target_for(reward, sample)])
    except ValueError as error:
        raise BadSample(sample.where, str(error).removeprefix("target 0: ")) from None


def _sources(args: Namespace) -> list[Checked]:
    """The datasets and the rewards that read them."""
    rewards = None
    if args.reward is not None:
        rewards = [RewardConfig(name=args.reward, params=read_params(args.param))]
    elif args.param:
        raise UserError("--param needs --reward")
    if not args.source.endswith(RECIPES):
        if args.overrides:
            raise UserError(f"'{args.overrides[0]}' overrides a recipe, and '{args.source}' is a dataset")
        return [Checked(args.source, _dataset(args), rewards or [RewardConfig()], learnable=True)]
    for option in ("format", "split", "task", "root"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} is for a dataset; a recipe says it of each of its own")
    recipe = load_recipe(args.source, args.overrides)
    used: list[Checked] = []
    unanswered = False
    for part in recipe.apart():
        at = f"{part.stages[0].name}." if part.stages[0].own_sections else ""
        by = rewards or part.rewards
        answered = [Checked(f"{at}train.{i}", d, by) for i, d in enumerate(part.data.train) if part.rolls_out(d)]
        held_out = [Checked(f"{at}eval.{i}", d, by, learnable=True) for i, d in enumerate(part.data.eval)]
        unanswered = unanswered or len(answered) < len(part.data.train)
        for each in (*answered, *held_out):
            if not any((each.config, each.rewards) == (other.config, other.rewards) for other in used):
                used.append(each)
    if unanswered:
        print("not checked: training sets that are learned from and not answered, which no reward reads")
    return [replace(each, config=_cut(each.config, args.limit)) for each in used]


def _dataset(args: Namespace) -> FileData:
    options: Mapping[str, Any] = {
        key: getattr(args, key)
        for key in ("format", "split", "task", "root", "limit")
        if getattr(args, key) is not None
    }
    try:
        return FileData(type="file", path=args.source, **options)
    except ValueError as error:
        raise ConfigError(f"rewards check: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from None


def _cut(config: Any, limit: int | None) -> Any:
    if limit is None or (config.limit is not None and config.limit <= limit):
        return config
    return config.model_copy(update={"limit": limit})


def _tried(rewarder: Rewarder, rows: Sequence[Sample], learnable: bool) -> list[str]:
    """What functions of one's own give on the first rows that can be read; none raises or returns what is no score."""
    readable = []
    for row in range(min(TRIED_ROWS, len(rows))):
        with suppress(BadSample):
            sample = rows[row]
            if SOURCES.get(sample.kind).rewarded and not (learnable and rewarder.only_learned(sample)):
                readable.append(sample)
    given = rewarder.try_own(readable) if readable else {}
    return [
        f"  '{name}', a function of yours, gives the demonstrations or right answers of the first rows: "
        + ", ".join("None" if value is None else f"{value:g}" for value in values)
        for name, values in given.items()
    ]


def _describe(tally: Tally, show: int) -> str:
    lines = [f"{tally.name}: {tally.rows} rows, {len(tally.bad)} bad"]
    lines += [f"  task {task}: {count} can be scored" for task, count in sorted(tally.good.items())]
    lines += [f"  {tally.unscored} episodes, which their simulator scores"] if tally.unscored else []
    lines += [f"  {tally.learned} demonstrations without a target, measured by their loss"] if tally.learned else []
    faults = first_of_each(tally.bad)
    lines += [f"  bad: {line}" for line in faults[:show]]
    lines += [f"  … and {len(faults) - show} more kinds of fault"] if len(faults) > show else []
    return "\n".join(lines)
