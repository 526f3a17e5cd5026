"""Held-out evaluation of a recipe."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from mmrl.recipe.base import Settings
from mmrl.recipe.benchmarks import BenchmarkConfig
from mmrl.recipe.rollout import GreedyConfig


class SparseToDense(Settings):
    """Reading each held-out video with few frames first, and with more where the sampled answers disagree."""

    start: PositiveInt = Field(32, description="frames of the first level; each level after it has twice as many")
    max: PositiveInt = Field(128, description="frames beyond which no level goes")
    frames: list[PositiveInt] | None = Field(None, description="frames of each level, rising, instead of start and max")
    samples: PositiveInt = Field(5, description="answers per level")
    agreement: float = Field(1.0, gt=0.0, le=1.0, description="share of the samples that must give one answer")
    temperature: float = Field(0.7, ge=0.0, description="of the samples; evaluation.sampling has the rest")

    @model_validator(mode="after")
    def _rising(self) -> SparseToDense:
        # Compared by value, not by what was set: a resolved recipe carries every default.
        doubling = {name: type(self).model_fields[name].default for name in ("start", "max")}
        if self.frames is not None and doubling != {name: getattr(self, name) for name in doubling}:
            raise ValueError("frames names the levels; leave start and max out beside it")
        if self.start > self.max:
            raise ValueError(f"start {self.start} is above max {self.max}")
        if not self.levels or sorted(set(self.levels)) != self.levels:
            raise ValueError(f"frames must name at least one level, and rise from level to level, not {self.frames}")
        for level in self.levels:
            if level % 2:
                raise ValueError(f"{level} frames are no whole number of temporal patches of two; take {level + 1}")
        if self.samples > 1 and self.temperature == 0.0:
            raise ValueError(f"temperature 0 samples one answer {self.samples} times; set it above 0, or samples to 1")
        return self

    @property
    def levels(self) -> list[int]:
        """Frames of each level."""
        if self.frames is not None:
            return list(self.frames)
        levels = [self.start]
        while 2 * levels[-1] <= self.max:
            levels.append(2 * levels[-1])
        return levels


class AnswerEvaluation(Settings):
    """What held-out answers read."""

    sparse_to_dense: SparseToDense | None = None
    loss: bool | None = Field(
        None,
        description="measure the loss of held-out demonstrations; None: where a stage draws demonstrations. Rows that "
        "nothing rewards are measured by it in any case",
    )


class EpisodeEvaluation(Settings):
    """What held-out episodes read."""

    action_chunk: PositiveInt | None = Field(None, description="actions per decision, for episodes; None: the stage's")
    videos: int = Field(0, ge=0, description="episodes of each held-out simulator set filmed at each evaluation")


# What reads `evaluation`, by what a held-out set gives.
READ_BY: dict[str, type[Settings]] = {"answers": AnswerEvaluation, "episodes": EpisodeEvaluation}


class EvalConfig(AnswerEvaluation, EpisodeEvaluation):
    """Held-out evaluation: greedy unless said otherwise."""

    every: PositiveInt | None = Field(None, description="steps between evaluations; None: only between stages")
    limit: PositiveInt | None = Field(None, description="rows per dataset")
    sampling: GreedyConfig = GreedyConfig()
    batch_size: PositiveInt = Field(256, description="rows read and asked, or episodes played, at once")
    benchmarks: list[BenchmarkConfig] = Field([], description="measured beside the held-out sets")

    @model_validator(mode="after")
    def _benchmarks_differ(self) -> EvalConfig:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            raise ValueError(f"benchmarks: each may stand there once, got {', '.join(names)}")
        return self
