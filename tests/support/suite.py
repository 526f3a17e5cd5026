"""Benchmarks without a model: a policy that shows its samples to an engine that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample, StopReason
from mmrl.data.media import load_image
from mmrl.evaluation.suite.runner import Task, open_tasks, run_tasks
from mmrl.recipe.suite import SuiteConfig

MODEL = {"name": "stub", "digest": "0"}


@dataclass(frozen=True)
class Shown:
    """A prompt that is its sample."""

    sample: Sample
    length: int = 1


class Policy:
    """Opens the pictures of its samples, and nothing else."""

    config = SimpleNamespace(type="stub", path="stub", dtype="float32")
    device = torch.device("cpu")

    def prepare(self, samples: Sequence[Sample]) -> list[Shown]:
        for sample in samples:
            for picture in sample.images:
                load_image(picture, sample.root, sample.where)
            for video in sample.videos:
                path = Path(sample.root or ".", video)
                if path.is_file() and not path.stat().st_size:
                    raise BadSample(sample.where, f"video '{video}' is empty")
        return [Shown(sample) for sample in samples]

    def localise(self, sample: Sample, prompt: Shown) -> Sample:
        return sample

    def decode_text(self, tokens: Any) -> str:
        raise AssertionError("the engine gives texts")


class Engine:
    """Gives one answer to each sample; `cut` are rows whose answers the limit cuts."""

    def __init__(self, answer: Callable[[Sample], str], cut: Sequence[int] = (), dies_at: int | None = None):
        self.answer, self.cut, self.dies_at = answer, cut, dies_at
        self.asked: list[int] = []

    def generate(self, requests, sampling, seed):
        completions = []
        for request in requests:
            sample = request.prompt.sample
            if sample.row == self.dies_at:
                raise KeyboardInterrupt
            self.asked.append(sample.row)
            stop = StopReason.LENGTH if sample.row in self.cut else StopReason.END
            completions.append([Completion(torch.zeros(3, dtype=torch.long), None, stop, text=self.answer(sample))])
        return completions


def settings(output: Path, tasks: Sequence[str], **keys: Any) -> SuiteConfig:
    """As `mmrl eval` has them."""
    return SuiteConfig(model="stub", tasks=list(tasks), output=str(output), **keys)


def ask(config: SuiteConfig, answer: Callable[[Sample], str] | Engine, tasks: Sequence[Task] | None = None):
    """results.json's entries of the benchmarks, asked of the stub."""
    engine = answer if isinstance(answer, Engine) else Engine(answer)
    tasks = open_tasks(config) if tasks is None else tasks
    return run_tasks(tasks, config, Policy(), engine, "stub", MODEL, 1, say=lambda line: None)


def gold_of(task: Task) -> Callable[[Sample], str]:
    """The benchmark's own right answers."""
    return lambda sample: task.benchmark.gold(sample) or ""
