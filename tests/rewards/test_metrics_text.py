"""The measures of text against reference libraries, published tables and the formulas written another way."""

import math
import random
import string

import pytest

from vision_rewards import metrics

ALPHABET = "ab cd\té,.1"


def random_texts(seed, count, alphabet=ALPHABET, most=14):
    rng = random.Random(seed)
    return ["".join(rng.choices(alphabet, k=rng.randrange(most))) for _ in range(count)]


WORDS = ["red", "car", "turns", "left", "a", "the", "cars", "turning", "stops", "runners", "nationally"]


def sentences(seed, count, words=WORDS):
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=rng.randrange(1, 12))) for _ in range(count)]


def table_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def test_error_rates_agree_with_jiwer():
    jiwer = pytest.importorskip("jiwer", reason="jiwer is a development dependency")
    said, expected = sentences(0, 300), sentences(1, 300)
    for prediction, target in zip(said, expected):
        assert metrics.word_error_rate(prediction, target) == pytest.approx(jiwer.wer(target, prediction), abs=1e-9)
        assert metrics.character_error_rate(prediction, target) == pytest.approx(
            jiwer.cer(target, prediction), abs=1e-9
        )
    assert metrics.corpus_word_error_rate(said, expected) == pytest.approx(jiwer.wer(expected, said), abs=1e-9)
    assert metrics.corpus_character_error_rate(said, expected) == pytest.approx(jiwer.cer(expected, said), abs=1e-9)


def test_pooled_rates():
    # 1 of 2 words and 0 of 3: 1/5, where the mean is 1/4.
    assert metrics.corpus_word_error_rate(["a x", "a b c"], ["a b", "a b c"]) == 1 / 5
    # 2 edits of 4 characters and 0 of 1, whichever side is the longer one.
    assert metrics.pooled_edit_distance(["abcd", "x"], ["ab", "x"]) == 2 / 5
    assert metrics.pooled_edit_distance(["ab", "x"], ["abcd", "x"]) == 2 / 5
    assert metrics.pooled_edit_distance(["", "x"], ["abcd", "x"]) == 4 / 5
    assert metrics.normalized_edit_similarity("ab", "abcd") == metrics.normalized_edit_similarity("abcd", "ab") == 1 / 2
    assert metrics.pooled_edit_distance([], []) == metrics.corpus_word_error_rate([], []) == 0
    with pytest.raises(ValueError, match="1 predictions for 2 targets"):
        metrics.corpus_character_error_rate(["a"], ["a", "b"])


def paper_anls(prediction, targets, tau, strict):
    best = 0.0
    a = " ".join(prediction.split()).lower()
    for target in targets:
        b = " ".join(target.split()).lower()
        if a and b:
            distance = table_distance(a, b) / max(len(a), len(b))
            if distance < tau or (distance == tau and not strict):
                best = max(best, 1 - distance)
    return best


def test_anls_equals_the_paper():
    predictions, targets = random_texts(2, 400, most=9), random_texts(3, 400, most=9)
    rng = random.Random(4)
    ties = 0
    for prediction, target in zip(predictions, targets):
        both, tau = [target, rng.choice(targets)], rng.choice([0.5, 0.5, 0.25])
        strict = metrics.anls(prediction, both, threshold=tau)
        loose = metrics.anls(prediction, both, threshold=tau, inclusive=True)
        assert strict == pytest.approx(paper_anls(prediction, both, tau, True), abs=1e-12)
        assert loose == pytest.approx(paper_anls(prediction, both, tau, False), abs=1e-12)
        ties += strict != loose
    assert ties > 5


@pytest.mark.parametrize(
    ("prediction", "targets", "suites", "paper"),
    [
        # Padding dilutes the distance: 5 edits of 35 characters.
        ("tokyo" + " " * 30, ["paris"], 1 - 5 / 35, 0),
        ("tokyo", ["paris"], 0, 0),
        ("ab", ["ac"], 0.5, 0),
        ("500", ["$500"], 0.75, 0.75),
        ("", [""], 1, 0),
        ("", ["a"], 0, 0),
        ("Paris", ["paris", "london"], 1, 1),
        ("straße", ["strasse"], 1 - 2 / 7, 1 - 2 / 7),
    ],
)
def test_anls_of_the_suites(prediction, targets, suites, paper):
    assert metrics.anls_lmms_eval(prediction, targets) == pytest.approx(suites)
    assert metrics.anls(prediction, targets) == pytest.approx(paper)


