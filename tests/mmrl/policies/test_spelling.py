"""What a model saw and said, written out token by token."""

import pytest
import torch
from PIL import Image

from mmrl.contracts.policy import Spelling
from tests.support.policy import image_sample, load, text_sample


@pytest.fixture(scope="module")
def policy(tiny_qwen):
    return load(tiny_qwen(), awake=False)


def ids(policy, text):
    return torch.tensor(policy.processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_prompt_is_what_the_template_wrote_with_short_placeholders(policy):
    assert isinstance(policy, Spelling)
    images = [Image.new("RGB", (56, 56)), Image.new("RGB", (28, 28))]
    (prompt,) = policy.prepare([image_sample(*images, text="Which?  <b>")])
    text = policy.spelled_prompt(prompt)
    mark, token = "<|image_pad|>", policy.processor.image_token_id
    numbers = [int(n) for _, n in zip(images, (prompt.image_grid_thw.prod(1) // 4).tolist(), strict=True)]
    assert sum(numbers) == int((prompt.input_ids == token).sum()) > 2
    for number in numbers:
        assert (f"{mark} x {number}" if number > 1 else f"{mark}<|vision_end|>") in text
    assert text.count(mark) == 2
    whole = policy.processor.tokenizer.decode(prompt.input_ids.tolist())
    for number in numbers:
        text = text.replace(f"{mark} x {number}", mark * number, 1)
    assert text == whole
    assert "Which?  <b>" in text


def test_tokens_add_up_to_the_text_special_ones_too(policy):
    tokens = ids(policy, "A caf\u00e9  at 5 \u20ac, \U0001f600!\n<|im_end|>")
    pieces = policy.spelled(tokens)
    assert len(pieces) == len(tokens)
    assert "".join(pieces) == "A caf\u00e9  at 5 \u20ac, \U0001f600!\n<|im_end|>"
    assert "\ufffd" not in "".join(pieces)
    assert "" in pieces, "a character of several tokens stands at its last one"


def test_bytes_that_are_no_character_are_shown_as_such(policy):
    half = ids(policy, "\U0001f600")[:2]
    assert len(half) == 2
    assert policy.spelled(half)[-1].endswith("\ufffd")
    cut = policy.spelled(torch.cat([half, ids(policy, "abcdefgh")]))
    assert "".join(cut).endswith("abcdefgh"), "what follows is not swallowed"


def test_a_prompt_without_pictures(policy):
    (prompt,) = policy.prepare([text_sample("One?")])
    assert policy.spelled_prompt(prompt) == policy.processor.tokenizer.decode(prompt.input_ids.tolist())
