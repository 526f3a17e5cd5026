"""The two sides of `benchmarks.step_throughput`, each run in a process of its own, and what both start from."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

QUESTION = "Read the digits from left to right."
SIZES = {
    "full": {
        "hidden": 256, "layers": 6, "heads": 8, "kv_heads": 4, "head_dim": 32, "mlp": 1024,
        "vision_hidden": 256, "vision_layers": 6, "vision_heads": 8, "vision_mlp": 768,
    },
    "small": {},
}  # fmt: skip
LR, BETAS, EPS, DECAY, CLIP = 1e-6, (0.9, 0.999), 1e-8, 0.0, 1.0


def prepare(args: Namespace) -> None:
    """Writes the checkpoint and the images, and measures this machine's rate of float32 matrix products."""
    import torch

    import mmrl
    from mmrl.policies.tiny import write_tiny

    write_tiny("qwen2_5_vl", Path(args.work) / "model", size=SIZES["small" if args.small else "full"])
    for index, path in enumerate(images(args)):
        draw(index, args.edge).save(path)
    torch.set_num_threads(args.threads)
    a, times = torch.randn(1024, 1024), []
    for _ in range(30):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    versions = {name: version(name) for name in ("trl", "transformers", "torch", "accelerate", "datasets")}
    versions |= {"mmrl": mmrl.__version__, "python": sys.version.split()[0]}
    report(args, gemm_gflops=2 * 1024**3 / median(times) / 1e9, versions=versions)


def images(args: Namespace) -> list[Path]:
    """One PNG per prompt."""
    return [Path(args.work) / f"image_{index}.png" for index in range(args.prompts)]


def draw(index: int, edge: int) -> Any:
    """An image of edge x edge pixels: rows of real digit scans, enlarged."""
    import numpy as np
    from PIL import Image

    from mmrl.data.digits import scans

    every, across = scans()[0] * 16, 7
    picked = every[index * across**2 : (index + 1) * across**2].reshape(across, across, 8, 8)
    tiles = np.uint8(picked.transpose(0, 2, 1, 3).reshape(8 * across, 8 * across) * (255 / 16))
    return Image.fromarray(tiles).resize((edge, edge), Image.Resampling.BICUBIC).convert("RGB")


def score(text: str) -> float:
    """The reward of both sides: the share of letters."""
    return sum(c.isalpha() for c in text) / max(1, len(text))


def report(args: Namespace, **facts: Any) -> None:
    """Hands the process's figures to the one that started it."""
    (Path(args.folder) / "result.json").write_text(json.dumps(facts))


class Meter:
    """Wall and CPU seconds of each step, seconds of its parts, and the patches that pass the vision tower."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.parts: dict[str, float] = defaultdict(float)
        self.loaded_gb = 0.0

    def start(self) -> None:
        """Training begins, and with it the first step."""
        import psutil

        self.loaded_gb = psutil.Process().memory_info().rss / 1e9
        self.parts.clear()
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def end_step(self) -> None:
        """One step ends and the next begins."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.steps.append({"step": wall - self.wall, "cpu": cpu - self.cpu, **self.parts})
        self.parts.clear()
        self.wall, self.cpu = wall, cpu

    def wrap(self, function: Callable, part: str) -> Callable:
        """`function` with its seconds added to `part`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.parts[part] += time.perf_counter() - start

        return timed

    def watch(self, model: Any) -> None:
        """Times the vision tower's forward passes and counts their patches."""

        def count(_: Any, inputs: tuple) -> None:
            self.parts["patches"] += inputs[0].shape[0]

        visual = next(module for name, module in model.named_modules() if name.endswith("visual"))
        visual.patch_embed.register_forward_pre_hook(count)
        visual.forward = self.wrap(visual.forward, "vision_forward")

    def report(self, args: Namespace, model: Any, **facts: Any) -> None:
        """Reports every measured step, memory and the model's parameters."""
        from resource import RUSAGE_SELF, getrusage

        parameters = {"all": 0, "vision": 0, "merger": 0, "embedding": model.get_input_embeddings().weight.numel()}
        for name, parameter in model.named_parameters():
            parameters["all"] += parameter.numel()
            if "visual" in name:
                parameters["merger" if "merger" in name else "vision"] += parameter.numel()
        peak = getrusage(RUSAGE_SELF).ru_maxrss / 1e6
        steps = self.steps[args.warmup :]
        report(args, steps=steps, peak_gb=peak, loaded_gb=self.loaded_gb, parameters=parameters, **facts)


