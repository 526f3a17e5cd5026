"""Measures of text by edit distance."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from vision_rewards.parsers import collapse_spaces


def edit_distance(first: Sequence, second: Sequence) -> int:
    """Levenshtein distance: insertions, deletions and substitutions, each 1, of characters or of list items."""
    return Levenshtein.distance(first, second)


def normalized_edit_similarity(first: Sequence, second: Sequence) -> float:
    """1 − distance / length of the longer, in [0, 1]; two empty sequences are alike (1)."""
    longest = max(len(first), len(second))
    return 1.0 - edit_distance(first, second) / longest if longest else 1.0


def character_error_rate(prediction: str, target: str) -> float:
    """Distance / characters of the target, unbounded above; for an empty target 0, or 1 if anything was predicted."""
    return edit_distance(prediction, target) / len(target) if target else float(bool(prediction))


def word_error_rate(prediction: str, target: str) -> float:
    """Distance in words / words of the target, unbounded above; for an empty target as `character_error_rate`."""
    predicted, expected = prediction.split(), target.split()
    return edit_distance(predicted, expected) / len(expected) if expected else float(bool(predicted))


def anls(prediction: str, targets: Sequence[str], *, threshold: float = 0.5, inclusive: bool = False) -> float:
    """ANLS of one question: best similarity to any target, 0 where the normalised distance reaches the threshold.

    Case and runs of white space are folded before both the distance and its denominator, so that padding gains nothing.

    Args:
        prediction: the answer.
        targets: accepted answers; an empty prediction scores 0 against all of them.
        threshold: τ, the normalised distance from which an answer counts as wrong.
        inclusive: keep a distance of exactly τ, as lmms-eval, VLMEvalKit and anls_star do; the paper (Biten et al.
            2019) does not.
    """
    prediction = collapse_spaces(prediction).lower()
    best = 0.0
    for target in targets:
        target = collapse_spaces(target).lower()
        longest = max(len(prediction), len(target))
        if not prediction or not longest:
            continue
        distance = edit_distance(prediction, target) / longest
        if distance < threshold or (inclusive and distance == threshold):
            best = max(best, 1.0 - distance)
    return best


def anls_lmms_eval(prediction: str, targets: Sequence[str], *, threshold: float = 0.5) -> float:
    """ANLS of one question as lmms-eval and VLMEvalKit compute it: for their numbers, not for training.

    The distance is of the normalised strings, its denominator of the raw ones, so that padding an answer with blanks
    raises its score; a distance of exactly τ counts; two empty strings are alike (1).
    """
    best = 0.0
    for target in targets:
        distance = edit_distance(" ".join(target.lower().split()), " ".join(prediction.lower().split()))
        # Some letters grow in upper case, which is what the suites measure.
        longest = max(len(target.upper()), len(prediction.upper()))
        best = max(best, 1.0 - (distance / longest if longest else 0.0))
    return best if best >= threshold else 0.0


def ocrbench_accuracy(prediction: str, targets: Sequence[str], *, formulas: bool = False) -> float:
    """OCRBench's accuracy of one question, 0 or 1: whether any answer is a part of the prediction. For its number only.

    Any long enough dump scores 1: "1 2 3 4 5 6 7" contains the answer "7".

    Args:
        prediction: the answer.
        targets: accepted answers.
        formulas: compare with case and without blanks, as for HME100k; else without case, lines joined.
    """
    predicted, *expected = (
        text.strip().replace("\n", " ").replace(" ", "") if formulas else text.lower().strip().replace("\n", " ")
        for text in (prediction, *targets)
    )
    return float(any(text in predicted for text in expected))


def pooled_edit_distance(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """All character edits / the sum of the longer lengths, in [0, 1], as OmniDocBench scores the texts of a page."""
    _check_pairs(predictions, targets)
    longest = sum(max(len(prediction), len(text)) for prediction, text in zip(predictions, targets))
    return sum(map(edit_distance, predictions, targets)) / longest if longest else 0.0


def corpus_word_error_rate(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """All edits in words / all words of the targets, as jiwer pools them: not the mean of `word_error_rate`."""
    return _pooled_rate([text.split() for text in predictions], [text.split() for text in targets])


def corpus_character_error_rate(predictions: Sequence[str], targets: Sequence[str]) -> float:
    """All edits in characters / all characters of the targets: not the mean of `character_error_rate`."""
    return _pooled_rate(predictions, targets)


def _pooled_rate(predictions: Sequence[Sequence], targets: Sequence[Sequence]) -> float:
    _check_pairs(predictions, targets)
    edits, length = sum(map(edit_distance, predictions, targets)), sum(map(len, targets))
    return edits / length if length else float(edits > 0)


def _check_pairs(predictions: Sequence, targets: Sequence) -> None:
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets: one for each is needed")
