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
            "video_groups",
            videomme_v2="VideoMMEv2",
            videomathqa="VideoMathQA",
            videomathqa_mbin="VideoMathQABinary",
            tempcompass="TempCompass",
            odvbench="ODVBench",
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
            vqav2="VQAv2",
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
            screenspot_v2="ScreenSpotV2",
            screenspot_pro="ScreenSpotPro",
        ),
        **_in(
            "image_math",
            mathverse="MathVerse",
            mathvision="MathVision",
            mathvision_testmini="MathVisionMini",
            charxiv="CharXiv",
        ),
        **_in("image_counts", countbench="CountBench", pixmo_count="PixmoCount"),
        **_in("image_detection", coco_detection="COCODetection"),
        **_in("image_documents", omnidocbench_tables="OmniDocTables", omnidocbench_formulas="OmniDocFormulas"),
        **_in(
            "image_classes",
            flowers102="Flowers102",
            oxford_pets="OxfordPets",
            stanford_cars="StanfordCars",
            fgvc_aircraft="FGVCAircraft",
            food101="Food101",
            dtd="DTD",
            eurosat="EuroSAT",
            caltech101="Caltech101",
            sun397="SUN397",
            ucf101="UCF101",
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
