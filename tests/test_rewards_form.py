"""The form of a completion: the format reward, and where each `extract` looks for the answer."""

import pytest

from vision_rewards import get_reward

FORMAT = [
    ("<answer>x</answer>", 1, 0, 0),
    ("let me see <answer>x</answer>\n", 1, 0, 0),
    ("<think>t</think><answer>x</answer>", 1, 1, 0),
    ("\n<think>t</think>\n<answer>x</answer>\n", 1, 1, 0),
    ("<think></think><answer>x</answer>", 1, 0, 0),
    ("hm <think>t</think><answer>x</answer>", 1, 0, 0),
    ("<think>t</think> so <answer>x</answer>", 1, 0, 0),
    ("<answer>x</answer> and more", 0, 0, 0),
    ("<answer> </answer>", 0, 0, 0),
    ("<answer>x</answer><answer>x</answer>", 0, 0, 0),
    ("<answer><answer>x</answer></answer>", 0, 0, 0),
    ("<answer>x", 0, 0, 0),
    ("<Answer>x</Answer>", 0, 0, 0),
    ("<answer>x</answer><think>t</think>", 0, 0, 0),
    ("<think>t<answer>x</answer></think>", 0, 0, 0),
    ("<think>t</think>", 0, 0, 0),
    ("x", 0, 0, 1),
    ("", 0, 0, 0),
    (" ", 0, 0, 0),
]


@pytest.mark.parametrize(("text", "answer", "think_answer", "none"), FORMAT)
def test_format(text, answer, think_answer, none):
    for pattern, score in {"answer": answer, "think_answer": think_answer, "none": none}.items():
        assert get_reward("format", pattern=pattern)(text, {}).score == score, pattern


@pytest.mark.parametrize(
    ("mode", "completion", "score"),
    [
        ("auto", "7", 1),
        ("auto", "\\boxed{7}", 0),
        ("auto", "<ANSWER>7</ANSWER>", 1),
        ("auto", "reasoning</think>7", 1),
        ("auto", "<answer>7</answer> <answer>8", 1),
        ("answer", "7", 0),
        ("answer", "so <answer> 7 </answer> it is", 1),
        ("answer", "<think><answer>7</answer></think>", 0),
        ("boxed", "\\boxed{8} then \\boxed{7}", 1),
        ("boxed", "\\boxed{7", 0),
        ("boxed", "7", 0),
        ("boxed", "<think>\\boxed{7}</think>", 0),
        ("raw", "7", 1),
        ("raw", "<answer>7</answer>", 0),
        ("raw", "<think>x</think>7", 0),
    ],
)
def test_extraction(mode, completion, score):
    assert get_reward("classification", extract=mode)(completion, {"answer": 7}).score == score


def test_boxed_braces_nest():
    reward = get_reward("ocr", extract="boxed")
    assert reward("\\boxed{\\frac{1}{2} \\} }", {"text": "\\frac{1}{2} \\}"}).score == 1
