"""Any target of the text rewards is refused or has a gold answer; any text is read without an error."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision_rewards import TargetError, get_reward, metrics, validate
from vision_rewards.parsers import latex_tokens, split_pieces, split_words
from vision_rewards.parsers.tables import parse_table

TEXT = st.text(max_size=30)
LATEX_PIECES = r"\frac { } { } ^ _ x y 2 ' \mathrm \text \left( \right) \left. \, $ \% % \\ \le \operatorname{sin}"
LATEX = st.lists(st.sampled_from(LATEX_PIECES.split(" ")), max_size=15).map(" ".join)
HTML_PIECES = "<table> </table> <tr> <td> </td> <th> <tbody> <td,colspan='2'> a é <b> <br> ,"
HTML = st.lists(st.sampled_from(HTML_PIECES.replace(",", "\t").split(" ")), max_size=20).map("".join)
CODE = st.lists(st.sampled_from(["f(1)", "x = 'a'", "-2", "g(k=3.5)", "\n", "(", "#", "f(", ")"]), max_size=8).map(
    "\n".join
)
MANY = settings(max_examples=40, suppress_health_check=list(HealthCheck))

TARGETS = {
    "chart": st.fixed_dictionaries({"answer": TEXT | st.integers() | st.floats()}),
    "chart_to_code": st.fixed_dictionaries({"code": CODE}),
    "formula": st.fixed_dictionaries({"latex": TEXT | LATEX}),
    "ocr": st.fixed_dictionaries({"text": TEXT | st.lists(TEXT, max_size=3)}),
    "open_ended": st.fixed_dictionaries({}, optional={"answer": TEXT | st.lists(TEXT, max_size=3)}),
    "table": st.fixed_dictionaries({"html": HTML}),
    "vqa": st.fixed_dictionaries({"answers": st.lists(TEXT, max_size=5)}),
}
KEYWORDS = st.fixed_dictionaries({"keywords": st.lists(TEXT | st.lists(TEXT, max_size=2), max_size=4)})
CASES = [
    *(
        (name, params, TARGETS[name])
        for name in TARGETS
        for params in ({}, {"extract": "answer"}, {"extract": "boxed"})
    ),
    *(("ocr", {"metric": metric}, TARGETS["ocr"]) for metric in ("cer", "wer", "exact", "anls")),
    *(("open_ended", {"metric": metric}, TARGETS["open_ended"]) for metric in ("rougeL", "bleu")),
    *(("open_ended", {"metric": metric}, KEYWORDS) for metric in ("keywords", "ordered_keywords")),
    ("table", {"metric": "teds_s", "sections": True}, TARGETS["table"]),
    ("vqa", {"evalai": True}, TARGETS["vqa"]),
    ("chart", {"tolerance": 0}, TARGETS["chart"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params", "targets"), CASES)
def test_gold_of_any_accepted_target_scores_one(name, params, targets):
    reward = get_reward(name, **params)

    @MANY
    @given(targets)
    def run(target):
        try:
            reward.check(target)
        except TargetError:
            return
        validate(reward, [target])

    run()


@MANY
@given(LATEX)
def test_formulas_read_from_their_own_tokens(text):
    tokens = latex_tokens(text)
    assert "" not in tokens
    # Written out again, a formula is the same formula.
    assert latex_tokens(" ".join(tokens)) == tokens


@MANY
@given(TEXT | HTML)
def test_tables_are_read_or_refused(text):
    tree, reason = parse_table(text)
    assert (tree is None) == (reason != "ok")
    assert 0 <= metrics.teds(text, "<table><tr><td>a</table>") <= 1
    if tree is not None:
        assert metrics.teds(text, text) == 1
        assert sum(map(len, tree.rows())) == tree.tags.count("td") > 0


@MANY
@given(TEXT, TEXT)
def test_measures_stay_in_range(first, second):
    for value in metrics.rouge(first, second).values():
        assert 0 <= value <= 1
    for measure in (metrics.bleu, metrics.anls, metrics.anls_lmms_eval, metrics.vqa_accuracy):
        assert 0 <= measure(first, [second]) <= 1
    assert 0 <= metrics.formula_similarity(first, second) <= 1
    assert metrics.rouge(first, second) == pytest.approx(metrics.rouge(second, first))


@MANY
@given(st.text(max_size=200))
def test_no_character_escapes_the_count(text):
    pieces = split_pieces(text)
    assert "".join(pieces) == "".join(text.split())
    assert all(0 < len(piece) <= 16 for piece in pieces)
    assert not any(word != word.casefold() or not word.strip() for word in split_words(text) if word.isascii())