@pytest.mark.parametrize(
    ("prediction", "target", "score", "formula_score"),
    [
        ("1 2 3 4 5 6 7 8 9 10", "7", 1, 1),
        ("The SIGN says Exit", "exit", 1, 0),
        ("exit", "the exit", 0, 0),
        ("ex it", "exit", 0, 1),
        ("two\nlines", "two lines", 1, 1),
        ("", "x", 0, 0),
        (r"\frac { a } { b }", r"\frac{a}{b}", 0, 1),
    ],
)
def test_ocrbench(prediction, target, score, formula_score):
    assert metrics.ocrbench_accuracy(prediction, ["nothing", target]) == score
    assert metrics.ocrbench_accuracy(prediction, [target], formulas=True) == formula_score


# pix2struct's own test: exact match 12.5, ANLS 47.5, relaxed accuracy 62.5 of 100.
PIX2STRUCT = [
    ("abc", "abc"),
    ("abc", "Abc"),
    ("Abc", "abc"),
    ("100%", "96%"),
    ("100%", "94%"),
    ("100%", "0.96"),
    ("100%", "0.94"),
    ("Don't", "Won't"),
]


def test_pix2structs_table():
    assert sum(metrics.relaxed_accuracy(*pair) for pair in PIX2STRUCT) / 8 == 0.625
    assert sum(metrics.anls(said, [target]) for said, target in PIX2STRUCT) / 8 == pytest.approx(0.475)
    assert sum(said == target for said, target in PIX2STRUCT) / 8 == 0.125


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("2014", "2019", 1),
        ("1914", "2019", 0),
        ("5%", "0.05", 1),
        ("5%", "5", 0),
        ("0.0", "0", 0),
        ("0", "0", 1),
        ("1,000", "1000", 0),
        ("1_000", "1000", 1),
        ("$5", "5", 0),
        ("5 million", "5000000", 0),
        ("nan", "5", 0),
        ("5", "nan", 0),
        ("nan", "nan", 0),
        ("inf", "inf", 0),
        ("1.0501", "1", 0),
        ("Yes", "yes", 1),
        ("-96", "-100", 1),
    ],
)
def test_relaxed_accuracy_as_published(prediction, target, score):
    assert metrics.relaxed_accuracy(prediction, target) == score


# mmf's test of the EvalAI processor, and the script's quirks.
NORMALIZED = [
    ("two", "2"),
    ("a building", "building"),
    ("snow, mountain", "snow mountain"),
    ("isnt", "isn't"),
    ("the two mountain's \t \n   ", "2 mountain 's"),
]
QUIRKS = [
    ("none", "0"),
    ("a/b", "b"),
    ("U.S.A.", "usa"),
    ("3.5", "3.5"),
    ("v. 2", "v 2"),
    ("1,000-2", "10002"),
    ("red-blue", "red blue"),
    ("red -blue", "red blue"),
    ("John's", "john's"),
    ("couldntve", "couldntve"),
    ("couldnt've", "couldn't've"),
    ("somebody'd", "somebodyd"),
    ("eleven", "eleven"),
    (". " * 40, " ".join(["."] * 8)),
    ("the", ""),
]


def test_vqa_normalisation():
    for text, expected in NORMALIZED:
        assert metrics.vqa_normalize(text, evalai=True) == expected
    for text, expected in QUIRKS:
        assert metrics.vqa_normalize(text) == expected, text


def official_vqa(prediction, answers):
    """The official loop: each annotator in turn is left out, and the rest are asked."""
    total = 0
    for index in range(len(answers)):
        others = answers[:index] + answers[index + 1 :]
        total += min(1, sum(other == prediction for other in others) / 3)
    return total / len(answers)


