"""Plotting code: F1 of what it says, counted by hand, and likeness of what it draws."""

import sys

import numpy as np
import pytest

from vision_rewards import TargetError, get_reward, validate
from vision_rewards.metrics import picture_similarity, plot_code_similarity

# Calls: bar, title. Keywords: (bar, color). Texts: a, b, red, Sales. Numbers: 3, 5.
BARS = "import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [3, 5], color='red')\nplt.title('Sales')\n"


def mean(*scores):
    return sum(scores) / len(scores)


# (answer, score, reason): the mean of the F1 of calls, keywords, texts and numbers
CASES = [
    (BARS, 1, "ok"),
    (f"```python\n{BARS}```", 1, "ok"),
    (f"Here is the code.\n```\n{BARS}\n```\nIt draws two bars.", 1, "ok"),
    (f"<think>plt.plot()</think>{BARS}", 1, "ok"),
    (f"<answer>{BARS}</answer>", 1, "ok"),
    (BARS + "plt.savefig('x.png')\nplt.show()".replace("'x.png'", ""), 1, "ok"),
    (f'"""Bars."""\n# A comment\n{BARS}', 1, "ok"),
    (
        "from matplotlib import pyplot as p\nx, y = ['a', 'b'], [3, 5]\np.title('Sales')\np.bar(x, y, color='red')",
        1,
        "ok",
    ),
    (BARS.replace("3, 5", "3.0, +5"), 1, "ok"),
    (BARS.replace("5", "4"), mean(1, 1, 1, 1 / 2), "ok"),
    (BARS.replace("5", "-5"), mean(1, 1, 1, 1 / 2), "ok"),
    (BARS.replace("Sales", "Costs"), mean(1, 1, 3 / 4, 1), "ok"),
    (BARS.replace("'red'", "'blue'"), mean(1, 1, 3 / 4, 1), "ok"),
    (BARS.replace("color", "label"), mean(1, 0, 1, 1), "ok"),
    (BARS.replace("bar", "barh"), mean(1 / 2, 0, 1, 1), "ok"),
    (BARS.replace("plt.title('Sales')\n", ""), mean(2 / 3, 1, 6 / 7, 1), "ok"),
    (BARS + "plt.xlabel('x')\n", mean(4 / 5, 1, 8 / 9, 1), "ok"),
    (BARS + BARS, mean(4 / 6, 2 / 3, 8 / 12, 4 / 6), "ok"),
    ("plt.bar()", mean(2 / 3, 0, 0, 0), "ok"),
    ("x = ['a', 'b', 'red', 'Sales', 3, 5]", mean(0, 0, 1, 1), "ok"),
    ("'a'\n'b'\n'red'\n'Sales'\n3\n5", 0, "ok"),
    ("f" + "(" * 150 + ")" * 150, 0, "undefined_names"),
    ("import os\nos.system('true')", 0, "ok"),
    ("x = 1 +", 0, "unparsable"),
    ("A bar chart of sales.", 0, "unparsable"),
    ("plt.bar(" * 2000, 0, "unparsable"),
    ("(" * 19_000, 0, "unparsable"),
    ("\x00", 0, "unparsable"),
    ("x = " + "9" * 5000, 0, "unparsable"),
    (f"```\n{BARS}```\n```\n{BARS}```", 0, "many_blocks"),
    (f"```\n{BARS}", 0, "unparsable"),
    ("", 0, "no_answer"),
    ("<answer></answer>", 0, "no_answer"),
    (BARS * 250, 0, "too_long"),
]


@pytest.mark.parametrize(("answer", "score", "reason"), CASES)
def test_structure(answer, score, reason):
    result = get_reward("chart_to_code")(answer, {"code": BARS})
    assert (result.score, result.reason) == (pytest.approx(score, abs=1e-12), reason)
    assert result.parts == {"structure": result.score, "image": None}


@pytest.mark.parametrize("text", ["-" * 19_000 + "1", "a" + ".b" * 9_000, "x" + "[0]" * 6_000, "not " * 4_900 + "x"])
def test_deep_code_ends_in_the_worker(text):
    result = get_reward("chart_to_code")(text, {"code": BARS})
    assert result.score == 0
    assert result.reason in ("unparsable", "memory", "time", "crash", "ok")


def test_code_similarity_is_symmetric():
    assert (
        plot_code_similarity(BARS, "plt.bar()") == plot_code_similarity("plt.bar()", BARS) == pytest.approx(2 / 3 / 4)
    )
    assert plot_code_similarity("x =", BARS) == plot_code_similarity("", "") == 0


