"""The memory estimate of a dry run, against what a small model really holds."""

from types import SimpleNamespace

import pytest
import torch

from mmrl import load_recipe
from mmrl.contracts.types import PolicyBatch
from mmrl.data.mixture import open_dataset
from mmrl.policies.opening import load_policy
from mmrl.trainer import memory

SIZE = {"hidden": 256, "layers": 6, "heads": 8, "kv_heads": 2, "mlp": 1024}


def opened(tiny_recipe, path, **policy):
    """(recipe, policy, prompt) of a tiny recipe with another checkpoint."""
    recipe = load_recipe({**tiny_recipe, "policy": {"path": str(path), "device": "cpu", **policy}})
    loaded = load_policy(recipe.policy)
    return recipe, loaded, loaded.prepare([open_dataset(recipe.data.train[0])[0]])[0]


def test_cache_is_the_real_one(tiny_qwen, tiny_recipe):
    recipe, policy, prompt = opened(tiny_recipe, tiny_qwen())
    state = policy.prefill([prompt] * 2, 2)
    state = policy.decode(state, torch.full((4,), 5))
    assert memory.estimate(recipe, policy, prompt.length, 0).cache == state.cache.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_activations_and_logits_are_near_what_autograd_keeps(tiny_qwen, tiny_recipe, family):
    recipe, policy, prompt = opened(tiny_recipe, tiny_qwen(family, **SIZE))
    tokens = torch.randint(5, 300, (16, 64))
    weights = {p.untyped_storage().data_ptr() for p in policy.module.parameters()}
    held, alive = {}, []

    def note(tensor):
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    batch = PolicyBatch([prompt], torch.zeros(16, dtype=torch.long), tokens, torch.ones_like(tokens, dtype=torch.bool))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        policy.log_probs(batch)
    real = sum(size for pointer, size in held.items() if pointer not in weights)
    recipe = recipe.model_copy(update={"micro_tokens": policy.batch_tokens([prompt], [[64] * 16])})
    guess = memory.estimate(recipe, policy, prompt.length, 0)
    assert guess.activations + guess.logits == pytest.approx(real, rel=0.2)


def test_adapters_bfloat16_and_checkpointing_take_less(tiny_qwen, tiny_recipe):
    path = tiny_qwen(**SIZE)
    whole = memory.estimate(*opened(tiny_recipe, path)[:2], 40, 10)
    lora = memory.estimate(*opened(tiny_recipe, path, lora={"rank": 2})[:2], 40, 10)
    half = memory.estimate(*opened(tiny_recipe, path, lora={"rank": 2}, dtype="bfloat16")[:2], 40, 10)
    checkpointed = memory.estimate(*opened(tiny_recipe, path, gradient_checkpointing=True)[:2], 40, 10)
    assert whole.trainable == whole.parameters
    assert lora.moments == 8 * lora.trainable < whole.moments / 10
    assert lora.weights / 2 < half.weights < lora.weights * 0.52
    assert half.cache * 2 == lora.cache
    assert checkpointed.activations < whole.activations / 3
    assert whole.peak == whole.weights + whole.moments + whole.gradients + whole.activations + whole.logits


def test_a_value_head_is_among_the_parameters_that_it_is_a_share_of(tiny_qwen, tiny_recipe):
    ppo = tiny_recipe | {"method": "ppo", "objective": {}}
    plain, headed = (
        memory.estimate(*opened(raw, tiny_qwen(**SIZE), **more)[:2], 40, 10)
        for raw, more in ((tiny_recipe, {}), (ppo, {"value_head": {"width": 8}}))
    )
    assert headed.trainable == headed.parameters > plain.parameters
    assert headed.weights - plain.weights == 4 * (headed.parameters - plain.parameters)


def test_readable_sizes():
    sizes = {0: "0 B", 999: "999 B", 1000: "1 KB", 348_992: "349 KB", 24e9: "24 GB", 1.5e15: "1500 TB"}
    assert {size: memory.readable(size) for size in sizes} == sizes


def test_activations_of_a_tower_are_added_up_by_hand():
    """Heads of 2: 8 queries and 4 keys wide; 6 x 8 + 4 x 8 + 4 x 4 + 4 x 32 = 224 elements at each token."""
    sizes = {"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32}
    part = SimpleNamespace(**sizes, num_hidden_layers=3)
    assert memory._count_activations(part, 5, trained=False, checkpointed=False) == 5 * 224
    assert memory._count_activations(part, 5, trained=True, checkpointed=False) == 3 * 5 * 224
    assert memory._count_activations(part, 5, trained=True, checkpointed=True) == 5 * 3 * 8 + 5 * 224
    assert memory._count_activations(None, 5, trained=True, checkpointed=True) == 0


def test_a_row_longer_than_a_micro_batch_is_held_all_the_same(tiny_qwen, tiny_recipe):
    """Its prompt and its answer: as much as a micro-batch of so many tokens."""
    recipe, policy, _ = opened(tiny_recipe, tiny_qwen())
    answer = max(stage.rollout.max_new_tokens for stage in recipe.stages)
    small, whole = (recipe.model_copy(update={"micro_tokens": tokens}) for tokens in (1, 5000 + answer))
    assert memory.estimate(small, policy, 5000, 0).activations == memory.estimate(whole, policy, 1, 0).activations
