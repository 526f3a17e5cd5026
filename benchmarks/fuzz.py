"""Whether any of a million texts makes a reward or a parser raise, leave [0, 1], or take long.

    python -m benchmarks.fuzz [--count N] [--seed S] [--output FILE]

Every input is one text, or one recipe, that is read once: by a registered reward with the parameters and the target of
one of its examples, by a parser of `vision_rewards`, or by the reader of recipes. Texts are fragments of every
notation, the rewards' own right and wrong answers cut, joined, edited and repeated, letters of all kinds, and, once in
2,000 (for `math` once in 20), the long and deep texts of `tests/support/rewards.py`. Input number i of a seed is the
same in every run, so a failure is repeated by `--seed S --only i`.

An input fails where

- something is raised, but `ConfigError` in one line for a recipe;
- a score, or its accuracy, is neither None nor in [0, 1], or a part is not finite;
- it took more than 1 second of this process's time, or, where it waits for other processes (`math` has one second of
  processor time in them, and five by the clock; one that is killed is started anew), 60 seconds by the clock.

`value` is the number of inputs that failed; `details` has the slowest of each kind.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.edits import spliced
from benchmarks.result import give
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.yaml_text import parse_yaml
from tests.support.rewards import NAMES, examples, hostile_answers, hostile_completions, wrapped
from vision_rewards import parsers, pool

PROCESSOR_SECONDS, CLOCK_SECONDS = 1.0, 60.0
SHOWN = 20
# Shares of the inputs, in 10,000; the rewards that wait for processes get the fewest.
SHARES = {"reward": 6200, "parser": 3688, "recipe": 100, "math": 10, "chart_to_code": 2}
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Between blanks.
NOTATIONS = (
    "<think> </think> <answer> </answer> \\boxed{ } [ ] ( ) { } , . : ; - 1 0 10 1e9 NaN Infinity A B (A) B. yes no "
    'hundred Answer: {"bbox_2d": [0,0,5,5] "label" "point_2d": [3,4] "x" ```json ``` % ² ½ \u200b \ud83d $ 1/3 = ^ _ ! '
    "\\frac{1}{2} \\sqrt 9^9^9^9 10^{10^{10}} x^2 2**2**2 (1,2) \\{1,2\\} \\le <table> <tr> <td> </td> </tr> </table> "
    "<point> from to 00:12 12.5 seconds frame click(1,2) 答案是 三 - * # | \n \t import plt def while True:"
)
FRAGMENTS = NOTATIONS.split(" ")
RECIPE_BITS = (
    *("? [a]\n: b", "2001-99-99", "!!float ", '"\\ud800"', "[" * 60, "9" * 5000, "<<: *b", "&a [*a]", "null", "{}"),
    *("-1", ".nan", "1e999", "*x", "- ", '"', "\x00", "1:2:3", "!!python/name:os.system", "? ", "{", "}", ":", "\t"),
)
PARSERS: dict[str, Callable[[str], Any]] = {
    **{
        name: getattr(parsers, name)
        for name in (
            *("all_boxed", "as_set", "bare", "bracket_kind", "canonical_answer", "closes_at_end", "collapse_spaces"),
            *("extract_thinking", "frame_number", "is_bare_number", "latex_tokens", "normalize_label"),
            *("parse_box_lmms_eval", "parse_boxes", "parse_boxes_lenient", "parse_choice_lmms_eval"),
            *("parse_choice_videomme", "parse_interval_lmms_eval", "parse_intervals", "parse_items", "parse_json"),
            *("parse_labelled_boxes", "parse_math_number", "parse_number", "parse_point_vlmevalkit", "parse_points"),
            *("parse_table", "parse_timestamp", "parse_track", "parse_word_vsibench", "parse_yes_no", "peel"),
            *("parse_yes_no_lmms_eval", "parse_yes_no_vlmevalkit", "says_none", "skip_article", "solutions"),
            *("split_pieces", "split_words", "stated_conclusions", "statements", "strip_math", "words_of"),
        )
    },
    **{f"extract_answer {mode}": partial(parsers.extract_answer, mode=mode) for mode in parsers.EXTRACT_MODES},
    **{f"parse_action {space}": partial(parsers.parse_action, space=space) for space in parsers.ACTION_SPACES},
    "label_forms": lambda text: parsers.label_forms(text, True),
    "parse_choice": lambda text: parsers.parse_choice(text, {"A": "a cat", "B": "two dogs"}),
    "parse_choices": lambda text: parsers.parse_choices(text, {"A": "a cat", "B": "two dogs"}),
    "parse_choice_vlmevalkit": lambda text: parsers.parse_choice_vlmevalkit(text, {"A": "a cat", "B": "two dogs"}),
    "parse_distinct": lambda text: parsers.parse_distinct(text, parsers.parse_number),
    "parse_mask": lambda text: parsers.parse_mask(text, (20, 30)),
    "parse_number percent": lambda text: parsers.parse_number(text, percent=True, units=True),
    "readings": lambda text: list(parsers.readings(text)),
    "same_label": lambda text: parsers.same_label(text, ["cat", "two dogs"], articles=True),
    "unevaluated": lambda text: parsers.unevaluated(text, "x^2"),
    "unreduced_root": lambda text: parsers.unreduced_root(text, "2"),
}


class Wrong(Exception):
    """A reading that breaks what is promised."""


@dataclass(frozen=True)
class Subject:
    """What reads a text, the texts that it knows, and texts that mean it harm."""

    name: str
    read: Callable[[str], Any]
    own: tuple[str, ...] = ()
    hostile: Callable[[], list[str]] = list
    waits: bool = False


def score(reward: Any, target: Any, text: str) -> None:
    """Scores one text. Raises Wrong where the result is not one that a reward may give."""
    result = reward(text, target)
    if any(value is not None and not math.isfinite(value) for value in result.parts.values()):
        raise Wrong(f"parts {result.parts}")
    if result.score is None:
        return
    accuracy = reward.accuracy(result)
    if not (0 <= result.score <= 1 and 0 <= accuracy <= 1):
        raise Wrong(f"score {result.score}, accuracy {accuracy}")


def read_recipe(text: str) -> None:
    """Reads one recipe's text. Raises Wrong where a refusal is not one short line."""
    try:
        parse_yaml(text)
    except ConfigError as error:
        line = str(error)
        if not line or "\n" in line or len(line) > 1000:
            raise Wrong(f"a refusal of {len(line)} letters, {line.count(chr(10)) + 1} lines") from None


