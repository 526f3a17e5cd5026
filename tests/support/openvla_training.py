"""Steps and gradients of tiny OpenVLA policies."""

from mmrl.policies.compat import ensure_torchvision
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import OptimConfig
from mmrl.trainer.optim import Optimizer
from mmrl.trainer.step import accumulate, plan_step
from tests.support.policy import gradients

OBJECTIVE = resolve_objective("grpo", {"entropy": 0.05})


def step_gradient(policy, rows, budget=100_000):
    accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, budget)
    return gradients(policy)


def train(policy, rows, steps=3, **optim):
    optimizer = Optimizer(policy, OptimConfig(lr=3e-3, **optim), steps)
    for _ in range(steps):
        accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, 200)
        optimizer.step()
    return optimizer


def towers(state, image=56):
    """timm's own vision transformers with the file's weights under timm's own names."""
    ensure_torchvision()
    import timm

    names = ("vit_large_patch14_reg4_dinov2", "vit_so400m_patch14_siglip_224")
    for prefix, name in zip(("featurizer", "fused_featurizer"), names):
        prefix = f"vision_backbone.{prefix}."
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        tower = timm.create_model(
            name, num_classes=0, img_size=image, embed_dim=64, depth=3, num_heads=2, patch_size=14, mlp_ratio=2
        )
        tower.load_state_dict({k.replace("scale_factor", "gamma"): v for k, v in weights.items()})
        yield tower.eval()
