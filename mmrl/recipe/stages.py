"""The shorthand of a recipe: one method, or defaults of every stage, at the top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.generating import with_generating
from mmrl.recipe.methods import list_stages
from mmrl.recipe.own_sections import with_own_sections
from mmrl.recipe.reading import MOST_STAGES, STAGE_DEFAULTS, merge, validate
from mmrl.recipe.until import RoundsUntil


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the shorthand (`method`, `steps`, `optim`, … at the top) into stages.

    The top-level values are each stage's defaults. Without `stages`, a method that is itself a sequence
    (`sft_then_rl`) gives its stages, each with its share of `steps`; any other method gives one stage named after it.
    """
    result = {key: value for key, value in raw.items() if key not in STAGE_DEFAULTS}
    defaults = {key: raw[key] for key in STAGE_DEFAULTS if key in raw}
    stages = raw.get("stages")
    if stages is None and raw.get("generate") is not None:
        stages = [{"generate": result.pop("generate")}]
    if stages is None:
        if "method" not in defaults:
            return result
        method = defaults["method"]
        total = defaults.get("steps")
        plan = list_stages(method)
        if plan and isinstance(total, int):
            counts = [max(1, round(total * share)) for _, _, share in plan[:-1]]
            counts.append(max(1, total - sum(counts)))
            stages = [{"name": n, "method": m, "steps": steps} for (n, m, _), steps in zip(plan, counts)]
        else:
            stages = [{"name": str(method)}]
    result["stages"] = [
        with_own_sections(merge(_defaults_of(stage, defaults), with_generating(stage)), raw)
        for stage in _in_rounds(stages, "stages")
    ]
    for stage in result["stages"]:
        stage.setdefault("name", stage.get("method"))
    return result


def _defaults_of(stage: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's defaults that a stage reads: one that generates is not trained."""
    generates = stage.get("generate") is not None
    return {key: value for key, value in defaults.items() if not generates or key == "rollout"}


def _in_rounds(stages: Any, place: str) -> list[dict[str, Any]]:
    """The stages in the order in which they run: those of `{rounds: n, stages: […]}` n times, `<name>_1` to `<name>_n`.

    Raises:
        ConfigError: no list of mappings, other keys beside `rounds`, or rounds that have no end.
    """
    if not isinstance(stages, list) or not all(isinstance(stage, Mapping) for stage in stages):
        raise ConfigError(f"{place}: a list of mappings is needed, each with name, method and steps")
    flat: list[dict[str, Any]] = []
    for i, item in enumerate(stages):
        here = f"{place}.{i}"
        if "rounds" not in item:
            if "stages" in item:
                raise ConfigError(
                    f"{here}: stages without `rounds` would never end"
                    f"{', should no round reach until' if 'until' in item else ''}; add rounds: N, which ends them at "
                    "the latest"
                )
            flat.append(dict(item))
            continue
        inner, count = _in_rounds(item.get("stages"), f"{here}.stages"), item["rounds"]
        _check_rounds(item, inner, here)
        if len(flat) + count * len(inner) > MOST_STAGES:
            raise ConfigError(f"{here}.rounds: {count} rounds make more than {MOST_STAGES} stages; give fewer")
        loop = {"name": here, "rounds": count, "until": item["until"]} if item.get("until") is not None else None
        for number in range(1, count + 1):
            flat += [_in_round(stage, number, inner, loop) for stage in inner]
    return flat


def _check_rounds(item: Mapping[str, Any], inner: Sequence[Mapping[str, Any]], here: str) -> None:
    """Raises ConfigError where rounds have no end, nothing to do, or a figure that could not end them."""
    count, allowed = item["rounds"], ("rounds", "until", "stages")
    if unread := [key for key in item if key not in allowed]:
        raise ConfigError(
            f"{here}.{unread[0]}: unknown key '{unread[0]}' beside rounds; Allowed: {', '.join(allowed)} (a setting of "
            "all of them stands at the top of the recipe, or in each)"
        )
    if type(count) is not int or count < 1:
        raise ConfigError(f"{here}.rounds: {count!r} rounds would never end, or do nothing; give a number, 1 or more")
    if not inner:
        raise ConfigError(f"{here}.stages: rounds need at least one stage")
    if item.get("until") is None:
        return
    if not isinstance(item["until"], Mapping):
        raise ConfigError(f"{here}.until: a mapping is needed, such as {{figure: eval/mean, plateau: 0.01}}")
    until = validate(RoundsUntil, item["until"], place=f"{here}.until")
    if until.kept >= count:
        raise ConfigError(
            f"{here}.until: needs {until.kept} rounds before it can end them, and rounds is {count}, so it would never "
            "end any; give more rounds, or a smaller window"
        )
    if all(stage.get("generate") is not None for stage in inner):
        raise ConfigError(f"{here}.until: none of these stages trains, so no figure could end the rounds; leave it out")


def _in_round(
    stage: Mapping[str, Any], number: int, inner: Sequence[Mapping[str, Any]], loop: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A stage of one round, which reads what stages of the same round have generated, and starts from them."""
    result = {**stage, "name": f"{_name_of(stage)}_{number}", "round": number}
    # Rounds within a round are others in the next one.
    loops = [{**each, "name": f"{each['name']}, round {number}"} for each in stage.get("loops", [])]
    if loop is not None:
        loops = [{**loop, "round": number}, *loops]
    if loops:
        result["loops"] = loops
    names = {_name_of(each) for each in inner}
    data = stage.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("train"), list):
        train = [
            {**dataset, "stage": f"{dataset['stage']}_{number}"}
            if isinstance(dataset, Mapping) and dataset.get("type") == "generated" and dataset.get("stage") in names
            else dataset
            for dataset in data["train"]
        ]
        result["data"] = {**data, "train": train}
    start = stage.get("from")
    if isinstance(start, str):
        result["from"] = f"{start}_{number}" if start in names else start
    elif isinstance(start, Mapping):
        result["from"] = {f"{each}_{number}" if each in names else each: weight for each, weight in start.items()}
    elif isinstance(start, list):
        result["from"] = [f"{each}_{number}" if isinstance(each, str) and each in names else each for each in start]
    return result


def _name_of(stage: Mapping[str, Any]) -> Any:
    return with_generating(stage).get("name", stage.get("method"))