def subjects() -> dict[str, list[Subject]]:
    """All that is read by, by kind: the keys of `SHARES`."""
    kinds: dict[str, list[Subject]] = {kind: [] for kind in SHARES}
    for name in NAMES:
        cases = examples(name)
        own = tuple(text for reward, case in cases for text in (case.completion, reward.gold(case.target)))
        for index, (reward, case) in enumerate(cases):
            harm = partial(harmful, reward.gold(case.target))
            read = partial(score, reward, case.target)
            kinds[name if name in SHARES else "reward"].append(
                Subject(f"{name} {index}", read, own, harm, bool(reward.waits))
            )
    kinds["parser"] = [Subject(name, read, hostile=partial(harmful, None)) for name, read in PARSERS.items()]
    recipes = tuple(path.read_text() for path in sorted(CONFIGS.rglob("*.yaml")))
    kinds["recipe"] = [Subject("recipe", read_recipe, recipes)]
    return kinds


def harmful(gold: str | None) -> list[str]:
    """Texts that mean harm to the reward of a right answer, or, without one, to a parser."""
    texts = [text for answer in hostile_answers(gold or "12") for text in wrapped(answer)]
    # A parser reads what `extract_answer` lets through, which is this long at most.
    return [text[: parsers.MAX_ANSWER] for text in texts] if gold is None else texts + hostile_completions(gold)


class Writer:
    """Draws the inputs of a seed."""

    def __init__(self, seed: int):
        self.seed = seed
        self.subjects = subjects()
        self.pool = sorted({text for kind in self.subjects.values() for one in kind for text in one.own})

    def draw(self, index: int) -> tuple[Subject, str]:
        """Input `index`: who reads it, and the text."""
        source = random.Random(self.seed * 1_000_003 + index)
        kind = source.choices(list(SHARES), list(SHARES.values()))[0]
        subject = source.choice(self.subjects[kind])
        if kind == "recipe":
            return subject, self._recipe(source, subject)
        if source.randrange(20 if kind == "math" else 2000) == 0:
            return subject, source.choice(subject.hostile())
        return subject, self._text(source, subject)

    def _recipe(self, source: random.Random, subject: Subject) -> str:
        text = source.choice(subject.own)
        start = source.randrange(len(text))
        text = text[start : start + 400]
        for _ in range(source.randrange(1, 4)):
            text = spliced(source, text, RECIPE_BITS, (0, 0, 1, 3, 10, 40))
        return text

    def _text(self, source: random.Random, subject: Subject) -> str:
        own = source.choice(subject.own or self.pool)
        way = source.randrange(8)
        if way == 0:
            return "".join(map(chr, source.choices(range(32, 0x2FFF), k=source.randrange(40))))
        if way == 1:
            return "".join(chr(source.randrange(0x110000)) for _ in range(source.randrange(20)))
        if way == 2:
            return source.choice(("", " ")).join(source.choices(FRAGMENTS, k=source.randrange(1, 30)))
        if way == 3:
            return source.choice((" ", "\n", ", ")).join((own, source.choice(self.pool), own)[: source.randrange(2, 4)])
        if way == 4:
            return own * source.randrange(1, 6)
        for _ in range(source.randrange(1, 4)):
            own = spliced(source, own, FRAGMENTS, (0, 0, 1, 2, 5, 20))
        return own if way < 7 else f"<think>{source.choice(FRAGMENTS)}</think>{own}"


