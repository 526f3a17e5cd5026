"""What a reasoning concludes."""

from __future__ import annotations

import re

from vision_rewards.parsers.extract import MAX_ANSWER, MAX_COMPLETION, closes, last_boxed, last_think_tags

_PHRASE = re.compile(
    r"(?<!\w)(?:"
    r"(?:answer|conclusion|result)(?:\s{1,3}(?:here|then|now|must|should|would|will|to\s{1,3}be)){0,3}"
    r"\s{0,3}(?:(?:is|be)(?!\w)\s{0,3}:?|[:=])"
    r"|(?:option|choice)\s{1,3}(?:is(?!\w)\s{0,3}:?|:)"
    r"|(?:i|we)\s{1,3}(?:choose|select|pick|conclude(?:\s{1,3}that)?)(?!\w)"
    r"|(?:thus|so|hence|therefore|i\s{1,3}(?:think|believe|conclude|guess)(?:\s{1,3}that)?)\s{0,2},?\s{1,3}it(?:['’]s|\s{1,3}is)(?!\w)"
    r")\s{0,5}|(?P<boxed>\\boxed\{)",
    re.IGNORECASE,
)
_REASON = re.compile(r",?\s(?:because|since)\s", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


def extract_thinking(completion: str) -> str | None:
    """The text before the last `</think>`, from the `<think>` before it on, if there is one.

    None where there is no `</think>`, where a `<think>` follows it, or where the completion is over `MAX_COMPLETION`.
    """
    if len(completion) > MAX_COMPLETION:
        return None
    last, *before = last_think_tags(completion, 2) or (None,)
    if last is None or not closes(last):
        return None
    return completion[before[0].end() if before else 0 : last.start()]


def stated_conclusions(thinking: str) -> list[str]:
    """The ways to read the last conclusion that a reasoning states, shortest first; empty where it states none.

    A conclusion follows "answer is", "answer:", "answer =" (or "conclusion", "result", and "option is", "choice is"),
    "I choose" (select, pick, conclude; we), "I think it is", "so it's" (thus, hence, therefore), or stands in
    `\\boxed{}`. Of a phrase, the rest of its sentence (up to a "because" too), the rest of its line, and all that
    follows are readings, since an answer may contain full stops and line breaks.
    """
    phrases = list(_PHRASE.finditer(thinking))
    if not phrases:
        return []
    last = phrases[-1]
    if last["boxed"]:
        inside = last_boxed(thinking)
        readings = [inside] if inside is not None else []
    else:
        rest = thinking[last.end() :].strip()
        sentence = _SENTENCE_END.split(rest, maxsplit=1)[0]
        readings = [_REASON.split(sentence, maxsplit=1)[0], sentence, rest.split("\n", 1)[0], rest]
    return list(dict.fromkeys(text.strip() for text in readings if text.strip() and len(text) <= MAX_ANSWER))
