"""Answers that must not score, by reward: hedges, lists of candidates, look-alikes, denials, other values.

Each stands alone and in every wrapping of `DRESSINGS`: what makes an honest answer readable must not make these so.
"""

from __future__ import annotations

from tests.support.hostile_math import MATH
from tests.support.hostile_numbers import NUMBERS
from tests.support.hostile_places import PLACES
from tests.support.hostile_words import WORDS

DRESSINGS = (
    *(
        "{}",
        "**{}**",
        "The answer is {}.",
        "So the answer is **{}**.",
        "<answer>{}</answer>",
        "\\boxed{{{}}}",
        "It is {}.",
    ),
    *(
        "答案是{}。",
        "```\n{}\n```",
        "<think>Let me look.</think>\n\n\\boxed{{\\text{{{}}}}}",
        "Answer: {}\nReason: I looked.",
    ),
    *('{{"answer": "{}"}}', "I looked at it closely, so the answer is {}.", "### Final Answer\n\n{}", "It is not {}."),
)

# (reward, parameters, target, answers that are not right)
HOSTILE = (*WORDS, *NUMBERS, *MATH, *PLACES)
