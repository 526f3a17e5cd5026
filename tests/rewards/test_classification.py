"""Class names: one, and sets of several."""

import pytest

from vision_rewards import TargetError, get_reward

LONG = "x" * 20_001

CAT = {"answer": "golden retriever", "synonyms": ["goldie", 7]}
CLASSIFICATION = [
    ("golden retriever", 1, "ok"),
    ("Golden Retriever", 1, "ok"),
    ("  golden\n retriever. ", 1, "ok"),
    ("golden_retriever", 1, "ok"),
    ("golden-retriever", 1, "ok"),
    ("**Golden retriever**", 1, "ok"),
    ("ｇｏｌｄｅｎ retriever", 1, "ok"),
    ("goldie", 1, "ok"),
    ("7", 1, "ok"),
    ("<answer>golden retriever</answer>", 1, "ok"),
    ("<think>a cat?</think>golden retriever", 1, "ok"),
    ("no <answer>tabby</answer> wait <answer>goldie</answer>", 1, "ok"),
    ("<answer>goldie</answer><answer>tabby</answer>", 0, "ok"),
    ("golden", 0, "ok"),
    ("retriever", 0, "ok"),
    ("golden retriever dog", 0, "ok"),
    ("a golden retriever", 1, "ok"),
    ("golden retriever golden retriever", 0, "ok"),
    ("golden retriever, goldie, 7", 0, "ok"),
    ("77", 0, "ok"),
    ("-7", 0, "ok"),
    ("7.5", 0, "ok"),
    ("", 0, "no_answer"),
    (" \n\t", 0, "no_answer"),
    ("...", 0, "no_answer"),
    ("_", 0, "no_answer"),
    ("<answer></answer>", 0, "no_answer"),
    ("<answer>golden retriever", 0, "no_answer"),
    ("golden retriever</answer>", 0, "no_answer"),
    ("<think>golden retriever", 0, "no_answer"),
    ("<think>x</think>golden retriever<think>", 0, "no_answer"),
    ("<think><answer>golden retriever</answer></think>", 0, "no_answer"),
    (LONG, 0, "too_long"),
    ("<think>" + "x" * 100_000 + "</think>goldie", 1, "ok"),
    ("y" * 1_000_001, 0, "too_long"),
]


@pytest.mark.parametrize(("answer", "score", "reason"), CLASSIFICATION)
def test_classification(answer, score, reason):
    result = get_reward("classification")(answer, CAT)
    assert (result.score, result.reason) == (score, reason)


def test_symbols_that_change_a_class_are_kept():
    reward = get_reward("classification")
    for answer, target in [("C", "C++"), ("5", "-5"), ("35", "3.5"), ("5", ".5"), ("50", "50%"), ("1000", "1,000")]:
        assert reward(answer, {"answer": target}).score == 0, (answer, target)
    assert reward("don't know", {"answer": "dont know"}).score == 1


PETS = {"answer": ["cat", "dog", "salt and pepper"], "synonyms": {"cat": ["kitty", "tabby cat"]}}
# (answer, Jaccard index with {cat, dog, salt and pepper}, exact, reason)
SEVERAL = [
    ("cat, dog, salt and pepper", 1, 1, "ok"),
    ("salt and pepper; Dog; CAT", 1, 1, "ok"),
    ("cat\ndog\nsalt and pepper", 1, 1, "ok"),
    ("1. cat\n2. dog\n3. salt and pepper", 1, 1, "ok"),
    ('["cat", "dog", "salt and pepper"]', 1, 1, "ok"),
    ('```json\n["cat", "dog", "salt and pepper"]\n```', 1, 1, "ok"),
    ("<answer>kitty, dog, salt and pepper</answer>", 1, 1, "ok"),
    ("[cat, dog, salt-and-pepper]", 1, 1, "ok"),
    ("cat, dog", 2 / 3, 0, "ok"),
    ("cat and dog", 2 / 3, 0, "ok"),
    ("cat", 1 / 3, 0, "ok"),
    ("cat, dog, salt and pepper, bird", 3 / 4, 0, "ok"),
    ("cat, bird", 1 / 4, 0, "ok"),
    # The set of all words of some vocabulary of 30 that holds the three.
    ("cat, dog, salt and pepper, " + ", ".join(f"w{i}" for i in range(27)), 3 / 30, 0, "ok"),
    ("bird", 0, 0, "ok"),
    ("cats, dogs", 0, 0, "ok"),
    ("cat dog salt pepper", 0, 0, "ok"),
    ("The image shows cat", 0, 0, "ok"),
    ("cat, cat, dog, salt and pepper", 0, 0, "repeated"),
    ("cat, kitty, dog, salt and pepper", 0, 0, "repeated"),
    ("cat, dog, salt and pepper" * 2, 0, 0, "repeated"),
    ("cat, , ?!, dog", 0, 0, "unparsable"),
    ('["cat", ["dog"]]', 0, 0, "unparsable"),
    ('["cat", "dog"', 0, 0, "unparsable"),
    ('["cat", null]', 0, 0, "unparsable"),
    ("[[[[", 0, 0, "unparsable"),
    (",;,", 0, 0, "unparsable"),
    ("", 0, 0, "no_answer"),
    ("<think>cat, dog</think>", 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "jaccard", "exact", "reason"), SEVERAL)
def test_several_classes(answer, jaccard, exact, reason):
    result = get_reward("classification")(answer, PETS)
    assert (result.score, result.parts["exact"], result.reason) == (pytest.approx(jaccard), exact, reason)
    assert get_reward("classification", several="exact")(answer, PETS).score == exact


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"answer": []}, "'answer'"),
        ({"answer": ["cat", "Cat"]}, "twice"),
        ({"answer": ["cat", ""]}, "'answer'"),
        ({"answer": ["cat"], "synonyms": ["kitty"]}, "class → list"),
        ({"answer": ["cat"], "synonyms": {"dog": ["puppy"]}}, "none of them"),
        ({"answer": "cat", "synonyms": {"cat": ["kitty"]}}, "'synonyms'"),
    ],
)
def test_targets_of_several_classes_that_are_refused(target, word):
    with pytest.raises(TargetError, match=word):
        get_reward("classification").check(target)
