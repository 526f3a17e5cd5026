"""Moments and stretches of time in an answer, in seconds to the nanosecond."""

from __future__ import annotations

import re

from vision_rewards.parsers.numbers import fold_digits
from vision_rewards.parsers.short_answers import bare

MAX_TIME = 1e7  # seconds; about 115 days
MAX_INTERVALS = 100

_NUM = r"(?:[0-9]{1,9}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})"
_CLOCK = r"[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9])?(?:\.[0-9]{1,9})?(?:\s?s(?:ec(?:ond)?s?)?(?![a-z]))?"
_H, _M, _S = (rf"{_NUM}\s?(?:{names})(?![a-z])" for names in ("hours?|hrs?|h", "minutes?|mins?|m", "seconds?|secs?|s"))
_AMOUNT = rf"(?:{_H}(?:\s?{_M})?(?:\s?{_S})?|{_M}(?:\s?{_S})?|{_S})"
# Not inside a word or a longer number, not a per cent, a frame number or milliseconds.
_TIME = (
    rf"(?<![\w.:])(?:{_CLOCK}|{_AMOUNT}|{_NUM})"
    r"(?![0-9a-z_]|\.[0-9]|:[0-9]|\s?(?:%|percent|frames?\b|ms\b|msecs?\b|milli))"
)
_QUOTED = rf"[\"']?({_TIME})[\"']?"
_TO = r"\s{0,3}(?:-{1,2}>?|–|—|~|→|to\b|until\b|till\b|through\b)\s{0,3}"
_NAME = r"(?:[_ ]?(?:time|sec(?:ond)?s?))?[\"']?\s{0,3}(?::|=|is\b|at\b)?\s{0,3}"
_INTERVAL = re.compile(
    rf"[\[(]\s{{0,3}}{_QUOTED}(?:\s{{0,3}},\s{{0,3}}|{_TO}){_QUOTED}\s{{0,3}}[\])]"
    rf"|\bbetween\s{{1,3}}({_TIME})\s{{1,3}}and\s{{1,3}}({_TIME})"
    rf"|[\"']?\bstart(?:s|ing)?{_NAME}{_QUOTED}\s{{0,3}}[,;]?\s{{0,3}}(?:and\s{{1,3}})?(?:the\s)?(?:it\s)?"
    rf"[\"']?\bend(?:s|ing)?{_NAME}{_QUOTED}"
    rf"|(?<!-)({_TIME}){_TO}({_TIME})"
)
# Other spellings, written as the patterns above have them.
_EMPHASIS = re.compile(r"[*_`]{2}|[*`]")
_TAGS = re.compile(r"</?(?:time|timestamps?|interval|span|segment)>")
_SRT = re.compile(r"(?<=:[0-5][0-9]),(?=[0-9]{3}(?![0-9]))")
_AND_UNIT = re.compile(
    rf"(?<=[a-z])\s{{0,3}}(?:,\s{{0,3}}and|and|,)\s{{1,3}}(?={_NUM}\s?(?:minutes?|mins?|m|seconds?|secs?|s)(?![a-z]))"
)
_COARSE = re.compile(rf"{_NUM}\s?(?:hours?|hrs?|h|minutes?|mins?|m)\Z")
_NTH = re.compile(
    rf"(?:the\s)?({_NUM})(?:st|nd|rd|th)\s(seconds?|minutes?)(?![a-z])|(?:the\s)?\b(seconds?)\s({_NUM})(?![\w.:])"
)
_VARIABLE = re.compile(r"\bt\s?=\s?(?=[0-9.])")
_IN_PARENTHESES = re.compile(rf"\(\s{{0,3}}({_TIME})\s{{0,3}}\)")
_LENGTH = re.compile(r"\([^()]{0,40}\b(?:long|duration|length|in total|lasting)\b[^()]{0,20}\)")
_BEGINS = re.compile(r"\bbeg(?:ins?|inning|an)\b")
_FINISHES = re.compile(r"\b(?:finish(?:es|ing)?|stops?|conclud(?:es|ing))\b")
_CHINESE = str.maketrans(
    {"第": "", "时": "h", "分": "m", "秒": "s", "从": " from ", "到": " to ", "至": " to ", "，": ",", "：": ":"}
)
_LONE_PAIR = re.compile(
    rf"(?:(?:time(?:stamps?)?|interval|span)\s?[:=])?\s{{0,3}}({_TIME})\s{{0,3}}(?:,|;|&|\band\b|\n)\s{{0,3}}"
    rf"({_TIME})\s{{0,3}}\.?\s{{0,3}}"
)
_AT_EACH = re.compile(
    rf"\bat\s({_TIME}),?\s[^0-9.;]{{0,60}}\bstarts?\b[^0-9.]{{0,40}}({_TIME}),?\s[^0-9.]{{0,40}}\bends?\b[^0-9]{{0,20}}"
)
_ONE_TIME = re.compile(rf"(?<!-){_TIME}")
_FRAME = re.compile(r"\bframes?\s{0,3}[0-9]")
_UNIT = re.compile(rf"({_NUM})\s?([a-z]*)")
_PLAIN = re.compile(_NUM)
# The usual answers, read without the patterns above, which agree.
_USUAL_TIME = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?|[0-9]{1,3}:[0-5][0-9](?::[0-5][0-9])?(?:\.[0-9]{1,9})?")
_USUAL_INTERVAL = re.compile(r"\[ ?([0-9]{1,9}(?:\.[0-9]{1,9})?), ?([0-9]{1,9}(?:\.[0-9]{1,9})?) ?\]")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}


