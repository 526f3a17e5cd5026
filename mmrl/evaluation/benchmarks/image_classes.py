"""Fine-grained classification: the sets of CLS-RL and Visual-RFT, in CoOp's split files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts
from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.tables import ListTable, Table
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, Questions, pictures


def _facts(name: str, size: int, media: str) -> Facts:
    return Facts(
        source=f"CoOp's split_zhou_{name}.json with the set's own pictures",
        split="test",
        size=size,
        metric="accuracy; the classes are listed in the question",
        licence="the set's own terms",
        media=media,
    )


class FineGrained(FileBenchmark):
    """Which of a list of classes a picture shows.

    Attributes:
        split_file: CoOp's, under the benchmark's folder.
        folder: the one in it that paths of CoOp's file start from.
        thing: what is asked for.
    """

    template = "What kind of {{ thing }} is shown? Answer with one of these, and nothing else: {{ classes }}."
    split_file: ClassVar[str]
    folder: ClassVar[str]
    thing: ClassVar[str]

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; other files have rows of `image`, `label` and `classes`."""
        path = Path(root or "", self.name, self.split_file).expanduser()
        if root is None or not path.is_file():
            return super().rows(root)
        return Questions(self, [self._split(path)], str(path.parent))

    def _split(self, path: Path) -> Table:
        content: Any = json.loads(path.read_text("utf-8"))
        try:
            classes = list(dict.fromkeys(name for _, _, name in sorted(content["test"], key=lambda item: item[1])))
            rows = [
                {"image": f"{self.folder}/{image}", "label": name, "classes": classes}
                for image, _, name in content["test"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"benchmark '{self.name}': '{path}' is no split file of CoOp: {error}") from None
        return ListTable(path.name, rows)

    def asked(self, row: Columns) -> Asked:
        """Underscores of class names are blanks, as CoOp asks them."""
        classes = [str(name).replace("_", " ") for name in row.items("classes")]
        label = row.text("label").replace("_", " ")
        if label not in classes:
            raise row.bad(f"the class '{label:.40}' is none of its list")
        columns: Mapping[str, Any] = {"classes": ", ".join(classes), "thing": self.thing}
        return Asked("", "classification", label, images=pictures(row, "image"), columns=columns)


class Flowers102(FineGrained):
    """Oxford Flowers: 102 kinds."""

    about, name = "102 kinds of flowers", "flowers102"
    split_file, folder, thing = "split_zhou_OxfordFlowers.json", "jpg", "flower"
    facts = _facts("OxfordFlowers", 2463, "flowers102/jpg/")


class OxfordPets(FineGrained):
    """Oxford-IIIT Pet: 37 breeds."""

    about, name = "37 breeds of cats and dogs", "oxford_pets"
    split_file, folder, thing = "split_zhou_OxfordPets.json", "images", "pet"
    facts = _facts("OxfordPets", 3669, "oxford_pets/images/")


class StanfordCars(FineGrained):
    """Stanford Cars: 196 models."""

    about, name = "196 models of cars", "stanford_cars"
    split_file, folder, thing = "split_zhou_StanfordCars.json", ".", "car"
    facts = _facts("StanfordCars", 8041, "stanford_cars/cars_test/")


class Food101(FineGrained):
    """Food-101: one of 101 dishes."""

    about, name = "101 dishes", "food101"
    split_file, folder, thing = "split_zhou_Food101.json", "images", "food"
    facts = _facts("Food101", 30300, "food101/images/")


class DTD(FineGrained):
    """Describable Textures: 47 words for them."""

    about, name = "47 words for textures", "dtd"
    split_file, folder, thing = "split_zhou_DescribableTextures.json", "images", "texture"
    facts = _facts("DescribableTextures", 1692, "dtd/images/")


class EuroSAT(FineGrained):
    """EuroSAT: ten kinds of land seen from above."""

    about, name = "ten kinds of land, seen from a satellite", "eurosat"
    split_file, folder, thing = "split_zhou_EuroSAT.json", "2750", "land"
    facts = _facts("EuroSAT", 8100, "eurosat/2750/")


class Caltech101(FineGrained):
    """Caltech 101."""

    about, name = "100 kinds of objects", "caltech101"
    split_file, folder, thing = "split_zhou_Caltech101.json", "101_ObjectCategories", "object"
    facts = _facts("Caltech101", 2465, "caltech101/101_ObjectCategories/")


class SUN397(FineGrained):
    """SUN: 397 kinds of scenes."""

    about, name = "397 kinds of scenes", "sun397"
    split_file, folder, thing = "split_zhou_SUN397.json", "SUN397", "scene"
    facts = _facts("SUN397", 19850, "sun397/SUN397/")


class UCF101(FineGrained):
    """UCF101: the middle frames of its videos."""

    about, name = "101 actions, by the middle frame of a video", "ucf101"
    split_file, folder, thing = "split_zhou_UCF101.json", "UCF-101-midframes", "action"
    facts = _facts("UCF101", 3783, "ucf101/UCF-101-midframes/")


class FGVCAircraft(FineGrained):
    """FGVC Aircraft: 100 variants, in the files that the set itself has."""

    about, name = "100 variants of aircraft", "fgvc_aircraft"
    split_file, folder, thing = "images_variant_test.txt", "images", "aircraft"
    facts = Facts(
        source="FGVC-Aircraft's own data/images_variant_test.txt",
        split="test",
        size=3333,
        metric="accuracy; the classes are listed in the question",
        licence="non-commercial research",
        media="fgvc_aircraft/images/<number>.jpg",
    )

    def _split(self, path: Path) -> Table:
        pairs = [line.split(" ", 1) for line in path.read_text("utf-8").splitlines() if " " in line]
        classes = sorted({name for _, name in pairs})
        rows = [{"image": f"images/{image}.jpg", "label": name, "classes": classes} for image, name in pairs]
        return ListTable(path.name, rows)
