"""Equivalence of mathematical answers."""

import time

import pytest

from vision_rewards import TargetError, get_reward

math_verify = pytest.importorskip("math_verify", reason="math-verify is not installed")

# (target, answer, score, reason); none of these needs a worker.
HERE = [
    ("3", "3", 1, "ok"),
    (3, "3.0", 1, "ok"),
    (0.5, "\\frac{1}{2}", 1, "ok"),
    ("3", "$3$", 1, "ok"),
    ("3", "\\(3\\)", 1, "ok"),
    ("3", "$$3.$$", 1, "ok"),
    ("$3$", "**3**", 1, "ok"),
    ("\\boxed{3}", "The answer is $3$.", 1, "ok"),
    ("3", "So 2 + 1 gives \\boxed{3}.", 1, "ok"),
    ("3", "<think>\\boxed{4}</think><answer>\\boxed{3}</answer>", 1, "ok"),
    ("3", "three", 1, "ok"),
    ("3", "x = 3", 1, "ok"),
    ("x = 3", "3", 1, "ok"),
    ("3", "f(x) = 1 + 2 = 3", 1, "ok"),
    ("\\frac12", "0.5", 1, "ok"),
    ("\\frac{1}{2}", "\\dfrac{1}{2}", 1, "ok"),
    ("\\frac{1}{2}", "2/4", 1, "ok"),
    ("1.5", "1\\frac{1}{2}", 1, "ok"),
    ("1.5", "1 1/2", 1, "ok"),
    ("-\\frac{1}{2}", "-0.5", 1, "ok"),
    ("1,000", "1000", 1, "ok"),
    ("1000", "1{,}000", 1, "ok"),
    ("120000", "1.2 \\times 10^{5}", 1, "ok"),
    ("100000", "10^5", 1, "ok"),
    ("1/3", "0.333333", 1, "ok"),
    ("0.333333", "1/3", 1, "ok"),
    ("90^\\circ", "90", 1, "ok"),
    ("\\$5", "5 dollars", 1, "ok"),
    ("5", "5\\text{ apples}", 1, "ok"),
    ("10", "10\\%", 1, "ok"),
    ("\\text{Monday}", "monday", 1, "ok"),
    ("no solution", "No Solution.", 1, "ok"),
    ("A", "(A)", 1, "ok"),
    ("\\left( 1, 2 \\right)", "(1, 2)", 1, "ok"),
    ("1/3", "0.333", 0, "ok"),
    ("1/3", "0.33", 0, "ok"),
    ("3", "-3", 0, "ok"),
    ("3", "\\boxed{3} \\boxed{4}", 0, "ok"),
    ("0.1", "10%", 0, "ok"),
    ("5\\text{ cm}", "5\\text{ km}", 0, "ok"),
    ("5 feet", "5 inches", 0, "ok"),
    ("5", "10/2", 0, "ok"),
    ("1000001", "1000000", 0, "ok"),
    ("7", "7.000001", 0, "ok"),
    ("A", "a", 0, "ok"),
    ("even", "odd", 0, "ok"),
    ("(1, 2)", "[1, 2]", 0, "ok"),
    ("\\{1, 2\\}", "(1, 2)", 0, "ok"),
    ("7", "2 + 5", 0, "not_a_number"),
    ("12", "3 \\cdot 4", 0, "not_a_number"),
    ("6", "3!", 0, "not_a_number"),
    ("4", "\\sqrt{16}", 0, "not_a_number"),
    ("12", "10 or 12", 0, "not_a_number"),
    ("12", "10, 12", 0, "not_a_number"),
    ("12", "12 12", 0, "not_a_number"),
    ("3", "3 million", 0, "not_a_number"),
    ("3", "3\\text{ million}", 0, "not_a_number"),
    ("3", "not 3", 0, "not_a_number"),
    ("0", "nan", 0, "not_a_number"),
    ("3", "10^{10^{10}}", 0, "not_a_number"),
    ("3", "5 = 3", 0, "unparsable"),
    ("3", "3 = 3", 0, "unparsable"),
    ("3", "\\boxed{3", 0, "no_answer"),
    ("3", "$$", 0, "not_a_number"),
    ("3", "", 0, "no_answer"),
    ("3", "\\boxed{}", 0, "no_answer"),
    ("3", "(" * 2000, 0, "too_long"),
]


@pytest.mark.parametrize(("target", "answer", "score", "reason"), HERE)
def test_without_a_worker(target, answer, score, reason, monkeypatch):
    monkeypatch.setattr("vision_rewards.rewards.math.bounded", None)
    result = get_reward("math")(answer, {"answer": target})
    assert (result.score, result.reason) == (score, reason)


