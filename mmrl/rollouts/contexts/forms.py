"""Samples that ask something else."""

from __future__ import annotations

from dataclasses import replace

from mmrl.contracts.types import Sample


def asked(sample: Sample, text: str) -> Sample:
    """The sample with another text of its last question, whose pictures and videos stay before it."""
    last = max(i for i, message in enumerate(sample.messages) if message["role"] == "user")
    content = [part for part in sample.messages[last]["content"] if part["type"] != "text"]
    question = {**sample.messages[last], "content": [*content, {"type": "text", "text": text}]}
    return replace(sample, messages=(*sample.messages[:last], question, *sample.messages[last + 1 :]))