def mmrl_recipe(args: Namespace) -> dict[str, Any]:
    """mmrl's recipe; what it leaves out has mmrl's defaults."""
    stage = {
        "name": "rl",
        "method": "grpo",
        "steps": args.warmup + args.steps,
        "prompts": args.prompts,
        "optim": {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY, "clip_norm": CLIP},
        "rollout": {"n": args.n, "max_new_tokens": args.tokens},
    }
    return {
        "name": "mmrl",
        "output": args.folder,
        "threads": args.threads,
        "policy": {"path": str(Path(args.work) / "model"), "device": "cpu"},
        "data": {"train": [{"type": "digits"}]},  # replaced by the samples
        "stages": [stage],
        "tracking": {"console": "none", "tensorboard": False, "rollouts_every": 10**6},
    }


def run_mmrl(args: Namespace) -> None:
    """mmrl's side: a recipe through the trainer's own run, with end tokens switched off on the policy."""
    from mmrl.contracts.types import Sample
    from mmrl.recipe.schema import load_recipe
    from mmrl.setup import open_run
    from mmrl.trainer.loop import train_all
    from mmrl.trainer.stopping import StopRequest

    messages = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]},)
    samples = [Sample(p.stem, messages, "ocr", {}, images=(p.read_bytes(),)) for p in images(args)]
    recipe = load_recipe(mmrl_recipe(args))
    meter = Meter()
    with StopRequest() as stop:
        session, place = open_run(recipe, stop, lambda text, _: score(text), samples, began=time.time())
        policy = session.policy
        policy.eos_ids = ()  # every completion runs to its full length
        meter.watch(policy.module)
        for name in ("prepare", "prefill", "decode", "log_probs"):
            setattr(policy, name, meter.wrap(getattr(policy, name), name))
        log = session.log

        def log_and_mark(place: Any, *rest: Any) -> None:
            log(place, *rest)
            if place.step:
                meter.end_step()

        session.log = log_and_mark
        prompt_tokens = policy.prepare(samples[:1])[0].length
        meter.start()
        with session.tracker:
            train_all(session, place)
    lines = [json.loads(line) for line in (recipe.folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "time/step" in line]
    for step, line in zip(meter.steps, lines, strict=True):
        assert line["length/mean"] == line["length/max"] == args.tokens, "a completion ended early"
        step["rollout"] = line["time/rollout"]
    meter.report(args, policy.module, prompt_tokens=prompt_tokens)


def trl_settings(args: Namespace) -> dict[str, Any]:
    """TRL's settings: the same training, and of its own options the fastest."""
    return {
        "output_dir": args.folder,
        "use_cpu": True,
        "bf16": False,
        "model_init_kwargs": {"dtype": "float32"},
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "log_completions": False,
        "gradient_checkpointing": False,
        "max_steps": args.warmup + args.steps,
        "per_device_train_batch_size": args.trl_rows,
        "gradient_accumulation_steps": args.prompts * args.n // args.trl_rows,
        "num_iterations": 1,
        "num_generations": args.n,
        "max_completion_length": args.tokens,
        "generation_kwargs": {"min_new_tokens": args.tokens},
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "loss_type": "grpo",
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "weight_decay": DECAY,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "adam_epsilon": EPS,
        "max_grad_norm": CLIP,
    }


def run_trl(args: Namespace) -> None:
    """TRL's side: GRPOTrainer with its own loading, generation and optimizer."""
    from mmrl.policies.compat import ensure_torchvision

    ensure_torchvision()
    import torch
    from datasets import Dataset, Features, Image, Value
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(args.threads)
    meter, rows, sizes = Meter(), args.prompts * args.n, {}
    features = Features({"prompt": [{"role": Value("string"), "content": Value("string")}], "image": Image()})
    columns = {
        "prompt": [[{"role": "user", "content": QUESTION}]] * args.prompts,
        "image": [{"bytes": path.read_bytes()} for path in images(args)],
    }
    data = Dataset.from_dict(columns, features=features)

    def reward(completions: list, **_: Any) -> list[float]:
        return [score(completion[0]["content"]) for completion in completions]

    class Marks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.end_step()

    config = GRPOConfig(**trl_settings(args))
    trainer = GRPOTrainer(str(Path(args.work) / "model"), reward, config, train_dataset=data, callbacks=[Marks()])
    roll_out = trainer._generate_and_score_completions

    def checked(inputs: Any) -> Any:
        batch = roll_out(inputs)
        assert batch["completion_mask"].shape == (rows, args.tokens), "not the batch that was asked for"
        assert bool(batch["completion_mask"].all()), "a completion ended early"
        sizes["prompt_tokens"] = batch["prompt_ids"].shape[1]
        return batch

    trainer._generate_and_score_completions = meter.wrap(checked, "rollout")
    trainer.model.generate = meter.wrap(trainer.model.generate, "generate")
    trainer.compute_loss = meter.wrap(trainer.compute_loss, "loss_forward")
    meter.watch(trainer.model)
    meter.start()
    trainer.train()
    meter.report(args, trainer.model, **sizes)


if __name__ == "__main__":
    {"prepare": prepare, "mmrl": run_mmrl, "trl": run_trl}[sys.argv[1]](Namespace(**json.loads(sys.argv[2])))
