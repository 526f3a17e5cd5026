"""Option letters: one, and sets of several."""

import pytest

from vision_rewards import TargetError, get_reward

DOG = {"answer": "B", "options": {"A": "a cat", "B": "a dog", "C": "A red car", "D": "$5", "E": "a dog"}}
CHOICE = [
    ("B", 1, "ok"),
    ("b", 1, "ok"),
    ("(B)", 1, "ok"),
    ("[B]", 1, "ok"),
    ("B.", 1, "ok"),
    ("b)", 1, "ok"),
    ("**B**", 1, "ok"),
    ("Answer: B", 1, "ok"),
    ("answer: b.", 1, "ok"),
    ("The answer is B.", 1, "ok"),
    ("The best answer is: (B)", 1, "ok"),
    ("Option B", 1, "ok"),
    ("B. a dog", 1, "ok"),
    ("(B) A dog.", 1, "ok"),
    ("**B.** a dog", 1, "ok"),
    ("<answer>B</answer>", 1, "ok"),
    ("<think>A or C?</think>B", 1, "ok"),
    ("A", 0, "ok"),
    ("C", 0, "ok"),
    ("A cat", 0, "ok"),
    ("A red car", 0, "ok"),
    ("$5", 0, "ok"),
    ("a dog", 0, "ambiguous"),
    ("B. a cat", 0, "contradictory"),
    ("A. a dog", 0, "contradictory"),
    ("A or B", 0, "many_letters"),
    ("A, B, C, D", 0, "many_letters"),
    ("A. B. C. D.", 0, "many_letters"),
    ("(A)(B)", 0, "many_letters"),
    ("B, not A", 0, "many_letters"),
    ("F", 0, "not_an_option"),
    ("AB", 0, "unparsable"),
    ("BBBB", 0, "unparsable"),
    ("a dog is running", 0, "unparsable"),
    ("B because of the tail", 0, "unparsable"),
    ("Boat", 0, "unparsable"),
    ("answers", 0, "unparsable"),
    (".", 0, "unparsable"),
    ("(", 0, "unparsable"),
    ("", 0, "no_answer"),
]

LETTER_ONLY = [
    ("B", 1, "ok"),
    ("B. a man walks", 1, "ok"),
    ("B) A man walks", 1, "ok"),
    ("B. C. D.", 0, "many_letters"),
    ("B. A", 0, "many_letters"),
    ("B. A or C", 0, "many_letters"),
    ("A. a man", 0, "ok"),
    ("a man", 0, "unparsable"),
    ("e.g. B", 0, "unparsable"),
]


@pytest.mark.parametrize(("answer", "score", "reason"), CHOICE)
def test_multiple_choice(answer, score, reason):
    result = get_reward("multiple_choice")(answer, DOG)
    assert (result.score, result.reason) == (score, reason)


@pytest.mark.parametrize(("answer", "score", "reason"), LETTER_ONLY)
def test_multiple_choice_without_option_texts(answer, score, reason):
    result = get_reward("multiple_choice")(answer, {"answer": "B"})
    assert (result.score, result.reason) == (score, reason)


def test_option_text_names_its_letter():
    reward = get_reward("multiple_choice")
    assert reward("$5", {"answer": "D", "options": ["1", "5", "x", "$5"]}).parsed == "D"
    assert reward("answer: the sea", {"answer": "A", "options": ["The sea.", "a lake"]}).score == 1
    assert reward("U.S. flag", {"answer": "A", "options": ["U.S. flag", "EU flag"]}).score == 1
    # A letter is a letter first, whatever the texts say.
    assert reward("A", {"answer": "B", "options": ["B", "A"]}).score == 0


@pytest.mark.parametrize("mark", ["!", "...", "_", "。"])
def test_punctuation_is_no_option_that_is_other_punctuation(mark):
    """Both fold to nothing."""
    reward, target = get_reward("multiple_choice"), {"answer": "A", "options": ["?", "a dog"]}
    assert [reward(text, target).score for text in (mark, f"<answer>{mark}</answer>", "A", "a dog")] == [0, 0, 1, 0]
    several = {"answer": ["A"], "options": ["?", "a dog"]}
    assert reward(mark, several).score == 0