def test_vqa_accuracy_equals_the_official_loop():
    rng = random.Random(5)
    words = ["red", "The red", "two", "2", "a dog!", "dog", "", "don't", "dont"]
    for _ in range(500):
        answers, said = rng.choices(words, k=rng.choice([2, 3, 10, 10])), rng.choice(words)
        normal = list(map(metrics.vqa_normalize, answers))
        expected = official_vqa(metrics.vqa_normalize(said), normal)
        assert metrics.vqa_accuracy(said, answers) == pytest.approx(expected, abs=1e-9)
        # The script normalises the punctuation of answers only where they differ: "a dog!" becomes "a dog ".
        raw = [answer.replace("!", " ") for answer in answers] if len(set(answers)) > 1 else answers
        expected = official_vqa(metrics.vqa_normalize(said), raw)
        assert metrics.vqa_accuracy_official(said, answers) == pytest.approx(expected, abs=1e-9)
    assert metrics.vqa_accuracy("x", ["x"]) == 0
    assert metrics.vqa_accuracy("two", ["two"] * 10) == 1
    assert metrics.vqa_accuracy_official("two", ["two"] * 10) == 0


@pytest.mark.parametrize("stem", [False, True])
def test_rouge_agrees_with_rouge_score(stem):
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is a development dependency")
    reference = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stem)
    texts = sentences(6, 200) + random_texts(7, 200, string.printable, most=60)
    others = sentences(8, 200) + random_texts(9, 200, string.printable, most=60)
    for prediction, target in zip(texts, others):
        expected = {name: score.fmeasure for name, score in reference.score(target, prediction).items()}
        assert metrics.rouge(prediction, target, stem=stem) == pytest.approx(expected, abs=1e-9)


def bleu4(said, expected):
    """Papineni et al.'s geometric mean for sentences of four words or more whose n-grams all match somewhere."""
    logs = 0.0
    for n in range(1, 5):
        grams = [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]
        others = [tuple(expected[i : i + n]) for i in range(len(expected) - n + 1)]
        matched = sum(min(grams.count(gram), others.count(gram)) for gram in set(grams))
        if not matched:
            return None
        logs += math.log(matched / len(grams)) / 4
    return math.exp(logs + min(0.0, 1 - len(expected) / len(said)))


def test_bleu_equals_the_geometric_mean():
    compared = 0
    for prediction, target in zip(sentences(10, 3000, ["a", "b"]), sentences(11, 3000, ["a", "b"])):
        expected = bleu4(prediction.split(), target.split())
        if expected is not None:
            assert metrics.bleu(prediction, [target]) == pytest.approx(expected, abs=1e-9)
            compared += 1
    assert compared > 200
    assert metrics.bleu("the cat sat on the mat", ["the cat sat on the mat"]) == 1
    assert metrics.bleu("", ["a"]) == metrics.bleu("b", ["a"]) == 0


def test_corpus_bleu_pools_and_takes_several_references():
    sacrebleu = pytest.importorskip("sacrebleu")
    said = ["the cat sat on the mat today", "a red car turns left here"]
    references = [["the cat sat on a mat today", "a cat sat on the mat"], ["a red car turns left now"]]
    expected = sacrebleu.corpus_bleu(said, [[texts[0] for texts in references], [references[0][1], None]]).score / 100
    assert metrics.corpus_bleu(said, references) == pytest.approx(expected, abs=1e-9)
    single = metrics.corpus_bleu(said, [texts[:1] for texts in references])
    assert single != pytest.approx(sum(metrics.bleu(a, b[:1]) for a, b in zip(said, references)) / 2, abs=1e-3)


def test_formula_similarity():
    assert metrics.formula_similarity("$x^2$", "x^{2}") == 1
    assert metrics.formula_similarity("x^3", "x^2") == pytest.approx(2 / 3)
    assert metrics.formula_similarity("", "") == metrics.formula_similarity(r"\quad", "x") == 0
