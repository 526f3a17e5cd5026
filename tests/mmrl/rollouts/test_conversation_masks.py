"""A conversation's answers are learned under the mask that one writes by hand over the whole of it, with pictures."""

import pytest
import torch
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.contracts.source import Means, Terms
from mmrl.contracts.types import Sample
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.sources import SOURCES
from tests.support.policy import load

PICTURES = tuple(Image.new("RGB", size, colour) for size, colour in (((56, 56), "red"), ((112, 56), "blue")))
ASK = [{"type": "image"}, {"type": "text", "text": "Which?"}]


def said(role, content):
    return {"role": role, "content": [{"type": "text", "text": content}] if isinstance(content, str) else content}


# Two answers to learn, one between them that is not, and a picture in the first and in the third question.
TALK = (
    said("system", "Be brief."),
    said("user", ASK),
    said("assistant", "A red one."),
    said("user", "Sure?"),
    said("assistant", "No."),
    said("user", ASK),
)
LAST = "Blue, and wide."


def conversation(learned=(2,)):
    return Sample("talk", TALK, "sft", {}, images=PICTURES, demonstration=LAST, learned=learned)


def shown(policy, sample, limit=64):
    ready = Preparer(policy, Rewarder([])).make(sample, rewarded=False)
    source = SOURCES.get("answers")(Means(policy, None, None, None))
    (group,) = source.demonstrate([ready], Terms(SamplingConfig(max_new_tokens=limit)), scored=False)
    if isinstance(group, BadSample):
        raise group
    return group.trajectories[0]


def by_hand(policy, learned):
    """The whole conversation through the processor, and the mask of the answers' tokens with their ends."""
    whole = [*TALK, said("assistant", LAST)]
    processor = policy.processor
    text = processor.apply_chat_template(whole, tokenize=False)
    encoded = processor(text=[text], images=list(PICTURES), return_tensors="pt")
    ids = encoded["input_ids"][0].tolist()
    start, end = (processor.tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>"))
    mask, number = [False] * len(ids), -1
    for place, token in enumerate(ids):
        if token != start:
            continue
        number += 1
        if number in learned:
            # <|im_start|>assistant\n is asked, what follows up to <|im_end|> is said.
            first = place + len(processor.tokenizer("<|im_start|>assistant\n")["input_ids"])
            for position in range(first, ids.index(end, place) + 1):
                mask[position] = True
    return encoded, ids, mask


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("learned", [(2,), (2, 4), (), (4,)])
def test_the_mask_is_the_one_written_by_hand(tiny_qwen, family, learned):
    policy = load(tiny_qwen(family))
    trajectory = shown(policy, conversation(learned))
    _, ids, mask = by_hand(policy, {*learned, len(TALK)})
    covered = [False] * len(ids)
    for decision in trajectory.decisions:
        before, own = decision.prompt.input_ids.tolist(), decision.tokens.tolist()
        assert before + own == ids[: len(before) + len(own)]
        covered[len(before) : len(before) + len(own)] = [True] * len(own)
    assert covered == mask
    assert trajectory.units == sum(mask)
    assert len(trajectory.decisions) == len(learned) + 1


def test_the_likelihood_is_that_of_one_forward_pass_over_the_whole(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    trajectory = shown(policy, conversation((2, 4)))
    rows = [Row(decision, "demonstrations", 1.0, 0, trajectory.units) for decision in trajectory.decisions]
    encoded, ids, mask = by_hand(policy, {2, 4, len(TALK)})
    with torch.no_grad():
        ours = policy.log_probs(collate(rows))
        logits = policy.module(**encoded).logits[0].float()
    logits[:, ~policy.allowed_tokens(None)] = -torch.inf
    log_probs = logits.log_softmax(-1)
    theirs = [log_probs[i - 1, ids[i]] for i in range(len(ids)) if mask[i]]
    torch.testing.assert_close(ours.log_probs_RU[ours.mask_RU], torch.stack(theirs), atol=1e-4, rtol=1e-4)


def test_boxes_of_every_answer_are_converted(tiny_qwen):
    policy = load(tiny_qwen("qwen3_vl"))
    wide = Image.new("RGB", (1000, 500))
    talk = (said("user", ASK), said("assistant", "[100, 100, 500, 400]"), said("user", "And now?"))
    sample = Sample("box", talk, "grounding", {"box": [0, 0, 500, 250]}, images=(wide,), learned=(1,))
    ready = Preparer(policy, Rewarder([])).make(sample, rewarded=False)
    assert [turn.demonstration for turn in ready.turns] == ["[100, 200, 500, 800]"]
    sample = Sample(**{**vars_of(sample), "demonstration": "[0, 0, 500, 250]"})
    ready = Preparer(policy, Rewarder([])).make(sample, rewarded=False)
    assert [turn.demonstration for turn in ready.turns] == ["[100, 200, 500, 800]", "[0, 0, 500, 500]"]
    assert ready.turns[1].messages[1]["content"][0]["text"] == "[100, 200, 500, 800]"


def vars_of(sample):
    return {name: getattr(sample, name) for name in ("id", "messages", "task", "target", "images", "learned")}


def test_an_answer_that_is_too_long_is_refused_whichever_it_is(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    longest = len(policy.processor.tokenizer(LAST)["input_ids"]) + 1
    assert shown(policy, conversation(), longest).units > longest
    with pytest.raises(BadSample, match=r"tokens, above rollout\.max_new_tokens"):
        shown(policy, conversation(), longest - 1)
