"""Which answers of a conversation are learned: all, the last, and none that says `loss: false`."""

import json

import pytest

from mmrl.contracts.errors import BadSample
from mmrl.data.mixture import open_dataset
from mmrl.data.turns import turns_of
from mmrl.recipe.data import FileData

TALK = [("user", "1?"), ("assistant", "one"), ("user", "2?"), ("assistant", "two"), ("user", "3?"), ("assistant", "3")]
SENDERS = {"user": "human", "assistant": "gpt"}


def read(folder, row, **config):
    (folder / "rows.jsonl").write_text(json.dumps(row))
    return open_dataset(FileData(type="file", path=str(folder / "rows.jsonl"), **config))[0]


def messages(*marks, talk=TALK, key="loss"):
    """The talk, whose answers carry these marks."""
    rows = [{"role": role, "content": text} for role, text in talk]
    for row, mark in zip((row for row in rows if row["role"] == "assistant"), marks):
        row |= {} if mark is None else {key: mark}
    return {"messages": rows}


def taught(sample):
    return [turn.demonstration for turn in turns_of(sample)] if sample.demonstrated else []


@pytest.mark.parametrize(
    ("marks", "answers"),
    [
        ((), ["one", "two", "3"]),
        ((False,), ["two", "3"]),
        ((None, False), ["one", "3"]),
        ((None, None, False), ["one", "two"]),
        ((False, None, False), ["two"]),
        ((True, False, False), ["one"]),
    ],
)
@pytest.mark.parametrize("key", ["loss", "weight"])
def test_every_answer_but_those_without_loss(tmp_path, marks, answers, key):
    values = [mark if key == "loss" or mark is None else int(mark) for mark in marks]
    sample = read(tmp_path, messages(*values, key=key))
    assert taught(sample) == answers
    assert all(set(message) == {"role", "content"} for message in sample.messages)
    assert [len(turn.messages) for turn in turns_of(sample)] == [2 * ["one", "two", "3"].index(a) + 1 for a in answers]


def test_the_last_alone_by_choice(tmp_path):
    assert taught(read(tmp_path, messages(), turns="last")) == ["3"]
    assert taught(read(tmp_path, messages(False), turns="last")) == ["3"]


def test_llava_turns(tmp_path):
    turns = [{"from": SENDERS[role], "value": text} for role, text in TALK]
    row = {"conversations": turns, "accu_reward_method": "numeric"}
    assert taught(read(tmp_path, row)) == ["one", "two", "3"]
    turns[1]["loss"] = False
    assert taught(read(tmp_path, row)) == ["two", "3"]


def test_a_conversation_that_ends_with_a_question_is_a_prompt(tmp_path):
    row = {**messages(talk=TALK[:-1]), "task": "numeric", "target": 3}
    assert not read(tmp_path, row).demonstrated
    row["messages"][1]["loss"] = True
    assert taught(read(tmp_path, row)) == ["one"]


def test_one_turn_is_as_it_was(tmp_path):
    sample = read(tmp_path, messages(talk=TALK[:2]))
    assert (sample.demonstration, sample.learned, len(sample.messages)) == ("one", (), 1)


def test_what_cannot_be_learned_is_refused(tmp_path):
    with pytest.raises(BadSample, match=r"'messages'\[1\]: `weight` of a turn is true, false, 1 or 0, not '0.5'"):
        read(tmp_path, messages(0.5, key="weight"))
    empty = [("user", "1?"), ("assistant", " "), *TALK[2:]]
    with pytest.raises(BadSample, match="message 1 is an answer to learn and holds no plain text; set `loss: false`"):
        read(tmp_path, messages(talk=empty))
    assert taught(read(tmp_path, messages(False, talk=empty))) == ["two", "3"]
    with pytest.raises(BadSample, match="there is no demonstration either"):
        read(tmp_path, messages(False, talk=TALK[:2]))
