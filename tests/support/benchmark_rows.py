"""Invented rows in the columns that public benchmarks have, and the files that hold them."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

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
        files: what else lies in it: path -> content, in place of a file of rows.
        wrong: an answer that no row holds for right.
    """

    rows: list[dict[str, Any]]
    form: str = "json"
    best: float = 1.0
    media: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    wrong: str = "something that nobody asked about"


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

_EIGHT = "\n".join(f"{letter}. option {letter}" for letter in "ABCDEFGH")
_PAGE = {
    "layout_dets": [
        {"category_type": "table", "html": "<table><tr><td>a</td><td>1</td></tr></table>", "anno_id": 3}
        | {"poly": [2, 2, 40, 2, 40, 20, 2, 20]},
        {
            "category_type": "equation_isolated",
            "latex": "$$\\frac{a}{2}$$",
            "anno_id": 4,
            "poly": [2, 22, 60, 22, 60, 40, 2, 40],
        },
        {"category_type": "text_block", "text": "words", "anno_id": 5, "poly": [0, 0, 4, 0, 4, 4, 0, 4]},
        {"category_type": "table", "html": "<table></table>", "ignore": True, "poly": [0, 0, 4, 0, 4, 4, 0, 4]},
    ],
    "page_info": {"image_path": "p1.png", "page_attribute": {"language": "english"}},
}
_INSTANCES = {
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    "images": [{"id": 9, "file_name": "009.jpg", "width": 64, "height": 48}, {"id": 10, "file_name": "010.jpg"}],
    "annotations": [
        {"image_id": 9, "category_id": 18, "bbox": [4.5, 6.0, 20.0, 18.0], "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [30.0, 6.0, 20.0, 18.0], "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
    ],
}
_SPLIT = json.dumps({"test": [["a/1.jpg", 1, "water_lily"], ["a/2.jpg", 0, "pink primrose"]], "train": [], "val": []})
_CLICK = {"instruction": "open the menu", "ui_type": "icon", "group": "CAD", "data_type": "icon", "data_source": "ios"}
ROWS |= {
    "videomme_v2": Case(
        [
            {
                "video_id": "001",
                "question_id": f"001-{i}",
                "question": f"Question {i}?",
                "options": _EIGHT,
                "answer": answer,
            }
            | {"group_type": "logic", "group_structure": "[1, [2, 3], 4]", "level": 2}
            for i, answer in enumerate("HACB", 1)
        ],
        media=("001.mp4",),
    ),
    "videomathqa": Case(
        [_choice(videoID="m1", question_id="1", category="Geometry", length="short", options=["A. 1", "B. 2"])],
        media=("m1.mp4",),
    ),
    "videomathqa_mbin": Case(
        [
            _choice(
                videoID="m1", question_id="1", category="Geometry", length="short", options=["A. 1", "B. 2"], answer=a
            )
            for a in "AB"
        ],
        media=("m1.mp4",),
    ),
    "tempcompass": Case(
        [
            {
                "video_id": "1013",
                "question": "What happens?\nA. it falls\nB. it flies",
                "answer": "B. it flies",
                "dim": "action",
            },
            {"video_id": "1013", "question": "Does it fall?", "answer": "no", "dim": "direction"},
            {
                "video_id": "1013",
                "question": "Which description fits?\nOption 1: It is fast.\nOption 2: It is slow.",
                "answer": "Option 2: It is slow.",
                "dim": "speed",
            },
            {"video_id": "1013", "question": "Describe it.", "mc_question": "?", "mc_answer": "A", "dim": "order"},
        ],
        media=("videos/1013.mp4",),
    ),
    "tempcompass:vlmevalkit": Case(
        [
            {"index": "0", "video": "1013", "question": "What happens?", "candidates": "['A. it falls', 'B. it flies']"}
            | {"answer": "B. it flies", "dim": "action"}
        ],
        form="tsv",
        media=("videos/1013.mp4",),
    ),
    "odvbench": Case(
        [
            {
                "problem": "What does the lorry do?",
                "problem_type": "multiple choice",
                "options": ["A. stops", "B. turns"],
            }
            | {"solution": "<answer>B</answer>", "path": "clips/1.mp4"}
        ],
        media=("clips/1.mp4",),
    ),
    "vqav2": Case(
        [
            {"question_id": 1, "image_id": 3, "question": "What is it?", "answer_type": "other", "image": PICTURE}
            | {"answers": [{"answer": "dog", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]}
        ]
    ),
    "mathverse": Case(
        [
            {"problem_index": "1", "problem_version": "Text Dominant", "question_type": kind, "answer": answer}
            | {"question": "?", "query_wo": f"Please answer {kind}.\nQuestion: angle?", "image": PICTURE}
            for kind, answer in (("multi-choice", "C"), ("free-form", "2\\sqrt{3}"), ("free-form", "65°"))
        ]
    ),
    "mathvision": Case(
        [
            {"id": str(i), "question": "<image1> How many?", "options": options, "answer": answer, "level": 1}
            | {"subject": "counting", "image": f"images/{i}.jpg", "decoded_image": PICTURE}
            for i, (options, answer) in enumerate([(["3", "5"], "B"), ([], "\\frac{1}{2}")])
        ]
    ),
    "charxiv": Case(
        [
            {
                "reasoning_q": "Which?",
                "reasoning_a": answer,
                "reasoning_q_source": kind,
                "category": "cs",
                "image": PICTURE,
            }
            for kind, answer in ((1, "Model A"), (2, "left"), (3, "0.5"), (4, "1.25"), (4, "12"))
        ]
    ),
    "countbench": Case([{"question": "How many cups are there?", "number": 4, "text": "four cups", "image": PICTURE}]),
    "pixmo_count": Case([{"question": "<image> How many boats are there?", "answer": "3", "image": PICTURE}]),
    "pixmo_count:ai2": Case([{"label": "boats", "count": 3, "image": PICTURE}]),
    "screenspot_v2": Case([{**_CLICK, "bbox": [0.25, 0.5, 0.5, 0.75], "image": PICTURE}]),
    "screenspot_v2:json": Case([{**_CLICK, "bbox": [4, 6, 20, 18], "img_filename": "a.png"}], files={"a.png": PICTURE}),
    "screenspot_pro": Case([{**_CLICK, "bbox": "[4, 6, 24, 24]", "img_size": [64, 48], "image": PICTURE}]),
    "omnidocbench_tables": Case([_PAGE], files={"images/p1.png": PICTURE}),
    "omnidocbench_formulas": Case([_PAGE], files={"images/p1.png": PICTURE}, wrong="\\beta"),
    "omnidocbench_tables:tsv": Case([{"index": "0", "image": PICTURE, "answer": json.dumps(_PAGE)}], form="tsv"),
    "coco_detection": Case(
        [],
        files={
            "instances_val2017.json": json.dumps(_INSTANCES),
            "val2017/009.jpg": PICTURE,
            "val2017/010.jpg": PICTURE,
        },
    ),
    "fgvc_aircraft": Case(
        [],
        files={"images_variant_test.txt": "1514522 707-320\n0747566 DC-10\n", "images/1514522.jpg": PICTURE}
        | {"images/0747566.jpg": PICTURE},
    ),
}
ROWS["mathvision_testmini"] = ROWS["mathvision"]
for _name, (_file, _folder) in {
    "flowers102": ("OxfordFlowers", "jpg"),
    "oxford_pets": ("OxfordPets", "images"),
    "stanford_cars": ("StanfordCars", "."),
    "food101": ("Food101", "images"),
    "dtd": ("DescribableTextures", "images"),
    "eurosat": ("EuroSAT", "2750"),
    "caltech101": ("Caltech101", "101_ObjectCategories"),
    "sun397": ("SUN397", "SUN397"),
    "ucf101": ("UCF101", "UCF-101-midframes"),
}.items():
    _paths = {f"{_folder}/a/{i}.jpg": PICTURE for i in (1, 2)}
    ROWS[_name] = Case([], files={f"split_zhou_{_file}.json": _SPLIT, **_paths})


def write(root: Path, name: str) -> None:
    """The file of some rows under the folder of all benchmarks, with the media that they name."""
    case, benchmark = ROWS[name], name.partition(":")[0]
    for path in case.media:
        (root / benchmark / path).parent.mkdir(parents=True, exist_ok=True)
        (root / benchmark / path).write_bytes(b"a video")
    picture = encoded(Image.new("RGB", (64, 48), (9, 90, 200)))
    for path, content in case.files.items():
        (root / benchmark / path).parent.mkdir(parents=True, exist_ok=True)
        (root / benchmark / path).write_bytes(picture if content == PICTURE else content.encode())
    if not case.rows:
        return
    if case.form == "parquet":
        import pyarrow
        import pyarrow.parquet

        rows = _filled(case.rows, {"bytes": picture, "path": None})
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / f"{benchmark}.parquet")
        return
    text = base64.b64encode(picture).decode()
    rows = _filled(case.rows, text)
    if case.form == "tsv":
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (root / f"{benchmark}.tsv").write_text(file.getvalue())
        return
    (root / f"{benchmark}.json").write_text(json.dumps(rows))


def _filled(value: Any, picture: Any) -> Any:
    if isinstance(value, list):
        return [_filled(item, picture) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, picture) for key, item in value.items()}
    return picture if value == PICTURE else value
