"""Digits: rows are a function of (seed, split, row), scans never cross splits, geometry and answers are right."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from mmrl.data.digits import TASKS, Digits, Placed, Scene, Style, render, scans, split_scans
from mmrl.recipe.data import DIGIT_TASKS, DigitsData

SIZES = {
    "classification": {(56, 56)},
    "ocr": {(112, 56), (140, 56), (168, 56)},
    "grounding": {(112, 112)},
    "counting": {(112, 112)},
    "multiple_choice": {(112, 56)},
}


def digits(**options) -> Digits:
    return Digits(DigitsData(type="digits", **options))


def text_of(sample) -> str:
    return sample.messages[0]["content"][1]["text"]


def scenes(task: str, count: int = 150):
    """(question, scene) pairs, drawn as the dataset draws them."""
    pool = split_scans("train")
    for number in range(count):
        yield TASKS[task](np.random.Generator(np.random.Philox(number)), pool)


def test_scans_are_those_of_load_digits():
    """The digest is of scikit-learn's own arrays, images before labels, as bytes."""
    pixels, labels = scans()
    given = (pixels * 16).astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    assert hashlib.sha256(given).hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_no_scan_is_in_both_splits_and_each_label_is_in_both():
    train, test = ({int(n) for part in split_scans(split) for n in part} for split in ("train", "test"))
    assert not train & test
    assert len(train | test) == 1797
    assert len(test) == pytest.approx(0.2 * 1797, abs=10)
    assert all(len(part) > 25 for part in split_scans("test"))
    pixels, _ = scans()
    assert len({scan.tobytes() for scan in pixels}) == 1797, "equal scans could lie in both splits"


@pytest.mark.parametrize("think", [False, True])
def test_rows_depend_on_seed_split_and_row_alone(think):
    first, again = digits(size=20, think=think), digits(size=40, think=think, name="other")
    np.random.seed(0)
    rows = [first[i] for i in range(20)]
    np.random.seed(1)
    for row, sample in reversed(list(enumerate(rows))):
        twin = again[row]
        assert np.array_equal(np.asarray(sample.images[0]), np.asarray(twin.images[0]))
        assert (sample.target, sample.messages, sample.demonstration) == (
            twin.target,
            twin.messages,
            twin.demonstration,
        )
    for other in (digits(size=20, seed=1), digits(size=20, split="test")):
        assert sum(a.target == b.target for a, b in zip(rows, other)) < 10


def test_row_fields():
    sample = digits(split="test", size=30)[12]
    assert (sample.id, sample.dataset, sample.row, sample.coordinates) == ("digits/test/12", "digits", 12, "pixel")
    assert sample.task == DIGIT_TASKS[12 % 5]
    assert [part["type"] for part in sample.messages[0]["content"]] == ["image", "text"]
    assert [s.id for s in digits(size=9)[-2:]] == ["digits/train/7", "digits/train/8"]
    with pytest.raises(IndexError):
        digits(size=9)[9]


@pytest.mark.parametrize("task", SIZES)
def test_image_sizes_are_those_that_patches_of_28_leave_alone(task):
    sizes = {sample.images[0].size for sample in digits(tasks=[task], size=60)}
    assert sizes == SIZES[task]
    assert all(side % 28 == 0 for size in sizes for side in size)


@pytest.mark.parametrize("task", TASKS)
def test_boxes_lie_inside_do_not_overlap_and_hold_all_ink(task):
    for question in scenes(task, 60):
        scene = question.scene
        used = np.zeros((scene.height, scene.width), int)
        for digit in scene.placed:
            x1, y1, x2, y2 = digit.box
            assert 0 <= x1 < x2 <= scene.width
            assert 0 <= y1 < y2 <= scene.height
            assert digit.size == 28
            assert x1 % 14 == y1 % 14 == 0
            used[y1:y2, x1:x2] += 1
        assert used.max() == 1
        style = Style(background=(250.0, 240.0, 230.0), ink=(10.0, 0.0, 5.0))
        image = np.asarray(render(scene, style)).astype(int)
        ink = np.abs(image - np.array([250, 240, 230])).sum(-1)
        assert ink[used == 0].max(initial=0) == 0
        for x1, y1, x2, y2 in (digit.box for digit in scene.placed):
            assert ink[y1:y2, x1:x2].max() > 400


def test_render_is_pure_and_upright():
    pixels, labels = scans()
    scene = Scene(56, 56, (Placed(5, int(labels[5]), 10, 20, 32),))
    style = Style((0.0, 0.0, 0.0), (255.0, 255.0, 255.0), noise=3.0, seed=4)
    assert np.array_equal(np.asarray(render(scene, style)), np.asarray(render(scene, style)))
    clean = np.asarray(render(scene, Style((0.0,) * 3, (255.0,) * 3)))[20:52, 10:42, 0]
    coarse = clean.reshape(8, 4, 8, 4).mean((1, 3)) / 255
    assert np.corrcoef(coarse.ravel(), pixels[5].ravel())[0, 1] > 0.95


def test_answers_agree_with_the_picture():
    for question in scenes("counting"):
        asked = next(word for word in question.text.replace("?", " ").replace(".", " ").split() if word.isdigit())
        assert question.target == {"count": sum(str(d.label) == asked for d in question.scene.placed)}
        assert 3 <= len(question.scene.placed) <= 6
    for question in scenes("grounding"):
        hits = [d for d in question.scene.placed if str(d.label) == question.target["label"]]
        assert [d.box for d in hits] == [question.target["box"]] == [json.loads(question.answer)]
    for question in scenes("ocr"):
        ordered = sorted(question.scene.placed, key=lambda d: d.x)
        assert question.target["text"] == "".join(str(d.label) for d in ordered)
    for question in scenes("multiple_choice"):
        labels = [d.label for d in question.scene.placed]
        options, chosen = question.target["options"], question.target["options"][question.target["answer"]]
        right = sum(labels[:2]) if "sum" in question.text else (max if "largest" in question.text else min)(labels)
        assert chosen == str(right)
        assert len(set(options.values())) == 4
        assert all(f"{letter}. {value}" in question.text for letter, value in options.items())
    for question in scenes("caption"):
        labels = [str(d.label) for d in question.scene.placed]
        boxes = [f"{d.label} {d.box}" for d in question.scene.placed]
        assert question.answer == ("; ".join(boxes) if "boxes" in question.text else " ".join(labels))


def test_answers_are_balanced():
    def shares(task, value):
        counts = Counter(value(question) for question in scenes(task, 1000))
        return {key: count / 1000 for key, count in counts.items()}

    letters = shares("multiple_choice", lambda q: q.target["answer"])
    assert sorted(letters) == list("ABCD")
    assert max(letters.values()) < 0.31
    counts = shares("counting", lambda q: q.target["count"])
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert max(counts.values()) < 0.26
    labels = shares("classification", lambda q: q.answer)
    assert len(labels) == 10
    assert max(labels.values()) < 0.14


def test_think_wraps_the_same_answer():
    for plain, traced in zip(digits(size=20), digits(size=20, think=True)):
        assert traced.target == plain.target
        assert traced.demonstration.startswith("<think>")
        assert traced.demonstration.endswith(f"</think><answer>{plain.demonstration}</answer>")


def test_every_task_target_has_a_demonstration_that_its_reward_accepts():
    vision_rewards = pytest.importorskip("vision_rewards")
    route = vision_rewards.get_reward("route")
    for think in (False, True):
        for sample in digits(size=40, think=think):
            assert route.for_task(sample.task)(sample.demonstration, sample.target).score == 1.0