def parse_timestamp(text: str) -> tuple[float | None, str]:
    """Read the one moment in the text: `12.5`, `12.5 s`, `1 min 30 s`, `1m30s`, `00:12`, `00:00:12.5`.

    A number without a unit is in seconds; `a:b` is minutes and seconds, `a:b:c` starts with hours.

    Returns:
        (seconds, "ok"), or (None, reason): "many_times" where there are several, "unparsable" where there is none, or
        digits that are none (a per cent, a frame number, 12:75, -3).
    """
    if _USUAL_TIME.fullmatch(text):
        seconds = _seconds(text)
        return (seconds, "ok") if seconds <= MAX_TIME else (None, "unparsable")
    text = _in_one_spelling(bare(text))
    times = _ONE_TIME.findall(text)
    if len(times) > 1:
        return None, "many_times"
    if not times or _FRAME.search(text) or _has_digit(_ONE_TIME.sub(" ", text)):
        return None, "unparsable"
    seconds = _seconds(times[0])
    return (seconds, "ok") if seconds <= MAX_TIME else (None, "unparsable")


def parse_intervals(text: str) -> tuple[list[tuple[float, float]], str]:
    """Read every stretch of time in the text, with times as in `parse_timestamp`.

    The forms: `12.5 s to 20 s`, `12.5-20`, `00:12 – 00:20`, `from a to b`, `between a and b`, `[a, b]`, `(a, b)`,
    `start: a, end: b`, and JSON of the last three (`{"start": a, "end": b}`, `{"time": [a, b]}`, lists of these). A
    unit that stands only once holds for both ends.

    Returns:
        (intervals, reason). Reason is "ok"; "unparsable" where there is none, or digits that belong to none;
        "bad_interval" where a start is not before its end, or an end beyond `MAX_TIME`; "many_intervals" for more than
        `MAX_INTERVALS`.
    """
    if usual := _USUAL_INTERVAL.fullmatch(text):
        interval = _interval(usual[1], usual[2])
        return [interval], "ok" if is_time_span(*interval) else "bad_interval"
    text = _in_one_spelling(bare(text))
    for pattern in (_LONE_PAIR, _AT_EACH):
        if pair := pattern.fullmatch(text):
            interval = _interval(pair[1], pair[2])
            return [interval], "ok" if is_time_span(*interval) else "bad_interval"
    intervals = []
    for match in _INTERVAL.finditer(text):
        first, last = (group for group in match.groups() if group is not None)
        intervals.append(_interval(first, last))
    if not intervals or _FRAME.search(text) or _has_digit(_INTERVAL.sub(" ", text)):
        return intervals, "unparsable"
    if len(intervals) > MAX_INTERVALS:
        return intervals, "many_intervals"
    return intervals, "ok" if all(is_time_span(*interval) for interval in intervals) else "bad_interval"


def is_time_span(start: float, end: float) -> bool:
    """Whether 0 ≤ start < end ≤ `MAX_TIME`, with more than a microsecond between them."""
    return 0 <= start < end <= MAX_TIME and end - start > 1e-6


def round_time(seconds: float) -> float:
    """To the nanosecond, as every reader here does, so that a written time reads back as the same float."""
    return round(float(seconds), 9)


def format_time(seconds: float) -> str:
    """Seconds as `parse_timestamp` reads them back."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


def _in_one_spelling(text: str) -> str:
    """A text in lower case with its times, and the words between two of them, as the patterns above have them."""
    text = fold_digits(text)
    if not text.isascii():
        text = text.replace("小时", "h").replace("分钟", "m").translate(_CHINESE).strip(" 。")
    if "*" in text or "_" in text or "`" in text:
        text = _EMPHASIS.sub("", text)
    if ":" in text and "," in text:
        text = _SRT.sub(".", text)
    if "=" in text:
        text = _VARIABLE.sub("", text)
    if "sec" in text or "min" in text:
        text = _NTH.sub(lambda m: f"{m[1] or m[4]} {m[2] or m[3]}", text)
    if "<" in text:
        text = _TAGS.sub(" ", text)
    if "(" in text:
        text = _IN_PARENTHESES.sub(r"\1", _LENGTH.sub(" ", text))
    if " and " in text or "," in text:
        text = _AND_UNIT.sub(lambda m: " " if _COARSE.search(text[max(0, m.start() - 40) : m.start()]) else m[0], text)
    if "beg" in text:
        text = _BEGINS.sub("starts", text)
    if "finish" in text or "stop" in text or "conclud" in text:
        text = _FINISHES.sub("ends", text)
    return text


def _interval(first: str, last: str) -> tuple[float, float]:
    if _PLAIN.fullmatch(first) and (unit := _lone_unit(last)):
        first += unit
    elif _PLAIN.fullmatch(last) and (unit := _lone_unit(first)):
        last += unit
    return _seconds(first), _seconds(last)


def _lone_unit(time: str) -> str:
    amounts = _UNIT.findall(time)
    return amounts[0][1][:1] if ":" not in time and len(amounts) == 1 else ""


def _seconds(time: str) -> float:
    if ":" not in time:
        return round_time(sum(float(number) * _SECONDS[unit[:1]] for number, unit in _UNIT.findall(time)))
    seconds = 0.0
    for field in time.rstrip("econds ").split(":"):
        seconds = seconds * 60 + float(field)
    return round_time(seconds)


def _has_digit(text: str) -> bool:
    return any(character.isnumeric() for character in text)
