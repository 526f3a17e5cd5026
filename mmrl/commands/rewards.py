"""`mmrl rewards`: list rewards, try one on a completion, check a dataset's targets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError

PARAM = "parameter of the reward, in YAML; may be repeated"


def add_arguments(parser: ArgumentParser) -> None:
    """The command's actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="name every reward", description="Name every reward, its tasks and use.")
    listing.set_defaults(act=list_all)

    trial = actions.add_parser("try", help="score one completion", description="Score one completion.")
    trial.add_argument("name", metavar="NAME", help="a reward")
    trial.add_argument("--completion", metavar="TEXT", help="the model's text, or @FILE")
    trial.add_argument("--target", metavar="JSON", help="the ground truth as JSON or YAML, or @FILE")
    trial.add_argument("--param", metavar="k=v", action="append", default=[], help=PARAM)
    trial.add_argument("--demo", action="store_true", help="score the reward's own examples instead")
    trial.add_argument("--draw", metavar="FILE.png", help="draw the boxes, points and polygons of target and answer")
    trial.add_argument("--image", metavar="FILE", help="what to draw them on; default: a blank page")
    trial.set_defaults(act=try_one)

    check = actions.add_parser(
        "check",
        help="prove that every target of a dataset or recipe can be scored",
        description="Prove that every target can be scored and that its gold answer scores 1.0. Exits with 2 if not.",
    )
    check.add_argument("source", metavar="DATASET_OR_RECIPE", help="a dataset's file, folder or name, or a recipe")
    check.add_argument("overrides", metavar="a.b=c", nargs="*", help="settings that replace the recipe's")
    check.add_argument("--reward", metavar="NAME", help="default: the recipe's rewards; for a dataset `route`")
    check.add_argument("--param", metavar="k=v", action="append", default=[], help=PARAM)
    check.add_argument("--format", metavar="NAME", help="the dataset's format; default: by its columns")
    check.add_argument("--split", metavar="NAME", help="the dataset's split; default: train")
    check.add_argument("--task", metavar="NAME", help="task of rows that name none")
    check.add_argument("--root", metavar="DIR", help="folder of the dataset's media paths")
    check.add_argument("--limit", metavar="N", type=int, help="check the first N rows of each dataset only")
    check.add_argument("--show", metavar="N", type=int, default=20, help="bad rows to name (default 20)")
    check.set_defaults(act=check_rows)


def run(args: Namespace) -> int:
    """Does what the action says."""
    return args.act(args)


def list_all(args: Namespace) -> int:
    """Prints one line per reward."""
    from vision_rewards import list_rewards

    specs = list_rewards()
    width = max(map(len, specs))
    for name, spec in specs.items():
        tasks = f"  tasks: {', '.join(spec.tasks)}" if spec.tasks else ""
        print(f"{name:<{width}}  {spec.summary}{tasks}")
    return 0


def check_rows(args: Namespace) -> int:
    """Prints what was checked and which rows are bad; 2 if there are any."""
    from mmrl.commands.rewards_check import check

    return check(args)


def try_one(args: Namespace) -> int:
    """Prints what one completion, or each of the reward's examples, earns and why."""
    from mmrl.commands.parameters import read_params
    from vision_rewards.registry import reward_class

    params = read_params(args.param)
    if args.demo:
        try:
            examples = reward_class(args.name).spec().examples
        except ValueError as error:
            raise UserError(str(error)) from None
        for example in examples:
            reward = build(args.name, {**example.params, **params})
            print(
                f"# {example.why}\ntarget      {json_line(example.target)}\ncompletion  {json_line(example.completion)}"
            )
            print(f"{verdict(reward, example.completion, example.target)}\n")
        return 0
    if args.completion is None or args.target is None:
        raise UserError("rewards try: give --completion and --target, or --demo")
    completion, target = read_text(args.completion, "--completion"), read_target(args.target)
    reward = build(args.name, params)
    try:
        reward.check(target)
    except ValueError as error:
        raise UserError(f"--target: {error}") from None
    print(verdict(reward, completion, target))
    if args.draw:
        from mmrl.commands.rewards_draw import draw

        print(f"drawn       {draw(Path(args.draw), args.image, target, reward(completion, target).parsed)}")
    return 0


def build(name: str, params: Mapping[str, Any]) -> Any:
    """The reward. Raises UserError."""
    from vision_rewards import get_reward

    try:
        return get_reward(name, **params)
    except ValueError as error:
        raise UserError(str(error)) from None


def verdict(reward: Any, completion: str, target: Mapping[str, Any]) -> str:
    """Score, accuracy, reason, what was read, the gold answer where there is one, and the parts, one per line."""
    result = reward(completion, target)
    lines = [("score", number(result.score))]
    if result.score is not None:
        lines.append(("accuracy", number(reward.accuracy(result))))
    gold = json_line(reward.gold(target)) if reward.proves(target) else "none"
    lines += [("reason", result.reason), ("parsed", json_line(result.parsed)), ("gold", gold)]
    lines += [(f"  {name}", number(value)) for name, value in result.parts.items()]
    width = max(10, *(len(name) for name, _ in lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def number(value: float | None) -> str:
    """Six significant digits, `none` for no number."""
    return "none" if value is None else f"{value:.6g}"


def json_line(value: Any) -> str:
    """JSON on one line of at most 300 characters."""
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


def read_text(value: str, option: str) -> str:
    """The value itself, or the text of the file after `@`. Raises UserError."""
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option}: cannot read '{value[1:]}' as text: {error}") from None


def read_target(value: str) -> Mapping[str, Any]:
    """A mapping from JSON or YAML, or from a file of it. Raises UserError."""
    from mmrl.recipe.yaml_text import parse_yaml

    target = parse_yaml(read_text(value, "--target"))
    if not isinstance(target, Mapping):
        raise UserError(f"--target is {type(target).__name__}, not a mapping, e.g. '{{\"count\": 3}}'")
    return target
