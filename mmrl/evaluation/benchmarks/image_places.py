"""Boxes and points in pictures. Targets are converted to the coordinates that the policy answers in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Reference
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.image_choice import INSIDE
from mmrl.evaluation.benchmarks.image_open import texts
from mmrl.evaluation.benchmarks.published import qwen25
from vision_rewards.plain import structure_of


def _facts(hub: str, split: str, size: int | None, *references: Reference) -> Facts:
    return Facts(
        source=f"lmms-lab-encoder/{hub}",
        split=split,
        size=size,
        metric="share of boxes with IoU of at least 0.5; a row per phrase",
        licence="no tag on the hub (pictures of COCO)",
        media=INSIDE,
        references=references,
    )


class RefCOCO(FileBenchmark):
    """RefCOCO, validation: the box of what a phrase names; a picture with several phrases is asked for each."""

    about = "the box of what a phrase names, RefCOCO val"
    name = "refcoco_val"
    facts = _facts("RefCOCO", "val", 8811, qwen25(90.0))
    template = 'Locate "{{ question }}". Report bbox coordinates in JSON format.'
    params: ClassVar = {"iou": {"threshold": 0.5}}
    same = "file_name"

    def parts(self, raw: Mapping[str, Any]) -> int:
        """Its phrases."""
        answer = raw.get("answer")
        return len(answer) if isinstance(answer, list) else 1

    def part(self, raw: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """The row with one of its phrases."""
        answer = raw.get("answer")
        return {**raw, "answer": answer[number]} if isinstance(answer, list) else raw

    def asked(self, row: Columns) -> Asked:
        """`bbox` is x, y, width and height in pixels."""
        box = row.items("bbox")
        if len(box) != 4 or not all(isinstance(side, int | float) for side in box):
            raise row.bad(f"column 'bbox' is {box!r:.80}, not x, y, width and height")
        x, y, width, height = box
        target = {"box": [x, y, x + width, y + height]}
        return Asked(texts(row, "answer")[0], "grounding", images=pictures(row, "image"), target=target)


class RefCOCOTestA(RefCOCO):
    """RefCOCO, testA: people."""

    about = "the box of what a phrase names, RefCOCO testA (people)"
    name = "refcoco_testA"
    facts = _facts("RefCOCO", "testA", 1975, qwen25(92.5))


class RefCOCOTestB(RefCOCO):
    """RefCOCO, testB: other things."""

    about = "the box of what a phrase names, RefCOCO testB (other things)"
    name = "refcoco_testB"
    facts = _facts("RefCOCO", "testB", 1810, qwen25(85.4))


class RefCOCOPlus(RefCOCO):
    """RefCOCO+, validation: phrases without words of place."""

    about = "the box of what a phrase names, RefCOCO+ val (no words of place)"
    name = "refcoco+_val"
    facts = _facts("RefCOCOplus", "val", 3810, qwen25(84.2))


class RefCOCOPlusTestA(RefCOCO):
    """RefCOCO+, testA."""

    about = "the box of what a phrase names, RefCOCO+ testA (people)"
    name = "refcoco+_testA"
    facts = _facts("RefCOCOplus", "testA", 1980, qwen25(89.1))


class RefCOCOPlusTestB(RefCOCO):
    """RefCOCO+, testB."""

    about = "the box of what a phrase names, RefCOCO+ testB (other things)"
    name = "refcoco+_testB"
    facts = _facts("RefCOCOplus", "testB", 1800, qwen25(76.9))


class RefCOCOg(RefCOCO):
    """RefCOCOg, validation: longer phrases."""

    about = "the box of what a phrase names, RefCOCOg val (longer phrases)"
    name = "refcocog_val"
    facts = _facts("RefCOCOg", "val", None, qwen25(87.2))


class RefCOCOgTest(RefCOCO):
    """RefCOCOg, test."""

    about = "the box of what a phrase names, RefCOCOg test (longer phrases)"
    name = "refcocog_test"
    facts = _facts("RefCOCOg", "test", None, qwen25(87.2))


class ScreenSpot(FileBenchmark):
    """ScreenSpot: the place to click on a screen."""

    about = "the place to click on screens of phones, computers and the web"
    name = "screenspot"
    facts = Facts(
        source="rootsautomation/ScreenSpot",
        split="test",
        size=1272,
        metric="share of points in the box",
        licence="Apache-2.0",
        media=INSIDE,
    )
    template = "Where on the screen is to be clicked to {{ question }}? Answer with one point as [x, y]."
    by = ("data_type", "data_source")

    def asked(self, row: Columns) -> Asked:
        """`bbox` is x1, y1, x2, y2 as shares of the picture."""
        box = row.items("bbox")
        if len(box) != 4 or not all(isinstance(side, int | float) and 0 <= side <= 1 for side in box):
            raise row.bad(f"column 'bbox' is {box!r:.80}, not a box in shares of the picture")
        return Asked(
            row.text("instruction"),
            "point_in_box",
            images=pictures(row, "image"),
            target={"box": list(box)},
            coordinates="norm1",
        )


class ScreenSpotV2(ScreenSpot):
    """ScreenSpot-v2: ScreenSpot with its faulty rows mended."""

    about = "the place to click on screens, ScreenSpot with its faulty rows mended"
    name = "screenspot_v2"
    facts = Facts(
        source="HongxinLi/ScreenSpot_v2, or OS-Copilot/ScreenSpot-v2's JSON",
        split="test",
        size=1272,
        metric="share of points in the box",
        licence="Apache-2.0",
        media="none, or screenspot_v2/<img_filename>",
    )

    def asked(self, row: Columns) -> Asked:
        """`bbox` is x1, y1, x2, y2 as shares of the picture, or x, y, width and height in pixels."""
        box = row.items("bbox")
        if len(box) == 4 and all(isinstance(side, int | float) for side in box) and max(box) > 1.0:
            return clicked(row, [box[0], box[1], box[0] + box[2], box[1] + box[3]])
        return super().asked(row)


class ScreenSpotPro(FileBenchmark):
    """ScreenSpot-Pro: small targets on large screens of professional programs."""

    about = "the place to click on large screens of professional programs"
    name = "screenspot_pro"
    facts = Facts(
        source="TIGER-Lab/ScreenSpot-Pro (likaixin/ScreenSpot-Pro)",
        split="test",
        size=1581,
        metric="share of points in the box",
        licence="MIT",
        media="none, or screenspot_pro/images/<img_filename>",
    )
    template = ScreenSpot.template
    by = ("ui_type", "group")

    def asked(self, row: Columns) -> Asked:
        """`bbox` is x1, y1, x2, y2 in pixels."""
        written = row.any("bbox")
        box = structure_of(written) if isinstance(written, str) else row.items("bbox")
        if len(box) != 4 or not all(isinstance(side, int | float) for side in box):
            raise row.bad(f"column 'bbox' is {box!r:.80}, not x1, y1, x2, y2 in pixels")
        return clicked(row, list(box), "images/")


def clicked(row: Columns, box: list[float], folder: str = "") -> Asked:
    """A row about a place in pixels, whose picture stands in it, or in a file that `img_filename` names."""
    images = pictures(row, "image") if row.has("image") else (folder + row.text("img_filename"),)
    return Asked(row.text("instruction"), "point_in_box", images=images, target={"box": box})