@pytest.mark.parametrize("code", ["", "x =", "x = 1", None, 3, f"```\n{BARS}```", BARS * 250, "(" * 500])
def test_targets_that_cannot_be_scored(code):
    with pytest.raises(TargetError, match="'code'"):
        get_reward("chart_to_code").check({"code": code})


def picture(*boxes):
    """White, 40 × 60, with (top, bottom, left, right, colour) filled in."""
    image = np.full((40, 60, 3), 255, np.uint8)
    for top, bottom, left, right, color in boxes:
        image[top:bottom, left:right] = color
    return image


TARGET = picture((10, 30, 10, 20, (255, 0, 0)), (5, 30, 30, 40, (255, 0, 0)))


@pytest.mark.parametrize("color", [0, 128, 255, (255, 0, 0), (9, 9, 9)])
def test_paper_of_any_colour_is_like_nothing(color):
    assert picture_similarity(np.full((40, 60, 3), color, np.uint8), TARGET) == 0
    assert picture_similarity(TARGET, np.full((40, 60, 3), color, np.uint8)) == 0


def test_picture_similarity_orders_near_and_far():
    near = picture((11, 30, 10, 20, (255, 0, 0)), (5, 30, 30, 40, (255, 0, 0)))
    pale = picture((10, 30, 10, 20, (255, 99, 99)), (5, 30, 30, 40, (255, 99, 99)))
    blue = picture((10, 30, 10, 20, (0, 0, 255)), (5, 30, 30, 40, (0, 0, 255)))
    far = picture((0, 5, 45, 60, (255, 0, 0)))
    scores = [picture_similarity(image, TARGET) for image in (TARGET, near, pale, blue, far)]
    assert scores[0] == 1
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 0.9
    assert scores[4] < 0.05
    assert picture_similarity(TARGET[::-1, ::-1], TARGET) < 0.5


def test_one_pixel_by_hand():
    # Two pixels of one channel that differ: means 0 and 1/2, spreads; coarser levels average everything to one block.
    first, second = np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2, 3), np.uint8)
    first[0, 1], second[0, 1] = 100, 200
    # 2 · 50 · 100 / (50² + 100² + 50²) at full size; single blocks have no spread and score 0.
    assert picture_similarity(first, second) == pytest.approx(10_000 / 15_000 / 5)


def test_pictures_of_other_sizes_are_scaled():
    twice = TARGET.repeat(2, axis=0).repeat(2, axis=1)
    assert picture_similarity(twice, TARGET) > 0.95


drawing = pytest.mark.skipif(sys.platform != "linux", reason="drawings are confined by Linux's seccomp")


@pytest.mark.slow
@drawing
def test_pictures_are_compared_where_asked():
    pytest.importorskip("matplotlib", reason="matplotlib draws")
    reward, both = get_reward("chart_to_code", metric="image"), get_reward("chart_to_code", metric="mean")
    target = {"code": BARS}
    validate(reward, [target])
    validate(both, [target, {"code": BARS + "plt.show()\nplt.close()"}])
    other_way = "import matplotlib.pyplot as p\nf, a = p.subplots()\na.bar('ab', 0)\n"
    other_way = other_way.replace("'ab', 0", "['a', 'b'], [6 / 2, 10 / 2], color='r'") + "a.set_title('Sa' + 'les')"
    assert reward(other_way, target).score > 0.95
    near, far = (reward(BARS.replace("3, 5", numbers), target).score for numbers in ("3, 4.8", "5, 1"))
    assert 1 > near > far > 0
    empty = "import matplotlib.pyplot as plt\nplt.figure()"
    dead = f"if False:\n    {BARS.splitlines()[1]}\n    plt.title('Sales')\n"
    for code in (
        empty,
        dead,
        "import matplotlib.pyplot as plt\nplt.figure(facecolor='red')",
        "1 / 0",
        "while True: pass",
    ):
        assert reward(code, target).score == 0, code
    result = both(dead, target)
    assert (result.score, result.parts) == (0.5, {"structure": 1.0, "image": 0.0})
    assert both("x =", target).parts == {"structure": 0.0, "image": None}
    for code, reason in ((empty, "draws nothing"), ("import os\nf(1)", "forbidden"), ("f(1)", "failed")):
        with pytest.raises(TargetError, match=reason):
            reward.check({"code": code})
