"""A checkpoint's chat template is proved when it is read; what it opens of the answer is part of the answer."""

import shutil
from types import SimpleNamespace

import pytest
from PIL import Image

import vision_rewards
from mmrl.contracts.errors import BadSample, CheckpointError
from mmrl.contracts.source import Ready
from mmrl.contracts.types import Sample
from mmrl.recipe.policies.qwen_vl import QwenVLSettings
from mmrl.rollouts.answers import scored_groups
from tests.support.policy import load

TEMPLATE = "chat_template.jinja"
TEXT_ONLY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
NO_PICTURE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{{ p.text }}{% endfor %}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
ADDED = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"


@pytest.fixture
def checkpoint(tiny_qwen, tmp_path):
    """`checkpoint(text)`: a copy of a tiny checkpoint with another template, or none."""

    def folder(text=None):
        copy = tmp_path / "copy"
        shutil.copytree(tiny_qwen("qwen3_vl"), copy)
        own = (copy / TEMPLATE).read_text()
        (copy / TEMPLATE).unlink()
        if text is not None:
            (copy / TEMPLATE).write_text(text(own) if callable(text) else text)
        return copy

    return folder


def thinking(own):
    changed = own.replace("<|im_start|>assistant\\n", "<|im_start|>assistant\\n<think>\\n")
    changed = changed.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
    assert changed != own
    return changed


def sample(**changes):
    content = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    given = {"messages": ({"role": "user", "content": content},), "task": "counting", "target": {"count": 3}}
    return Sample("s", **{**given, "images": (Image.new("RGB", (56, 56)),), **changes})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "has no chat template; copy chat_template.jinja of its base model into it, or name one with policy"),
        (TEXT_ONLY, "writes 0 image marks for one picture, so it is one for text alone"),
        (NO_PICTURE, "writes 0 image marks for one picture"),
        (ADDED, "fails on a picture and a question: "),
        ("{{ raise_exception('not today') }}", "fails on a picture and a question: not today"),
        ("{% for", "fails on a picture and a question: "),
    ],
)
def test_a_template_that_shows_no_pictures_is_one_line_when_it_is_read(checkpoint, text, said):
    with pytest.raises(CheckpointError) as caught:
        load(checkpoint(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_of_the_recipe_replaces_it_and_is_saved(checkpoint, tiny_qwen, tmp_path):
    own = (tiny_qwen("qwen3_vl") / TEMPLATE).read_text()
    written = tmp_path / "mine.jinja"
    written.write_text(own)
    settings = QwenVLSettings(path="x", chat_template=str(written))
    assert settings.chat_template == own
    policy = load(checkpoint(TEXT_ONLY), chat_template=own)
    policy.prepare([sample()])
    policy.save_pretrained(tmp_path / "saved")
    assert load(tmp_path / "saved").processor.chat_template == own


def test_a_template_that_refuses_a_role_names_the_row(checkpoint):
    refusing = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    policy = load(checkpoint(lambda own: refusing + "{% endfor %}" + own))
    policy.prepare([sample()])
    told = ({"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *sample().messages)
    with pytest.raises(BadSample, match="the chat template fails on it: no system role"):
        policy.prepare([sample(messages=told)])


def test_a_template_that_drops_a_picture_of_a_row_names_it(checkpoint):
    first_only = "{% set messages = messages[-1:] %}"
    policy = load(checkpoint(lambda own: first_only + own))
    talk = (*sample().messages, {"role": "assistant", "content": [{"type": "text", "text": "3"}]}, *sample().messages)
    with pytest.raises(BadSample, match="the chat template writes 1 image marks, and the row has 2 images"):
        policy.prepare([sample(messages=talk, images=sample().images * 2)])


def test_rewards_see_the_tag_that_the_template_opens(checkpoint):
    policy = load(checkpoint(thinking))
    assert policy.opening == "<think>\n"
    (prompt,) = policy.prepare([sample()])
    assert policy.processor.tokenizer.decode(prompt.input_ids).endswith("assistant\n<think>\n")
    form = vision_rewards.get_reward("format")
    seen = []

    class Rewarder:
        def with_group(self, texts, item):
            return item

        def score_all(self, pairs):
            seen.extend(trajectory.text for trajectory, _ in pairs)
            return [trajectory for trajectory, _ in pairs]

    def completion(text):
        return SimpleNamespace(text=text, tokens=None, stop=None, failed=None, decision=lambda prompt: None)

    texts = ["three\n</think>\n<answer>3</answer>", "maybe 3 cats, or"]
    scored_groups(policy, [Ready(sample(), (prompt,))], [[completion(text) for text in texts]], Rewarder())
    assert seen == ["<think>\nthree\n</think>\n<answer>3</answer>", "<think>\nmaybe 3 cats, or"]
    assert [form(text, {}).score for text in seen] == [1.0, 0.0]
    counting = vision_rewards.get_reward("counting")
    assert [counting(text, {"count": 3}).score for text in seen] == [1.0, 0.0]


@pytest.mark.parametrize("written", ["<think>\nthree</think>3", "<think>three</think>3", "three</think>3"])
def test_a_demonstration_goes_on_from_the_opened_tag(checkpoint, written):
    policy = load(checkpoint(thinking))
    tokens = policy.demonstration(sample(demonstration=written), 64)
    assert policy.decode_text(tokens) == "three</think>3"


def test_a_demonstration_that_does_not_close_the_opened_tag_is_refused(checkpoint):
    policy = load(checkpoint(thinking))
    with pytest.raises(BadSample, match="the prompt opens <think>, which the demonstration does not close"):
        policy.demonstration(sample(demonstration="3"), 64)


def test_a_template_that_opens_nothing_leaves_answers_as_they_are(tiny_qwen):
    policy = load(tiny_qwen("qwen3_vl"))
    assert policy.opening == ""
    tokens = policy.demonstration(sample(demonstration="<think>a</think>3"), 64)
    assert policy.decode_text(tokens) == "<think>a</think>3"
