"""Every registered reward with its own examples, and texts meant to do harm."""

from __future__ import annotations

import json
import re

from vision_rewards import Example, Reward, get_reward, list_rewards
from vision_rewards.registry import reward_class


def grade(messages: list[dict[str, str]]) -> str:
    """A judge that finds every answer wrong."""
    return '{"reason": "not the reference", "grade": 0}'


def grade_each(messages: list[dict[str, str]]) -> str:
    """A judge that finds no criterion met."""
    criteria = re.findall(
        r"^[0-9]+\. ", messages[1]["content"].split("How to grade:")[1].split("Answer to grade")[0], re.M
    )
    return json.dumps({"reason": "nothing of it", "grades": [0] * len(criteria)})


# What a reward needs to run here, beyond its examples' own parameters.
PARAMS = {
    "judge": {"policy": "tests.support.rewards:grade"},
    "rubric": {"policy": "tests.support.rewards:grade_each"},
}
NAMES = sorted(list_rewards())
ANSWERS = [name for name in NAMES if reward_class(name).is_answer]


def examples(name: str) -> list[tuple[Reward, Example]]:
    """(reward with the example's parameters, example) of a registered reward."""
    specs = list_rewards()[name].examples
    return [(get_reward(name, **{**example.params, **PARAMS.get(name, {})}), example) for example in specs]


def hostile_answers(gold: str) -> list[str]:
    """Long, deep or repetitive answers, some of them made of the right one."""
    deep = 9_000
    return [
        *("[" * 20_000, "{" * 20_000, "(" * 20_000, "[1," * 6_000, "[1 " * 6_000, "(" + "1" * 19_000, "1" * 20_000),
        *("1," * 10_000, "- " * 10_000, "." * 20_000, "[ " * 10_000, ("[" + "1" * 20 + " " * 20) * 480),
        *("one " * 5_000, "ﷺ" * 20_000, "A " * 10_000, "\\" * 20_000, "\\frac{" * 3_000, "{}" * 10_000, "$" * 20_000),
        *(
            "<table>" * 2_500,
            "<tr><td>" * 2_000,
            "<table>" + "<tr><td>1</td></tr>" * 1_000 + "</table>",
            "<td>" * 5_000,
        ),
        *("9" * 300 + "^" + "9" * 300, "10^10^10^10", "2**" * 5_000 + "2", "(" * deep + ")" * deep, "x^" * 5_000 + "2"),
        *("[" * deep + "]" * deep, '{"a":' * 3_000 + "1" + "}" * 3_000, '"' * 20_000, "00:" * 6_000, "1 - 2, " * 2_800),
        *(
            "def f():\n " * 1_500,
            "plt.plot(" * 2_000,
            "a b c d e f g h " * 1_200,
            "\n" * 10_000 + "x",
            "\u0300" * 20_000,
        ),
        json.dumps([[0, 0, 5, 5]] * 900),
        json.dumps([{"bbox_2d": [0, 0, i + 1, 5], "label": "x" * 5} for i in range(400)]),
        json.dumps({str(i): [0, 0, 5, 5] for i in range(900)}),
        (gold + " ") * max(1, 19_000 // (len(gold) + 1)),
        (gold + ", ") * max(1, 19_000 // (len(gold) + 2)),
    ]


def hostile_completions(gold: str) -> list[str]:
    """Whole completions of up to a million characters."""
    return [
        *(
            "<think>" * 140_000,
            "<answer>" * 120_000,
            "\\boxed{" * 140_000,
            " " * 1_000_000,
            "x" * 1_000_000,
            "word " * 200_000,
        ),
        "<think>" + "Wait, let me look again. " * 39_000 + "</think>" + gold,
        (gold + "\n") * (900_000 // (len(gold) + 1)),
        "</think>" * 120_000 + gold,
        "```json\n" * 100_000,
    ]


def wrapped(answer: str) -> list[str]:
    """An answer as completions write it."""
    return [answer, f"<answer>{answer}</answer>", f"<answer>```json\n{answer}\n```</answer>"]


def score_hostile(name: str, index: int, text: str) -> float | None:
    """The score of one text for one example of a reward; for a worker process."""
    reward, example = _cached(name)[index]
    return reward(text, example.target).score


def warm(name: str) -> int:
    """Score each example once, so that lazy imports are done; returns how many there are."""
    for reward, example in _cached(name):
        reward(example.completion, example.target)
        reward(reward.gold(example.target), example.target)
    return len(_cached(name))


_CACHE: dict[str, list[tuple[Reward, Example]]] = {}


def _cached(name: str) -> list[tuple[Reward, Example]]:
    if name not in _CACHE:
        _CACHE[name] = examples(name)
    return _CACHE[name]