# (target, answer, score): compared symbolically.
SYMBOLIC = [
    ("x^2 + 2x + 1", "1 + x^2 + 2x", 1),
    ("x^2 + 2x + 1", "(x+1)^2", 0),
    ("(x+1)^2", "x^2 + 2x + 1", 0),
    ("(x+1)^2", "(1+x)(x+1)", 1),
    ("2x + 2", "2(x + 1)", 1),
    ("\\frac{x+1}{x-1}", "1 + \\frac{2}{x-1}", 1),
    ("\\sqrt{2}", "2^{1/2}", 1),
    ("\\sqrt{2}", "1.41421356", 1),
    ("1.41421356", "\\sqrt{2}", 1),
    ("2\\sqrt{3}", "\\sqrt{12}", 0),
    ("\\sqrt{12}", "2\\sqrt{3}", 1),
    ("\\frac{\\sqrt{3}}{2}", "\\frac{3}{2\\sqrt{3}}", 1),
    ("\\{1, 2\\}", "2, 1", 1),
    ("\\pm 2", "2, -2", 1),
    ("1 < x < 2", "(1, 2)", 1),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", 1),
    ("2x", "x * 2", 1),
    ("\\frac{1}{x}", "x^{-1}", 1),
    ("x^2 + 2x + 1", "(x-1)^2", 0),
    ("x", "y", 0),
    ("x = 3", "y = 3", 0),
    ("\\sqrt{2}", "1.4", 0),
    ("(1, 2)", "(2, 1)", 0),
    ("\\pm 2", "2", 0),
    ("\\pi", "3.14", 0),
    ("\\{1, 2\\}", "1, 2, 3", 0),
    ("x + 1", "x + 1 or x + 2", 0),
]


@pytest.mark.parametrize(("target", "answer", "score"), SYMBOLIC)
def test_symbolic(target, answer, score):
    assert get_reward("math")(answer, {"answer": target}).score == score


def test_unreadable_mathematics_is_named():
    result = get_reward("math")("\\frac{x", {"answer": "x + 1"})
    assert (result.score, result.reason) == (0, "unparsable")


def test_expressions_count_where_that_is_asked_for():
    reward = get_reward("math", literal=False)
    assert reward("2 + 5", {"answer": "7"}).score == 1
    assert reward("2 + 6", {"answer": "7"}).score == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        "10^{10^{10^{10}}}",
        "1000000000!",
        "\\int_0^{10^9} \\sin(x^x) dx",
        "x^{" * 100 + "2" + "}" * 100,
        "((((" * 200 + "x",
    ],
)
def test_hostile_expressions_end(answer):
    start = time.process_time()
    result = get_reward("math")(answer, {"answer": "x + 1"})
    assert result.score == 0
    # The worker's time is its own; this process only waits.
    assert time.process_time() - start < 1


@pytest.mark.slow
def test_a_killed_worker_does_not_spoil_the_next_answer():
    reward = get_reward("math")
    assert reward("10^{10^{10^{10}}}", {"answer": "x + 1"}).reason.startswith("exceeded_")
    assert reward("1 + x", {"answer": "x + 1"}).score == 1


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('x')", "open('x')", "lambda: 1", "exec('x')", "().__class__", "\\text{__import__('os')}"],
)
def test_code_is_no_mathematics(text):
    for target in ("x + 1", "3", "\\text{Monday}"):
        assert get_reward("math")(text, {"answer": target}).score == 0


@pytest.mark.parametrize("answer", ["", " ", "$$ $$", "\\boxed{}", None, True, [3], float("nan"), "x" * 1001])
def test_targets_that_are_refused(answer):
    with pytest.raises(TargetError, match="'answer'"):
        get_reward("math").check({"answer": answer})


# Cases of math-verify's own tests (Apache-2.0): both sides stand alone. (gold, prediction, equal)
AGREED = [
    ("$28$", "$28$", True),
    ("$\\frac{9}{4}$", "$2.25$", True),
    ("$x+2$", "$2+x$", True),
    ("$\\sqrt{3}+2$", "$2+\\sqrt{3}$", True),
    ("$(0, 1)$", "$(0,1)$", True),
    ("$x \\leq 3$", "$x \\le 3$", True),
    ("$\\{1,2,3\\}$", "$\\{3,2,1\\}$", True),
    ("$2^{10}$", "$1024$", True),
    ("$\\log_2 8$", "$3$", True),
    ("$x+2$", "$2-x$", False),
    ("$(0, 1)$", "$(1,0)$", False),
    ("$\\frac{9}{4}$", "$2.26$", False),
    ("$\\{1,2,3\\}$", "$\\{3,2\\}$", False),
]


@pytest.mark.parametrize(("gold", "prediction", "equal"), AGREED)
def test_agreement_with_math_verify(gold, prediction, equal):
    expected = math_verify.verify(math_verify.parse(gold), math_verify.parse(prediction))
    assert expected == equal == bool(get_reward("math")(prediction, {"answer": gold}).score)
