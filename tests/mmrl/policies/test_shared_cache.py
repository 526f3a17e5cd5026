"""The cache of sampling: a prompt's part is held once, a row's own grows in place, and nothing else reads it."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.policies.attention import shared_cache
from mmrl.policies.attention.shared_cache import ATTENTION, attention, by_products
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf
from tests.support.policy import digits, load, text_sample

FORCED = torch.randint(5, 300, (6, 7), generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_rows_cut_in_any_order_and_grown_in_place_read_what_a_full_forward_reads(tiny_qwen, monkeypatch, side, block):
    monkeypatch.setattr(shared_cache, "BLOCK", block)
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare([*digits(2, "ocr", "grounding"), text_sample("How many?")])
    state, rows = policy.prefill(prompts, 2, side), torch.arange(6)
    cached = {}
    for step in range(7):
        for row, logits in zip(rows.tolist(), state.logits_BV):
            cached[row, step] = logits
        keep = {0: [5, 0, 1, 4, 2], 3: [4, 1, 0], 5: [2]}.get(step)
        if keep is not None:
            state, rows = state.select(torch.tensor(keep)), rows[keep]
        state = policy.decode(state, FORCED[rows, step])
    assert rows.tolist() == [5]
    for row, prompt in enumerate([p for p in prompts for _ in range(2)]):
        steps = [step for of, step in cached if of == row]
        ids = torch.cat([prompt.input_ids, FORCED[row]])
        beyond = int(prompt.positions.max()) + 1 + torch.arange(7).expand(3, -1)
        hidden = policy._hidden(ids[None], torch.cat([prompt.positions, beyond], 1)[:, None], None, [prompt])
        whole = policy.module.get_output_embeddings()(hidden)[0, -8:]
        assert torch.allclose(torch.stack([cached[row, s] for s in steps]), whole[steps], atol=1e-4)
        assert float(whole[steps].std()) > 0.1


@pytest.mark.parametrize("padded", [False, True])
def test_attention_by_products_equals_the_fused_one(padded):
    g = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(3, 2, size, 16, generator=g) for size in (4, 9, 9))
    bias = torch.zeros(3, 1, 1, 9)
    if padded:
        bias[1, ..., :5], bias[2, ..., 7:] = -torch.inf, -torch.inf
    fused, sums = attention(query, keys, values, 0.3, bias if padded else None)
    plain, plain_sums = by_products(query, keys, values, 0.3, bias if padded else None)
    assert torch.allclose(fused, plain, atol=1e-6)
    assert torch.allclose(sums, plain_sums, atol=1e-5)
    expected = (query @ keys.transpose(-1, -2) * 0.3 + bias).softmax(-1) @ values
    assert torch.allclose(fused, expected, atol=1e-6)


def test_a_forward_pass_that_attends_elsewhere_is_an_error(tiny_qwen, monkeypatch):
    policy = load(tiny_qwen("qwen2_5_vl"))
    (prompt,) = policy.prepare(digits(1, "ocr"))
    before = policy.module.config.text_config._attn_implementation
    policy.decode(policy.prefill([prompt], 2), FORCED[:2, 0])
    assert policy.module.config.text_config._attn_implementation == before != ATTENTION
    width = policy.module.config.text_config.hidden_size
    monkeypatch.setattr(policy, "_next_hidden", lambda tokens_B, positions_3B1, cache: torch.zeros(2, width))
    with pytest.raises(RuntimeError, match="0 of 2 layers attended to the shared prompts"):
        policy.decode(policy.prefill([prompt], 2), FORCED[:2, 0])


def test_a_window_of_attention_is_refused(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    (prompt,) = policy.prepare(digits(1, "ocr"))
    text = policy.module.config.text_config
    text.sliding_window, text.layer_types = 8, ["sliding_attention", "full_attention"]
    with pytest.raises(ConfigError, match=r"sliding window .* which policy\.type 'qwen_vl' does not decode"):
        generate(hf(policy), [prompt], SamplingConfig(max_new_tokens=2))
