"""Measures of free text by the words that it shares with a reference."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from rapidfuzz.distance import LCSseq

from vision_rewards.parsers import split_words


def ngrams(words: Sequence[str], n: int) -> Counter:
    """Every run of n words with its number of occurrences."""
    return Counter(zip(*(words[start:] for start in range(n))))


def f1(shared: float, predicted: float, expected: float) -> float:
    """2 · shared / (predicted + expected), the harmonic mean of precision and recall; 0 where nothing is shared."""
    return 2.0 * shared / (predicted + expected) if shared else 0.0


def ngram_f1(predicted: Sequence[str], expected: Sequence[str], n: int) -> float:
    """ROUGE-n as F1, of words: shared n-grams, each as often as both sides have it (Lin 2004)."""
    first, second = ngrams(predicted, n), ngrams(expected, n)
    return f1((first & second).total(), first.total(), second.total())


def lcs_f1(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """ROUGE-L as F1, of words: their longest common subsequence (Lin 2004)."""
    return f1(LCSseq.similarity(predicted, expected), len(predicted), len(expected))


def rouge(prediction: str, reference: str, *, stem: bool = False) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, as F1 in [0, 1], under the keys `rouge1`, `rouge2` and `rougeL`.

    Equal to rouge-score on ASCII text. Letters of other scripts count here; rouge-score drops them, so that it scores
    two different Chinese sentences 0, and two equal ones 0 as well.

    Args:
        prediction: the answer.
        reference: the expected text.
        stem: reduce words of four letters or more by Porter's stemmer, as EasyVideoR1 does (needs nltk).
    """
    predicted, expected = split_words(prediction), split_words(reference)
    if stem:
        predicted, expected = stem_words(predicted), stem_words(expected)
    return {
        "rouge1": ngram_f1(predicted, expected, 1),
        "rouge2": ngram_f1(predicted, expected, 2),
        "rougeL": lcs_f1(predicted, expected),
    }


def bleu(prediction: str, references: Sequence[str], *, tokenize: str = "13a") -> float:
    """Sentence BLEU-4 in [0, 1]: sacrebleu's, with effective order and exponential smoothing.

    lmms-eval and VLMEvalKit report the corpus figure (`corpus_bleu`), which is not the mean of these.

    Args:
        prediction: the answer.
        references: accepted texts; more than one share their n-grams.
        tokenize: a tokenizer of sacrebleu: `13a`, `intl`, `zh`, `char`, `none`.
    """
    return min(1.0, _bleu(tokenize).sentence_score(prediction, list(references)).score / 100.0)


def corpus_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "13a") -> float:
    """Corpus BLEU-4 in [0, 1] by sacrebleu: n-grams are pooled before the geometric mean.

    Args:
        predictions: N answers.
        references: N lists of accepted texts, not necessarily of one length.
        tokenize: as in `bleu`.
    """
    most = max(map(len, references))
    streams = [[texts[index] if index < len(texts) else None for texts in references] for index in range(most)]
    return min(1.0, _bleu(tokenize, sentence=False).corpus_score(list(predictions), streams).score / 100.0)


@lru_cache
def _bleu(tokenize: str, sentence: bool = True):
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, effective_order=sentence, force=True)


def stem_words(words: Sequence[str]) -> list[str]:
    """Porter's stems of lower-case words (needs nltk)."""
    stemmer = _stemmer()
    # rouge-score's rule, which leaves short words alone.
    return [stemmer.stem(word) if len(word) > 3 else word for word in words]


@lru_cache
def _stemmer():
    try:
        from nltk.stem.porter import PorterStemmer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("stemming needs nltk: pip install nltk") from error
    return PorterStemmer()


def find_keywords(words: Sequence[str], keywords: Sequence[Sequence[Sequence[str]]]) -> tuple[list[int | None], int]:
    """Look for keywords as whole words.

    Args:
        words: the words of a text.
        keywords: for each keyword its synonyms, each as its words.

    Returns:
        (place, in words, of each keyword's first occurrence or None, number of occurrences of all together).
    """
    places_of: dict[tuple[str, ...], list[int]] = {}
    for index, forms in enumerate(keywords):
        for form in {tuple(form) for form in forms}:
            places_of.setdefault(form, []).append(index)
    sizes = sorted({len(form) for form in places_of})
    places: list[int | None] = [None] * len(keywords)
    occurrences = 0
    for size in sizes:
        for start in range(len(words) - size + 1):
            for index in places_of.get(tuple(words[start : start + size]), ()):
                occurrences += 1
                if places[index] is None or start < places[index]:
                    places[index] = start
    return places, occurrences


def longest_rise(places: Sequence[int | None]) -> int:
    """Length of the longest strictly rising subsequence, None left out."""
    tails: list[int] = []
    for place in places:
        if place is not None:
            position = bisect_left(tails, place)
            tails[position : position + 1] = [place]
    return len(tails)
