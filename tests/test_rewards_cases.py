"""What each reward gives for right, wrong, near, malformed and hostile answers; values follow from its definition."""

import pytest

from vision_rewards import get_reward

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
    ("a golden retriever", 0, "ok"),
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

# (answer, edit, cer, exact, anls) against "Hello world", 11 characters.
HELLO = {"text": "Hello world"}
OCR = [
    ("Hello world", 1, 1, 1, 1),
    ("  Hello \n  world\t", 1, 1, 1, 1),
    ("hello world", 10 / 11, 10 / 11, 0, 1),
    ("HELLO WORLD", 2 / 11, 2 / 11, 0, 1),
    ("Hello worl", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hello world!", 11 / 12, 10 / 11, 0, 11 / 12),
    ("Helloworld", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hallo world", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hello", 5 / 11, 5 / 11, 0, 0),
    ("Hello w", 7 / 11, 7 / 11, 0, 7 / 11),
    ("H", 1 / 11, 1 / 11, 0, 0),
    ("zzz", 0, 0, 0, 0),
    ("zzz" + " " * 5000, 0, 0, 0, 0),
    ("Hello world" * 2, 1 / 2, 0, 0, 0),
    ("Hello world" * 10, 1 / 10, 0, 0, 0),
    ("Hello world" + "z" * 11, 1 / 2, 0, 0, 0),
    ("Hello world" + "z" * 99, 1 / 10, 0, 0, 0),
    ("", 0, 0, 0, 0),
    ("   ", 0, 0, 0, 0),
    ("<answer>Hello world</answer>", 1, 1, 1, 1),
    ("<answer> </answer>", 0, 0, 0, 0),
    ("<think>Hello world", 0, 0, 0, 0),
    ("<think>zzz</think>Hello world", 1, 1, 1, 1),
    ("Hello wörld", 10 / 11, 10 / 11, 0, 10 / 11),
    (LONG, 0, 0, 0, 0),
]

# (answer, IoU, reason) against the square from 0 to 10.
SQUARE = {"box": [0, 0, 10, 10], "label": "square"}
IOU = [
    ("[0, 0, 10, 10]", 1, "ok"),
    ("[0,0,10,5]", 1 / 2, "ok"),
    ("[5, 0, 15, 10]", 1 / 3, "ok"),
    ("[0, 0, 5, 5]", 1 / 4, "ok"),
    ("[0, 0, 20, 20]", 1 / 4, "ok"),
    ("[-10, -10, 10, 10]", 1 / 4, "ok"),
    ("[10, 0, 20, 10]", 0, "ok"),
    ("[100, 100, 200, 200]", 0, "ok"),
    ("[0.0, .0, 1e1, 1.0E+1]", 1, "ok"),
    ("[0 0 10 10]", 1, "ok"),
    ("(0, 0, 10, 10)", 1, "ok"),
    ("(0,0),(10,10)", 1, "ok"),
    ("<|box_start|>(0,0),(10,10)<|box_end|>", 1, "ok"),
    ("[[0, 0], [10, 10]]", 1, "ok"),
    ('{"bbox_2d": [0, 0, 10, 10], "label": "sq 1"}', 1, "ok"),
    ('```json\n[\n  {"bbox_2d": [0, 0, 10, 10], "label": "square"}\n]\n```', 1, "ok"),
    ("The square (1 of 2) is at [0, 0, 10, 10].", 1, "ok"),
    ("<answer>[0, 0, 10, 10]</answer>", 1, "ok"),
    ("<think>[5, 5, 6, 6]</think>[0, 0, 10, 10]", 1, "ok"),
    ("[0, 0, 10, 10] [0, 0, 10, 10]", 0, "many_boxes"),
    ("[[0, 0, 10, 10], [50, 50, 60, 60]]", 0, "many_boxes"),
    ("(0,0),(10,10),(20,20),(30,30)", 0, "many_boxes"),
    ('{"bbox_2d": [0,0,10,10], "bbox_2d": [1,1,9,9]}', 0, "many_boxes"),
    ("[0, 0, 10, 10]" * 1000, 0, "many_boxes"),
    ("[10, 10, 0, 0]", 0, "bad_box"),
    ("[10, 0, 0, 10]", 0, "bad_box"),
    ("[5, 5, 5, 5]", 0, "bad_box"),
    ("[0, 0, 0, 10]", 0, "bad_box"),
    ("[0, 0, 1e999, 10]", 0, "bad_box"),
    ("[-1e300, -1e300, 1e300, 1e300]", 0, "bad_box"),
    ("[NaN, 0, 10, 10]", 0, "unparsable"),
    ("[0, 0, Infinity, 10]", 0, "unparsable"),
    ("[0, 0, 10]", 0, "unparsable"),
    ("[0, 0, 10, 10, 1]", 0, "unparsable"),
    ("[0, 0, 10, 10", 0, "unparsable"),
    ("0, 0, 10, 10", 0, "unparsable"),
    ("[0, 0, 10, 10] or [5, 5]", 0, "unparsable"),
    ("[a, b, c, d]", 0, "unparsable"),
    ("none", 0, "unparsable"),
    ("", 0, "no_answer"),
    ("[" * 19_999, 0, "unparsable"),
    ("[1," * 6_000, 0, "unparsable"),
]

# (answer, score, absolute error, reason) against 3.
COUNTING = [
    ("3", 1, 0, "ok"),
    ("three", 1, 0, "ok"),
    ("Three.", 1, 0, "ok"),
    ("There are 3 cats.", 1, 0, "ok"),
    ("there are three", 1, 0, "ok"),
    ("3.0", 1, 0, "ok"),
    ("+3", 1, 0, "ok"),
    ("**3**", 1, 0, "ok"),
    ("３", 1, 0, "ok"),
    ("<think>2 and 1</think>3", 1, 0, "ok"),
    ("1 <answer>3</answer> 2", 1, 0, "ok"),
    ("2", 0, 1, "ok"),
    ("zero", 0, 3, "ok"),
    ("twenty", 0, 17, "ok"),
    ("30", 0, 27, "ok"),
    ("33", 0, 30, "ok"),
    ("3,000", 0, 2997, "ok"),
    ("-3", 0, 6, "ok"),
    ("−3", 0, 6, "ok"),
    ("1 2 3", 0, None, "many_numbers"),
    ("3 3", 0, None, "many_numbers"),
    ("2 or 3", 0, None, "many_numbers"),
    ("3-4", 0, None, "many_numbers"),
    ("1 row of 3 = three", 0, None, "many_numbers"),
    ("twenty-three", 0, None, "many_numbers"),
    ("3/1", 0, None, "many_numbers"),
    ("three hundred", 0, None, "unparsable"),
    ("3 million", 0, None, "unparsable"),
    ("minus three", 0, None, "unparsable"),
    ("3k", 0, None, "unparsable"),
    ("3rd", 0, None, "unparsable"),
    ("3%", 0, None, "unparsable"),
    ("3²", 0, None, "unparsable"),
    ("3.5", 0, None, "unparsable"),
    ("1.2.3", 0, None, "unparsable"),
    ("v3", 0, None, "unparsable"),
    ("threesome", 0, None, "unparsable"),
    ("many", 0, None, "unparsable"),
    ("3" * 5000, 0, None, "unparsable"),
    ("3e999", 0, None, "unparsable"),
    ("", 0, None, "no_answer"),
    ("<think>3", 0, None, "no_answer"),
]

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

YES = [
    ("yes", 1, "ok"),
    ("Yes.", 1, "ok"),
    ("TRUE", 1, "ok"),
    ("Answer: yes", 1, "ok"),
    ("no", 0, "ok"),
    ("false", 0, "ok"),
    ("yes no", 0, "unparsable"),
    ("yes and no", 0, "unparsable"),
    ("notice", 0, "unparsable"),
    ("know", 0, "unparsable"),
    ("yesterday", 0, "unparsable"),
    ("yes yes", 0, "unparsable"),
    ("1", 0, "unparsable"),
    ("", 0, "no_answer"),
]

# (answer, target, absolute tolerance, relative tolerance, score)
NUMERIC = [
    ("5", 5, 0, 0, 1),
    ("5 apples", 5, 0, 0, 1),
    ("1,000", 1000, 0, 0, 1),
    ("$5.50", "5.5", 0, 0, 1),
    ("50%", 50, 0, 0, 1),
    ("50%", "50%", 0, 0, 1),
    ("50%", 0.5, 0, 0, 0),
    ("1e3", 1000, 0, 0, 1),
    ("-0.5", -0.5, 0, 0, 1),
    ("0.0", 0, 0, 0, 1),
    ("five", 5, 0, 0, 1),
    ("5.1", 5, 0, 0, 0),
    ("1.1", 1.0, 0.1, 0, 1),
    ("1.11", 1.0, 0.1, 0, 0),
    ("105", 100, 0, 0.05, 1),
    ("105.01", 100, 0, 0.05, 0),
    ("-95", -100, 0, 0.05, 1),
    ("0.01", 0, 0, 0.05, 0),
    ("2014", 2019, 0, 0, 0),
    ("4 or 5", 5, 0, 0, 0),
    ("1/2", 0.5, 0, 0, 0),
    ("nan", 5, 0, 0, 0),
    ("inf", 5, 0, 1, 0),
    ("1e999", 5, 0, 0, 0),
    ("5 million", 5, 0, 0, 0),
    ("", 5, 0, 0, 0),
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


@pytest.mark.parametrize(("answer", "edit", "cer", "exact", "anls"), OCR)
def test_ocr(answer, edit, cer, exact, anls):
    for metric, score in {"edit": edit, "cer": cer, "exact": exact, "anls": anls}.items():
        reward = get_reward("ocr", metric=metric)
        result = reward(answer, HELLO)
        assert result.score == pytest.approx(score, abs=1e-12), metric
        folded = anls == 1 if metric == "anls" else exact
        assert reward.accuracy(result) == result.parts["exact"] == folded
    assert get_reward("ocr")(answer, HELLO).parts["similarity"] == pytest.approx(edit, abs=1e-12)


def test_ocr_can_ignore_case():
    assert get_reward("ocr", ignore_case=True)("HELLO WORLD", HELLO).parts["exact"] == 1


@pytest.mark.parametrize(("answer", "iou", "reason"), IOU)
def test_iou(answer, iou, reason):
    reward = get_reward("iou")
    result = reward(answer, SQUARE)
    assert result.score == pytest.approx(iou, abs=1e-12)
    assert result.reason == reason
    assert result.parts["iou"] == result.score
    assert reward.accuracy(result) == result.parts["iou@0.5"] == float(iou >= 0.5)
    for threshold in (0.25, 0.5, 0.9):
        assert get_reward("iou", threshold=threshold)(answer, SQUARE).score == float(result.score >= threshold)


@pytest.mark.parametrize(
    ("answer", "giou"),
    [
        ("[0,0,10,10]", 1.0),
        ("[0,0,5,5]", 0.25),
        # Hull 300 × 10, union 200.
        ("[20,0,30,10]", -1 / 3),
        ("[10,10,20,20]", -1 / 2),
    ],
)
def test_giou(answer, giou):
    assert get_reward("iou", kind="giou")(answer, SQUARE).score == pytest.approx((giou + 1) / 2, abs=1e-12)


def test_equal_small_boxes_overlap_fully():
    for box in ([3, 3, 4, 4], [0.1, 0.1, 0.10001, 0.10001]):
        assert get_reward("iou")(str(box), {"box": box}).score == 1


@pytest.mark.parametrize(("answer", "score", "error", "reason"), COUNTING)
def test_counting(answer, score, error, reason):
    result = get_reward("counting")(answer, {"count": 3})
    closeness = 0.0 if error is None else 1 / (1 + error)
    assert (result.score, result.parts["closeness"], result.reason) == (score, closeness, reason)


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


@pytest.mark.parametrize(("answer", "score", "reason"), YES)
def test_yes_no(answer, score, reason):
    for target in ("yes", True, "True"):
        result = get_reward("yes_no")(answer, {"answer": target})
        assert (result.score, result.reason) == (score, reason)


@pytest.mark.parametrize(("answer", "target", "absolute", "relative", "score"), NUMERIC)
def test_numeric(answer, target, absolute, relative, score):
    assert get_reward("numeric", abs=absolute, rel=relative)(answer, {"answer": target}).score == score
