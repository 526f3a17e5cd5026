"""A frozen vision tower under gradient checkpointing: computed once, never differentiated; what trains keeps its
gradients."""

from functools import partial

import pytest
import torch

from mmrl.policies.training import plain_name
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.parts import inside, owner_of
from mmrl.recipe.policies.registry import entry_of
from mmrl.trainer.step import accumulate, plan_step
from tests.support.policy import adapt, demo_rows, digits, gradients, load, sampled_rows

MIXED = resolve_objective("chord_mu", {"entropy": 0.05})
# The family, its `policy.type`, its tower, and the module in there that gives the first hidden states.
FAMILIES = (
    ("qwen2_5_vl", "qwen_vl", "model.visual", "patch_embed"),
    ("qwen3_vl", "qwen_vl", "model.visual", "patch_embed"),
    ("smolvlm", "smolvlm", "model.vision_model", "embeddings"),
)
FROZEN = ({"lora": {"rank": 4}}, {"freeze": ["vision"]}, {"freeze": ["vision", "projector"]})
# Whose projector is frozen too: no update calls it, see `test_features`.
SEEN_ONCE = (FROZEN[0], FROZEN[2])


class Watched:
    """Counts a policy's tower at work.

    Attributes:
        calls: of the tower.
        layer_calls: of its layers, of which there are `layers`.
        differentiated: names of its modules whose output asked for gradients.
    """

    def __init__(self, policy, kind, tower):
        from transformers.modeling_layers import GradientCheckpointingLayer

        self.calls = self.layers = self.layer_calls = 0
        self.differentiated = set()
        parts, model = entry_of(kind).parts, policy._model
        model.get_submodule(tower).register_forward_hook(self.call)
        for name, module in model.named_modules():
            if isinstance(module, GradientCheckpointingLayer) and inside(name, (tower,)):
                self.layers += 1
                # Recomputation stops inside of a layer, once it has what the backward pass reads.
                module.register_forward_pre_hook(self.layer)
            # What the tower gives is its projector's in Qwen.
            if owner_of(name, parts) == "vision" and name != tower:
                module.register_forward_hook(partial(self.watch, name))

    def call(self, *_):
        self.calls += 1

    def layer(self, *_):
        self.layer_calls += 1

    def watch(self, name, module, args, output):
        values = output if isinstance(output, tuple) else [output]
        if any(getattr(value, "requires_grad", False) for value in values):
            self.differentiated.add(name)

    @property
    def passes(self):
        """Forward passes of each layer per call of the tower: 2 where layers are recomputed."""
        return self.layer_calls / self.layers / self.calls


def opened(folder, kind, **settings):
    policy = load(folder, type=kind, gradient_checkpointing=True, **settings)
    return adapt(policy) if "lora" in settings else policy


def update(policy):
    rows = [*sampled_rows(policy, digits(2, "ocr", "counting"), 2), *demo_rows(policy, digits(1, "ocr"))]
    return lambda: accumulate(rows, plan_step(MIXED, rows, 0, 8), policy, 40)


@pytest.mark.parametrize(("family", "kind", "tower", "inputs"), FAMILIES)
@pytest.mark.parametrize("settings", FROZEN, ids=lambda settings: "-".join(settings.get("freeze", ["lora"])))
def test_a_frozen_tower_is_left_out_of_the_backward_pass(tiny_qwen, family, kind, tower, inputs, settings):
    policy = opened(tiny_qwen(family), kind, **settings)
    step = update(policy)
    watched = Watched(policy, kind, tower)
    step()
    found = gradients(policy)
    assert not watched.differentiated
    if settings in SEEN_ONCE:
        assert watched.calls == 1, "what was not sampled"
        return
    assert watched.calls > 1, "micro-batches"
    assert watched.passes == 1
    # With inputs that ask for gradients, as transformers' checkpointing would have them, it is not.
    policy._model.enable_input_require_grads()
    policy._model.get_submodule(f"{tower}.{inputs}").register_forward_hook(lambda *call: call[2].requires_grad_(True))
    step()
    assert watched.passes > 1
    assert watched.differentiated
    wanted = gradients(policy)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    trained = {name for name, gradient in found.items() if float(gradient.abs().max()) > 0}
    projector = {name for name in trained if owner_of(plain_name(name), entry_of(kind).parts) == "projector"}
    assert projector


@pytest.mark.parametrize(("family", "kind", "tower"), [family[:3] for family in FAMILIES])
@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 4, "vision": True}}], ids=["full", "lora"])
def test_a_tower_that_trains_is_recomputed_and_gets_its_gradients(tiny_qwen, family, kind, tower, settings):
    policy = opened(tiny_qwen(family), kind, **settings)
    step = update(policy)
    watched = Watched(policy, kind, tower)
    step()
    found = gradients(policy)
    assert watched.passes == 2
    policy._model.enable_input_require_grads()
    step()
    wanted = gradients(policy)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert max(float(gradient.abs().max()) for name, gradient in found.items() if tower in name) > 1e-4
