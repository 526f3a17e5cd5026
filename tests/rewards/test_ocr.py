"""Reading text: word errors, several accepted texts, and the traps of the suites' measures."""

import pytest

from vision_rewards import TargetError, get_reward, validate

# (answer, score) by word errors against five words; 1 − edits / 5, at least 0.
FIVE = {"text": "the red car turns left"}
WORDS = [
    ("the red car turns left", 1),
    ("  the red\ncar\tturns left ", 1),
    ("<answer>the red car turns left</answer>", 1),
    ("<think>the blue car</think>the red car turns left", 1),
    ("the red car turns right", 4 / 5),
    ("the red car turns", 4 / 5),
    ("the red car turns left now", 4 / 5),
    ("red the car turns left", 3 / 5),
    ("The Red Car Turns Left", 0),
    ("the red car turns left.", 4 / 5),
    ("thered car turns left", 3 / 5),
    ("car", 1 / 5),
    ("left left left left left", 1 / 5),
    ("the the the the the", 1 / 5),
    ("the red car turns left the red car turns left", 0),
    ("the red car turns left a b c d", 1 / 5),
    ("the red car turns left a b c d e f g h", 0),
    ("no", 0),
    ("zzz zzz zzz zzz zzz", 0),
    ("x" * 5000, 0),
    ("", 0),
    (" \n", 0),
    ("<answer></answer>", 0),
    ("<answer>the red car turns left", 0),
    ("<think>the red car turns left", 0),
    ("the red car turns left " * 2000, 0),
]

# (answer, edit similarity) against "paris" and "Paris, France".
EITHER = {"text": ["paris", "Paris, France"]}
CITIES = [
    ("paris", 1),
    ("Paris, France", 1),
    ("Paris", 4 / 5),
    ("paris, france", 11 / 13),
    ("France", 6 / 13),
    ("paris Paris, France", 13 / 19),
    ("tokyo", 0),
    ("", 0),
]


@pytest.mark.parametrize(("answer", "score"), WORDS)
def test_word_errors(answer, score):
    result = get_reward("ocr", metric="wer")(answer, FIVE)
    assert result.score == pytest.approx(score, abs=1e-12)
    assert result.parts["exact"] == (score == 1)


def test_word_errors_without_case():
    assert get_reward("ocr", metric="wer", ignore_case=True)("The Red Car Turns Left", FIVE).score == 1


@pytest.mark.parametrize(("answer", "score"), CITIES)
def test_the_best_of_several_texts_counts(answer, score):
    result = get_reward("ocr")(answer, EITHER)
    assert result.score == result.parts["similarity"] == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("metric", ["edit", "cer", "wer", "exact", "anls"])
def test_padding_and_repetition_gain_nothing(metric):
    reward = get_reward("ocr", metric=metric)
    for wrong in ("tokyo", "pari", "Paris"):
        bare = reward(wrong, {"text": "paris"}).score
        assert reward(wrong + " " * 30, {"text": "paris"}).score == bare
        assert reward("\n" * 30 + wrong, {"text": "paris"}).score == bare
        assert reward(f"{wrong} {wrong}", {"text": "paris"}).score <= bare
    validate(reward, [FIVE, EITHER, {"text": "hello / world"}, {"text": "a < b"}, {"text": "é"}, {"text": "日本"}])


def test_answer_and_target_are_normalised_alike():
    # A decomposed and a composed é; blanks around marks.
    assert get_reward("ocr", metric="exact")("caf\u0065\u0301", {"text": "caf\u00e9"}).score == 1
    assert get_reward("ocr")("hello / world", {"text": "hello / world"}).score == 1
    assert get_reward("ocr")("hello/world", {"text": "hello / world"}).score == pytest.approx(11 / 13)


@pytest.mark.parametrize("text", [[], ["a", ""], ["a", 3], "", [["a"]], {"a": 1}, ["x" * 20_001]])
def test_targets_that_cannot_be_scored(text):
    with pytest.raises(TargetError, match="'text'"):
        get_reward("ocr").check({"text": text})


@pytest.mark.parametrize(
    "answer",
    ["**EXIT 42**", "`EXIT 42`", '"EXIT 42"', "```\nEXIT 42\n```", "The text reads: EXIT 42", 'It says "EXIT 42".',
     "The answer is EXIT 42", "\\boxed{EXIT 42}", "答案是EXIT 42。"],
)  # fmt: skip
def test_what_stands_around_the_text_is_not_read(answer):
    assert get_reward("ocr")(answer, {"text": "EXIT 42"}).score == 1


def test_marks_of_the_text_are_read():
    assert get_reward("ocr")("**", {"text": "**"}).score == 1
    assert get_reward("ocr")("STOP!", {"text": "STOP"}).score == 0.8
    assert get_reward("ocr")('"STOP"', {"text": '"STOP"'}).score == 1
