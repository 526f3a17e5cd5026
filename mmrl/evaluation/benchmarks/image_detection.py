"""Everything in a picture: COCO's validation set of 2017, as its own file has it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts
from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.tables import ListTable, Table
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, Questions, pictures

FILES = ("instances_val2017.json", "annotations/instances_val2017.json")


class COCODetection(FileBenchmark):
    """COCO val2017: every thing of eighty kinds, with its box. Crowds are left out."""

    about = "every thing of 80 kinds in photographs, with its box"
    name = "coco_detection"
    facts = Facts(
        source="COCO's annotations/instances_val2017.json (cocodataset.org)",
        split="val2017",
        size=5000,
        metric="F1 at IoU 0.5 of each picture's list, mean over pictures; answers have no confidences, so no COCO AP",
        licence="CC-BY-4.0 (annotations; the pictures have terms of their own)",
        media="coco_detection/val2017/<file_name>",
    )
    template = (
        "Find every object of these kinds: {{ classes }}.\nReport them as JSON, one entry for each: "
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "kind"}]; [] where there is none.'
    )
    params: ClassVar = {"detection": {"threshold": 0.5}}
    measures: ClassVar = {"detection": "score"}
    limit = 2048
    same = "file_name"

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; COCO's file is read as it is, rows of other files as {file_name, objects}."""
        folder = Path(root or "", self.name).expanduser()
        there = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if root is None or there is None:
            return super().rows(root)
        return Questions(self, [_instances(there)], str(folder))

    def asked(self, row: Columns) -> Asked:
        """`objects` are {bbox: [x, y, width, height] in pixels, label}."""
        boxes = []
        for thing in row.items("objects"):
            x, y, width, height = thing["bbox"]
            boxes.append({"box": [x, y, x + width, y + height], "label": thing["label"]})
        images = pictures(row, "image") if row.has("image") else (f"val2017/{row.text('file_name')}",)
        return Asked("", "detection", images=images, target={"boxes": boxes})


def _instances(path: Path) -> Table:
    """A row per picture of COCO's file, in its order. Raises UserError where it is another kind of file."""
    content: Any = json.loads(path.read_text("utf-8"))
    try:
        names = {kind["id"]: kind["name"] for kind in content["categories"]}
        objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for item in content["annotations"]:
            if not item.get("iscrowd"):
                objects[item["image_id"]].append({"bbox": item["bbox"], "label": names[item["category_id"]]})
        classes = ", ".join(names.values())
        rows = [
            {"id": image["id"], "file_name": image["file_name"], "classes": classes, "objects": objects[image["id"]]}
            for image in content["images"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"benchmark 'coco_detection': '{path}' is no file of COCO's instances: {error}") from None
    return ListTable(path.name, rows)
