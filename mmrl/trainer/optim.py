"""AdamW with per-part learning rates, schedules and clipping, and its state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.policy import Policy
from mmrl.recipe.training import OptimConfig


def rate_factor(config: OptimConfig, step: int, total: int) -> float:
    """Learning rate / peak at optimizer step `step` (0-based) of a stage of `total`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - config.warmup) / max(1, total - config.warmup))
    shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.min_ratio + (1 - config.min_ratio) * shape


class Optimizer:
    """AdamW over a policy's trainable parameters for one stage of `total` optimizer steps."""

    def __init__(self, policy: Policy, config: OptimConfig, total: int):
        self.config, self.total, self.step_count = config, total, 0
        self.broken = ""  # the parameter whose gradient was not finite first, of the latest update
        self.rate = 1.0  # a controller's factor of the schedule
        self.parameters = [(name, parameter) for name, parameter, _ in policy.trainable()]
        if not self.parameters:
            raise ConfigError("nothing to train: every parameter is frozen")
        rates = {
            "language": config.lr,
            "vision": config.lr_vision or config.lr,
            "value": config.lr_value or config.lr,
        }
        groups: dict[tuple[str, bool], list[Tensor]] = {}
        for _, parameter, part in policy.trainable():
            # Norms and biases (1-D) are not decayed.
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
        self.adamw = torch.optim.AdamW(
            [
                {"params": p, "lr": rates[part], "peak": rates[part], "weight_decay": config.weight_decay * decay}
                for (part, decay), p in groups.items()
            ],
            betas=config.betas,
            eps=config.eps,
            foreach=True,
        )

    def step(self) -> dict[str, float]:
        """Clips, steps and clears the gradients. A gradient that is not finite skips the step and says so."""
        trained = [parameter for _, parameter in self.parameters]
        limit = self.config.clip_norm if self.config.clip_norm is not None else math.inf
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        norm = float(total)
        factor = rate_factor(self.config, self.step_count, self.total) * self.rate
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * factor
        finite = math.isfinite(norm)
        self.broken = "" if finite else self._first_broken()
        if finite:
            # Not before: a norm that is not finite would make every gradient so.
            torch.nn.utils.clip_grads_with_norm_(trained, limit, total)
            self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        self.step_count += 1
        figures = {"optim/grad_norm": norm, "optim/lr": self.config.lr * factor, "optim/skipped": float(not finite)}
        for name in ("lr_vision", "lr_value"):
            peak = getattr(self.config, name)
            if peak is not None:
                figures[f"optim/{name}"] = peak * factor
        return figures

    def _first_broken(self) -> str:
        return next((n for n, p in self.parameters if p.grad is not None and not bool(p.grad.isfinite().all())), "")

    def state(self) -> dict[str, Tensor]:
        """Moments by parameter name, for safetensors."""
        tensors = {}
        for name, parameter in self.parameters:
            for key, value in self.adamw.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value.detach()
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor], step_count: int) -> None:
        """Restores what `state` gave. Raises CheckpointError when it belongs to other parameters."""
        self.step_count = step_count
        for name, parameter in self.parameters:
            keys = ("step", "exp_avg", "exp_avg_sq")
            moments = {key: tensors[f"{key}/{name}"] for key in keys if f"{key}/{name}" in tensors}
            # A parameter that no batch has reached yet (the vision tower under text prompts) has no moments.
            if not moments:
                continue
            if len(moments) < len(keys) or moments["exp_avg"].shape != parameter.shape:
                raise CheckpointError(f"the checkpoint's optimizer does not hold '{name}': it is of another model")
            self.adamw.state[parameter] = {
                "step": moments["step"].to("cpu"),
                "exp_avg": moments["exp_avg"].to(parameter.device),
                "exp_avg_sq": moments["exp_avg_sq"].to(parameter.device),
            }
