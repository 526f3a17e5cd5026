"""`mmrl eval --model … --tasks …`, and the words of `mmrl eval`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError
from mmrl.recipe.suite import KEYS, YAML, task_name


def run(args: Namespace) -> int:
    """Asks benchmarks, or does what the first word says."""
    if args.recipe not in WORDS:
        return ask(args)
    word = WORDS[args.recipe]
    if unread := sorted({name.replace("_", "-") for name in given_options(args)} - set(word.reads)):
        reads = " and ".join(f"--{name}" for name in word.reads)
        raise UserError(f"--{unread[0]}: `mmrl eval {args.recipe}` reads {reads or 'no options'}")
    return word.run(args)


def given_options(args: Namespace) -> list[str]:
    """Which options of `mmrl eval` stand on the command line."""
    values = {name: getattr(args, name) for name in ("checkpoint", "output", *args.of_benchmarks)}
    return [name for name, value in values.items() if value is not None and value is not False]


def ask(args: Namespace) -> int:
    """Asks a checkpoint benchmarks, and prints what each came to."""
    if args.model is None or args.tasks is None:
        raise UserError(
            f"--{'tasks' if args.model else 'model'} is needed beside --{'model' if args.model else 'tasks'}"
        )
    return _measured(args, {}, [*([args.recipe] if args.recipe else []), *args.overrides])


def read_file(path: Path) -> dict[str, Any] | None:
    """What a YAML file of an evaluation says; None of anything else. Raises ConfigError where one cannot be read."""
    from mmrl.recipe.reading import read_yaml

    if path.suffix not in YAML or not path.is_file():
        return None
    raw = read_yaml(path)
    return raw if any(key in raw for key in KEYS) else None


def ask_file(raw: Mapping[str, Any], args: Namespace) -> int:
    """Asks what a YAML file says, with the command's own settings over it."""
    return _measured(args, raw, args.overrides)


def _measured(args: Namespace, raw: Mapping[str, Any], overrides: Sequence[str]) -> int:
    if args.checkpoint is not None:
        raise UserError("--checkpoint goes with a recipe or a run; give the checkpoint's folder as --model")
    if args.scorer is not None:
        raise UserError("--scorer goes with `mmrl eval rescore`")
    from mmrl.evaluation.suite.opening import measure_suite, model_name, read_suite
    from mmrl.evaluation.suite.results import table
    from mmrl.recipe.reading import merge as merged

    given = merged(raw, _given(args))
    if "output" not in given and isinstance(given.get("model"), str):
        given["output"] = f"evaluations/{model_name(given['model'])}"
    results = measure_suite(given, overrides)
    print(table(results))
    print(f"written: {read_suite(given, overrides).output}/results.json")
    return 0


def _given(args: Namespace) -> dict[str, Any]:
    """The settings that stand on the command line."""
    tasks = [task + arm for task in _listed(args.tasks) for arm in ("", *(f"@{a}" for a in _listed(args.arms)))]
    settings: dict[str, Any] = {
        "model": args.model,
        "tasks": tasks or None,
        "output": args.output,
        "data_root": args.data_root,
        "protocol": args.protocol,
        "download": args.download or None,
        "limit": args.limit,
        "batch_size": args.batch_size,
        "samples": args.samples,
        "seed": args.seed,
        "shard": args.shard,
        "count_missing": args.count_missing or None,
        "log_samples": args.log_samples or None,
        "judge": _judge(args),
        "engine": _engine(args.engine) if args.engine else None,
        "sampling": {"max_new_tokens": args.max_new_tokens} if args.max_new_tokens else None,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _judge(args: Namespace) -> dict[str, Any] | None:
    """The settings of a judge that stand on the command line."""
    given = {"url": args.judge_url, "model": args.judge_model, "key_env": args.judge_key_env}
    return {key: value for key, value in given.items() if value is not None} or None


def _engine(named: str) -> dict[str, Any]:
    """The settings of an engine by its name, or of the server at a URL."""
    return {"name": "endpoint", "url": named} if "://" in named else {"name": named}


def _listed(names: str | None) -> list[str]:
    return [name for name in (names or "").split(",") if name]


def show(args: Namespace) -> int:
    """Prints every benchmark: rows, split, metric, licence, source, and where its media are expected."""
    from mmrl.evaluation.suite.listing import lines

    print("\n".join(lines(args.overrides)))
    return 0


def check(args: Namespace) -> int:
    """Proves that benchmarks' files are complete, and that their right answers score 1."""
    if not args.overrides:
        raise UserError("check: name the benchmarks: mmrl eval check TASK … --data-root DIR")
    from mmrl.evaluation.suite.check import check_benchmark

    for name in _known(args.overrides):
        print(check_benchmark(name, args.data_root, args.limit))
    return 0


def _known(names: list[str]) -> list[str]:
    try:
        return [task_name(name) for name in names]
    except ValueError as error:
        raise UserError(str(error)) from None


def merge(args: Namespace) -> int:
    """Puts shards together."""
    from mmrl.evaluation.suite.results import table
    from mmrl.evaluation.suite.stored import merge as merge_shards

    folders, into = _folders(args, "merge", "the shards"), _into(args, "merge")
    print(table(merge_shards(folders, into, args.data_root)))
    _say_written(into)
    return 0


def rescore(args: Namespace) -> int:
    """Scores saved answers anew."""
    from mmrl.evaluation.suite.results import table
    from mmrl.evaluation.suite.stored import rescore as rescore_answers
    from mmrl.recipe.reading import validate
    from mmrl.recipe.suite import JudgeConfig

    folders, into = _folders(args, "rescore", "the answers"), _into(args, "rescore")
    if len(folders) > 1:
        raise UserError("rescore takes one folder")
    given = _judge(args)
    judge = validate(JudgeConfig, given, place="judge") if given else None
    print(table(rescore_answers(folders[0], into, args.data_root, args.scorer, judge=judge)))
    _say_written(into)
    return 0


def _say_written(into: Path) -> None:
    for name in ("report.html", "results.json"):
        print(f"written: {into}/{name}")


def _folders(args: Namespace, word: str, what: str) -> list[Path]:
    if not args.overrides:
        raise UserError(f"{word}: name the folders of {what}: mmrl eval {word} DIR … --output OUT")
    return [Path(folder) for folder in args.overrides]


def _into(args: Namespace, word: str) -> Path:
    if args.output is None:
        raise UserError(f"{word}: --output is needed: the folder that results go to")
    return Path(args.output)


@dataclass(frozen=True)
class Word:
    """What one of the command's words does, and the options that it reads."""

    run: Callable[[Namespace], int]
    reads: tuple[str, ...] = ()


WORDS = {
    "list": Word(show),
    "check": Word(check, ("data-root", "limit")),
    "merge": Word(merge, ("output", "data-root")),
    "rescore": Word(rescore, ("output", "data-root", "scorer", "judge-url", "judge-model", "judge-key-env")),
}
