"""What `mmrl eval --tasks` is told: a checkpoint, benchmarks, and how they are asked. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from mmrl.contracts.errors import unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.benchmarks import benchmark_name
from mmrl.recipe.rollout import GreedyConfig

# What an evaluation's YAML file has, and no recipe.
KEYS = ("model", "tasks")
# What of a benchmark can be taken away or changed, behind an @: `digits@blank`. See `mmrl.evaluation.suite.arms`.
ARMS = (
    "text_only",
    "blank",
    "swapped",
    "frames_shuffled",
    "frames_dropped",
    "options_permuted",
    "misleading_caption",
    "wrong_reasoning",
)
YAML = (".yaml", ".yml")
# Suites whose words and rules a benchmark can be asked and scored by. See `mmrl.evaluation.suite.named`.
SUITES = ("lmms-eval", "vlmevalkit", "easyvideor1", "qwen")
_SHARD = re.compile(r"(\d+)/(\d+)")


def read_shard(written: str) -> tuple[int, int]:
    """(i, n) of `i/n`, 0 <= i < n. Raises ValueError."""
    match = _SHARD.fullmatch(written)
    place, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 <= place < count:
        raise ValueError(f"shard: '{written}' is not of the form i/n with 0 <= i < n, such as 0/4")
    return place, count


def split_arm(task: str) -> tuple[str, str | None]:
    """(benchmark, arm) of `benchmark@arm`; without an arm None."""
    name, _, arm = task.partition("@")
    return name, arm or None


def task_name(task: str) -> str:
    """The task itself. Raises ValueError where it is no benchmark, no YAML file, or has an unknown arm."""
    name, arm = split_arm(task)
    if arm is not None and arm not in ARMS:
        raise ValueError(unknown("arm", arm, ARMS))
    if not name.endswith(YAML):
        benchmark_name(name)
    elif not Path(name).is_file():
        raise ValueError(f"no benchmark at '{name}'")
    return task


def _suite(written: str | None) -> str | None:
    if written is not None and written not in SUITES:
        raise ValueError(unknown("protocol", written, SUITES))
    return written


def _shard(written: str | None) -> str | None:
    if written is not None:
        read_shard(written)
    return written


class JudgeConfig(Settings):
    """A language model behind an OpenAI-compatible server, which grades answers that rules do not hold for right."""

    url: str = Field(description="its base URL, e.g. `http://localhost:8000/v1`")
    model: str = Field(description="its name there")
    key_env: str | None = Field(None, description="environment variable that holds the key; never the key itself")
    reasoning: bool = Field(
        False, description="also grade the reasoning of right answers: figures `sound`, and `cot_pass@k` of samples"
    )
    max_tokens: PositiveInt = Field(512, description="of a reply")
    timeout: PositiveFloat = Field(60.0, description="seconds without a byte; ten times as many in all")
    retries: NonNegativeInt = Field(3, description="further tries of a request that failed in passing")
    backoff: NonNegativeFloat = Field(1.0, description="seconds before the first of them, doubled each time")
    concurrency: PositiveInt = Field(8, description="requests at once")

    @field_validator("url")
    @classmethod
    def _is_url(cls, written: str) -> str:
        if not written.startswith(("http://", "https://")):
            raise ValueError("it is no http or https URL")
        return written


class SuiteConfig(Settings):
    """Benchmarks of one checkpoint."""

    model: str = Field(
        description="folder of a checkpoint or of a run, a hub name, or a packaged checkpoint; of engine endpoint, the "
        "server's name of it"
    )
    tasks: list[Annotated[str, AfterValidator(task_name)]] = Field(
        min_length=1, description="of `mmrl eval list`, module:name, or a YAML file; with @arm one asked under an arm"
    )
    output: str = Field(description="folder of the results; one that holds a part of them is gone on with")
    data_root: str | None = Field(None, description="folder of the benchmarks' files")
    protocol: Annotated[str | None, AfterValidator(_suite)] = Field(
        None, description="whose words and rules: lmms-eval, vlmevalkit, easyvideor1 or qwen; default: ours"
    )
    download: bool = Field(False, description="fetch rows from the hub that no file and no cache holds")
    limit: PositiveInt | None = Field(None, description="first rows of each benchmark only")
    policy: dict[str, Any] = Field({}, description="settings of the policy over those of its run, such as `video.fps`")
    engine: dict[str, Any] = Field({}, description="settings of the engine; its name defaults to the policy's own")
    sampling: GreedyConfig = Field(
        GreedyConfig(), description="how answers are sampled; max_new_tokens defaults to the benchmark's own"
    )
    simulators: dict[str, dict[str, Any]] = Field(
        {}, description="settings over those of the benchmarks' simulators, by their names, such as `libero.assets`"
    )
    action_chunk: PositiveInt | None = Field(
        None, description="actions per decision of episodes; default: the run's, or 1"
    )
    judge: JudgeConfig | None = Field(None, description="grades the answers of benchmarks that name a judge")
    samples: PositiveInt = Field(1, description="answers to each question, at a temperature")
    seed: int = 0
    batch_size: PositiveInt = Field(32, description="rows read and asked at once; no figure depends on it")
    shard: Annotated[str | None, AfterValidator(_shard)] = Field(
        None, description="i/n: every n-th row from the i-th on, to be put together by `mmrl eval merge`"
    )
    count_missing: bool = Field(False, description="rows whose media are missing count as wrong, and stop nothing")
    log_samples: bool = Field(False, description="also write the answers as lmms-eval and VLMEvalKit have them")

    @model_validator(mode="after")
    def _tasks_differ(self) -> SuiteConfig:
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks: each may stand there once, got {', '.join(self.tasks)}")
        return self

    @model_validator(mode="after")
    def _answers_differ(self) -> SuiteConfig:
        if self.samples > 1 and not self.sampling.temperature:
            raise ValueError(
                f"samples: {self.samples} answers to a question are one at temperature 0; set sampling.temperature too"
            )
        if self.samples > 1 and self.log_samples:
            raise ValueError("log_samples: the files of other suites hold one answer to a row, not several samples")
        return self
