"""Formulas: expected scores are counted by hand from LaTeX tokens."""

import pytest

from vision_rewards import TargetError, get_reward, validate
from vision_rewards.parsers import latex_tokens

# Tokens: \frac a 2 \leq x ^ 2
TARGET = {"latex": r"\frac{a}{2} \leq x^{2}"}
CASES = [
    (r"\frac{a}{2} \leq x^{2}", 1, "ok"),
    (r"$\frac{a}{2} \leq x^{2}$", 1, "ok"),
    (r"$$\frac a2\le x^2$$", 1, "ok"),
    (r"\[ \dfrac{a}{2} \, \leq \; x^2 \]", 1, "ok"),
    (r"\( \tfrac{{a}}{2} ≤ {x}^{2} \)", 1, "ok"),
    ("```latex\n\\frac{a}{2} \\leq x^{2}\n```", 1, "ok"),
    (r"\begin{equation} \frac{a}{2} \leq x^{2} \label{eq:1} \end{equation}", 1, "ok"),
    (r"\displaystyle \frac{\mathrm{a}}{2} \leq \mathrm{x}^{2}", 1, "ok"),
    ("\\frac{a}{2} % half\n\\leq x^{2}", 1, "ok"),
    (r"<think>\frac{b}{2}</think>\frac{a}{2} \leq x^{2}", 1, "ok"),
    (r"\frac{a}{2} < x^{2}", 6 / 7, "ok"),
    (r"\frac{b}{2} \leq x^{2}", 6 / 7, "ok"),
    (r"\frac{a}{2} \leq x", 5 / 7, "ok"),
    (r"\frac{a}{2} \leq x^{2} + 1", 7 / 9, "ok"),
    (r"\frac{a}{2} \leq \mathbf{x}^{2}", 7 / 8, "ok"),
    # x ^ { 2 2 }: two braces and a 2 more.
    (r"\frac{a}{2} \leq x^{22}", 7 / 10, "ok"),
    (r"\frac{a}{2} \leq x_{2}", 6 / 7, "ok"),
    (r"\frac{a}{2}", 3 / 7, "ok"),
    (r"\frac{a}{2} \leq x^{2} \frac{a}{2} \leq x^{2}", 7 / 14, "ok"),
    (r"\frac{a}{2} \leq x^{2} or \frac{a}{2} < x^{2}", 7 / 16, "ok"),
    # A lost brace leaves all braces as tokens: \frac { a } { 2 \leq x ^ { 2 }, seven of twelve.
    (r"\frac{a}{2 \leq x^{2}", 7 / 12, "ok"),
    (r"\alpha", 0, "ok"),
    ("}{", 0, "ok"),
    (r"\quad \, {} $ $ \left. ~", 0, "no_answer"),
    ("{" * 9_000 + "}" * 9_000, 0, "no_answer"),
    ("% a comment", 0, "no_answer"),
    ("", 0, "no_answer"),
    ("$$", 0, "no_answer"),
    ("x" * 20_001, 0, "too_long"),
]


@pytest.mark.parametrize(("answer", "similarity", "reason"), CASES)
def test_formula(answer, similarity, reason):
    result = get_reward("formula")(answer, TARGET)
    assert (result.score, result.reason) == (pytest.approx(similarity, abs=1e-12), reason)
    exact = get_reward("formula", metric="exact")(answer, TARGET)
    assert exact.score == get_reward("formula").accuracy(result) == float(similarity == 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x_1^2", "x^2_1"),
        ("x_{1}^{2}", "x^2_1"),
        ("x'", r"x^{\prime}"),
        ("f''", r"f^{\prime\prime}"),
        (r"\left( a \right)", "(a)"),
        (r"\Bigl[ a \Bigr]", "[a]"),
        (r"\left. a \right|_0", "a|_0"),
        (r"\operatorname{sin} x", r"\sin x"),
        (r"\operatorname*{argmax}_x", r"\argmax_x"),
        (r"\mathrm{sin}(x)", "sin(x)"),
        (r"x_{\mathrm{max}}", r"x_{max}"),
        (r"a \ne b", r"a \neq b"),
        (r"\lVert x \rVert", r"\| x \|"),
        (r"\{a\}", r"\lbrace a \rbrace"),
        (r"a\hspace{1em}b", "ab"),
        (r"a \to b", r"a \rightarrow b"),
        (r"\begin {matrix} a \end{matrix}", r"\begin{matrix}a\end{matrix}"),
        (r"{}^{14}C", "^{14}C"),
    ],
)
def test_the_same_formula_written_twice(one, other):
    assert latex_tokens(one) == latex_tokens(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\mathbf{x}", "x"),
        (r"\mathbb{R}", "R"),
        ("x^{ab}", "x^ab"),
        (r"\frac{ab}{c}", r"\frac{a}{bc}"),
        (r"\sqrt{ab}", r"\sqrt{a}b"),
        (r"a \\ b", "a b"),
        (r"5\%", "5"),
        ("x^2", "x_2"),
        (r"\epsilon", r"\varepsilon"),
        ("ab", "ba"),
        (r"\sin x", "sinx"),
    ],
)
def test_formulas_that_differ(one, other):
    assert latex_tokens(one) != latex_tokens(other)
    assert get_reward("formula", metric="exact")(one, {"latex": other}).score == 0


def test_gold_formulas():
    formulas = [
        r"\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}",
        r"\begin{array}{cc} a & b \\ c & d \end{array}",
        r"\left\{ \begin{matrix} 1 & \text{if } x > 0 \\ 0 & \text{else} \end{matrix} \right.",
        r"\sum_{i=1}^{n} \overline{x_i}' ",
        "unbalanced } brace {",
        "日本 = 中国",
    ]
    validate("formula", [{"latex": formula} for formula in formulas])
    # `\boxed{…}` cannot hold a brace that does not match.
    with pytest.raises(TargetError, match="cannot be read back"):
        get_reward("formula", extract="boxed").check({"latex": "a } b"})


@pytest.mark.parametrize("latex", ["", "  ", r"\quad", "{}", "$$", "% x", None, 3, ["x"], "x" * 20_001])
def test_targets_that_cannot_be_scored(latex):
    with pytest.raises(TargetError, match="'latex'"):
        get_reward("formula").check({"latex": latex})
