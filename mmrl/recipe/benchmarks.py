"""What a recipe says of benchmarks. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from mmrl.contracts.errors import unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.registry import Registry

# What stands behind a name is a class that keeps `mmrl.contracts.benchmark.Benchmark`.
BENCHMARKS: Registry[Any] = Registry("benchmark", {"digits": "mmrl.evaluation.benchmarks.digits:DigitsBenchmark"})


def _benchmark(name: str) -> str:
    if name not in BENCHMARKS:
        raise ValueError(f"{unknown('benchmark', name, BENCHMARKS.names())}, or module:name")
    return name


class BenchmarkConfig(Settings):
    """A benchmark beside the held-out sets. Its figures are `<name>/<figure>`, and not in their mean."""

    name: Annotated[str, AfterValidator(_benchmark)] = Field(description="of `mmrl list benchmark`, or module:name")
    root: str | None = Field(None, description="folder of its files")
    limit: PositiveInt | None = Field(None, description="its first rows only")
