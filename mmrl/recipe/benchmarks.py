"""What a recipe says of benchmarks. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt

from mmrl.contracts.errors import unknown
from mmrl.recipe.base import Settings
from mmrl.recipe.registry import Registry

# What stands behind a name is a class that keeps `mmrl.contracts.benchmark.Benchmark`.
_FOLDER = "mmrl.evaluation.benchmarks"


def _in(module: str, **classes: str) -> dict[str, str]:
    """Name -> `module:class` of benchmarks that stand in one file."""
    return {name: f"{_FOLDER}.{module}:{kind}" for name, kind in classes.items()}


BENCHMARKS: Registry[Any] = Registry(
    "benchmark",
    {
        "digits": f"{_FOLDER}.digits:DigitsBenchmark",
        "video_digits": f"{_FOLDER}.digits:VideoDigitsBenchmark",
        **_in(
            "robots",
            tabletop="TabletopReach",
            maniskill_push_cube="PushCube",
            maniskill_pick_cube="PickCube",
            maniskill_stack_cube="StackCube",
            libero_spatial="LiberoSpatial",
            libero_object="LiberoObject",
            libero_goal="LiberoGoal",
            libero_10="Libero10",
            libero_90="Libero90",
        ),
        **_in(
            "video_choice",
            videomme="VideoMME",
            mvbench="MVBench",
            motionbench="MotionBench",
            lvbench="LVBench",
            longvideobench="LongVideoBench",
            mlvu="MLVU",
            video_holmes="VideoHolmes",
            minerva="Minerva",
            longvideo_reason="LongVideoReason",
            mmvu="MMVU",
            videommmu="VideoMMMU",
            livesports3k_qa="LiveSports",
        ),
        **_in(
            "video_open",
            vsibench="VSIBench",
            charades_sta="CharadesSTA",
            stvg="STVG",
            ovobench="OVOBench",
            vcrbench="VCRBench",
            videoreasonbench="VideoReasonBench",
        ),
        **_in(
            "image_choice",
            mmmu="MMMU",
            mmmu_pro="MMMUPro",
            mmmu_pro_vision="MMMUProVision",
            mmbench_en="MMBench",
            mmstar="MMStar",
            ai2d="AI2D",
            vstar="VStar",
            muirbench="MuirBench",
            blink="BLINK",
            realworldqa="RealWorldQA",
            mathvista="MathVista",
        ),
        **_in(
            "image_open",
            chartqa="ChartQA",
            docvqa="DocVQA",
            infovqa="InfoVQA",
            textvqa="TextVQA",
            ocrbench="OCRBench",
            pope="POPE",
            hallusionbench="HallusionBench",
            mme="MME",
        ),
        **_in(
            "image_places",
            refcoco_val="RefCOCO",
            refcoco_testA="RefCOCOTestA",
            refcoco_testB="RefCOCOTestB",
            **{
                "refcoco+_val": "RefCOCOPlus",
                "refcoco+_testA": "RefCOCOPlusTestA",
                "refcoco+_testB": "RefCOCOPlusTestB",
            },
            refcocog_val="RefCOCOg",
            refcocog_test="RefCOCOgTest",
            screenspot="ScreenSpot",
        ),
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
