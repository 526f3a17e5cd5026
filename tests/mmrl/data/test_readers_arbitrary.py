"""Arbitrary rows and files: what does not read is a UserError, and nothing else is ever raised."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrl.contracts.errors import BadSample, UserError
from mmrl.data.columns import Columns
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData
from mmrl.recipe.formats import FORMATS

COLUMNS = """
id problem_id prompt messages images videos image video task target demonstration coordinates problem answer
problem_type data_type path options solution process conversations accu_reward_method offline_output
"""
WORDS = """
a.png ../a.png <image>x <video> multiple_choice grounding tracking numerical counting video image A { [1,2,3,4]
{"time":[1,2],"boxes":{"1":[1]}} {"box":[[[1]]]} <answer>B</answer> 1e999 -3/0
"""
names = st.sampled_from(COLUMNS.split())
words = st.sampled_from(["", " ", *WORDS.split()])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5)
keys = st.sampled_from(["role", "content", "type", "text", "from", "value", "bytes", "path", "A", "box", "boxes"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)
turns = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system"]), "value": values})
messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": values})
rows = st.dictionaries(names, values, max_size=8) | st.fixed_dictionaries(
    {"problem": words, "answer": values, "solution": values, "prompt": words, "target": values, "task": words},
    optional={
        "problem_type": words,
        "options": values,
        "images": values,
        "path": words,
        "conversations": st.lists(turns, max_size=3),
        "messages": st.lists(messages, max_size=3),
    },
)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(values=rows, form=st.sampled_from(FORMATS.names()), task=st.none() | words)
def test_arbitrary_rows_raise_bad_sample_or_read(values, form, task, tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    try:
        sample = FORMATS.get(form).read(Columns(values, 0, "f row 0", "f", str(root), task or None, "pixel"))
    except BadSample:
        return
    parts = [part["type"] for message in sample.messages for part in message["content"]]
    assert parts.count("image") == len(sample.images)
    assert parts.count("video") == len(sample.videos)
    assert sample.task
    json.dumps(sample.target)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(st.one_of(st.binary(max_size=30), values.map(lambda v: json.dumps(v).encode()))))
def test_arbitrary_files_raise_user_errors_only(lines, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        opened = FileDataset(FileData(type="file", path=str(path), task="math"))
    except UserError:
        return
    for row in range(len(opened)):
        try:
            opened[row]
        except UserError:
            continue