def outcome(subject: Subject, text: str) -> str:
    """Reads a text once: what went wrong, or nothing."""
    try:
        subject.read(text)
    except Wrong as error:
        return str(error)
    except Exception as error:
        return f"raised {type(error).__name__}: {str(error)[:200]}"
    return ""


def attempt(subject: Subject, text: str) -> tuple[str, float, float]:
    """Reads a text once: what went wrong, or nothing, seconds of this process, and seconds by the clock."""
    began = time.perf_counter()
    failure = outcome(subject, text)
    clock = used = time.perf_counter() - began
    if clock > PROCESSOR_SECONDS:
        # Asking for the processor's time costs more than most texts, so it is asked for where it may be too long alone.
        processor = time.process_time()
        outcome(subject, text)
        used = time.process_time() - processor
    if not failure and (used > PROCESSOR_SECONDS or (subject.waits and clock > CLOCK_SECONDS)):
        failure = f"took {used:.2f} s of its process, {clock:.2f} s by the clock"
    return failure, used, clock


def fuzz(writer: Writer, indices: range, show: Callable[[str], None] = print) -> dict[str, Any]:
    """Reads the inputs of these indices; the result without the name."""
    failures: Counter[str] = Counter()
    inputs: Counter[str] = Counter()
    slowest: dict[str, tuple[float, float, str]] = {}
    for index in indices:
        subject, text = writer.draw(index)
        failure, used, clock = attempt(subject, text)
        name = subject.name.rpartition(" ")[0] or subject.name
        inputs[name] += 1
        slowest[name] = max(slowest.get(name, (0.0, 0.0, "")), (clock, used, text[:40]))
        if inputs.total() % 50_000 == 0:
            show(f"{inputs.total():,} inputs, {failures.total()} failures")
        if failure:
            failures[name] += 1
            if failures.total() <= SHOWN:
                show(f"--seed {writer.seed} --only {index}: {subject.name}: {failure}: {text[:120]!r}")
    worst = sorted(slowest, key=slowest.__getitem__, reverse=True)[:8]
    return {
        "failed": dict(failures),
        "inputs": inputs.total(),
        "readers": len(inputs),
        "seconds_allowed": {"processor": PROCESSOR_SECONDS, "clock": CLOCK_SECONDS},
        "slowest_by_clock": {
            name: {"clock": round(slowest[name][0], 3), "processor": round(slowest[name][1], 3)} for name in worst
        },
        "most_processor_seconds": round(max(used for _, used, _ in slowest.values()), 3),
        "math_inputs": inputs["math"],
        "math_slowest_by_clock": round(slowest.get("math", (0.0,))[0], 3),
    }


def main(argv: list[str] | None = None) -> None:
    """Reads the inputs and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this input alone, shown whole")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    args = parser.parse_args(argv)
    pool.set_workers(1)
    writer = Writer(args.seed)
    if args.only is not None:
        subject, text = writer.draw(args.only)
        print(subject.name, json.dumps(text))
    for kind in ("math", "chart_to_code"):
        # What rewards import late, and the start of their processes, are no answer's time.
        for subject in writer.subjects[kind]:
            subject.read(subject.own[0])
    began = time.perf_counter()
    details = fuzz(writer, range(args.count) if args.only is None else range(args.only, args.only + 1))
    details = {**details, "seed": args.seed, "minutes": round((time.perf_counter() - began) / 60, 1)}
    result = {
        "name": "fuzz",
        "value": sum(details["failed"].values()),
        "unit": f"failures in {details['inputs']:,} inputs",
        "higher_is_better": False,
        "details": details,
    }
    give(result, args.output)


if __name__ == "__main__":
    main()
