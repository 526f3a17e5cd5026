"""A policy whose weights are no numbers: every engine says so, and no figure is made of what it samples."""

import pytest
import torch

from mmrl.contracts.engine import Completion, Request
from mmrl.contracts.errors import DeadPolicy
from mmrl.contracts.types import StopReason
from mmrl.contracts.world import ALONE
from mmrl.engines import open_engine
from mmrl.engines.hf import HFEngine
from mmrl.engines.sampling import sample_tokens
from mmrl.engines.watched import WatchedEngine
from mmrl.policies.alive import first_dead_tensor, refuse_dead_weights
from mmrl.recipe.engines import HFSettings
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import flow
from tests.support.flow import UNITS
from tests.support.flow import load as load_flow
from tests.support.openvla import load as load_openvla
from tests.support.openvla import observations
from tests.support.policy import digits, load


def break_weights(policy, word: str, value: float = torch.nan) -> str:
    """Puts a value into the first weight whose name holds a word; its name."""
    name, weight = next((n, p) for n, p in policy.module.named_parameters() if word in n)
    with torch.no_grad():
        weight.view(-1)[-1] = value
    return name


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {}, {"top_k": 5, "top_p": 0.9, "min_p": 0.01}])
@pytest.mark.parametrize("seeds", ["call", "request"])
def test_tokens_of_dead_weights_are_refused(tiny_qwen, sampling, seeds):
    policy = load(tiny_qwen("qwen2_5_vl"))
    break_weights(policy, "language_model.norm")
    requests = [Request(prompt, 2) for prompt in policy.prepare(digits(2, "ocr"))]
    engine = open_engine(HFSettings(seeds=seeds), policy)
    with pytest.raises(DeadPolicy, match="log-probs of what was sampled are not finite"):
        engine.generate(requests, SamplingConfig(max_new_tokens=3, **sampling), 0)


def test_action_tokens_of_dead_weights_are_refused(tiny_qwen):
    policy = load_openvla(tiny_qwen("openvla"))
    break_weights(policy, "model.norm")
    requests = [Request(prompt, 1, "action") for prompt in policy.prepare(observations(1))]
    with pytest.raises(DeadPolicy):
        open_engine(HFSettings(), policy).generate(requests, SamplingConfig(max_new_tokens=7), 0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_chunks_of_dead_weights_are_refused(tiny_qwen, temperature):
    policy = load_flow(tiny_qwen("pi0"))
    break_weights(policy, "action_out")
    requests = [Request(prompt, 1, "action") for prompt in policy.prepare(observations(1))]
    with pytest.raises(DeadPolicy, match="are not finite"):
        flow(policy).generate(requests, SamplingConfig(temperature=temperature, max_new_tokens=UNITS), 0)


class Scripted(HFEngine):
    """Says one thing, whatever the weights."""

    log_probs: torch.Tensor | None = torch.zeros(2)

    def generate(self, requests, sampling, seed):
        return [[Completion(torch.tensor([1, 2]), self.log_probs, StopReason.END)] for _ in requests]


def test_any_engine_is_watched(tiny_qwen):
    engine = Scripted(HFSettings())
    watched = WatchedEngine(engine)
    watched.start(load(tiny_qwen("qwen2_5_vl")), ALONE)
    for log_probs in (torch.zeros(2), None):
        engine.log_probs = log_probs
        assert len(watched.generate([Request(None)], SamplingConfig(), 0)) == 1
    for bad in (torch.nan, torch.inf, -torch.inf):
        engine.log_probs = torch.tensor([0.0, bad])
        with pytest.raises(DeadPolicy):
            watched.generate([Request(None)], SamplingConfig(), 0)


def test_the_tensor_at_fault_is_named(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    refuse_dead_weights(policy)
    broken = break_weights(policy, "layers.0.mlp.up_proj", 3e30)
    refuse_dead_weights(policy)
    assert first_dead_tensor(policy) == f"every weight is finite, and the largest is 3e+30, in '{broken}'"
    broken = break_weights(policy, "layers.1.mlp.up_proj", torch.inf)
    assert first_dead_tensor(policy).startswith(f"the first tensor that is not is '{broken}' (1 of ")
    with pytest.raises(DeadPolicy, match="trained weights are not finite"):
        refuse_dead_weights(policy)


def test_draws_are_those_of_multinomial():
    rows = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(64, 200, generator=rows)
    allowed = torch.rand(200, generator=rows) < 0.7
    ours, theirs = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    for _ in range(4):
        tokens, _ = sample_tokens(logits, allowed, SamplingConfig(), ours)
        probs = logits.masked_fill(~allowed, -torch.inf).softmax(-1)
        assert tokens.tolist() == torch.multinomial(probs, 1, generator=theirs).squeeze(-1).tolist()
    assert ours.get_state().tolist() == theirs.get_state().tolist()
