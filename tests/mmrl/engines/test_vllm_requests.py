"""What the `vllm` engine makes of prompts, sampling settings and outputs. None of it needs vllm."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import StopReason
from mmrl.engines.probes import beyond, probe_samples
from mmrl.engines.vllm.checks import check_model
from mmrl.engines.vllm.prompts import Marks, engine_prompt
from mmrl.engines.vllm.sampling import check_prefix, said_at, sampling_arguments, stop_reason, token_limits, truncates
from mmrl.engines.vllm.surroundings import environment, kept_randomness
from mmrl.policies.qwen_vl.prompt import PromptVideo, QwenPrompt
from mmrl.policies.unit_scores import unit_log_probs
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf
from tests.support.policy import load

IMAGE, VIDEO, TEXT = 90, 91, 1
MARKS = Marks(IMAGE, VIDEO, 2, False)
WRITTEN = replace(MARKS, written_times=True)


def prompt(ids, images=(), videos=(), seconds=(), seed=0):
    """A prompt of some ids, with random patches for its grids."""
    g = torch.Generator().manual_seed(seed)

    def patches(grids):
        count = sum(t * h * w for t, h, w in grids)
        return (torch.randn(count, 6, generator=g), torch.tensor(grids)) if grids else (None, None)

    (pixels, grid), (video_pixels, video_grid) = patches(list(images)), patches(list(videos))
    clips = tuple(PromptVideo((), (1, 1), (1, 1), each) for each in seconds)
    ids = torch.tensor(ids)
    return QwenPrompt(ids, torch.zeros(3, len(ids)), pixels, grid, (), (), video_pixels, video_grid, clips)


def test_each_picture_is_found_by_the_size_of_its_grid():
    ids = [TEXT, IMAGE, IMAGE, IMAGE, TEXT, IMAGE, TEXT]
    # The first two stand side by side with nothing between them.
    made = engine_prompt(prompt(ids, images=[(1, 2, 2), (1, 2, 4), (1, 2, 2)]), MARKS)
    assert made.ids == ids
    assert [(item.kind, item.offset, item.length) for item in made.items] == [
        ("image", 1, 1),
        ("image", 2, 2),
        ("image", 5, 1),
    ]
    assert all(item.embedded is None for item in made.items)
    assert made.tensors["pixel_values"].shape == (16, 6)


def test_a_video_with_written_times_is_one_range_from_its_vision_start_on():
    ids = [TEXT, 7, VIDEO, TEXT, 7, VIDEO, TEXT]
    (item,) = engine_prompt(prompt(ids, videos=[(2, 2, 2)], seconds=[1.0]), WRITTEN).items
    assert (item.offset, item.length) == (1, 5)
    assert item.embedded.tolist() == [False, True, False, False, True]
    (plain,) = engine_prompt(prompt([TEXT, VIDEO, VIDEO], videos=[(2, 2, 2)], seconds=[1.0]), MARKS).items
    assert (plain.offset, plain.length, plain.embedded) == (1, 2, None)


def test_items_share_a_digest_where_patches_grid_and_times_are_equal():
    ids = [TEXT, VIDEO, VIDEO]
    one = engine_prompt(prompt(ids, videos=[(2, 2, 2)], seconds=[1.0]), MARKS).items[0].digest
    assert engine_prompt(prompt([*ids, 5], videos=[(2, 2, 2)], seconds=[1.0]), MARKS).items[0].digest == one
    others = [
        prompt(ids, videos=[(2, 2, 2)], seconds=[0.5]),
        prompt(ids, videos=[(2, 2, 2)], seconds=[(0.0, 1.0)]),
        prompt(ids, videos=[(2, 2, 2)], seconds=[1.0], seed=1),
        prompt(ids, videos=[(1, 2, 4)], seconds=[1.0]),
    ]
    assert len({one, *(engine_prompt(each, MARKS).items[0].digest for each in others)}) == 5
    shown = [TEXT, IMAGE, TEXT, IMAGE]
    first, second = engine_prompt(prompt(shown, images=[(1, 2, 2)] * 2), MARKS).items
    assert first.digest != second.digest, "each has patches of its own"


def test_a_prefix_stands_behind_the_prompt():
    made = engine_prompt(prompt([TEXT, 3]), MARKS, torch.tensor([8, 9]))
    assert (made.ids, made.items) == ([TEXT, 3, 8, 9], ())


def test_tokens_that_do_not_fit_the_grids_are_refused():
    with pytest.raises(ValueError, match="2 image tokens, and its grids are of 1"):
        engine_prompt(prompt([IMAGE, IMAGE], images=[(1, 2, 2)]), MARKS)


def test_bans_are_written_the_shorter_way():
    assert token_limits(torch.ones(8, dtype=torch.bool)) == {}
    few = torch.ones(8, dtype=torch.bool)
    few[[2, 5]] = False
    assert token_limits(few) == {"logit_bias": {2: -torch.inf, 5: -torch.inf}}
    assert token_limits(~few) == {"allowed_token_ids": [2, 5]}


def test_sampling_settings_become_arguments():
    settings = SamplingConfig(temperature=0.7, max_new_tokens=9, stop=["."])
    sampled = sampling_arguments(Request(None, 4, prefix=torch.tensor([1, 2])), settings, {}, (5, 6), 11)
    assert (sampled["n"], sampled["max_tokens"], sampled["seed"], sampled["temperature"]) == (4, 7, 11, 0.7)
    assert (sampled["stop_token_ids"], sampled["ignore_eos"], sampled["stop"]) == ([5, 6], True, ["."])
    assert sampled["detokenize"], "stop texts are found in text"
    greedy = sampling_arguments(Request(None, 4), SamplingConfig(temperature=0.0, top_k=0), {}, (5,), 11)
    assert (greedy["n"], greedy["seed"]) == (1, None)
    bound = sampling_arguments(Request(None, 2, "action"), settings, {"allowed_token_ids": [3]}, (5,), 11)
    assert (bound["stop_token_ids"], bound["stop"], bound["allowed_token_ids"]) == ([], [], [3])


def test_what_ended_a_completion():
    assert stop_reason("length", None, None) == StopReason.LENGTH
    assert stop_reason("length", None, "action") == StopReason.WHOLE
    assert stop_reason("stop", 5, None) == StopReason.END
    assert stop_reason("stop", ".", None) == StopReason.TEXT
    with pytest.raises(ValueError, match="with 'abort'"):
        stop_reason("abort", None, None)


def text_of(tokens):
    return "".join(chr(token) for token in tokens.tolist())


def test_a_stop_text_may_begin_in_the_prefix():
    tokens = torch.tensor([ord(letter) for letter in "abEND c"])
    assert said_at(tokens, 3, ["END"], text_of) == 4
    assert said_at(tokens, 5, ["END"], text_of) == 5, "the window still holds it"
    assert said_at(tokens, 3, [], text_of) is None
    assert said_at(tokens, 3, ["nothing"], text_of) is None


def test_prefixes_that_have_ended_are_refused():
    with pytest.raises(ValueError, match="3 units leaves nothing to sample below the limit of 3"):
        check_prefix(torch.tensor([1, 2, 3]), 3, (), (), text_of)
    with pytest.raises(ValueError, match="ends its completion at unit 1"):
        check_prefix(torch.tensor([1, 5]), 9, (5,), (), text_of)
    with pytest.raises(ValueError, match="ends its completion at unit 0"):
        check_prefix(torch.tensor([ord("."), 5]), 9, (), (".",), text_of)
    check_prefix(torch.tensor([1, 5]), 9, (), (), text_of)


@pytest.mark.parametrize(("key", "value"), [("top_p", 0.9), ("top_k", 5), ("min_p", 0.1)])
def test_truncation_is_known(key, value):
    assert truncates(SamplingConfig(**{key: value}))
    assert not truncates(SamplingConfig())
    assert not truncates(SamplingConfig(temperature=0.0, **{key: value}))


def test_models_that_it_does_not_sample_are_refused(tiny_qwen):
    config = load(tiny_qwen("qwen3_vl")).module.config
    check_model(config, torch.device("cpu"))
    config.text_config.head_dim = 16
    with pytest.raises(ConfigError, match="no heads of 16 dimensions"):
        check_model(config, torch.device("cpu"))
    check_model(config, torch.device("cuda"))
    config.model_type = "qwen3_vl_moe"
    with pytest.raises(ConfigError, match=r"policy\.path is a qwen3_vl_moe"):
        check_model(config, torch.device("cuda"))


def test_probes_are_scored_as_the_trainer_scores(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    policy.eos_ids = ()
    prompts = policy.prepare(list(probe_samples(["text", "image", "video"]).values()))
    answers = [answer for (answer,) in generate(hf(policy), prompts, SamplingConfig(max_new_tokens=5))]
    shorter = replace(answers[1], tokens=answers[1].tokens[:2], log_probs=answers[1].log_probs[:2])
    completions = [answers[0], shorter, answers[2]]
    for completion, scored in zip(
        completions, unit_log_probs(policy, prompts, [each.tokens for each in completions]), strict=True
    ):
        assert torch.allclose(completion.log_probs, scored, atol=1e-5)
    assert prompts[1].image_grid_thw is not None
    assert prompts[2].video_grid_thw is not None


def test_a_gap_that_is_no_number_is_beyond_every_bound():
    assert beyond({"text": 0.1, "image": 0.3, "video": float("nan")}, 0.2) == ["image", "video"]


def test_generators_and_environment_are_put_back(monkeypatch):
    monkeypatch.setenv("MMRL_A", "1")
    before = torch.get_rng_state()
    with kept_randomness(), environment({"MMRL_B": "2"}):
        import os

        torch.manual_seed(5)
        os.environ["MMRL_A"], os.environ["MMRL_C"] = "3", "4"
        assert os.environ["MMRL_B"] == "2"
    assert torch.equal(torch.get_rng_state(), before)
    assert os.environ["MMRL_A"] == "1"
    assert not {"MMRL_B", "MMRL_C"} & os.environ.keys()
