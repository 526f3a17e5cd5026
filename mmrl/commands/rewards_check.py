"""`mmrl rewards check`: every target of a dataset, or of a recipe's datasets, against its rewards."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import vision_rewards
from mmrl.commands.parameters import read_params
from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.types import Sample
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import FileData
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.sources import SOURCES

BAD = 2
RECIPES = (".yaml", ".yml")


@dataclass
class Tally:
    """What one dataset's rows came to."""

    name: str
    rows: int = 0
    good: Counter = field(default_factory=Counter)  # task -> rows that can be scored
    bad: list[BadSample] = field(default_factory=list)
    unscored: int = 0  # episodes, which no reward reads


def check(args: Namespace) -> int:
    """Prints a tally of each dataset and names its bad rows; `BAD` if there are any."""
    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit {args.limit} is not 1 or more")
    datasets, rewards = _sources(args)
    rewarder = Rewarder(rewards)
    for name in _user_functions(rewarder):
        print(f"not checked: '{name}' is a function of yours, which has no gold answer")
    tallies = []
    for name, config in datasets:
        tallies.append(tally(name, open_dataset(config, rewarder.target_of), rewarder))
        print(_describe(tallies[-1], args.show), flush=True)
    bad, rows = (
        sum(len(counted.bad) for counted in tallies),
        sum(counted.rows - counted.unscored for counted in tallies),
    )
    print(f"{bad} of {rows} rows cannot be scored" if bad else f"all {rows} rows can be scored")
    return BAD if bad else 0


def tally(name: str, samples: Sequence[Sample], rewarder: Rewarder) -> Tally:
    """Checks each row: its target, the reward of its task, and that its gold answer scores 1.0."""
    result = Tally(name, len(samples))
    for row in range(len(samples)):
        try:
            sample = samples[row]
            if not SOURCES.get(sample.kind).rewarded:
                result.unscored += 1
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
    try:
        vision_rewards.validate(whole.for_task(sample.task), [sample.target])
    except ValueError as error:
        raise BadSample(sample.where, str(error).removeprefix("target 0: ")) from None


def _sources(args: Namespace) -> tuple[list[tuple[str, Any]], list[RewardConfig]]:
    """(name, dataset config) pairs and the rewards that read them."""
    rewards = None
    if args.reward is not None:
        rewards = [RewardConfig(name=args.reward, params=read_params(args.param))]
    elif args.param:
        raise UserError("--param needs --reward")
    if not args.source.endswith(RECIPES):
        if args.overrides:
            raise UserError(f"'{args.overrides[0]}' overrides a recipe, and '{args.source}' is a dataset")
        return [(args.source, _dataset(args))], rewards or [RewardConfig()]
    for option in ("format", "split", "task", "root"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} is for a dataset; a recipe says it of each of its own")
    recipe = load_recipe(args.source, args.overrides)
    used = [(f"train.{i}", data) for i, data in enumerate(recipe.data.train) if data.use != "demonstrations"]
    used += [(f"eval.{i}", data) for i, data in enumerate(recipe.data.eval)]
    return [(key, _cut(data, args.limit)) for key, data in used], rewards or recipe.rewards


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


def _user_functions(rewarder: Rewarder) -> list[str]:
    return [name for name, _, _, is_user in rewarder.parts if is_user]


def _describe(tally: Tally, show: int) -> str:
    lines = [f"{tally.name}: {tally.rows} rows, {len(tally.bad)} bad"]
    lines += [f"  task {task}: {count} can be scored" for task, count in sorted(tally.good.items())]
    lines += [f"  {tally.unscored} episodes, which their simulator scores"] if tally.unscored else []
    lines += [f"  bad: {error}" for error in tally.bad[:show]]
    lines += [f"  … and {len(tally.bad) - show} more"] if len(tally.bad) > show else []
    return "\n".join(lines)
