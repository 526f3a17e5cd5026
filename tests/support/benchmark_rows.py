"""Invented rows in the columns that public benchmarks have, and the files that hold them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmrl.contracts.types import Sample
from tests.support.pictures import encoded

PICTURE = "a picture"


@dataclass(frozen=True)
class Case:
    """Rows of one benchmark.

    Attributes:
        rows: `PICTURE` stands for an encoded picture.
        form: how the file is written.
        best: what right answers score.
        media: files that the rows name, under the benchmark's folder.
    """

    rows: list[dict[str, Any]]
    form: str = "json"
    best: float = 1.0
    media: tuple[str, ...] = ()


def _choice(**columns: Any) -> dict[str, Any]:
    return {"question": "What is shown?", "options": ["a cup", "a key", "a hat"], "answer": "B", **columns}


_MATH = {"unit": None, "precision": None, "choices": None, "decoded_image": PICTURE}
ROWS: dict[str, Case] = {
    "videomme:hub": Case(
        [
            _choice(videoID="ab1", duration="short", domain="Knowledge", task_type="OCR", options=["A. 1.", "B. 4."]),
            _choice(videoID="ab1", duration="long", domain="Sports", task_type="OCR", options="['A. 1.', 'B. 4.']"),
        ],
        media=("data/ab1.mp4",),
    ),
    "mvbench:hub": Case(
        [
            {
                "video": "32.mp4",
                "prefix": "clevrer/",
                "question": "How many objects leave?",
                "candidates": ["1", "0"],
                "answer": "0",
                "task_type": "moving_count",
            }
        ],
        media=("clevrer/32.mp4",),
    ),
    "motionbench:hub": Case([_choice(video_path="v.mp4", question_type="Camera Motion")], media=("v.mp4",)),
    "lvbench:hub": Case([_choice(video_path="v.mp4")], media=("v.mp4",)),
    "longvideobench:hub": Case(
        [
            {
                "question": "In which order?",
                "option0": "sea, town",
                "option1": "town, sea",
                "option2": "N/A",
                "option3": "N/A",
                "option4": "N/A",
                "correct_choice": 1,
                "video_path": "v26.mp4",
                "duration_group": 3600,
                "question_category": "SSS",
            }
        ],
        media=("videos/v26.mp4",),
    ),
    "video_holmes:hub": Case(
        [
            {
                "video ID": "x_1",
                "Question": "Who is he?",
                "Options": {"A": "brother", "B": "friend"},
                "Answer": "B",
                "Question Type": "SR",
            }
        ],
        media=("videos_cropped/x_1.mp4",),
    ),
    "minerva:hub": Case(
        [
            {
                "video_id": "q-1",
                "question": "What comes first?",
                **{f"answer_choice_{i}": text for i, text in enumerate(("a", "b", "c", "d", "e"))},
                "answer_id": 4,
                "answer": "e",
                "question_type": "Temporal",
            }
        ],
        media=("q-1.mp4",),
    ),
    "mmvu:hub": Case(
        [
            {
                "id": "validation_0",
                "video_path": "videos/Art/1.mp4",
                "question": "Which style?",
                "choices": {"A": "Cubism", "B": "Baroque", "C": "", "D": "", "E": ""},
                "answer": "A",
                "question_type": "multiple-choice",
            },
            {"id": "validation_1", "question": "Why?", "answer": "light", "question_type": "open-ended"},
        ],
        media=("videos/Art/1.mp4",),
    ),
    "vsibench:hub": Case(
        [
            {
                "dataset": "scannet",
                "scene_name": "s1",
                "question_type": kind,
                "question": f"Question of {kind}?",
                "options": options,
                "ground_truth": truth,
            }
            for kind, options, truth in [
                ("object_size_estimation", None, "120"),
                ("object_rel_direction_easy", ["A. left", "B. right"], "B"),
                ("object_rel_direction_hard", ["A. left", "B. right"], "A"),
            ]
        ],
        media=("scannet/s1.mp4",),
    ),
    "charades_sta:hub": Case(
        [{"video": "AB609.mp4", "caption": "person closes the door", "timestamp": [65.2, 80.0]}],
        media=("Charades_v1_480/AB609.mp4",),
    ),
    "mmmu": Case(
        [
            {
                "id": "validation_Math_5",
                "question": "<image 2> beside <image 1>: which angle?",
                "options": "['30°', '<image 3>']",
                "answer": "B",
                "question_type": "multiple-choice",
                "subfield": "Geometry",
                "image_1": PICTURE,
                "image_2": PICTURE,
                "image_3": PICTURE,
                "image_4": None,
            },
            *(
                {
                    "id": f"validation_Biology_{i}",
                    "question": "Which structure is X in <image 1>?",
                    "options": "[]",
                    "answer": answer,
                    "question_type": "open",
                    "subfield": "Anatomy",
                    "image_1": PICTURE,
                    "image_2": None,
                    "image_3": None,
                    "image_4": None,
                }
                for i, answer in enumerate(("Left ventricle", "['24/7', '3.429']", "0.63"))
            ),
        ],
        form="parquet",
    ),
    "mmmu_pro": Case([_choice(id="test_1", subject="Physics", options="['10 Ω', '22 Ω']", image_1=PICTURE)]),
    "mmmu_pro_vision": Case(
        [{"id": "test_1", "subject": "Art", "options": "['a', 'b']", "answer": "A", "image": PICTURE}]
    ),
    "mmbench_en": Case(
        [
            {"index": "7", "image": PICTURE, "question": "Where?", "hint": "nan", "A": "in the tree", "B": "on it"}
            | {"answer": "A", "category": "object_localization", "split": "dev"},
            {"index": "1000007", "image": "7", "question": "Where?", "hint": "nan", "A": "on it", "B": "in the tree"}
            | {"answer": "B", "category": "object_localization", "split": "dev"},
            {"index": "8", "image": PICTURE, "question": "Which?", "hint": "Look up.", "A": "one", "B": "two"}
            | {"answer": "A", "category": "ocr", "split": "dev"},
        ],
        form="tsv",
    ),
    "mmstar": Case(
        [
            {
                "index": 29,
                "question": "What is the sum?\nOptions: A: 7, B: 9",
                "answer": "B",
                "category": "math",
                "l2_category": "calculation",
                "image": PICTURE,
            }
        ]
    ),
    "ai2d": Case([{"question": "Which one eats?", "options": ["hawk", "grass"], "answer": "0", "image": PICTURE}]),
    "vstar": Case(
        [
            {
                "question_id": 1,
                "text": "What colour is the cup?\n(A) red\n(B) blue\nAnswer with the option's letter from the given "
                "choices directly.",
                "label": "A",
                "category": "direct_attributes",
                "image": PICTURE,
            }
        ]
    ),
    "muirbench": Case(
        [
            _choice(
                idx="1",
                task="Counting",
                question="<image> and <image>: which?",
                options=["the first", "the second"],
                image_list=[PICTURE, PICTURE],
            ),
            _choice(idx="2", task="Ordering", question="<image>?", image_list=[PICTURE, PICTURE]),
        ]
    ),
    "blink": Case(
        [
            {
                "idx": "val_1",
                "sub_task": "Counting",
                "question": "How many?",
                "choices": ["1", "2"],
                "answer": "(B)",
                "image_1": PICTURE,
                "image_2": None,
            }
        ]
    ),
    "realworldqa": Case(
        [
            {
                "question": "Which is nearer?\nA. the car\nB. the bus\nPlease answer directly with only the letter "
                "of the correct option and nothing else.",
                "answer": "B",
                "image": PICTURE,
            },
            {"question": "How many lanes? Please answer with a number.", "answer": "3", "image": PICTURE},
            {"question": "Is it dry? Please answer with a single word.", "answer": "Yes", "image": PICTURE},
        ]
    ),
    "mathvista": Case(
        [
            {
                "pid": "1",
                "query": "Hint: give the letter.\nQuestion: Which?\nChoices:\n(A) 4\n(B) 5",
                "question": "Which?",
                "question_type": "multi_choice",
                "answer_type": "text",
                "answer": "5",
                **_MATH,
                "choices": ["4", "5"],
            },
            *(
                {
                    "pid": str(i),
                    "query": f"Hint: answer {kind}.\nQuestion: What?",
                    "question": "What?",
                    "question_type": "free_form",
                    "answer_type": kind,
                    "answer": answer,
                    **_MATH,
                    "precision": precision,
                }
                for i, (kind, answer, precision) in enumerate(
                    [("integer", "12", None), ("float", "1.4", 1.0), ("list", "[2007, 2008]", None)], 2
                )
            ),
        ]
    ),
    "chartqa": Case(
        [
            {"type": "human_test", "question": "In which year?", "answer": "2019", "image": PICTURE},
            {"type": "augmented_test", "question": "Which colours?", "answer": "[Red, Blue]", "image": PICTURE},
        ]
    ),
    "docvqa": Case([{"questionId": "6", "question": "Who?", "answers": ["Dr. Ortiz"], "docId": 1, "image": PICTURE}]),
    "infovqa": Case(
        [{"questionId": "7", "question": "Where?", "answers": ["Fiji"], "image_url": "u", "image": PICTURE}]
    ),
    "textvqa": Case(
        [
            {"image_id": "0a", "question_id": 1, "question": "what does it say?", "answers": ["mint"] * 10}
            | {"image": PICTURE},
            {"image_id": "0a", "question_id": 2, "question": "which brand?", "answers": ["dell"] * 3 + list("abcdefg")}
            | {"image": PICTURE},
        ],
        best=(1.0 + 0.9) / 2,
    ),
    "ocrbench": Case(
        [
            {"dataset": "ORAND", "question": "what is written?", "question_type": "Digit String Recognition"}
            | {"answer": ["1250"], "image": PICTURE},
            {"dataset": "HME100k", "question": "Write the formula.", "question_type": "Formula"}
            | {"answer": ["\\frac { a } { 2 }"], "image": PICTURE},
        ]
    ),
    "pope": Case(
        [
            {"question_id": str(i), "question": "Is there a dog?", "answer": answer, "image_source": "c1"}
            | {"category": "random", "image": PICTURE}
            for i, answer in enumerate(("no", "yes"))
        ]
    ),
    "hallusionbench": Case(
        [
            {"category": "VD", "subcategory": "illusion", "set_id": "0", "figure_id": "1", "question_id": "0"}
            | {"question": "Is it longer?", "gt_answer": "1", "image": PICTURE},
            {"category": "VS", "subcategory": "map", "set_id": "1", "figure_id": "0", "question_id": "0"}
            | {"question": "Is it so?", "gt_answer": "0", "image": None},
        ]
    ),
    "mme": Case(
        [
            {"question_id": "code/1.png", "category": category, "question": question, "answer": answer}
            | {"image": PICTURE}
            for category in ("existence", "code_reasoning")
            for question, answer in (
                ("Is there a cat? Please answer yes or no.", "Yes"),
                ("Is there a dog? Please answer yes or no.", "No"),
            )
        ],
        best=400.0,
    ),
    "refcoco_val": Case(
        [
            {
                "question_id": "4",
                "question": "Please describe the region.",
                "answer": ["the left man", "man in red"],
                "bbox": [4.0, 6.0, 20.0, 18.0],
                "file_name": "c_0.jpg",
                "iscrowd": 0,
                "image": PICTURE,
            }
        ]
    ),
    "screenspot": Case(
        [
            {
                "file_name": "pc_1.png",
                "bbox": [0.25, 0.5, 0.5, 0.75],
                "instruction": "close the window",
                "data_type": "text",
                "data_source": "windows",
                "image": PICTURE,
            }
        ]
    ),
}
for _name in ("refcoco_testA", "refcoco_testB", "refcoco+_val", "refcoco+_testA", "refcoco+_testB", "refcocog_val"):
    ROWS[_name] = ROWS["refcoco_val"]
ROWS["refcocog_test"] = ROWS["refcoco_val"]


def WRONG(sample: Sample) -> str:
    """An answer that no row holds for right."""
    return "something that nobody asked about"


def write(root: Path, name: str) -> None:
    """The file of some rows under the folder of all benchmarks, with the media that they name."""
    case, benchmark = ROWS[name], name.partition(":")[0]
    for path in case.media:
        (root / benchmark / path).parent.mkdir(parents=True, exist_ok=True)
        (root / benchmark / path).write_bytes(b"a video")
    picture = encoded(Image.new("RGB", (64, 48), (9, 90, 200)))
    if case.form == "parquet":
        import pyarrow
        import pyarrow.parquet

        rows = _filled(case.rows, {"bytes": picture, "path": None})
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / f"{benchmark}.parquet")
        return
    text = base64.b64encode(picture).decode()
    rows = _filled(case.rows, text)
    if case.form == "tsv":
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
        (root / f"{benchmark}.tsv").write_text("\n".join(lines) + "\n")
        return
    (root / f"{benchmark}.json").write_text(json.dumps(rows))


def _filled(value: Any, picture: Any) -> Any:
    if isinstance(value, list):
        return [_filled(item, picture) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, picture) for key, item in value.items()}
    return picture if value == PICTURE else value
