"""What a recipe says of benchmarks. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from mmrl.contracts.errors import unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.registry import Registry

# What stands behind a name is a class that keeps `mmrl.contracts.benchmark.Benchmark`.
_FOLDER = "mmrl.evaluation.benchmarks"
BENCHMARKS: Registry[Any] = Registry(
    "benchmark",
    {
        "digits": f"{_FOLDER}.digits:DigitsBenchmark",
        "video_digits": f"{_FOLDER}.digits:VideoDigitsBenchmark",
        "tabletop": f"{_FOLDER}.tabletop:TabletopReach",
    },
)


def benchmark_name(name: str) -> str:
    """The name itself. Raises ValueError with the nearest ones where it is no benchmark."""
    if name not in BENCHMARKS:
        raise ValueError(f"{unknown('benchmark', name, BENCHMARKS.names())}, or module:name")
    return name


class BenchmarkConfig(Settings):
    """A benchmark beside the held-out sets. Its figures are `<name>/<figure>`, and not in their mean."""

    name: Annotated[str, AfterValidator(benchmark_name)] = Field(description="of `mmrl list benchmark`, or module:name")
    root: str | None = Field(None, description="folder of its files")
    limit: PositiveInt | None = Field(None, description="its first rows only")
