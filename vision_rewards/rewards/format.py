"""The form of a completion: its tags, and the JSON of its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from vision_rewards.parsers import MAX_COMPLETION, TAG_NAME, all_boxed, extract_answer
from vision_rewards.types import Reward, RewardResult, TargetError, param

_TAG = re.compile(r"</?(?:think|answer)>", re.IGNORECASE | re.ASCII)
_ANSWER = ["<answer>", "</answer>"]
_THINK = ["<think>", "</think>"]
_THOUGHT = "I look at it."
# What each pattern demands: tags one after the other, and what may follow the last one.
_ORDERS = {
    "think_answer": (("think", "answer"), ""),
    "think": (("think",), "text"),
    "think_boxed": (("think",), "boxed"),
}
_THINK_TAG = re.compile(r"</?think>")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)
_POINTS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2, "examples": [[3, 4]]}


@dataclass(frozen=True, kw_only=True)
class Format(Reward):
    """1 if the completion has the asked-for tags, once each, in order and with text inside, and its JSON is valid."""

    name = "format"
    summary = "Tags of thinking and answer, and the JSON schema of the answer; says nothing about its truth."
    target_keys: ClassVar = {"schema?": "JSON Schema (2020-12) of the answer, in place of the parameter `json_schema`"}
    formula = (
        "answer: one non-empty `<answer>…</answer>` ends the completion, `<think>…</think>` may precede it; "
        "think_answer: `<think>…</think><answer>…</answer>` and nothing else, both non-empty; "
        "think: `<think>…</think>` and then text; think_boxed: the same with one `\\boxed{…}` in the text; "
        "none: some text and none of these tags. With `tags`: these tags, in this order, each non-empty, and nothing "
        "else. Where a template opened `<think>` in the prompt, the completion starts inside it. With a "
        "schema also: the answer, bare or in one code fence, is JSON that validates"
    )
    source = (
        "the format rewards of DeepSeek-R1's followers (Visual-RFT: full match); think: TRL's `think_format_reward`, "
        "but for empty thoughts; think_boxed: EasyR1's `math`; the JSON checks of EasyVideoR1"
    )
    closes = (
        "repeated or nested tags score 0",
        "empty tags score 0",
        "text after the answer scores 0",
        "NaN, Infinity and repeated keys are not JSON",
        "text around the JSON scores 0",
    )
    is_answer = False
    part_defaults: ClassVar = {"tags": 0.0, "json": None}
    examples = (
        ({}, "<think>It says EXIT.</think><answer>EXIT</answer>", "both tags, once each"),
        ({}, "<answer>EXIT</answer> I hope", "text follows the answer"),
        ({}, "It says EXIT.", "`think_answer` wants both tags", {"pattern": "think_answer"}),
        ({}, "It says EXIT.</think>EXIT", "the prompt opened the thinking", {"pattern": "think"}),
        ({}, "<think>2 + 1</think>So \\boxed{3}.", "a boxed answer", {"pattern": "think_boxed"}),
        ({}, "<observe>A sign.</observe><answer>EXIT</answer>", "tags of one's own", {"tags": ["observe", "answer"]}),
        ({}, "EXIT", "no tags were asked for", {"pattern": "none"}),
        ({"schema": _POINTS}, "<answer>[12, 30]</answer>", "the answer is JSON of the row's schema"),
        ({"schema": _POINTS}, "<answer>[12]</answer>", "JSON, but not of the schema"),
    )

    pattern: str = param(
        "answer", "the demanded form", choices=("answer", "think_answer", "think", "think_boxed", "none")
    )
    tags: Sequence[str] | None = param(
        None, "names of tags, in the order that is demanded, in place of `pattern`: `[observe, think, answer]`"
    )
    json_schema: Mapping[str, Any] | None = param(
        None, "JSON Schema of every answer; its `examples`, of which the first serves as the gold answer, must validate"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.tags is not None:
            tags = self.tags if isinstance(self.tags, (list, tuple)) else ()
            if not tags or not all(isinstance(tag, str) and TAG_NAME.fullmatch(tag) for tag in tags):
                raise ValueError(f"reward 'format': parameter 'tags': {self.tags!r} is not a list of names of tags")
            if len(set(tags)) != len(tags):
                raise ValueError(f"reward 'format': parameter 'tags': {list(tags)} names one tag twice")
        if self.json_schema is not None:
            problem = _schema_problem(_text_of(self.json_schema))
            if problem:
                raise ValueError(f"reward 'format': parameter 'json_schema' {problem}")

    def check_target(self, target):
        if target.get("schema") is not None and (problem := _schema_problem(_text_of(target["schema"]))):
            raise TargetError(f"'schema' {problem}")

    def dress(self, completion):
        """Add the tags that are missing; text that has them keeps them."""
        if self.tags is not None:
            return _dress_tags(completion, tuple(self.tags))
        if self.pattern == "none":
            return completion
        if self.pattern == "think_boxed" and "\\boxed{" not in completion:
            completion = f"\\boxed{{{completion}}}"
        if self.pattern in ("answer", "think_answer") and "<answer>" not in completion:
            completion = f"<answer>{completion}</answer>"
        if self.pattern != "answer" and "<think>" not in completion:
            completion = f"<think>{_THOUGHT}</think>{completion}"
        return completion

    def gold(self, target):
        schema = self._schema(target)
        return self.dress("answer" if schema is None else json.dumps(schema["examples"][0]))

    def _schema(self, target: Mapping[str, Any]) -> Mapping[str, Any] | None:
        schema = target.get("schema")
        return self.json_schema if schema is None else schema

    def score(self, completion, target):
        schema = self._schema(target)
        if not completion.strip() or len(completion) > MAX_COMPLETION:
            reason = "no_answer" if not completion.strip() else "too_long"
            return RewardResult(0.0, {"tags": 0.0, "json": None if schema is None else 0.0}, None, reason)
        tags = self._matches(completion)
        valid, reason = (True, "ok") if schema is None else _valid_answer(completion, schema)
        parts = {"tags": float(tags), "json": None if schema is None else float(valid)}
        return RewardResult(float(tags and valid), parts, None, reason if tags else "wrong_format")

    def _matches(self, completion: str) -> bool:
        if self.tags is not None:
            return _in_order(completion, tuple(self.tags), "")
        if self.pattern == "none":
            return not _TAG.search(completion)
        completion = _open_thought(completion)
        if self.pattern in _ORDERS:
            return _in_order(completion, *_ORDERS[self.pattern])
        tags = [match.group() for match in _TAG.finditer(completion)]
        texts = [text.strip() for text in _TAG.split(completion)]
        if tags == _ANSWER:
            return bool(texts[1]) and not texts[2]
        return tags == _THINK + _ANSWER and bool(texts[3]) and not texts[4]


def _dress_tags(completion: str, tags: tuple[str, ...]) -> str:
    """The completion's own texts in these tags, and a filler in those that it lacks; other text is the answer's."""
    texts, rest = {}, completion
    for tag in tags:
        if match := re.search(rf"<{tag}>(.*?)</{tag}>", rest, re.DOTALL):
            texts[tag], rest = match[1], rest.replace(match[0], "", 1)
    home = "answer" if "answer" in tags else tags[-1]
    if rest.strip() and home not in texts:
        texts[home] = rest
    return "".join(f"<{tag}>{texts.get(tag, _THOUGHT)}</{tag}>" for tag in tags)


def _open_thought(completion: str) -> str:
    """The completion with the `<think>` that a chat template opened in the prompt."""
    first = _THINK_TAG.search(completion)
    return f"<think>{completion}" if first is not None and first.group() == "</think>" else completion


def _in_order(completion: str, tags: tuple[str, ...], rest: str) -> bool:
    """Whether the completion is these tags, each once and with text inside, and then nothing, text, or a boxed answer.

    A text may mention the start of a later tag, as thinking about the format does, but ends none.
    """
    place = 0
    for number, tag in enumerate(tags):
        start, end = f"<{tag}>", f"</{tag}>"
        opened = completion.find(start, place)
        closed = completion.find(end, opened + len(start)) if opened >= 0 else -1
        if closed < 0 or completion[place:opened].strip():
            return False
        inside = completion[opened + len(start) : closed]
        last = number == len(tags) - 1
        if not inside.strip() or start in inside or any(f"</{other}>" in inside for other in tags):
            return False
        if last and not rest and any(f"<{other}>" in inside for other in tags):
            return False
        place = closed + len(end)
    text = completion[place:].strip()
    if not rest:
        return not text
    if not text or _THINK_TAG.search(text):
        return False
    return rest == "text" or [bool(inside.strip()) for inside in all_boxed(text)] == [True]


def _text_of(schema: Any) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"! {error}"


@lru_cache(maxsize=256)
def _schema_problem(text: str) -> str | None:
    """What is wrong with a schema given as JSON, None if nothing."""
    if text.startswith("!"):
        return f"is not JSON:{text[1:]}"
    from jsonschema import Draft202012Validator, SchemaError
    from referencing.exceptions import Unresolvable

    schema = json.loads(text)
    if not isinstance(schema, dict):
        return f"is {text[:60]}, not an object"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema: {' '.join(error.message.split())[:200]}"
    examples = schema.get("examples")
    if not isinstance(examples, list) or not examples:
        return "has no `examples`; give one answer that it accepts"
    try:
        accepted = _validator(text).is_valid(examples[0])
    except Unresolvable as error:
        return f"refers to something outside itself: {' '.join(str(error).split())[:200]}"
    return None if accepted else f"does not accept its own example {str(examples[0])[:60]}"


def _valid_answer(completion: str, schema: Mapping[str, Any]) -> tuple[bool, str]:
    from vision_rewards.pool import Exceeded, bounded

    answer, reason = extract_answer(completion, "auto")
    if answer is None:
        return False, reason
    if fenced := _FENCE.fullmatch(answer):
        answer = fenced[1]
    try:
        return bounded(is_valid_json, answer, _text_of(schema))
    except Exceeded as error:
        return False, f"exceeded_{error.kind}"


@lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # An explicit registry, since the default one fetches references from the network.
    return Draft202012Validator(json.loads(schema), registry=Registry())


def is_valid_json(text: str, schema: str) -> tuple[bool, str]:
    """Whether text is JSON that a schema accepts: (True, "ok"), or (False, "unparsable" or "schema_mismatch").

    For a worker process: `uniqueItems` and patterns take more than linear time.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse)
        return (True, "ok") if _validator(schema).is_valid(value) else (False, "schema_mismatch")
    except (ValueError, RecursionError):
        return False, "unparsable"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("repeated key")
    return dict(pairs)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