FOUR = {"answer": ["A", "C"], "options": ["a cat", "a dog", "A red car", "$5"]}
# (answer, exact, subset, jaccard, reason) against {A, C} of four.
SEVERAL = [
    ("A, C", 1, 1, 1, "ok"),
    ("C, A", 1, 1, 1, "ok"),
    ("AC", 1, 1, 1, "ok"),
    ("CA.", 1, 1, 1, "ok"),
    ("A and C", 1, 1, 1, "ok"),
    ("A & C", 1, 1, 1, "ok"),
    ("a, c", 1, 1, 1, "ok"),
    ("(A)(C)", 1, 1, 1, "ok"),
    ("(A), (C)", 1, 1, 1, "ok"),
    ("[A, C]", 1, 1, 1, "ok"),
    ('["A", "C"]', 1, 1, 1, "ok"),
    ("Answer: A, C.", 1, 1, 1, "ok"),
    ("A. a cat\nC. A red car", 1, 1, 1, "ok"),
    ("a cat\nA red car", 1, 1, 1, "ok"),
    ("<think>A, B, C, D</think>A C", 1, 1, 1, "ok"),
    ("A", 0, 1 / 2, 1 / 2, "ok"),
    ("A red car", 0, 1 / 2, 1 / 2, "ok"),
    ("B", 0, 0, 0, "ok"),
    ("A, B", 0, 0, 1 / 3, "ok"),
    ("A, B, C", 0, 0, 2 / 3, "ok"),
    ("ABCD", 0, 0, 1 / 2, "ok"),
    ("A, B, C, D", 0, 0, 1 / 2, "ok"),
    ("A, A, C", 0, 0, 0, "repeated"),
    ("AA", 0, 0, 0, "repeated"),
    ("A. a cat\nA. a cat\nC. A red car", 0, 0, 0, "repeated"),
    ("A, C, E", 0, 0, 0, "not_an_option"),
    ("NO", 0, 0, 0, "not_an_option"),
    ("A or C", 0, 0, 0, "many_letters"),
    ("A, C because of the tail", 0, 0, 0, "many_letters"),
    ("A. a cat\nC. a dog", 0, 0, 0, "contradictory"),
    ("ac", 0, 0, 0, "unparsable"),
    ("all of them", 0, 0, 0, "unparsable"),
    ("A and", 0, 0, 0, "unparsable"),
    ("", 0, 0, 0, "no_answer"),
    ("<answer> </answer>", 0, 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "exact", "subset", "jaccard", "reason"), SEVERAL)
def test_several_letters(answer, exact, subset, jaccard, reason):
    for several, score in {"exact": exact, "subset": subset, "jaccard": jaccard}.items():
        reward = get_reward("multiple_choice", several=several)
        result = reward(answer, FOUR)
        assert (result.score, result.reason) == (pytest.approx(score), reason), several
        assert reward.accuracy(result) == exact


def test_a_list_of_one_letter_may_be_answered_with_one():
    reward = get_reward("multiple_choice")
    assert reward("B", {"answer": ["B"]}).score == 1
    assert reward("A, B", {"answer": ["B"]}).score == 0
    assert reward("A, B", {"answer": ["b", "a"]}).score == 1


def test_reading_does_not_depend_on_the_answer():
    """An unreadable answer scores 0 whatever the right letter is: nothing is drawn at random."""
    reward = get_reward("multiple_choice")
    for text in ("I cannot tell.", "maybe", "the second one", "?"):
        assert {reward(text, {"answer": letter, "options": list("wxyz")}).score for letter in "ABCD"} == {0.0}


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"answer": []}, "'answer'"),
        ({"answer": ["A", "a"]}, "twice"),
        ({"answer": ["A", "E"], "options": list("wxyz")}, "4 options"),
        ({"answer": "A", "options": []}, "1 to 26"),
        ({"answer": "A", "options": ["x"] * 27}, "1 to 26"),
        ({"answer": True}, "'answer'"),
    ],
)
def test_targets_that_are_refused(target, word):
    with pytest.raises(TargetError, match=word):
        get_reward("multiple_choice").check(target)
